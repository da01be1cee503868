"""Accounts: asked for, accepted or refused, counted, ranked."""

import asyncio
import datetime as dt
from typing import Any

import msgspec
import pytest

from service.api.accounts import inner_of
from service.caller import Caller
from service.domain.accounts.tiers import ExpireAccountOverride
from service.domain.keys import contains
from service.domain.names import name_key
from service.domain.staff import Staff
from service.domain.tiers import Basis, basis_bytes, compute, rank_again
from service.policy import Policy
from tests.kit import MORNING, POLICIES, House

pytestmark = pytest.mark.anyio

REF = "b2d0c6b1-6f0e-4d1c-9a53-7c1e84f2a905"
VERIFIED = {"status": "verified", "methods": ["credit_code", "mobile"], "identity_ref": REF}
TIER, OVERRIDE = "/v1/accounts/a/tier", "/v1/accounts/a/override"


async def run(house: House, operator_id: str, kind: str = "company", who: str = "ann", **facts: Any) -> None:
    """Arrange a verified operator for which `who` answers, with every credential there is."""
    await house.has_people(who)
    body = {"operator_id": operator_id, "kind": kind, "name": "唐山某某", "jurisdiction": "CN-130200"}
    await house.do(who, "POST", "/v1/operators", body)
    await house.do("im", "PUT", f"/v1/operators/{operator_id}/identity", VERIFIED | facts)
    await house.has_credentials(operator_id, "news_licence", "finance", "education", "health", "law")


def asking(account_id: str, **facts: Any) -> dict[str, Any]:
    known = {"operator_id": "o", "name": f"name {account_id}", "class": "life", "jurisdiction": "CN-130200"}
    return {"account_id": account_id} | known | facts


async def register(house: House, account_id: str, **facts: Any) -> dict[str, Any]:
    return await house.do("ann", "POST", "/v1/accounts", asking(account_id, **facts))


async def accept(house: House, account_id: str, **facts: Any) -> dict[str, Any]:
    await register(house, account_id, **facts)
    return await house.do("cl", "POST", f"/v1/accounts/{account_id}/acceptance", {})


async def seen(house: House, account_id: str = "a", who: str = "im") -> dict[str, Any]:
    return await house.do(who, "GET", f"/v1/accounts/{account_id}")


async def expire(house: House) -> tuple[int, str]:
    """Let time ask although nothing may be due."""
    answer = await house.app.state.door.act(ExpireAccountOverride(account_id="a"), caller=Caller.sweep())
    return answer.status, answer.code


@pytest.fixture
async def company(house: House) -> House:
    """Operator o, a verified company; ann answers for it."""
    await run(house, "o")
    return house


@pytest.fixture
async def accepted(company: House) -> House:
    """Account a of class life, accepted: tier 1."""
    await accept(company, "a")
    return company


# Asked for


async def test_an_account_waits_until_a_human_accepts_it(company: House) -> None:
    """S002, S092: asked for it waits and is counted; a classifier accepts it, linked to the asking; it has a tier then."""
    asked = await register(company, "a", profile="关于生活")
    assert asked["result"] == {"state": "waiting", "version": 1}
    assert (await seen(company))["state"] == "waiting"
    receipt = await company.do("cl", "POST", "/v1/accounts/a/acceptance", {})
    assert receipt["result"] == {
        "state": "accepted",
        "tier": 1,
        "next_recheck_at": "2027-11-02T08:00:00.000Z",
        "version": 2,
    }
    first, second = (await company.records("account.register")) + (await company.records("account.accept"))
    assert first["p"]["coupled"] == [
        {"id": 1, "what": "accounts_counted", "of": "operator", "before": 0, "after": 1}
    ]
    assert sorted(first["sd"]) == ["name", "profile"]
    assert second["links"] == [asked["record_id"]]
    assert second["p"]["who"].keys() == {"target", "operator"}
    assert await company.effects("account.waiting") == [{"account_id": "a", "operator_id": "o"}]
    assert await company.effects("account.accepted") == [{"account_id": "a", "tier": 1}]
    await company.refused("already_in_state", "cl", "POST", "/v1/accounts/a/acceptance", {})


async def test_only_who_answers_or_the_backend_asks(company: House) -> None:
    """S006: others match no rule; the backend, importing, does; unknown operators and used ids are told apart."""
    await company.has_people("ben")
    for who in ("ben", "cl"):
        assert (await company.refused("refused", who, "POST", "/v1/accounts", asking("a")))["rule"] == "none"
    await company.do("im", "POST", "/v1/accounts", asking("a"))
    await company.refused("already_exists", "ann", "POST", "/v1/accounts", asking("a", name="another"))
    await company.refused("unknown", "ann", "POST", "/v1/accounts", asking("b", operator_id="nothing"))


