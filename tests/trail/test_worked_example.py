"""The worked example of the format (section 15), byte for byte, made and read."""

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

from service.trail import entry as entries
from service.trail.merkle import Tree, check_consistency, prove_consistency
from service.trail.record import canonical, record_hash
from service.trail.verify import verify_bundle
from tests.trail.memory import EXAMPLE, MemoryLog, bundle_of, digest

VALUES = (EXAMPLE / "values.txt").read_text()
T0 = 1_790_000_000_000_000


def value(pattern: str) -> str:
    found = re.search(pattern, VALUES, re.MULTILINE)
    assert found, pattern
    return found[1]


def build() -> tuple[MemoryLog, list[str]]:
    """The log of the example, and its checkpoints at sizes 3 and 6."""
    log = MemoryLog("mandate.example/trail/1", time_us=T0)
    li_wei, group, account, place = "person:Li Wei", "group:g1", "account:a7", "jurisdiction:NL"
    actor = {"kind": "person", "standing": "group.owner", "tag": log.tag("person", "Li Wei").hex()}
    ids = [f"01a0c450-{part}-7000-8000-{n:012x}" for n, part in enumerate(("6f84", "7754", "7b3c"), 1)]

    def add(number, subjects, ts_us, fields, **changes):
        record, opened = log.draft(number, subjects, ts_us, fields, **changes)
        log.record(record, T0 + number * 1_000_000, opened)

    add(
        1,
        [li_wei, group, place],
        T0 + 900_000,
        {"name": "Li Wei"},
        id=ids[0],
        act="group.appoint",
        basis=["charter:art.3"],
        p={"after": "group.owner", "before": None, "role": "group.owner"},
    )
    log.publish(T0 + 2_000_000)
    notes = [log.checkpoint]
    add(
        3,
        [li_wei, group, account, place],
        T0 + 2_900_000,
        {"note": "second warning", "phone": "+31 20 555 0100"},
        id=ids[1],
        by=actor,
        links=[ids[0]],
        p={"after": "muted", "before": "open", "hours": 24},
        rule="groups/mute-1",
        why="spam",
        req=sha256(b"request 3").hexdigest(),
    )
    add(
        4,
        [li_wei, account, place],
        T0 + 3_900_000,
        {},
        id=ids[2],
        act="account.ban",
        by=actor | {"standing": None},
        links=[ids[1]],
        out="refused",
        p={"asked": "ban"},
        why="no_standing",
        req=sha256(b"request 4").hexdigest(),
    )
    log.publish(T0 + 5_000_000, 1_790_000_006)
    return log, [*notes, log.checkpoint]


@pytest.fixture(scope="module")
def log() -> MemoryLog:
    return build()[0]


def test_keys_and_tags_come_out_the_same(log):
    """Log, receipt and witness keys, and all tags and buckets, are those printed."""
    for name, signer in (("log", log.log_key), ("receipt", log.receipt_key), ("witness", log.witness)):
        assert str(signer.vkey) == value(rf'^  "mandate-example {name}"  (.*)$')
    for subject in ("person:Li Wei", "group:g1", "account:a7", "jurisdiction:NL"):
        tag = log.tag(*subject.split(":"))
        assert tag.hex() == value(rf"^  {subject} +([0-9a-f]{{64}}) bucket")
        assert entries.bucket_of(tag, 2) == int(value(rf"^  {subject} +[0-9a-f]{{64}} bucket (\d)"))


def test_entries_records_and_leaves_come_out_the_same(log):
    """All six entries, the records in them and the leaves of the log tree are those printed."""
    parts = re.split(r"^entry \d$", VALUES, flags=re.MULTILINE)[1:]
    for index, (data, part) in enumerate(zip(log.entries, parts, strict=True)):
        printed = re.search(r"^  entry +([0-9a-f]+)( \|\| json)?$", part, re.MULTILINE)
        assert printed
        genesis = re.search(r"^  json +(.*)$", part, re.MULTILINE)
        want = bytes.fromhex(printed[1]) + (genesis[1].encode() if genesis else b"")
        assert data == want
        leaf = re.search(r"^  leaf +([0-9a-f]{64})$", part, re.MULTILINE)
        assert leaf
        assert log.tree.perfect(0, index).hex() == leaf[1]
        record = re.search(r"^  record +(.*)$", part, re.MULTILINE)
        hashed = re.search(r"^  rec_hash +([0-9a-f]{64})$", part, re.MULTILINE)
        if record and hashed:
            assert log.shown[index].record == record[1].encode()
            assert canonical(json.loads(record[1])) == record[1].encode()
            assert record_hash(record[1].encode()).hex() == hashed[1]
        for name, salt, opened in re.findall(
            r'^  field +(\w+) salt ([0-9a-f]+) value "(.*)"$', part, re.MULTILINE
        ):
            assert log.shown[index].fields[name] == (bytes.fromhex(salt), opened)
            assert bytes.fromhex(salt) == digest(f"mandate-example salt {index} {name}")


