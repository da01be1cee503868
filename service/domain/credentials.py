"""Credentials: what an operator shows to run accounts of a field; submitted, and refused by a human.

What accepting one or its end does to the accounts of the field stands with the measures: measures/licensing.py.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import msgspec

from service.action import Action, Change, Effect, Id, Instant, Need, Note, Reason, Situation, Stand, Subject
from service.clock import instant_text, truncated
from service.domain import staff
from service.domain.identity import refuse_raw
from service.domain.notices import listed, of_act, reason_said
from service.domain.operators import Operator, OperatorAction
from service.errors import Code, Refusal
from service.rows import Row, subject

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Policy, Terms

CredentialKind = Literal["news_licence", "finance", "education", "health", "law"]
NEEDED: dict[str, CredentialKind] = {
    "news": "news_licence",
    "finance": "finance",
    "education": "education",
    "health": "health",
    "law": "law",
}
"""The classes of accounts that need a credential, and of which kind (A3)."""


@subject
class Credential(Row, frozen=True, kw_only=True):
    """One credential. Waits until accepted or refused; it holds from `valid_from` while `valid_until` >= now."""

    table = "credential"
    key = ("credential_id",)

    credential_id: str
    operator_id: str
    kind: CredentialKind
    reference: str
    valid_from: dt.datetime
    valid_until: dt.datetime
    submitted_at: dt.datetime
    accepted_at: dt.datetime | None = None
    accepted_record: str | None = None
    ended_at: dt.datetime | None = None
    ended_how: Literal["refused", "expired"] | None = None
    ended_record: str | None = None
    version: int = 1

    @property
    def state(self) -> str:
        """`waiting`, `accepted`, `refused` or `expired`."""
        return self.ended_how or ("waiting" if self.accepted_at is None else "accepted")

    def holds(self, at: dt.datetime) -> bool:
        """Whether it covers its field at an instant, also where the sweep is late."""
        return self.state == "accepted" and self.valid_from <= at <= self.valid_until

    def with_(self, **facts: Any) -> Credential:
        """The row with some facts changed and its version grown by one."""
        return msgspec.structs.replace(self, version=self.version + 1, **facts)

    def ended(self, here: Situation, how: Literal["refused", "expired"]) -> Credential:
        """The credential after its end."""
        return self.with_(ended_at=here.at, ended_how=how, ended_record=here.record_id)


class CredentialsOf(Row, frozen=True, kw_only=True):
    """The accepted credentials of an operator that have not ended. Looked at, never written."""

    table = "credential"
    key = ("operator_id",)

    operator_id: str
    held: tuple[Credential, ...] = ()

    @classmethod
    async def look(
        cls, db: Any, keys: Sequence[tuple[str, ...]], *, lock: str = "read"
    ) -> Mapping[tuple[str, ...], Self]:
        """Read them operator by operator."""
        del lock
        columns = ", ".join(Credential.__struct_fields__)
        found = await db.fetch(
            f"SELECT {columns} FROM credential WHERE operator_id = ANY($1) AND accepted_at IS NOT NULL"
            " AND ended_at IS NULL ORDER BY credential_id",
            [key[0] for key in keys],
        )
        held: dict[tuple[str, ...], list[Credential]] = {key: [] for key in keys}
        for record in found:
            one = Credential.from_record(record)
            held[one.operator_id,].append(one)
        return {key: cls(operator_id=key[0], held=tuple(ones)) for key, ones in held.items()}


def require_credential(here: Situation, operator_id: str, klass: str) -> None:
    """Refuse `credential_missing` where a class needs a credential that the operator does not hold now (A3)."""
    kind = NEEDED.get(klass)
    held = here.get(CredentialsOf, operator_id).held
    if kind is not None and not any(one.kind == kind and one.holds(here.at) for one in held):
        raise Refusal(Code.CREDENTIAL_MISSING, needs=kind)


# Submitted


class SubmitCredential(OperatorAction, frozen=True, kw_only=True, tag="credential.submit"):
    """Show a credential: its kind, the number or opaque reference of the document, and from when until when it is valid.

    It waits for a classifier. Its id is the id of this act's record.
    """

    created: ClassVar[bool] = True

    kind: CredentialKind
    reference: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            max_length=128,
            pattern=r"\S",
            description="Number of the document, or the issuer's opaque reference; sealed in the record.",
        ),
    ]
    valid_from: Instant
    valid_until: Instant

    def form(self, policy: Policy) -> None:
        """Refuses `raw_identity`, `malformed` (over before it begins)."""
        refuse_raw("/reference", self.reference)
        if self.valid_until <= self.valid_from:
            raise Refusal(Code.MALFORMED, pointer="/valid_until", why="not after valid_from")

    def asked(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "valid_from": instant_text(self.valid_from),
            "valid_until": instant_text(self.valid_until),
        }

    def needs(self, caller: Caller) -> Sequence[Need]:
        """The operator stays as it is."""
        return [Need(Operator, (self.operator_id,)), *staff.needs_of(caller)]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses nothing further: what is past its date waits as well, and is not accepted."""
        del terms
        operator = self.operator(here)
        waiting = Credential(
            credential_id=here.record_id,
            operator_id=self.operator_id,
            kind=self.kind,
            reference=self.reference,
            valid_from=truncated(self.valid_from),
            valid_until=truncated(self.valid_until),
            submitted_at=here.at,
        )
        return Change(
            writes=[waiting],
            after={
                "kind": waiting.kind,
                "state": "waiting",
                "valid_until": instant_text(waiting.valid_until),
            },
            links=[operator.by_record],
            personal={"reference": waiting.reference},
            result={"credential_id": waiting.credential_id, "state": "waiting", "version": waiting.version},
            effects=[Effect("credential.waiting", _payload(waiting))],
        )


