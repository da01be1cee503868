"""What does a record cost the hot path? Microseconds a call beside json.dumps of the same record, in one run.

Run as `python -m bench.record`.
"""

import hashlib
import json
import os
import timeit
from collections.abc import Callable

from service.trail import fields, record, writing

LIMIT_US = 15.0
CALLS = 20_000
REPEATS = 5


def microseconds(call: Callable[[], object]) -> float:
    """The best of a few runs, in microseconds a call."""
    return min(timeit.repeat(call, number=CALLS, repeat=REPEATS)) / CALLS * 1e6


def main() -> None:
    """Print one line per question, and the ratio of write_record to its limit."""
    ts_us = 1_790_000_002_900_000
    keys = {kind: os.urandom(32) for kind in record.SUBJECT_TYPES}
    subjects = (("person", "Li Wei"), ("group", "g1"), ("account", "a7"), ("jurisdiction", "NL"))
    tags = [record.tag(keys[kind], kind, name) for kind, name in subjects]
    record_id, earlier = writing.uuid7(ts_us), writing.uuid7(ts_us - 5_000)
    policy = hashlib.sha256(b"policy edition 1").hexdigest()
    p = {"after": "muted", "before": "open", "class": "ordinary", "hours": 24, "tier": "t1"}

    def write() -> writing.Written:
        return writing.write_record(
            id=record_id,
            ts_us=ts_us,
            act="account.mute",
            out="done",
            by_kind="person",
            by_standing="group.owner",
            by_tag=tags[0],
            rule="groups/mute-1",
            policy=policy,
            why="spam",
            basis=["rules:4.2"],
            p=p,
            sd={},
            tags=tags,
            links=[earlier],
            req=tags[1],
        )

    body = write().body
    value = record.read_record(body)
    key, salt = os.urandom(32), os.urandom(32)

    def seal() -> bytes:
        return fields.seal(key, record_id=record_id, name="note", salt=salt, value_json=b'"second warning"')

    calls: dict[str, Callable[[], object]] = {
        "json.dumps": lambda: json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
        "write_record": write,
        "canonical": lambda: record.canonical(value),
        "read_record": lambda: record.read_record(body),
        "tag": lambda: record.tag(keys["person"], "person", "Li Wei"),
        "uuid7": lambda: writing.uuid7(ts_us),
        "commit_field": lambda: fields.commit_field("note", "second warning"),
        "seal": seal,
    }
    took = {name: microseconds(call) for name, call in calls.items()}
    for name, each in took.items():
        print(f"{name:<14}{each:8.2f} us {each / took['json.dumps']:6.2f} of json.dumps")
    print(f"write_record is {took['write_record'] / LIMIT_US:.2f} of its limit of {LIMIT_US:.0f} us")


if __name__ == "__main__":
    main()
