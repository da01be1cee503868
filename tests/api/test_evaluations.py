"""Asking in the standard's words (OpenID AuthZEN Authorization API 1.0) whether an act may be done."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.kit import House

pytestmark = pytest.mark.anyio
ONE, MANY = "/access/v1/evaluation", "/access/v1/evaluations"
G = {"type": "group", "id": "g"}
MUTE = {"name": "group.mute", "properties": {"person_id": "dan", "seconds": 3600, "reason": "fraud"}}


@pytest.fixture
async def groups(house: House) -> House:
    """Group g (tier 2), high (tier 3, offered by ann to ben), secret (by invitation only) and gone, with the same people."""
    await house.has_group("g", "ann", ("ben", "cai"), ("dan", "eve"))
    await house.has_group("high", "ann", (), ("ben", "cai"), tier=3)
    await house.has_group("secret", "ann", ("ben",), ("dan",), join_mode="invite")
    at = house.clock.now()
    await house.has_group("gone", "ann", ("ben",), ("dan",), dissolved_at=at, dissolved_how="owner")
    await house.do("ann", "POST", "/v1/groups/high/transfer", {"person_id": "ben"})
    return house


def person(who: str) -> dict[str, str]:
    return {"type": "person", "id": who}


def question(who: str, action: dict[str, Any] = MUTE, resource: dict[str, Any] = G) -> dict[str, Any]:
    return {"subject": person(who), "action": action, "resource": resource}


def mute(whom: str, **more: Any) -> dict[str, Any]:
    return {"name": "group.mute", "properties": {**MUTE["properties"], "person_id": whom} | more}


async def ask(house: House, path: str, body: Any, who: str = "im", **headers: str) -> dict[str, Any]:
    """The decisions, asked with the key of `who` alone: nobody is named in a header."""
    return await house.do(who, "POST", path, body, headers=headers)


async def told(house: House, body: Any, who: str = "im") -> list[tuple[bool, str]]:
    """Each decision of a list with its reason, or else its outcome."""
    answer = await ask(house, MANY, body, who)
    assert set(answer) == {"evaluations"}
    return [
        (one["decision"], one["context"].get("reason", one["context"]["outcome"]))
        for one in answer["evaluations"]
    ]


async def traces(house: House) -> tuple[int, int]:
    return len(await house.records()), len(await house.effects())


# One question


async def test_a_permit_names_the_rule_and_leaves_no_trace(groups: House) -> None:
    """S014: who may mute is told so with rule, edition and instant; no record, no effect, and nobody is muted."""
    before = await traces(groups)
    assert await ask(groups, ONE, question("ben")) == {
        "decision": True,
        "context": {
            "outcome": "done",
            "status": 200,
            "rule": "group.mute-admin",
            "edition": groups.edition,
            "at": "2026-11-02T08:00:00.000Z",
        },
    }
    await ask(groups, MANY, {**question("ben"), "evaluations": [{}, {"subject": person("dan")}]})
    assert await traces(groups) == before
    # Done now, the act is the first one.
    await groups.do("ben", "POST", "/v1/groups/g/mutes", MUTE["properties"])


async def test_a_denial_is_an_answer_with_its_reason(groups: House) -> None:
    """A denial is 200 with `decision` false, the code and the rule, and the problem document that the act would get."""
    answer = await ask(groups, ONE, question("ben", mute("cai")))
    assert answer["decision"] is False
    because = answer["context"]
    assert (because["outcome"], because["status"], because["reason"]) == ("refused", 403, "rank_not_lower")
    act = await groups.refused(
        "rank_not_lower", "ben", "POST", "/v1/groups/g/mutes", mute("cai")["properties"]
    )
    assert because["rule"] == act["rule"]
    assert because["refusal"] == {
        name: value for name, value in act.items() if name not in {"record_id", "receipt"}
    }
    too_long = (await ask(groups, ONE, question("ben", mute("dan", seconds=2_592_000))))["context"]
    assert (too_long["reason"], too_long["refusal"]["data"]["maximum"]) == ("duration_over_limit", 604_800)


async def test_what_others_must_agree_to_is_told_as_proposed(groups: House) -> None:
    """An act that needs more people is not permitted yet: false, with outcome `proposed`; its version is a property."""
    accept = {"name": "group.accept_transfer", "properties": {"expected_version": 2}}
    answer = await ask(groups, ONE, question("ben", accept, {"type": "group", "id": "high"}))
    assert (answer["decision"], answer["context"]["outcome"], answer["context"]["status"]) == (
        False,
        "proposed",
        202,
    )
    for properties, code in (({"expected_version": 9}, "version_stale"), ({}, "version_required")):
        asked = question("ben", accept | {"properties": properties}, {"type": "group", "id": "high"})
        assert (await ask(groups, ONE, asked))["context"]["reason"] == code


async def test_what_the_caller_may_not_know_is_not_told(groups: House) -> None:
    """S014: a stranger learns of a secret group just what he learns of none."""
    await groups.has_people("zoe")
    answers = [
        await ask(groups, ONE, question("zoe", resource={"type": "group", "id": one}))
        for one in ("secret", "nowhere")
    ]
    assert [one["context"]["reason"] for one in answers] == ["unknown", "unknown"]
    for answer in answers:
        answer["context"]["refusal"].pop("data", None)
    assert answers[0] == answers[1]


Act = tuple[str, str, dict[str, Any]]


def acts() -> list[Act]:
    """Who asks, the type of the resource, and an act as /v1/checks takes it."""
    found: list[Act] = []
    for group in ("g", "high", "secret", "gone", "nowhere"):
        for who in ("ann", "ben", "dan", "nobody", "im", "mo", "reg"):
            one = {"group_id": group, "person_id": "dan"}
            found += [
                (who, "group", {"action": "group.mute", **one, "seconds": 60, "reason": "fraud"}),
                (who, "person", {"action": "group.mute", **one, "seconds": 60, "reason": "fraud"}),
                (who, "group", {"action": "group.mute", **one, "seconds": 0, "reason": "fraud"}),
                (who, "group", {"action": "group.appoint", **one}),
                (
                    who,
                    "group",
                    {"action": "group.mute", **one, "person_id": "cai", "seconds": 60, "reason": "fraud"},
                ),
                (who, "group", {"action": "group.leave", "group_id": group}),
            ]
    for who in ("au", "reg", "co", "ann", "im"):
        look = {"action": "trail.read", "subject_type": "group", "subject_id": "g", "purpose": "case 17"}
        found += [
            (who, "group", look),
            (who, "group", {name: value for name, value in look.items() if name != "purpose"}),
            (who, "person", {"action": "person.close", "person_id": "dan"}),
            (who, "staff", {"action": "staff.appoint", "staff_id": "au", "standing": "moderator", "reason": "x"}),
            (who, "key", {"action": "key.revoke", "key_id": "im", "reason": "key_leaked"}),
            (who, "operator", {"action": "operator.sign_account", "operator_id": "o", "account_id": "a"}),
            (who, "account", {"action": "operator.sign_account", "operator_id": "o", "account_id": "a"}),
        ]  # fmt: skip
    return found


KINDS = {"im": "backend", "mo": "staff", "au": "staff", "co": "staff", "reg": "regulator"}


def spelled(who: str, kind: str, act: dict[str, Any]) -> dict[str, Any]:
    """The same act in the standard's words, by the one rule there is."""
    members = dict(act)
    name = members.pop("action")
    if "subject_type" in members:
        resource = {"type": members.pop("subject_type"), "id": members.pop("subject_id")}
    else:
        resource = {"type": kind, "id": members.pop(f"{kind}_id")}
    return {
        "subject": {"type": KINDS.get(who, "person"), "id": who},
        "action": {"name": name, "properties": members},
        "resource": resource,
    }


