"""Credit: a ledger for each person and operator, what it comes to, and how it moves."""

import asyncio
import datetime as dt
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.credit import Cause, CreditEntry, Folded, fold, level_of
from service.domain.crediting import RecoverCredit
from service.policy import Policy
from tests.conftest import Database
from tests.kit import MORNING, POLICIES, House

pytestmark = pytest.mark.anyio

REF = "4f1c8a52-9d3e-4b7a-8c61-0e5f2d9ab743"
VERIFIED = {"status": "verified", "methods": ["mobile", "id_document"], "identity_ref": REF}
OPERATOR = {"operator_id": "o", "kind": "company", "name": "某某科技", "jurisdiction": "CN-110000"}
ANN = "/v1/credit/person/ann"
MONTH = dt.timedelta(days=30)


@pytest.fixture
async def ann(house: House) -> House:
    """Person ann, verified over the API at 08:00: credit 75, level B."""
    await house.do("im", "PUT", "/v1/people/ann", {"jurisdiction": "CN-110000"})
    await house.do("im", "PUT", "/v1/people/ann/identity", VERIFIED)
    return house


async def adjust(
    house: House, points: int, path: str = ANN, who: str = "mo", by: str = "ap"
) -> dict[str, Any]:
    """Two people move credit; the receipt of the second."""
    asked = {"points": points, "reason": "error_corrected", "note": "counted twice"}
    proposed = await house.do(who, "POST", f"{path}/adjustments", asked)
    return await house.do(by, "POST", f"/v1/approvals/{proposed['result']['approval_id']}/grant", {})


async def seen(house: House, path: str = ANN, who: str = "im", query: str = "") -> dict[str, Any]:
    return await house.do(who, "GET", f"{path}{query}")


async def recovers(house: House) -> int:
    """Let time act once; how many recoveries there were in all."""
    await house.sweep()
    return len(await house.records("credit.recover"))


def lines(view: dict[str, Any]) -> list[tuple[int, int, str]]:
    """Points, sum and cause of each line, the oldest first."""
    return [(one["points"], one["score"], one["cause"]) for one in reversed(view["lines"])]


# How a ledger begins


async def test_the_first_success_opens_the_ledger(ann: House) -> None:
    """S086, P2: verified for the first time a person holds `credit_start` by that very record; verified again, nothing moves."""
    await ann.do("im", "PUT", "/v1/people/ann/identity", VERIFIED)
    view = await seen(ann)
    first = (await ann.records("person.verify"))[0]
    assert (view["level"], view["score"]) == ("B", 75)
    assert view["lines"] == [
        {
            "number": 1,
            "at": "2026-11-02T08:00:00.000Z",
            "points": 75,
            "score": 75,
            "cause": "opened",
            "record_id": first["id"],
        }
    ]
    line = {"what": "credit", "of": "target", "number": 1, "cause": "opened", "points": 75, "score": 75}
    assert first["p"]["coupled"] == [{**line, "recovering_since": "2026-11-02T08:00:00.000Z"}]
    assert view["caps"] == [
        {
            "what": what,
            "cap": cap,
            "count": 0,
            "source": f"{what}_cap_b",
            "extra": None,
            "extra_until": None,
            "extra_record": None,
        }
        for what, cap in (("groups_owned", 20), ("groups_joined", 300))
    ]
    assert view["tiers"] == [1, 2, 3, 4]


@pytest.mark.parametrize("status", ["failed", "withdrawn"])
async def test_without_a_proved_identity_there_is_no_level(ann: House, status: str) -> None:
    """P2: never verified, no ledger; no longer verified, no level and no entitlement; proved again, the points are there still."""
    await ann.do("im", "PUT", "/v1/people/zoe", {"jurisdiction": "CN-110000"})
    await ann.do("im", "PUT", "/v1/people/zoe/identity", {"status": status, "methods": ["mobile"]})
    zoe = await seen(ann, "/v1/credit/person/zoe")
    assert (zoe["level"], zoe["score"], zoe["lines"], zoe["tiers"]) == (None, None, [], [])
    assert [one["cap"] for one in zoe["caps"]] == [0, 0]
    await ann.do("im", "PUT", "/v1/people/ann/identity", {"status": status, "methods": ["mobile"]})
    view = await seen(ann)
    assert (view["level"], view["score"], view["tiers"]) == (None, 75, [])
    assert (await ann.do("im", "GET", "/v1/people/ann"))["credit_level"] is None
    await ann.do("im", "PUT", "/v1/people/ann/identity", VERIFIED)
    view = await seen(ann)
    assert (view["level"], lines(view)) == (
        "B",
        [(75, 75, "opened"), (0, 75, "suspended"), (0, 75, "resumed")],
    )


