"""The words of the door: Row, Need, Action, Situation, Stand, Change, Receipt. No behaviour but looking words up."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Protocol, TypeVar

import msgspec

from service.caller import Caller, Relation, Standing
from service.clock import InstantText
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.policy import Policy, Terms

ID_PATTERN = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
Id = Annotated[
    str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:@-]+$", description="Opaque id.")
]
Reason = Annotated[
    str,
    msgspec.Meta(
        max_length=40, pattern=r"^[a-z][a-z0-9_]*$", description="A code of the published list of reasons."
    ),
]
Note = Annotated[
    str,
    msgspec.Meta(
        max_length=2000, description="Free text: sealed, erasable, never in the public part of the record."
    ),
]
Instant = Annotated[dt.datetime, msgspec.Meta(tz=True, description="RFC 3339 instant.")]
Jurisdiction = Annotated[
    str,
    msgspec.Meta(pattern=r"^(CN|CN-[0-9]{6}|EU|EU-[A-Z]{2})$", description="CN, CN-######, EU or EU-XX."),
]


class Subject(NamedTuple):
    """What a record can be about: one of the nine types of trail-format.md section 3, and an id."""

    type: str
    id: str


class Writes(Protocol):
    """A set of writes of one kind, applied in one statement inside the act's transaction."""

    @classmethod
    async def apply(cls, tx: Any, writes: Sequence[Any]) -> None:
        """Write them all."""


class Need(NamedTuple):
    """One row an action must look at. `write` says that it may change it: then nobody else in the set touches it."""

    kind: type[Any]
    key: tuple[Any, ...]
    write: bool = False


class Stand(NamedTuple):
    """What the policy is asked: the caller's standings, the relations that hold, and the target as it is now (S004).

    `version` is the subject's, for callers that expect one (S012). `parties` are the humans with a stake, as `kind:id`: they
    approve nothing here. `private`: a stranger is told `unknown` instead of why he may not.
    `gone`: the target is no more (410); said only after the caller's standing is known, so that it can be recorded.
    """

    standings: tuple[Standing, ...]
    relations: frozenset[Relation]
    tier: int | None = None
    klass: str | None = None
    jurisdiction: str = "CN"
    target_standing: str | None = None
    version: int | None = None
    parties: tuple[str, ...] = ()
    private: bool = False
    gone: Code | None = None


class Effect(NamedTuple):
    """What the IM backend must carry out or know; delivered after commit, in record order."""

    kind: str
    payload: dict[str, Any]


class Deed(NamedTuple):
    """An act that others agreed to, with a record of its own: the act, the situation and stand of who asked, the judgement."""

    action: Action
    here: Situation
    judged: Any


class Follow(msgspec.Struct, frozen=True, kw_only=True):
    """An act of the house's own that follows from another one in the same transaction, with a record of its own.

    It is about the same target, linked to its cause, and decided by the policy like any act of time (`decide.following`).
    `record_id` is `follow_id` of the cause's record, so that rows may name it. `then`, `before`, `after` and `effects` are
    as in a record and a `Change`.
    """

    record_id: str
    act: str
    rule: str
    basis: tuple[str, ...] = ()
    then: dict[str, Any] = {}
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    links: list[str] = []
    effects: list[Effect] = []


_DEED = -1
"""The place of an act that others agreed to among those that follow from the last yes: before them all."""


def follow_id(record_id: str, place: int = 0) -> str:
    """The id of the record of an act that follows from the one with this record: a UUIDv7 of the same instant."""
    mixed = hashlib.sha256(f"{record_id}\0{place}".encode()).hexdigest()
    variant = "89ab"[int(mixed[3], 16) % 4]
    return f"{record_id[:14]}7{mixed[:3]}-{variant}{mixed[4:7]}-{mixed[7:19]}"


