"""Where an operator's level of credit moves, its accounts are ranked anew: each by an act of time's own."""

import asyncio
import datetime as dt
from typing import Any

import pytest

from service.clock import instant_text
from tests.api.test_accounts import VERIFIED, asking, run, seen
from tests.kit import MORNING, House

pytestmark = pytest.mark.anyio

DAY = 86_400
UNVERIFIED = {"status": "withdrawn", "methods": ["mobile"]}


@pytest.fixture
async def three(house: House) -> House:
    """Operator o, at level B, runs `light` (17 points), `middle` and `set` (23 points, one overridden to tier 3) and the
    account `waits`; operator p, at level B too, runs `other` (23 points). All are of tier 1 but for the override.
    """
    await run(house, "o", kind="media")
    await run(house, "p", kind="media")
    for account_id, followers, operator_id in (
        ("light", 0, "o"),
        ("middle", 5000, "o"),
        ("set", 5000, "o"),
        ("other", 5000, "p"),
    ):
        await house.do("ann", "POST", "/v1/accounts", asking(account_id, operator_id=operator_id))
        await house.do("cl", "POST", f"/v1/accounts/{account_id}/acceptance", {})
        await house.do("im", "PATCH", f"/v1/accounts/{account_id}", {"followers": followers})
    await house.do("ann", "POST", "/v1/accounts", asking("waits"))
    until = instant_text(MORNING + dt.timedelta(days=89))
    asked = {"tier": 3, "until": until, "reason": "routine", "note": "looked at twice"}
    proposed = await house.do("cl", "PUT", "/v1/accounts/set/override", asked)
    await agreed(house, proposed)
    house.clock.advance(DAY)
    await house.sweep()
    return house


async def agreed(house: House, proposed: dict[str, Any]) -> None:
    await house.do("ap", "POST", f"/v1/approvals/{proposed['result']['approval_id']}/grant", {})


async def adjust(house: House, points: int) -> str:
    """Two people move the credit of operator o; the record that its ledger names."""
    asked = {"points": points, "reason": "error_corrected", "note": "counted twice"}
    await agreed(house, await house.do("mo", "POST", "/v1/credit/operator/o/adjustments", asked))
    line = (await house.do("im", "GET", "/v1/credit/operator/o"))["lines"][0]
    assert line["points"] == points
    return str(line["record_id"])


async def swept(house: House) -> dict[str, dict[str, Any]]:
    """Let time act; the ranking records it made, by account."""
    before = len(await house.records("account.rank"))
    await house.sweep()
    async with house.db.read() as db:
        names = {
            bytes(row["tag"]).hex(): row["id"] for row in await db.fetch("SELECT tag, id FROM subject_name")
        }
    made = (await house.records("account.rank"))[before:]
    found = {names[one["subj"][one["p"]["who"]["target"]]]: one for one in made}
    assert len(found) == len(made), "an account ranked twice"
    return found


async def tiers(house: House) -> dict[str, int]:
    return {one: (await seen(house, one))["tier"] for one in ("light", "middle", "set", "other")}


async def test_a_fall_of_credit_ranks_the_operators_accounts_anew(three: House) -> None:
    """S077, S015: every accepted account of that operator gets a record by time, linked to the one that moved the level; nobody else's."""
    assert await tiers(three) == {"light": 1, "middle": 1, "set": 3, "other": 1}
    due = {one: (await seen(three, one))["next_recheck_at"] for one in ("light", "middle")}
    moved = await adjust(three, -20)
    assert await tiers(three) == {"light": 1, "middle": 1, "set": 3, "other": 1}
    records = await swept(three)
    assert records.keys() == {"light", "middle", "set"}
    for one in records.values():
        assert (one["by"]["standing"], one["rule"], one["links"]) == (
            "system.sweep",
            "account.rank-sweep",
            [moved],
        )
        assert one["p"]["after"]["tier_basis"]["inputs"]["operator_credit"] == "C"
    assert await tiers(three) == {"light": 1, "middle": 2, "set": 3, "other": 1}
    assert [records[one]["p"]["after"]["tier_basis"]["tier"] for one in ("light", "middle", "set")] == [
        1,
        2,
        2,
    ]
    told = [
        one for one in await three.effects("account.ranked") if one["operator_id"] == "o" and one["tier"] == 2
    ]
    assert [(one["account_id"], one["before"]) for one in told] == [("middle", 1)]
    assert (await seen(three, "light"))["next_recheck_at"] == due["light"]
    assert (await seen(three, "middle"))["next_recheck_at"] != due["middle"]
    assert await swept(three) == {}


