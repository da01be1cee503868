"""What the owner of the database can do at night, and by which evidence it is found in the morning.

Each attack is done as superuser, past every trigger. The service goes on for a morning, and then four readers judge: one
with a bundle of today and nothing else, one who also kept the state of his last check, an auditor who replays all entries and
kept last evening's checkpoint, and one who goes on from the state of his last replay. The table says by which code each of
them finds it; a dash is a reader who does not, and a code in small letters is the service failing to hand anything out.
"""

import contextlib
import datetime as dt
import io
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import asyncpg
import pytest

from service.clock import to_us
from service.db import Embedded
from service.trail.audit import Audit
from service.trail.exporter import Asked
from service.trail.kept import LogRefused
from service.trail.record import canonical, record_hash
from service.trail.replay import read_stream
from service.trail.verify import Fault, Policy, verify_bundle
from tests.conftest import Database
from tests.kit import MORNING, House

pytestmark = [pytest.mark.anyio, pytest.mark.unreconciled("each case breaks something")]
GROUP = {"subject_type": "group", "subject_id": "g", "purpose": "case 17"}
NEXT_DAY = MORNING + dt.timedelta(days=1)
MUTE = {"seconds": 60, "reason": "fraud", "note": "again and again"}


class Evening(NamedTuple):
    """What readers keep from the evening: the verifier's state, that of a replay, and a checkpoint; trust in `folder`."""

    house: House
    folder: Path
    checked: bytes
    replayed: bytes
    checkpoint: str

    @classmethod
    async def of(cls, house: House, folder: Path) -> Self:
        """Check all there is, and keep what a careful reader keeps."""
        trust = await house.do("au", "GET", "/v1/trust")
        (folder / "trust").write_text(json.dumps(trust))
        checkpoint = (await house.client.get("/checkpoint")).text
        made = cls(house, folder, b"", b"", checkpoint)
        assert await made.bundle() == "-"
        kept = io.BytesIO()
        assert await made.replay(keep=kept) == "-"
        # What was taken is logged today, and the exporter knows the map as it is tonight.
        await house.publish()
        await house.app.state.exporter.write(Asked(("group", "g"), opened=False), len)
        return made._replace(checked=(folder / "state").read_bytes(), replayed=kept.getvalue())

    async def bundle(self, state: bytes = b"") -> str:
        """The verifier's code for today's bundle of the group."""
        asked: dict[str, Any] = dict(GROUP)
        own = self.folder / "state"
        own.unlink(missing_ok=True)
        if state:
            own.write_bytes(state)
            asked["old_size"] = json.loads(state)["size"]
        answer = await self.house.ask("au", "POST", "/v1/trail-exports", asked)
        if answer.status_code != 200:
            return str(answer.json()["code"])
        path = self.folder / "bundle"
        path.write_bytes(answer.content)
        verdict = verify_bundle(path, policy=self.folder / "trust", state=own, subject=("group", "g"))
        return verdict.code or "-"

    async def replay(self, state: bytes = b"", keep: io.BytesIO | None = None) -> str:
        """The code of a replay up to the newest checkpoint, from the start or from a state."""
        newest = (await self.house.client.get("/checkpoint")).text
        audit = Audit(Policy.parse((self.folder / "trust").read_bytes()), [self.checkpoint], newest)
        try:
            if state:
                audit.go_on(io.BytesIO(state))
            path = f"/v1/log-entries?start={audit.start}&end={audit.last}"
            answer = await self.house.ask("au", "GET", path)
            for _ in audit.run(read_stream(io.BytesIO(answer.content))):
                pass
        except Fault as fault:
            audit.fault = fault
        if keep is not None:
            audit.replay.save(keep)
        return "-" if audit.fault is None else audit.fault.code

    async def judged(self) -> tuple[str, str, str, str]:
        """What the four readers say; bundles must be of the present day, where the service goes on."""
        if self.house.clock.now() >= NEXT_DAY:
            trust = json.loads((self.folder / "trust").read_text())
            (self.folder / "trust").write_text(json.dumps(trust | {"min_time_us": to_us(NEXT_DAY)}))
        return (
            await self.bundle(),
            await self.bundle(self.checked),
            await self.replay(),
            await self.replay(self.replayed),
        )


async def day(house: House) -> None:
    """Group g, and five acts on record about it."""
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    for whom in ("dan", "eve"):
        await house.do("ben", "POST", "/v1/groups/g/mutes", MUTE | {"person_id": whom})
    await house.publish()
    await house.do("ben", "DELETE", "/v1/groups/g/mutes/dan", {"reason": "error_corrected"})
    await house.do("ann", "PUT", "/v1/groups/g/mute-all", {"seconds": 60, "reason": "fraud"})
    await house.publish()


