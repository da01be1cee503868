"""The keys of this house: loaded at each start, and held against what was wrapped under them before."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from service.db import Db, queries
from service.trail.beginning import entry_0, refuse_other
from service.trail.fields import FIELD_PURPOSE, SealError
from service.trail.keys import KeysError, TrailKeys

sql = queries(__file__)

WEBHOOK_PURPOSE: Final = "webhook.secret"
"""What a webhook's secret is wrapped for."""


def webhook_tag(webhook_id: str) -> bytes:
    """The 32 bytes that bind a wrapped secret to its webhook, which is no subject of the log."""
    return hashlib.sha256(b"webhook\n" + webhook_id.encode()).digest()


async def own_keys(db: Db, folder: Path, *, may_create: bool = False) -> TrailKeys:
    """The keys in `folder`, made there first where there are none and `may_create`.

    Raises KeysError, also where the master key is another house's: what is sealed under it would be lost once the right
    one is back; and LogRefused where the tag keys are another log's.
    """
    keys = TrailKeys.load_or_create(folder, may_create=may_create)
    async with db.read() as reader:
        stored = await sql.wrapped_keys(reader)
        # One that opens is enough: a row that somebody changed must not keep the right key out.
        if not stored or any(_opens(keys, row["type"], row["id"], row["wrapped"]) for row in stored):
            return keys
        # Keys of subjects are bound to their tags: other tag keys open none of them either, and are named first.
        genesis = await entry_0(reader)
    if genesis is not None:
        refuse_other(genesis, genesis.origin, keys)
    raise KeysError(
        folder / "master.key",
        "is the key of another house, for it opens none of the keys stored in the database",
        "put back the copy of this house's key, or point MANDATE_DATA to where it is",
    )


def _opens(keys: TrailKeys, kind: str | None, name: str, wrapped: bytes) -> bool:
    purpose, tag = (
        (WEBHOOK_PURPOSE, webhook_tag(name)) if kind is None else (FIELD_PURPOSE, keys.tag(kind, name))
    )
    try:
        keys.keyring.unwrap(wrapped, purpose=purpose, tag=tag)
    except SealError:
        return False
    return True
