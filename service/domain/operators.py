"""Operators: the legal subjects that run accounts, each with one answerable person (domain.md (c) Operator)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec

from service.action import Action, Change, Id, Jurisdiction, Need, Situation, Stand, Subject
from service.caller import Caller
from service.domain import credit, staff
from service.domain.identity import Checked, Methods, Reference, check_verification, kept, refuse_raw
from service.domain.names import refuse_unseen
from service.domain.people import IdentityStatus, Person
from service.errors import Code, Refusal
from service.rows import Row, subject

if TYPE_CHECKING:
    from service.policy import Policy, Terms

OperatorKind = Literal["person", "company", "media", "government", "mass_organisation", "other"]
OperatorName = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=100, pattern=r"\S", description="Shown on the public card (A6)."),
]


class PendingFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Facts that the answerable person asked for and that nobody has checked yet; what is None stays as it is."""

    name: str | None = None
    is_mcn: bool | None = None
    answerable_person: str | None = None
    jurisdiction: str | None = None
    by_record: str

    def facts(self) -> dict[str, Any]:
        """The facts asked for, by column."""
        asked = msgspec.structs.asdict(self)
        return {name: value for name, value in asked.items() if name != "by_record" and value is not None}


class ExtraAccounts(msgspec.Struct, frozen=True, kw_only=True):
    """Accounts above the cap of its kind that an operator may have until an end (operator.raise_cap)."""

    number: int
    until: dt.datetime
    by_record: str


@subject
class Operator(Row, frozen=True, kw_only=True):
    """The legal subject that runs accounts. `account_count`: accounts neither closed nor refused (A4, S098)."""

    table = "operator"
    key = ("operator_id",)

    operator_id: str
    kind: OperatorKind
    name: str
    is_mcn: bool = False
    answerable_person: str
    identity_status: IdentityStatus = "unverified"
    identity_methods: list[str] = []
    identity_ref: str | None = None
    verified_at: dt.datetime | None = None
    pending: PendingFacts | None = None
    jurisdiction: str
    created_at: dt.datetime
    version: int = 1
    account_count: int = 0
    extra_accounts: ExtraAccounts | None = None
    exited_at: dt.datetime | None = None
    by_record: str

    def with_(self, **facts: Any) -> Operator:
        """The row with some facts changed and its version grown by one."""
        return msgspec.structs.replace(self, version=self.version + 1, **facts)


class Answerable(Row, frozen=True, kw_only=True):
    """Who answers for an operator, as an interval (S214); the open one is the operator's own `answerable_person`."""

    table = "answerable"
    key = ("operator_id", "by_record")
    look_key = ("operator_id",)
    only = "t.until_at IS NULL"

    operator_id: str
    by_record: str
    person_id: str
    from_at: dt.datetime
    until_at: dt.datetime | None = None
    ended_record: str | None = None


class LevelMove(Row, frozen=True, kw_only=True):
    """The last move of an operator's level of credit: its accounts may rest on the former one until the sweep was there (S077).

    Written by the act that moves the level; the sweep drops it a while after.
    """

    table = "level_move"
    key = ("operator_id",)

    operator_id: str
    by_record: str
    at: dt.datetime


def level_moved(
    here: Situation, operator: Operator, was: credit.Level | None, now: credit.Level | None
) -> list[Row]:
    """What an act notes that moves an operator's level: nothing where its accounts' tiers take the same as before, or it has none."""
    if (was or credit.LOWEST) == (now or credit.LOWEST) or not operator.account_count:
        return []
    return [LevelMove(operator_id=operator.operator_id, by_record=here.record_id, at=here.at)]


def require_identity(here: Situation, operator: Operator) -> None:
    """Refuse `identity_unverified` unless the operator was verified by enough methods (O1, S092)."""
    needed = here.policy.parameters.identity_methods_min_account
    if operator.identity_status != "verified" or len(operator.identity_methods) < needed:
        raise Refusal(
            Code.IDENTITY_UNVERIFIED,
            status=operator.identity_status,
            methods=len(operator.identity_methods),
            minimum=needed,
        )


def require_answerable(here: Situation, person_id: str) -> None:
    """Refuse who cannot answer for an operator: `unknown`, `person_closed`, `identity_unverified`."""
    person = here.get(Person, person_id)
    if person.closed_at is not None:
        raise Refusal(Code.PERSON_CLOSED)
    if person.identity_status != "verified":
        raise Refusal(Code.IDENTITY_UNVERIFIED, status=person.identity_status)


class OperatorAction(Action, frozen=True, kw_only=True):
    """An act on one operator; its answerable person stands as owner to it."""

    operator_id: Id

    def target(self, here: Situation) -> Subject:
        """The operator."""
        return Subject("operator", self.operator_id)

    def needs(self, caller: Caller) -> Sequence[Need]:
        """The operator and the caller."""
        return [Need(Operator, (self.operator_id,), write=True), *staff.needs_of(caller)]

    def operator(self, here: Situation) -> Operator:
        """The operator as it is now. Raises Refusal `unknown`."""
        return here.get(Operator, self.operator_id)

    def stand(self, here: Situation) -> Stand:
        """Owner or stranger; whoever is the answerable person's human is not apart."""
        operator = self.operator(here)
        return staff.stand(
            here,
            parties=(f"person:{operator.answerable_person}",),
            own=here.caller.person_id == operator.answerable_person,
        )._replace(jurisdiction=operator.jurisdiction, version=operator.version)


