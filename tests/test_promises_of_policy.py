"""What no edition may break: a line that breaks a promise is a fault of its folder, and nobody can adopt it."""

import datetime as dt
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.action import actions
from service.clock import SetClock, instant_text
from service.editions import Editions
from service.policy import STANDINGS, PolicyError, digest, read_folder
from service.policy.commands import commands
from service.policy.edition import Policy
from service.policy.promises import PROMISES
from tests.kit import MORNING, POLICIES, House

FILES = read_folder(POLICIES)
REGULATOR = "x,allow,regulator,group.dissolve,any,*,1,,platform-choice,x"


def changed(old: str, new: str, name: str = "rules.csv") -> dict[str, bytes]:
    """The shipped files with one text of one file changed."""
    text = FILES[name].decode()
    assert text.count(old) == 1
    return {**FILES, name: text.replace(old, new).encode()}


def with_line(line: str) -> dict[str, bytes]:
    """The shipped files with a line more at the end of rules.csv."""
    return {**FILES, "rules.csv": FILES["rules.csv"] + f"{line},platform-choice,x\n".encode()}


def faults(files: dict[str, bytes], cache: Path | None = None) -> list[tuple[str, int, str, str]]:
    """Each fault of an edition: file, line, the rule it breaks or else what it says, and the cure."""
    try:
        Policy.from_files(files, cache=cache)
    except PolicyError as error:
        return [
            (one.file, one.line, one.what.partition(" breaks ")[2].partition(":")[0] or one.what, one.cure)
            for one in error.problems
        ]
    return []


ADDED = [
    ("x,allow,regulator,group.dissolve,any,*,1,", "S190", "remove the line"),
    ("x,allow,regulator,account.rank,in_scope,*,1,", "S190", "remove the line"),
    ("x,allow,regulator,approval.grant,uninvolved,*,1,", "S114 S190", "remove the line"),
    ("x,allow,regulator,trail.read,any,*,1,", "S189", "in_scope"),
    ("x,allow,classifier,approval.grant,any,*,1,", "S113 S114", "uninvolved"),
    ("x,allow,classifier,approval.grant,uninvolved,*,1,", "S114", "approver, compliance"),
    ("x,allow,owner,approval.refuse,uninvolved,*,1,", "S114", "approver, compliance"),
    ("x,allow,approver,approval.grant,apart,2,1,", "S113", "uninvolved"),
    ("x,allow,moderator,appeal.decide,apart,*,1,", "S162", "uninvolved"),
    ("x,allow,sweep,appeal.decide,uninvolved,*,0,", "S162", "moderator"),
    ("x,allow,approver,edition.adopt,any,*,1,", "edition.adopt", "2 persons"),
    ("x,allow,backend,edition.adopt,any,*,2,", "edition.adopt", "compliance"),
    ("x,allow,admin,group.expire_mute,here,*,1,", "S015", "let only sweep"),
    ("x,allow,admin,group.mute,here,*,1,", "S032-S035", "relation lower"),
    ("x,allow,member,group.mute,lower,*,1,", "S032-S035", "owner, admin"),
    ("x,allow,moderator,group.remove_member,any,*,1,", "S032-S035", "owner, admin"),
    ("x,allow,owner,group.dissolve,own,3,1,", "S053", "2 persons"),
    ("x,allow,admin,group.appoint,here,*,1,", "S056", "let only owner"),
    ("x,allow,admin,group.dismiss,lower,*,1,", "S056", "let only owner"),
    ("x,allow,compliance,group.assign_owner,apart,*,1,", "S071", "2 persons"),
    ("x,allow,compliance,account.override_tier,apart,*,2,", "S081", "term reason"),
    ("x,allow,compliance,group.override_tier,apart,*,1,reason", "S081", "2 persons"),
    ("x,allow,stranger,account.accept_transfer,own,*,1,", "S099", "2 persons"),
    ("x,allow,compliance,case.publish,apart,*,1,", "S188", "2 persons"),
]