# Answered


class OfCredential(Action, frozen=True, kw_only=True):
    """An act on one credential; its record is about the operator."""

    #: Whether the act holds the operator's row, and with it the accounts it runs.
    writes_operator: ClassVar[bool] = False

    credential_id: Id

    def target(self, here: Situation) -> Subject:
        """The operator."""
        return Subject("operator", here.get(Credential, self.credential_id).operator_id)

    def asked(self) -> dict[str, object]:
        return {"credential": self.credential_id}

    def needs(self, caller: Caller) -> Sequence[Need]:
        """The credential and the caller."""
        return [Need(Credential, (self.credential_id,), write=True), *staff.needs_of(caller)]

    def more(self, here: Situation) -> Sequence[Need]:
        """The operator, known by the credential."""
        found = here.find(Credential, self.credential_id)
        return [] if found is None else [Need(Operator, (found.operator_id,), write=self.writes_operator)]

    def stand(self, here: Situation) -> Stand:
        found = here.get(Credential, self.credential_id)
        operator = here.get(Operator, found.operator_id)
        return staff.stand(
            here,
            parties=(f"person:{operator.answerable_person}",),
            own=here.caller.person_id == operator.answerable_person,
        )._replace(jurisdiction=operator.jurisdiction, version=found.version)

    def waiting(self, here: Situation) -> Credential:
        """The credential, not answered yet. Raises Refusal `not_in_state`."""
        found = here.get(Credential, self.credential_id)
        if found.state != "waiting":
            raise Refusal(Code.NOT_IN_STATE, state=found.state)
        return found


class RefuseCredential(OfCredential, frozen=True, kw_only=True, tag="credential.refuse"):
    """A classifier finds that the document does not do, and says why, to whoever answers for the operator. Appeals join here."""

    reason: Reason | None = None
    note: Note | None = None

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` (answered before)."""
        found = self.waiting(here)
        change = answered(found, found.ended(here, "refused"), reason=self.reason)
        operator, why = here.get(Operator, found.operator_id), reason_said(here, self.reason)
        notice = of_act(
            here,
            "refused",
            to=operator.answerable_person,
            about=self.target(here),
            jurisdiction=operator.jurisdiction,
            facts={
                "credential_kind": found.kind,
                "valid_until": instant_text(found.valid_until),
                "reason": self.reason,
            },
            basis=terms.basis,
            explanation={
                "zh": f"提交的资质（{found.kind}）未获接受。原因：{why['zh']}。",
                "en": f"The credential ({found.kind}) that was submitted is not accepted. Reason: {why['en']}.",
            },
            remedy={
                "zh": "补正后可随时重新提交。",
                "en": "It may be submitted again at any time, with what was wrong put right.",
            },
            papers=[f"credential:{found.kind}"],
        )
        change.writes.append(notice)
        change.coupled.append(listed())
        change.about = {"answerable": Subject("person", operator.answerable_person)}
        change.effects.append(notice.effect())
        return change


def answered(before: Credential, after: Credential, **more: Any) -> Change:
    """The change from one state of a credential to the next, linked to the act that submitted or accepted it."""
    told = {name: value for name, value in more.items() if value is not None}
    return Change(
        writes=[after],
        before={"kind": before.kind, "state": before.state},
        after={"kind": after.kind, "state": after.state, **{k: v for k, v in told.items() if k != "reason"}},
        links=[before.accepted_record or before.credential_id],
        result={"credential_id": after.credential_id, "state": after.state, "version": after.version, **told},
        effects=[Effect(f"credential.{after.state}", {**_payload(after), **told})],
    )


def _payload(one: Credential) -> dict[str, Any]:
    return {
        "credential_id": one.credential_id,
        "operator_id": one.operator_id,
        "kind": one.kind,
        "valid_until": instant_text(one.valid_until),
    }
