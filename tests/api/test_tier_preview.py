"""What would change: by a fact, an override or another edition, for one or for all; and whether like is treated alike."""

from typing import Any

import pytest

from service.api.documentation import document
from service.policy import Policy, PolicyError
from tests.api.test_accounts import accept, approve, override, run
from tests.api.test_tier_plans import HEAVIER, accounts, adopt, files, running
from tests.kit import House

pytestmark = pytest.mark.anyio

PREVIEW = "/v1/tiers/preview"


@pytest.fixture
async def accepted(house: House) -> House:
    """Account a of class life of a company for which ann answers; tier 1."""
    await run(house, "o")
    await accept(house, "a")
    return house


async def everything(house: House) -> list[Any]:
    """All that a preview could have changed."""
    async with house.db.read() as db:
        tables = (
            "account",
            "groups",
            "record",
            "outbox",
            "approval",
            "tier_plan",
            "tier_forecast",
            "edition",
        )
        return [await db.fetch(f"SELECT * FROM {table} ORDER BY 1") for table in tables]


async def asked(house: House, who: str = "au", **body: Any) -> dict[str, Any]:
    return await house.do(who, "POST", PREVIEW, {"kind": "account", **body})


async def test_a_fact_or_an_override_is_tried_on_one_subject(accepted: House) -> None:
    """S014, S079, S080: the answer equals what the act then does, says what is asked otherwise, and changes nothing."""
    before = await everything(accepted)
    one = (await asked(accepted, id="a", facts={"followers": 1_500_000, "quality": 90}))["subject"]
    assert (one["tier_before"], one["tier"], one["later"]) == (1, 3, None)
    assert (one["result"]["points"]["followers"], one["result"]["floors"]) == (34, {"followers": 3})
    assert one["result"]["at"] == "2026-11-02T08:00:00.000Z"
    assert one["obligations"]["name_check"] == "human"
    over = (await asked(accepted, id="a", override=4))["subject"]
    assert (over["tier"], over["override_floor"], over["losses"]) == (4, None, [])
    low = (await asked(accepted, id="a", override=1, facts={"class": "news"}))["subject"]
    assert (low["tier"], low["override_floor"], low["needs_credential"]) == (3, 3, True)
    poor = (await asked(accepted, id="a", facts={"operator_credit": "C", "followers": 1_500_000}))["subject"]
    assert poor["losses"] == ["manage_comments"]
    assert await everything(accepted) == before
    facts = {"followers": 1_500_000, "quality": 90, "quality_source": "model"}
    done = await accepted.do("im", "PATCH", "/v1/accounts/a", facts)
    assert done["result"]["tier"] == one["tier"]
    fall = (await asked(accepted, id="a", facts={"followers": 5}))["subject"]
    assert (fall["tier"], fall["later"]) == (3, 1)


async def test_impossible_what_ifs_are_refused_with_a_pointer(accepted: House) -> None:
    """S003: negative, absurd, unknown and misspelt facts, broken editions and questions about nobody."""
    cases: list[tuple[dict[str, Any], str]] = [
        ({"id": "a", "facts": {"followers": -1}}, "/facts/followers"),
        ({"id": "a", "facts": {"followers": 10**11}}, "/facts/followers"),
        ({"id": "a", "facts": {"quality": 101}}, "/facts/quality"),
        ({"id": "a", "facts": {"class": "weather"}}, "/facts/class"),
        ({"id": "a", "facts": {"members": 5}}, "/facts/members"),
        ({"id": "a", "override": 5}, "/override"),
        ({"facts": {"followers": 5}}, "/id"),
        ({"kind": "person"}, "/kind"),
        ({"edition": "0" * 64, "files": {}}, "/files"),
        ({"files": {"tiers.csv": ""}}, "/files"),
    ]
    for body, pointer in cases:
        problem = await accepted.refused("malformed", "cl", "POST", PREVIEW, {"kind": "account", **body})
        assert problem["pointer"] == pointer, body
    await accepted.refused("malformed", "cl", "POST", PREVIEW, [])
    await accepted.refused("unknown", "cl", "POST", PREVIEW, {"kind": "account", "id": "nobody"})
    await accepted.refused("unknown", "cl", "POST", PREVIEW, {"kind": "account", "edition": "0" * 64})
    for who in ("im", "ann", "reg"):
        await accepted.refused("refused", who, "POST", PREVIEW, {"kind": "account"})


async def test_what_may_be_known_of_a_group_is_tried(house: House) -> None:
    """S076: groups by their own facts, with capacity within the caps; a bot's guess at minors is no floor."""
    await house.has_group("g", "ann")
    one = (await asked(house, kind="group", id="g", facts={"capacity": 500, "members": 300}))["subject"]
    assert (one["tier"], one["result"]["floors"]) == (3, {"capacity": 3})
    assert one["obligations"]["member_cap"] == 500
    assert (await asked(house, kind="group", id="g", facts={"minors": "no"}))["subject"]["tier"] == 2
    body = {"kind": "group", "id": "g", "facts": {"capacity": 2001}}
    await house.refused("cap_members", "cl", "POST", PREVIEW, body)


