"""People: known, verified, counted, bound by terms, and gone for good."""

import asyncio
import base64
import datetime as dt
import hashlib
import uuid
from typing import Any

import pytest

from service.domain.identity import is_id_card, is_opaque, looks_raw
from tests.kit import MORNING, House

pytestmark = pytest.mark.anyio

REF = "4f1c8a52-9d3e-4b7a-8c61-0e5f2d9ab743"
CARD = "11010519491231002X"
PERSON = {"jurisdiction": "CN-110000"}
VERIFIED = {"status": "verified", "methods": ["mobile", "id_document"], "identity_ref": REF}

TELLING = [
    CARD,
    f"card-{CARD}",
    "13812345678",
    "mobile-13812345678",
    "ann.lee@example.com",
    "passport_E12345678",
    "zhang-san-chaoyang-road-12",
    "ZhangSanBeijing1984",
    "北京市朝阳区建国路一号",
    "Zhang San, Beijing",
    "short",
    "00000000000000000000013812345678",
]


async def verify(house: House, who: str, **body: Any) -> Any:
    return await house.ask("im", "PUT", f"/v1/people/{who}/identity", VERIFIED | body)


async def seen(house: House, who: str) -> dict[str, Any]:
    return await house.do("im", "GET", f"/v1/people/{who}")


# Known


async def test_a_person_becomes_known_and_is_unverified(house: House) -> None:
    """S002: registering makes one record and a person of version 1, unverified, whose version is the ETag."""
    receipt = await house.do("im", "PUT", "/v1/people/ann", PERSON | {"minor": "no"})
    assert receipt["result"] == {"identity_status": "unverified", "version": 1}
    assert [one["out"] for one in await house.records("person.register")] == ["done"]
    answer = await house.ask("im", "GET", "/v1/people/ann")
    assert answer.headers["etag"] == '"1"'
    assert answer.json() == {
        "person_id": "ann",
        "jurisdiction": "CN-110000",
        "identity_status": "unverified",
        "identity_methods": [],
        "verified_at": None,
        "minor": "no",
        "bot": False,
        "credit_level": None,
        "groups_owned": 0,
        "groups_joined": 0,
        "seen_at": None,
        "terms_accepted": [],
        "created_at": "2026-11-02T08:00:00.000Z",
        "closed_at": None,
        "erased_at": None,
        "version": 1,
    }


async def test_an_id_is_given_once_for_ever(house: House) -> None:
    """P4: a known id is refused, also after its person has closed; of ten parallel registrations one succeeds."""
    answers = await asyncio.gather(
        *(house.ask("im", "PUT", "/v1/people/ann", PERSON | {"bot": n > 4}) for n in range(10))
    )
    assert sorted(one.status_code for one in answers) == [201] + [409] * 9
    await house.do("ann", "POST", "/v1/people/ann/closure", {})
    await house.refused("already_exists", "im", "PUT", "/v1/people/ann", PERSON)


async def test_only_the_backend_in_its_own_name_makes_people_known(house: House) -> None:
    """S006: people and staff are refused with rule none; the attempt of staff is on record, that of a stranger is not."""
    await house.has_people("ann")
    for who in ("ann", "co"):
        assert (await house.refused("refused", who, "PUT", "/v1/people/bob", PERSON))["rule"] == "none"
    assert [one["by"]["kind"] for one in await house.records("person.register")] == ["staff"]


# Verified


async def test_a_check_keeps_its_outcome_and_never_the_identity(house: House) -> None:
    """P1, S059: status, methods and instant are kept, the reference is sealed and shown to nobody; again is fresh again."""
    await house.do("im", "PUT", "/v1/people/ann", PERSON)
    await house.do("im", "PUT", "/v1/people/ann/identity", VERIFIED)
    house.clock.advance(60)
    await house.do("im", "PUT", "/v1/people/ann/identity", VERIFIED)
    ann = await seen(house, "ann")
    assert (ann["identity_status"], ann["identity_methods"]) == ("verified", ["mobile", "id_document"])
    assert ann["verified_at"] == "2026-11-02T08:01:00.000Z"
    assert "identity_ref" not in ann
    record = (await house.records("person.verify"))[0]
    assert record["p"]["after"] == {"identity_status": "verified", "methods": ["mobile", "id_document"]}
    assert list(record["sd"]) == ["identity_ref"]
    assert REF not in str(record)


