"""Policy: the compiled table is what Casbin says, broken folders allow nothing, editions are told apart."""

import datetime as dt
import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.policy import (
    RELATIONS,
    STANDINGS,
    TIERS,
    Policy,
    PolicyError,
    check,
    diff,
    diff_values,
    digest,
    explain,
)
from service.policy.commands import commands
from service.policy.compiled import plain_enforcer, table_path
from service.policy.edition import ADDED, FILES, read_folder

FOLDER = Path(__file__).resolve().parents[1] / "policies"
VERBS = {
    "person": ("register", "verify", "update_facts", "accept_terms", "close", "erase"),
    "operator": ("register", "verify", "update_facts", "raise_cap", "sign_account", "release_account"),
    "group": (
        "register", "update_facts", "update_profile", "rank", "override_tier", "expire_override", "join",
        "request_join", "invite", "admit", "turn_away", "expire_request", "leave", "dissolve", "mute",
        "unmute", "expire_mute", "mute_all", "unmute_all", "expire_mute_all", "remove_member", "bar_member",
        "unbar_member", "expire_bar", "hide_item", "restore_item", "pin_notice", "appoint", "dismiss",
        "step_down", "offer_transfer", "accept_transfer", "decline_transfer", "withdraw_transfer",
        "expire_transfer", "name_successors", "open_succession", "reclaim", "succeed", "orphan",
        "assign_owner",
    ),
    "account": (
        "register", "accept", "refuse", "update_facts", "rank", "override_tier", "expire_override",
        "warn_dormant", "wake",
        "update_profile", "accept_profile", "refuse_profile", "recheck", "offer_transfer", "accept_transfer",
        "decline_transfer", "withdraw_transfer", "expire_transfer", "request_close", "withdraw_close", "close",
    ),
    "tier": ("plan_bulk", "run_bulk", "stop_bulk", "finish_bulk"),
    "measure": ("impose", "lift", "expire"),
    "approval": ("grant", "refuse", "expire"),
    "staff": ("appoint", "dismiss"),
    "key": ("issue", "revoke"),
    "edition": ("adopt",),
    "trail": ("read", "export"),
    "legal_hold": ("set", "release"),
    "field": ("redact",),
    "record": ("retire",),
    "retention": ("purge",),
    "credit": ("adjust", "recover"),
    "credential": ("submit", "accept", "refuse", "expire"),
    "filing": ("record",),
}  # fmt: skip
ACTIONS = frozenset(f"{noun}.{verb}" for noun, verbs in VERBS.items() for verb in verbs)
HEADER = "id,effect,standing,action,relation,tier,persons,terms,basis,comment"


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The shipped edition, against the actions the service knows."""
    return Policy.from_folder(FOLDER, actions=ACTIONS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped folder, to be broken."""
    return Path(shutil.copytree(FOLDER, tmp_path / "policies"))


