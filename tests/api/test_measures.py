"""Measures: imposed in one way with reasons, ended in one way, in force at any instant that is asked about."""

import datetime as dt

import pytest

from service.clock import instant_text
from service.domain.in_force import MeasuresOn
from service.domain.measures.acts import ImposeMeasure
from service.domain.measures.licensing import ExpireCredential
from tests.kit import House, record_named
from tests.measuring import END, PAUSE, accept, adopted, arranged, expired, in_force, may, paused, swept

pytestmark = pytest.mark.anyio


@pytest.fixture
async def clinic(house: House) -> House:
    return await arranged(house)


# What is said, and to whom


async def test_a_notice_of_reasons_comes_with_the_measure(clinic: House) -> None:
    """S133, S134, S136: made in the same act, it says kind, territory, ends, facts, source, automation, ground, explanation and redress."""
    measure = await expired(clinic)
    [own] = (await clinic.do("ann", "GET", "/v1/notices"))["items"]
    assert own["measure_id"] == measure
    assert own["record_id"] == measure.partition(".")[0]
    parts = own["parts"]
    assert (parts["kind"], parts["code"], parts["territory"]) == ("imposed", "P_FIELD_SUSPEND", "CN-110000")
    assert (parts["from_at"], parts["until"]) == (instant_text(END + dt.timedelta(milliseconds=1)), None)
    assert parts["facts"] == {
        "credential_kind": "health",
        "valid_until": instant_text(END),
        "field": "health",
    }
    assert parts["source"] == "platform_rule"
    assert parts["automation"] == {"detection": True, "decision": True}
    assert (parts["ground"], parts["basis"][0]) == ("illegal", "self-media-notice:item.2")
    assert set(parts["explanation"]) == {"zh", "en"}
    assert parts["redress"]["window_months"] == 6
    assert parts["redress"]["papers"] == ["credential:health"]
    [sent] = await clinic.effects("notice.sent")
    assert (sent["to"], sent["parts"]) == ("ann", parts)
    assert "0042" not in str(sent)
    lifted = {"reason": "error_corrected", "note": "写错了"}
    await clinic.do("mo", "POST", f"/v1/measures/{measure}/lifting", lifted)
    *_, told = (await clinic.do("ann", "GET", "/v1/notices"))["items"]
    assert told["parts"]["automation"] == {"detection": False, "decision": False}
    assert "mo" not in told["parts"].values()
    assert "写错了" not in str(told)


async def test_who_sees_a_measure(clinic: House) -> None:
    """S161's answer for reads: whoever answers for the account, staff and backend see it; to others it is as unknown as none."""
    measure = await expired(clinic)
    notice = (await clinic.do("ann", "GET", "/v1/notices"))["items"][0]["notice_id"]
    for path in (f"/v1/measures/{measure}", f"/v1/notices/{notice}", "/v1/accounts/clinic/uses"):
        for who in ("ann", "mo", "im"):
            await clinic.do(who, "GET", path)
        await clinic.refused("unknown", "ben", "GET", path)
    await clinic.refused("unknown", "mo", "GET", "/v1/measures/none.1")
    assert (await clinic.do("ben", "GET", "/v1/measures"))["items"] == []
    assert (await clinic.do("ben", "GET", "/v1/notices"))["items"] == []
    first = await clinic.do("ann", "GET", "/v1/measures?limit=1")
    assert [one["measure_id"] for one in first["items"]] == [measure]
    assert (await clinic.do("mo", "GET", "/v1/measures?imposed_as=platform"))["items"] == []


async def test_in_force_is_a_question_about_any_instant(clinic: House) -> None:
    """S128: asked about an instant, measures in force then answer alike before and after they were lifted; so does responsibility."""
    measure = await expired(clinic)
    then = clinic.clock.now()
    clinic.clock.advance(3600)
    await accept(clinic, valid_until="2027-12-31T00:00:00Z")
    lifted = clinic.clock.now()
    clinic.clock.advance(3600)
    for at, held in (
        (then - dt.timedelta(milliseconds=1), []),
        (then, [measure]),
        (lifted - dt.timedelta(milliseconds=1), [measure]),
        (lifted, []),
    ):
        assert await in_force(clinic, "clinic", at) == held
        path = f"/v1/responsibility/account/clinic?purpose=who+answers&at={instant_text(at)}"
        chain = (await clinic.do("au", "GET", path))["chain"]
        assert [one["measure_id"] for one in chain["measures"]] == held
    assert await in_force(clinic, "clinic") == []


