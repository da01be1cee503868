"""Accounts change what they say of themselves, pass to other operators, are rechecked, and end."""

import asyncio
import datetime as dt
from typing import Any

import pytest

from service.domain.accounts.closing import CloseAccount
from service.domain.accounts.transfer import ExpireAccountTransfer
from service.domain.in_force import Measure
from service.domain.staff import Staff
from tests.api.test_accounts import VERIFIED, accept, asking, register, run, seen
from tests.kit import MORNING, House, record_named

pytestmark = pytest.mark.anyio

ACCOUNT = "/v1/accounts/a"
PROFILE = f"{ACCOUNT}/profile"
TRANSFER = f"{ACCOUNT}/transfer"
CLOSING = f"{ACCOUNT}/closing"
DAY = 86_400


@pytest.fixture
async def account(house: House) -> House:
    """Account a of class life, named `name a`, accepted: operator o, a company; ann answers for it."""
    await run(house, "o")
    await accept(house, "a", profile="about life")
    return house


@pytest.fixture
async def two(account: House) -> House:
    """Beside it operator p, another company, for which ben answers."""
    await run(account, "p", who="ben")
    return account


async def change(house: House, **asked: Any) -> str:
    """Ask for a change of profile; the id of its record."""
    return (await house.do("ann", "PUT", PROFILE, asked))["record_id"]


async def decide(house: House, verb: str, record: str, who: str = "cl", **more: Any) -> dict[str, Any]:
    return await house.do(who, "POST", f"{PROFILE}/{verb}", {"asked_record": record, **more})


# What it says of itself


async def test_the_old_profile_is_shown_until_the_new_one_is_accepted(account: House) -> None:
    """S094: a change waits and changes nothing; accepted it is shown, and what was before is kept with its record."""
    asked = await change(account, name="New Name", profile="about more")
    before = await seen(account)
    assert (before["name"], before["profile"]) == ("name a", "about life")
    assert before["pending_profile"]["name"] == "New Name"
    assert (await seen(account, who="eve"))["name"] == "name a"
    assert [
        one["account_id"] for one in (await account.do("cl", "GET", "/v1/accounts?changing=true"))["accounts"]
    ] == ["a"]
    account.clock.advance(60)
    receipt = await decide(account, "acceptance", asked)
    assert receipt["result"] == {"changed": ["name", "profile"], "tier": 1, "version": 4}
    after = await seen(account)
    assert (after["name"], after["profile"], after["pending_profile"]) == ("New Name", "about more", None)
    kept = (await account.do("ann", "GET", f"{ACCOUNT}/former-profiles"))["profiles"]
    assert kept == [
        {
            "name": "name a",
            "class": "life",
            "profile": "about life",
            "until": "2026-11-02T08:01:00.000Z",
            "by_record": receipt["record_id"],
        }
    ]
    first, second = (await account.records("account.update_profile")) + (
        await account.records("account.accept_profile")
    )
    assert (sorted(first["sd"]), second["links"]) == (["name", "profile"], [asked])
    assert sorted(second["sd"]) == ["name", "name_before", "profile", "profile_before"]
    assert await account.effects("account.profile_changed") == [
        {"account_id": "a", "changed": ["name", "profile"]}
    ]
    await account.refused("not_in_state", "cl", "POST", f"{PROFILE}/acceptance", {"asked_record": asked})


async def test_former_profiles_are_for_those_inside(account: House) -> None:
    """S094: what an account was called before is told to staff, the backend and who answers for it."""
    for who in ("ann", "im", "au"):
        assert (await account.do(who, "GET", f"{ACCOUNT}/former-profiles")) == {"profiles": []}
    await account.has_people("eve")
    await account.refused("unknown", "eve", "GET", f"{ACCOUNT}/former-profiles")
    await account.refused("unknown", "im", "GET", "/v1/accounts/none/former-profiles")