@pytest.mark.parametrize("status", ["failed", "withdrawn"])
async def test_what_is_no_longer_proved_is_no_longer_kept(house: House, status: str) -> None:
    """P1: after a failed or withdrawn check only the outcome stays; groups owned stay, to be found by succession."""
    await house.has_group("g", "ann")
    await house.do("im", "PUT", "/v1/people/ann/identity", {"status": status, "methods": ["mobile"]})
    ann = await seen(house, "ann")
    assert (ann["identity_status"], ann["identity_methods"], ann["verified_at"]) == (status, [], None)
    async with house.db.read() as db:
        assert await db.fetchval("SELECT owner_id FROM groups WHERE group_id = 'g'") == "ann"


async def test_a_reference_that_tells_something_is_dropped(house: House) -> None:
    """P1: a number, address, name or document as reference is refused, leaves no record and stands nowhere."""
    await house.has_people("ann", identity_status="unverified")
    for reference in TELLING:
        answer = await verify(house, "ann", identity_ref=reference)
        assert (answer.status_code, answer.json()["code"]) == (400, "raw_identity"), reference
        assert answer.json()["pointer"] == "/identity_ref"
        assert reference not in answer.text
    assert await house.records("person.verify") == []
    assert (await seen(house, "ann"))["identity_status"] == "unverified"
    async with house.db.read() as db:
        assert await db.fetchval("SELECT count(*) FROM request_key WHERE status = 400") == 0


def test_what_verifiers_use_is_opaque() -> None:
    """P1: UUIDs, digests and random tokens are taken; no random reference is refused by chance."""
    for place in range(20_000):
        digest = hashlib.sha256(str(place).encode()).digest()
        assert is_opaque(digest.hex())
        assert is_opaque(str(uuid.UUID(bytes=digest[:16])))
        assert is_opaque(base64.urlsafe_b64encode(digest).decode().rstrip("=")), place
    assert is_opaque("01ARZ3NDEKTSV4RRFFQ69G5FAV")


def test_numbers_that_people_are_known_by_are_recognised() -> None:
    """P1: an identity number is told by day of birth and check letter; phones and e-mails by their form."""
    assert is_id_card(CARD)
    assert not is_id_card("110105194912310021")
    assert not is_id_card("11010519491331002X")
    for text in (CARD, CARD.lower(), "+86 138 1234 5678", "138 1234 5678", "a 13812345678 b", "x@y.cn"):
        assert looks_raw(text), text
    for text in ("唐山网警巡查执法", "u1381234", "user:77", "2026-11-02", "G20", "12345678901234567890"):
        assert not looks_raw(text), text


async def test_a_check_names_its_methods_and_nothing_else(house: House) -> None:
    """P1: methods are named once each, what is verified has a reference, and no field takes a name."""
    await house.has_people("ann")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"methods": []}, "/methods"),
        ({"methods": ["mobile", "mobile"]}, "/methods"),
        ({"methods": ["face"]}, "/methods/0"),
        ({"identity_ref": None}, "/identity_ref"),
        ({"status": "unverified"}, "/status"),
        ({"status": "failed", "methods": []}, "/methods"),
        ({"name": "张三"}, "/name"),
    ]
    for body, pointer in cases:
        answer = await verify(house, "ann", **body)
        assert (answer.json()["code"], answer.json()["pointer"]) == ("malformed", pointer)
        assert "张三" not in answer.text


async def test_an_id_that_is_somebodys_number_is_refused(house: House) -> None:
    """P1: ids are opaque; a phone number, an address or an identity number is none."""
    for person in ("13812345678", CARD, "ann@example.com"):
        problem = await house.refused("raw_identity", "im", "PUT", f"/v1/people/{person}", PERSON)
        assert problem["pointer"] == "/person_id"
        assert person not in str(problem)


# Facts and terms


async def test_facts_change_one_by_one(house: House) -> None:
    """P1: only what is named changes, the last time seen never goes back, what is personal is sealed."""
    await house.has_people("ann")
    await house.do("im", "PATCH", "/v1/people/ann", {"seen_at": "2026-11-02T15:59:00.123456+08:00"})
    await house.do("im", "PATCH", "/v1/people/ann", {"seen_at": "2026-11-01T00:00:00Z", "minor": "yes"})
    await house.do("im", "PATCH", "/v1/people/ann", {"bot": True})
    ann = await seen(house, "ann")
    assert (ann["minor"], ann["bot"], ann["seen_at"]) == ("yes", True, "2026-11-02T07:59:00.123Z")
    assert ann["version"] == 4
    records = await house.records("person.update_facts")
    assert [one["p"]["asked"]["facts"] for one in records] == [["seen_at"], ["minor", "seen_at"], ["bot"]]
    assert sorted(records[1]["sd"]) == ["minor", "seen_at"]
    assert (records[2]["p"]["before"], records[2]["p"]["after"]) == ({"bot": False}, {"bot": True})


