"""Caller: who asks, for which person, with which key. Standing is never in it: it is found each time (domain.md (b))."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

import msgspec


class Standing(StrEnum):
    """What the caller is for one act; the closed list of twelve (domain.md (b))."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    STRANGER = "stranger"
    BACKEND = "backend"
    MODERATOR = "moderator"
    CLASSIFIER = "classifier"
    APPROVER = "approver"
    COMPLIANCE = "compliance"
    AUDITOR = "auditor"
    REGULATOR = "regulator"
    SWEEP = "sweep"


PEOPLE_STANDINGS = (Standing.OWNER, Standing.ADMIN, Standing.MEMBER, Standing.STRANGER)
STAFF_STANDINGS = (
    Standing.MODERATOR,
    Standing.CLASSIFIER,
    Standing.APPROVER,
    Standing.COMPLIANCE,
    Standing.AUDITOR,
)


class Relation(StrEnum):
    """What the caller is to the target; found by look, asked by the policy (domain.md (b))."""

    HERE = "here"
    LOWER = "lower"
    SELF = "self"
    OWN = "own"
    AFFECTED = "affected"
    APART = "apart"
    UNINVOLVED = "uninvolved"
    IN_SCOPE = "in_scope"
    ANY = "any"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: the key, and the person acted for or the staff member or authority the key is bound to (S020).

    `kind` is `backend` (an IM platform's key, in its own name), `person` (such a key acting for a person), `staff`,
    `regulator`, `sweep` (time) or `founding` (the first start, before there is any staff).
    """

    kind: Literal["backend", "person", "staff", "regulator", "sweep", "founding"]
    key_id: str = ""
    person_id: str = ""
    staff_id: str = ""

    @classmethod
    def sweep(cls) -> Self:
        """Time itself (S015)."""
        return cls(kind="sweep")

    @classmethod
    def founding(cls) -> Self:
        """The first start, which appoints the first staff and issues the first keys; refused once they exist."""
        return cls(kind="founding")

    @property
    def human(self) -> str:
        """The human or authority who acts, as `kind:id`; empty for machines. Two standings of one human are equal."""
        if self.kind == "person":
            return f"person:{self.person_id}"
        if self.kind in {"staff", "regulator"}:
            return f"staff:{self.staff_id}"
        return ""
