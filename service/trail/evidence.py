"""What the service hands a reader beside bundles: receipts, and the policy file of the verifier."""

from __future__ import annotations

from typing import Any

from service.trail.entry import Genesis
from service.trail.keys import TrailKeys
from service.trail.note import Note, Promise, Signer, to_base64
from service.trail.record import SUBJECT_TYPES, canonical, read_record, record_hash

SKEW_US = 5_000_000
"""How far two clocks of the house may be apart."""


def receipt(genesis: Genesis, keys: TrailKeys, body: bytes) -> bytes:
    """The receipt of the record with these bytes, as canonical JSON; always the same bytes. Section 4.2."""
    told = read_record(body)
    promise = Promise(genesis.origin, told["id"], record_hash(body), told["ts_us"], genesis.mmd_us)
    text = str(promise)
    signer = Signer(genesis.receipt_key.name, keys.receipt_seed)
    note = str(Note(text, (signer.sign(text),)))
    return canonical({"kind": "receipt", "note": note, "record": to_base64(body)})


def trust_policy(genesis: Genesis, keys: TrailKeys | None = None) -> dict[str, Any]:
    """The policy file of the verifier for this log. With `keys` it holds the secret tag keys. Section 10.

    It asks for no witness and no state: a reader sets `quorum`, `witnesses` and `require_state` as he has them.
    """
    tag_keys = {} if keys is None else {kind: keys.tag_key(kind).hex() for kind in SUBJECT_TYPES}
    return {
        "log_keys": [{"from_size": 0, "to_size": None, "vkey": str(genesis.log_key)}],
        "min_time_us": None,
        "mmd_us": genesis.mmd_us,
        "origin": genesis.origin,
        "quorum": 0,
        "receipt_keys": [str(genesis.receipt_key)],
        "require_complete": False,
        "require_state": False,
        "skew_us": SKEW_US,
        "tag_keys": tag_keys,
        "witnesses": [],
    }