class Change(msgspec.Struct, kw_only=True):
    """What an act changes: the rows to write, and what its record and receipt say.

    `before`, `after` and `effects` go into the record's public part: opaque values, no personal ones (format section 4).
    A subject stands in them only by its role, a key of `about` ("person", "old_owner"): the record's public part holds no
    id. `personal` values are committed and sealed under the key of `sealed_for` (default: the person concerned, where the act
    has one beside its target, so that what is said about him goes with his key; else the target). `links` are
    ids of earlier records it follows from. `coupled` lists what else changed by it. `result` is for the caller's receipt.
    `persons` overrides how many humans the matched rule asks for. `named` are further members of the record's `p` that the
    trail format names. `forgets`: whose keys are gone with the act, from memory too. `deed`: what this yes set going, where
    that is a record of its own.
    `follows` are acts of the house's own that it brings about.
    """

    writes: list[Any] = []
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    coupled: list[dict[str, Any]] = []
    personal: dict[str, Any] = {}
    sealed_for: Subject | None = None
    named: dict[str, Any] = {}
    forgets: list[Subject] = []
    deed: Deed | None = None
    about: dict[str, Subject] = {}
    links: list[str] = []
    basis: list[str] = []
    result: dict[str, Any] = {}
    effects: list[Effect] = []
    persons: int | None = None
    follows: list[Follow] = []


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a governed act. `outcome` is `done`, or `proposed` when more people must agree first."""

    record_id: str
    action: str
    outcome: str
    at: InstantText
    target: dict[str, str]
    rule: str
    edition: str
    result: dict[str, Any] = {}
    batch: str = ""


class _Looked(Protocol):
    @classmethod
    def noun(cls) -> str: ...


R = TypeVar("R", bound=_Looked)


class Situation:
    """The facts of one act, read after its transaction began (S003), with the instant, the caller and the edition."""

    __slots__ = ("at", "caller", "facts", "policy", "record_id")

    def __init__(
        self,
        *,
        caller: Caller,
        at: dt.datetime,
        record_id: str,
        policy: Policy,
        facts: dict[type[Any], dict[tuple[str, ...], Any]],
    ) -> None:
        self.caller = caller
        self.at = at
        self.record_id = record_id
        self.policy = policy
        self.facts = facts

    def find(self, kind: type[R], *key: str) -> R | None:
        """Return the row that was looked at, or None where there is none. KeyError: the action did not ask for it."""
        return self.facts[kind][key]

    def get(self, kind: type[R], *key: str) -> R:
        """Return the row; refuse with `unknown` where there is none."""
        row = self.facts[kind][key]
        if row is None:
            raise Refusal(Code.UNKNOWN, kind=kind.noun())
        return row

    def seen_as(self, caller: Caller, *, own_record: bool = False) -> Situation:
        """The same facts for another caller: how an approved proposal is decided again (S115).

        `own_record`: the act has a record of its own beside the last yes (`Action.own_record`).
        """
        record_id = follow_id(self.record_id, _DEED) if own_record else self.record_id
        return Situation(caller=caller, at=self.at, record_id=record_id, policy=self.policy, facts=self.facts)


class Action(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="action"):
    """One governed act: knows which rows it must look at and what it changes; nothing of HTTP, Casbin or the trail.

    Verbs are promises: `needs` and `more` only name rows, `stand` says who the caller is to the target and refuses
    what is not there (404, 410), `change` is pure: it refuses (409, 428, 422) or says what to write.
    """

    #: S012: the act demands an expected version of its subject.
    demands_version: ClassVar[bool] = False
    #: Status of the answer when done.
    created: ClassVar[bool] = False
    #: Members whose texts are kept byte for byte: neither brought into NFC nor refused for ending in a newline.
    verbatim: ClassVar[frozenset[str]] = frozenset()
    #: Where the key reaches is part of the act's own relation `in_scope`, refused as `outside_scope` (S189).
    scoped: ClassVar[bool] = False
    #: Agreed to, it is a record of its own beside the last yes: a deletion stands in the log under its own name (format 9.1).
    own_record: ClassVar[bool] = False

    def target(self, here: Situation) -> Subject:
        """What the act is about."""
        raise NotImplementedError

    def about(self, here: Situation) -> dict[str, Subject]:
        """Every further subject its record concerns, by its role (`group`, `person`)."""
        return {}

    def asked(self) -> dict[str, Any]:
        """The public, non-personal parameters that the record keeps, also of a refusal."""
        return {}

    def needs(self, caller: Caller) -> Sequence[Need]:
        """The rows to lock and read."""
        raise NotImplementedError

    def more(self, here: Situation) -> Sequence[Need]:
        """Rows known only after the first look; most acts have none."""
        return ()

    def stand(self, here: Situation) -> Stand:
        """Who the caller is to the target. Raises Refusal (404, 410)."""
        raise NotImplementedError

    def change(self, here: Situation, terms: Terms) -> Change:
        """What the act writes. Pure. Raises Refusal (403 of the domain, 409, 428, 422)."""
        raise NotImplementedError

    def form(self, policy: Policy) -> None:
        """Refuse what no facts could make right (400). Called before anything is looked at."""

    def why(self) -> tuple[str | None, str | None]:
        """The reason code and the note, where the act has them."""
        return getattr(self, "reason", None), getattr(self, "note", None)


def action_name(action: Action | type[Action]) -> str:
    """`noun.verb`: the one name of the action in policy, record, API and test."""
    return _name_of(action if isinstance(action, type) else type(action))


@cache
def _name_of(kind: type[Action]) -> str:
    return str(kind.__struct_config__.tag)


def actions() -> dict[str, type[Action]]:
    """Every action of the house by name; the nouns must have been imported."""
    found: dict[str, type[Action]] = {}
    kinds = list(Action.__subclasses__())
    while kinds:
        kind = kinds.pop()
        kinds.extend(kind.__subclasses__())
        if isinstance(kind.__struct_config__.tag, str) and "." in kind.__struct_config__.tag:
            found[action_name(kind)] = kind
    return dict(sorted(found.items()))
