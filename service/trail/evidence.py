"""What the service hands a reader beside bundles: the policy file of the verifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from service.trail.entry import Genesis
from service.trail.keys import TrailKeys
from service.trail.logkeys import KeyRange
from service.trail.note import Vkey
from service.trail.record import SUBJECT_TYPES

SKEW_US = 5_000_000
"""How far two clocks of the house may be apart."""


class Trusted(NamedTuple):
    """Who stands for the log beside its service: keys by size, witnesses, and how many of these a reader should demand."""

    log_keys: Sequence[KeyRange]
    witnesses: Sequence[Vkey] = ()
    quorum: int = 0


def trust_policy(genesis: Genesis, trusted: Trusted, keys: TrailKeys | None = None) -> dict[str, Any]:
    """The policy file of the verifier for this log. With `keys` it holds the secret tag keys. Section 10.

    It asks for no state: a reader sets `require_state`, and `quorum` as he trusts the witnesses.
    """
    tag_keys = {} if keys is None else {kind: keys.tag_key(kind).hex() for kind in SUBJECT_TYPES}
    return {
        "log_keys": [
            {"from_size": one.from_size, "to_size": one.to_size, "vkey": str(one.vkey)}
            for one in trusted.log_keys
        ],
        "min_time_us": None,
        "mmd_us": genesis.mmd_us,
        "origin": genesis.origin,
        "quorum": trusted.quorum,
        "receipt_keys": [str(genesis.receipt_key)],
        "require_complete": False,
        "require_state": False,
        "skew_us": SKEW_US,
        "tag_keys": tag_keys,
        "witnesses": [str(one) for one in trusted.witnesses],
    }