async def test_two_methods_before_an_account(house: House) -> None:
    """S092, O1: with fewer than two methods nothing is registered, and nothing accepted that was registered before."""
    await run(house, "o", methods=["mobile"])
    problem = await house.refused("identity_unverified", "ann", "POST", "/v1/accounts", asking("a"))
    assert problem["data"] == {"status": "verified", "methods": 1, "minimum": 2}
    await house.do("im", "PUT", "/v1/operators/o/identity", VERIFIED)
    await register(house, "a")
    for body in (VERIFIED | {"methods": ["mobile"]}, {"status": "failed", "methods": ["mobile"]}):
        await house.do("im", "PUT", "/v1/operators/o/identity", body)
        await house.refused("identity_unverified", "cl", "POST", "/v1/accounts/a/acceptance", {})
        await house.refused("identity_unverified", "ann", "POST", "/v1/accounts", asking("b"))


async def test_government_is_for_government(company: House) -> None:
    """A3: an operator of another kind has no account of class government."""
    body = asking("a", **{"class": "government"})
    problem = await company.refused("credential_missing", "ann", "POST", "/v1/accounts", body)
    assert problem["data"] == {"needs": "operator_kind_government", "kind": "company"}


async def test_a_name_is_given_once(company: House) -> None:
    """A5: a name is taken by whoever had it first, refused or not, whatever its case, width, spaces and signs."""
    await register(company, "a", name="唐山 网警 ABC")
    await company.do("cl", "POST", "/v1/accounts/a/refusal", {"reason": "name_misleading"})
    for name in ("唐山网警abc", "唐山·网警－ＡＢＣ", "「唐山网警」AbC"):
        problem = await company.refused(
            "name_reserved", "ann", "POST", "/v1/accounts", asking("b", name=name)
        )
        assert problem["pointer"] == "/name"
    await register(company, "b", name="唐山网警 ABD")


async def test_of_two_at_once_one_gets_the_name(company: House) -> None:
    """A5: of five parallel registrations of one name, by two operators, exactly one succeeds."""
    await run(company, "p", "media", "ben")
    answers = await asyncio.gather(
        *(
            company.ask("im", "POST", "/v1/accounts", asking(f"a{n}", name="晨报", operator_id="op"[n % 2]))
            for n in range(5)
        )
    )
    codes = sorted(answer.json().get("code", "done") for answer in answers)
    assert codes == ["done"] + ["name_reserved"] * 4


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Ａbc", "aBC", True),
        ("STRASSE", "straße", True),
        ("a b", "a\u200bb", True),
        ("人民日报", "人民曰报", False),
        ("e\u0301", "e", False),
    ],
)
def test_names_are_compared_by_letters_and_digits(one: str, other: str, same: bool) -> None:
    """A5: the key of a name drops case, width, space and signs, and keeps accents; look-alikes are for a human."""
    assert (name_key(one) == name_key(other)) is same


async def test_what_cannot_be_a_name_is_refused(company: House) -> None:
    """A2, P1: a name holds a letter or digit and nobody's number; a class is one of the list."""
    for body, code, pointer in (
        ({"name": "！？"}, "malformed", "/name"),
        ({"name": ""}, "malformed", "/name"),
        ({"name": "call 13812345678"}, "raw_identity", "/name"),
        ({"class": "weather"}, "malformed", "/class"),
    ):
        problem = await company.refused(code, "ann", "POST", "/v1/accounts", asking("a", **body))
        assert problem["pointer"] == pointer


# The cap


@pytest.mark.parametrize(
    ("kind", "cap"), [("person", 1), ("company", 2), ("mass_organisation", 5), ("other", 2)]
)
async def test_the_cap_is_by_kind(house: House, kind: str, cap: int) -> None:
    """A4, S085: an operator has as many accounts as its kind allows; the refusal names cap and count."""
    await run(house, "o", kind)
    for n in range(cap):
        await register(house, f"a{n}")
    problem = await house.refused("cap_accounts", "ann", "POST", "/v1/accounts", asking("more"))
    assert problem["data"] == house.at_cap(cap, cap, f"accounts_cap_{kind}")