async def test_what_is_overridden_falls_to_the_tier_of_the_new_level(three: House) -> None:
    """S080, S081: the override stands over the account until its end; then the tier that the new level gave returns."""
    await adjust(three, -20)
    await swept(three)
    three.clock.set(MORNING + dt.timedelta(days=89, milliseconds=1))
    await three.sweep()
    shown = await seen(three, "set")
    assert (shown["override"], shown["tier"]) == (None, 2)


async def test_a_rise_of_credit_lowers_a_tier_only_after_the_wait(three: House) -> None:
    """S079: recovered credit lets the lower tier wait from the day the accounts were ranked anew; `tier_down_wait_d` later it holds."""
    await adjust(three, -20)
    await swept(three)
    moved = await adjust(three, 20)
    records = await swept(three)
    assert records.keys() == {"light", "middle", "set"}
    assert {one["links"][0] for one in records.values()} == {moved}
    shown = await seen(three, "middle")
    assert (shown["tier"], shown["tier_basis"]["waiting"]["tier"]) == (2, 1)
    three.clock.advance(28 * DAY - 1)
    assert await swept(three) == {}
    three.clock.advance(1)
    assert (await swept(three)).keys() == {"middle", "set"}
    assert await tiers(three) == {"light": 1, "middle": 1, "set": 3, "other": 1}


async def test_credit_that_recovers_by_time_moves_the_accounts_too(three: House) -> None:
    """S088, S077: the clean period brings the level back to B; in that turn the accounts are ranked, linked to that recovery."""
    await adjust(three, -6)
    assert (await swept(three)).keys() == {"light", "middle", "set"}
    three.clock.advance(30 * DAY)
    records = await swept(three)
    line = (await three.do("im", "GET", "/v1/credit/operator/o"))["lines"][0]
    assert line["cause"] == "recovered"
    assert {one["links"][0] for one in records.values()} == {line["record_id"]}
    assert (await seen(three, "middle"))["tier_basis"]["inputs"]["operator_credit"] == "B"


async def test_a_lost_identity_weighs_as_the_lowest_level(three: House) -> None:
    """P2, S077: the identity withdrawn, the accounts are ranked as at level D by time, linked to the check; proved again they wait."""
    check = await three.do("im", "PUT", "/v1/operators/o/identity", UNVERIFIED)
    records = await swept(three)
    assert {one["links"][0] for one in records.values()} == {check["record_id"]}
    assert await tiers(three) == {"light": 2, "middle": 2, "set": 3, "other": 1}
    again = await three.do("im", "PUT", "/v1/operators/o/identity", VERIFIED)
    records = await swept(three)
    assert {one["links"][0] for one in records.values()} == {again["record_id"]}
    assert (await seen(three, "light"))["tier_basis"]["waiting"]["tier"] == 1


async def test_a_move_within_a_level_or_back_again_ranks_nobody(three: House) -> None:
    """S077: what counts is the level the accounts rest on: points within a level, and a level that is back in time, change nothing."""
    await adjust(three, -5)
    assert await swept(three) == {}
    await adjust(three, -10)
    await adjust(three, 10)
    assert await swept(three) == {}


async def test_two_processes_rank_each_account_once(three: House) -> None:
    """S016: whoever finds the same accounts in the same turn has nothing to do any more; the note is dropped a minute later."""
    before = len(await three.records("account.rank"))
    await adjust(three, -20)
    await asyncio.gather(*(three.app.state.sweep.once() for _ in range(3)))
    assert len(await three.records("account.rank")) == before + 3
    async with three.db.read() as db:
        assert await db.fetchval("SELECT count(*) FROM level_move") == 1
        three.clock.advance(60)
        await three.sweep()
        assert await db.fetchval("SELECT count(*) FROM level_move") == 0
    assert len(await three.records("account.rank")) == before + 3


async def test_what_another_process_ranked_on_the_former_level_is_found(three: House) -> None:
    """S077: an account that was ranked at the instant of the move, on the level before it, is ranked again within the minute."""
    moved = await adjust(three, -20)
    await swept(three)
    async with three.db.transaction() as tx:
        await tx.execute(
            "UPDATE account SET tier = 1, tier_basis = jsonb_set(tier_basis, '{inputs,operator_credit}', '\"B\"')"
            " WHERE account_id = 'light'"
        )
    three.clock.advance(1)
    records = await swept(three)
    assert (records.keys(), records["light"]["links"]) == ({"light"}, [moved])
