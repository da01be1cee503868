"""A field of publishing is suspended when its credential ends, and free again when another is accepted."""

import asyncio
import datetime as dt

import msgspec
import pytest

from service.caller import Caller
from service.clock import instant_text
from service.domain.accounts.facts import Account
from service.domain.measures.acts import ExpireMeasure, ImposeMeasure
from tests.kit import House
from tests.measuring import END, accept, arranged, expired, in_force, may, swept

pytestmark = pytest.mark.anyio


@pytest.fixture
async def clinic(house: House) -> House:
    return await arranged(house)


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
    assert uses["uses"][0] == {
        "use": "publish",
        "may": False,
        "code": "measure_forbids",
        "by": [measure],
        "until": None,
        "source": None,
    }
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


async def test_a_suspended_field_binds_nobody_outside_it(clinic: House) -> None:
    """S096, S131: an account that left the suspended field publishes; the next field's end suspends it all the same, as its return would."""
    measure = await expired(clinic)
    await change_class(clinic, "life")
    assert await in_force(clinic, "clinic") == [measure]
    uses = await clinic.do("im", "GET", "/v1/accounts/clinic/uses")
    assert (uses["class"], uses["code"]) == ("life", "")
    assert all(one["may"] for one in uses["uses"])
    assert uses["measures"][0]["takes_away"] == []
    ends = clinic.clock.now() + dt.timedelta(days=9)
    await accept(clinic, kind="law", valid_until=instant_text(ends))
    await change_class(clinic, "law")
    assert await may(clinic, "clinic")
    clinic.clock.set(ends + dt.timedelta(milliseconds=1))
    assert await swept(clinic) == ["credential.expire"]
    assert not await may(clinic, "clinic")
    found = await clinic.do("mo", "GET", "/v1/measures?target_type=account&target_id=clinic&in_force=true")
    assert [one["scope"] for one in found["items"]] == ["health", "law"]


async def change_class(house: House, klass: str) -> None:
    """Clinic changes its class: asked by ann, accepted by a classifier."""
    asked = await house.do("ann", "PUT", "/v1/accounts/clinic/profile", {"class": klass})
    body = {"asked_record": asked["record_id"]}
    await house.do("cl", "POST", "/v1/accounts/clinic/profile/acceptance", body)


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
                for n in range(95)
            ],
        )
        await tx.execute("UPDATE operator SET account_count = account_count + 95")
    clinic.clock.set(END + dt.timedelta(milliseconds=1))
    assert await swept(clinic) == ["credential.expire", *["measure.impose"] * 36]
    [record] = await clinic.records("credential.expire")
    assert len(record["p"]["coupled"]) == 60
    imposed = await clinic.records("measure.impose")
    assert {one["p"]["asked"]["code"] for one in imposed} == {"P_FIELD_SUSPEND"}
    assert len(imposed) == 36
    found = await clinic.do("mo", "GET", "/v1/measures?code=P_FIELD_SUSPEND&in_force=true")
    assert len({one["target"]["id"] for one in found["items"]}) == 96
    receipt = await accept(clinic, valid_until="2027-12-31T00:00:00Z")
    assert (receipt["result"]["lifted"], receipt["result"]["ending"]) == (60, 36)
    clinic.clock.advance(0.001)
    assert await swept(clinic) == ["measure.expire"] * 36
    assert (await clinic.do("mo", "GET", "/v1/measures?in_force=true"))["items"] == []


async def test_two_turns_of_time_at_once_suspend_once(clinic: House) -> None:
    """S096, S016: where two look at the same expiry at once, one record ends it and one measure is imposed."""
    clinic.clock.set(END + dt.timedelta(milliseconds=1))
    await asyncio.gather(*(clinic.sweep() for _ in range(4)))
    assert len(await clinic.records("credential.expire")) == 1
    assert len(await in_force(clinic, "clinic")) == 1
    assert await clinic.records("measure.impose") == []


async def test_a_credential_whose_end_is_due_suspends_by_its_own_record(clinic: House) -> None:
    """S096, S016: an earlier credential that ended suspends nothing while a later one is past its date and not ended yet."""
    await expired(clinic)
    until = END + dt.timedelta(days=9)
    await accept(clinic, valid_until=instant_text(until))
    known = {"operator_id": "o", "name": "name second", "jurisdiction": "CN-110000"}
    await clinic.do("ann", "POST", "/v1/accounts", {"account_id": "second", "class": "health"} | known)
    await clinic.do("cl", "POST", "/v1/accounts/second/acceptance", {})
    clinic.clock.set(until + dt.timedelta(milliseconds=1))
    act = ImposeMeasure(code="P_FIELD_SUSPEND", target_id="second")
    early = await clinic.app.state.door.act(act, caller=Caller.sweep())
    assert (early.outcome, early.code) == ("refused", "not_in_state")
    await clinic.sweep()
    [measure] = await in_force(clinic, "second")
    record = (await clinic.records("credential.expire"))[-1]
    assert measure.startswith(record["id"])
    told = await clinic.do("ann", "GET", f"/v1/measures/{measure}")
    assert told["notices"][0]["parts"]["facts"]["valid_until"] == instant_text(until)
