"""Dormancy: warned long before, paused only when nothing happened, woken by whoever runs the account, ended by nobody but a human."""

import datetime as dt
from typing import Any

import pytest

from service.clock import instant_text
from service.domain.measures.acts import ImposeMeasure
from service.domain.measures.dormancy import PAUSE, WarnDormant
from tests.kit import MORNING, House

pytestmark = pytest.mark.anyio

REF = "b2d0c6b1-6f0e-4d1c-9a53-7c1e84f2a905"
VERIFIED = {"status": "verified", "methods": ["credit_code", "mobile"], "identity_ref": REF}
DAY = 86_400
WAKING = "/v1/accounts/tea/waking"


@pytest.fixture
async def tea(house: House) -> House:
    """Operator o, for which ann answers, runs the account `tea`, last used this morning."""
    await house.has_people("ann", "ben")
    body = {"operator_id": "o", "kind": "media", "name": "某某茶馆", "jurisdiction": "CN-110000"}
    await house.do("ann", "POST", "/v1/operators", body)
    await house.do("im", "PUT", "/v1/operators/o/identity", VERIFIED)
    asked = {
        "account_id": "tea",
        "class": "life",
        "operator_id": "o",
        "name": "tea",
        "jurisdiction": "CN-110000",
    }
    await house.do("ann", "POST", "/v1/accounts", asked)
    await house.do("cl", "POST", "/v1/accounts/tea/acceptance", {})
    await used(house)
    return house


async def used(house: House, at: dt.datetime | None = None) -> None:
    """The backend tells of a use, now or at an earlier instant."""
    facts = {"last_used_at": instant_text(at or house.clock.now())}
    await house.do("im", "PATCH", "/v1/accounts/tea", facts)


async def listed(house: House, stage: str = "") -> list[dict[str, Any]]:
    """The dormant accounts, as staff see them."""
    found = await house.do("cl", "GET", f"/v1/dormant-accounts{stage and f'?stage={stage}'}")
    items: list[dict[str, Any]] = found["items"]
    return items


async def after(house: House, days: float) -> None:
    """So many days after the morning, with a turn of time."""
    house.clock.set(MORNING + dt.timedelta(days=days))
    await house.sweep()


async def test_an_account_is_warned_paused_and_never_ended_by_time(tea: House) -> None:
    """S102: warned at 150 days without use, paused at 183 and not before, listed for a human at 365; time never closes it."""
    tea.clock.set(MORNING + dt.timedelta(days=150, milliseconds=-1))
    await tea.sweep()
    assert await listed(tea) == []
    await after(tea, 150)
    [warned] = await tea.records("account.warn_dormant")
    assert warned["by"]["standing"] == "system.sweep"
    [one] = await listed(tea)
    assert one == {
        "account_id": "tea",
        "name": "tea",
        "class": "life",
        "jurisdiction": "CN-110000",
        "operator_id": "o",
        "stage": "warned",
        "unused_since": instant_text(MORNING),
        "warned_at": instant_text(MORNING + dt.timedelta(days=150)),
        "warned_record": warned["id"],
        "pause_due_at": instant_text(MORNING + dt.timedelta(days=183)),
        "paused_at": None,
        "measure_id": None,
        "decision_due_at": instant_text(MORNING + dt.timedelta(days=365)),
    }
    [notice] = (await tea.do("ann", "GET", "/v1/notices"))["items"]
    assert (notice["parts"]["kind"], notice["measure_id"]) == ("warned", None)
    assert notice["parts"]["until"] == instant_text(MORNING + dt.timedelta(days=183))
    assert (await tea.effects("account.dormancy_warned"))[0]["account_id"] == "tea"
    tea.clock.set(MORNING + dt.timedelta(days=183, milliseconds=-1))
    await tea.sweep()
    assert await listed(tea, "paused") == []
    assert await tea.by_time(ImposeMeasure(code=PAUSE, target_id="tea")) == "not_in_state"
    await after(tea, 183)
    [paused] = await listed(tea, "paused")
    [record] = await tea.records("measure.impose")
    assert (record["links"], record["rule"]) == ([warned["id"]], "measure.impose-sweep")
    assert paused["measure_id"] == f"{record['id']}.1"
    assert record["p"]["after"]["facts"]["unused_days"] == 183
    uses = await tea.do("im", "GET", "/v1/accounts/tea/uses")
    assert {one["use"] for one in uses["uses"] if not one["may"]} == {
        "publish",
        "monetise",
        "recommended",
        "interact",
        "manage_comments",
    }
    await after(tea, 365)
    assert [one["stage"] for one in await listed(tea, "to_decide")] == ["to_decide"]
    assert (await tea.do("ann", "GET", "/v1/accounts/tea"))["closed_at"] is None
    assert len(await tea.records("account.warn_dormant")) == 1