async def test_impossible_facts_are_refused(house: House) -> None:
    """S003: no fact, one from the future, one without time zone and an unknown one are refused by name."""
    await house.has_people("ann")
    cases: list[tuple[dict[str, Any], str | None]] = [
        ({}, None),
        ({"seen_at": "2026-11-02T08:00:00.001Z"}, "/seen_at"),
        ({"seen_at": "2026-11-02T07:00:00"}, "/seen_at"),
        ({"minor": "perhaps"}, "/minor"),
        ({"phone": "13812345678"}, "/phone"),
    ]
    for body, pointer in cases:
        problem = await house.refused("malformed", "im", "PATCH", "/v1/people/ann", body)
        assert problem.get("pointer") == pointer
        assert "13812345678" not in str(problem)


async def test_terms_are_accepted_in_the_version_in_force(house: House) -> None:
    """S213: the version in force is accepted once, with its instant; older, coming and unknown ones are not in force."""
    await house.has_people("ann")
    path, now = "/v1/people/ann/terms", {"document": "user_agreement", "document_version": "2"}
    old = now | {"document_version": "1"}
    assert (await house.refused("not_in_force", "ann", "POST", path, old))["data"] == {"in_force": "2"}
    await house.refused("not_in_force", "ann", "POST", path, now | {"document": "no_such_rules"})
    await house.do("ann", "POST", path, now)
    await house.refused("already_in_state", "ann", "POST", path, now)
    house.clock.set(dt.datetime(2026, 6, 30, 23, tzinfo=dt.UTC))
    await house.refused("not_in_force", "ann", "POST", path, now)
    await house.do("ann", "POST", path, old)
    assert (await seen(house, "ann"))["terms_accepted"] == [
        {"document": "user_agreement", "version": "2", "at": "2026-11-02T08:00:00.000Z"},
        {"document": "user_agreement", "version": "1", "at": "2026-06-30T23:00:00.000Z"},
    ]
    assert [one["out"] for one in await house.records("person.accept_terms")] == ["done", "done"]


async def test_nobody_accepts_terms_for_another(house: House) -> None:
    """S161: to another person there is no such person; the backend itself is refused with rule none."""
    await house.has_people("ann", "bob")
    body = {"document": "user_agreement", "document_version": "2"}
    await house.refused("unknown", "bob", "POST", "/v1/people/ann/terms", body)
    await house.refused("unknown", "bob", "POST", "/v1/people/nobody/terms", body)
    assert (await house.refused("refused", "im", "POST", "/v1/people/ann/terms", body))["rule"] == "none"


# Gone


async def test_closing_ends_every_membership_at_the_same_instant(house: House) -> None:
    """S002, S036, G8: roles end by the closing's record, headcounts follow, each group is named, the backend is told."""
    await house.has_group("g", "ben", ("ann",), ("dan",))
    await house.has_group("h", "dan", (), ("ann", "ben"))
    receipt = await house.do("ann", "POST", "/v1/people/ann/closure", {})
    assert receipt["result"]["closed_at"] == "2026-11-02T08:00:00.000Z"
    async with house.db.read() as db:
        groups = await db.fetch("SELECT member_count, admin_count FROM groups ORDER BY group_id")
        assert [tuple(one) for one in groups] == [(2, 0), (2, 0)]
        roles = await db.fetch("SELECT until_at, ended_record FROM role WHERE person_id = 'ann'")
        assert {tuple(one) for one in roles} == {(MORNING, receipt["record_id"])}
        assert await db.fetchval("SELECT count(*) FROM role WHERE until_at IS NULL") == 4
    record = (await house.records("person.close"))[0]
    assert record["p"]["coupled"] == [
        {"id": 1, "what": "membership_ended", "group": "group_1", "rank": 2},
        {"id": 2, "what": "membership_ended", "group": "group_2", "rank": 1},
    ]
    assert {"group_1", "group_2"} <= record["p"]["who"].keys()
    assert await house.effects("person.closed") == [{"person_id": "ann", "left_groups": ["g", "h"]}]
    # Whoever takes the effects of groups alone hears of it too.
    left = [{"group_id": group_id, "person_id": "ann"} for group_id in ("g", "h")]
    assert await house.effects("group.left") == left