async def test_operator_and_person_have_ledgers_of_their_own(ann: House) -> None:
    """O2: an operator's credit opens with its own first verification, and what moves it leaves its person's as it is."""
    await ann.do("ann", "POST", "/v1/operators", OPERATOR | {"kind": "person"})
    assert (await seen(ann, "/v1/credit/operator/o"))["level"] is None
    await ann.do("im", "PUT", "/v1/operators/o/identity", VERIFIED)
    receipt = await adjust(ann, -40, "/v1/credit/operator/o")
    assert (receipt["result"]["score"], receipt["result"]["level"]) == (35, "D")
    operator = await seen(ann, "/v1/credit/operator/o", "ann")
    assert (operator["level"], operator["tiers"], operator["caps"][0]["what"]) == ("D", [], "accounts")
    assert (await ann.do("im", "GET", "/v1/operators/o"))["credit_level"] == "D"
    assert (await seen(ann))["level"] == "B"


async def test_a_closed_person_keeps_a_frozen_ledger(ann: House) -> None:
    """P4, S088: closing freezes credit: nothing recovers and nobody adjusts it; what it came to stays readable."""
    await adjust(ann, -10)
    await ann.do("ann", "POST", "/v1/people/ann/closure", {})
    closing = (await ann.records("person.close"))[0]
    assert {"cause": "frozen", "points": 0}.items() <= closing["p"]["coupled"][-1].items()
    asked = {"points": 5, "reason": "error_corrected"}
    await ann.refused("person_closed", "mo", "POST", f"{ANN}/adjustments", asked)
    ann.clock.advance(MONTH.total_seconds() * 3)
    assert await recovers(ann) == 0
    assert (await seen(ann))["score"] == 65


# What a ledger comes to


@given(
    st.lists(
        st.tuples(st.sampled_from(["adjusted", "recovered", "suspended", "resumed"]), st.integers(-9, 9)),
        max_size=20,
    )
)
def test_the_fold_is_the_sum_and_the_last_word_on_identity(moves: list[tuple[Cause, int]]) -> None:
    """S086, P2: whatever a ledger holds, it comes to the sum of its points, and to no level while the identity is lost."""
    entries: list[CreditEntry] = []
    for number, (cause, points) in enumerate([("opened", 75), *moves], 1):
        moved = 0 if cause in {"suspended", "resumed"} else points
        entries.append(
            CreditEntry(
                subject_type="person",
                subject_id="x",
                number=number,
                at=MORNING,
                points=moved,
                score=0,
                cause=cause,  # type: ignore[arg-type]
                by_record="r",
            )
        )
    said = [entry.cause for entry in entries if entry.cause in {"suspended", "resumed"}]
    assert fold(entries) == Folded(sum(one.points for one in entries), said[-1:] != ["suspended"])
    assert fold([]) is None


def test_levels_follow_the_thresholds() -> None:
    """S086: A from 90, B from 70, C from 40, D below, as the parameters say."""
    parameters = Policy.from_folder(POLICIES).parameters
    scores = {100: "A", 90: "A", 89: "B", 70: "B", 69: "C", 40: "C", 39: "D", 0: "D"}
    assert {score: level_of(parameters, score) for score in scores} == scores