async def test_any_use_between_warning_and_pause_cancels_both(tea: House) -> None:
    """S103: a use after the warning, told at once or late, voids it; the days begin anew, with another warning before any pause."""
    await after(tea, 150)
    tea.clock.advance(30 * DAY)
    await used(tea, MORNING + dt.timedelta(days=160))
    assert await listed(tea) == []
    await after(tea, 309)
    assert await tea.records("measure.impose") == []
    await after(tea, 310)
    assert [one["stage"] for one in await listed(tea)] == ["warned"]
    assert len(await tea.records("account.warn_dormant")) == 2
    await after(tea, 343)
    assert [one["stage"] for one in await listed(tea)] == ["paused"]


async def test_a_late_warning_leaves_as_much_time(tea: House) -> None:
    """S102: where time was not at work for a year the warning comes first, and the pause as long after it as ever."""
    await after(tea, 300)
    [one] = await listed(tea)
    assert (one["stage"], one["pause_due_at"]) == ("warned", instant_text(MORNING + dt.timedelta(days=333)))
    await after(tea, 332)
    assert await listed(tea, "paused") == []
    await after(tea, 333)
    assert len(await listed(tea, "paused")) == 1


async def test_whoever_answers_wakes_the_account(tea: House) -> None:
    """S102, S124: woken by the answerable person with a proved identity; the pause is lifted, all uses are free, days begin anew."""
    await tea.refused("not_in_state", "ann", "POST", WAKING, {})
    await after(tea, 150)
    await tea.refused("not_in_state", "ann", "POST", WAKING, {})
    await after(tea, 183)
    for who in ("ben", "mo"):
        assert (await tea.refused("refused", who, "POST", WAKING, {}))["rule"] == "none"
    await tea.do("im", "PUT", "/v1/operators/o/identity", {"status": "withdrawn"})
    await tea.refused("identity_unverified", "ann", "POST", WAKING, {})
    await tea.do("im", "PUT", "/v1/operators/o/identity", VERIFIED)
    [measure] = [one["measure_id"] for one in await listed(tea, "paused")]
    receipt = await tea.do("ann", "POST", WAKING, {})
    assert receipt["rule"] == "account.wake-owner"
    assert receipt["result"] == {"measure_id": measure, "state": "lifted"}
    shown = await tea.do("ann", "GET", f"/v1/measures/{measure}")
    assert shown["measure"]["state"] == "lifted"
    assert [one["parts"]["source"] for one in shown["notices"]] == ["platform_rule", "request"]
    assert all(one["may"] for one in (await tea.do("im", "GET", "/v1/accounts/tea/uses"))["uses"])
    assert (await tea.effects("account.woken")) == [{"account_id": "tea"}]
    await tea.refused("not_in_state", "ann", "POST", WAKING, {})
    await after(tea, 183 + 149)
    assert await listed(tea) == []
    await after(tea, 183 + 150)
    assert [one["stage"] for one in await listed(tea)] == ["warned"]


async def test_the_backend_wakes_too_and_a_moderators_lifting_counts_as_waking(tea: House) -> None:
    """S102: both end the pause for good: time counts from then, and does not pause again what a human has freed."""
    await after(tea, 150)
    await after(tea, 183)
    assert (await tea.do("im", "POST", WAKING, {}))["rule"] == "account.wake-backend"
    await after(tea, 333)
    await after(tea, 366)
    [measure] = [one["measure_id"] for one in await listed(tea, "paused")]
    await tea.do("mo", "POST", f"/v1/measures/{measure}/lifting", {"reason": "error_corrected"})
    await tea.sweep()
    assert await listed(tea) == []


async def test_what_waits_or_is_used_is_not_dormant(tea: House) -> None:
    """S016, S102: an account that waits is never unused; asked too soon, or twice, time does nothing and writes nothing."""
    asked = {
        "account_id": "new",
        "class": "life",
        "operator_id": "o",
        "name": "new",
        "jurisdiction": "CN-110000",
    }
    await tea.do("ann", "POST", "/v1/accounts", asked)
    assert await tea.by_time(WarnDormant(account_id="tea")) == "not_in_state"
    await after(tea, 150)
    assert await tea.by_time(WarnDormant(account_id="tea")) == "not_in_state"
    assert await tea.by_time(WarnDormant(account_id="new")) == "not_in_state"
    assert [one["account_id"] for one in await listed(tea)] == ["tea"]


async def test_who_lists_the_dormant(tea: House) -> None:
    """Staff and the backend list dormant accounts by stage, page by page; people do not."""
    await after(tea, 150)
    for who in ("cl", "mo", "im"):
        page = await tea.do(who, "GET", "/v1/dormant-accounts?stage=warned&limit=1")
        assert ([one["account_id"] for one in page["items"]], page["next"]) == (["tea"], None)
    await tea.refused("refused", "ann", "GET", "/v1/dormant-accounts")
    await tea.refused("malformed", "cl", "GET", "/v1/dormant-accounts?stage=asleep")