def rewrite(path: Path, old: str, new: str, *, times: int = 1) -> int:
    """Replace text that must be there; the answer is the line it began on."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, times), encoding="utf-8")
    return text.partition(old)[0].count("\n") + 1


def with_rules(*rules: str) -> dict[str, bytes]:
    """The shipped files with other rules, and no measure that needs a rule elsewhere."""
    files = read_folder(FOLDER)
    files["rules.csv"] = "\n".join((HEADER, *rules, "")).encode()
    plain = files["measures.csv"].decode()
    for action in ("mute_all", "mute", "hide_item", "remove_member", "bar_member"):
        plain = plain.replace(f",group.{action},", ",,")
    files["measures.csv"] = plain.encode()
    return files


# What is allowed


def test_every_cell_is_what_casbin_says(policy: Policy) -> None:
    """Over the whole domain the table allows exactly what one plain enforcer per action, all lines in it,
    allows.
    """
    model = policy.files["model.conf"].decode()
    wrong: list[tuple[str, str, str, str]] = []
    for action in sorted(ACTIONS):
        oracle = plain_enforcer(model, [line for line in policy.lines if line.action == action])
        for standing in STANDINGS:
            for relation in RELATIONS:
                for tier in TIERS:
                    cell = (action, standing, relation, tier)
                    line = policy.line(cell)
                    allowed = line is not None and line.effect == "allow"
                    answer, named = oracle.enforce_ex(standing, action, relation, tier)
                    if answer != allowed or bool(named) != (line is not None):
                        wrong.append(cell)
    assert wrong == []


def test_one_enforcer_with_all_rules_agrees(policy: Policy) -> None:
    """Splitting the rules by action changes nothing: an enforcer holding all of them gives the same
    answers.
    """
    oracle = plain_enforcer(policy.files["model.conf"].decode(), policy.lines)
    cells = [(a, s, r, t) for a in sorted(ACTIONS) for s in STANDINGS for r in RELATIONS for t in TIERS]
    sample = cells[::7] + [cell for cell in sorted(policy.table) if cell[3] == "3"]
    for action, standing, relation, tier in sample:
        line = policy.line((action, standing, relation, tier))
        assert oracle.enforce(standing, action, relation, tier) == (
            line is not None and line.effect == "allow"
        )


def test_decide_equals_the_table(policy: Policy) -> None:
    """For one standing and one relation (with `any`, which always holds) the decision is the cell, deny
    first.
    """
    for action in sorted(ACTIONS):
        for standing in STANDINGS:
            for relation in RELATIONS:
                for tier in TIERS:
                    verdict = policy.decide(
                        (standing,), action, {relation}, None if tier == "-" else int(tier)
                    )
                    line = policy.line((action, standing, relation, tier))
                    assert verdict.rule == (line.id if line else "none")
                    assert verdict.allowed == (line is not None and line.effect == "allow")
                    assert verdict.standing == (standing if verdict.allowed else None)


def test_the_explanation_is_the_first_in_file_order(policy: Policy) -> None:
    """Of the lines that match a cell, the first denying one is named, else the first allowing one."""
    for cell, index in policy.table.items():
        action, standing, relation, tier = cell
        matching = [
            line
            for line in policy.lines
            if (line.action, line.standing) == (action, standing)
            and line.relation in {relation, "any"}
            and (line.tier == "*" or tier in line.tier.split("|"))
        ]
        denying = [line for line in matching if line.effect == "deny"]
        assert policy.lines[index] == (denying or matching)[0]


def test_every_action_has_a_rule_and_no_other(policy: Policy) -> None:
    """The rules speak of exactly the actions the service knows."""
    assert {line.action for line in policy.lines} == ACTIONS


def test_deny_beats_allow_over_all_standings_and_relations() -> None:
    """A denial under one standing beats an allowance under another, wherever the lines stand."""
    policy = Policy.from_files(
        with_rules(
            "a,allow,moderator,case.open,any,*,1,,platform-choice,x",
            "b,allow,approver,case.open,own,*,1,,platform-choice,x",
            "c,deny,approver,case.open,affected,3|4,1,,platform-choice,x",
        )
    )
    both = ("moderator", "approver")
    assert policy.decide(both, "case.open", {"own"}, 3).rule == "a"
    denied = policy.decide(both, "case.open", {"own", "affected"}, 3)
    assert (denied.allowed, denied.rule, denied.relation, denied.standing) == (False, "c", "affected", None)
    assert denied.lacking == frozenset()
    assert policy.decide(both, "case.open", {"own", "affected"}, 2).allowed
    assert policy.decide(("approver",), "case.open", {"affected"}, None).lacking == {"own"}


def test_among_several_allows_the_first_in_file_order_is_named() -> None:
    """The order of lines, not of standings or relations, says which allowance stands in the record."""
    policy = Policy.from_files(
        with_rules(
            "late,allow,approver,case.open,own,*,2,,platform-choice,x",
            "first,allow,moderator,case.open,own,*,1,reason,platform-choice,x",
            "wide,allow,moderator,case.open,any,*,3,,platform-choice,x",
        )
    )
    assert policy.decide(("moderator", "approver"), "case.open", ["own"], 1).rule == "late"
    assert policy.decide(("moderator",), "case.open", ["any", "own"], 1).rule == "first"
    assert policy.decide(("moderator",), "case.open", ["any"], 1).terms.persons == 3


def test_what_is_lacking_is_said(policy: Policy) -> None:
    """A refusal without a matching line names the relations that would have helped this caller, and only
    those.
    """
    assert policy.decide(("admin",), "group.mute", {"here"}, 2).lacking == {"lower"}
    assert policy.decide(("classifier",), "group.override_tier", (), 2).lacking == {"apart"}
    assert policy.decide(("regulator",), "trail.read", (), None).lacking == {"in_scope"}
    assert policy.decide(("member",), "group.mute", {"here", "lower"}, 2).lacking == frozenset()
    assert policy.decide(("nobody",), "group.fly", {"here"}, 9).rule == "none"


def test_terms_follow_the_tier_of_the_target(policy: Policy) -> None:
    """Persons and the length of the note come from tiers.csv; where the tier is unknown the strictest
    holds.
    """
    persons = [
        policy.decide(("owner",), "group.dissolve", {"here"}, tier).terms.persons
        for tier in (1, 2, 3, 4, None)
    ]
    assert persons == [1, 1, 2, 2, 2]
    mute = policy.decide(("admin",), "group.mute", {"lower"}, 4).terms
    assert (mute.needs_reason, mute.needs_note, mute.note_min_chars) == (True, True, 20)
    assert mute.basis == ("group-rules:art.9", "cyberviolence-rules:art.16")


def test_nobody_mutes_oneself_by_a_line_that_says_so(policy: Policy) -> None:
    """Acting on oneself is denied by its own line, whatever else holds."""
    for action in ("group.mute", "group.unmute", "group.remove_member", "group.bar_member", "group.dismiss"):
        verdict = policy.decide(("owner", "admin"), action, {"here", "lower", "self", "any"}, 1)
        assert (verdict.allowed, verdict.relation) == (False, "self")


def test_a_regulator_has_no_acting_line(policy: Policy) -> None:
    """A regulator may read and export a trail inside a grant, and nothing else (S190)."""
    looks = {"trail.read", "trail.export"}
    assert {line.action for line in policy.lines if line.standing == "regulator"} == looks
    for action in ACTIONS - looks:
        for tier in (None, 1, 2, 3, 4):
            assert not policy.decide(("regulator",), action, RELATIONS, tier).allowed


def test_staff_never_act_on_members_by_group_actions(policy: Policy) -> None:
    """Mute, removal and bar have lines for owner and admin alone; staff act by measures."""
    for action in (
        "group.mute",
        "group.remove_member",
        "group.bar_member",
        "group.appoint",
        "group.dissolve",
    ):
        assert {line.standing for line in policy.lines if line.action == action} <= {"owner", "admin"}


def test_casbin_is_silent(policy: Policy, caplog: pytest.LogCaptureFixture) -> None:
    """A denial inside Casbin writes no log line: requests do not belong there."""
    with caplog.at_level(logging.DEBUG):
        plain_enforcer(policy.files["model.conf"].decode(), policy.lines).enforce("x", "y", "z", "1")
    assert [record for record in caplog.records if record.name.startswith("casbin")] == []


# What the tables say


def test_typed_tables(policy: Policy) -> None:
    """Values, effects, measures, violations and reasons are at hand, typed."""
    assert policy.parameters.mute_max_s == policy.parameter("mute_max_s") == 2_592_000
    assert policy.parameters.name_similarity_review == 0.85
    assert policy.tier_effect("group", "admin_mute_max_s", 3) == 259_200
    assert policy.tier_effect("group", "owner_mute_max_s", 1) is None
    assert policy.tier_effect("account", "name_check", 4) == "human"
    assert policy.measures["P_UPDATE_SUSPEND"].coupled[0] == ("P_MON_SUSPEND", 2)
    assert policy.measures["M_SUSPEND"].max_term.seconds == 180 * 86400
    assert policy.violations["V08"].gravity == 4
    assert policy.reasons["fraud"].fits("group.mute")
    assert not policy.reasons["off_topic"].fits("measure.impose")


def test_bands_give_the_worked_results(policy: Policy) -> None:
    """Points and thresholds, as parsed, give the published examples: community of 120 is 35, floor 2."""
    group = policy.tiers["group"]
    facts = {
        "nature": "community",
        "members": 120,
        "messages_per_day": 300.5,
        "join_mode": "approval",
        "discoverable": False,
        "link_open": False,
    }
    assert sum(group.points[name].of(fact) or 0 for name, fact in facts.items()) == 35
    assert [band.value for band in group.thresholds] == [1, 2, 3, 4]
    assert group.floors["capacity"].of(200) == 2
    assert policy.tiers["account"].points["quality"].of(None) == 6
    assert policy.tiers["account"].floors["followers"].of(99_999) is None


def test_a_document_is_in_force_until_its_next_version(policy: Policy) -> None:
    """S213: documents have versions and dates; one version of each is in force at an instant, or none yet."""

    def version(document: str, *day: int) -> str | None:
        found = policy.document_in_force(document, dt.datetime(*day, tzinfo=dt.UTC))  # type: ignore[arg-type]
        return found and found.version

    assert version("user_agreement", 2024, 12, 31) is None
    assert version("user_agreement", 2025, 1, 1) == "1"
    assert version("user_agreement", 2026, 6, 30) == "1"
    assert version("user_agreement", 2026, 7, 1) == "2"
    assert version("no_such_document", 2026, 7, 1) is None


# What is wrong in a folder

Fault = tuple[str, Callable[[Path], int], str]


def broken(name: str, old: str, new: str) -> Callable[[Path], int]:
    """A change of one text in a file."""
    return lambda folder: rewrite(folder / name, old, new)


def appended(name: str, line: str) -> Callable[[Path], int]:
    """A further line at the end of a file."""

    def append(folder: Path) -> int:
        path = folder / name
        before = path.read_bytes()
        path.write_bytes(before + line.encode() + b"\n")
        return before.count(b"\n") + 1

    return append


def raw(name: str, old: bytes, new: bytes) -> Callable[[Path], int]:
    """A change of bytes, which need not be text."""

    def change(folder: Path) -> int:
        path = folder / name
        before = path.read_bytes()
        assert old in before
        path.write_bytes(before.replace(old, new, 1))
        return before.partition(old)[0].count(b"\n") + 1

    return change


def at_line_1(change: Callable[[Path], int]) -> Callable[[Path], int]:
    """A change whose fault belongs to the whole file."""
    return lambda folder: change(folder) and 1


def removed(name: str) -> Callable[[Path], int]:
    """A file taken away."""

    def remove(folder: Path) -> int:
        (folder / name).unlink()
        return 1

    return remove


def emptied(name: str) -> Callable[[Path], int]:
    """A file with nothing in it."""

    def empty(folder: Path) -> int:
        (folder / name).write_text("")
        return 1

    return empty


def added(name: str) -> Callable[[Path], int]:
    """A file that does not belong there."""

    def add(folder: Path) -> int:
        (folder / name).write_text("x\n")
        return 1

    return add


def lowered_cap(folder: Path) -> int:
    """A cap below the capacity that its tier begins to hold; the answer is the line of that capacity."""
    rewrite(folder / "tiers.csv", "member_cap,,3,500", "member_cap,,3,400")
    return rewrite(folder / "tiers.csv", "group.floor.capacity.201..500", "group.floor.capacity.201..500")


def missing_effect(folder: Path) -> int:
    """A cap without its line for tier 3; the answer is the first line of that cap."""
    rewrite(
        folder / "tiers.csv",
        "group.effect.member_cap.3,group,effect,member_cap,,3,500,members,group rules art. 8\n",
        "",
    )
    return rewrite(folder / "tiers.csv", "group.effect.member_cap.1", "group.effect.member_cap.1")


MUTE = "group.mute-admin,allow,admin,group.mute,lower,*,1,reason|note,"
SHADOW = "x-1,allow,classifier,group.rank,own,*,1,,platform-choice,x"
UNDER_DENY = "x-2,allow,owner,group.mute,self,3,1,reason,platform-choice,x"
FAULTS: list[Fault] = [
    ("rules.csv", broken("rules.csv", MUTE, MUTE.replace("allow", "alow")), "effect 'alow' is unknown"),
    ("rules.csv", broken("rules.csv", MUTE, MUTE.replace("allow", "Allow")), "effect 'Allow' is unknown"),
    ("rules.csv", broken("rules.csv", "admin-self,deny,", "admin-self,denny,"), "effect 'denny' is unknown"),
    ("rules.csv", broken("rules.csv", MUTE, MUTE.replace(",admin,", ",admins,")), "standing 'admins'"),
    ("rules.csv", broken("rules.csv", MUTE, MUTE.replace("lower", "below")), "relation 'below'"),
    ("rules.csv", broken("rules.csv", MUTE, MUTE.replace("*", "1|5")), "tier '1|5'"),
    ("rules.csv", broken("rules.csv", MUTE, MUTE.replace(",1,", ",4,")), "persons '4'"),
    ("rules.csv", broken("rules.csv", MUTE, MUTE.replace(",1,", ",0,")), "persons 0"),
    ("rules.csv", broken("rules.csv", "tier:dissolve_persons", "tier:dissolve"), "no tier effect"),
    ("rules.csv", broken("rules.csv", "reason|note", "reason|notes"), "term 'notes'"),
    (
        "rules.csv",
        broken("rules.csv", ",group.mute,", ",group.silence,"),
        "action 'group.silence' is unknown",
    ),
    ("rules.csv", broken("rules.csv", ",group.mute,", ",mute,"), "no noun.verb"),
    ("rules.csv", broken("rules.csv", "group-rules:art.9|cyber", "group-rulez:art.9|cyber"), "group-rulez"),
    ("rules.csv", broken("rules.csv", "group.mute-admin,", "group.mute owner,"), "is no code"),
    ("rules.csv", broken("rules.csv", "group.mute-admin,", "none,"), "is no code"),
    ("rules.csv", broken("rules.csv", "group.mute-admin,", "group.mute-owner,"), "already in line"),
    ("rules.csv", broken("rules.csv", MUTE, MUTE + ","), "11 cells for 10 columns"),
    ("rules.csv", broken("rules.csv", MUTE, MUTE.replace(",allow,", ", allow,")), "space around"),
    ("rules.csv", broken("rules.csv", MUTE, MUTE.replace("admin,group", "\u200badmin,group")), "U+200B"),
    ("rules.csv", broken("rules.csv", "id,effect", "id,effects"), "columns are"),
    ("rules.csv", appended("rules.csv", SHADOW), "never decides: already decided by 'group.rank-classifier'"),
    ("rules.csv", appended("rules.csv", UNDER_DENY), "never decides: denied by 'group.mute-owner-self'"),
    ("rules.csv", raw("rules.csv", b"group.mute-admin,", b"group.mute\xff,"), "not UTF-8"),
    ("rules.csv", raw("rules.csv", b"group.mute-admin,", b"group.mute\x00,"), "NUL"),
    ("rules.csv", raw("rules.csv", b"\n", b"\r\n"), "carriage return"),
    (
        "parameters.csv",
        broken("parameters.csv", "identity_methods_min_account,2", "identity_methods_min_account,1"),
        "below",
    ),
    (
        "parameters.csv",
        broken("parameters.csv", "appeal_window_months,6", "appeal_window_months,5"),
        "below 6",
    ),
    ("parameters.csv", broken("parameters.csv", "dormancy_pause_d,183", "dormancy_pause_d,182"), "below 183"),
    (
        "parameters.csv",
        broken("parameters.csv", "log_retention_floor_months,6", "log_retention_floor_months,5"),
        "below 6",
    ),
    (
        "parameters.csv",
        broken("parameters.csv", "log_retention_months,13", "log_retention_months,5"),
        "below log_ret",
    ),
    ("parameters.csv", broken("parameters.csv", "eu_batch_max,100", "eu_batch_max,101"), "above 100"),
    ("parameters.csv", broken("parameters.csv", "eu_batch_min,1,", "eu_batch_min,2,"), "is not 1"),
    (
        "parameters.csv",
        broken(
            "parameters.csv",
            "appeal_window_months,6,months,yes,min,6",
            "appeal_window_months,6,months,no,free,",
        ),
        "fixed by law",
    ),
    (
        "parameters.csv",
        at_line_1(broken("parameters.csv", "batch_max,1000", "batch_most,1000")),
        "'batch_max' is missing",
    ),
    (
        "parameters.csv",
        broken("parameters.csv", "batch_max,1000", "batch_most,1000"),
        "'batch_most' is unknown",
    ),
    ("parameters.csv", broken("parameters.csv", "batch_max,1000", "batch_max,1e3"), "no whole number"),
    (
        "tiers.csv",
        broken(
            "tiers.csv",
            "points.members.21..50,group,points,members,21..50",
            "points.members.22..50,group,points,members,22..50",
        ),
        "gap between 20 and 22",
    ),
    (
        "tiers.csv",
        broken(
            "tiers.csv",
            "points.members.21..50,group,points,members,21..50",
            "points.members.20..50,group,points,members,20..50",
        ),
        "overlaps",
    ),
    (
        "tiers.csv",
        broken("tiers.csv", "group.effect.member_cap.3", "group.effect.member_cap.5"),
        "does not say what",
    ),
    ("tiers.csv", lowered_cap, "capacity 201..500 is above member_cap 400"),
    ("tiers.csv", missing_effect, "effect member_cap has no value for tier 3"),
    (
        "tiers.csv",
        broken("tiers.csv", "admin_mute_max_s,,3,259200", "admin_mute_max_s,,3,2592001"),
        "admin_mute_max_s of tier 3",
    ),
    ("measures.csv", broken("measures.csv", "G_LABEL,group", "G_LABEL,chat"), "target_kind 'chat'"),
    ("measures.csv", broken("measures.csv", "P_MON_SUSPEND*2", "P_MON_STOP*2"), "coupled 'P_MON_STOP*2'"),
    (
        "measures.csv",
        broken(
            "measures.csv",
            "M_MUTE,person,禁言,muted in one group,30,yes,P1D,P30D",
            "M_MUTE,person,禁言,muted in one group,30,yes,P31D,P30D",
        ),
        "beyond max_term",
    ),
    (
        "violations.csv",
        broken("violations.csv", "telecom and online fraud,4", "telecom and online fraud,6"),
        "out of range",
    ),
    ("reasons.csv", broken("reasons.csv", "fraud,诈骗", "Fraud,诈骗"), "malformed"),
    (
        "reasons.csv",
        broken(
            "reasons.csv",
            "other,其他,another reason: the note says which,*",
            "other,其他,another reason: the note says which,groups",
        ),
        "family 'groups'",
    ),
    (
        "model.conf",
        broken("model.conf", "r.action == p.action", "r.acton == p.action"),
        "more than comparisons",
    ),
    (
        "model.conf",
        broken("model.conf", "r.action == p.action", "keyMatch(r.action, p.action)"),
        "more than comparisons",
    ),
    ("model.conf", broken("model.conf", "r.action == p.action &&", "r.action == p.action ||"), "is decided"),
    ("model.conf", broken("model.conf", "(p.relation", "((p.relation"), "casbin cannot use it"),
    ("model.conf", broken("model.conf", "e = some", "e = any"), "effect is not allow-and-not-deny"),
    (
        "documents.csv",
        broken("documents.csv", "user_agreement.2,user_agreement,2", "user_agreement.2,user_agreement,3"),
        "does not say what the line says",
    ),
    ("documents.csv", broken("documents.csv", "2026-07-01T00:00:00Z", "2026-07-01"), "is no instant"),
    (
        "documents.csv",
        broken("documents.csv", "2026-07-01T00:00:00Z", "2026-07-41T00:00:00Z"),
        "is no instant",
    ),
    (
        "documents.csv",
        broken("documents.csv", "2026-07-01T00:00:00Z", "2024-07-01T00:00:00Z"),
        "is not after the version before",
    ),
    (
        "documents.csv",
        broken("documents.csv", "group_rules.1,group_rules", "Group.1,Group"),
        "document 'Group'",
    ),
    (
        "documents.csv",
        broken("documents.csv", "rules.1,group_rules,1", "rules.1.0,group_rules,1.0"),
        "version '1.0'",
    ),
    ("documents.csv", removed("documents.csv"), "is missing"),
    ("violations.csv", removed("violations.csv"), "is missing"),
    ("README.md", removed("README.md"), "is missing"),
    ("README.md", emptied("README.md"), "is empty"),
    ("rules.csv~", added("rules.csv~"), "is no policy file"),
]


@pytest.mark.parametrize(
    ("file", "change", "what"), FAULTS, ids=[f"{file}: {what}" for file, _, what in FAULTS]
)
def test_a_broken_folder_is_named_and_never_used(
    folder: Path, tmp_path: Path, file: str, change: Callable[[Path], int], what: str
) -> None:
    """Every fault is named by file and line, and a folder with a fault gives no policy at all, cached or
    not.
    """
    line = change(folder)
    with pytest.raises(PolicyError) as caught:
        Policy.from_folder(folder, actions=ACTIONS, cache=tmp_path / "cache")
    named = [problem for problem in caught.value.problems if problem.file == file and what in problem.what]
    assert named, str(caught.value)
    assert line in {problem.line for problem in named}
    assert f"{file}:{line}: " in str(caught.value)
    assert all(problem.cure and problem.line >= 1 for problem in caught.value.problems)
    assert not list(tmp_path.glob("cache/*"))


def test_an_action_without_a_rule_is_a_fault(folder: Path) -> None:
    """An action the service knows and no line allows is named, so that nothing becomes impossible unseen."""
    problems = check(folder, ACTIONS | {"group.fly"})
    assert [(problem.file, problem.line) for problem in problems] == [("rules.csv", 1)]
    assert "group.fly" in problems[0].what


def test_commas_and_quotes_in_a_comment_are_harmless(folder: Path) -> None:
    """A comment with commas and quotes changes no decision."""
    rewrite(folder / "rules.csv", "Strictly lower rank in this very group", '"Lower, ""strictly"", deny"')
    changed = Policy.from_folder(folder, actions=ACTIONS)
    assert diff(Policy.from_folder(FOLDER), changed) == []


def test_check_is_silent_on_the_shipped_folder() -> None:
    """The shipped policies have no fault."""
    assert check(FOLDER, ACTIONS) == []


# Editions


@pytest.mark.parametrize("name", FILES)
def test_the_edition_changes_with_any_byte(name: str, policy: Policy) -> None:
    """One other byte anywhere in any file, the page for lawyers included, is another edition."""
    text = policy.files[name]
    for place in {0, len(text) // 3, len(text) // 2, len(text) - 1}:
        other = text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]
        assert digest({**policy.files, name: other}) != policy.edition
    assert digest({**policy.files, name: text + b"\n"}) != policy.edition
    assert digest({**policy.files, name + "2": b""}) != policy.edition
    assert digest({key: value for key, value in policy.files.items() if key != name}) != policy.edition


def test_the_edition_is_the_same_from_folder_and_from_files(policy: Policy, folder: Path) -> None:
    """The same bytes are the same edition, wherever they come from and in whatever order."""
    files = {name: policy.files[name] for name in reversed((*FILES, *ADDED))}
    assert Policy.from_files(files).edition == Policy.from_folder(folder).edition == policy.edition


def test_moving_bytes_between_files_changes_the_edition() -> None:
    """Names and lengths are part of the digest, so bytes cannot wander from one file to the next."""
    assert (
        len({digest({"a": b"xy", "b": b""}), digest({"a": b"x", "b": b"y"}), digest({"ax": b"y", "b": b""})})
        == 3
    )


def test_the_digest_is_the_published_one() -> None:
    """Anyone can compute an edition: per file in order of names the name, LF, the length, LF, the bytes."""
    assert digest({"b": b"", "a": b"xy"}) == hashlib.sha256(b"a\n2\nxyb\n0\n").hexdigest()


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda kept: kept[: len(kept) // 2],
        lambda kept: kept.replace(b"group.mute", b"group.must", 1),
        lambda kept: kept.replace(b'"seal":"', b'"seal":"0', 1),
        lambda kept: b"\xff" + kept,
        lambda _: b"[]",
    ],
)
def test_a_damaged_cache_is_built_anew(
    policy: Policy, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """A kept table that is damaged is ignored and replaced; decisions are the same."""
    Policy.from_folder(FOLDER, cache=tmp_path)
    path = table_path(policy.edition, tmp_path)
    sound = path.read_bytes()
    path.write_bytes(damage(sound))
    assert Policy.from_folder(FOLDER, cache=tmp_path).table == policy.table
    assert path.read_bytes() == sound
    assert [kept.name for kept in tmp_path.iterdir()] == [path.name]


def test_a_kept_table_is_used(policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second start asks Casbin nothing."""
    Policy.from_folder(FOLDER, cache=tmp_path)
    monkeypatch.setattr("service.policy.edition.compile_table", None)
    assert Policy.from_folder(FOLDER, cache=tmp_path).table == policy.table


