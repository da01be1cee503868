"""Credentials: shown by whoever answers, looked at by a human, and over when their date has passed."""

import datetime as dt
from typing import Any

import pytest

from service.domain.measures.licensing import ExpireCredential
from tests.kit import MORNING, House

pytestmark = pytest.mark.anyio

REF = "b2d0c6b1-6f0e-4d1c-9a53-7c1e84f2a905"
VERIFIED = {"status": "verified", "methods": ["credit_code", "mobile"], "identity_ref": REF}
SHOWN = {
    "kind": "health",
    "reference": "京卫网审〔2026〕第 0042 号",
    "valid_from": "2026-01-01T00:00:00.000Z",
    "valid_until": "2026-12-31T23:59:59.000Z",
}
OF_O = "/v1/operators/o/credentials"
END = dt.datetime(2026, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


@pytest.fixture
async def operator(house: House) -> House:
    """Operator o, a verified company with a raised cap; ann answers for it."""
    await house.has_people("ann", "ben")
    body = {"operator_id": "o", "kind": "media", "name": "某某健康", "jurisdiction": "CN-110000"}
    await house.do("ann", "POST", "/v1/operators", body)
    await house.do("im", "PUT", "/v1/operators/o/identity", VERIFIED)
    return house


async def submit(house: House, **facts: Any) -> str:
    receipt = await house.do("ann", "POST", OF_O, SHOWN | facts)
    assert receipt["result"]["state"] == "waiting"
    return receipt["result"]["credential_id"]


async def accept(house: House, **facts: Any) -> str:
    credential = await submit(house, **facts)
    await house.do("cl", "POST", f"/v1/credentials/{credential}/acceptance", {})
    return credential


def account(account_id: str, klass: str) -> dict[str, str]:
    known = {"operator_id": "o", "name": f"name {account_id}", "jurisdiction": "CN-110000"}
    return {"account_id": account_id, "class": klass} | known


async def states(house: House) -> list[str]:
    return [one["state"] for one in (await house.do("ann", "GET", OF_O))["items"]]


async def test_a_credential_waits_for_a_human(operator: House) -> None:
    """A3, S002: submitted it waits, its number sealed; accepted it is linked to the submission and the backend knows."""
    receipt = await operator.do("ann", "POST", OF_O, SHOWN)
    credential = receipt["record_id"]
    assert receipt["result"] == {"credential_id": credential, "state": "waiting", "version": 1}
    (submitted,) = await operator.records("credential.submit")
    assert list(submitted["sd"]) == ["reference"]
    assert "0042" not in str(submitted)
    accepted = await operator.do("cl", "POST", f"/v1/credentials/{credential}/acceptance", {})
    assert accepted["result"]["state"] == "accepted"
    assert accepted["target"] == {"type": "operator", "id": "o"}
    (record,) = await operator.records("credential.accept")
    assert record["links"] == [credential]
    payload = {
        "credential_id": credential,
        "operator_id": "o",
        "kind": "health",
        "valid_until": "2026-12-31T23:59:59.000Z",
    }
    assert await operator.effects("credential.waiting") == [payload]
    assert await operator.effects("credential.accepted") == [payload]
    assert (await operator.do("ann", "GET", OF_O))["items"] == [
        {
            "credential_id": credential,
            "operator_id": "o",
            "kind": "health",
            "reference": SHOWN["reference"],
            "state": "accepted",
            "valid_from": "2026-01-01T00:00:00.000Z",
            "valid_until": "2026-12-31T23:59:59.000Z",
            "submitted_at": "2026-11-02T08:00:00.000Z",
            "accepted_at": "2026-11-02T08:00:00.000Z",
            "accepted_record": accepted["record_id"],
            "ended_at": None,
            "ended_record": None,
            "version": 2,
        }
    ]


@pytest.mark.parametrize(
    ("klass", "kind"),
    [
        ("news", "news_licence"),
        ("finance", "finance"),
        ("education", "education"),
        ("health", "health"),
        ("law", "law"),
    ],
)
async def test_a_field_needs_its_credential(operator: House, klass: str, kind: str) -> None:
    """A3: without an accepted credential of that field no account of the class; one of another field, or one that waits, does not do."""
    other = "law" if kind == "health" else "health"
    await accept(operator, kind=other)
    waiting = await submit(operator, kind=kind)
    problem = await operator.refused("credential_missing", "ann", "POST", "/v1/accounts", account("a", klass))
    assert problem["data"] == {"needs": kind}
    await operator.do("cl", "POST", f"/v1/credentials/{waiting}/acceptance", {})
    await operator.do("ann", "POST", "/v1/accounts", account("a", klass))
    await operator.do("cl", "POST", "/v1/accounts/a/acceptance", {})


async def test_a_class_without_need_asks_for_none(operator: House) -> None:
    """A3: an account of class life needs no credential."""
    await operator.do("ann", "POST", "/v1/accounts", account("a", "life"))
    await operator.do("cl", "POST", "/v1/accounts/a/acceptance", {})


async def test_a_credential_covers_its_days_and_no_others(operator: House) -> None:
    """A3, S022: not before it begins; at its end still; a millisecond later, and before the sweep, no more."""
    await accept(operator, valid_from="2026-11-03T00:00:00Z")
    asked = account("a", "health")
    await operator.refused("credential_missing", "ann", "POST", "/v1/accounts", asked)
    operator.clock.set(END)
    await operator.do("ann", "POST", "/v1/accounts", asked)
    operator.clock.advance(0.001)
    await operator.refused("credential_missing", "cl", "POST", "/v1/accounts/a/acceptance", {})


async def test_time_ends_a_credential_and_tells(operator: House) -> None:
    """S015, S016: past its date it expires by time, linked to its acceptance; `covered` says whether another one covers the field."""
    first, second = await accept(operator), await accept(operator, valid_until="2027-06-30T00:00:00Z")
    operator.clock.set(END)
    await operator.sweep()
    assert await states(operator) == ["accepted", "accepted"]
    operator.clock.advance(0.001)
    await operator.sweep()
    assert await states(operator) == ["expired", "accepted"]
    operator.clock.set(END + dt.timedelta(days=181))
    await operator.sweep()
    records = await operator.records("credential.expire")
    accepted = [one["id"] for one in await operator.records("credential.accept")]
    assert [one["links"] for one in records] == [[accepted[0]], [accepted[1]]]
    assert {one["by"]["standing"] for one in records} == {"system.sweep"}
    told = await operator.effects("credential.expired")
    assert [(one["credential_id"], one["covered"]) for one in told] == [(first, True), (second, False)]
    assert await states(operator) == ["expired", "expired"]
    assert await operator.by_time(ExpireCredential(credential_id=first)) == "not_in_state"


async def test_what_waits_lapses_too(operator: House) -> None:
    """S015: a credential that nobody answered is past its date as well, and is accepted no more: `expired`, then `not_in_state`."""
    credential = await submit(operator)
    operator.clock.set(END + dt.timedelta(seconds=1))
    path = f"/v1/credentials/{credential}/acceptance"
    problem = await operator.refused("expired", "cl", "POST", path, {})
    assert problem["data"] == {"valid_until": "2026-12-31T23:59:59.000Z"}
    await operator.sweep()
    problem = await operator.refused("not_in_state", "cl", "POST", path, {})
    assert problem["data"] == {"state": "expired"}


async def test_a_refusal_has_a_reason_and_is_final(operator: House) -> None:
    """S018: refused with a reason, it covers nothing, is answered once, and another one may be shown."""
    credential = await submit(operator)
    path = f"/v1/credentials/{credential}/refusal"
    await operator.refused("reason_missing", "cl", "POST", path, {})
    await operator.do("cl", "POST", path, {"reason": "credential_missing", "note": "unreadable"})
    await operator.refused("not_in_state", "cl", "POST", path, {"reason": "credential_missing"})
    await operator.refused("not_in_state", "cl", "POST", f"/v1/credentials/{credential}/acceptance", {})
    (told,) = await operator.effects("credential.refused")
    assert told["reason"] == "credential_missing"
    await accept(operator)
    assert await states(operator) == ["refused", "accepted"]


async def test_who_shows_and_who_answers(operator: House) -> None:
    """S006: only whoever answers for the operator shows, only a classifier answers; others match no rule."""
    for who in ("ben", "cl", "im"):
        assert (await operator.refused("refused", who, "POST", OF_O, SHOWN))["rule"] == "none"
    credential = await submit(operator)
    for who in ("ann", "mo", "im"):
        for verb in ("acceptance", "refusal"):
            body = {"reason": "other"}
            path = f"/v1/credentials/{credential}/{verb}"
            assert (await operator.refused("refused", who, "POST", path, body))["rule"] == "none"
    await operator.refused("unknown", "cl", "POST", "/v1/credentials/nothing/acceptance", {})
    await operator.refused("unknown", "ann", "POST", "/v1/operators/p/credentials", SHOWN)
    await operator.refused(
        "version_stale", "cl", "POST", f"/v1/credentials/{credential}/acceptance", {}, version=2
    )


async def test_what_cannot_be_a_credential_is_refused(operator: House) -> None:
    """P1: nobody's number as reference; a kind of the list; an end after the beginning."""
    for facts, code, pointer in (
        ({"reference": "11010519491231002X"}, "raw_identity", "/reference"),
        ({"reference": "13812345678"}, "raw_identity", "/reference"),
        ({"reference": " "}, "malformed", "/reference"),
        ({"kind": "cooking"}, "malformed", "/kind"),
        ({"valid_until": "2025-12-31T00:00:00Z"}, "malformed", "/valid_until"),
    ):
        problem = await operator.refused(code, "ann", "POST", OF_O, SHOWN | facts)
        assert problem["pointer"] == pointer


async def test_staff_list_what_waits_and_what_ends_soon(operator: House) -> None:
    """Staff and backend list by state, kind and end, page by page; persons see their own operator's, others nothing."""
    await accept(operator)
    waiting = await submit(operator, kind="law")
    listed = await operator.do("cl", "GET", "/v1/credentials?state=waiting")
    assert [one["credential_id"] for one in listed["items"]] == [waiting]
    for query, kinds in (
        ("?kind=health", ["health"]),
        ("?ends_before=2027-01-01T00:00:00Z", ["health", "law"]),
        ("?ends_before=2026-12-01T00:00:00Z", []),
    ):
        found = await operator.do("au", "GET", f"/v1/credentials{query}")
        assert [one["kind"] for one in found["items"]] == kinds
    first = await operator.do("im", "GET", "/v1/credentials?limit=1")
    rest = await operator.do("im", "GET", f"/v1/credentials?limit=1&cursor={first['next']}")
    assert (rest["items"][0]["credential_id"], rest["next"]) == (waiting, None)
    await operator.refused("refused", "ann", "GET", "/v1/credentials")
    await operator.refused("unknown", "ben", "GET", OF_O)
    assert operator.clock.now() == MORNING