async def test_the_level_of_any_past_instant_can_be_asked(ann: House) -> None:
    """S086: before it was opened none; at each instant the fold of the lines until then, whatever came later."""
    ann.clock.set(MORNING + dt.timedelta(hours=1))
    await adjust(ann, -40)
    ann.clock.set(MORNING + dt.timedelta(hours=2))
    await ann.do("im", "PUT", "/v1/people/ann/identity", {"status": "withdrawn"})
    told = {
        "07:59:59.999": (None, None),
        "08:00:00": ("B", 75),
        "08:59:59.999": ("B", 75),
        "09:00:00": ("D", 35),
        "10:00:00": (None, 35),
    }
    for clock, expected in told.items():
        view = await seen(ann, query=f"?at=2026-11-02T{clock}Z")
        assert (view["level"], view["score"]) == expected, clock
        assert view["caps"] == []


async def test_somebody_verified_before_there_were_ledgers(house: House) -> None:
    """P2: verified and without a ledger one stands where all begin; the first act that moves points opens it by its record."""
    await house.has_people("ann")
    assert ((await seen(house))["level"], (await seen(house))["lines"]) == ("B", [])
    receipt = await adjust(house, 15)
    view = await seen(house)
    assert (view["level"], lines(view)) == ("A", [(75, 75, "opened"), (15, 90, "adjusted")])
    assert {one["record_id"] for one in view["lines"]} == {receipt["record_id"]}


async def test_a_ledger_is_read_in_pages(ann: House) -> None:
    """The newest lines come first, page by page; the version is how many lines there are."""
    for points in (-1, -2, -3, -4):
        await adjust(ann, points)
    found, query = [], "?limit=2"
    while query:
        page = await seen(ann, query=query)
        found += [one["number"] for one in page["lines"]]
        query = page["next"] and f"?limit=2&cursor={page['next']}"
    assert found == [5, 4, 3, 2, 1]
    assert (await ann.ask("im", "GET", ANN)).headers["etag"] == '"5"'


async def test_credit_is_shown_to_those_it_concerns(ann: House) -> None:
    """S161: the person, whoever answers for the operator, backend and staff; to others there is no such thing."""
    await ann.has_people("ben")
    await ann.do("ann", "POST", "/v1/operators", OPERATOR)
    for who in ("ann", "mo", "au", "im"):
        assert (await seen(ann, who=who))["level"] == "B"
        await seen(ann, "/v1/credit/operator/o", who)
    for path in (ANN, "/v1/credit/operator/o", "/v1/credit/person/nobody", "/v1/credit/group/g"):
        await ann.refused("unknown", "ben", "GET", path)
    await ann.refused("refused", "reg", "GET", ANN)


# Adjusted by hand


async def test_an_adjustment_takes_a_reason_and_two_people(ann: House) -> None:
    """S086: nothing moves before the second yes; then the record explains level and entitlements, and the backend is told."""
    path = f"{ANN}/adjustments"
    await ann.refused("reason_missing", "mo", "POST", path, {"points": -10})
    proposed = await ann.do("mo", "POST", path, {"points": -10, "reason": "error_corrected"})
    assert (proposed["outcome"], (await seen(ann))["score"]) == ("proposed", 75)
    approval = f"/v1/approvals/{proposed['result']['approval_id']}/grant"
    await ann.refused("own_matter", "mo", "POST", approval, {})
    receipt = await ann.do("ap", "POST", approval, {})
    assert {"points": -10, "score": 65, "level": "C", "number": 2}.items() <= receipt["result"].items()
    record = (await ann.records("approval.grant"))[-1]
    assert record["p"]["before"] == {"score": 75, "level": "B"}
    allowed = {"groups_owned": 5, "groups_joined": 100, "group_tiers": [1, 2]}
    assert record["p"]["coupled"][1] == {
        "what": "entitlements",
        "before": {"groups_owned": 20, "groups_joined": 300, "group_tiers": [1, 2, 3, 4]},
        "after": allowed,
    }
    assert await ann.effects("credit.level_changed") == [
        {"person_id": "ann", "before": "B", "after": "C", "entitlements": allowed}
    ]
    assert (await seen(ann))["lines"][0]["record_id"] == receipt["record_id"]


