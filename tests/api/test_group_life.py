"""The life of a group: founded or imported, its facts and profile kept, and read."""

import asyncio
import re
from typing import Any

import msgspec
import pytest

from service.domain.groups.facts import Group, Role
from tests.kit import House

pytestmark = pytest.mark.anyio

BODY = {
    "group_id": "g",
    "name": "Neighbours",
    "class": "community",
    "capacity": 200,
    "join_mode": "approval",
}


@pytest.fixture
async def group(house: House) -> House:
    """Group g of tier 2, registered by ann; ben is admin and dan a member."""
    await house.has_people("ann", "eve")
    await house.has_group("g", "ann", ("ben",), ("dan",))
    return house


async def facts(house: House, group_id: str = "g") -> Group:
    async with house.db.read() as db:
        return (await Group.look(db, [(group_id,)]))[group_id,]


# Registration


async def test_whoever_founds_a_group_answers_for_it(house: House) -> None:
    """G1, G2, record 1 of the day: owner interval, public code, score 13, floor 2, tier 2, the backend told."""
    await house.has_people("ann")
    answer = await house.ask("ann", "POST", "/v1/groups", BODY)
    receipt = answer.json()
    assert (answer.status_code, receipt["rule"]) == (201, "group.register-stranger")
    result = receipt["result"]
    assert (result["score"], result["floor"], result["tier"], result["owner_id"]) == (13, 2, 2, "ann")
    assert re.fullmatch(r"([A-Z2-7]{4}-){3}[A-Z2-7]{4}", result["code"])
    group = await facts(house)
    assert (group.owner_id, group.ownerless_since, group.member_count) == ("ann", None, 1)
    assert (group.code, group.jurisdiction, group.imported) == (result["code"], "CN-110000", False)
    async with house.db.read() as db:
        role = (await Role.look(db, [("g", "ann")]))["g", "ann"]
    assert (role.rank, role.from_at, role.by_record) == (3, house.clock.now(), receipt["record_id"])
    assert [one["owner_id"] for one in await house.effects("group.registered")] == ["ann"]


async def test_the_record_of_a_registration_holds_facts_but_no_name(house: House) -> None:
    """S002, S004: what was computed and how is public; name and code are sealed, ids stand nowhere."""
    await house.has_people("ann")
    receipt = await house.do("ann", "POST", "/v1/groups", BODY)
    record = (await house.records("group.register"))[0]
    assert record["p"]["after"]["points"]["nature"] == 10
    assert record["p"]["then"]["class"] == "community"
    assert record["sd"].keys() == {"name", "code"}
    text = msgspec.json.encode(record).decode()
    assert [word for word in ("Neighbours", receipt["result"]["code"], '"ann"', '"g"') if word in text] == []


@pytest.mark.parametrize(
    ("person", "code", "data"),
    [
        ({"identity_status": "unverified"}, "identity_unverified", {}),
        ({"identity_status": "failed"}, "identity_unverified", {}),
        ({"identity_status": "withdrawn"}, "identity_unverified", {}),
        ({"bot": True}, "not_eligible", {"why": "bot"}),
    ],
)
async def test_who_may_not_found_a_group(
    house: House, person: dict[str, Any], code: str, data: dict[str, Any]
) -> None:
    """S045, P3: the unverified and bots found no group, and none is imported for them."""
    await house.has_people("ann", **person)
    problem = await house.refused(code, "ann", "POST", "/v1/groups", BODY)
    assert problem.get("data", {}) == data
    await house.refused(code, "im", "POST", "/v1/groups", BODY | {"owner_id": "ann", "member_count": 5})
    await house.refused("unknown", "im", "GET", "/v1/groups/g")


async def test_an_id_is_given_once(house: House) -> None:
    """G3, S011: of five parallel registrations of one id exactly one is done; a dissolved group's id stays reserved."""
    people = [f"p{number}" for number in range(5)]
    await house.has_people(*people)
    answers = await asyncio.gather(
        *(house.ask(person, "POST", "/v1/groups", BODY | {"capacity": 50}) for person in people)
    )
    codes = [answer.json().get("code", "") for answer in answers]
    assert sorted(codes) == ["", *["already_exists"] * 4]
    owner = people[codes.index("")]
    before = await facts(house)
    await house.do(owner, "POST", "/v1/groups/g/dissolution", {}, version=1)
    await house.refused("already_exists", people[0], "POST", "/v1/groups", BODY)
    assert (await facts(house)).code == before.code


