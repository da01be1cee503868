"""person.erase: the values of somebody who is gone for good become unreadable everywhere, and the records stay (S203)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import msgspec

from service.action import Change, Need, Situation, Stand, Subject
from service.caller import Caller
from service.clock import instant_text
from service.domain import staff
from service.domain.operators import Operator
from service.domain.people import Person
from service.domain.registering import PersonAction
from service.domain.retention.facts import Erasable, LegalBasis, refuse_held, refuse_running, require_basis
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.policy import Terms


class ErasePerson(PersonAction, frozen=True, kw_only=True, tag="person.erase"):
    """Erase the personal values of a closed person: in the row, in the records, and what is left of them beside both.

    The record of this act deletes the person's key and every salt and value (migration 0008): what is sealed in older
    copies of the database can then be opened by nobody who has not kept the key as well. The record itself holds no personal
    value, so it takes no note. Six months must have passed since the person left and since the newest such record (S199).
    """

    own_record: ClassVar[bool] = True

    legal_basis: LegalBasis = []

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [*super().needs(caller), Need(Erasable, (self.person_id,))]

    def more(self, here: Situation) -> Sequence[Need]:
        """The operators who are this person."""
        erasable = here.find(Erasable, self.person_id)
        operators = erasable.operators if erasable is not None else ()
        return [Need(Operator, (operator,), write=True) for operator in operators]

    def stand(self, here: Situation) -> Stand:
        person = self.person(here)
        return staff.stand(here, parties=(f"person:{self.person_id}",))._replace(
            jurisdiction=person.jurisdiction,
            version=person.version,
            private=True,
            gone=None if person.erased_at is None else Code.PERSON_CLOSED,
        )

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` (not closed), `legal_hold`, `approval_pending`, `retention_runs`, `basis_missing`."""
        person, erasable = self.person(here), here.get(Erasable, self.person_id)
        if person.closed_at is None:
            raise Refusal(Code.NOT_IN_STATE, state="open")
        refuse_held(erasable.holds)
        if erasable.waiting:
            raise Refusal(Code.APPROVAL_PENDING, approvals=sorted(erasable.waiting)[:20])
        months = here.policy.parameters.log_retention_floor_months
        refuse_running(here, max(person.closed_at, erasable.newest_at or person.closed_at), months)
        require_basis(self.legal_basis)
        erased = Person(
            person_id=person.person_id,
            jurisdiction=person.jurisdiction,
            created_at=person.created_at,
            version=person.version + 1,
            identity_status="withdrawn",
            bot=person.bot,
            closed_at=person.closed_at,
            erased_at=here.at,
        )
        operators = [self._nameless(here.get(Operator, one)) for one in erasable.operators]
        return Change(
            writes=[erased, *operators],
            before={"erased": False, "values": erasable.values},
            after={"erased": True, "values": 0},
            basis=list(self.legal_basis),
            coupled=[
                {"id": place, "what": "operator_erased", "operator": f"operator_{place}"}
                for place, _ in enumerate(operators, 1)
            ],
            about={
                f"operator_{place}": Subject("operator", one.operator_id)
                for place, one in enumerate(operators, 1)
            },
            forgets=[
                Subject("person", self.person_id),
                *(Subject("operator", one.operator_id) for one in operators),
            ],
            result={"erased_at": instant_text(here.at), "version": erased.version},
        )

    @staticmethod
    def _nameless(operator: Operator) -> Operator:
        """An operator who is the person: what it was called and how it was checked goes as well."""
        return msgspec.structs.replace(
            operator,
            version=operator.version + 1,
            name="",
            identity_status="withdrawn",
            identity_methods=[],
            identity_ref=None,
            verified_at=None,
            pending=None,
        )