async def test_ten_at_once_at_one_below_the_cap(house: House) -> None:
    """A4, S085: ten parallel registrations at one below the cap: exactly one succeeds, nine answer cap_accounts."""
    await run(house, "o", "mass_organisation")
    for n in range(4):
        await register(house, f"a{n}")
    answers = await asyncio.gather(
        *(house.ask("ann", "POST", "/v1/accounts", asking(f"b{n}")) for n in range(10))
    )
    codes = sorted(answer.json().get("code", "done") for answer in answers)
    assert codes == ["cap_accounts"] * 9 + ["done"]
    assert (await house.do("im", "GET", "/v1/operators/o"))["account_count"] == 5


async def test_a_refused_account_frees_its_place(house: House) -> None:
    """S098: an account that waits counts; refused it counts no more, is gone, and its reason is on record."""
    await run(house, "o", "person")
    await register(house, "a")
    await house.refused("cap_accounts", "ann", "POST", "/v1/accounts", asking("b"))
    await house.refused("reason_missing", "cl", "POST", "/v1/accounts/a/refusal", {})
    await house.do("cl", "POST", "/v1/accounts/a/refusal", {"reason": "name_misleading", "note": "假冒"})
    await register(house, "b")
    facts = await seen(house)
    assert (facts["state"], facts["refused_at"]) == ("refused", "2026-11-02T08:00:00.000Z")
    record = (await house.records("account.refuse"))[-1]
    assert (record["why"], list(record["sd"])) == ("name_misleading", ["note"])
    assert await house.effects("account.refused") == [{"account_id": "a", "reason": "name_misleading"}]
    for verb, body in (("acceptance", {}), ("refusal", {"reason": "other"})):
        await house.refused("account_closed", "cl", "POST", f"/v1/accounts/a/{verb}", body)
    await house.refused("account_closed", "im", "PATCH", "/v1/accounts/a", {"followers": 1})


async def test_an_accepted_account_is_not_refused(accepted: House) -> None:
    """S154: refusing is for accounts that wait."""
    problem = await accepted.refused(
        "not_in_state", "cl", "POST", "/v1/accounts/a/refusal", {"reason": "other"}
    )
    assert problem["data"] == {"state": "accepted"}


async def test_who_answers_for_it_decides_nothing_about_it(company: House) -> None:
    """S113: a classifier who is the answerable person under another standing is refused with own_matter."""
    await register(company, "a")
    async with company.db.transaction() as tx:
        await Staff.apply(tx, [Staff(staff_id="cl", person_id="ann", created_at=MORNING)])
    await company.refused("own_matter", "cl", "POST", "/v1/accounts/a/acceptance", {})
    await company.refused("own_matter", "cl", "POST", "/v1/accounts/a/refusal", {"reason": "other"})
    await company.do("cl2", "POST", "/v1/accounts/a/acceptance", {})
    body = {"tier": 2, "until": "2026-12-01T00:00:00Z", "reason": "activity_unusual"}
    await company.refused("own_matter", "cl", "PUT", OVERRIDE, body)
    assert [one["out"] for one in await company.records("account.accept")] == ["refused", "done"]


async def test_only_a_classifier_accepts(company: House) -> None:
    """S093, S129: neither automation nor other staff nor the operator accepts an account."""
    await register(company, "a")
    for who in ("im", "mo", "ann"):
        problem = await company.refused("refused", who, "POST", "/v1/accounts/a/acceptance", {})
        assert problem["rule"] == "none"


# Facts


async def test_facts_are_counted_by_the_backend(accepted: House) -> None:
    """Only what is named changes, the last use never goes back, a quality has a source and may be unknown again."""
    path = "/v1/accounts/a"
    await accepted.do("im", "PATCH", path, {"followers": 900, "last_used_at": "2026-11-02T07:00:00Z"})
    await accepted.do("im", "PATCH", path, {"quality": 85, "quality_source": "model-7"})
    await accepted.do("im", "PATCH", path, {"reads_per_post": 300, "last_used_at": "2026-11-01T00:00:00Z"})
    facts = await seen(accepted)
    assert (facts["followers"], facts["reads_per_post"], facts["last_used_at"]) == (
        900,
        300,
        "2026-11-02T07:00:00.000Z",
    )
    assert (facts["quality"], facts["quality_source"]) == (85, "model-7")
    assert facts["tier_basis"]["points"] == {
        "class": 4,
        "quality": 0,
        "followers": 2,
        "reads_per_post": 0,
        "operator_credit": 5,
    }
    await accepted.do("im", "PATCH", path, {"quality": None})
    facts = await seen(accepted)
    assert (facts["quality"], facts["quality_source"], facts["tier_basis"]["points"]["quality"]) == (
        None,
        None,
        6,
    )
    assert facts["next_recheck_at"] == "2027-11-02T08:00:00.000Z"
    for who in ("ann", "cl"):
        assert (await accepted.refused("refused", who, "PATCH", path, {"followers": 1}))["rule"] == "none"


