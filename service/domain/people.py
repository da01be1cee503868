"""People: IM users by opaque id, their identity status and the terms they accepted (domain.md (c) Person)."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from service.rows import Row, subject

IdentityStatus = Literal["unverified", "verified", "failed", "withdrawn"]
Known = Literal["yes", "no", "unknown"]


@subject
class Person(Row, frozen=True, kw_only=True):
    """An IM user. No field holds a name, number, document, face or address (P1)."""

    table = "person"
    key = ("person_id",)
    reading = "read"

    person_id: str
    jurisdiction: str
    created_at: dt.datetime
    version: int = 1
    identity_status: IdentityStatus = "unverified"
    identity_methods: list[str] = []
    identity_ref: str | None = None
    verified_at: dt.datetime | None = None
    minor: Known = "unknown"
    bot: bool = False
    seen_at: dt.datetime | None = None
    terms_accepted: list[dict[str, str]] = []
    closed_at: dt.datetime | None = None
    erased_at: dt.datetime | None = None
