"""The act and its record, shown on the order inside groups: one record, what it keeps, what it never says."""

import asyncio
from typing import Any

import msgspec
import pytest

from service.action import Action, Subject
from service.caller import Caller
from service.domain.groups.bars import BarMember, RemoveMember
from service.domain.groups.mutes import ExpireMute, MuteAll, MuteMember, UnmuteMember
from service.domain.groups.office import AppointAdmin
from service.trail.append import tag_of
from tests.kit import House

pytestmark = pytest.mark.anyio

#: Every act of this family over HTTP: method, path below the group, body, as the owner or an admin would ask.
ACTS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("ann", "POST", "mutes", {"person_id": "dan", "seconds": 60, "reason": "spam"}),
    ("ann", "DELETE", "mutes/dan", {}),
    ("ann", "PUT", "mute-all", {"seconds": 60, "reason": "quiet_hours"}),
    ("ann", "DELETE", "mute-all", {}),
    ("ann", "POST", "removals", {"person_id": "dan", "reason": "spam"}),
    ("ann", "POST", "bars", {"person_id": "dan", "reason": "spam"}),
    ("ann", "DELETE", "bars/dan", {}),
    ("ann", "POST", "hidden-items", {"locator": "i-1", "item_sha256": "0" * 64, "author_id": "dan"}),
    ("ann", "DELETE", "hidden-items/i-1", {}),
    ("ann", "POST", "pinned-notices", {"locator": "i-1"}),
    ("ann", "PUT", "admins/dan", {}),
    ("ann", "DELETE", "admins/ben", {}),
    ("ben", "POST", "stepping-down", {}),
]


@pytest.fixture
async def group(house: House) -> House:
    """Group g: ann owns it, ben and cai are admins, dan and eve members; zoe is outside."""
    await house.has_group("g", "ann", ("ben", "cai"), ("dan", "eve"))
    await house.has_people("zoe")
    return house


def tag(house: House, kind: str, one: str) -> str:
    """How a record names a subject."""
    return tag_of(house.app.state["keys"], Subject(kind, one)).hex()


async def mute(house: House, who: str, whom: str, **more: Any) -> Any:
    body = {"person_id": whom, "seconds": 60, "reason": "spam", "note": more.pop("note", None)}
    return await house.ask(who, "POST", "/v1/groups/g/mutes", body, **more)


async def state(house: House) -> list[Any]:
    """All facts of the family, to compare before and after."""
    tables = ("groups", "role", "mute", "mute_all", "bar", "hidden_item", "pinned_notice", "record", "outbox")
    async with house.db.read() as db:
        return [await db.fetch(f"SELECT * FROM {table} t ORDER BY t::text") for table in tables]


async def test_everything_in_a_dissolved_group_is_gone(house: House) -> None:
    """S050: each act on a dissolved group answers group_dissolved, 410, on record for those inside; nothing else changes."""
    await house.has_group(
        "g", "ann", ("ben",), ("dan",), dissolved_at=house.clock.now(), dissolved_how="owner"
    )
    before = (await state(house))[:7]
    for who, method, path, body in ACTS:
        problem = await house.refused("group_dissolved", who, method, f"/v1/groups/g/{path}", body)
        assert (problem["status"], problem["record_id"]) == (410, (await house.records())[-1]["id"])
    assert (await state(house))[:7] == before
    assert len(await house.records()) == len(ACTS)
    await house.has_people("zoe")
    problem = await house.refused("group_dissolved", "zoe", "PUT", "/v1/groups/g/mute-all", {"seconds": 60})
    assert "record_id" not in problem


async def test_an_unknown_group_answers_otherwise(house: House) -> None:
    """S051: an unknown id is 404 where a dissolved one is 410; no record is made."""
    await house.has_people("ann", "ben")
    for who, method, path, body in ACTS:
        await house.refused("unknown", who, method, f"/v1/groups/nowhere/{path}", body)
    assert await house.records() == []