async def test_impossible_facts_are_refused_by_name(accepted: House) -> None:
    """S003: negative, absurd, future and unknown facts are refused with a pointer, and nothing changes."""
    cases: list[tuple[dict[str, Any], str | None]] = [
        ({}, None),
        ({"followers": -1}, "/followers"),
        ({"followers": 10**10 + 1}, "/followers"),
        ({"reads_per_post": 10**10 + 1}, "/reads_per_post"),
        ({"followers": 10**30}, "/followers"),
        ({"followers": 1.5}, "/followers"),
        ({"followers": True}, "/followers"),
        ({"reads_per_post": -5}, "/reads_per_post"),
        ({"quality": 101, "quality_source": "x"}, "/quality"),
        ({"quality": 80}, "/quality_source"),
        ({"quality": None, "quality_source": "x"}, "/quality_source"),
        ({"last_used_at": "2026-11-02T08:00:00.001Z"}, "/last_used_at"),
        ({"tier": 1}, "/tier"),
    ]
    for body, pointer in cases:
        problem = await accepted.refused("malformed", "im", "PATCH", "/v1/accounts/a", body)
        assert problem.get("pointer") == pointer, body
    await accepted.do("im", "PATCH", "/v1/accounts/a", {"followers": 10**10})
    assert (await seen(accepted))["version"] == 3


async def test_facts_in_bulk_are_each_done_or_each_refused(company: House) -> None:
    """S013, S082: an impossible fact is refused with a pointer into the call and changes nothing; its neighbours are done."""
    for name in ("a", "b"):
        await accept(company, name)
    await run(company, "p", who="ben")
    await company.do("ben", "POST", "/v1/accounts", asking("c", operator_id="p"))
    await company.do("cl", "POST", "/v1/accounts/c/acceptance", {})
    facts: list[dict[str, Any]] = [
        {"account_id": "a", "followers": 150_000, "reads_per_post": 10**10 + 1},
        {"account_id": "b", "followers": -1},
        {"account_id": "c", "followers": 150_000},
    ]
    items = [{"action": "account.update_facts", **one} for one in facts]
    answer = await company.do("im", "POST", "/v1/batches", {"items": items})
    assert [one["status"] for one in answer["items"]] == [400, 400, 200]
    assert [one["problem"]["pointer"] for one in answer["items"][:2]] == [
        "/items/0/reads_per_post",
        "/items/1/followers",
    ]
    assert [(await seen(company, one))["followers"] for one in "abc"] == [0, 0, 150_000]
    (crossed,) = await company.records("account.rank")
    assert (crossed["links"], crossed["p"]["batch"]) == (
        [answer["items"][2]["receipt"]["record_id"]],
        answer["batch"],
    )


async def test_crossing_a_threshold_is_an_act_of_its_own(accepted: House) -> None:
    """S002, S079, S080, S082: more followers lift the tier at once, by a record of its own linked to its cause; fewer wait."""
    causes = []
    for followers, tier in ((99_999, 2), (100_000, 2), (10_000_000, 4), (5, 4)):
        receipt = await accepted.do("im", "PATCH", "/v1/accounts/a", {"followers": followers})
        assert receipt["result"]["tier"] == tier
        causes.append(receipt["record_id"])
    facts = await seen(accepted)
    assert facts["next_recheck_at"] == "2026-12-02T08:00:00.000Z"
    assert facts["tier_basis"]["waiting"] == {"tier": 1, "since": "2026-11-02T08:00:00.000Z"}
    told = await accepted.effects("account.ranked")
    assert [(one["before"], one["tier"]) for one in told] == [(1, 2), (2, 4)]
    assert told[1]["obligations"] == {
        "recheck_d": 30,
        "self_check_d": 30,
        "transfer_persons": 3,
        "name_check": "human",
        "comment_credit_min": "B",
        "first_action_h": 12,
        "extra_person_rank50": 1,
    }
    records = await accepted.records("account.update_facts")
    assert [one["p"].get("coupled", []) for one in records] == [
        [{"id": 1, "what": "ranked", "of": "target", "before": 1, "after": 2}],
        [],
        [{"id": 1, "what": "ranked", "of": "target", "before": 2, "after": 4}],
        [],
    ]
    crossed = await accepted.records("account.rank")
    assert [one["links"] for one in crossed] == [[causes[0]], [causes[2]]]
    for one, effect in zip(crossed, told, strict=True):
        assert (one["rule"], one["by"]["standing"]) == ("account.rank-sweep", "system.sweep")
        assert one["p"]["after"]["obligations"] == effect["obligations"]
        assert one["p"]["who"].keys() == {"target", "operator"}


