"""An MCN signs accounts of other operators with their consent, stands on their card, and answers beside their operator."""

from typing import Any

import pytest

from tests.api.test_accounts import VERIFIED, accept, register, run, seen
from tests.kit import MORNING, House

pytestmark = pytest.mark.anyio

SIGN = "/v1/operators/m/accounts/a"


@pytest.fixture
async def mcn(house: House) -> House:
    """Account a of operator o, for which ann answers; m is an MCN, for which ben answers."""
    await run(house, "o")
    await accept(house, "a")
    await house.has_people("ben", "eve")
    body = {
        "operator_id": "m",
        "kind": "company",
        "name": "某某文化",
        "jurisdiction": "CN-130200",
        "is_mcn": True,
    }
    await house.do("ben", "POST", "/v1/operators", body)
    await house.do("im", "PUT", "/v1/operators/m/identity", VERIFIED)
    return house


async def signed(house: House) -> tuple[dict[str, Any], dict[str, Any]]:
    return await house.do("ann", "PUT", SIGN, {}), await house.do("ben", "PUT", SIGN, {})


async def test_both_sides_sign(mcn: House) -> None:
    """S107: without the consent of the account's operator nobody signs; signed, the MCN stands on the public card."""
    await mcn.refused("consent_missing", "ben", "PUT", SIGN, {})
    agreed = await mcn.do("ann", "PUT", SIGN, {})
    assert (agreed["result"]["mcn"], (await seen(mcn, who="eve"))["mcn_name"]) == ("agreed", None)
    await mcn.refused("already_in_state", "ann", "PUT", SIGN, {})
    receipt = await mcn.do("ben", "PUT", SIGN, {})
    card = await seen(mcn, who="eve")
    assert (receipt["result"]["mcn"], card["mcn_id"], card["mcn_name"]) == ("signed", "m", "某某文化")
    record = (await mcn.records("operator.sign_account"))[-1]
    assert record["links"] == [agreed["record_id"]]
    assert set(record["p"]["who"]) >= {"target", "account", "account_operator"}
    for who in ("ann", "ben"):
        await mcn.refused("already_in_state", who, "PUT", SIGN, {})
    assert [one["mcn_id"] for one in await mcn.effects("account.mcn_signed")] == ["m"]


async def test_an_mcn_sees_what_it_signed_and_answers_for_it(mcn: House) -> None:
    """S107, S214: who answers for the MCN sees the account's facts, and stands in the chain while the contract runs."""
    assert "tier" not in await seen(mcn, who="ben")
    mcn.clock.advance(3600)
    _, receipt = await signed(mcn)
    assert (await seen(mcn, who="ben"))["tier"] == 1
    mcn.clock.advance(3600)
    await mcn.do("ben", "DELETE", SIGN)
    assert "tier" not in await seen(mcn, who="ben")
    path = "/v1/responsibility/account/a?purpose=why&at=2026-11-02T"
    chains = [
        (await mcn.do("au", "GET", f"{path}{at}Z"))["chain"] for at in ("08:59:59", "09:30:00", "10:00:00")
    ]
    links = [chain.get("mcn") for chain in chains]
    assert [links[0], links[2]] == [None, None]
    assert (links[1]["operator_id"], links[1]["answerable_person"], links[1]["record_id"]) == (
        "m",
        "ben",
        receipt["record_id"],
    )
    assert chains[1]["operator"]["operator_id"] == "o"


async def test_only_an_mcn_signs_and_only_the_two_sides(mcn: House) -> None:
    """S107, S006: another company is `not_mcn`, strangers, staff and machines match no rule, a waiting account is not signed."""
    await run(mcn, "p", who="eve")
    await mcn.refused("not_mcn", "ann", "PUT", "/v1/operators/p/accounts/a", {})
    for who in ("eve", "cl", "im"):
        for method in ("PUT", "DELETE"):
            assert (await mcn.refused("refused", who, method, SIGN))["rule"] == "none"
    await register(mcn, "b")
    problem = await mcn.refused("not_in_state", "ann", "PUT", "/v1/operators/m/accounts/b", {})
    assert problem["data"] == {"state": "waiting"}
    await mcn.refused("unknown", "ann", "PUT", "/v1/operators/none/accounts/a", {})
    await mcn.refused("unknown", "ann", "PUT", "/v1/operators/m/accounts/none", {})


async def test_either_side_ends_it(mcn: House) -> None:
    """S107: what was agreed to is taken back, what was signed is ended, once; then another contract may run."""
    await mcn.refused("not_in_state", "ann", "DELETE", SIGN)
    await mcn.do("ann", "PUT", SIGN, {})
    await mcn.do("ann", "DELETE", SIGN)
    await mcn.refused("consent_missing", "ben", "PUT", SIGN, {})
    for who in ("ann", "ben"):
        await signed(mcn)
        await mcn.do(who, "DELETE", SIGN)
        await mcn.refused("not_in_state", who, "DELETE", SIGN)
        mcn.clock.advance(1)
    async with mcn.db.read() as db:
        rows = await db.fetch("SELECT from_at, until_at FROM mcn_contract ORDER BY from_at")
    assert len(rows) == 2
    assert rows[0]["until_at"] == MORNING


async def test_a_contract_ends_with_the_operator_that_signed_it(mcn: House) -> None:
    """S107, S099: when the account passes to another operator, or is closed, the contract ends in the same act."""
    await run(mcn, "p", who="eve")
    await signed(mcn)
    await mcn.do("ann", "POST", "/v1/accounts/a/transfer", {"operator_id": "p"})
    version = (await seen(mcn))["version"]
    asked = await mcn.do("eve", "POST", "/v1/accounts/a/transfer/acceptance", {}, version=version)
    await mcn.do("ap", "POST", f"/v1/approvals/{asked['result']['approval_id']}/grant", {})
    assert (await seen(mcn))["mcn_id"] is None
    await mcn.do("eve", "PUT", SIGN, {})
    await mcn.do("ben", "PUT", SIGN, {})
    await mcn.do("eve", "POST", "/v1/accounts/a/closing", {})
    mcn.clock.advance(15 * 86_400)
    await mcn.sweep()
    (record,) = await mcn.records("account.close")
    assert record["p"]["after"]["mcn"] == "ended"
    async with mcn.db.read() as db:
        assert await db.fetchval("SELECT count(*) FROM mcn_contract WHERE until_at IS NULL") == 0