#: Commerce becomes a regulated field, life heavier, and comments ask for credit A from tier 2 on.
STRICTER = (
    *HEAVIER,
    (
        "account.floor.class.news,",
        "account.floor.class.commerce,account,floor,class,commerce,2,2,tier,account rules art. 9 †\naccount.floor.class.news,",
    ),
    ("comment_credit_min,,2,C,", "comment_credit_min,,2,A,"),
    ("comment_credit_min,,3,B,", "comment_credit_min,,3,A,"),
    ("comment_credit_min,,4,B,", "comment_credit_min,,4,A,"),
)


@pytest.mark.unreconciled("arranged accounts")
async def test_an_edition_is_tried_on_all(house: House) -> None:
    """S078: uploaded or adopted, it says who moves from which tier to which, who newly needs a credential, who loses what."""
    await accounts(house, 4)
    async with house.db.transaction() as tx:
        await tx.execute("UPDATE account SET klass = 'commerce' WHERE account_id = 'a003'")
    await house.do("cl", "PUT", "/v1/accounts/a003/tier", {})
    await house.do("im", "PATCH", "/v1/accounts/a002", {"followers": 50_000_000})
    before = await everything(house)
    found = (await asked(house, files=files(*STRICTER)))["all"]
    assert await everything(house) == before
    assert (found["subjects"], found["unchanged"]) == (4, 1)
    assert found["moves"] == [
        {"from": 1, "to": 2, "when": "at once", "count": 3, "samples": ["a000", "a001", "a003"]}
    ]
    assert found["credentials"] == [
        {"what": "credential", "class": "commerce", "count": 1, "samples": ["a003"]}
    ]
    assert [(one["what"], one["class"], one["count"]) for one in found["losses"]] == [
        ("manage_comments", "commerce", 1),
        ("manage_comments", "life", 3),
    ]
    edition = await adopt(house, files(*STRICTER))
    assert (await asked(house, edition=edition))["all"]["moves"] == found["moves"]
    await running(house)
    assert await house.app.state.bulk.once() == 3
    after = (await asked(house))["all"]
    assert (after["moves"], after["unchanged"]) == ([], 4)


async def test_groups_lose_what_a_new_cap_no_longer_holds(house: House) -> None:
    """S083: a table with lower caps tells which groups asked for more, and which have more admins."""
    await house.has_group("g", "ann", ("ben", "cai", "dan"), capacity=200)
    await house.do("cl", "PUT", "/v1/groups/g/tier", {})
    smaller = (
        (
            "group.effect.admins_cap.2,group,effect,admins_cap,,2,5,",
            "group.effect.admins_cap.2,group,effect,admins_cap,,2,2,",
        ),
    )
    found = (await asked(house, kind="group", files=files(*smaller)))["all"]
    assert [(one["what"], one["samples"]) for one in found["losses"]] == [("admins_appointed", ["g"])]


async def test_a_key_of_a_part_sees_no_whole(accepted: House) -> None:
    """S020: counts of all are not for a key that opens one tier; one subject is, where the key opens it."""
    async with accepted.db.transaction() as tx:
        await tx.execute("UPDATE api_key SET tiers = '[1]' WHERE key_id = 'cl'")
    await accepted.refused("key_scope", "cl", "POST", PREVIEW, {"kind": "account"})
    await accepted.refused("key_scope", "cl", "GET", "/v1/tiers/overrides")
    assert (await asked(accepted, "cl", id="a"))["subject"]["tier"] == 1


# Consistency


@pytest.mark.unreconciled("arranged accounts")
async def test_like_is_treated_alike_or_listed_with_its_records(house: House) -> None:
    """S078: subjects of one profile with another tier are listed with why and by which records; the rest are not."""
    await accounts(house, 4)
    await house.do("im", "PATCH", "/v1/accounts/a001", {"followers": 60_000_000})
    await house.do("im", "PATCH", "/v1/accounts/a001", {"followers": 500})
    at = "/v1/accounts/a002/override"
    body = {"tier": 3, "until": "2026-12-01T00:00:00Z", "reason": "activity_unusual"}
    proposed = (await house.do("cl", "PUT", at, body))["result"]["approval_id"]
    granted = await approve(house, proposed)
    ranked = (await house.do("au", "GET", "/v1/accounts/a001"))["tier_basis"]["record"]
    found = (await house.do("au", "GET", "/v1/tiers/deviations?kind=account"))["items"]
    assert {(one["tier"], one["computed"], one["why"], one["count"]) for one in found} == {
        (4, 1, "waits", 1),
        (3, 1, "override", 1),
    }
    page = await house.do("au", "GET", "/v1/tiers/consistency?kind=account&limit=1")
    assert [(one["id"], one["tier"], one["why"], one["record"]) for one in page["items"]] == [
        ("a001", 4, "waits", ranked)
    ]
    page = await house.do("au", "GET", f"/v1/tiers/consistency?kind=account&limit=1&cursor={page['next']}")
    assert [(one["id"], one["why"], one["override_record"]) for one in page["items"]] == [
        ("a002", "override", granted)
    ]
    assert page["next"] is None
    listed = (await house.do("au", "GET", "/v1/tiers/overrides"))["items"]
    assert [(one["id"], one["staff_id"], one["direction"], one["state"]) for one in listed] == [
        ("a002", "cl", "up", "granted")
    ]
    assert listed[0]["records"] == [proposed, granted]
    counts = (await house.do("au", "GET", "/v1/tiers/override-counts?kind=account"))["items"]
    assert counts == [
        {
            "staff_id": "cl",
            "kind": "account",
            "class": "life",
            "direction": "up",
            "count": 1,
            "granted": 1,
            "records": [proposed],
        }
    ]
    assert (await house.do("au", "GET", "/v1/tiers/overrides?kind=group"))["items"] == []
    assert (await house.do("au", "GET", "/v1/tiers/consistency?kind=group"))["items"] == []