async def test_every_group_has_its_own_code(house: House) -> None:
    """G5: codes are unique and stay when name and class change."""
    await house.has_people("ann")
    receipts = [
        await house.do("ann", "POST", "/v1/groups", BODY | {"group_id": f"g{number}"}) for number in range(3)
    ]
    codes = [receipt["result"]["code"] for receipt in receipts]
    assert len(set(codes)) == 3
    await house.do("ann", "PUT", "/v1/groups/g0/profile", {"name": "Others", "class": "school"})
    assert (await house.do("ann", "GET", "/v1/groups/g0"))["code"] == codes[0]


async def test_capacity_is_within_what_the_heaviest_tier_allows(house: House) -> None:
    """S085, G4: above it `cap_members` with cap and count; each capacity below gets the tier whose cap fits it (S083)."""
    await house.has_people("ann")
    problem = await house.refused("cap_members", "ann", "POST", "/v1/groups", BODY | {"capacity": 2001})
    assert problem["data"] == house.at_cap(2000, 2001, "group.effect.member_cap.4")
    await house.refused("malformed", "ann", "POST", "/v1/groups", BODY | {"capacity": 0})
    for capacity, tier in ((50, 1), (51, 2), (200, 2), (201, 3), (500, 3), (501, 4), (2000, 4)):
        body = BODY | {"group_id": f"g{capacity}", "capacity": capacity, "class": "family"}
        assert (await house.do("ann", "POST", "/v1/groups", body))["result"]["tier"] == tier


async def test_a_group_of_unknown_class_or_for_another_person_is_malformed(house: House) -> None:
    """The list of classes is closed; a person founds for himself and states no headcount."""
    await house.has_people("ann", "ben")
    for wrong, pointer in (
        ({"class": "club"}, "/class"),
        ({"owner_id": "ben"}, "/owner_id"),
        ({"member_count": 5}, "/member_count"),
        ({"tier": 1}, "/tier"),
    ):
        problem = await house.refused("malformed", "ann", "POST", "/v1/groups", BODY | wrong)
        assert problem["pointer"] == pointer
    await house.refused("refused", "mo", "POST", "/v1/groups", BODY | {"owner_id": "ann"})


async def test_an_import_is_marked_and_is_no_act_of_the_owner(house: House) -> None:
    """S075: the backend imports with owner and headcount; the record names no person as its actor."""
    await house.has_people("ann")
    await house.refused("malformed", "im", "POST", "/v1/groups", BODY)
    await house.refused("unknown", "im", "POST", "/v1/groups", BODY | {"owner_id": "nobody"})
    await house.refused(
        "capacity_below_members", "im", "POST", "/v1/groups", BODY | {"owner_id": "ann", "member_count": 201}
    )
    body = BODY | {"owner_id": "ann", "member_count": 120, "messages_per_day": 300}
    receipt = await house.do("im", "POST", "/v1/groups", body)
    assert (receipt["result"]["score"], receipt["result"]["tier"]) == (35, 2)
    record = (await house.records("group.register"))[-1]
    assert (record["by"]["kind"], record["by"]["standing"], record["by"]["tag"]) == (
        "system",
        "system.backend",
        None,
    )
    assert record["p"]["after"]["imported"] is True
    view = await house.do("ann", "GET", "/v1/groups/g")
    assert (view["imported"], view["headcount"], view["standing"]) == (True, 120, "owner")


# Facts and profile


@pytest.mark.unreconciled("the backend's headcount counts")
async def test_the_backend_keeps_facts_and_nobody_else(group: House) -> None:
    """Counted facts come from the backend alone, headcount within capacity, and each changes the version."""
    receipt = await group.do("im", "PATCH", "/v1/groups/g", {"messages_per_day": 40, "member_count": 12})
    assert receipt["result"]["version"] == 2
    now = await facts(group)
    assert (now.messages_per_day, now.member_count) == (40, 12)
    problem = await group.refused("cap_members", "im", "PATCH", "/v1/groups/g", {"member_count": 201})
    assert problem["data"] == group.at_cap(200, 201, "group.capacity")
    await group.refused("malformed", "im", "PATCH", "/v1/groups/g", {"member_count": 1})
    await group.refused("malformed", "im", "PATCH", "/v1/groups/g", {})
    await group.refused("malformed", "im", "PATCH", "/v1/groups/g", {"tier": 1})
    await group.refused("refused", "ann", "PATCH", "/v1/groups/g", {"messages_per_day": 0})
    await group.refused("version_stale", "im", "PATCH", "/v1/groups/g", {"messages_per_day": 1}, version=1)


