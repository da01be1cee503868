"""Bars: people kept out of one group (S037, S038)."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from service.rows import Row


class Bar(Row, frozen=True, kw_only=True):
    """A person kept out of one group; holds while `until` >= now; `until` null: for good."""

    table = "bar"
    key = ("by_record",)
    look_key = ("group_id", "person_id")
    only = "t.ended_at IS NULL"

    by_record: str
    group_id: str
    person_id: str
    from_at: dt.datetime
    until: dt.datetime | None
    by_rank: int
    supersedes: str | None = None
    ended_at: dt.datetime | None = None
    ended_how: Literal["superseded", "unbarred", "lapsed", "dissolved"] | None = None
    ended_record: str | None = None