async def test_what_stands_in_the_way_of_a_transfer(clinic: House) -> None:
    """A measure of rank 30 or above blocks while it is in force, the gravest first; one that is over blocks no more."""
    measure = await expired(clinic)
    at = clinic.clock.now()
    policy = clinic.app.state.editions.at(at)
    async with clinic.db.read() as db:
        found = await MeasuresOn.look(db, [("account", "clinic"), ("account", "tea")])
    blocking = found["account", "clinic"].blocking(policy, at)
    assert blocking is not None
    assert (blocking.measure_id, blocking.code) == (measure, "P_FIELD_SUSPEND")
    assert found["account", "clinic"].blocking(policy, at - dt.timedelta(days=1)) is None
    assert found["account", "tea"].blocking(policy, at) is None


# Imposed by a machine, lifted by a human


async def test_a_machine_imposes_by_published_rule_only(clinic: House) -> None:
    """Time imposes no code outside the catalogue, none that asks for a human, none without a rule, and a rule only where it applies."""
    for code, refusal in (
        ("P_ANYTHING", "unknown"),
        ("P_CLOSE", "human_needed"),
        ("P_LABEL", "basis_missing"),
        (PAUSE, "not_in_state"),
        ("P_FIELD_SUSPEND", "not_in_state"),
    ):
        assert await clinic.by_time(ImposeMeasure(code=code, target_id="clinic")) == refusal
    await expired(clinic)
    again = ImposeMeasure(code="P_FIELD_SUSPEND", target_id="clinic")
    assert await clinic.by_time(again) == "already_in_state"
    assert await clinic.records("measure.impose") == []


async def test_a_moderator_lifts_with_a_reason_and_time_does_not_impose_again(clinic: House) -> None:
    """S018, S124: lifted by a moderator with a reason, never in one's own matter; the sweep does not fight the human."""
    measure = await expired(clinic)
    path = f"/v1/measures/{measure}/lifting"
    await clinic.refused("reason_missing", "mo", "POST", path, {})
    for who in ("ann", "im", "cl", "co"):
        assert (await clinic.refused("refused", who, "POST", path, {"reason": "error_corrected"}))[
            "rule"
        ] == "none"
    await clinic.refused("version_stale", "mo", "POST", path, {"reason": "error_corrected"}, version=7)
    receipt = await clinic.do("mo", "POST", path, {"reason": "error_corrected"}, version=1)
    assert receipt["target"] == {"type": "account", "id": "clinic"}
    assert receipt["result"] == {"measure_id": measure, "state": "lifted", "version": 2}
    problem = await clinic.refused("not_in_state", "mo", "POST", path, {"reason": "error_corrected"})
    assert problem["data"] == {"state": "lifted"}
    await clinic.refused(
        "unknown", "mo", "POST", "/v1/measures/none.1/lifting", {"reason": "error_corrected"}
    )
    assert await swept(clinic) == []
    assert await may(clinic, "clinic")
    assert await clinic.by_time(ExpireCredential(credential_id=record_named("none"))) == "unknown"


async def test_nobody_lifts_in_his_own_matter(clinic: House) -> None:
    """S113's look: a moderator who is the human answering for the operator has a part in it."""
    measure = await expired(clinic)
    async with clinic.db.transaction() as tx:
        await tx.execute("UPDATE staff SET person_id = 'ann' WHERE staff_id = 'mo'")
    path = f"/v1/measures/{measure}/lifting"
    await clinic.refused("own_matter", "mo", "POST", path, {"reason": "error_corrected"})


# Coupled measures and terms, under an edition that has them for what time imposes


