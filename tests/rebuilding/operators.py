"""What acts do to operators: who answers for them, what they may show, what their credit is."""

from typing import Any

from tests.rebuilding.facts import Facts, Row, ended, tells
from tests.rebuilding.people import credited, identity
from tests.rebuilding.told import Act, Subject, instant


@tells("operator.register")
def registered(facts: Facts, act: Act) -> None:
    operator_id, answers = act.id("target"), act.id("answerable")
    facts.add(
        "operator",
        act,
        operator_id=operator_id,
        kind=act.after["kind"],
        name=act.value("name"),
        is_mcn=act.after["is_mcn"],
        answerable_person=answers,
        identity_status="unverified",
        identity_methods=[],
        jurisdiction=act.asked["jurisdiction"],
        created_at=act.at,
        account_count=0,
        by_record=act.record,
    )
    _answers(facts, act, operator_id, answers)


def _answers(facts: Facts, act: Act, operator_id: str, person_id: str) -> None:
    told = {"operator_id": operator_id, "by_record": act.record, "person_id": person_id}
    facts.add("answerable", act, **told, from_at=act.at)


@tells("operator.update_facts")
def asked_otherwise(facts: Facts, act: Act) -> None:
    asked: dict[str, Any] = {**act.asked, "by_record": act.record}
    if "name" in act.after["pending"]:
        asked["name"] = act.value("name")
    if "answerable_person" in act.after["pending"]:
        asked["answerable_person"] = act.id("answerable")
    facts.change(facts.get("operator", act.id("target")), act, pending=asked)


@tells("operator.verify")
def verified(facts: Facts, act: Act) -> None:
    operator = facts.get("operator", act.id("target"))
    pending = operator.get("pending") or {}
    applied = {name: pending[name] for name in act.after["applied"]}
    if "name" in applied:
        applied["name"] = act.value("name")
    ended_change = act.after["applied"] or act.after["dropped"]
    speaks_of_change_alone = act.asked["status"] == "failed" and ended_change
    found = {} if speaks_of_change_alone else identity(act)
    if act.id("answerable") != act.id("answerable_before"):
        held = facts.one("answerable", operator_id=operator["operator_id"], until_at=None)
        facts.change(held, act, until_at=act.at, ended_record=act.record)
        _answers(facts, act, operator["operator_id"], act.id("answerable"))
    facts.change(operator, act, pending=None if ended_change else operator.get("pending"), **found, **applied)
    credited(facts, act)


@tells("operator.raise_cap")
def cap_raised(facts: Facts, act: Act) -> None:
    more = {"number": act.asked["number"], "until": instant(act.after["until"]), "by_record": act.record}
    facts.change(facts.get("operator", act.id("target")), act, extra_accounts=more)


@tells("credit.adjust", "credit.recover")
def credit_moved(facts: Facts, act: Act) -> None:
    credited(facts, act)
    for one in act.of("notice"):
        target = act.who["target"]
        human = target.id if target.type == "person" else act.id("answerable")
        noticed(facts, act, one["id"], human, target)


def noticed(facts: Facts, act: Act, number: int, to: str, about: Subject, measure: str | None = None) -> None:
    """The notice that an act lists under this number; its territory is that of what it is about."""
    tables = {"person": "person", "operator": "operator", "account": "account"}
    facts.add(
        "notice",
        act,
        notice_id=f"{act.record}.{number}",
        measure_id=measure,
        to_person=to,
        about_type=about.type,
        about_id=about.id,
        jurisdiction=facts.get(tables[about.type], about.id)["jurisdiction"],
        at=act.at,
        by_record=act.record,
    )


# Credentials


def credential_of(facts: Facts, act: Act) -> Row:
    return facts.get("credential", act.asked["credential"])


@tells("credential.submit")
def submitted(facts: Facts, act: Act) -> None:
    facts.add(
        "credential",
        act,
        credential_id=act.record,
        operator_id=act.id("target"),
        kind=act.after["kind"],
        reference=act.value("reference"),
        valid_from=instant(act.asked["valid_from"]),
        valid_until=instant(act.asked["valid_until"]),
        submitted_at=act.at,
    )


@tells("credential.refuse")
def refused(facts: Facts, act: Act) -> None:
    facts.change(credential_of(facts, act), act, **ended(act, "refused"))
    for one in act.of("notice"):
        noticed(facts, act, one["id"], act.id("answerable"), act.who["target"])