async def test_overrides_downward_and_refused_are_listed_too(accepted: House) -> None:
    """S081: also what was proposed and refused, and in which direction."""
    await accepted.do("im", "PATCH", "/v1/accounts/a", {"followers": 50_000})
    body = {"tier": 1, "until": "2026-12-01T00:00:00Z", "reason": "activity_unusual"}
    proposed = (await accepted.do("cl2", "PUT", "/v1/accounts/a/override", body))["result"]["approval_id"]
    refusal = {"reason": "not_proportionate"}
    await accepted.do("ap", "POST", f"/v1/approvals/{proposed}/refusal", refusal)
    await override(accepted, tier=3)
    listed = (await accepted.do("au", "GET", "/v1/tiers/overrides?kind=account"))["items"]
    assert [
        (one["staff_id"], one["direction"], one["before"], one["tier"], one["state"]) for one in listed
    ] == [
        ("cl2", "down", 2, 1, "refused"),
        ("cl", "up", 2, 3, "granted"),
    ]


# Editions that do not fit


@pytest.mark.parametrize(
    ("change", "line", "said"),
    [
        (("account.threshold.2,account,threshold,score,25..44,2,25", "account.threshold.2,account,threshold,score,26..44,2,26"), "account.threshold.2,", "gap between 24 and 26"),
        (("account.threshold.2,account,threshold,score,25..44,2,25", "account.threshold.2,account,threshold,score,24..44,2,24"), "account.threshold.2,", "overlaps"),
        (("group.effect.member_cap.4,group,effect,member_cap,,4,2000", "group.effect.member_cap.4,group,effect,member_cap,,4,1000"), "group.floor.capacity.501..2000", "above member_cap 1000 of tier 4"),
        (("group.effect.member_cap.3,group,effect,member_cap,,3,500", "group.effect.member_cap.3,group,effect,member_cap,,3,150"), "group.effect.member_cap.3", "capacity 51..200 is above member_cap 150 of tier 3"),
        (("group.effect.member_cap.4,group,effect,member_cap,,4,2000", "group.effect.member_cap.4,group,effect,member_cap,,4,3000"), "group.floor.capacity.501..2000", "capacity floors leave a gap at 2000"),
        (("account.floor.followers.1000000..9999999,account,floor,followers,1000000..9999999", "account.floor.followers.2000000..9999999,account,floor,followers,2000000..9999999"), "account.floor.followers.2000000", "gap between 999999 and 2000000"),
    ],
)  # fmt: skip
def test_an_edition_with_a_gap_or_a_cap_below_a_floor_does_not_load(
    change: tuple[str, str], line: str, said: str
) -> None:
    """S080, S085: tiers that leave a gap or overlap, and caps below what a floor demands, are named by file and line."""
    texts = {name: text.encode() for name, text in files(change).items()}
    with pytest.raises(PolicyError) as error:
        Policy.from_files(texts)
    lines = texts["tiers.csv"].decode().splitlines()
    found = [one for one in error.value.problems if said in one.what]
    assert found, error.value.problems
    assert found[0].file == "tiers.csv"
    assert lines[found[0].line - 1].startswith(line)
    assert found[0].cure


async def test_lists_find_what_staff_work_with(accepted: House) -> None:
    """Accounts are listed by override, by the day of their recheck and by what waits for a human."""
    await override(accepted, tier=4)
    await accepted.do("ann", "POST", "/v1/accounts", {"account_id": "b", "operator_id": "o", "name": "b b", "class": "life", "jurisdiction": "CN-130200"})  # fmt: skip
    for query, ids in (
        ("override=true", ["a"]),
        ("state=waiting", ["b"]),
        ("due_recheck_before=2026-12-03T00:00:00Z", ["a"]),
        ("due_recheck_before=2026-12-02T08:00:00Z", []),
    ):
        page = await accepted.do("cl", "GET", f"/v1/accounts?{query}")
        assert [one["account_id"] for one in page["accounts"]] == ids
    assert "/v1/tiers/preview" in document(accepted.app)["paths"]