async def test_a_change_is_checked_like_a_registration(account: House) -> None:
    """S094: identity, credential of the class and the name are looked at when asked and again when accepted."""
    await run(account, "p", who="ben")
    await account.do("ben", "POST", "/v1/accounts", asking("b", operator_id="p", name="Taken"))
    problem = await account.refused("name_reserved", "ann", "PUT", PROFILE, {"name": "taken!"})
    assert problem["pointer"] == "/name"
    await account.refused("credential_missing", "ann", "PUT", PROFILE, {"class": "government"})
    for body, code in (
        ({}, "malformed"),
        ({"name": "！？"}, "malformed"),
        ({"name": "call 13812345678"}, "raw_identity"),
        ({"class": "weather"}, "malformed"),
        ({"name": "name a"}, "already_in_state"),
    ):
        await account.refused(code, "ann", "PUT", PROFILE, body)
    asked = await change(account, name="Fresh")
    await account.do("im", "PUT", "/v1/operators/o/identity", {"status": "failed", "methods": ["mobile"]})
    body = {"asked_record": asked}
    await account.refused("identity_unverified", "cl", "POST", f"{PROFILE}/acceptance", body)
    await account.refused("identity_unverified", "ann", "PUT", PROFILE, {"name": "Fresher"})


async def test_only_who_answers_asks_and_only_a_classifier_apart_decides(account: House) -> None:
    """S094, S113: others match no rule; the operator's own human accepts nothing under another standing."""
    await account.has_people("eve")
    for who in ("eve", "im", "cl"):
        await account.refused("refused", who, "PUT", PROFILE, {"profile": "x"})
    asked = await change(account, profile="x")
    for who in ("im", "mo", "ann"):
        await account.refused("refused", who, "POST", f"{PROFILE}/acceptance", {"asked_record": asked})
    async with account.db.transaction() as tx:
        await Staff.apply(tx, [Staff(staff_id="cl", person_id="ann", created_at=MORNING)])
    for verb, more in (("acceptance", {}), ("refusal", {"reason": "other"})):
        body = {"asked_record": asked, **more}
        await account.refused("own_matter", "cl", "POST", f"{PROFILE}/{verb}", body)
    await decide(account, "acceptance", asked, "cl2")


async def test_what_was_looked_at_is_what_is_accepted(account: House) -> None:
    """S094: asking again replaces what waits; who decides names the record he looked at, else `facts_changed`."""
    first = await change(account, name="First")
    second = await change(account, name="Second")
    for verb, more in (("acceptance", {}), ("refusal", {"reason": "other"})):
        body = {"asked_record": first, **more}
        problem = await account.refused("facts_changed", "cl", "POST", f"{PROFILE}/{verb}", body)
        assert problem["pointer"] == "/asked_record"
    assert (await account.records("account.update_profile"))[1]["links"] == [first]
    await decide(account, "acceptance", second)
    assert (await seen(account))["name"] == "Second"
    await run(account, "p", who="ben")
    await account.do("ben", "POST", "/v1/accounts", asking("b", operator_id="p", name="First"))
    body = asking("c", operator_id="p", name="name a")
    await account.refused("name_reserved", "ben", "POST", "/v1/accounts", body)


async def test_a_refused_change_leaves_all_as_it_was(account: House) -> None:
    """S094, S018: refusing has a reason, the old profile stays, and the name asked for is free for others."""
    asked = await change(account, name="Other")
    body = {"asked_record": asked}
    await account.refused("reason_missing", "cl", "POST", f"{PROFILE}/refusal", body)
    await decide(account, "refusal", asked, reason="name_misleading")
    facts = await seen(account)
    assert (facts["name"], facts["pending_profile"]) == ("name a", None)
    assert await account.effects("account.profile_refused") == [
        {"account_id": "a", "pending": ["name"], "reason": "name_misleading"}
    ]
    await run(account, "p", who="ben")
    await account.do("ben", "POST", "/v1/accounts", asking("b", operator_id="p", name="Other"))


async def test_an_account_takes_its_own_old_name_again(account: House) -> None:
    """A5: a former name is reserved for the account that had it, and a refused return does not set it free."""
    await decide(account, "acceptance", await change(account, name="Second"))
    await decide(account, "refusal", await change(account, name="name a"), reason="other")
    await run(account, "p", who="ben")
    body = asking("b", operator_id="p", name="name a")
    await account.refused("name_reserved", "ben", "POST", "/v1/accounts", body)
    await decide(account, "acceptance", await change(account, name="name a"))
    assert (await seen(account))["name"] == "name a"


async def test_another_class_weighs_otherwise(account: House) -> None:
    """S094, S082: with an accepted class the tier is computed anew; crossing a threshold is an act of its own."""
    asked = await change(account, **{"class": "news"})
    assert (await seen(account))["class"] == "life"
    receipt = await decide(account, "acceptance", asked)
    assert receipt["result"] == {"changed": ["class"], "tier": 3, "version": 4}
    (rank,) = await account.records("account.rank")
    assert (rank["p"]["before"]["tier"], rank["p"]["after"]["tier"]) == (1, 3)
    assert receipt["record_id"] in rank["links"]


