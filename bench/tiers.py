"""How quick are tiers? One computation (limit 20 us of CPU), a preview over all (60 s and 400 MB of this process at a million),
and ranking all again after the table has changed (limit 300 s at a million).

Run as `python -m bench.tiers [--subjects 20000] [--kill]`; a million take some five minutes and 3 GB of disk. Limits are scaled
to the number of subjects, which are accounts: a tenth as many operators run them, and 23 % of them change. `--kill` ends the
process that ranks on the way and starts another one, which must finish the rest. The log is written beside it, as `serve` does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import psutil
import uvloop

from bench.house import REPOSITORY, STAFF
from service import log
from service.app import create_app
from service.bulk import LEASE_SECONDS
from service.caller import Caller
from service.commands.serving import settle
from service.db import Embedded, migrate
from service.domain import forecast, reranking, tiers
from service.domain.approvals import GrantApproval
from service.editions import Editions
from service.founding import found
from service.policy import Policy, digest, read_folder
from service.settings import Settings

MILLION = 1_000_000
_COMPUTE_US, _PREVIEW_S, _PREVIEW_MB, _RANK_S = 20.0, 60.0, 400.0, 300.0
_WEIGHED = ("quality", "followers", "reads_per_post")
_BIRTH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def one_computation() -> None:
    """Print how much CPU time one ranking takes, of an account and of a group."""
    policy = Policy.from_folder(REPOSITORY / "policies")
    account = {
        "class": "news",
        "quality": 75,
        "followers": 1_500_000,
        "reads_per_post": 150_000,
        "operator_credit": "B",
    }
    group = {"nature": "fan", "members": 480, "messages_per_day": 2500, "join_mode": "open", "discoverable": True,
             "link_open": True, "capacity": 500, "minors": "no"}  # fmt: skip
    for kind, facts in (("account", account), ("group", group)):
        best = float("inf")
        for _ in range(5):
            since = time.process_time()
            for _ in range(10_000):
                tiers.rank(policy, kind, facts, at=_BIRTH, held=3, lower=None)  # type: ignore[arg-type]
            best = min(best, (time.process_time() - since) / 10_000 * 1e6)
        print(f"one ranking of a {kind}: {best:6.1f} us; {best / _COMPUTE_US:.2f} of the limit")


def heavier() -> dict[str, bytes]:
    """An edition that moves about every second account: culture and science weigh more, followers of ten thousand less."""
    files = read_folder(REPOSITORY / "policies")
    text = files["tiers.csv"].decode()
    for old, new in (
        ("class,life,,4,", "class,life,,20,"),
        ("class,culture,,6,", "class,culture,,20,"),
        ("followers,10000..99999,,18,", "followers,10000..99999,,30,"),
    ):
        assert old in text
        text = text.replace(old, new)
    return {**files, "tiers.csv": text.encode()}


_FACTS = """
    SELECT n, ($1::text[])[1 + n % cardinality($1::text[])] AS klass, CASE WHEN n % 5 = 0 THEN NULL ELSE n * 31 % 101 END AS quality,
        (n * 7919) % (10 ^ (2 + n % 6))::bigint AS followers, (n * 7919) % (10 ^ (2 + n % 6))::bigint / 10 AS reads_per_post
    FROM generate_series(0, $2::bigint - 1) n