async def test_who_owns_or_runs_something_hands_over_first(house: House) -> None:
    """S066: an owner of a group, or whoever answers for an operator with accounts, is told to transfer."""
    await house.has_group("g", "ann")
    problem = await house.refused("owner_must_transfer", "ann", "POST", "/v1/people/ann/closure", {})
    assert problem["data"] == {"groups": 1, "accounts": 0}
    await house.has_people("bob")
    operator = {"operator_id": "o", "kind": "person", "name": "O", "jurisdiction": "CN-110000"}
    await house.do("bob", "POST", "/v1/operators", operator)
    await house.do("im", "PUT", "/v1/operators/o/identity", VERIFIED)
    account = {
        "account_id": "a",
        "operator_id": "o",
        "name": "A",
        "class": "life",
        "jurisdiction": "CN-110000",
    }
    await house.do("bob", "POST", "/v1/accounts", account)
    problem = await house.refused("owner_must_transfer", "im", "POST", "/v1/people/bob/closure", {})
    assert problem["data"] == {"groups": 0, "accounts": 1}
    await house.do("cl", "POST", "/v1/accounts/a/refusal", {"reason": "routine"})
    await house.do("im", "POST", "/v1/people/bob/closure", {})


async def test_a_dissolved_group_holds_nobody_and_is_left_as_it_is(house: House) -> None:
    """G3: closing touches no dissolved group, and having owned one does not stand in its way."""
    await house.has_group(
        "g", "ann", (), ("ben",), dissolved_at=MORNING, dissolved_how="owner", dissolved_record="r"
    )
    await house.do("ann", "POST", "/v1/people/ann/closure", {})
    async with house.db.read() as db:
        (group,) = await db.fetch("SELECT member_count, version FROM groups")
        assert tuple(group) == (2, 1)


async def test_a_closed_person_is_gone(house: House) -> None:
    """P4: after closing the person can do nothing and nothing changes the person; closing again is gone too."""
    await house.has_people("ann")
    await house.do("ann", "POST", "/v1/people/ann/closure", {})
    terms = {"document": "user_agreement", "document_version": "2"}
    await house.refused("person_closed", "ann", "POST", "/v1/people/ann/terms", terms)
    await house.refused("person_closed", "im", "PATCH", "/v1/people/ann", {"bot": True})
    await house.refused("person_closed", "im", "PUT", "/v1/people/ann/identity", VERIFIED)
    await house.refused("person_closed", "im", "POST", "/v1/people/ann/closure", {})
    assert (await seen(house, "ann"))["closed_at"] == "2026-11-02T08:00:00.000Z"
    assert [one["out"] for one in await house.records("person.verify")] == ["refused"]


async def test_one_closes_oneself_only(house: House) -> None:
    """S161: for another person there is nobody to close; staff are refused with rule none."""
    await house.has_people("ann", "bob")
    await house.refused("unknown", "bob", "POST", "/v1/people/ann/closure", {})
    assert (await house.refused("refused", "mo", "POST", "/v1/people/ann/closure", {}))["rule"] == "none"


async def test_a_person_with_more_groups_than_a_record_can_name_closes(house: House) -> None:
    """G8: every membership ends by the closing's record, also those that the record counts without naming."""
    for n in range(70):
        await house.has_group(f"g{n:02}", "ben", (), ("ann",))
    receipt = await house.do("ann", "POST", "/v1/people/ann/closure", {})
    record = (await house.records("person.close"))[0]
    assert record["p"]["before"] == {"memberships": 70}
    assert len(record["p"]["coupled"]) == 60
    async with house.db.read() as db:
        ended = "SELECT count(*) FROM role WHERE person_id = 'ann' AND ended_record = $1"
        assert await db.fetchval(ended, receipt["record_id"]) == 70


# Reads


async def test_a_person_is_shown_to_those_who_may_know(house: House) -> None:
    """S161, S021: the person and the backend see all, staff an outline without personal facts, others that there is nobody."""
    await house.has_people("ann", "bob", minor="yes")
    assert (await house.do("ann", "GET", "/v1/people/ann"))["minor"] == "yes"
    outline = await house.do("mo", "GET", "/v1/people/ann")
    assert outline["identity_status"] == "verified"
    assert not outline.keys() & {"minor", "seen_at", "terms_accepted", "identity_methods", "identity_ref"}
    await house.refused("unknown", "bob", "GET", "/v1/people/ann")
    await house.refused("refused", "reg", "GET", "/v1/people/ann")
    await house.refused("unknown", "im", "GET", "/v1/people/nobody")


async def test_a_stale_version_is_refused(house: House) -> None:
    """S012: an act on a person that expects another version changes nothing."""
    await house.has_people("ann")
    problem = await house.refused("version_stale", "im", "PATCH", "/v1/people/ann", {"bot": True}, version=7)
    assert problem["data"] == {"version": 1}