async def test_a_measure_fits_its_target(clinic: House) -> None:
    """M1's look: where an edition says that a code binds operators, time imposes it on no account."""
    await adopted(clinic, P_DORMANT_PAUSE={"target_kind": "operator"})
    assert await paused(clinic) == []
    assert await clinic.by_time(ImposeMeasure(code=PAUSE, target_id="tea")) == "wrong_target"


async def test_coupled_measures_come_and_go_with_the_first(clinic: House) -> None:
    """S119, S124: rows of their own with code, factor on the term and notice; lifting the first lifts them, not what stands for itself."""
    await adopted(
        clinic,
        P_DORMANT_PAUSE={"default_term": "P10D", "max_term": "P30D", "coupled": "P_MON_SUSPEND*2|P_DERANK*1"},
    )
    first, money, rank = await paused(clinic)
    at = clinic.clock.now()
    shown = [(await clinic.do("ann", "GET", f"/v1/measures/{one}")) for one in (first, money, rank)]
    assert [(one["measure"]["code"], one["measure"]["coupled_to"]) for one in shown] == [
        (PAUSE, None),
        ("P_MON_SUSPEND", first),
        ("P_DERANK", first),
    ]
    ends = [one["measure"]["until"] for one in shown]
    assert ends == [instant_text(at + dt.timedelta(days=days)) for days in (10, 20, 10)]
    assert [len(one["notices"]) for one in shown] == [1, 1, 1]
    [record] = await clinic.records("measure.impose")
    assert [one.get("coupled_to") for one in record["p"]["coupled"]] == [None, 1, 1]
    # The same code again, imposed for itself, as staff will.
    async with clinic.db.transaction() as tx:
        await tx.execute(
            "INSERT INTO measure SELECT 'own.1', code, target_type, target_id, scope, jurisdiction, ground, basis, facts,"
            " 'platform', from_at, until, dsa_surface, NULL, NULL, 'own', NULL, NULL, NULL, NULL, 1"
            " FROM measure WHERE measure_id = $1",
            money,
        )
    receipt = await clinic.do("ann", "POST", "/v1/accounts/tea/waking", {})
    assert await in_force(clinic, "tea") == ["own.1"]
    assert not await may(clinic, "tea", "monetise")
    ended = await clinic.effects("measure.lifted")
    assert [one["measure_id"] for one in ended] == [first, money, rank]
    [woken] = await clinic.records("account.wake")
    assert (woken["id"], len(woken["p"]["coupled"])) == (receipt["record_id"], 3)


async def test_a_timed_measure_ends_by_time_and_coupled_ones_by_their_own_dates(clinic: House) -> None:
    """S125: the last instant is inclusive; then each ends under its own record, and the backend learns of it."""
    await adopted(
        clinic, P_DORMANT_PAUSE={"default_term": "P10D", "max_term": "P30D", "coupled": "P_MON_SUSPEND*2"}
    )
    first, money = await paused(clinic)
    clinic.clock.advance(10 * 86_400)
    assert await swept(clinic) == []
    clinic.clock.advance(0.001)
    assert await swept(clinic) == ["measure.expire"]
    assert await in_force(clinic, "tea") == [money]
    clinic.clock.advance(10 * 86_400)
    assert await swept(clinic) == ["measure.expire"]
    assert await in_force(clinic, "tea") == []
    assert [one["measure_id"] for one in await clinic.effects("measure.expired")] == [first, money]
    records = await clinic.records("measure.expire")
    assert [one["by"]["standing"] for one in records] == ["system.sweep"] * 2


async def test_a_heavy_measure_is_lifted_by_two(clinic: House) -> None:
    """From rank 60 lifting waits for an approver; until then the measure is in force."""
    await adopted(clinic, P_DORMANT_PAUSE={"rank": "60"})
    [measure] = await paused(clinic)
    proposed = await clinic.do(
        "mo", "POST", f"/v1/measures/{measure}/lifting", {"reason": "not_proportionate"}
    )
    assert proposed["outcome"] == "proposed"
    assert await in_force(clinic, "tea") == [measure]
    await clinic.do("ap", "POST", f"/v1/approvals/{proposed['result']['approval_id']}/grant", {})
    assert await in_force(clinic, "tea") == []