async def test_a_decision_equals_the_check(groups: House) -> None:
    """S014: for every caller and act of the table, decision, code, rule and refusal are those of /v1/checks."""
    seen = set()
    for who, kind, act in acts():
        check = await groups.do(who, "POST", "/v1/checks", act)
        answer = await ask(groups, ONE, spelled(who, kind, act), who if who in groups.tokens else "im")
        because = answer["context"]
        assert (answer["decision"], because["outcome"], because["status"]) == (
            check["allowed"] and check["outcome"] == "done",
            check["outcome"],
            check["status"],
        ), (who, act)
        for name, member in (("reason", "code"), ("rule", "rule"), ("edition", "edition"), ("at", "at")):
            assert because.get(name, "") == check[member], (who, act)
        assert because.get("refusal") == check["refusal"], (who, act)
        seen.add(check["code"])
    assert {"", "refused", "unknown", "group_dissolved", "duration_zero", "outside_scope"} <= seen
    assert {"rank_not_lower", "not_in_group", "owner_must_transfer", "purpose_missing"} <= seen


# Whom a key asks for


async def test_a_key_asks_for_its_own_holder_and_a_backend_for_people(groups: House) -> None:
    """S020: staff, authorities and a backend ask for themselves, a backend for any person; for others it is `key_scope`."""
    look = {"name": "trail.read", "properties": {"purpose": "case 17"}}
    own = {"subject": {"type": "staff", "id": "au"}, "action": look, "resource": G}
    assert (await ask(groups, ONE, own, "au"))["context"]["rule"] == "trail.read-auditor"
    reg = own | {"subject": {"type": "regulator", "id": "reg"}}
    assert (await ask(groups, ONE, reg, "reg"))["context"]["reason"] == "outside_scope"
    backend = own | {"subject": {"type": "backend", "id": "im"}}
    assert (await ask(groups, ONE, backend))["context"]["reason"] == "refused"
    for who, kind, name in (
        ("au", "staff", "co"),
        ("au", "person", "ben"),
        ("au", "regulator", "au"),
        ("reg", "staff", "reg"),
        ("im", "staff", "au"),
        ("im", "backend", "other"),
        ("im", "user", "ben"),
    ):
        asked = own | {"subject": {"type": kind, "id": name}}
        problem = await groups.refused("key_scope", who, "POST", ONE, asked)
        assert (problem["status"], problem["pointer"]) == (403, "/subject"), (who, kind, name)
        several = {**asked, "evaluations": [{}, {"subject": own["subject"]}]}
        assert (await told(groups, several, who))[0] == (False, "key_scope")
    problem = await groups.refused("malformed", "im", "POST", ONE, question("ben\n"))
    assert problem["pointer"] == "/subject/id"