class RegisterOperator(OperatorAction, frozen=True, kw_only=True, tag="operator.register"):
    """A legal subject becomes known; the caller answers for it. The backend, importing, names who does."""

    created: ClassVar[bool] = True

    kind: OperatorKind
    name: OperatorName
    is_mcn: bool = False
    jurisdiction: Jurisdiction
    answerable_person: Id | None = None

    def form(self, policy: Policy) -> None:
        """Refuses `malformed` (an MCN that is no company; a name with control characters), `raw_identity`."""
        refuse_raw("/name", self.name)
        refuse_unseen(self.name)
        if self.is_mcn and self.kind != "company":
            raise Refusal(Code.MALFORMED, pointer="/is_mcn", why="only a company is an MCN")

    def asked(self) -> dict[str, object]:
        return {"kind": self.kind, "is_mcn": self.is_mcn, "jurisdiction": self.jurisdiction}

    def needs(self, caller: Caller) -> Sequence[Need]:
        """Also who will answer: closing that person waits, or finds the operator."""
        answers = self.answerable_person or caller.person_id
        return [*super().needs(caller), *([Need(Person, (answers,), write=True)] if answers else [])]

    def stand(self, here: Situation) -> Stand:
        mine = self.answerable_person in {None, here.caller.person_id}
        return staff.stand(here, myself=mine)._replace(jurisdiction=self.jurisdiction)

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `unknown`, `person_closed`, `identity_unverified`, `already_exists`, `malformed` (nobody named)."""
        answers = self.answerable_person or here.caller.person_id
        if not answers:
            raise Refusal(Code.MALFORMED, pointer="/answerable_person", why="name who answers for it")
        require_answerable(here, answers)
        if here.find(Operator, self.operator_id) is not None:
            raise Refusal(Code.ALREADY_EXISTS)
        operator = Operator(
            operator_id=self.operator_id,
            kind=self.kind,
            name=self.name,
            is_mcn=self.is_mcn,
            answerable_person=answers,
            jurisdiction=self.jurisdiction,
            created_at=here.at,
            by_record=here.record_id,
        )
        answerable = Answerable(
            operator_id=self.operator_id, by_record=here.record_id, person_id=answers, from_at=here.at
        )
        return Change(
            writes=[operator, answerable],
            after={"kind": operator.kind, "is_mcn": operator.is_mcn, "answers": "answerable"},
            about={"answerable": Subject("person", answers)},
            personal={"name": operator.name},
            result={"identity_status": operator.identity_status, "version": operator.version},
        )


class VerifyOperator(OperatorAction, frozen=True, kw_only=True, tag="operator.verify"):
    """Keep the outcome of the composite check of an operator (O1).

    A check of a change of facts names it by `asked_record`, the record that asked: `verified` then applies it, and
    `failed` speaks of the change alone: it is dropped and the identity stays as it was. A check that names none speaks of
    the operator as it stands, and a change goes on waiting; `withdrawn` drops it. Without an identity there are no new
    accounts; the duty to correct joins here once there are duties. The first success opens the operator's own ledger of
    credit (O2), which is suspended while there is no proved identity.
    """

    status: Checked
    methods: Methods = []
    identity_ref: Reference | None = None
    asked_record: Id | None = None

    def form(self, policy: Policy) -> None:
        """Refuses `malformed` (withdrawn names a change, too few members), `raw_identity`."""
        check_verification(self.status, self.methods, self.identity_ref)
        if self.status == "withdrawn" and self.asked_record is not None:
            raise Refusal(Code.MALFORMED, pointer="/asked_record", why="withdrawn speaks of the operator")

    def asked(self) -> dict[str, object]:
        return {"status": self.status, "methods": self.methods}

    def needs(self, caller: Caller) -> Sequence[Need]:
        """Also the ledger of credit."""
        return [*super().needs(caller), credit.ledger_needs("operator", self.operator_id)]

    def more(self, here: Situation) -> Sequence[Need]:
        """Who would answer from now on, and since when somebody else does."""
        operator = here.find(Operator, self.operator_id)
        if operator is None or operator.pending is None or operator.pending.answerable_person is None:
            return ()
        if operator.pending.by_record != self.asked_record:
            return ()
        return [
            Need(Person, (operator.pending.answerable_person,), write=True),
            Need(Answerable, (self.operator_id,)),
        ]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` when no change waits, `facts_changed` when another one does, and `person_closed`,
        `identity_unverified` when who is to answer from now on no longer can.
        """
        operator = self.operator(here)
        answered = self._answered(operator)
        facts = {} if answered is None else answered.facts()
        rejected = self.status == "failed" and answered is not None
        applied = facts if self.status == "verified" else {}
        if "answerable_person" in applied:
            require_answerable(here, applied["answerable_person"])
        identity = {} if rejected else kept(self.status, self.methods, self.identity_ref, here.at)
        pending = operator.pending if answered is None else None
        checked = operator.with_(pending=pending, **identity, **applied)
        was, now = (one.identity_status == "verified" for one in (operator, checked))
        held = here.find(credit.Credit, "operator", self.operator_id)
        ledger = credit.reidentified(here, "operator", self.operator_id, was=was, now=now)
        levels = (
            credit.level(here.policy.parameters, held, verified=was),
            credit.level(here.policy.parameters, held if ledger is None else ledger.after, verified=now),
        )
        return Change(
            writes=[
                checked,
                *([] if ledger is None else ledger.writes),
                *level_moved(here, operator, *levels),
                *_answered(here, operator, checked),
            ],
            before={"identity_status": operator.identity_status, "methods": operator.identity_methods},
            after={
                "identity_status": checked.identity_status,
                "methods": checked.identity_methods,
                "applied": sorted(applied),
                "dropped": [] if applied else sorted(facts),
            },
            coupled=[] if ledger is None else ledger.coupled(),
            about={
                "answerable_before": Subject("person", operator.answerable_person),
                "answerable": Subject("person", checked.answerable_person),
            },
            links=[] if answered is None else [answered.by_record],
            personal={
                name: value
                for name, value in (
                    ("identity_ref", None if rejected else checked.identity_ref),
                    ("name", applied.get("name")),
                )
                if value is not None
            },
            result={
                "identity_status": checked.identity_status,
                "applied": sorted(applied),
                "version": checked.version,
                **({} if pending is None else {"pending": sorted(pending.facts())}),
            },
        )

    def _answered(self, operator: Operator) -> PendingFacts | None:
        """The change that this check ends: the one it names, or what waits for an identity that is withdrawn."""
        pending = operator.pending
        if self.asked_record is None:
            return pending if self.status == "withdrawn" else None
        if pending is None:
            raise Refusal(Code.NOT_IN_STATE, pointer="/asked_record")
        if pending.by_record != self.asked_record:
            raise Refusal(Code.FACTS_CHANGED, pointer="/asked_record")
        return pending