async def test_standing_comes_from_the_facts_and_never_from_the_caller(group: House) -> None:
    """S003: a claimed standing is malformed; what counts is the role at that instant, also when it changed a moment ago."""
    claim = {"person_id": "dan", "seconds": 60, "reason": "spam", "standing": "owner"}
    await group.refused("malformed", "eve", "POST", "/v1/groups/g/mutes", claim)
    assert (await mute(group, "ben", "dan")).status_code == 200
    await group.do("ann", "DELETE", "/v1/groups/g/admins/ben", {})
    assert (await mute(group, "ben", "dan")).json()["code"] == "refused"


async def test_acts_that_meet_are_decided_on_what_the_other_left(group: House) -> None:
    """S003, S001: of an admin's acts and his removal in parallel, those after the removal in the record are refused."""
    remove = {"person_id": "ben", "reason": "abuse"}
    await asyncio.gather(
        *(mute(group, "ben", "dan") for _ in range(5)),
        group.ask("ann", "POST", "/v1/groups/g/removals", remove),
        *(mute(group, "ben", "eve") for _ in range(5)),
    )
    acts = [(one["act"], one["out"]) for one in await group.records()]
    gone = acts.index(("group.remove_member", "done"))
    assert {out for _, out in acts[:gone]} <= {"done"}
    assert "done" not in {out for _, out in acts[gone + 1 :]}


async def test_the_record_keeps_what_all_were_then(group: House) -> None:
    """S004: standing of caller and target, tier, class and edition stay in the record as they were, whatever comes after."""
    receipt = (await mute(group, "ben", "dan")).json()
    await group.do("ann", "DELETE", "/v1/groups/g/mutes/dan", {})
    await group.do("ann", "PUT", "/v1/groups/g/admins/dan", {})
    await group.do("ann", "DELETE", "/v1/groups/g/admins/ben", {})
    (record,) = await group.records("group.mute")
    assert record["by"]["standing"] == "group.admin"
    assert record["p"]["then"] == {"tier": 2, "class": "community", "standing": "member"}
    assert record["policy"] == receipt["edition"]
    assert record["basis"] == ["group-rules:art.9", "cyberviolence-rules:art.16"]
    assert (await group.records("group.dismiss"))[0]["p"]["then"]["standing"] == "admin"


async def test_the_record_names_the_line_that_decided(group: House) -> None:
    """S005: the allowing line, the denying line, or none where no line matched."""
    await mute(group, "ben", "dan")
    await mute(group, "ben", "ben")
    await mute(group, "dan", "eve")
    assert [(one["out"], one["rule"]) for one in await group.records("group.mute")] == [
        ("done", "group.mute-admin"),
        ("refused", "group.mute-admin-self"),
        ("refused", "none"),
    ]


async def test_strangers_are_refused_without_a_record(group: House) -> None:
    """S006: nobody fills the log from outside: a stranger's attempts leave no record, those of a member do."""
    before = await state(group)
    for _, method, path, body in ACTS:
        answer = await group.ask("zoe", method, f"/v1/groups/g/{path}", body)
        assert (answer.status_code, "record_id" in answer.json()) == (403, False)
        assert (await group.ask("nobody", method, f"/v1/groups/g/{path}", body)).status_code == 404
    assert await state(group) == before
    for _, method, path, body in ACTS:
        answer = await group.ask("eve", method, f"/v1/groups/g/{path}", body)
        assert (answer.status_code, answer.json()["rule"]) == (403, "none")
    assert len(await group.records()) == len(ACTS)


async def test_two_keys_are_two_acts(group: House) -> None:
    """S011: the same body under two request keys is asked twice: the second finds nothing left to do."""
    await mute(group, "ben", "dan")
    await group.do("ben", "DELETE", "/v1/groups/g/mutes/dan", {}, key="one")
    await group.refused("not_in_state", "ben", "DELETE", "/v1/groups/g/mutes/dan", {}, key="two")
    assert [one["out"] for one in await group.records("group.unmute")] == ["done", "refused"]


async def test_the_same_key_for_two_people_is_two_requests(group: House) -> None:
    """S010, S020: a request key belongs to the key and the person acted for: another person under it is refused."""
    assert (await mute(group, "ben", "dan", key="k")).status_code == 200
    assert (await mute(group, "cai", "dan", key="k")).json()["code"] == "request_key_reused"