@pytest.mark.parametrize(("line", "rules", "cure"), ADDED, ids=[line for line, _, _ in ADDED])
def test_a_line_that_breaks_a_promise_is_a_fault(line: str, rules: str, cure: str) -> None:
    """S015, S032, S033, S034, S035, S053, S056, S071, S081, S099, S113, S114, S162, S188, S189, S190: one more line is
    named with each promise that it breaks, and with the way to keep it.
    """
    number = FILES["rules.csv"].count(b"\n") + 1
    found = faults(with_line(line))
    assert [(file, at, rule) for file, at, rule, _ in found] == [
        ("rules.csv", number, rule) for rule in rules.split()
    ]
    assert any(cure in one for *_, one in found)
    assert {rule for _, rules, _ in ADDED for rule in rules.split()} == {one.rule for one in PROMISES}


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("approver,approval.grant,uninvolved", "approver,approval.grant,any", "S113"),
        ("compliance,approval.refuse,uninvolved", "compliance,approval.refuse,apart", "S113"),
        ("compliance,edition.adopt,any,*,2", "compliance,edition.adopt,any,*,1", "edition.adopt"),
        ("regulator,trail.export,in_scope", "regulator,trail.export,any", "S189"),
        ("owner,group.dissolve,here,*,tier:dissolve_persons", "owner,group.dissolve,here,*,1", "S053"),
        ("group.override_tier,apart,*,2,reason", "group.override_tier,apart,*,2,", "S081"),
    ],
)
def test_a_shipped_line_cannot_be_loosened(old: str, new: str, rule: str) -> None:
    """The line itself is named, whatever else stands in the file."""
    line = FILES["rules.csv"].decode().partition(old)[0].count("\n") + 1
    assert [found[:3] for found in faults(changed(old, new))] == [("rules.csv", line, rule)]


def test_a_number_in_the_tiers_cannot_break_a_promise() -> None:
    """S053, S099: where a line looks the number up, the line of tiers.csv is at fault; in tier 2 an owner may be alone."""
    for code, rule in (
        ("group.effect.dissolve_persons.3", "S053"),
        ("account.effect.transfer_persons.1", "S099"),
    ):
        tiers = FILES["tiers.csv"].decode().splitlines()
        number = next(at for at, text in enumerate(tiers) if text.startswith(f"{code},"))
        cells = tiers[number].split(",")
        cells[6] = "1"
        files = changed(f"{tiers[number]}\n", f"{','.join(cells)}\n", "tiers.csv")
        assert faults(files) == [("tiers.csv", number + 1, rule, "write 2 persons or more")]
    assert "group.effect.dissolve_persons.2,group,effect,dissolve_persons,,2,1," in "\n".join(tiers)


def test_what_breaks_no_promise_may_be_changed() -> None:
    """A stricter count, a denial, a machine that accepts harmless names: editions differ, and the promises are fewer than the rules."""
    for files in (
        FILES,
        changed("compliance,edition.adopt,any,*,2", "compliance,edition.adopt,any,*,3"),
        with_line("x,deny,regulator,trail.read,self,*,1,"),
        with_line("x,allow,backend,account.accept,any,*,1,"),
        with_line("x,allow,admin,group.name_successors,here,*,1,"),
    ):
        assert faults(dict(files)) == []


def test_the_model_cannot_open_what_no_line_opens() -> None:
    """S190: a matcher that lets a regulator in by another's line is a fault of model.conf."""
    files = changed(
        "r.standing == p.standing", '(r.standing == p.standing || r.standing == "regulator")', "model.conf"
    )
    assert [(file, line) for file, line, _, _ in faults(files)] == [("model.conf", 1)]


def test_promises_speak_of_words_that_exist() -> None:
    """A misspelt act or standing would promise nothing; four acts are of nouns that are still to come."""
    spoken = {act for promise in PROMISES for act in (*promise.on, *promise.acts)}
    assert spoken - set(actions()) == {"order.receive", "appeal.decide", "access.expire", "case.publish"}
    assert {one for promise in PROMISES for one in (*promise.who, *promise.by)} <= set(STANDINGS)


