"""Deleting from the memory itself: single personal values (field.redact), and bodies whose term is over (record.retire).

Two others agree to either, one of them an approver and one compliance: what goes is evidence about other people's acts.
Each is told in a record of its own, with its legal basis; entries, hashes and the fact of the deletion stay (S205).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from service.action import Action, Change, Id, Need, Situation, Stand, Subject
from service.caller import Caller
from service.domain import staff
from service.domain.retention.facts import (
    LegalBasis,
    Redactable,
    Retirable,
    refuse_held,
    refuse_running,
    require_basis,
)
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.policy import Policy, Terms

FieldName = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z0-9_]{1,64}$", description="A member of the record's sd.")
]
Index = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1, description="A place in the log.")]
_WHOLE = "CN"


class RedactField(Action, frozen=True, kw_only=True, tag="field.redact"):
    """Delete personal values of one record for good; the record stays, and says so in every bundle from then on.

    Only what the record holds is deleted: a value that is still in force (the name of a living group) stays with its subject.
    """

    own_record: ClassVar[bool] = True

    record_id: Id
    fields: Annotated[list[FieldName], msgspec.Meta(min_length=1, max_length=64)]
    legal_basis: LegalBasis = []

    def form(self, policy: Policy) -> None:
        """Refuses `malformed` (a field twice)."""
        if len(set(self.fields)) < len(self.fields):
            raise Refusal(Code.MALFORMED, pointer="/fields", why="one field twice")

    def asked(self) -> dict[str, Any]:
        return {"fields": sorted(self.fields), "record": self.record_id}

    def _record(self, here: Situation) -> Redactable:
        return here.get(Redactable, self.record_id)

    def _subjects(self, here: Situation) -> list[Subject]:
        return [Subject(*pair) for pair in self._record(here).subjects]

    def target(self, here: Situation) -> Subject:
        """What the record was about."""
        place = self._record(here).target
        if place is None:
            raise Refusal(Code.UNKNOWN)
        return self._subjects(here)[place]

    def about(self, here: Situation) -> dict[str, Subject]:
        """Everybody else whom the record concerns."""
        target = self.target(here)
        others = [one for one in self._subjects(here) if one != target]
        return {f"subject_{place}": one for place, one in enumerate(others, 1)}

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [Need(Redactable, (self.record_id,), write=True), *staff.needs_of(caller)]

    def stand(self, here: Situation) -> Stand:
        """Whoever the record concerns agrees to nothing here."""
        subjects = self._subjects(here)
        self.target(here)
        parties = tuple(f"{one.type}:{one.id}" for one in subjects if one.type in {"person", "staff"})
        places = [one.id for one in subjects if one.type == "jurisdiction"]
        return staff.stand(here, parties=parties)._replace(
            jurisdiction=places[0] if places else _WHOLE, private=True
        )

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` (a field the record has not, or no more), `legal_hold`, `retention_runs`, `basis_missing`."""
        found = self._record(here)
        absent = sorted(set(self.fields) - set(found.fields))
        if absent:
            raise Refusal(Code.NOT_IN_STATE, pointer="/fields", absent=absent)
        refuse_held(found.holds)
        refuse_running(here, found.at, here.policy.parameters.log_retention_floor_months)
        require_basis(self.legal_basis)
        fields = sorted(self.fields)
        return Change(
            named={"fields": fields, "record": self.record_id},
            basis=list(self.legal_basis),
            links=[self.record_id],
            result={"record": self.record_id, "fields": fields},
        )


class RetireRecords(Action, frozen=True, kw_only=True, tag="record.retire"):
    """Delete the bodies of all records between two places of the log, once the published term is over for each.

    Published is what the log itself announced: the record names the notice (format section 9.1). Deletion records in between
    keep theirs: bundles rest on them.
    """

    own_record: ClassVar[bool] = True

    from_index: Index
    to_index: Index
    legal_basis: LegalBasis = []

    def form(self, policy: Policy) -> None:
        """Refuses `malformed` (no place in between)."""
        if self.from_index >= self.to_index:
            raise Refusal(Code.MALFORMED, pointer="/to_index", why="not after from_index")

    def asked(self) -> dict[str, int]:
        return {"from_index": self.from_index, "to_index": self.to_index}

    def target(self, here: Situation) -> Subject:
        """The log is the platform's: its whole territory."""
        return Subject("jurisdiction", _WHOLE)

    def _key(self) -> tuple[str, str]:
        return str(self.from_index), str(self.to_index)

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [Need(Retirable, self._key(), write=True), *staff.needs_of(caller)]

    def stand(self, here: Situation) -> Stand:
        return staff.stand(here)

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` (nothing there, or beyond the end), `legal_hold`, `basis_missing`, `retention_runs`.

        The last also while the log has not announced the term of the edition in force (data: announced, months).
        """
        found = here.get(Retirable, *self._key())
        if self.to_index > found.size or found.bodies == 0:
            raise Refusal(Code.NOT_IN_STATE, bodies=found.bodies, size=found.size)
        refuse_held(found.holds)
        months = here.policy.parameters.log_retention_months
        if found.months != months:
            raise Refusal(Code.RETENTION_RUNS, announced=found.months, months=months)
        refuse_running(here, found.newest_at, months)
        require_basis(self.legal_basis)
        return Change(
            named=self.asked() | {"notice": found.notice},
            basis=list(self.legal_basis),
            before={"bodies": found.bodies},
            after={"bodies": 0},
            result={**self.asked(), "bodies": found.bodies},
        )
