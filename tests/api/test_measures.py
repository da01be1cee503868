"""Measures: imposed in one way with reasons, ended in one way, in force at any instant that is asked about."""

import csv
import datetime as dt
import io
from typing import Any

import msgspec
import pytest

from service.clock import instant_text
from service.domain.accounts.facts import Account
from service.domain.measures.acts import ExpireMeasure, ImposeMeasure
from service.domain.measures.licensing import ExpireCredential
from service.policy import digest
from tests.kit import MORNING, POLICIES, House, record_named

pytestmark = pytest.mark.anyio

REF = "b2d0c6b1-6f0e-4d1c-9a53-7c1e84f2a905"
VERIFIED = {"status": "verified", "methods": ["credit_code", "mobile"], "identity_ref": REF}
END = dt.datetime(2026, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
SHOWN = {
    "kind": "health",
    "reference": "京卫网审〔2026〕第 0042 号",
    "valid_from": "2026-01-01T00:00:00.000Z",
    "valid_until": instant_text(END),
}
PAUSE = "P_DORMANT_PAUSE"


@pytest.fixture
async def clinic(house: House) -> House:
    """Operator o, for which ann answers, runs the health account `clinic` and the life account `tea`; its credential ends at END."""
    await house.has_people("ann", "ben")
    body = {"operator_id": "o", "kind": "media", "name": "某某健康", "jurisdiction": "CN-110000"}
    await house.do("ann", "POST", "/v1/operators", body)
    await house.do("im", "PUT", "/v1/operators/o/identity", VERIFIED)
    await accept(house)
    for account, klass in (("clinic", "health"), ("tea", "life")):
        known = {"operator_id": "o", "name": f"name {account}", "jurisdiction": "CN-110000"}
        await house.do("ann", "POST", "/v1/accounts", {"account_id": account, "class": klass} | known)
        await house.do("cl", "POST", f"/v1/accounts/{account}/acceptance", {})
    return house


async def accept(house: House, **facts: Any) -> dict[str, Any]:
    """A credential shown by ann and accepted."""
    receipt = await house.do("ann", "POST", "/v1/operators/o/credentials", SHOWN | facts)
    return await house.do(
        "cl", "POST", f"/v1/credentials/{receipt['result']['credential_id']}/acceptance", {}
    )


async def expired(house: House) -> str:
    """Let the credential end by time; return the id of the measure on `clinic`."""
    house.clock.set(END + dt.timedelta(milliseconds=1))
    await house.sweep()
    [measure] = await in_force(house, "clinic")
    return str(measure)


async def swept(house: House) -> list[str]:
    """Let time act; return what it did to credentials, measures and accounts, in order."""
    before = len(await house.records())
    await house.sweep()
    done = [one["act"] for one in (await house.records())[before:]]
    return [act for act in done if act not in {"credit.recover", "retention.purge"}]


async def in_force(house: House, account: str, at: dt.datetime | None = None) -> list[str]:
    """The ids of the measures in force on an account, now or at an instant."""
    query = f"?target_type=account&target_id={account}&in_force=true"
    asked = "" if at is None else f"&at={instant_text(at)}"
    found = await house.do("mo", "GET", f"/v1/measures{query}{asked}")
    return [one["measure_id"] for one in found["items"]]


async def may(house: House, account: str, use: str = "publish") -> bool:
    """Whether an account may be used so now, as the backend is told."""
    answer = await house.do("im", "GET", f"/v1/accounts/{account}/uses")
    [taken] = [one for one in answer["uses"] if one["use"] == use]
    return bool(taken["may"])


async def adopted(house: House, **changes: dict[str, str]) -> None:
    """Bring an edition into force in which some measures (by code) have other columns; an hour passes.

    The credential of `clinic` lasts for years, so that time has nothing to do but what follows from the change.
    """
    await accept(house, valid_until="2029-12-31T00:00:00Z")
    files = {path.name: path.read_text(encoding="utf-8") for path in sorted(POLICIES.iterdir())}
    rows = list(csv.DictReader(io.StringIO(files["measures.csv"])))
    written = io.StringIO()
    writer = csv.DictWriter(written, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | changes.get(row["code"], {}) for row in rows)
    files["measures.csv"] = written.getvalue()
    found = digest({name: text.encode() for name, text in files.items()})
    when = house.clock.now() + dt.timedelta(hours=1)
    body = {"digest": found, "effective_at": instant_text(when), "files": files}
    receipt = await house.do("co", "POST", "/v1/editions", body)
    await house.do("ap", "POST", f"/v1/approvals/{receipt['result']['approval_id']}/grant")
    await house.app.state.editions.refresh()
    house.clock.set(when)


async def paused(house: House) -> list[str]:
    """Let `tea` fall dormant and be paused; return the measures then in force on it."""
    await house.do("im", "PATCH", "/v1/accounts/tea", {"last_used_at": instant_text(house.clock.now())})
    for days in (150, 33):
        house.clock.advance(days * 86_400)
        # Only one of the two lies idle; the other may publish still.
        await house.do(
            "im", "PATCH", "/v1/accounts/clinic", {"last_used_at": instant_text(house.clock.now())}
        )
        await house.sweep()
    return await in_force(house, "tea")


# A credential ends, and is renewed


async def test_the_end_of_a_credential_suspends_its_field_in_the_same_act(clinic: House) -> None:
    """S096, S002: at its last millisecond nothing; the next one, publishing in the field is suspended by the record of the expiry."""
    clinic.clock.set(END)
    await clinic.sweep()
    assert await may(clinic, "clinic")
    measure = await expired(clinic)
    [record] = await clinic.records("credential.expire")
    assert measure == f"{record['id']}.1"
    assert record["by"]["standing"] == "system.sweep"
    assert record["p"]["coupled"] == [
        {
            "code": "P_FIELD_SUSPEND",
            "id": 1,
            "notice": True,
            "of": "account_1",
            "until": None,
            "what": "measure_imposed",
        }
    ]
    assert record["basis"][:2] == ["self-media-notice:item.2", "account-rules:art.9"]
    assert not await may(clinic, "clinic")
    assert await may(clinic, "clinic", "interact")
    assert await may(clinic, "tea")
    uses = await clinic.do("ann", "GET", "/v1/accounts/clinic/uses")
    assert (uses["code"], uses["class"]) == ("measure_forbids", "health")
    assert uses["uses"][0] == {"use": "publish", "may": False, "by": [measure], "until": None}
    shown = await clinic.do("ann", "GET", "/v1/accounts/clinic")
    assert shown["measures"] == [{"measure_id": measure, "code": "P_FIELD_SUSPEND"}]
    card = await clinic.do("ben", "GET", "/v1/accounts/clinic")
    assert "measures" not in card
    [told] = await clinic.effects("measure.imposed")
    assert told["target"] == {"type": "account", "id": "clinic"}
    assert told["takes_away"] == ["publish"]
    assert await swept(clinic) == []


async def test_a_new_credential_lifts_the_suspension(clinic: House) -> None:
    """S096, S124: accepted, a credential that holds now frees the field in the act of its acceptance; the operator is told of both."""
    measure = await expired(clinic)
    receipt = await accept(clinic, valid_until="2027-12-31T00:00:00Z")
    assert receipt["result"]["lifted"] == 1
    assert await may(clinic, "clinic")
    shown = await clinic.do("ann", "GET", f"/v1/measures/{measure}")
    assert shown["measure"]["state"] == "lifted"
    assert shown["measure"]["ended_record"] == receipt["record_id"]
    assert [one["parts"]["kind"] for one in shown["notices"]] == ["imposed", "lifted"]
    assert (await clinic.effects("measure.lifted"))[0]["measure_id"] == measure
    *_, record = await clinic.records("credential.accept")
    assert measure.partition(".")[0] in record["links"]
    assert await swept(clinic) == []


async def test_a_credential_of_another_field_lifts_nothing(clinic: House) -> None:
    """S096: a credential for law leaves the suspension in health as it is."""
    measure = await expired(clinic)
    await accept(clinic, kind="law", valid_until="2027-12-31T00:00:00Z")
    assert await in_force(clinic, "clinic") == [measure]


async def test_a_credential_that_begins_later_ends_the_suspension_on_its_day(clinic: House) -> None:
    """S096, S125: until its first day the field stays suspended; then the suspension expires by time, under its own record."""
    measure = await expired(clinic)
    begins = END + dt.timedelta(days=10)
    receipt = await accept(clinic, valid_from=instant_text(begins), valid_until="2027-12-31T00:00:00Z")
    assert receipt["result"]["ending"] == 1
    clinic.clock.set(begins)
    await clinic.sweep()
    assert await in_force(clinic, "clinic") == [measure]
    clinic.clock.advance(0.001)
    assert await may(clinic, "clinic")
    assert await swept(clinic) == ["measure.expire"]
    [record] = await clinic.records("measure.expire")
    assert record["links"] == [measure.partition(".")[0]]
    assert (await clinic.effects("measure.expired"))[0]["measure_id"] == measure
    assert await clinic.by_time(ExpireMeasure(measure_id=measure)) == "not_in_state"


async def test_a_credential_accepted_before_covers_or_sets_the_end(clinic: House) -> None:
    """S096: where another covers the field nothing is suspended; where it begins later the suspension has that day as its end."""
    await accept(clinic, valid_from="2027-01-05T00:00:00Z", valid_until="2027-02-01T00:00:00Z")
    measure = await expired(clinic)
    shown = await clinic.do("mo", "GET", f"/v1/measures/{measure}")
    assert shown["measure"]["until"] == "2027-01-05T00:00:00.000Z"
    await accept(clinic, valid_from="2027-01-01T00:00:00Z", valid_until="2028-01-01T00:00:00Z")
    clinic.clock.set(dt.datetime(2027, 2, 2, tzinfo=dt.UTC))
    await clinic.sweep()
    assert (await clinic.effects("credential.expired"))[-1]["covered"] is True
    assert await may(clinic, "clinic")


async def test_an_account_that_waits_is_not_suspended(clinic: House) -> None:
    """S096: what waits for a check publishes nothing; it is asked for its credential when somebody accepts it."""
    asked = {
        "account_id": "new",
        "class": "health",
        "operator_id": "o",
        "name": "new",
        "jurisdiction": "CN-110000",
    }
    await clinic.do("ann", "POST", "/v1/accounts", asked)
    await expired(clinic)
    assert await in_force(clinic, "new") == []
    assert not await may(clinic, "new")
    await clinic.refused("credential_missing", "cl", "POST", "/v1/accounts/new/acceptance", {})


async def test_more_accounts_than_one_record_names(clinic: House) -> None:
    """S096: the first sixty are suspended by the expiry, the others by acts of their own; a renewal frees them all likewise."""
    async with clinic.db.transaction() as tx:
        [known] = (await Account.look(tx, [("clinic",)])).values()
        await Account.apply(
            tx,
            [
                msgspec.structs.replace(known, account_id=f"c{n:02}", name=f"c{n}", name_key=f"c{n}")
                for n in range(62)
            ],
        )
        await tx.execute("UPDATE operator SET account_count = account_count + 62")
    clinic.clock.set(END + dt.timedelta(milliseconds=1))
    assert await swept(clinic) == ["credential.expire", *["measure.impose"] * 3]
    [record] = await clinic.records("credential.expire")
    assert len(record["p"]["coupled"]) == 60
    imposed = await clinic.records("measure.impose")
    assert {one["p"]["asked"]["code"] for one in imposed} == {"P_FIELD_SUSPEND"}
    assert len(imposed) == 3
    found = await clinic.do("mo", "GET", "/v1/measures?code=P_FIELD_SUSPEND&in_force=true")
    assert len({one["target"]["id"] for one in found["items"]}) == 63
    receipt = await accept(clinic, valid_until="2027-12-31T00:00:00Z")
    assert (receipt["result"]["lifted"], receipt["result"]["ending"]) == (60, 3)
    clinic.clock.advance(0.001)
    assert await swept(clinic) == ["measure.expire"] * 3
    assert (await clinic.do("mo", "GET", "/v1/measures?in_force=true"))["items"] == []


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


async def test_the_morning_is_quiet(clinic: House) -> None:
    """S016: where nothing lapsed and nothing is unused time imposes nothing."""
    assert clinic.clock.now() == MORNING
    assert await swept(clinic) == []