def test_a_cache_that_cannot_be_written_stops_nothing(policy: Policy, tmp_path: Path) -> None:
    """Where the cache folder cannot be made, policy still loads."""
    (tmp_path / "file").write_text("")
    assert Policy.from_folder(FOLDER, cache=tmp_path / "file" / "cache").table == policy.table


# Reading aloud


def test_diff_names_every_cell_that_changes(policy: Policy, folder: Path) -> None:
    """Allowing admins what only owners could, and raising a count, shows cell by cell; nothing else does."""
    line = "group.name_successors-admin,allow,admin,group.name_successors,here,3|4,2,,platform-choice,x"
    appended("rules.csv", line)(folder)
    rewrite(folder / "tiers.csv", "dissolve_persons,,2,1", "dissolve_persons,,2,2")
    changed = Policy.from_folder(folder)
    changes = {(c.action, c.standing, c.relation, c.tier): (c.before, c.after) for c in diff(policy, changed)}
    assert changes.keys() == {
        ("group.name_successors", "admin", "here", "3"),
        ("group.name_successors", "admin", "here", "4"),
        ("group.dissolve", "owner", "here", "2"),
    }
    before, after = changes[("group.dissolve", "owner", "here", "2")]
    assert (before.terms.persons, after.terms.persons) == (1, 2)
    assert [change.key for change in diff_values(policy, changed)] == ["group.effect.dissolve_persons.2"]