# What credit takes away


async def credited(house: House, points: int) -> None:
    """Two people move the credit of operator o; time ranks its accounts anew."""
    asked = {"points": points, "reason": "error_corrected", "note": "counted twice"}
    proposed = await house.do("mo", "POST", "/v1/credit/operator/o/adjustments", asked)
    await house.do("ap", "POST", f"/v1/approvals/{proposed['result']['approval_id']}/grant", {})
    await house.sweep()


async def commenting(house: House, account: str) -> tuple[bool, str, str | None]:
    """Whether comments may be managed, and why not: the code and the line that asks for more."""
    uses = await house.do("im", "GET", f"/v1/accounts/{account}/uses")
    assert {one["source"] for one in uses["uses"] if one["use"] != "manage_comments"} == {None}
    [one] = [one for one in uses["uses"] if one["use"] == "manage_comments"]
    assert (one["by"], one["until"]) == ([], None)
    assert uses["code"] == one["code"]
    assert uses["edition"] == house.app.state.editions.at(house.clock.now()).edition
    return one["may"], one["code"], one["source"]


async def test_comments_are_managed_with_the_credit_that_the_tier_asks(clinic: House) -> None:
    """P2, account rules art. 17: below `comment_credit_min` of its tier, and without any level, an account manages no comments."""
    facts = {"followers": 2_000_000, "quality": 90, "quality_source": "model"}
    await clinic.do("im", "PATCH", "/v1/accounts/clinic", facts)
    tiers = [(await clinic.do("im", "GET", f"/v1/accounts/{one}"))["tier"] for one in ("tea", "clinic")]
    assert tiers == [1, 3]
    allowed = [await commenting(clinic, one) for one in ("tea", "clinic")]
    assert allowed == [(True, "", None), (True, "", None)]
    await credited(clinic, -20)
    assert (await clinic.do("im", "GET", "/v1/credit/operator/o"))["tiers"] == [1, 2]
    low = [await commenting(clinic, one) for one in ("tea", "clinic")]
    assert low == [(True, "", None), (False, "credit_too_low", "account.effect.comment_credit_min.3")]
    await credited(clinic, 20)
    assert await commenting(clinic, "clinic") == (True, "", None)
    lost = {"status": "withdrawn", "methods": ["mobile"]}
    await clinic.do("im", "PUT", "/v1/operators/o/identity", lost)
    assert [(await commenting(clinic, one))[:2] for one in ("tea", "clinic")] == [
        (False, "credit_too_low"),
        (False, "credit_too_low"),
    ]


async def test_a_measure_beside_too_little_credit(clinic: House) -> None:
    """S131: the measure is named first, the line that asks for more credit beside it, and no end: that of credit nobody knows."""
    [pause] = await paused(clinic)
    await clinic.do("im", "PUT", "/v1/operators/o/identity", {"status": "withdrawn", "methods": ["mobile"]})
    uses = await clinic.do("im", "GET", "/v1/accounts/tea/uses")
    assert uses["code"] == "measure_forbids"
    [one] = [one for one in uses["uses"] if one["use"] == "manage_comments"]
    assert (one["may"], one["code"], one["by"], one["until"]) == (False, "measure_forbids", [pause], None)
    assert one["source"].startswith("account.effect.comment_credit_min.")


async def test_what_is_not_accepted_is_asked_for_no_credit(clinic: House) -> None:
    """An account that waits may nothing because it waits; no line of credit is named."""
    asked = {"account_id": "w", "class": "life", "operator_id": "o", "name": "w", "jurisdiction": "CN-110000"}
    await clinic.do("ann", "POST", "/v1/accounts", asked)
    uses = await clinic.do("im", "GET", "/v1/accounts/w/uses")
    assert {(one["code"], one["source"]) for one in uses["uses"]} == {("not_in_state", None)}
