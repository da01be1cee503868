"""Changing the log key without a break: the new key signs beside the old one for a while, then the old one ends (section 7).

Each step is an entry of the log, so that whoever holds its config entries knows which key counts for which sizes.
"""

from __future__ import annotations

from pathlib import Path

from service.db import Db
from service.trail import keys, logkeys, stored
from service.trail.kept import LogRefused
from service.trail.logkeys import KeyRange
from service.trail.note import Signer
from service.trail.sequencer import Sequencer


async def rotate(db: Db, sequencer: Sequencer, folder: Path) -> KeyRange:
    """Make a new log key and let it sign beside the old one from now on; return it.

    Cut off before its entry is in the log, the next call takes up the same key. Raises LogRefused, KeysError.
    """
    origin = sequencer.origin
    old = Signer(origin, keys.read_seed(folder / "log.key"))
    current = await _open(db)
    if len(current) > 1:
        raise LogRefused("a rotation is under way: end it first with `mandate keys trail retire`")
    if [one.vkey for one in current] != [old.vkey]:
        raise LogRefused(f"{folder / 'log.key'} is not the key of the log; put back the copy of the folder")
    new = Signer(origin, keys.make_next_log_key(folder))
    await sequencer.add(logkeys.change(origin, old, new))
    return (await _open(db))[-1]


async def retire(db: Db, sequencer: Sequencer, folder: Path, to_size: int | None = None) -> list[KeyRange]:
    """End the older of two log keys, and put the newer one in its place in the folder; return all ranges.

    `to_size`: for a stolen key, the first size at which it counts no more, such as the last witnessed one plus 1; by default
    it counts for all that is signed so far. Cut off before the files are changed, the next call changes them. Raises
    LogRefused, KeysError.
    """
    current = await _open(db)
    following = folder / keys.NEXT_LOG_KEY
    if len(current) > 1:
        held = {Signer(sequencer.origin, seed).vkey for seed in sequencer.log_seeds()}
        if current[-1].vkey not in held:
            raise LogRefused(f"{following} does not hold the key {current[-1].vkey}; put it there first")
        size = await _size(db)
        if to_size is not None and not 1 < to_size <= size:
            raise LogRefused(f"the size from which the old key counts no more is between 2 and {size}")
        await sequencer.add(logkeys.retirement(current[0].vkey, to_size))
    elif not following.exists():
        raise LogRefused("no rotation is under way: begin one with `mandate keys trail rotate`")
    elif Signer(sequencer.origin, keys.read_seed(following)).vkey != current[0].vkey:
        raise LogRefused(f"{following} does not sign for the log yet: go on with `mandate keys trail rotate`")
    keys.take_next_log_key(folder)
    async with db.read() as reader:
        return await logkeys.read(reader)


async def _open(db: Db) -> list[KeyRange]:
    async with db.read() as reader:
        return [one for one in await logkeys.read(reader) if one.to_size is None]


async def _size(db: Db) -> int:
    async with db.read() as reader:
        return (await stored.sql.log_state(reader))["size"]