async def test_a_lower_result_waits_and_time_lets_the_tier_fall(accepted: House) -> None:
    """S015, S079: an account's tier falls after `tier_down_wait_d` days by the sweep, and not before."""
    await accepted.do("im", "PATCH", "/v1/accounts/a", {"followers": 100_000})
    await accepted.do("im", "PATCH", "/v1/accounts/a", {"followers": 10})
    accepted.clock.advance(28 * 86_400 - 1)
    assert await accepted.sweep() == 0
    accepted.clock.advance(1)
    assert await accepted.sweep() == 1
    facts = await seen(accepted)
    assert (facts["tier"], facts["tier_basis"]["waiting"]) == (1, None)
    assert (await accepted.records("account.rank"))[-1]["by"]["standing"] == "system.sweep"


# Tier


@pytest.mark.parametrize(
    ("klass", "floor"),
    [("news", 3), ("education", 2), ("finance", 2), ("health", 2), ("law", 2), ("life", 1)],
)
async def test_an_accepted_account_has_at_least_the_floor_of_its_class(
    company: House, klass: str, floor: int
) -> None:
    """S080: acceptance ranks, and no class is below its floor."""
    receipt = await accept(company, "a", **{"class": klass})
    assert receipt["result"]["tier"] == floor
    assert (await seen(company))["tier_basis"]["floors"] == ({"class": floor} if floor > 1 else {})


def account_facts(klass: str, quality: int | None, followers: int, reads: int, credit: str) -> dict[str, Any]:
    return {
        "class": klass,
        "quality": quality,
        "followers": followers,
        "reads_per_post": reads,
        "operator_credit": credit,
    }


@pytest.mark.parametrize(
    ("given", "parts", "score", "floor", "tier"),
    [
        (account_facts("life", 85, 800, 300, "B"), (4, 0, 2, 0, 5), 11, 1, 1),
        (account_facts("health", None, 5000, 900, "B"), (16, 6, 8, 0, 5), 35, 2, 2),
        (account_facts("entertainment", 55, 350_000, 20_000, "C"), (8, 13, 28, 3, 12), 64, 2, 3),
        (account_facts("government", 90, 2_370_000, 120_000, "A"), (14, 0, 34, 6, 0), 54, 3, 3),
        (account_facts("news", 75, 1_500_000, 150_000, "B"), (20, 6, 34, 6, 5), 71, 3, 4),
    ],
)
def test_worked_results_for_accounts(
    given: dict[str, Any], parts: tuple[int, ...], score: int, floor: int, tier: int
) -> None:
    """S077, S080: the worked results for accounts, part by part; a floor beats the score."""
    result = compute(Policy.from_folder(POLICIES), "account", given)
    assert (tuple(result.parts.values()), result.score, result.floor, result.tier) == (
        parts,
        score,
        floor,
        tier,
    )


async def test_a_tier_shows_what_it_rests_on(accepted: House) -> None:
    """S077, S078: every input has its points and floors, and the same inputs give the same result again, to the byte."""
    await accepted.do(
        "im",
        "PATCH",
        "/v1/accounts/a",
        {"followers": 2_370_000, "reads_per_post": 120_000, "quality": 90, "quality_source": "model"},
    )
    receipt = await accepted.do("cl", "PUT", TIER, {"reason": "routine"})
    basis = (await seen(accepted))["tier_basis"]
    assert basis == {
        "record": receipt["record_id"],
        "edition": receipt["edition"],
        "at": "2026-11-02T08:00:00.000Z",
        "inputs": account_facts("life", 90, 2_370_000, 120_000, "B"),
        "held": 3,
        "lower": None,
        "points": {"class": 4, "quality": 0, "followers": 34, "reads_per_post": 6, "operator_credit": 5},
        "floors": {"followers": 3},
        "score": 49,
        "floor": 3,
        "computed": 3,
        "tier": 3,
        "waiting": None,
    }
    again = rank_again(Policy.from_folder(POLICIES), "account", msgspec.convert(basis, Basis))
    kept = (await accepted.records("account.rank"))[-1]["p"]["after"]["tier_basis"]
    assert basis_bytes(again) == basis_bytes(kept)
    assert kept | {"at": basis["at"]} == basis