def test_a_kept_table_is_held_to_the_promises_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that was compiled before there was a promise does not go round it; a faulty one is not kept."""
    files = with_line(REGULATOR.removesuffix(",platform-choice,x"))
    monkeypatch.setattr("service.policy.promises.PROMISES", ())
    assert faults(files, tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.undo()
    assert [rule for _, _, rule, _ in faults(files, tmp_path)] == ["S190"]
    other = with_line("x,allow,regulator,group.rank,any,*,1,")
    assert [rule for _, _, rule, _ in faults(other, tmp_path)] == ["S190"]
    assert len(list(tmp_path.iterdir())) == 1


def test_check_and_diff_refuse_such_a_folder(tmp_path: Path) -> None:
    """Both name file, line, promise and cure, and exit with 1."""
    for name, data in with_line(REGULATOR.removesuffix(",platform-choice,x")).items():
        (tmp_path / name).write_bytes(data)
    number = FILES["rules.csv"].count(b"\n") + 1
    for command in (["check", str(tmp_path)], ["diff", str(POLICIES), str(tmp_path)]):
        failed = CliRunner().invoke(commands, command)
        assert failed.exit_code == 1
        assert f"rules.csv:{number}: 'x' breaks S190: a regulator" in failed.output
        assert "; remove the line" in failed.output


def body(files: dict[str, bytes]) -> dict[str, object]:
    """What adopts these files an hour later."""
    when = instant_text(MORNING + dt.timedelta(hours=1))
    texts = {name: data.decode() for name, data in files.items()}
    return {"digest": digest(files), "effective_at": when, "files": texts}


@pytest.mark.anyio
async def test_an_edition_that_breaks_a_promise_is_adopted_by_nobody(house: House) -> None:
    """S113, S190: it is refused with file, line and cure before anybody is asked; nothing is proposed."""
    for files in (
        changed("approver,approval.grant,uninvolved", "approver,approval.grant,any"),
        changed("compliance,edition.adopt,any,*,2", "compliance,edition.adopt,any,*,1"),
        with_line("x,allow,regulator,account.rank,any,*,1,"),
    ):
        problem = await house.refused("malformed", "co", "POST", "/v1/editions", body(files))
        (fault,) = problem["data"]["faults"]
        assert fault["file"] == "rules.csv"
        assert " breaks " in fault["what"]
        assert fault["cure"]
    assert await house.records("edition.adopt") == []


@pytest.mark.anyio
async def test_an_adopted_edition_that_breaks_a_promise_stops_the_start(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S190: what was adopted before there was the promise decides nothing after it; the fault is told under its digest, and
    what to do. Once another edition is in force, it only says what held then.
    """
    broken = with_line("x,allow,regulator,account.rank,any,*,1,")
    with monkeypatch.context() as before:
        before.setattr("service.policy.promises.PROMISES", ())
        receipt = await house.do("co", "POST", "/v1/editions", body(broken))
        await house.do("ap", "POST", f"/v1/approvals/{receipt['result']['approval_id']}/grant")
        sound = body({**FILES, "README.md": FILES["README.md"] + b"\nRead with care.\n"})
        sound["effective_at"] = instant_text(MORNING + dt.timedelta(hours=2))
        receipt = await house.do("co", "POST", "/v1/editions", sound)
        await house.do("ap", "POST", f"/v1/approvals/{receipt['result']['approval_id']}/grant")
    editions = house.app.state.editions
    fault = rf"{digest(broken)}/rules\.csv:\d+: 'x' breaks S190.*; it is adopted: let the version that ran before adopt another"
    with pytest.raises(PolicyError, match=fault):
        await Editions.open(editions._db, POLICIES, SetClock(MORNING), cache=tmp_path)
    later = await Editions.open(
        editions._db, POLICIES, SetClock(MORNING + dt.timedelta(hours=2)), cache=tmp_path
    )
    assert later.at(MORNING + dt.timedelta(minutes=90)).edition == digest(broken)
    assert later.at(MORNING + dt.timedelta(hours=2)).edition == sound["digest"]