async def test_a_person_named_by_the_header_is_the_only_subject(groups: House) -> None:
    """S020: with X-On-Behalf-Of a backend's key asks for that person alone."""
    assert (await ask(groups, ONE, question("ben"), "ben"))["decision"] is True
    assert (await groups.refused("key_scope", "dan", "POST", ONE, question("ben")))["pointer"] == "/subject"
    itself = question("ben") | {"subject": {"type": "backend", "id": "im"}}
    await groups.refused("key_scope", "ben", "POST", ONE, itself)


async def test_a_key_that_does_not_hold_is_401(groups: House) -> None:
    """Neither a revoked key nor none is an answer about somebody: 401 for one question and for many."""
    async with groups.db.transaction() as tx:
        await tx.execute("UPDATE api_key SET revoked_at = $1 WHERE key_id = 'im'", groups.clock.now())
    for path, body in ((ONE, question("ben")), (MANY, question("ben") | {"evaluations": [{}, 7]})):
        answer = await groups.ask("im", "POST", path, body)
        assert (answer.status_code, answer.json()["code"]) == (401, "key_invalid")
        assert answer.headers["www-authenticate"] == "Bearer"
        bare = await groups.client.post(path, json=body)
        assert (bare.status_code, bare.json()["code"]) == (401, "key_invalid")


# Many questions


async def test_defaults_stand_in_part_by_part(groups: House) -> None:
    """A part that a question has of its own replaces the default whole; the others come from beside the list."""
    body = question("ben") | {
        "evaluations": [
            {},
            {"subject": person("dan")},
            {"action": mute("cai")},
            {"resource": {"type": "group", "id": "gone"}},
            {"action": {"name": "group.mute"}},
            {"subject": person("ann"), "action": {"name": "group.leave"}, "context": {"time": "now"}},
        ]
    }
    assert await told(groups, body) == [
        (True, "done"),
        (False, "refused"),
        (False, "rank_not_lower"),
        (False, "group_dissolved"),
        (False, "malformed"),
        (False, "owner_must_transfer"),
    ]
    alone = {"evaluations": [question("ben"), question("dan", mute("eve"))]}
    assert await told(groups, alone) == [(True, "done"), (False, "refused")]


async def test_a_list_ends_where_its_semantic_says(groups: House) -> None:
    """`deny_on_first_deny` ends with the first denial or fault, `permit_on_first_permit` with the first permit, else none."""
    denied, faulty = {"subject": person("dan")}, {"action": {"name": "group.fly"}}
    yes, no, bad = (True, "done"), (False, "refused"), (False, "malformed")
    for semantic, asked, expected in (
        ("execute_all", [{}, denied, faulty, {}], [yes, no, bad, yes]),
        ("deny_on_first_deny", [{}, {}, denied, {}], [yes, yes, no]),
        ("deny_on_first_deny", [{}, faulty, {}], [yes, bad]),
        ("deny_on_first_deny", [{}, {}], [yes, yes]),
        ("permit_on_first_permit", [denied, faulty, {}, {}], [no, bad, yes]),
        ("permit_on_first_permit", [denied, denied], [no, no]),
    ):
        body = question("ben") | {"evaluations": asked, "options": {"evaluations_semantic": semantic}}
        assert await told(groups, body) == expected
    without = question("ben") | {"evaluations": [denied, {}], "options": {"another": "value"}}
    assert await told(groups, without) == [no, yes]
    unknown = question("ben") | {"evaluations": [{}], "options": {"evaluations_semantic": "first_come"}}
    problem = await groups.refused("malformed", "im", "POST", MANY, unknown)
    assert problem["pointer"] == "/options/evaluations_semantic"


