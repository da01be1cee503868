"""Editions of the policy: adopted by two people, in force from a date, kept whole for ever (S005, edition.adopt)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import msgspec

from service.action import Action, Change, Instant, Need, Note, Reason, Situation, Stand, Subject
from service.caller import Caller
from service.clock import instant_text
from service.domain import staff
from service.errors import Code, Refusal
from service.policy import digest
from service.rows import Row

if TYPE_CHECKING:
    from service.policy import Policy, Terms

LEAD = dt.timedelta(seconds=10)
"""An edition comes into force no sooner: by then every process has read it."""


class Edition(Row, frozen=True, kw_only=True):
    """An adopted edition: the digest of its files, from when it is in force, and the files themselves."""

    table = "edition"
    key = ("digest",)
    appended = True

    digest: str
    effective_at: dt.datetime
    adopted_record: str
    files: dict[str, str]


class LatestEdition(Row, frozen=True, kw_only=True):
    """The edition that comes into force last. Looked at, never written."""

    table = "edition"
    key = ("singleton",)

    singleton: str
    digest: str
    effective_at: dt.datetime

    @classmethod
    async def look(
        cls, db: Any, keys: Sequence[tuple[str, ...]], *, lock: str = "read"
    ) -> Mapping[tuple[str, ...], Self]:
        """Read it; the unique index on `effective_at` settles races."""
        del lock
        found = await db.fetchrow(
            "SELECT digest, effective_at FROM edition ORDER BY effective_at DESC LIMIT 1"
        )
        return (
            {}
            if found is None
            else {key: cls(singleton=key[0], digest=found[0], effective_at=found[1]) for key in keys}
        )


class AdoptEdition(Action, frozen=True, kw_only=True, tag="edition.adopt"):
    """Adopt an edition of the policy from a coming instant on. Its files have been checked before the door is asked."""

    created: ClassVar[bool] = True
    verbatim: ClassVar[frozenset[str]] = frozenset({"files"})

    digest: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$", description="SHA-256 over the files.")]
    effective_at: Instant
    files: Annotated[
        dict[str, str],
        msgspec.Meta(max_length=20, description="Name and text of every file of the policy folder."),
    ]
    reason: Reason | None = None
    note: Note | None = None

    def target(self, here: Situation) -> Subject:
        """The platform's whole territory."""
        del here
        return Subject("jurisdiction", "CN")

    def asked(self) -> dict[str, str]:
        return {"edition": self.digest, "effective_at": instant_text(self.effective_at)}

    def form(self, policy: Policy) -> None:
        """The digest is of these files. Refuses `malformed`."""
        if digest({name: text.encode() for name, text in self.files.items()}) != self.digest:
            raise Refusal(Code.MALFORMED, pointer="/digest", why="not the digest of these files")

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [
            Need(Edition, (self.digest,), write=True),
            Need(LatestEdition, ("",), write=True),
            *staff.needs_of(caller),
        ]

    def stand(self, here: Situation) -> Stand:
        return staff.stand(here)

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `already_exists` (this very edition was adopted), `backdated` (in force before it can be known)."""
        del terms
        if here.find(Edition, self.digest) is not None:
            raise Refusal(Code.ALREADY_EXISTS)
        latest = here.find(LatestEdition, "")
        earliest = self.effective_at if latest is None else max(here.at + LEAD, latest.effective_at)
        if self.effective_at < earliest or (latest is not None and self.effective_at == latest.effective_at):
            raise Refusal(Code.BACKDATED, pointer="/effective_at", earliest=instant_text(earliest))
        edition = Edition(
            digest=self.digest,
            effective_at=self.effective_at,
            adopted_record=here.record_id,
            files=self.files,
        )
        return Change(
            writes=[edition],
            before={} if latest is None else {"edition": latest.digest},
            after={"edition": self.digest, "effective_at": instant_text(self.effective_at)},
            result={"edition": self.digest, "effective_at": instant_text(self.effective_at)},
        )
