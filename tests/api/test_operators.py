"""Operators: the legal subjects that run accounts, and who answers for them."""

from typing import Any

import pytest

from tests.kit import House

pytestmark = pytest.mark.anyio

REF = "b2d0c6b1-6f0e-4d1c-9a53-7c1e84f2a905"
OPERATOR = {
    "operator_id": "o",
    "kind": "company",
    "name": "河北某某科技有限公司",
    "jurisdiction": "CN-130200",
}
VERIFIED = {"status": "verified", "methods": ["credit_code", "mobile"], "identity_ref": REF}
IDENTITY = "/v1/operators/o/identity"


@pytest.fixture
async def operator(house: House) -> House:
    """Operator o, registered and not yet verified; ann answers for it, ben answers for nothing."""
    await house.has_people("ann", "ben")
    await house.do("ann", "POST", "/v1/operators", OPERATOR)
    return house


async def seen(house: House, who: str = "im") -> dict[str, Any]:
    return await house.do(who, "GET", "/v1/operators/o")


async def test_who_registers_an_operator_answers_for_it(operator: House) -> None:
    """S002, S018: one record, which names operator and answerable person; the name is sealed, not public."""
    assert await seen(operator) == {
        "operator_id": "o",
        "kind": "company",
        "name": "河北某某科技有限公司",
        "is_mcn": False,
        "jurisdiction": "CN-130200",
        "identity_status": "unverified",
        "created_at": "2026-11-02T08:00:00.000Z",
        "exited_at": None,
        "version": 1,
        "answerable_person": "ann",
        "identity_methods": [],
        "verified_at": None,
        "pending": None,
        "credit_level": None,
        "account_count": 0,
        "extra_accounts": None,
    }
    (record,) = await operator.records("operator.register")
    assert record["p"]["who"].keys() == {"target", "answerable"}
    assert list(record["sd"]) == ["name"]
    assert "河北" not in str(record)


async def test_the_backend_imports_for_a_person_it_names(house: House) -> None:
    """S003: the backend in its own name says who answers; nobody named and nobody known are refused."""
    await house.has_people("ann")
    body = OPERATOR | {"kind": "government", "name": "唐山市公安局"}
    problem = await house.refused("malformed", "im", "POST", "/v1/operators", body)
    assert problem["pointer"] == "/answerable_person"
    await house.refused("unknown", "im", "POST", "/v1/operators", body | {"answerable_person": "nobody"})
    await house.do("im", "POST", "/v1/operators", body | {"answerable_person": "ann"})
    assert (await seen(house))["answerable_person"] == "ann"
    await house.refused("already_exists", "im", "POST", "/v1/operators", body | {"answerable_person": "ann"})


async def test_nobody_makes_another_answer(house: House) -> None:
    """S006: a person registers for himself only; staff match no rule."""
    await house.has_people("ann", "ben")
    body = OPERATOR | {"answerable_person": "ben"}
    for who in ("ann", "co"):
        assert (await house.refused("refused", who, "POST", "/v1/operators", body))["rule"] == "none"


@pytest.mark.parametrize("status", ["unverified", "failed", "withdrawn"])
async def test_an_answerable_person_is_verified(house: House, status: str) -> None:
    """S045: who is not verified answers for no operator."""
    await house.has_people("ann", identity_status=status)
    await house.refused("identity_unverified", "ann", "POST", "/v1/operators", OPERATOR)


async def test_a_closed_person_answers_for_nothing(house: House) -> None:
    """P4: a closed person registers nothing and is named for nothing."""
    await house.has_people("ann", closed_at=house.clock.now())
    await house.refused("person_closed", "ann", "POST", "/v1/operators", OPERATOR)
    await house.refused(
        "person_closed", "im", "POST", "/v1/operators", OPERATOR | {"answerable_person": "ann"}
    )