async def test_what_waits_itself_is_not_changed(house: House) -> None:
    """S094: an account that nobody accepted yet has no profile to change, no transfer, recheck or closing."""
    await run(house, "o")
    await run(house, "p", who="ben")
    await register(house, "a")
    for who, method, path, body in (
        ("ann", "PUT", PROFILE, {"profile": "x"}),
        ("ann", "POST", TRANSFER, {"operator_id": "p"}),
        ("ann", "POST", CLOSING, {}),
        ("cl", "POST", f"{ACCOUNT}/rechecks", {"fits": True}),
    ):
        problem = await house.refused("not_in_state", who, method, path, body)
        assert problem["data"] == {"state": "waiting"}


# Rechecks


async def test_a_recheck_sets_the_next_one(account: House) -> None:
    """What fits is due again after the days of its tier; what does not stays due, with a reason, and tells the backend."""
    account.clock.advance(DAY)
    receipt = await account.do("cl", "POST", f"{ACCOUNT}/rechecks", {"fits": True})
    assert receipt["result"]["next_recheck_at"] == "2027-11-03T08:00:00.000Z"
    await account.refused("reason_missing", "cl", "POST", f"{ACCOUNT}/rechecks", {"fits": False})
    body = {"fits": False, "reason": "name_misleading"}
    receipt = await account.do("cl", "POST", f"{ACCOUNT}/rechecks", body)
    assert receipt["result"]["next_recheck_at"] == "2026-11-03T08:00:00.000Z"
    account.clock.advance(1)
    due = await account.do("cl", "GET", "/v1/accounts?due_recheck_before=2026-11-03T08:00:01Z")
    assert [one["account_id"] for one in due["accounts"]] == ["a"]
    assert [one["fits"] for one in await account.effects("account.rechecked")] == [True, False]
    for who in ("ann", "mo", "im"):
        await account.refused("refused", who, "POST", f"{ACCOUNT}/rechecks", {"fits": True})


# Transfer


async def offer(house: House, to: str = "p") -> dict[str, Any]:
    return await house.do("ann", "POST", TRANSFER, {"operator_id": to})


async def take(house: House, who: str = "ben") -> dict[str, Any]:
    """Accept the offer; one approver more is needed."""
    version = (await seen(house))["version"]
    return await house.do(who, "POST", f"{TRANSFER}/acceptance", {}, version=version)


async def test_an_account_passes_by_offer_acceptance_and_approval(two: House) -> None:
    """S099, A1, S115: nothing changes until the platform has agreed; then the operator changes and all can see it."""
    offered = await offer(two)
    assert offered["result"]["until"] == "2026-11-09T08:00:00.000Z"
    asked = await take(two)
    assert (asked["outcome"], (await seen(two))["operator_id"]) == ("proposed", "o")
    two.clock.advance(60)
    await two.do("ap", "POST", f"/v1/approvals/{asked['result']['approval_id']}/grant", {})
    await two.has_people("eve")
    card = await seen(two, who="eve")
    assert card["operator_id"] == "p"
    assert card["subject_changes"] == [
        {
            "at": "2026-11-02T08:01:00.000Z",
            "from_operator": "o",
            "from_name": "唐山某某",
            "to_operator": "p",
            "to_name": "唐山某某",
        }
    ]
    counts = [(await two.do("im", "GET", f"/v1/operators/{one}"))["account_count"] for one in "op"]
    assert counts == [0, 1]
    await two.refused("refused", "ann", "PUT", PROFILE, {"profile": "x"})
    await two.do("ben", "PUT", PROFILE, {"profile": "x"})
    (record,) = list(await two.records("approval.grant"))
    assert record["out"] == "done"
    assert (await two.effects("account.operator_changed"))[0]["to"] == "p"


async def passed(house: House) -> None:
    """Let account a pass from o to p."""
    await offer(house)
    asked = await take(house)
    await house.do("ap", "POST", f"/v1/approvals/{asked['result']['approval_id']}/grant", {})