async def test_without_a_list_many_is_one(groups: House) -> None:
    """The standard's way back: no list, or an empty one, is a single question with a single decision."""
    one = await ask(groups, ONE, question("ben"))
    assert await ask(groups, MANY, question("ben")) == one
    assert await ask(groups, MANY, question("ben") | {"evaluations": []}) == one
    problem = await groups.refused("malformed", "im", "POST", MANY, {"evaluations": []})
    assert problem["pointer"] == "/subject"


async def test_a_faulty_question_stops_no_other(groups: House) -> None:
    """Each question is looked at by itself: a faulty one is false with a pointer from the whole body to its fault."""
    faulty: list[tuple[Any, str]] = [
        (7, ""),
        (None, ""),
        ({"subject": None}, "/subject"),
        ({"subject": {"type": "person"}}, "/subject/id"),
        ({"subject": {"type": "person", "id": 7}}, "/subject/id"),
        ({"action": {"name": "group.fly"}}, "/action/name"),
        ({"action": {"name": "group.expire_mute"}}, "/action/name"),
        ({"action": {"name": ["group.mute"]}}, "/action/name"),
        ({"action": {"name": "group.mute", "properties": []}}, "/action/properties"),
        ({"action": {"name": "group.mute"}}, "/action/properties/person_id"),
        ({"action": mute("dan", seconds="60")}, "/action/properties/seconds"),
        ({"action": mute("dan", group_id="g")}, "/action/properties/group_id"),
        ({"action": mute("dan", expected_version=-1)}, "/action/properties/expected_version"),
        ({"action": mute("d\u0000")}, "/action/properties/person_id"),
        ({"resource": {"type": "account", "id": "g"}}, "/resource/type"),
        ({"resource": {"type": "group", "id": "a b"}}, "/resource/id"),
        ({"resource": "g"}, "/resource"),
        ({"context": "now"}, "/context"),
        ({"action": {"name": "trail.read"}, "resource": {"type": "planet", "id": "g"}}, "/resource/type"),
        ({"action": {"name": "record.retire"}, "resource": G}, "/resource/type"),
    ]
    body = question("ben") | {"evaluations": [{}, *(one for one, _ in faulty), {}]}
    first, *found, last = (await ask(groups, MANY, body))["evaluations"]
    assert first["decision"] is last["decision"] is True
    assert [one["decision"] for one in found] == [False] * len(faulty)
    for place, (one, (_, pointer)) in enumerate(zip(found, faulty, strict=True), 1):
        assert one["context"]["outcome"] == "refused"
        refusal = one["context"]["refusal"]
        assert (refusal["code"], refusal["pointer"]) == ("malformed", f"/evaluations/{place}{pointer}")
        assert "edition" not in one["context"]


async def test_a_fault_of_a_default_is_pointed_to_where_it_stands(groups: House) -> None:
    """Where the faulty part is a default, the pointer leads to it and not into the question."""
    body = question("ben", {"name": "group.fly"}) | {"evaluations": [{}, {"action": MUTE}]}
    bad, good = (await ask(groups, MANY, body))["evaluations"]
    assert (bad["context"]["refusal"]["pointer"], good["decision"]) == ("/action/name", True)
    missing = {"subject": person("ben"), "evaluations": [{"action": MUTE}]}
    (one,) = (await ask(groups, MANY, missing))["evaluations"]
    assert one["context"]["refusal"]["pointer"] == "/evaluations/0/resource"


async def test_many_are_looked_for_together_up_to_a_limit(
    groups: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand questions are answered by four looks (`set_limit` of 300 each); one more than `batch_max` is refused."""
    looks = 0
    read: Callable[..., Any] = groups.app.state.db.read

    def counting(**more: Any) -> Any:
        nonlocal looks
        looks += bool(more.get("snapshot"))
        return read(**more)

    monkeypatch.setattr(groups.app.state.db, "read", counting)
    body = question("ben") | {"evaluations": [{}, {"subject": person("dan")}] * 500}
    assert await told(groups, body) == [(True, "done"), (False, "refused")] * 500
    assert looks == 4
    body["evaluations"].append({})
    problem = await groups.refused("batch_limit", "im", "POST", MANY, body)
    assert (problem["status"], problem["pointer"], problem["data"]) == (
        422,
        "/evaluations",
        {"maximum": 1000, "count": 1001},
    )