async def test_the_caller_of_rank_brings_no_tier(accepted: House) -> None:
    """S003, S077: a tier in the body is an unknown member, a plan is time's alone; classifier and backend may rank."""
    for who in ("cl", "im"):
        accepted.clock.advance(3600)
        receipt = await accepted.do(who, "PUT", TIER, {"reason": "routine"})
        due = accepted.clock.now() + dt.timedelta(days=365)
        assert receipt["result"]["tier"] == 1
        assert receipt["result"]["next_recheck_at"] == due.isoformat(timespec="milliseconds").replace(
            "+00:00", "Z"
        )
    for who in ("ann", "mo"):
        assert (await accepted.refused("refused", who, "PUT", TIER, {}))["rule"] == "none"
    assert (await accepted.refused("malformed", "cl", "PUT", TIER, {"tier": 4}))["pointer"] == "/tier"
    await register(accepted, "b")
    await accepted.refused("not_in_state", "cl", "PUT", "/v1/accounts/b/tier", {})


async def test_an_override_needs_two_and_ends_by_time(accepted: House) -> None:
    """S081, S015: proposed it changes nothing; approved it stands over the rank until its end, then time ends it."""
    body = {"tier": 4, "until": "2026-12-01T00:00:00Z", "reason": "activity_unusual"}
    answer = await accepted.ask("cl", "PUT", OVERRIDE, body)
    assert answer.status_code == 202
    assert (await seen(accepted))["tier"] == 1
    await accepted.refused("approval_pending", "cl2", "PUT", OVERRIDE, body)
    granted = await approve(accepted, answer.json()["result"]["approval_id"])
    facts = await seen(accepted)
    assert (facts["tier"], facts["next_recheck_at"]) == (4, "2026-12-02T08:00:00.000Z")
    assert facts["override"] == {
        "tier": 4,
        "until": "2026-12-01T00:00:00.000Z",
        "by_record": granted,
    }
    await accepted.do("im", "PATCH", "/v1/accounts/a", {"followers": 100_000})
    assert ((await seen(accepted))["tier"], (await seen(accepted))["tier_basis"]["tier"]) == (4, 2)
    accepted.clock.set(dt.datetime(2026, 12, 1, tzinfo=dt.UTC))
    assert await accepted.sweep() == 0
    assert await expire(accepted) == (409, "not_in_state")
    accepted.clock.advance(0.001)
    assert await accepted.sweep() == 1
    facts = await seen(accepted)
    assert (facts["tier"], facts["override"]) == (2, None)
    (record,) = [one for one in await accepted.records("account.expire_override") if one["out"] == "done"]
    assert (record["by"]["standing"], record["links"]) == ("system.sweep", [granted])
    assert [one["tier"] for one in await accepted.effects("account.ranked")] == [4, 2]
    assert await expire(accepted) == (409, "not_in_state")


async def approve(house: House, approval_id: str) -> str:
    """Have the approver agree; return the record's id."""
    return (await house.do("ap", "POST", f"/v1/approvals/{approval_id}/grant", {}))["record_id"]


async def override(house: House, **body: Any) -> str:
    known = {"tier": 3, "until": "2026-12-01T00:00:00Z", "reason": "activity_unusual"}
    answer = await house.do("cl", "PUT", OVERRIDE, known | body)
    return await approve(house, answer["result"]["approval_id"])


async def test_an_override_has_its_limits(accepted: House) -> None:
    """S080, S081: it needs a reason and an end within override_max_d, and never goes below the floor."""
    body = {"tier": 2, "until": "2027-01-31T08:00:00.000Z", "reason": "activity_unusual"}
    await accepted.do("im", "PATCH", "/v1/accounts/a", {"followers": 100_000})
    for change, code, data in (
        ({"tier": 1}, "below_floor", {"floor": 2}),
        ({"until": "2027-01-31T08:00:00.001Z"}, "duration_over_limit", {"maximum": 90 * 86_400}),
        ({"until": "2026-11-02T08:00:00Z"}, "malformed", None),
        ({"until": None}, "malformed", None),
        ({"reason": None}, "reason_missing", None),
        ({"reason": "because"}, "reason_missing", None),
    ):
        problem = await accepted.refused(code, "cl", "PUT", OVERRIDE, body | change)
        assert data is None or problem["data"] == data
    for who in ("im", "ann", "mo"):
        assert (await accepted.refused("refused", who, "PUT", OVERRIDE, body))["rule"] == "none"
    assert (await accepted.ask("cl", "PUT", OVERRIDE, body)).status_code == 202
    await register(accepted, "b")
    await accepted.refused("not_in_state", "cl", "PUT", "/v1/accounts/b/override", body)