async def test_monetisation_stays_off_after_a_transfer(two: House) -> None:
    """S100: for three calendar months, told to the backend and shown inside; the account is due for a recheck at once."""
    await passed(two)
    facts = await seen(two)
    assert facts["monetisation_eligible_at"] == "2027-02-02T08:00:00.000Z"
    assert facts["next_recheck_at"] == "2026-11-02T08:00:00.000Z"
    (effect,) = await two.effects("account.operator_changed")
    assert effect["monetisation_eligible_at"] == "2027-02-02T08:00:00.000Z"
    uses = await two.do("im", "GET", f"{ACCOUNT}/uses")
    assert uses["code"] == "monetisation_rests"
    assert [one for one in uses["uses"] if not one["may"]] == [
        {
            "use": "monetise",
            "may": False,
            "code": "monetisation_rests",
            "by": [],
            "until": "2027-02-02T08:00:00.000Z",
            "source": None,
        }
    ]
    two.clock.set(dt.datetime(2027, 2, 2, 8, tzinfo=dt.UTC))
    uses = await two.do("im", "GET", f"{ACCOUNT}/uses")
    assert (uses["code"], all(one["may"] for one in uses["uses"])) == ("", True)


async def test_who_answered_then_is_still_told(two: House) -> None:
    """S214, S099: the chain of an account names the operator it had at the instant asked for."""
    two.clock.advance(DAY)
    await two.do("im", "PUT", "/v1/people/ben/identity", VERIFIED)
    await two.do("im", "PUT", "/v1/people/ann/identity", VERIFIED)
    await passed(two)
    path = "/v1/responsibility/account/a?purpose=why"
    links = [
        (await two.do("au", "GET", f"{path}{at}"))["chain"]["operator"]
        for at in ("&at=2026-11-02T09:00:00Z", "")
    ]
    assert [one["operator_id"] for one in links] == ["o", "p"]
    assert links[1]["held_from"] == "2026-11-03T08:00:00.000Z"


async def test_both_sides_are_freshly_verified(two: House) -> None:
    """S099: a verification older than `transfer_fresh_h` stops offer and acceptance, with the seconds since."""
    two.clock.advance(DAY + 1)
    problem = await two.refused("verification_stale", "ann", "POST", TRANSFER, {"operator_id": "p"})
    assert problem["data"] == {"seconds": DAY + 1}
    await two.do("im", "PUT", "/v1/people/ann/identity", VERIFIED)
    await offer(two)
    version = (await seen(two))["version"]
    await two.refused("verification_stale", "ben", "POST", f"{TRANSFER}/acceptance", {}, version=version)


async def test_the_receiver_is_checked_as_new(two: House) -> None:
    """S099, S085: identity, credential of the class and room among its accounts are asked of who takes over."""
    await two.do("im", "PUT", "/v1/operators/p/identity", VERIFIED | {"methods": ["mobile"]})
    await offer(two)
    path, version = f"{TRANSFER}/acceptance", (await seen(two))["version"]
    await two.refused("identity_unverified", "ben", "POST", path, {}, version=version)
    await two.do("im", "PUT", "/v1/operators/p/identity", VERIFIED)
    for one in "bc":
        await two.do("ben", "POST", "/v1/accounts", asking(one, operator_id="p"))
    problem = await two.refused("cap_accounts", "ben", "POST", path, {}, version=version)
    assert problem["data"] == two.at_cap(2, 2, "accounts_cap_company")
    async with two.db.transaction() as tx:
        await tx.execute("UPDATE credit SET score = 10 WHERE subject_type = 'operator' AND subject_id = 'p'")
        await tx.execute("UPDATE account SET klass = 'news' WHERE account_id = 'a'")
    await two.refused("credit_too_low", "ben", "POST", path, {}, version=version)
    async with two.db.transaction() as tx:
        await tx.execute("UPDATE credit SET score = 75 WHERE subject_type = 'operator' AND subject_id = 'p'")
        await tx.execute(
            "UPDATE credential SET ended_at = now(), ended_how = 'expired' WHERE operator_id = 'p'"
        )
    await two.refused("credential_missing", "ben", "POST", path, {}, version=version)


async def test_an_acceptance_names_the_version_it_saw(two: House) -> None:
    """S012: without an expected version `version_required`, with an old one `version_stale`."""
    await offer(two)
    path = f"{TRANSFER}/acceptance"
    await two.refused("version_required", "ben", "POST", path, {})
    await two.refused("version_stale", "ben", "POST", path, {}, version=1)


