"""Reading the memory: each look into a trail, a record or a chain of responsibility is itself an act (S021, S189)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import msgspec

from service.action import Action, Change, Id, Need, Situation, Stand, Subject
from service.caller import Caller, Relation
from service.clock import InstantText
from service.db import queries
from service.domain import staff
from service.domain.keys import ApiKey, contains
from service.errors import Code, Refusal
from service.rows import Row

if TYPE_CHECKING:
    from service.policy import Policy, Terms

sql = queries(__file__)
SubjectType = Literal[
    "person", "group", "account", "operator", "case", "campaign", "order", "staff", "jurisdiction"
]
Purpose = Annotated[str, msgspec.Meta(max_length=500, description="What the look is for: sealed, kept.")]
View = Literal["trail", "record", "responsibility"]
_TERRITORY = re.compile(r"CN|CN-[0-9]{6}|EU|EU-[A-Z]{2}")
_SHORTEST_PURPOSE = 3
_WHOLE = "CN"


class Place(Row, frozen=True, kw_only=True):
    """In which territory a subject lies; there is no row where nobody knows the subject. Looked at, never written."""

    table = "record"
    key = ("type", "id")

    type: str
    id: str
    jurisdiction: str

    @classmethod
    def noun(cls) -> str:
        """Callers ask for a subject."""
        return "subject"

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
    from_at: InstantText | None = None
    to_at: InstantText | None = None
    at: InstantText | None = None
    page: Literal["next"] | None = None


class Look(Action, frozen=True, kw_only=True):
    """What reading and exporting have in common: whose trail, for what, and who may.

    Staff look inside the territory of their post and key. An authority looks inside the territories of its key, and
    nowhere with a key that has none (S189).
    """

    scoped: ClassVar[bool] = True

    subject_type: SubjectType
    subject_id: Id
    purpose: Purpose | None = None

    def target(self, here: Situation) -> Subject:
        """The subject whose trail it is."""
        return Subject(self.subject_type, self.subject_id)

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [Need(Place, (self.subject_type, self.subject_id)), *staff.needs_of(caller)]

    def stand(self, here: Situation) -> Stand:
        """Staff and authorities learn that a subject is unknown; nobody else learns whether it exists."""
        stood = staff.stand(here)
        if here.caller.kind not in {"staff", "regulator"}:
            return stood._replace(relations=stood.relations - {Relation.IN_SCOPE})
        jurisdiction = self.place(here)
        relations = stood.relations - {Relation.IN_SCOPE}
        if self._in_scope(here, jurisdiction):
            relations |= {Relation.IN_SCOPE}
        return stood._replace(relations=relations, jurisdiction=jurisdiction)

    def place(self, here: Situation) -> str:
        """The territory in which the subject lies. Raises Refusal `unknown`."""
        return here.get(Place, self.subject_type, self.subject_id).jurisdiction

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
            raise Refusal(
                Code.PURPOSE_MISSING,
                pointer="purpose",
                why=f"say what it is read for, in {_SHORTEST_PURPOSE} characters or more",
            )
        return Change(
            personal={"purpose": purpose},
            sealed_for=Subject("staff", here.caller.staff_id),
            links=self.follows(),
        )

    def follows(self) -> list[str]:
        """The earlier records that the look is at."""
        return []


class ReadTrail(Look, frozen=True, kw_only=True, tag="trail.read"):
    """Look at what the memory holds of one subject, for a purpose; the look is on the record, and in that same trail."""

    view: View = "trail"
    record_id: Id | None = None
    looked: Looked = Looked()

    def about(self, here: Situation) -> dict[str, Subject]:
        """The actor whose acts are looked for."""
        if self.looked.actor_type is None or self.looked.actor_id is None:
            return {}
        return {"looked_for": Subject(self.looked.actor_type, self.looked.actor_id)}

    def asked(self) -> dict[str, Any]:
        narrowed = msgspec.to_builtins(self.looked)
        narrowed.pop("actor_id", None)
        return {"view": self.view, **narrowed}

    def follows(self) -> list[str]:
        return [] if self.record_id is None else [self.record_id]


class ExportTrail(Look, frozen=True, kw_only=True, tag="trail.export"):
    """Take the evidence bundle of one subject away, for a purpose; what is taken is on the record, and in that same trail.

    `from_record` and `to_record` take records number a to b-1 of the subject only; `old_size` is the log's size that the
    reader checked last; `log` the name of a log that was ended, whose last checkpoint counts then. A subject that nobody here knows can be asked for too, by those whose territory is the whole
    country: that it has no records is evidence as well.
    """

    from_record: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)] | None = None
    to_record: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)] | None = None
    old_size: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)] | None = None
    log: Annotated[str, msgspec.Meta(pattern=r"^[^\s+]{1,255}$")] | None = None

    def asked(self) -> dict[str, Any]:
        ended = {} if self.log is None else {"log": self.log}
        if self.to_record is None:
            return ended
        return ended | {"from_record": self.from_record, "to_record": self.to_record}

    def form(self, policy: Policy) -> None:
        """A range has two ends, in their order."""
        given = (self.from_record is not None, self.to_record is not None)
        if given == (True, True) and (self.from_record or 0) > (self.to_record or 0):
            raise Refusal(Code.MALFORMED, pointer="/to_record", why="before from_record")
        if given[0] != given[1]:
            pointer = "/to_record" if given[0] else "/from_record"
            raise Refusal(Code.MALFORMED, pointer=pointer, why="the two go together")

    def place(self, here: Situation) -> str:
        known = here.find(Place, self.subject_type, self.subject_id)
        return _WHOLE if known is None else known.jurisdiction
