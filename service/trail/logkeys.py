"""Which keys sign for the log, and for which sizes of it: read from the log itself (sections 5 and 7).

Entry 0 names the first key. A `key` entry, signed by the old and the new key, lets the new one sign from a size on; the old
one goes on until a notice `key.retired` closes its range. So everyone who holds the config entries knows the ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from service.db import Reader
from service.trail import stored
from service.trail.entry import Genesis, Notice, decode, read_config
from service.trail.kept import undamaged
from service.trail.note import ED25519, KeyChange, Note, Signer, Vkey
from service.trail.record import canonical, parse

RETIRED: Final = "key.retired"
"""Code of the notice that closes the range of a key; its `p` is {"to_size","vkey"}."""

Config = Callable[[int], bytes]
"""Makes the JSON of a config entry, told the index at which it will stand."""


class KeyRange(NamedTuple):
    """A log key and the sizes it may sign: `from_size` included, `to_size` not; None for no end."""

    vkey: Vkey
    from_size: int
    to_size: int | None

    def valid_at(self, size: int) -> bool:
        """Whether the key may sign a tree of this size."""
        return self.from_size <= size and (self.to_size is None or size < self.to_size)


def ranges(configs: Iterable[bytes]) -> list[KeyRange]:
    """The keys of a log by its config entries, in the order in which they came into force."""
    found: dict[Vkey, KeyRange] = {}
    for data in configs:
        body: bytes = getattr(decode(data), "body", b"")
        config = read_config(body)
        if isinstance(config, Genesis):
            found[config.log_key] = KeyRange(config.log_key, 0, None)
        elif isinstance(config, KeyChange):
            found[config.new] = KeyRange(config.new, config.from_size, None)
        elif isinstance(config, Notice) and config.code == RETIRED:
            told: Any = parse(body)["p"]
            vkey = Vkey.parse(told["vkey"], ED25519)
            found[vkey] = found[vkey]._replace(to_size=told["to_size"])
    return list(found.values())


async def read(db: Reader) -> list[KeyRange]:
    """The keys of the log as the database holds it; none before entry 0. Raises Damaged."""
    with undamaged("a config entry of log_entry"):
        return ranges([row["entry"] for row in await stored.sql.configs(db)])


def change(origin: str, old: Signer, new: Signer) -> Config:
    """A `key` entry: from the next size on, `new` signs beside `old`. Signed by both."""

    def body(index: int) -> bytes:
        text = str(KeyChange(origin, old.vkey, new.vkey, index + 1))
        note = Note(text, (old.sign(text), new.sign(text)))
        return canonical({"kind": "key", "note": str(note)})

    return body


def retirement(vkey: Vkey, to_size: int | None = None) -> Config:
    """A notice that a key signs no size from `to_size` on; by default none that holds this notice."""

    def body(index: int) -> bytes:
        closed = index + 1 if to_size is None else to_size
        return canonical({"code": RETIRED, "kind": "notice", "p": {"to_size": closed, "vkey": str(vkey)}})

    return body