async def test_only_the_addressee_answers(two: House) -> None:
    """S099, S006: neither who offered nor a stranger accepts; the addressee may decline, who offered may withdraw."""
    await offer(two)
    await two.has_people("eve")
    for who in ("ann", "eve", "im"):
        for verb in ("acceptance", "declination"):
            problem = await two.refused("refused", who, "POST", f"{TRANSFER}/{verb}", {}, version=3)
            assert problem["rule"] == "none"
    await two.refused("refused", "ben", "DELETE", TRANSFER)
    await two.do("ben", "POST", f"{TRANSFER}/declination", {})
    await two.refused("offer_lapsed", "ben", "POST", f"{TRANSFER}/declination", {})
    await offer(two)
    await two.do("ann", "DELETE", TRANSFER)
    await two.refused("offer_lapsed", "ann", "DELETE", TRANSFER)
    await two.refused("offer_lapsed", "ben", "POST", f"{TRANSFER}/acceptance", {}, version=6)
    ends = [one["how"] for one in await two.effects("account.transfer_ended")]
    assert ends == ["declined", "withdrawn"]


async def test_one_offer_at_a_time_and_to_somebody_else(two: House) -> None:
    """S064, S035: a second offer is `transfer_pending`; to oneself `self_target`; to nobody `unknown`."""
    await two.refused("self_target", "ann", "POST", TRANSFER, {"operator_id": "o"})
    await two.refused("unknown", "ann", "POST", TRANSFER, {"operator_id": "none"})
    await offer(two)
    await two.refused("transfer_pending", "ann", "POST", TRANSFER, {"operator_id": "p"})


async def test_an_unanswered_offer_lapses(two: House) -> None:
    """S015, S016: at its end it can still be accepted; after it time ends it, once, naming the offer."""
    offered = await offer(two)
    two.clock.advance(7 * DAY)
    assert await two.by_time(ExpireAccountTransfer(account_id="a")) == "not_in_state"
    two.clock.advance(0.001)
    await two.refused("offer_lapsed", "ben", "POST", f"{TRANSFER}/acceptance", {}, version=3)
    await two.sweep()
    (record,) = await two.records("account.expire_transfer")
    assert (record["links"], record["by"]["standing"]) == ([offered["record_id"]], "system.sweep")
    assert await two.by_time(ExpireAccountTransfer(account_id="a")) == "not_in_state"


async def test_a_heavy_measure_stands_in_the_way(two: House) -> None:
    """S099: while an account is paused as dormant it is neither offered nor taken over; once that is lifted, it is."""
    await offer(two)
    async with two.db.transaction() as tx:
        await Measure.apply(tx, [_paused(two)])
    body = {"operator_id": "p"}
    await two.refused("transfer_pending", "ann", "POST", TRANSFER, body)
    version = (await seen(two))["version"]
    path = f"{TRANSFER}/acceptance"
    problem = await two.refused("transfer_blocked", "ben", "POST", path, {}, version=version)
    assert problem["data"] == {"measure": "P_DORMANT_PAUSE", "until": None}
    await two.do("ann", "DELETE", TRANSFER)
    await two.refused("transfer_blocked", "ann", "POST", TRANSFER, body)
    async with two.db.transaction() as tx:
        over = {"ended_at": two.clock.now(), "ended_how": "lifted", "ended_record": record_named("over")}
        await Measure.apply(tx, [_paused(two).with_(**over)])
    await offer(two)


def _paused(house: House) -> Measure:
    return Measure(
        measure_id="m",
        code="P_DORMANT_PAUSE",
        target_type="account",
        target_id="a",
        jurisdiction="CN-130200",
        ground="terms",
        basis=["account-rules:art.10"],
        facts={"unused": "long"},
        imposed_as="automation",
        from_at=house.clock.now(),
        dsa_surface="none",
        by_record=record_named("m"),
    )


async def test_a_transferred_account_rests(two: House) -> None:
    """S063: for `transfer_rest_d` days the new operator passes it on to nobody; the refusal says how long."""
    await passed(two)
    problem = await two.refused("transfer_resting", "ben", "POST", TRANSFER, {"operator_id": "o"})
    assert problem["data"] == {"seconds": 30 * DAY}
    two.clock.advance(30 * DAY)
    await two.do("im", "PUT", "/v1/people/ben/identity", VERIFIED)
    await two.do("ben", "POST", TRANSFER, {"operator_id": "o"})


async def test_withdrawn_while_it_waits_for_approval_it_stays(two: House) -> None:
    """S115, S099: an offer taken back before the platform agreed comes to nothing."""
    await offer(two)
    asked = await take(two)
    await two.do("ann", "DELETE", TRANSFER)
    path = f"/v1/approvals/{asked['result']['approval_id']}/grant"
    await two.refused("facts_changed", "ap", "POST", path, {})
    assert (await seen(two))["operator_id"] == "o"