async def test_an_expected_version_is_optional_on_a_mute(group: House) -> None:
    """S012: without a version a mute is decided on the facts; with one it must be the group's present one."""
    assert (await mute(group, "ben", "dan", version=1)).status_code == 200
    stale = await mute(group, "ben", "dan", version=7)
    assert (stale.status_code, stale.json()["code"], stale.json()["data"]) == (
        412,
        "version_stale",
        {"version": 1},
    )
    wrong = await mute(group, "ben", "dan", headers={"if-match": "W/x"})
    assert (wrong.json()["code"], wrong.json()["pointer"]) == ("malformed", "If-Match")
    assert len(await group.records("group.mute")) == 1


@pytest.mark.parametrize(
    ("who", "action"),
    [
        ("ben", MuteMember(group_id="g", person_id="dan", seconds=60, reason="spam")),
        ("ben", MuteMember(group_id="g", person_id="cai", seconds=60, reason="spam")),
        ("ben", MuteMember(group_id="g", person_id="dan", seconds=2_592_000, reason="spam")),
        ("ben", MuteMember(group_id="g", person_id="dan", seconds=0, reason="spam")),
        ("ben", MuteMember(group_id="g", person_id="dan", seconds=60)),
        ("ben", UnmuteMember(group_id="g", person_id="dan")),
        ("dan", MuteAll(group_id="g", seconds=60, reason="spam")),
        ("ann", RemoveMember(group_id="g", person_id="zoe", reason="spam")),
        ("ann", BarMember(group_id="g", person_id="ben", days=None, reason="spam")),
        ("ann", AppointAdmin(group_id="g", person_id="dan")),
        ("zoe", AppointAdmin(group_id="g", person_id="dan")),
        ("ann", AppointAdmin(group_id="h", person_id="dan")),
    ],
)
async def test_may_he_is_answered_without_acting(group: House, who: str, action: Action) -> None:
    """S014: asking whether one may changes nothing, and names the status, code and rule that the act then answers."""
    caller = Caller(kind="person", key_id="im", person_id=who)
    door = group.app.state.door
    before = await state(group)
    asked = (await door.check(action, caller=caller)).answer
    assert await state(group) == before
    acted = await door.act(action, caller=caller)
    assert (asked.status, asked.outcome, asked.code, asked.rule) == (
        acted.status,
        acted.outcome,
        acted.code,
        acted.rule,
    )
    told, done = msgspec.json.decode(asked.body), msgspec.json.decode(acted.body)
    assert told.get("data") == done.get("data")
    assert told.get("edition") == done.get("edition")


@pytest.mark.parametrize(
    ("tier", "note", "pointer"),
    [
        (2, None, None),
        (3, None, "/note"),
        (3, "too short", "/note"),
        (3, "!" * 40, "/note"),
        (3, "   spaces    ", "/note"),
        (3, "just long enough", None),
        (4, "just long enough", "/note"),
        (4, "诈骗信息,已多次提醒仍然继续发布广告链接", None),
    ],
)
async def test_a_note_is_as_long_as_the_tier_asks(
    house: House, tier: int, note: str | None, pointer: str | None
) -> None:
    """S018: shorter than the tier's minimum, or punctuation alone, is reason_missing, and the place is named."""
    await house.has_group("g", "ann", (), ("dan",), tier=tier)
    answer = await mute(house, "ann", "dan", note=note)
    if pointer is None:
        assert answer.status_code == 200
    else:
        problem = answer.json()
        assert (problem["code"], problem["pointer"]) == ("reason_missing", pointer)
        assert problem["data"]["minimum"] == {3: 10, 4: 20}[tier]


async def test_a_reason_is_a_code_of_the_published_list(group: House) -> None:
    """S018: where a reason is asked for none and unknown ones are refused; where it is not, an unknown one is too."""
    for said in ({}, {"reason": "mood"}, {"reason": None}):
        body = {"person_id": "dan", "seconds": 60} | said
        problem = await group.refused("reason_missing", "ben", "POST", "/v1/groups/g/mutes", body)
        assert problem["pointer"] == "/reason"
    await mute(group, "ben", "dan")
    await group.do("ben", "DELETE", "/v1/groups/g/mutes/dan", {})
    assert [one.get("why") for one in await group.records("group.mute")][-1] == "spam"
    await mute(group, "ben", "dan")
    await group.refused("reason_missing", "ben", "DELETE", "/v1/groups/g/mutes/dan", {"reason": "mood"})


