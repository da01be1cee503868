"""How fast does a reader verify a bundle of 100,000 records, in how much memory, and an auditor replay a
log?

Each figure stands beside the same work done bare in the same run: SHA-256 over the same bytes, and Ed25519
checks. Run as `python -m bench.verify [records]`.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from service.trail.bundle import write_bundle
from service.trail.note import Note, signed_by
from service.trail.replay import Replay, read_stream, write_stream
from service.trail.verify import verify_bundle
from service.trail.verify.trust import LogKey
from tests.trail.memory import MemoryLog

T0 = 1_790_000_000_000_000
SLOWEST_VERIFY = 10_000
SLOWEST_REPLAY = 40_000
MOST_MEGABYTES = 200


def log_of(records: int) -> MemoryLog:
    """One group with every record; each also about one of 1,000 persons and a jurisdiction, with two
    fields.
    """
    log = MemoryLog("bench.example/1", time_us=T0, map_bits=10)
    log.witness = type(log.witness)("witness.example/w1", bytes(32), 4)
    for number in range(1, records + 1):
        subjects = ["group:g1", f"person:p{number % 1000}", "jurisdiction:NL"]
        fields = {"name": f"Person {number}", "note": "second warning, by phone"}
        p = {"after": "muted", "before": "open", "hours": 24}
        links = [f"01a0c450-6f84-7000-8000-{number - 1:012x}"] if number > 1 else []
        record, opened = log.draft(number, subjects, T0 + number * 1000, fields, p=p, links=links, why="spam")
        log.record(record, T0 + number * 1000, opened)
    log.publish(T0 + records * 1000 + 1000, T0 // 1_000_000 + records)
    return log


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def hash_bare(pieces: list[bytes]) -> float:
    """Seconds to hash these pieces one by one."""
    return seconds(lambda: [sha256(piece).digest() for piece in pieces])


def verify_alone(bundle: Path, policy: Path) -> None:
    """In a process of its own, so that its memory is its own."""
    started = time.perf_counter()
    verdict = verify_bundle(bundle, policy=policy)
    spent = time.perf_counter() - started
    # Not getrusage: its peak includes that of the process we were started from.
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    peak = int(status.split()[0]) // 1024
    print(json.dumps({"outcome": verdict.outcome, "code": verdict.code, "seconds": spent, "megabytes": peak}))


def measure(records: int) -> None:
    log = log_of(records)
    with tempfile.TemporaryDirectory() as folder:
        bundle, policy = Path(folder) / "bundle", Path(folder) / "policy"
        policy.write_text(json.dumps(log.policy()))
        with bundle.open("wb") as file:
            written = seconds(lambda: write_bundle(log, file.write, ("group", "g1")))
        lines = bundle.read_bytes().splitlines(keepends=True)
        command = [sys.executable, "-m", "bench.verify", str(bundle), str(policy)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert found["outcome"] == "ACCEPTED", found
    bare = hash_bare(lines)
    print(f"write   {records / written:10,.0f} records/s")
    rate = records / found["seconds"]
    ratio = found["seconds"] / bare
    print(f"verify  {rate:10,.0f} records/s, {ratio:.0f} x hashing the bundle ({SLOWEST_VERIFY:,}/s aimed)")
    print(
        f"memory  {found['megabytes']:10,} MB at most for {records:,} records ({MOST_MEGABYTES} MB allowed)"
    )
    assert found["megabytes"] <= MOST_MEGABYTES, "the verifier must stream"

    stream = b"".join(write_stream(log.entries))
    replay = Replay(log.origin, [LogKey(log.log_key.vkey, 0, None)])
    spent = seconds(lambda: replay.run(read_stream(io.BytesIO(stream)), [log.checkpoint]))
    nodes = [entry[:65] for entry in log.entries for _ in range(8)]
    bare = hash_bare(log.entries) + hash_bare(nodes)
    rate = len(log.entries) / spent
    ratio = spent / bare
    print(f"replay  {rate:10,.0f} entries/s, {ratio:.1f} x hashing them bare ({SLOWEST_REPLAY:,}/s aimed)")

    note = Note.parse(log.checkpoint)
    keys = [log.log_key.vkey, log.witness.vkey]
    spent = seconds(lambda: [signed_by(note, keys) for _ in range(1000)])
    public = Ed25519PublicKey.from_public_bytes(keys[0].public)
    raw, message = note.signatures[0].raw, note.text.encode()
    bare = seconds(lambda: [public.verify(raw, message) for _ in range(2000)])
    print(f"notes   {1000 / spent:10,.0f} checkpoints/s, {spent / bare:.1f} x their two Ed25519 checks")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        verify_alone(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