async def test_of_many_at_once_the_cap_holds(two: House) -> None:
    """A4, S085: a transfer and registrations race for the last place; the receiver never has more than its cap."""
    await two.do("ben", "POST", "/v1/accounts", asking("b", operator_id="p"))
    await offer(two)
    asked = await take(two)
    grant = f"/v1/approvals/{asked['result']['approval_id']}/grant"
    answers = await asyncio.gather(
        two.ask("ap", "POST", grant, {}),
        *(two.ask("ben", "POST", "/v1/accounts", asking(f"c{n}", operator_id="p")) for n in range(4)),
    )
    assert sum(answer.status_code < 300 for answer in answers) == 1
    assert (await two.do("im", "GET", "/v1/operators/p"))["account_count"] == 2


# Closing


@pytest.mark.parametrize(("followers", "days"), [(10_000, 15), (10_001, 30), (100_000, 30), (100_001, 60)])
async def test_a_closing_cools_down_by_followers(account: House, followers: int, days: int) -> None:
    """S104: asked for it waits 15, 30 or 60 days; at that instant time closes the account, not before."""
    await account.do("im", "PATCH", ACCOUNT, {"followers": followers})
    receipt = await account.do("ann", "POST", CLOSING, {})
    due_at = MORNING + dt.timedelta(days=days)
    assert dt.datetime.fromisoformat(receipt["result"]["closing_due_at"]) == due_at
    account.clock.advance(days * DAY - 0.001)
    assert await account.by_time(CloseAccount(account_id="a")) == "not_in_state"
    account.clock.advance(0.001)
    await account.sweep()
    facts = await seen(account)
    assert (facts["state"], facts["closed_at"] is not None) == ("closed", True)


async def test_a_closed_account_is_gone_and_its_name_reserved(account: House) -> None:
    """S104, A5, S098: closing is terminal, frees the place, keeps every name, and is on record as time's act."""
    await change(account, name="Never Given")
    await account.do("ann", "POST", CLOSING, {})
    await account.refused("already_in_state", "ann", "POST", CLOSING, {})
    account.clock.advance(15 * DAY)
    await account.sweep()
    (record,) = await account.records("account.close")
    assert (record["by"]["standing"], record["p"]["after"]["pending"]) == ("system.sweep", "dropped")
    assert await account.effects("account.closed") == [{"account_id": "a", "how": "owner"}]
    assert (await account.do("im", "GET", "/v1/operators/o"))["account_count"] == 0
    for who, method, path, body in (
        ("ann", "PUT", PROFILE, {"profile": "x"}),
        ("ann", "POST", TRANSFER, {"operator_id": "p"}),
        ("ann", "DELETE", CLOSING, None),
        ("cl", "POST", f"{ACCOUNT}/rechecks", {"fits": True}),
        ("im", "PATCH", ACCOUNT, {"followers": 1}),
    ):
        await account.refused("account_closed", who, method, path, body)
    body = asking("b", name="Name A")
    await account.refused("name_reserved", "ann", "POST", "/v1/accounts", body)
    await register(account, "b", name="Never Given")
    assert await account.by_time(CloseAccount(account_id="a")) == "account_closed"


async def test_a_closing_is_withdrawn_before_it_is_due(two: House) -> None:
    """S104: until it is due the operator keeps the account; at the due instant it is too late; an offer and a closing exclude
    each other.
    """
    await two.refused("not_in_state", "ann", "DELETE", CLOSING)
    await two.do("ann", "POST", CLOSING, {})
    problem = await two.refused("not_in_state", "ann", "POST", TRANSFER, {"operator_id": "p"})
    assert problem["data"] == {"state": "closing"}
    for who in ("ben", "im", "cl"):
        await two.refused("refused", who, "DELETE", CLOSING)
    await two.do("ann", "DELETE", CLOSING)
    assert (await seen(two))["closing_due_at"] is None
    await offer(two)
    await two.refused("transfer_pending", "ann", "POST", CLOSING, {})
    await two.do("ann", "DELETE", TRANSFER)
    await two.do("ann", "POST", CLOSING, {})
    two.clock.advance(15 * DAY)
    await two.refused("not_in_state", "ann", "DELETE", CLOSING)