def test_subject_trees_and_maps_come_out_the_same(log):
    """Counts, roots and map values of all subjects, bucket leaves and the map root are those printed."""
    for subject in ("person:Li Wei", "group:g1", "account:a7", "jurisdiction:NL"):
        tag = log.tag(*subject.split(":"))
        n, root = log.subject(tag)
        printed = value(rf"^  {subject} +(\d [0-9a-f]{{64}} [0-9a-f]{{64}})$").split()
        assert [str(n), root.hex(), entries.subject_value(tag, n, root).hex()] == printed
    for bucket in range(4):
        leaf = log.map.leaves()[bucket * 32 : bucket * 32 + 32].hex()
        count = len(log.buckets.get(bucket, {}))
        assert [str(count), leaf] == value(rf"^  {bucket} count (\d [0-9a-f]{{64}})$").split()
    assert log.map.root().hex() == value(r"^  root ([0-9a-f]{64})$")


def test_roots_and_the_consistency_proof_come_out_the_same(log):
    """Roots at 3 and 6 and the proof between them are those printed, and the proof holds."""
    old, new = (bytes.fromhex(value(rf"^root at size {size}: (.*)$")) for size in (3, 6))
    assert (log.tree.root(3), log.tree.root(6)) == (old, new)
    proof = prove_consistency(3, 6, log.log_hash)
    assert [part.hex() for part in proof] == value(r"^consistency 3 to 6: (.*)$").split()
    check_consistency(3, 6, old, new, proof)


def test_the_receipt_comes_out_the_same(log):
    """The signed receipt for record 2 is the one printed."""
    printed = VALUES.split("receipt for record 2 (the note)\n")[1]
    assert json.loads(log.receipt(3))["note"] == printed


def test_the_bundle_comes_out_the_same(log):
    """The bundle for a reader with a state of size 3 is the one printed, signatures included."""
    assert bundle_of(log, old_size=3) == (EXAMPLE / "group-g1.bundle").read_bytes()


@pytest.fixture
def state(tmp_path) -> Path:
    """What a reader keeps who has seen size 3."""
    path = tmp_path / "state.json"
    root = value(r"^root at size 3: (.*)$")
    seen = {
        "format": "mandate-trail/1",
        "origin": "mandate.example/trail/1",
        "root": root,
        "size": 3,
        "subjects": {},
    }
    path.write_bytes(canonical(seen))
    return path


def test_the_bundle_is_accepted_and_remembered(log, state, tmp_path):
    """The printed bundle is accepted from state 3, with its receipt, and the new state is that of size 6."""
    receipt = tmp_path / "receipt.json"
    receipt.write_bytes(log.receipt(3))
    verdict = verify_bundle(
        EXAMPLE / "group-g1.bundle",
        policy=EXAMPLE / "trust.json",
        state=state,
        subject=("group", "g1"),
        receipt=receipt,
    )
    assert verdict.outcome == "ACCEPTED"
    assert (verdict.facts.compared_size, verdict.facts.receipt_index) == (3, 3)
    root, subject = value(r"^root at size 6: (.*)$"), value(r"^  group:g1 +2 ([0-9a-f]{64})")
    kept = json.loads(state.read_bytes())
    assert (kept["size"], kept["root"]) == (6, root)
    assert kept["subjects"] == {log.tag("group", "g1").hex(): {"n": 2, "root": subject}}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_tree_of_a_subject_is_the_tree_of_its_leaves(log):
    """The subject tree of the group is the tree over the leaves of its two entries."""
    leaves = [log.tree.perfect(0, index) for index in (1, 3)]
    assert Tree(leaves).root() == log.subject(log.tag("group", "g1"))[1]


def test_every_changed_byte_is_refused(state, tmp_path):
    """S008: a bundle with any one byte changed, added or left out is not accepted, whatever else is true."""
    original = (EXAMPLE / "group-g1.bundle").read_bytes()
    path = tmp_path / "bundle"
    kept = state.read_bytes()
    for at in range(0, len(original), 19):
        changed = bytearray(original)
        changed[at] ^= 1 + at % 7
        for data in (
            bytes(changed),
            original[:at] + original[at + 1 :],
            original[:at] + b"0" + original[at:],
        ):
            if data == original:
                continue
            path.write_bytes(data)
            verdict = verify_bundle(path, policy=EXAMPLE / "trust.json", state=state)
            assert verdict.outcome == "REJECTED"
            assert verdict.code != "E_UNFORESEEN"
    assert state.read_bytes() == kept