async def test_only_a_company_is_an_mcn(operator: House) -> None:
    """An MCN is a company, and no name of an operator is somebody's number."""
    for body, code, pointer in (
        ({"kind": "media", "is_mcn": True}, "malformed", "/is_mcn"),
        ({"name": "11010519491231002X"}, "raw_identity", "/name"),
        ({"name": "  "}, "malformed", "/name"),
        ({"kind": "club"}, "malformed", "/kind"),
    ):
        problem = await operator.refused(
            code, "ben", "POST", "/v1/operators", OPERATOR | {"operator_id": "p"} | body
        )
        assert problem["pointer"] == pointer
    await operator.do("ben", "POST", "/v1/operators", OPERATOR | {"operator_id": "p", "is_mcn": True})


async def test_a_check_by_backend_or_classifier(operator: House) -> None:
    """O1, S092: backend and classifier keep the outcome of the composite check; others match no rule."""
    await operator.do("im", "PUT", IDENTITY, VERIFIED | {"methods": ["mobile"]})
    await operator.do("cl", "PUT", IDENTITY, VERIFIED)
    facts = await seen(operator)
    assert (facts["identity_status"], facts["identity_methods"]) == ("verified", ["credit_code", "mobile"])
    for who in ("ann", "mo"):
        assert (await operator.refused("refused", who, "PUT", IDENTITY, VERIFIED))["rule"] == "none"
    await operator.refused("raw_identity", "cl", "PUT", IDENTITY, VERIFIED | {"identity_ref": "13812345678"})
    assert REF not in str(await operator.records("operator.verify"))
    for status in ("failed", "withdrawn"):
        await operator.do("im", "PUT", IDENTITY, {"status": status, "methods": ["mobile"]})
        facts = await seen(operator)
        assert (facts["identity_status"], facts["identity_methods"]) == (status, [])


async def test_other_facts_wait_for_the_same_check(operator: House) -> None:
    """S094: facts asked for wait and the old ones stay; verified, they replace them, linked to the asking."""
    await operator.do("im", "PUT", IDENTITY, VERIFIED)
    body = {"name": "唐山某某传媒有限公司", "is_mcn": True, "answerable_person": "ben"}
    first = await operator.do("ann", "PATCH", "/v1/operators/o", {"name": "x1"})
    asked = await operator.do("ann", "PATCH", "/v1/operators/o", body)
    waiting = await seen(operator, "ann")
    assert (waiting["name"], waiting["answerable_person"]) == (OPERATOR["name"], "ann")
    assert waiting["pending"] == body | {"by_record": asked["record_id"]}
    receipt = await operator.do("im", "PUT", IDENTITY, VERIFIED | {"asked_record": asked["record_id"]})
    assert receipt["result"]["applied"] == ["answerable_person", "is_mcn", "name"]
    facts = await seen(operator)
    assert (facts["name"], facts["is_mcn"], facts["answerable_person"]) == tuple(body.values())
    assert facts["pending"] is None
    records = await operator.records()
    assert [one["links"] for one in records if one["act"] == "operator.update_facts"][1] == [
        first["record_id"]
    ]
    assert records[-1]["links"] == [asked["record_id"]]
    assert "传媒" not in str(records)
    await operator.refused("refused", "ann", "PATCH", "/v1/operators/o", {"name": "y1"})


async def test_a_check_applies_only_the_change_it_names(operator: House) -> None:
    """S094: a routine check leaves what waits as it is, whoever is to answer; one that names another change is refused."""
    path = "/v1/operators/o"
    first = await operator.do("ann", "PATCH", path, {"answerable_person": "ben"})
    for body, status in ((VERIFIED, "verified"), ({"status": "failed", "methods": ["mobile"]}, "failed")):
        receipt = await operator.do("im", "PUT", IDENTITY, body)
        assert (receipt["result"]["applied"], receipt["result"]["pending"]) == ([], ["answerable_person"])
        facts = await seen(operator)
        assert (facts["identity_status"], facts["answerable_person"]) == (status, "ann")
        assert facts["pending"] == {"answerable_person": "ben", "by_record": first["record_id"]}
    naming = VERIFIED | {"asked_record": first["record_id"]}
    second = await operator.do("ann", "PATCH", path, {"name": "x1"})
    problem = await operator.refused("facts_changed", "im", "PUT", IDENTITY, naming)
    assert problem["pointer"] == "/asked_record"
    naming["asked_record"] = second["record_id"]
    assert (await operator.do("im", "PUT", IDENTITY, naming))["result"]["applied"] == ["name"]
    await operator.refused("not_in_state", "im", "PUT", IDENTITY, naming)
    withdrawn = {"status": "withdrawn", "asked_record": second["record_id"]}
    problem = await operator.refused("malformed", "im", "PUT", IDENTITY, withdrawn)
    assert problem["pointer"] == "/asked_record"
    assert (await seen(operator))["answerable_person"] == "ann"