async def test_an_adjustment_within_a_level_changes_no_entitlement(ann: House) -> None:
    """S086: points that change no level are on record, and the backend is not told."""
    await adjust(ann, -5)
    record = (await ann.records("approval.grant"))[-1]
    assert [one["what"] for one in record["p"]["coupled"]] == ["credit"]
    assert await ann.effects("credit.level_changed") == []


async def test_who_may_not_adjust(ann: House) -> None:
    """S006, S113: only moderator and compliance, never in a matter of their own; others match no rule."""
    path = f"{ANN}/adjustments"
    asked = {"points": -1, "reason": "error_corrected"}
    for who in ("cl", "ap", "au", "im"):
        assert (await ann.refused("refused", who, "POST", path, asked))["rule"] == "none"
    await ann.has_people("ben")
    await ann.refused("unknown", "ben", "POST", path, asked)
    await ann.do("ann", "POST", "/v1/operators", OPERATOR)
    await ann.do("im", "PUT", "/v1/operators/o/identity", VERIFIED)
    async with ann.db.transaction() as tx:
        await tx.execute("UPDATE staff SET person_id = 'ann' WHERE staff_id = 'co'")
    for place in (ANN, "/v1/credit/operator/o"):
        await ann.refused("own_matter", "co", "POST", f"{place}/adjustments", asked)


async def test_an_adjustment_moves_something_and_stays_within_bounds(ann: House) -> None:
    """S086: 0 is malformed; beyond 0 and 100 points are cut and the ledger says what was applied; at the bound nothing moves."""
    path = f"{ANN}/adjustments"
    for points in (0, 1001, "5", 1.5):
        problem = await ann.refused("malformed", "mo", "POST", path, {"points": points, "reason": "other"})
        assert problem["pointer"] == "/points"
    await adjust(ann, 1000)
    await ann.refused("already_in_state", "mo", "POST", path, {"points": 1, "reason": "error_corrected"})
    await adjust(ann, -1000)
    await ann.refused("already_in_state", "mo", "POST", path, {"points": -1, "reason": "error_corrected"})
    assert lines(await seen(ann)) == [
        (75, 75, "opened"),
        (25, 100, "adjusted"),
        (-100, 0, "adjusted"),
    ]


async def test_without_identity_there_is_nothing_to_adjust(house: House) -> None:
    """P2: who is not verified has no credit; who does not exist is unknown."""
    await house.has_people("ann", identity_status="unverified")
    asked = {"points": -1, "reason": "error_corrected"}
    problem = await house.refused("identity_unverified", "mo", "POST", f"{ANN}/adjustments", asked)
    assert problem["data"] == {"status": "unverified"}
    await house.refused("unknown", "mo", "POST", "/v1/credit/operator/o/adjustments", asked)
    problem = await house.refused("malformed", "mo", "POST", "/v1/credit/group/g/adjustments", asked)
    assert problem["pointer"] == "/subject_type"


async def test_an_approved_adjustment_is_applied_to_what_is_held_then(ann: House) -> None:
    """S115, S012: what was proposed on 75 is added to what the ledger holds when the second yes comes; a stale version is refused."""
    path = f"{ANN}/adjustments"
    asked = {"points": -10, "reason": "error_corrected"}
    first = await ann.do("mo", "POST", path, asked, version=1)
    await ann.do("im", "PUT", "/v1/people/ann/identity", {"status": "withdrawn"})
    grant = f"/v1/approvals/{first['result']['approval_id']}/grant"
    problem = await ann.refused("facts_changed", "ap", "POST", grant, {})
    assert problem["data"]["now"] == "identity_unverified"
    await ann.do("im", "PUT", "/v1/people/ann/identity", VERIFIED)
    await ann.refused("version_stale", "co", "POST", path, asked, version=1)
    await ann.do("ap", "POST", grant, {})
    assert (await seen(ann))["score"] == 65


# Recovered by rule