async def test_another_override_follows_the_first(accepted: House) -> None:
    """S081: a second override replaces the first and names it; a lower one lowers the tier for its time."""
    await accepted.do("im", "PATCH", "/v1/accounts/a", {"followers": 50_000})
    first = await override(accepted, tier=4)
    second = await override(accepted, tier=1)
    facts = await seen(accepted)
    assert (facts["tier"], facts["override"]["by_record"], facts["tier_basis"]["tier"]) == (1, second, 2)
    granted = [one for one in await accepted.records("approval.grant") if one["id"] == second]
    assert first in granted[0]["links"]


async def test_a_floor_overtakes_an_override(accepted: House) -> None:
    """S080: floors beat what stands over the score; when the override ends, the floor stays."""
    await override(accepted, tier=2)
    await accepted.do("im", "PATCH", "/v1/accounts/a", {"followers": 1_000_000})
    assert (await seen(accepted))["tier"] == 3
    accepted.clock.set(dt.datetime(2026, 12, 2, tzinfo=dt.UTC))
    assert await accepted.sweep() == 1
    assert (await seen(accepted))["tier"] == 3


async def test_a_proposed_override_is_decided_again(accepted: House) -> None:
    """S115: when the floor rose above a proposed override, the last approval answers facts_changed and nothing happens."""
    body = {"tier": 2, "until": "2026-12-01T00:00:00Z", "reason": "activity_unusual"}
    proposed = await accepted.do("cl", "PUT", OVERRIDE, body)
    await accepted.do("im", "PATCH", "/v1/accounts/a", {"followers": 1_000_000})
    path = f"/v1/approvals/{proposed['result']['approval_id']}/grant"
    problem = await accepted.refused("facts_changed", "ap", "POST", path, {})
    assert problem["data"] == {"now": "below_floor", "floor": 3}
    assert (await seen(accepted))["override"] is None


# Reads


async def test_the_public_card_shows_no_personal_data(accepted: House) -> None:
    """A6: anybody sees class, operator, place and credit code reference; only those inside see what it is ranked by."""
    await accepted.has_people("ben")
    for who in ("ben", "eve"):
        assert await seen(accepted, who=who) == {
            "account_id": "a",
            "name": "name a",
            "class": "life",
            "profile": "",
            "place": "CN-130200",
            "operator_id": "o",
            "operator_name": "唐山某某",
            "operator_kind": "company",
            "credit_code_ref": REF,
            "mcn_id": None,
            "mcn_name": None,
            "subject_changes": [],
            "state": "accepted",
            "accepted_at": "2026-11-02T08:00:00.000Z",
            "closed_at": None,
            "version": 2,
        }
    for who in ("ann", "im", "au"):
        card = await seen(accepted, who=who)
        assert card["tier"] == 1
        assert "answerable_person" not in card
    answer = await accepted.ask("ben", "GET", "/v1/accounts/a")
    assert answer.headers["etag"] == '"2"'


async def test_what_waits_is_shown_inside_only(company: House) -> None:
    """S094: what nobody accepted yet is unknown to strangers, like an id that does not exist."""
    await register(company, "a")
    await company.has_people("ben")
    await company.refused("unknown", "ben", "GET", "/v1/accounts/a")
    await company.refused("unknown", "ben", "GET", "/v1/accounts/b")
    assert (await seen(company, who="ann"))["state"] == "waiting"


async def test_a_person_has_no_credit_code_on_the_card(house: House) -> None:
    """A6, P1: the reference of a person's check is on no card."""
    await run(house, "o", "person", methods=["credit_code", "id_document"])
    await accept(house, "a")
    assert (await seen(house))["credit_code_ref"] is None


