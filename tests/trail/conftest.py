"""What the tests of trees, notes, bundles and replay share: known answers, and one log with everything in it."""

import json
from pathlib import Path

import pytest

from service.trail.bundle import Shown, write_bundle
from service.trail.note import ED25519, KeyChange, Note, Signer
from tests.trail.memory import MemoryLog, digest

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"
EXAMPLE = Path(__file__).parent / "example"

T0 = 1_790_000_000_000_000
SECOND = 1_000_000


@pytest.fixture(scope="session")
def vectors():
    """The known answers of third parties, by file name; a test is skipped where they are missing."""

    def read(name: str):
        path = VECTORS / f"{name}.json"
        if not path.exists():
            pytest.skip("the shared vectors are not here")
        return json.loads(path.read_text())

    return read


def build_full_log() -> MemoryLog:
    """Group g1 has seven records: a link to a cited one, a redaction, an erasure, a retired body, a key change."""
    log = MemoryLog("mandate.example/full", time_us=T0, map_bits=3, seed="full")
    who = ["person:Ann", "group:g1"]
    at = [0]

    def add(number, subjects, **options):
        at[0] += SECOND
        record, opened = log.draft(number, subjects, T0 + at[0], options.pop("fields", None), **options)
        index = log.record(record, T0 + at[0] + 1000, opened)
        return record["id"], index

    first, first_index = add(1, who, fields={"name": "Ann", "phone": "1"})
    appointed, _ = add(2, ["person:Ann"])
    second, _ = add(3, who, fields={"name": "Ann"}, links=[first, appointed])
    log.config({"code": "retention.rule", "kind": "notice", "p": {"days": 1}}, T0 + at[0] + 2000)
    log.config({"code": "policy.edition", "kind": "notice", "p": {}}, T0 + at[0] + 2000)
    next_key = Signer(log.origin, digest("full log 2"))
    change = str(KeyChange(log.origin, log.log_key.vkey, next_key.vkey, 10))
    both = (log.log_key.sign(change), next_key.sign(change))
    log.config({"kind": "key", "note": str(Note(change, both))}, T0 + at[0] + 2000)
    log.publish(T0 + at[0] + 3000, T0 // SECOND + 5)
    _, third_index = add(4, [*who, "case:c1"], fields={"note": "spam"}, links=[second])
    redact = {"act": "field.redact", "p": {"fields": ["phone"], "record": first}}
    redacting, _ = add(5, [*who, "staff:s1"], **redact)
    retiring, _ = add(
        6, ["staff:s1"], act="record.retire", p={"from_index": third_index, "to_index": third_index + 1}
    )
    fourth, fourth_index = add(7, who, fields={"name": "Ann", "phone": "2"})
    erasing, _ = add(8, ["person:Ann"], act="person.erase")
    add(9, who, out="refused", why="no_standing", links=[fourth])
    add(10, ["group:g2"])

    full = log.shown[first_index]
    log.shown[first_index] = Shown(
        first_index, full.entry, full.record, {"name": full.fields["name"]}, {"phone": redacting}
    )
    log.shown[third_index] = Shown(third_index, log.shown[third_index].entry, None, gone=retiring)
    full = log.shown[fourth_index]
    log.shown[fourth_index] = Shown(
        fourth_index, full.entry, full.record, {}, {"name": erasing, "phone": None}
    )
    log.publish(T0 + at[0] + 3000, T0 // SECOND + at[0] // SECOND + 1)
    return log


@pytest.fixture(scope="session")
def full_log() -> MemoryLog:
    return build_full_log()


def bundle_of(log: MemoryLog, subject=("group", "g1"), **options) -> bytes:
    written: list[bytes] = []
    write_bundle(log, written.append, subject, **options)
    return b"".join(written)


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer("test.example/log", digest("test"), ED25519)
