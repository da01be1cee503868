"""The checker of a log in a database: replays all entries and compares every table the sequencer keeps. Shares no code with it."""

from typing import Any

import msgspec

from service.db import Db
from service.trail.entry import MapEntry, RecordEntry, bucket_of, decode, subject_value
from service.trail.merkle import Frontier, Tree, leaf
from service.trail.note import ED25519, Vkey
from service.trail.record import record_hash
from service.trail.replay import Replay
from service.trail.verify.trust import LogKey

TABLES = (
    "log_state",
    "log_entry",
    "log_tile",
    "subject",
    "subject_leaf",
    "checkpoint",
    "pending",
)


async def dump(db: Db) -> dict[str, list[Any]]:
    """All rows of the sequencer's tables."""
    async with db.read(snapshot=True) as reader:
        return {name: sorted(map(repr, await reader.fetch(f"SELECT * FROM {name}"))) for name in TABLES}


async def check_log(db: Db, origin: str, *vkeys: str) -> Replay:
    """Fail unless every record stands in the log once, and every table is what the entries say."""
    async with db.read(snapshot=True) as reader:
        rows = await reader.fetch("SELECT * FROM log_entry ORDER BY idx")
        records = {row["id"]: row["body"] for row in await reader.fetch("SELECT id, body FROM record")}
        pending = {row["id"] for row in await reader.fetch("SELECT id FROM pending")}
        [state] = await reader.fetch("SELECT * FROM log_state")
        notes = {row["size"]: row["note"] for row in await reader.fetch("SELECT * FROM checkpoint")}
        subjects = {row["tag"]: row for row in await reader.fetch("SELECT * FROM subject")}
        chunks = await reader.fetch("SELECT * FROM subject_leaf ORDER BY tag, chunk")
        tiles = {(row["level"], row["n"]): row for row in await reader.fetch("SELECT * FROM log_tile")}
    assert [row["idx"] for row in rows] == list(range(len(rows))), "gaps in the log"
    logged = [row["record_id"] for row in rows if row["record_id"] is not None]
    assert len(set(logged)) == len(logged)
    assert set(logged) | pending == set(records)
    assert not set(logged) & pending
    replay = Replay(origin, [LogKey(Vkey.parse(one, ED25519), 0, None) for one in vkeys])
    tree, trees = Tree(), {}
    for row in rows:
        replay.feed(row["entry"])
        digest = leaf(row["entry"])
        tree.append(digest)
        entry = decode(row["entry"])
        if isinstance(entry, RecordEntry):
            body = records[row["record_id"]]
            if body is not None:
                assert entry.record_hash == record_hash(body)
                assert [tag.hex() for tag in entry.tags] == msgspec.json.decode(body)["subj"]
            for tag in entry.tags:
                trees.setdefault(tag, []).append((row["idx"], digest))
        if replay.size in notes:
            replay.check(notes.pop(replay.size))
    assert not notes, "a checkpoint speaks of a tree that is not there"
    frontier = Frontier.parse(state["frontier"])
    assert (state["size"], frontier.size, frontier.root()) == (len(rows), len(rows), tree.root())
    assert state["subjects"] == len(subjects) == len(trees)
    assert len(rows) <= 1 or isinstance(decode(rows[-1]["entry"]), MapEntry), (
        "the log does not end in a map entry"
    )
    told: dict[bytes, bytes] = {}
    for row in chunks:
        held = told.get(row["tag"], b"")
        assert (row["chunk"], len(row["places"])) == (len(held) // 256, 256)
        told[row["tag"]] = held + row["places"]
    for tag, held in trees.items():
        n, root = len(held), Tree(digest for _, digest in held).root()
        frontier = Frontier()
        for _, digest in held:
            frontier.append(digest)
        places = b"".join(index.to_bytes(8, "big") for index, _ in held)
        full = n // 32 * 256
        assert subjects[tag]["bucket"] == bucket_of(tag, replay._bits)
        assert told.pop(tag, b"") == places[:full]
        assert subjects[tag]["edge"] == subject_value(tag, n, root) + frontier.serialise() + places[full:]
    assert not told
    level, size = 0, len(rows)
    while size := size // 256:
        for number in range(size):
            row = tiles.pop((level, number))
            assert row["root"] == tree.perfect(8 * (level + 1), number)
            assert row["hashes"] == b"".join(tree.perfect(8 * level, 256 * number + i) for i in range(256))
        level += 1
    assert not tiles
    return replay