async def test_credit_recovers_by_the_written_rule(ann: House) -> None:
    """S088, S015: five points for each 30 clean days, each an entry by time, up to the most that may be held."""
    ann.clock.set(MORNING + MONTH - dt.timedelta(milliseconds=1))
    assert await recovers(ann) == 0
    for month in range(1, 8):
        ann.clock.set(MORNING + MONTH * month)
        await ann.sweep()
        await ann.sweep()
    view = await seen(ann)
    assert [one["score"] for one in reversed(view["lines"])] == [75, 80, 85, 90, 95, 100]
    assert view["level"] == "A"
    records = await ann.records("credit.recover")
    assert {one["rule"] for one in records} == {"credit.recover-sweep"}
    assert {one["by"]["standing"] for one in records} == {"system.sweep"}
    assert [one["after"] for one in await ann.effects("credit.level_changed")] == ["A"]
    assert await ann.by_time(RecoverCredit(subject_type="person", subject_id="ann")) == "not_in_state"


async def test_a_late_sweep_makes_up_for_every_period(ann: House) -> None:
    """S088: after 65 days without a sweep two periods are over: two entries; the third ends 25 days later."""
    ann.clock.set(MORNING + dt.timedelta(days=65))
    await ann.sweep()
    await ann.sweep()
    assert (await seen(ann))["score"] == 85
    ann.clock.set(MORNING + MONTH * 3)
    await ann.sweep()
    assert (await seen(ann))["score"] == 90


async def test_from_the_most_a_new_period_begins_with_the_loss(ann: House) -> None:
    """S088: at the most there is nothing to recover; the period runs from the day something was lost."""
    await adjust(ann, 25)
    ann.clock.set(MORNING + MONTH * 2)
    await adjust(ann, -3)
    assert await recovers(ann) == 0
    ann.clock.set(MORNING + MONTH * 3)
    assert await recovers(ann) == 1
    assert lines(await seen(ann))[-1] == (3, 100, "recovered")


async def test_no_period_runs_while_the_identity_is_lost(ann: House) -> None:
    """S088, P2: without a proved identity nothing recovers; proved again, a period begins that day."""
    await ann.do("im", "PUT", "/v1/people/ann/identity", {"status": "withdrawn"})
    ann.clock.set(MORNING + MONTH * 2)
    assert await recovers(ann) == 0
    await ann.do("im", "PUT", "/v1/people/ann/identity", VERIFIED)
    assert await recovers(ann) == 0
    ann.clock.set(MORNING + MONTH * 3)
    assert await recovers(ann) == 1


async def test_nobody_but_time_recovers(ann: House) -> None:
    """S088, S016: two sweeps at once leave one entry; recovery has no route."""
    ann.clock.set(MORNING + MONTH)
    act = RecoverCredit(subject_type="person", subject_id="ann")
    outcomes = await asyncio.gather(ann.by_time(act), ann.by_time(act))
    assert sorted(outcomes) == ["done", "not_in_state"]
    await ann.refused("not_found", "mo", "POST", f"{ANN}/recoveries", {})


@pytest.mark.unreconciled("each case breaks something")
@pytest.mark.parametrize(
    ("breaking", "fault"),
    [
        ("UPDATE credit SET score = 90", "credit of person ann is 90 in 2 entries; its ledger says 65 in 2"),
        ("UPDATE credit_entry SET points = -9 WHERE number = 2", "its ledger says 66"),
        (
            "UPDATE credit_entry SET score = 70 WHERE number = 2",
            "entry 2 of the credit of person ann says 70",
        ),
        ("UPDATE credit_entry SET number = 3 WHERE number = 2", "entry 3 of the credit of person ann"),
        ("DELETE FROM credit", "its ledger says 65 in 2"),
        ("UPDATE person SET identity_status = 'failed'", "last opened, and the identity is failed"),
    ],
)
async def test_a_ledger_that_does_not_add_up_is_told(
    ann: House, database: Database, breaking: str, fault: str
) -> None:
    """S086, P2: after every test the whole database is folded again, by other code than wrote it; what differs is told."""
    await adjust(ann, -10)
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        await owner.execute(f"ALTER TABLE credit_entry DISABLE TRIGGER ALL; {breaking}")
    finally:
        await owner.close()
    with pytest.raises(AssertionError, match=fault):
        await ann.reconcile()