async def test_minors_inside_raise_the_floor(house: House) -> None:
    """S080: whether minors are inside is a fact the backend counts."""
    await house.has_people("ann")
    await house.do("ann", "POST", "/v1/groups", BODY | {"class": "family", "capacity": 50})
    receipt = await house.do("im", "PATCH", "/v1/groups/g", {"minors": "yes"})
    assert (receipt["result"]["floor"], receipt["result"]["tier"]) == (2, 2)


async def test_owner_and_admins_keep_the_profile(group: House) -> None:
    """What is left out stays; the record has the facts before and after, and the names sealed."""
    body = {"name": "Others", "class": "interest", "join_mode": "open", "discoverable": True}
    await group.do("ben", "PUT", "/v1/groups/g/profile", body)
    now = await facts(group)
    assert (now.name, now.klass, now.join_mode, now.discoverable, now.link_open, now.capacity) == (
        "Others", "interest", "open", True, False, 200,
    )  # fmt: skip
    record = (await group.records("group.update_profile"))[-1]
    assert record["p"]["before"] == {"class": "community", "join_mode": "approval", "discoverable": False}
    assert record["p"]["after"].pop("tier_basis")["inputs"]["nature"] == "interest"
    assert record["p"]["after"] == {
        "class": "interest",
        "join_mode": "open",
        "discoverable": True,
        "name": "changed",
        "next_recheck_at": "2027-05-01T08:00:00.000Z",
    }
    assert record["sd"].keys() == {"name", "name_before"}
    assert (await group.effects("group.profile_changed"))[-1]["name"] == "Others"
    for who in ("dan", "eve", "im", "mo"):
        await group.refused("refused", who, "PUT", "/v1/groups/g/profile", {"name": "Mine"})
    await group.refused("malformed", "ann", "PUT", "/v1/groups/g/profile", {})


async def test_capacity_is_for_the_owner_and_never_below_the_headcount(group: House) -> None:
    """G4, S085: an admin is refused; the owner meets headcount and cap, and a larger capacity raises the tier."""
    path = "/v1/groups/g/profile"
    await group.refused("refused", "ben", "PUT", path, {"capacity": 100})
    problem = await group.refused("capacity_below_members", "ann", "PUT", path, {"capacity": 2})
    assert problem["data"] == {"capacity": 2, "count": 3}
    problem = await group.refused("cap_members", "ann", "PUT", path, {"capacity": 2001})
    assert problem["data"]["cap"] == 2000
    receipt = await group.do("ann", "PUT", path, {"capacity": 500})
    assert receipt["result"]["tier"] == 3
    assert (await group.records("group.update_profile"))[-1]["p"]["coupled"] == [
        {"fact": "tier", "before": 2, "after": 3}
    ]


# Reading


@pytest.mark.unreconciled("a headcount without roles")
async def test_a_group_is_read_with_code_headcount_and_the_askers_standing(group: House) -> None:
    """G5, G6, S012: public facts for all, more for those inside; the ETag is the version to expect; a page from 100."""
    await group.has_group("big", "ann", member_count=100)
    for who, standing in (("ann", "owner"), ("ben", "admin"), ("dan", "member"), ("eve", "stranger")):
        answer = await group.ask(who, "GET", "/v1/groups/g")
        view = answer.json()
        assert (view["code"], view["class"], view["headcount"], view["tier"]) == (
            "code-g",
            "community",
            3,
            2,
        )
        assert (view["standing"], view["information_page"]) == (standing, False)
        assert ("owner_id" in view) == (who != "eve")
        assert answer.headers["etag"] == '"1"'
    assert (await group.do("eve", "GET", "/v1/groups/big"))["information_page"] is True
    await group.do("ann", "PUT", "/v1/groups/g/profile", {"discoverable": True})
    view = await group.do("im", "GET", "/v1/groups/g")
    assert (view["information_page"], view["dsa_surface"]) == (True, "hosting")


