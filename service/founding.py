"""The first start: the first edition, the first staff and the first keys, each on the record (rule `founding`)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from service.action import Action
from service.caller import Caller
from service.clock import Clock
from service.db import Db, queries
from service.domain.editions import AdoptEdition
from service.domain.keys import IssueKey
from service.domain.staff import AppointStaff, Office
from service.door import Door
from service.editions import Editions

sql = queries(__file__)


class Founder(NamedTuple):
    """A first member of staff, or an authority's reader, with what he holds."""

    staff_id: str
    holds: Sequence[Office]
    person_id: str | None = None


class FreshKey(NamedTuple):
    """A key and its token, which is shown once and kept nowhere."""

    key_id: str
    kind: str
    holder: str
    token: str


class FoundingError(Exception):
    """The house was founded before, or could not be."""


def new_token() -> tuple[str, str, str]:
    """Make a token of 256 random bits; return it, its prefix and its SHA-256 in hex."""
    prefix = f"mk_{secrets.token_hex(4)}"
    token = f"{prefix}_{secrets.token_urlsafe(32)}"
    return token, prefix, hashlib.sha256(token.encode()).hexdigest()


async def adopt_first_edition(door: Door, editions: Editions, clock: Clock) -> None:
    """Put the policy folder's edition in force where none is yet. Two processes may try; one does."""
    if not editions.founding:
        return
    files = {name: data.decode() for name, data in editions.folder.files.items()}
    act = AdoptEdition(digest=editions.folder.edition, effective_at=clock.now(), files=files)
    await door.act(act, caller=Caller.founding())
    await editions.refresh()


async def is_founded(db: Db) -> bool:
    """Whether there is any staff."""
    async with db.read() as reader:
        return bool(await sql.is_founded(reader))


async def found(door: Door, db: Db, staff: Sequence[Founder], backends: Sequence[str]) -> list[FreshKey]:
    """Appoint the first staff and issue one key to each and to each backend. Raises FoundingError if there is staff."""
    if await is_founded(db):
        raise FoundingError("there is staff already; use key.issue and staff.appoint, by two people")
    fresh: list[FreshKey] = []
    for one in staff:
        for standing in one.holds:
            await _do(door, AppointStaff(staff_id=one.staff_id, standing=standing, person_id=one.person_id))
        kind = "regulator" if "regulator" in one.holds else "staff"
        fresh.append(await _issue(door, one.staff_id, kind, one.staff_id))
    for name in backends:
        fresh.append(await _issue(door, name, "backend", None))
    return fresh


async def _issue(door: Door, key_id: str, kind: str, staff_id: str | None) -> FreshKey:
    token, prefix, digest = new_token()
    members = {"key_id": key_id, "kind": kind, "staff_id": staff_id, "token_sha256": digest, "prefix": prefix}
    await _do(door, msgspec.convert(members, IssueKey))
    return FreshKey(key_id, kind, staff_id or key_id, token)


async def _do(door: Door, action: Action) -> None:
    answer = await door.act(action, caller=Caller.founding())
    if answer.outcome != "done":
        raise FoundingError(answer.body.decode())
