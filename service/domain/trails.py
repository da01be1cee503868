"""Reading the memory: each look into a trail, a record or a chain of responsibility is itself an act (S021, S189)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import msgspec

from service.action import Action, Change, Id, Need, Situation, Stand, Subject
from service.caller import Caller, Relation
from service.db import queries
from service.domain import staff
from service.domain.keys import ApiKey, contains
from service.errors import Code, Refusal
from service.rows import Row

if TYPE_CHECKING:
    from service.policy import Terms

sql = queries(__file__)
SubjectType = Literal[
    "person", "group", "account", "operator", "case", "campaign", "order", "staff", "jurisdiction"
]
Purpose = Annotated[str, msgspec.Meta(max_length=500, description="What the look is for: sealed, kept.")]
View = Literal["trail", "record", "responsibility"]
_TERRITORY = re.compile(r"CN|CN-[0-9]{6}|EU|EU-[A-Z]{2}")
_SHORTEST_PURPOSE = 3


class Place(Row, frozen=True, kw_only=True):
    """In which territory a subject lies; there is no row where nobody knows the subject. Looked at, never written."""

    table = "record"
    key = ("type", "id")

    type: str
    id: str
    jurisdiction: str

    @classmethod
    async def look(
        cls, db: Any, keys: Sequence[tuple[str, ...]], *, lock: str = "read"
    ) -> Mapping[tuple[str, ...], Self]:
        """Read the territories; nothing is locked, for reading a trail holds nobody up."""
        del lock
        types, ids = [key[0] for key in keys], [key[1] for key in keys]
        rows = await sql.places(db, types=types, ids=ids)
        found = {(row["type"], row["id"]): cls(**row) for row in rows}
        for kind, name in keys:
            if kind == "jurisdiction" and _TERRITORY.fullmatch(name):
                found[kind, name] = cls(type=kind, id=name, jurisdiction=name)
        return found


class Looked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a reader narrowed his look to; public, so that the record of the read can say it."""

    actor_type: SubjectType | None = None
    actor_id: Id | None = None
    action: str | None = None
    outcome: Literal["done", "refused", "proposed"] | None = None
    reason: str | None = None
    rule: str | None = None
    from_at: str | None = None
    to_at: str | None = None
    at: str | None = None
    page: Literal["next"] | None = None


class ReadTrail(Action, frozen=True, kw_only=True, tag="trail.read"):
    """Look at what the memory holds of one subject, for a purpose; the look is on the record, and in that same trail.

    Staff read inside the territory of their post and key. An authority reads inside the territories of its key, and
    nothing with a key that has none (S189).
    """

    scoped: ClassVar[bool] = True

    subject_type: SubjectType
    subject_id: Id
    view: View = "trail"
    record_id: Id | None = None
    looked: Looked = Looked()
    purpose: Purpose | None = None

    def target(self, here: Situation) -> Subject:
        """The subject whose trail it is."""
        return Subject(self.subject_type, self.subject_id)

    def about(self, here: Situation) -> dict[str, Subject]:
        """The actor whose acts are looked for."""
        if self.looked.actor_type is None or self.looked.actor_id is None:
            return {}
        return {"looked_for": Subject(self.looked.actor_type, self.looked.actor_id)}

    def asked(self) -> dict[str, Any]:
        narrowed = msgspec.to_builtins(self.looked)
        narrowed.pop("actor_id", None)
        return {"view": self.view, **narrowed}

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [Need(Place, (self.subject_type, self.subject_id)), *staff.needs_of(caller)]

    def stand(self, here: Situation) -> Stand:
        """Staff and authorities learn that a subject is unknown; nobody else learns whether it exists."""
        stood = staff.stand(here)
        if here.caller.kind not in {"staff", "regulator"}:
            return stood._replace(relations=stood.relations - {Relation.IN_SCOPE})
        place = here.get(Place, self.subject_type, self.subject_id)
        relations = stood.relations - {Relation.IN_SCOPE}
        if self._in_scope(here, place.jurisdiction):
            relations |= {Relation.IN_SCOPE}
        return stood._replace(relations=relations, jurisdiction=place.jurisdiction)

    def _in_scope(self, here: Situation, jurisdiction: str) -> bool:
        key = here.get(ApiKey, here.caller.key_id)
        if not key.jurisdictions:
            opened = here.caller.kind == "staff"
        else:
            opened = any(contains(one, jurisdiction) for one in key.jurisdictions)
        return opened and contains(here.get(staff.Staff, here.caller.staff_id).jurisdiction, jurisdiction)

    def change(self, here: Situation, terms: Terms) -> Change:
        """Changes nothing. Refuses `purpose_missing`."""
        del terms
        purpose = (self.purpose or "").strip()
        if len(purpose) < _SHORTEST_PURPOSE or not any(char.isalnum() for char in purpose):
            raise Refusal(Code.PURPOSE_MISSING, pointer="purpose")
        return Change(
            personal={"purpose": purpose},
            sealed_for=Subject("staff", here.caller.staff_id),
            links=[] if self.record_id is None else [self.record_id],
        )