async def test_a_failed_check_drops_the_change_alone(operator: House) -> None:
    """S094: while a change waits, failed drops it and leaves the identity; withdrawn takes the identity too."""
    await operator.do("im", "PUT", IDENTITY, VERIFIED)
    asked = await operator.do("ann", "PATCH", "/v1/operators/o", {"name": "x1"})
    body = {"status": "failed", "methods": ["mobile"], "asked_record": asked["record_id"]}
    await operator.do("cl", "PUT", IDENTITY, body)
    facts = await seen(operator)
    assert (facts["identity_status"], facts["pending"], facts["name"]) == ("verified", None, OPERATOR["name"])
    await operator.do("ann", "PATCH", "/v1/operators/o", {"name": "x1"})
    await operator.do("cl", "PUT", IDENTITY, {"status": "withdrawn"})
    facts = await seen(operator)
    assert (facts["identity_status"], facts["pending"], facts["name"]) == (
        "withdrawn",
        None,
        OPERATOR["name"],
    )


async def test_who_is_to_answer_is_looked_at_again(operator: House) -> None:
    """S045: a change to somebody unverified is refused when asked, and again when it is to take effect."""
    path = "/v1/operators/o"
    await operator.has_people("cai", identity_status="unverified")
    await operator.refused("identity_unverified", "ann", "PATCH", path, {"answerable_person": "cai"})
    await operator.refused("unknown", "ann", "PATCH", path, {"answerable_person": "nobody"})
    asked = await operator.do("ann", "PATCH", path, {"answerable_person": "ben"})
    await operator.do("im", "PUT", "/v1/people/ben/identity", {"status": "withdrawn"})
    body = VERIFIED | {"asked_record": asked["record_id"]}
    await operator.refused("identity_unverified", "im", "PUT", IDENTITY, body)
    assert (await seen(operator))["answerable_person"] == "ann"


async def test_only_the_answerable_person_asks_for_other_facts(operator: House) -> None:
    """S006: to others, the backend included, no rule applies; no fact and an MCN that is no company are malformed."""
    for who in ("ben", "im", "cl"):
        assert (await operator.refused("refused", who, "PATCH", "/v1/operators/o", {"name": "x1"}))[
            "rule"
        ] == "none"
    await operator.refused("malformed", "ann", "PATCH", "/v1/operators/o", {})
    await operator.refused("malformed", "ann", "PATCH", "/v1/operators/o", {"kind": "person"})
    await operator.do("ben", "POST", "/v1/operators", OPERATOR | {"operator_id": "p", "kind": "other"})
    await operator.refused("malformed", "ben", "PATCH", "/v1/operators/p", {"is_mcn": True})
    await operator.refused("unknown", "ben", "PATCH", "/v1/operators/q", {"name": "x1"})


async def test_the_card_of_an_operator_names_no_person(operator: House) -> None:
    """A6, P1: strangers see the card; who answers for it, staff and the backend see more."""
    card = await seen(operator, "ben")
    assert card["name"] == OPERATOR["name"]
    assert not card.keys() & {"answerable_person", "identity_methods", "identity_ref", "pending"}
    for who in ("ann", "mo", "im"):
        assert (await seen(operator, who))["answerable_person"] == "ann"
    answer = await operator.ask("ben", "GET", "/v1/operators/o")
    assert answer.headers["etag"] == '"1"'
    await operator.refused("unknown", "im", "GET", "/v1/operators/nothing")