async def test_a_note_is_sealed_and_shown_nowhere(group: House) -> None:
    """S019: a note is in no answer, no effect and no public part of a record; only its commitment is."""
    words = "Zhang San from flat 12 complained"
    answer = await mute(group, "ben", "dan", note=words)
    read = await group.ask("dan", "GET", "/v1/groups/g/mutes/dan")
    async with group.db.read() as db:
        everything = await db.fetch(
            "SELECT body FROM record UNION ALL SELECT payload::text::bytea FROM outbox"
        )
        sealed = await db.fetch("SELECT name, sealed FROM record_field")
    shown = [answer.content, read.content, *(row["body"] for row in everything)]
    assert not [one for one in shown if b"Zhang" in one]
    assert [(row["name"], b"Zhang" in row["sealed"]) for row in sealed] == [("note", False)]
    assert set((await group.records("group.mute"))[0]["sd"]) == {"note"}


async def test_no_record_names_a_person_or_group_by_id(house: House) -> None:
    """S019, P1: the public part names subjects by tag and role alone, whatever was done to them."""
    people = ("owner-olga", "admin-adam", "member-mia", "member-max")
    await house.has_group("group-gamma", people[0], (people[1],), people[2:])
    base = "/v1/groups/group-gamma"
    mia, max_ = people[2:]
    await house.do(people[0], "PUT", f"{base}/admins/{mia}", {})
    await house.do(people[0], "DELETE", f"{base}/admins/{mia}", {})
    await house.do(people[1], "POST", f"{base}/mutes", {"person_id": mia, "seconds": 60, "reason": "spam"})
    item = {"locator": "locator-l", "item_sha256": "0" * 64, "author_id": mia}
    await house.do(people[1], "POST", f"{base}/hidden-items", item)
    await house.do(people[1], "POST", f"{base}/removals", {"person_id": mia, "reason": "spam"})
    await house.do(people[0], "POST", f"{base}/bars", {"person_id": max_, "days": None, "reason": "spam"})
    await house.do(people[1], "POST", f"{base}/stepping-down", {})
    text = str(await house.records())
    assert not [one for one in (*people, "group-gamma", "locator-l") if one in text]


async def test_person_key_and_staff_member_are_three_fields(group: House) -> None:
    """S020, S015: the actor is the person, the staff member or nobody; the key stands beside and is never the actor."""
    await mute(group, "ben", "dan")
    await group.do("mo", "POST", "/v1/groups/g/pinned-notices", {"locator": "n-1"})
    await mute(group, "im", "dan")
    group.clock.advance(61)
    await group.by_time(ExpireMute(group_id="g", person_id="dan"))
    person, staff, backend, time = await group.records()
    assert person["by"] == {"kind": "person", "standing": "group.admin", "tag": tag(group, "person", "ben")}
    assert person["p"]["key"] == "im"
    assert staff["by"] == {"kind": "staff", "standing": "staff.moderator", "tag": tag(group, "staff", "mo")}
    assert staff["p"]["key"] == "mo"
    assert backend["by"] == {"kind": "system", "standing": "system.backend", "tag": None}
    assert (backend["out"], backend["p"]["key"]) == ("refused", "im")
    assert time["by"] == {"kind": "system", "standing": "system.sweep", "tag": None}
    assert "key" not in time["p"]


async def test_every_subject_of_an_act_is_in_its_record(group: House) -> None:
    """S002: target, person acted on, actor and territory are all tagged, so that each one's trail finds the record."""
    await mute(group, "ben", "dan")
    (record,) = await group.records("group.mute")
    assert set(record["subj"]) == {
        tag(group, "group", "g"),
        tag(group, "person", "dan"),
        tag(group, "person", "ben"),
        tag(group, "jurisdiction", "CN-110000"),
    }
    assert record["subj"][record["p"]["who"]["person"]] == tag(group, "person", "dan")