async def test_accounts_are_found_by_what_they_are(house: House) -> None:
    """Lists filter by class, tier, territory, operator, state, override and recheck, and page without gaps."""
    await run(house, "o", "media")
    await run(house, "p", "government", "ben")
    places = ["CN-130200", "CN-130000", "CN-130203", "CN-110105", "CN-120000"]
    for n, place in enumerate(places):
        await register(house, f"a{n}", jurisdiction=place, **{"class": ("life", "news")[n % 2]})
    government = asking("b0", operator_id="p", jurisdiction="EU-DE", **{"class": "government"})
    await house.do("ben", "POST", "/v1/accounts", government)
    for one in ("a0", "a1", "b0"):
        await house.do("cl", "POST", f"/v1/accounts/{one}/acceptance", {})
    await house.do("cl", "POST", "/v1/accounts/a4/refusal", {"reason": "other"})

    async def found(**asked: Any) -> str:
        page = await house.do(
            "au", "GET", str(house.client.base_url.copy_with(path="/v1/accounts", params=asked))
        )
        return " ".join(one["account_id"] for one in page["accounts"])

    assert await found() == "a0 a1 a2 a3 a4 b0"
    assert await found(**{"class": "news"}) == "a1 a3"
    assert await found(tier=3) == "a1"
    assert await found(operator_id="p") == "b0"
    assert await found(jurisdiction="CN") == "a0 a1 a2 a3 a4"
    assert await found(jurisdiction="CN-130000") == "a0 a1 a2"
    assert await found(jurisdiction="CN-130200") == "a0 a2"
    assert await found(jurisdiction="EU") == "b0"
    assert await found(state="waiting") == "a2 a3"
    assert await found(state="accepted") == "a0 a1 b0"
    assert await found(state="refused") == "a4"
    assert await found(override="false", tier=2) == "b0"
    assert await found(override="true") == ""
    assert await found(due_recheck_before="2027-05-02T00:00:00Z") == "a1 b0"
    pages, cursor = [], None
    while True:
        asked = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = (await house.client.get("/v1/accounts", params=asked, headers=bearer(house))).json()
        pages.append([one["account_id"] for one in page["accounts"]])
        cursor = page["next"]
        if cursor is None:
            break
    assert pages == [["a0", "a1"], ["a2", "a3"], ["a4", "b0"]]
    for wrong in ("cursor=!", "limit=0", "tier=9", "class=weather", "jurisdiction=US", "state=gone"):
        await house.refused("malformed", "au", "GET", f"/v1/accounts?{wrong}")
    for who in ("ann", "reg"):
        await house.refused("refused", who, "GET", "/v1/accounts")


def bearer(house: House) -> dict[str, str]:
    return {"authorization": f"Bearer {house.tokens['im']}"}


def test_a_territory_is_found_as_it_contains() -> None:
    """Glossary: the list finds exactly what `contains` says lies inside a jurisdiction."""
    places = ["CN", "CN-130000", "CN-130200", "CN-130203", "CN-110105", "CN-110000", "EU", "EU-DE", "EU-FR"]
    for one in places:
        pattern = inner_of(one) or ""
        for other in places:
            like = other.startswith(pattern[:-1]) if pattern.endswith("%") else other == pattern
            assert (one == other or like) == contains(one, other), (one, other)


# The patrol accounts


async def test_a_patrol_account_comes_to_be(house: House) -> None:
    """A7: a government operator of a place registers its patrol account; accepted and ranked, its card is public."""
    await house.do("im", "PUT", "/v1/people/ts-1", {"jurisdiction": "CN-130200"})
    check = {"status": "verified", "methods": ["mobile", "id_document"], "identity_ref": REF}
    await house.do("im", "PUT", "/v1/people/ts-1/identity", check)
    operator = {"operator_id": "gov-130200", "kind": "government", "name": "唐山市公安局"}
    operator |= {"jurisdiction": "CN-130200", "answerable_person": "ts-1"}
    await house.do("im", "POST", "/v1/operators", operator)
    await house.do("cl", "PUT", "/v1/operators/gov-130200/identity", VERIFIED)
    account = {"account_id": "patrol-130200", "operator_id": "gov-130200", "name": "唐山网警巡查执法"}
    account |= {"class": "government", "profile": "公开巡查执法", "jurisdiction": "CN-130200"}
    assert (await house.ask("ts-1", "POST", "/v1/accounts", account)).status_code == 201
    done = await house.do("cl", "POST", "/v1/accounts/patrol-130200/acceptance", {"reason": "routine"})
    assert done["result"]["tier"] == 2
    facts = {"followers": 2_370_000, "reads_per_post": 120_000, "quality": 90, "quality_source": "model"}
    assert (await house.do("im", "PATCH", "/v1/accounts/patrol-130200", facts))["result"]["tier"] == 3
    ranked = await house.do("cl", "PUT", "/v1/accounts/patrol-130200/tier", {"reason": "routine"})
    assert ranked["result"]["tier"] == 3
    await house.has_people("ben")
    card = await seen(house, "patrol-130200", "ben")
    assert (card["name"], card["operator_name"], card["place"]) == (
        "唐山网警巡查执法",
        "唐山市公安局",
        "CN-130200",
    )
