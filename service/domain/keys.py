"""Keys: what callers show. The token is made by whoever asks for the key; the service only ever sees its hash."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from service.rows import Row


class ApiKey(Row, frozen=True, kw_only=True):
    """A key with its scopes: action families, tiers and territories; an empty list means all."""

    table = "api_key"
    key = ("key_id",)

    key_id: str
    prefix: str
    token_sha256: bytes
    kind: Literal["backend", "staff", "regulator"]
    staff_id: str | None = None
    families: list[str] = []
    tiers: list[int] = []
    jurisdictions: list[str] = []
    issued_at: dt.datetime
    expires_at: dt.datetime | None = None
    revoked_at: dt.datetime | None = None
    by_record: str
    version: int = 1

    def holds(self, at: dt.datetime) -> bool:
        """Whether the key may be used at `at`."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


def contains(territory: str, other: str) -> bool:
    """Whether a jurisdiction contains another: CN all of China, xx0000 its xx...., xxyy00 its xxyy.., EU its states."""
    if territory == other or territory == other.split("-", 1)[0]:
        return True
    if not (territory.startswith("CN-") and other.startswith("CN-")):
        return False
    code, inner = territory[3:], other[3:]
    if code.endswith("0000"):
        return inner[:2] == code[:2]
    return code.endswith("00") and inner[:4] == code[:4]
