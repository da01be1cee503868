"""Requests to join and invitations: what waits for the other side."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Literal

import msgspec

from service.action import Situation
from service.rows import Row

if TYPE_CHECKING:
    from service.policy import Policy

Ended = Literal["admitted", "joined", "turned_away", "lapsed", "barred", "dissolved"]


class JoinRequest(Row, frozen=True, kw_only=True):
    """A request to join, waiting for owner or admin; with `invited_by`, an invitation, waiting for the person."""

    table = "join_request"
    key = ("by_record",)
    look_key = ("group_id", "person_id")
    only = "t.ended_at IS NULL"

    by_record: str
    group_id: str
    person_id: str
    invited_by: str | None = None
    at: dt.datetime
    ended_at: dt.datetime | None = None
    ended_how: Ended | None = None
    ended_record: str | None = None

    def ended(self, here: Situation, how: Ended) -> JoinRequest:
        """The request, ended by this act."""
        return msgspec.structs.replace(self, ended_at=here.at, ended_how=how, ended_record=here.record_id)

    def lapses_at(self, policy: Policy) -> dt.datetime:
        """Until when, inclusive, it may be answered."""
        return self.at + dt.timedelta(days=policy.parameters.admit_request_lapse_d)