"""


async def arrange(owner_dsn: str, policy: Policy, number: int) -> None:
    """Fill in accounts past the door, each with the result that the edition in force gives: ranked once for each profile."""
    since = time.perf_counter()
    classes = sorted(set(policy.tiers["account"].points["class"].words) - {"government"})
    limits = forecast.bounds("account", policy)
    buckets = ", ".join(
        f"width_bucket({name}, '{{{','.join(map(str, limits[name]))}}}'::bigint[])" for name in _WEIGHED
    )
    connection = await asyncpg.connect(owner_dsn)
    await connection.execute(
        "SET synchronous_commit = off; SET work_mem = '256MB'; SET maintenance_work_mem = '256MB'"
    )
    await connection.execute(
        f"""
        INSERT INTO operator (operator_id, kind, name, is_mcn, answerable_person, identity_status, identity_methods,
            verified_at, jurisdiction, created_at, version, account_count, by_record)
        SELECT 'o' || n, 'media', 'o', false, 'nobody', 'verified', '["credit_code","mobile"]', now(), 'CN-110000', now(), 1,
            10, 'arranged'
        FROM generate_series(0, {number // 10}) n;
        INSERT INTO credit (subject_type, subject_id, score, entries)
        SELECT 'operator', operator_id, 75, 1 FROM operator;
        INSERT INTO answerable (operator_id, by_record, person_id, from_at)
        SELECT operator_id, by_record, answerable_person, created_at FROM operator;
        """
    )
    profiles = await connection.fetch(
        f"SELECT concat_ws('|', klass, {buckets}) AS profile, min(klass) AS klass, min(quality) AS quality,"
        f" min(followers) AS followers, min(reads_per_post) AS reads_per_post FROM ({_FACTS}) f GROUP BY 1",
        classes, number,
    )  # fmt: skip
    ranked = []
    for row in profiles:
        facts = {"class": row["klass"], "operator_credit": "B", **{name: row[name] for name in _WEIGHED}}
        basis = tiers.rank(policy, "account", facts, at=_BIRTH, held=None, lower=None, record="arranged")
        ranked.append((row["profile"], basis.tier, tiers.basis_bytes(basis).decode()))
    await connection.execute("CREATE TEMP TABLE ranked (profile text PRIMARY KEY, tier bigint, basis text)")
    await connection.copy_records_to_table("ranked", records=ranked)
    await connection.execute(
        f"""
        INSERT INTO account (account_id, name, name_key, klass, operator_id, profile, jurisdiction, created_at, version,
            accepted_at, followers, reads_per_post, quality, tier, tier_basis, next_recheck_at, by_record)
        SELECT 'a' || to_char(n, 'FM0000000'), 'name ' || n, 'name' || n, klass, 'o' || n / 10, '', 'CN-110000', $3, 1, $3,
            followers, reads_per_post, quality, r.tier, r.basis::jsonb || jsonb_build_object('inputs', jsonb_build_object(
                'class', klass, 'quality', quality, 'followers', followers, 'reads_per_post', reads_per_post,
                'operator_credit', 'B')),
            $3, 'arranged'
        FROM ({_FACTS}) f JOIN ranked r ON r.profile = concat_ws('|', klass, {buckets})
        ORDER BY n
        """,
        classes, number, _BIRTH,
    )  # fmt: skip
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    print(f"{number} accounts of {len(ranked)} profiles arranged in {time.perf_counter() - since:.0f} s")


async def preview(dsn: str, number: int) -> None:
    """Print how long a preview of another edition over all takes, and how much memory this process had at most."""
    settings = Settings(dsn=dsn)
    from service.db import Db

    db = await Db.open(settings.dsn or "", size=1)
    old, new = Policy.from_folder(REPOSITORY / "policies"), Policy.from_files(heavier())
    since = time.perf_counter()
    async with db.read(snapshot=True) as reader:
        made = await forecast.forecast(reader, old, new, "account", at=dt.datetime.now(dt.UTC))
    seconds = time.perf_counter() - since
    await db.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    limit = _PREVIEW_S * number / MILLION
    print(
        f"preview over {made.subjects}: {seconds:.1f} s, {seconds / limit:.2f} of the limit; {made.unchanged} unchanged;"
        f" peak {peak:.0f} MB, {peak / _PREVIEW_MB:.2f} of the limit"
    )


async def rank(dsn: str, data: Path) -> None:
    """Work through what runs, as `serve` does beside its requests."""
    app = create_app(Settings(dsn=dsn, data=data, sweep_seconds=3600, log_level="error"))
    async with app.lifespan():
        settle()
        while True:
            async with app.state.db.read() as reader:
                if not await reader.fetchval("SELECT count(*) FROM tier_plan WHERE state = 'running'"):
                    return
            await asyncio.sleep(0.2)


async def begin(dsn: str, data: Path) -> int:
    """Adopt the other edition, plan, and have a second person agree; nothing is ranked yet. Returns how many will change."""
    app = create_app(Settings(dsn=dsn, data=data, sweep_seconds=3600, sequence_seconds=0))
    async with app.lifespan():
        door, files = app.state.door, heavier()
        await app.state.bulk.close()
        async with app.state.db.transaction() as tx:
            await tx.execute(
                "INSERT INTO edition (digest, effective_at, adopted_record, files) VALUES ($1, now(), 'arranged', $2::jsonb)",
                digest(files),
                {name: text.decode() for name, text in files.items()},
            )
        editions: Editions = app.state.editions
        await editions.refresh()
        at = dt.datetime.now(dt.UTC)
        policy = editions.at(at)
        async with app.state.db.read(snapshot=True) as reader:
            made = await forecast.forecast(reader, policy, policy, "account", at=at)
        async with app.state.db.transaction() as tx:
            await forecast.keep(tx, made, at=at)
        cl, ap = (Caller(kind="staff", key_id=one, staff_id=one) for one in ("cl", "ap"))
        planned = await door.act(reranking.PlanBulk(kind="account", reason="routine"), caller=cl)
        asked = await door.act(reranking.RunBulk(plan_id=planned.record_id, reason="routine"), caller=cl)
        granted = await door.act(GrantApproval(approval_id=asked.record_id), caller=ap)
        assert granted.outcome == "done", granted
        for move in made.moves:
            print(f"  to be moved: {move.count} from {move.from_} to {move.to} {move.when}")
        return made.subjects - made.unchanged


def _ranking(dsn: str, data: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.tiers", "--work", dsn, str(data)], cwd=REPOSITORY, env={**os.environ}
    )


def database_seconds(embedded: Embedded) -> float:
    """The CPU time of PostgreSQL so far: of the postmaster, of the processes it has, and of those that ended."""
    postmaster = psutil.Process(
        int(embedded.query("SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)"))
    )
    own = postmaster.cpu_times()
    seconds = own.user + own.system + own.children_user + own.children_system
    for child in postmaster.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds += sum(child.cpu_times()[:2])
    return seconds


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def counts(dsn: str) -> tuple[int, int, int, int, str]:
    """Acts of ranking on record, accounts they are about, subjects looked at, changed by the plan, and the plan's state."""
    connection = await asyncpg.connect(dsn)
    row = await connection.fetchrow(
        "SELECT (SELECT count(*) FROM record WHERE act = 'account.rank') AS acts,"
        " (SELECT count(*) FROM account WHERE tier_basis ->> 'record' <> 'arranged') AS accounts, looked, changed, state"
        " FROM tier_plan JOIN tier_progress USING (plan_id)"
    )
    await connection.close()
    assert row is not None
    return tuple(row)


def reclassify(embedded: Embedded, data: Path, number: int, *, kill: bool) -> None:
    """Print how long ranking all again takes, in a process of its own; with `kill` in two."""
    expected = asyncio.run(begin(embedded.service_dsn, data))
    since, waited = time.perf_counter(), 0.0
    service, database = _children_seconds(), database_seconds(embedded)
    process = _ranking(embedded.service_dsn, data)
    if kill:
        time.sleep(max(3.0, 0.0001 * number))
        process.send_signal(signal.SIGKILL)
        process.wait()
        acts, _, looked, changed, state = asyncio.run(counts(embedded.owner_dsn))
        print(f"  killed: {acts} acts on record, {changed} counted, {looked} looked at, the plan is {state}")
        assert 0 < acts < expected, "killed too early or too late to show anything"
        # So long the killed process's hold on the plan is respected; it is no work, and not counted.
        waited = LEASE_SECONDS + 1.0
        time.sleep(waited)
        process = _ranking(embedded.service_dsn, data)
    assert process.wait() == 0
    seconds = time.perf_counter() - since - waited
    service, database = _children_seconds() - service, database_seconds(embedded) - database
    acts, accounts, looked, changed, state = asyncio.run(counts(embedded.owner_dsn))
    assert acts == accounts == changed == expected, (acts, accounts, changed, expected)
    assert (state, looked) == ("done", number), (state, looked)
    limit = _RANK_S * number / MILLION
    print(
        f"ranking {number} again: {seconds:.1f} s, {seconds / limit:.2f} of the limit;"
        f" {changed} acts, {changed / seconds:.0f}/s, none twice, none left out"
    )
    print(
        f"  CPU: {service:.1f} s of the service, {database:.1f} s of PostgreSQL; on two cores, alone, at least"
        f" {max((service + database) / 2, service, 0) / limit:.2f} of the limit;"
        f" {service / changed * 1e6:.0f} us and {database / changed * 1e6:.0f} us an act"
    )


async def _founded(dsn: str, data: Path) -> None:
    app = create_app(Settings(dsn=dsn, data=data, sweep_seconds=3600, sequence_seconds=0))
    async with app.lifespan():
        await found(app.state.door, app.state.db, STAFF, ["im"])


def main() -> None:
    """Print everything, or work as the process that ranks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=20_000, help="how many")
    parser.add_argument("--kill", action="store_true", help="kill the process that ranks half-way")
    parser.add_argument("--work", nargs=2, metavar=("DSN", "FOLDER"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    log.set_up("error")
    if asked.work:
        uvloop.run(rank(asked.work[0], Path(asked.work[1])))
        return
    one_computation()
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        with Embedded.start(Path(name) / "pg") as embedded:
            migrate(embedded.owner_dsn, say=None)
            uvloop.run(_founded(embedded.service_dsn, Path(name)))
            policy = Policy.from_folder(REPOSITORY / "policies")
            uvloop.run(arrange(embedded.owner_dsn, policy, asked.subjects))
            uvloop.run(preview(embedded.service_dsn, asked.subjects))
            reclassify(embedded, Path(name), asked.subjects, kill=asked.kill)


if __name__ == "__main__":
    main()
