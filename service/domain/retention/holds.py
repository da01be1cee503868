"""Legal holds: who says that nothing about a subject may go, why, and who lets go of it (S202)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import msgspec

from service.action import Action, Change, Id, Need, Note, Reason, Situation, Stand, Subject
from service.caller import Caller
from service.domain import staff
from service.domain.retention.facts import Gate, LegalHold
from service.domain.trails import Place, SubjectType
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.policy import Terms


class SetLegalHold(Action, frozen=True, kw_only=True, tag="legal_hold.set"):
    """From now on nothing that concerns this subject is erased, redacted, retired or purged, until the hold is released.

    Several holds may name the same subject; each is released by itself.
    """

    created: ClassVar[bool] = True

    subject_type: SubjectType
    subject_id: Id
    reason: Reason | None = None
    note: Note | None = None

    def target(self, here: Situation) -> Subject:
        """What is held."""
        return Subject(self.subject_type, self.subject_id)

    def needs(self, caller: Caller) -> Sequence[Need]:
        """The subject, and the gate: no deletion is under way while a hold is set."""
        place = Need(Place, (self.subject_type, self.subject_id))
        return [place, Need(Gate, ("hold",), write=True), *staff.needs_of(caller)]

    def stand(self, here: Situation) -> Stand:
        place = here.get(Place, self.subject_type, self.subject_id)
        return staff.stand(here)._replace(jurisdiction=place.jurisdiction)

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses nothing further."""
        hold = LegalHold(
            hold_id=here.record_id,
            subject_type=self.subject_type,
            subject_id=self.subject_id,
            set_by=here.caller.staff_id,
            reason=self.reason or "",
            jurisdiction=here.get(Place, self.subject_type, self.subject_id).jurisdiction,
            from_at=here.at,
        )
        return Change(
            writes=[hold], after={"held": True}, result={"hold_id": hold.hold_id, "version": hold.version}
        )


class ReleaseLegalHold(Action, frozen=True, kw_only=True, tag="legal_hold.release"):
    """What was held may go again, once a second person agrees; other holds on the same subject stay."""

    hold_id: Id
    reason: Reason | None = None
    note: Note | None = None

    def target(self, here: Situation) -> Subject:
        """What was held."""
        hold = here.get(LegalHold, self.hold_id)
        return Subject(hold.subject_type, hold.subject_id)

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [Need(LegalHold, (self.hold_id,), write=True), *staff.needs_of(caller)]

    def stand(self, here: Situation) -> Stand:
        hold = here.get(LegalHold, self.hold_id)
        return staff.stand(here)._replace(jurisdiction=hold.jurisdiction, version=hold.version)

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state`."""
        hold = here.get(LegalHold, self.hold_id)
        if hold.ended_at is not None:
            raise Refusal(Code.NOT_IN_STATE, state="released")
        released = msgspec.structs.replace(
            hold, ended_at=here.at, ended_record=here.record_id, version=hold.version + 1
        )
        return Change(
            writes=[released],
            before={"held": True},
            after={"held": False},
            links=[hold.hold_id],
            result={"hold_id": hold.hold_id, "version": released.version},
        )