class UpdateOperatorFacts(OperatorAction, frozen=True, kw_only=True, tag="operator.update_facts"):
    """The answerable person asks for other facts; they wait for the same check as registration, which names
    them by this record (operator.verify).

    What is not named stays; asking again replaces what waits. The kind is not asked for: another legal subject is
    another operator.
    """

    name: OperatorName | None = None
    is_mcn: bool | None = None
    answerable_person: Id | None = None
    jurisdiction: Jurisdiction | None = None

    def form(self, policy: Policy) -> None:
        """Refuses `malformed` (no fact named; a name with control characters), `raw_identity`."""
        refuse_raw("/name", self.name)
        refuse_unseen(self.name)
        if {self.name, self.is_mcn, self.answerable_person, self.jurisdiction} == {None}:
            raise Refusal(Code.MALFORMED, pointer="", why="names no fact")

    def asked(self) -> dict[str, object]:
        facts = {"is_mcn": self.is_mcn, "jurisdiction": self.jurisdiction}
        return {name: value for name, value in facts.items() if value is not None}

    def needs(self, caller: Caller) -> Sequence[Need]:
        """Also who is to answer."""
        follows = [] if self.answerable_person is None else [Need(Person, (self.answerable_person,))]
        return [*super().needs(caller), *follows]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `malformed` (an MCN that is no company), `unknown`, `person_closed`, `identity_unverified`."""
        operator = self.operator(here)
        if self.is_mcn and operator.kind != "company":
            raise Refusal(Code.MALFORMED, pointer="/is_mcn", why="only a company is an MCN")
        if self.answerable_person is not None:
            require_answerable(here, self.answerable_person)
        pending = PendingFacts(
            name=self.name,
            is_mcn=self.is_mcn,
            answerable_person=self.answerable_person,
            jurisdiction=self.jurisdiction,
            by_record=here.record_id,
        )
        changed = operator.with_(pending=pending)
        follows = self.answerable_person
        return Change(
            writes=[changed],
            before={} if operator.pending is None else {"pending": sorted(operator.pending.facts())},
            after={"pending": sorted(pending.facts())},
            about={} if follows is None else {"answerable": Subject("person", follows)},
            links=[operator.by_record if operator.pending is None else operator.pending.by_record],
            personal={} if self.name is None else {"name": self.name},
            result={"pending": sorted(pending.facts()), "version": changed.version},
        )


def _answered(here: Situation, before: Operator, after: Operator) -> list[Row]:
    """The interval of who answered until now, ended, and that of who answers from now on; nothing where it is the same person."""
    if before.answerable_person == after.answerable_person:
        return []
    held = here.find(Answerable, before.operator_id)
    ended = (
        [] if held is None else [msgspec.structs.replace(held, until_at=here.at, ended_record=here.record_id)]
    )
    follows = Answerable(
        operator_id=after.operator_id,
        by_record=here.record_id,
        person_id=after.answerable_person,
        from_at=here.at,
    )
    return [*ended, follows]
