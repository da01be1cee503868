"""What the service hands a reader beside bundles: the policy file of the verifier."""

from __future__ import annotations

from typing import Any

from service.trail.entry import Genesis
from service.trail.keys import TrailKeys
from service.trail.record import SUBJECT_TYPES

SKEW_US = 5_000_000
"""How far two clocks of the house may be apart."""


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