async def goes_on(house: House) -> None:
    """The morning after: another act about the group, and what the service can still sign."""
    house.clock.set(NEXT_DAY)
    await house.do("ben", "POST", "/v1/groups/g/mutes", MUTE | {"person_id": "dan"})
    with contextlib.suppress(LogRefused):
        await house.publish()


@pytest.fixture
async def evening(database: Database, tmp_path: Path) -> AsyncIterator[Evening]:
    """A day of the group, and what careful readers keep of it. The map has two buckets, which all subjects share."""
    async with House.open(database.service_dsn, tmp_path / "data", map_bits=1) as house:
        await day(house)
        yield await Evening.of(house, tmp_path)


@pytest.fixture
async def owner(postgres: Embedded, database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A superuser whose session no trigger and no rule holds up."""
    connection = await asyncpg.connect(postgres.address("postgres", database.name))
    await connection.execute("SET session_replication_role = replica")
    yield connection
    await connection.close()


VICTIM = "(SELECT id FROM record WHERE act = 'group.unmute')"
TWO = "(SELECT id FROM record WHERE act = 'group.mute' AND out = 'done')"
BODY = "convert_to(replace(convert_from(body, 'UTF8'), '\"done\"', '\"gone\"'), 'UTF8')"
HASH = "sha256(convert_to(E'mandate-record/v1\\n', 'UTF8') || body)"
FLIP = "set_byte({0}, {1}, get_byte({0}, {1}) # 1)"
#: The places of a trail's newest records are the last bytes of the edge, eight each.
WITHOUT = "substr(edge, 1, length(edge) - 8)"
EXCHANGED = "substr(edge, 1, length(edge) - 16) || substr(edge, length(edge) - 7) || substr(edge, length(edge) - 15, 8)"
REWRITTEN = f"UPDATE record SET body = {BODY} WHERE id = {VICTIM}"

Found = tuple[str, str, str, str]
ATTACKS: dict[str, tuple[Sequence[str], Found]] = {
    # Entries hold hashes only: what records say is proved by bundles, which show them.
    "a record edited": ([REWRITTEN], ("E_RECORD", "E_RECORD", "-", "-")),
    "and the hash in its entry": (
        [
            REWRITTEN,
            (
                f"UPDATE log_entry SET entry = overlay(entry PLACING {HASH} FROM 18 FOR 32)"
                f" FROM record r WHERE r.id = record_id AND r.id = {VICTIM}"
            ),
        ],
        ("E_SHAPE", "E_FORK", "E_MAP", "-"),
    ),
    "a record deleted": (
        [f"DELETE FROM record WHERE id = {VICTIM}"],
        ("trail_damaged", "trail_damaged", "-", "-"),
    ),
    "two records exchanged": (
        [
            (
                "UPDATE record a SET body = b.body FROM record b"
                f" WHERE a.id IN {TWO} AND b.id IN {TWO} AND a.id <> b.id"
            )
        ],
        ("E_RECORD", "E_RECORD", "-", "-"),
    ),
    "an entry deleted": (
        [f"DELETE FROM log_entry WHERE record_id = {VICTIM}"],
        ("trail_damaged", "trail_damaged", "E_INDEX", "-"),
    ),
    "two entries exchanged": (
        [
            (
                "UPDATE log_entry a SET entry = b.entry, record_id = NULL FROM log_entry b"
                f" WHERE a.record_id IN {TWO} AND b.record_id IN {TWO} AND a.idx <> b.idx"
            )
        ],
        ("trail_damaged", "trail_damaged", "E_INDEX", "-"),
    ),
    "the time of an entry": (
        [f"UPDATE log_entry SET entry = {FLIP.format('entry', 16)} WHERE record_id = {VICTIM}"],
        ("E_TIME", "E_FORK", "E_TIME", "-"),
    ),
    # The place is taken: nothing is logged any more. Who asks for a bundle of today gets none.
    "an entry put in": (
        ["INSERT INTO log_entry SELECT l.size, NULL, e.entry FROM log_state l, log_entry e WHERE e.idx = 5"],
        ("E_STALE", "E_STALE", "-", "-"),
    ),
    "a record out of a trail": (
        [f"UPDATE subject SET edge = {WITHOUT} WHERE tag = $1"],
        ("trail_damaged", "trail_damaged", "-", "-"),
    ),
    "a trail in another order": (
        [f"UPDATE subject SET edge = {EXCHANGED} WHERE tag = $1"],
        ("E_SEQ", "E_SEQ", "-", "-"),
    ),
    # A new trail begins at its next record, and is proved as such: only who knows of the old one, or replays, finds out.
    "a whole trail forgotten": (
        ["DELETE FROM subject WHERE tag = $1"],
        ("-", "E_ROLLBACK", "E_SEQ", "E_SEQ"),
    ),
    # Not read before the trail is that long: see below.
    "a trail continued": (
        ["INSERT INTO subject_leaf VALUES ($1, 0, decode(repeat('00', 256), 'hex'))"],
        ("-", "-", "-", "-"),
    ),
    "a trail lengthened": (
        ["UPDATE subject SET edge = overlay(edge PLACING '\\x7f' FROM 40 FOR 1) WHERE tag = $1"],
        ("trail_damaged", "trail_damaged", "-", "-"),
    ),
    "the edge of a trail": (
        [f"UPDATE subject SET edge = {FLIP.format('edge', 60)} WHERE tag = $1"],
        ("E_COMPLETE", "E_COMPLETE", "E_MAP", "E_MAP"),
    ),
    # The group's own value is written anew with its next record; those of others stay wrong, under the log's signature.
    "values of the map": (
        ["UPDATE subject SET edge = overlay(edge PLACING sha256('') FROM 1 FOR 32)"],
        ("-", "-", "E_MAP", "E_MAP"),
    ),
    "other subjects of the map": (["DELETE FROM subject WHERE tag <> $1"], ("-", "-", "E_SEQ", "E_SEQ")),
    "a tile put in": (
        ["INSERT INTO log_tile SELECT 0, 0, sha256(''), decode(repeat('00', 8192), 'hex')"],
        ("E_INCLUSION", "E_FORK", "-", "-"),
    ),
    "the edge of the log": (
        [f"UPDATE log_state SET frontier = {FLIP.format('frontier', 20)}"],
        ("E_INCLUSION", "E_FORK", "E_INCLUSION", "E_INCLUSION"),
    ),
    # These heal: the edge of the log says its size, and the next checkpoint is signed for the tree as it is.
    "the size of the log": (
        ["UPDATE log_state SET size = size - 1"],
        ("-", "-", "-", "-"),
    ),
    "checkpoints edited": (["UPDATE checkpoint SET note = replace(note, 'A', 'B')"], ("-", "-", "-", "-")),
    "a checkpoint put in": (
        ["INSERT INTO checkpoint VALUES (1000, 'signed')"],
        ("trail_damaged", "trail_damaged", "E_NOTE", "E_NOTE"),
    ),
    "checkpoints deleted": (["DELETE FROM checkpoint"], ("-", "-", "-", "-")),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_what_the_owner_of_the_database_does_is_found(
    evening: Evening, owner: asyncpg.Connection, attack: str
) -> None:
    """S197: rows edited, deleted, put in or moved in any table of the log: who finds it, by which code."""
    statements, found = ATTACKS[attack]
    tag = evening.house.app.state["keys"].tag("group", "g")
    for one in statements:
        done = await owner.execute(one, *([tag] if "$1" in one else []))
        assert not done.endswith(" 0"), "the attack hit nothing"
    await goes_on(evening.house)
    assert await evening.judged() == found


async def test_a_record_taken_out_before_it_was_logged_breaks_its_receipt(
    evening: Evening, owner: asyncpg.Connection
) -> None:
    """S197: in the second before a record is logged only its receipt holds the service to it: a complete bundle convicts."""
    house = evening.house
    act = await house.do("ben", "POST", "/v1/groups/g/mutes", MUTE | {"person_id": "dan"})
    receipt = evening.folder / "receipt"
    receipt.write_bytes((await house.ask("im", "GET", f"/v1/records/{act['record_id']}/receipt")).content)
    number = await owner.fetchval("DELETE FROM record WHERE rid = $1 RETURNING id", act["record_id"])
    await owner.execute("DELETE FROM pending WHERE id = $1", number)
    await goes_on(house)
    assert await evening.judged() == ("-", "-", "-", "-")
    verdict = verify_bundle(evening.folder / "bundle", policy=evening.folder / "trust", receipt=receipt)
    assert (verdict.code, verdict.exit_code) == ("E_RECEIPT", 2)


@pytest.mark.parametrize(
    ("forged_at", "found"),
    [(MORNING, ("E_BACKDATED", "E_BACKDATED", "-", "-")), (NEXT_DAY, ("-", "-", "-", "-"))],
)
async def test_a_record_put_in_cannot_be_of_yesterday(
    evening: Evening, owner: asyncpg.Connection, forged_at: dt.datetime, found: Found
) -> None:
    """S197: a forged record is found if it claims an earlier time than it was logged at.

    One that claims the present is a record like any other: proofs keep what was written, they do not make it true.
    """
    evening.house.clock.set(NEXT_DAY)
    row = await owner.fetchrow(f"SELECT * FROM record WHERE id = {VICTIM}")
    assert row is not None
    forged = json.loads(row["body"])
    forged |= {"id": forged["id"][:-6] + "abcdef", "ts_us": to_us(forged_at), "sd": {}}
    body = canonical(forged)
    number = await owner.fetchval(
        "INSERT INTO record (rid, body, at, act, out) VALUES ($1, $2, $3, $4, 'done') RETURNING id",
        *(forged["id"], body, forged_at, row["act"]),
    )
    tags = b"".join(map(bytes.fromhex, forged["subj"]))
    await owner.execute("INSERT INTO pending VALUES ($1, $2, $3)", number, record_hash(body), tags)
    await goes_on(evening.house)
    assert await evening.judged() == found


# With the house's own keys

LOG = ("log_entry", "log_tile", "subject", "subject_leaf", "checkpoint")
ALL = (*LOG, "log_state", "pending")
TAGS = (
    "(SELECT string_agg(decode(tag, 'hex'), ''::bytea ORDER BY tag)"
    " FROM jsonb_array_elements_text(convert_from(body, 'UTF8')::jsonb -> 'subj') AS s (tag))"
)


async def history_anew(owner: asyncpg.Connection, data: Path) -> None:
    """Leave a record out, as if it had never been, and let the service log and sign everything anew."""
    del data
    await owner.execute(f"DELETE FROM record WHERE id = {VICTIM}")
    await owner.execute(f"TRUNCATE {', '.join(LOG)}")
    await owner.execute(f"INSERT INTO pending SELECT id, {HASH}, {TAGS} FROM record ON CONFLICT DO NOTHING")
    await owner.execute(
        "UPDATE log_state SET size = 0, frontier = decode('0000000000000000', 'hex'), last_time_us = 0,"
        " subjects = 0"
    )


async def back_to_noon(owner: asyncpg.Connection, data: Path) -> None:
    """Put the database back to noon: what was logged later never was."""
    del data
    for table in ALL:
        await owner.execute(f"TRUNCATE {table}; INSERT INTO {table} SELECT * FROM noon_{table}")
    await owner.execute(
        "DELETE FROM record WHERE id > greatest("
        "(SELECT max(record_id) FROM noon_log_entry), (SELECT max(id) FROM noon_pending))"
    )


@pytest.mark.parametrize(
    ("attack", "longer", "found"),
    [
        (history_anew, 3, ("-", "E_FORK", "E_MAP_STALE", "E_MAP")),
        (back_to_noon, 0, ("-", "E_ROLLBACK", "E_ROLLBACK", "E_ROLLBACK")),
        (back_to_noon, 3, ("-", "E_FORK", "E_INCLUSION", "E_SEQ")),
    ],
)
async def test_who_holds_the_keys_too_deceives_only_who_kept_nothing(
    database: Database, owner: asyncpg.Connection, tmp_path: Path, attack: Any, longer: int, found: Found
) -> None:
    """S197: owner of database, keys and disk can sign another history; every reader who kept anything of before finds out.

    So does one who asks for witnesses: they sign no second history of a log.
    """
    data = tmp_path / "data"
    async with House.open(database.service_dsn, data) as house:
        await day(house)
        for table in ALL:
            await owner.execute(f"CREATE TABLE noon_{table} AS TABLE {table}")
        body = MUTE | {"person_id": "eve", "seconds": 90}
        await house.do("ben", "POST", "/v1/groups/g/mutes", body)
        await house.publish()
        kept = await Evening.of(house, tmp_path)
    await attack(owner, data)
    (data / "checkpoint").unlink()
    async with House.reopen(database.service_dsn, data) as house:
        house.tokens.update(kept.house.tokens)
        for number in range(2 * longer):
            body = MUTE | {"person_id": ("dan", "eve")[number % 2]}
            await house.do("ben", "POST", "/v1/groups/g/mutes", body, key=f"again-{number}")
            await house.publish()
        await house.publish()
        assert await kept._replace(house=house).judged() == found
