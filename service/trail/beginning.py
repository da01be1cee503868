"""How a log begins, and when it may not go on: what is looked at before the first entry of a process (section 12)."""

from __future__ import annotations

from service.db import Reader
from service.trail import stored
from service.trail.entry import FORMAT, Genesis, decode, read_config
from service.trail.kept import Kept, LogRefused, refuse_fork
from service.trail.keys import TrailKeys
from service.trail.note import Checkpoint, Signer, Vkey
from service.trail.record import canonical


def genesis_body(
    log_key: Vkey, keys: TrailKeys, map_bits: int, mmd_us: int, edition: str, prev: Checkpoint | None
) -> bytes:
    """The JSON of entry 0 of a log named as its key; `prev` is the last checkpoint of the log it replaces."""
    return canonical(
        {
            "format": FORMAT,
            "kind": "genesis",
            "log_vkey": str(log_key),
            "map_bits": map_bits,
            "mmd_us": mmd_us,
            "origin": log_key.name,
            "policy": edition,
            "prev": prev and as_prev(prev),
            "receipt_vkey": str(Signer(f"{log_key.name}/receipt", keys.receipt_seed).vkey),
            "tag_key_sha256": keys.tag_key_sha256(),
        }
    )


def as_prev(last: Checkpoint) -> dict[str, str | int]:
    """How entry 0 names the last checkpoint of the log that the new one replaces."""
    return {"origin": last.origin, "root": last.root.hex(), "size": last.size}


async def entry_0(db: Reader) -> Genesis | None:
    """Entry 0 read, None where there is no log. Raises LogRefused where it is no genesis."""
    rows = await stored.sql.entries(db, start=0, end=1)
    if not rows:
        return None
    genesis = read_config(getattr(decode(rows[0]["entry"]), "body", b""))
    if not isinstance(genesis, Genesis):
        raise LogRefused("entry 0 of the log is no genesis; restore the database from a backup")
    return genesis


async def began_us(db: Reader) -> int:
    """When the log that stands began: the time of entry 0, microseconds since 1970 UTC."""
    [row] = await stored.sql.entries(db, start=0, end=1)
    return decode(row["entry"]).time_us


async def refuse_set_back(db: Reader, file: Kept, origin: str, genesis: Genesis | None, size: int) -> None:
    """Raise LogRefused where the last signed checkpoint speaks of a larger log, another tree or another log."""
    kept = file.read()
    if kept is not None and genesis is not None and genesis.prev == as_prev(kept):
        # The new log stands; what ended is remembered beside it.
        file.put_aside()
        return
    if kept is None:
        return
    if kept.origin != origin:
        raise LogRefused(
            f"{file.path} speaks of the log {kept.origin}, not of {origin}: set MANDATE_ORIGIN to the first, or "
            "MANDATE_DATA to the folder of the second; or, to end the first and go on with the second, run "
            f"`MANDATE_ORIGIN={origin} mandate new-log`"
        )
    if size < kept.size:
        raise LogRefused(
            f"the database holds {size} log entries, but {kept.size} were signed ({file.path}): it was restored from an "
            f"older backup; restore one that holds them, or {new_log(origin)}"
        )
    refuse_fork(kept, Checkpoint(kept.origin, kept.size, await stored.log_root(db, kept.size)))


def refuse_other(genesis: Genesis, origin: str, keys: TrailKeys) -> None:
    """Raise LogRefused where the log is another one, or the keys at hand are not those it was begun with."""
    if genesis.origin != origin:
        raise LogRefused(
            f"the log in the database is {genesis.origin}, not {origin}: set MANDATE_ORIGIN to it"
        )
    tag_keys = {name: digest.hex() for name, digest in genesis.tag_key_sha256.items()}
    receipt_key = Signer(f"{origin}/receipt", keys.receipt_seed).vkey
    same = {
        "tag_keys.json": tag_keys == keys.tag_key_sha256(),
        "receipt.key": genesis.receipt_key == receipt_key,
    }
    if wrong := [name for name, is_same in same.items() if not is_same]:
        raise LogRefused(
            f"the keys in the folder are not those of the log in the database ({' and '.join(wrong)}): put back the copy "
            "of the keys folder of this log, or point MANDATE_DATA to where it is"
        )


def forked(origin: str) -> str:
    """How to go on where a witness cosigned another tree than this log has: the exact commands."""
    return (
        "find out which of the two is true: `mandate witness show` prints what the witness holds, GET /checkpoint/SIZE what "
        "was signed here; an auditor replays each: `mandate replay --policy trust.json --checkpoint FILE`. If the false one "
        f"is here, restore the database that holds the other, or {new_log(origin)}"
    )


def new_log(origin: str) -> str:
    """How to go on after a log that cannot: the exact command."""
    stem, _, number = origin.rpartition("/")
    following = f"{stem}/{int(number) + 1}" if stem and number.isdecimal() else f"{origin}/2"
    return (
        "start a new log that names the last checkpoint of this one: set MANDATE_ORIGIN to a new name for good, and run "
        f"`MANDATE_ORIGIN={following} mandate new-log`"
    )