def test_explain_says_line_and_reason(policy: Policy) -> None:
    """An explanation names the deciding line of the file, or what would be needed."""
    said = explain(policy, "admin", "group.mute", "lower", 2)
    assert (said.answer.effect, said.answer.rule) == ("allow", "group.mute-admin")
    assert policy.files["rules.csv"].decode().splitlines()[said.line - 1].startswith("group.mute-admin,")
    assert explain(policy, "admin", "group.mute", "here", 2).lacking == ("lower",)
    with pytest.raises(ValueError, match="king"):
        explain(policy, "king", "group.mute", "here", 2)


def test_commands_speak_plainly(folder: Path) -> None:
    """Check prints file and line and exits with 1; explain and diff answer as table and as JSON."""
    run = CliRunner()
    assert run.invoke(commands, ["check"]).output.startswith("no faults; edition ")
    cell = ["explain", "--standing", "admin", "--action", "group.mute", "--relation", "lower", "--tier", "2"]
    assert "rules.csv:" in run.invoke(commands, cell).output
    assert json.loads(run.invoke(commands, [*cell, "--output", "json"]).output)["answer"]["effect"] == "allow"
    rewrite(folder / "parameters.csv", "batch_max,1000", "batch_max,500")
    assert "batch_max,500" in run.invoke(commands, ["diff", str(FOLDER), str(folder)]).output
    found = json.loads(run.invoke(commands, ["diff", str(FOLDER), str(folder), "--output", "json"]).output)
    assert (found["cells"], [value["key"] for value in found["values"]]) == ([], ["batch_max"])
    line = rewrite(folder / "rules.csv", ",allow,admin,group.mute,", ",alow,admin,group.mute,")
    failed = run.invoke(commands, ["check", str(folder)])
    assert failed.exit_code == 1
    assert f"rules.csv:{line}: effect 'alow' is unknown" in failed.output
    assert run.invoke(commands, ["diff", str(FOLDER), str(folder)]).exit_code == 1


def test_the_page_for_lawyers_names_every_file() -> None:
    """The README of the policies speaks of each file of the edition."""
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in (*FILES, *ADDED):
        assert f"`{name}`" in page