@pytest.mark.parametrize(
    ("profile", "surface"),
    [
        ({"join_mode": "open"}, "online_platform"),
        ({"join_mode": "invite", "link_open": True, "discoverable": True}, "online_platform"),
        ({"join_mode": "invite", "discoverable": True}, "none"),
        ({"join_mode": "invite", "link_open": True}, "hosting"),
        ({"discoverable": True}, "hosting"),
    ],
)
async def test_the_surface_follows_from_the_profile(
    group: House, profile: dict[str, Any], surface: str
) -> None:
    """G9: derived from join mode, link and discoverability; nobody states it."""
    await group.do("ann", "PUT", "/v1/groups/g/profile", profile)
    assert (await group.do("im", "GET", "/v1/groups/g"))["dsa_surface"] == surface


async def test_a_private_group_is_unknown_to_strangers(group: House) -> None:
    """A private group answers a stranger as one that does not exist; who is inside or invited, and staff, see it."""
    await group.do("ann", "PUT", "/v1/groups/g/profile", {"join_mode": "invite"})
    for path in ("", "/members"):
        here = await group.refused("unknown", "eve", "GET", f"/v1/groups/g{path}")
        assert here == await group.refused("unknown", "eve", "GET", f"/v1/groups/nowhere{path}")
    for who in ("dan", "mo", "au", "im"):
        await group.do(who, "GET", "/v1/groups/g")
    await group.do("ann", "POST", "/v1/groups/g/invitations", {"person_id": "eve"})
    assert (await group.do("eve", "GET", "/v1/groups/g"))["standing"] == "stranger"
    await group.refused("refused", "reg", "GET", "/v1/groups/g")


async def test_groups_are_listed_in_pages_for_backend_and_staff(group: House) -> None:
    """Filters narrow, a territory contains its parts, cursors are opaque, and people get no list."""
    await group.has_group("h", "ann", klass="family", tier=1, jurisdiction="CN-110105")
    await group.has_group("i", "cai", jurisdiction="CN-310000")
    await group.do("cai", "POST", "/v1/groups/i/dissolution", {}, version=1)

    async def ids(query: str) -> list[str]:
        return [item["group_id"] for item in (await group.do("mo", "GET", f"/v1/groups?{query}"))["items"]]

    assert await ids("") == ["g", "h", "i"]
    assert await ids("owner_id=ann") == ["g", "h"]
    assert await ids("class=family") == await ids("tier=1") == ["h"]
    assert await ids("jurisdiction=CN-110000") == ["g", "h"]
    assert await ids("jurisdiction=CN-110100") == ["h"]
    assert await ids("jurisdiction=CN") == ["g", "h", "i"]
    assert await ids("jurisdiction=EU") == []
    assert (await ids("state=living"), await ids("state=dissolved")) == (["g", "h"], ["i"])
    assert await ids("state=ownerless") == []
    first = await group.do("im", "GET", "/v1/groups?limit=2")
    rest = await group.do("im", "GET", f"/v1/groups?limit=2&cursor={first['next']}")
    assert ([one["group_id"] for one in rest["items"]], rest["next"]) == (["i"], None)
    for wrong in ("cursor=nonsense", "limit=0", "tier=5", "class=club", "state=asleep"):
        await group.refused("malformed", "im", "GET", f"/v1/groups?{wrong}")
    await group.refused("refused", "ann", "GET", "/v1/groups")


async def test_members_are_listed_owner_first_for_those_inside(group: House) -> None:
    """G8: each open role with since when, by which record and, for admins, by whose hand."""
    first = await group.do("dan", "GET", "/v1/groups/g/members?limit=2")
    assert [(one["person_id"], one["standing"]) for one in first["items"]] == [
        ("ann", "owner"),
        ("ben", "admin"),
    ]
    assert first["items"][1]["granted_by"] == "ann"
    rest = await group.do("mo", "GET", f"/v1/groups/g/members?limit=2&cursor={first['next']}")
    assert ([one["person_id"] for one in rest["items"]], rest["next"]) == (["dan"], None)
    await group.refused("refused", "eve", "GET", "/v1/groups/g/members")
