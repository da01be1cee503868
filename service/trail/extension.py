"""What a log asks a witness: to cosign a checkpoint that extends the one it saw before (C2SP tlog-witness, section 8).

The same bytes go over HTTP to `<prefix>/add-checkpoint`, or in a file to a witness without a network.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.trail.merkle import HASH_BYTES
from service.trail.note import LARGEST_SIZE, NOTE_BYTES, from_base64, to_base64

MOST_HASHES: Final = 63
MOST_BYTES: Final = 32 + MOST_HASHES * 45 + 1 + NOTE_BYTES
"""Longest request: the line of the old size, the proof, an empty line, the checkpoint."""
SIZE_MEDIA: Final = "text/x.tlog.size"
"""Type of an answer that only tells the size the witness saw last."""

_OLD = re.compile(r"old (0|[1-9][0-9]{0,15})")


class ExtensionError(ValueError):
    """Not the bytes of such a request."""


@dataclass(frozen=True, slots=True)
class Extension:
    """A signed checkpoint, the size the witness is thought to have seen last (0: none), and the proof between them."""

    old_size: int
    proof: Sequence[bytes]
    note: str

    def __bytes__(self) -> bytes:
        hashes = "".join(f"{to_base64(one)}\n" for one in self.proof)
        return f"old {self.old_size}\n{hashes}\n{self.note}".encode()

    @classmethod
    def parse(cls, data: bytes) -> Extension:
        """The request with these bytes; that its note is a checkpoint is not looked at. Raises ExtensionError."""
        if len(data) > MOST_BYTES:
            raise ExtensionError(f"longer than {MOST_BYTES} bytes")
        try:
            head, empty, note = data.decode().partition("\n\n")
        except UnicodeDecodeError:
            raise ExtensionError("not UTF-8") from None
        first, *lines = head.split("\n")
        old = _OLD.fullmatch(first)
        if not empty or not old or int(old[1]) > LARGEST_SIZE:
            raise ExtensionError(
                "begins with no line `old <size>`, or has no empty line before the checkpoint"
            )
        if len(lines) > MOST_HASHES:
            raise ExtensionError(f"more than {MOST_HASHES} hashes")
        try:
            proof = [from_base64(line, HASH_BYTES) for line in lines]
        except ValueError:
            raise ExtensionError("a line of the proof is no hash in base64") from None
        return cls(int(old[1]), proof, note)
