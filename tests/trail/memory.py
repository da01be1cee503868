"""A log in memory: what the sequencer does, in the fewest lines, for tests and benchmarks."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from service.trail import entry as entries
from service.trail import note as notes
from service.trail.bundle import Shown, write_bundle
from service.trail.merkle import MapTree, Tree, leaf
from service.trail.record import SUBJECT_TYPES, canonical, commitment, record_hash
from service.trail.record import tag as tag_of

EXAMPLE = Path(__file__).parent / "example"

T0 = 1_790_000_000_000_000
SECOND = 1_000_000


def digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


class MemoryLog:
    """Also a `Source` of bundles, at its last checkpoint."""

    def __init__(
        self,
        origin: str,
        *,
        time_us: int,
        map_bits: int = 2,
        mmd_us: int = 10_000_000,
        seed: str = "mandate-example",
    ):
        self.origin = origin
        self.seed = seed
        self.log_key = notes.Signer(origin, digest(f"{seed} log"))
        self.receipt_key = notes.Signer(f"{origin}/receipt", digest(f"{seed} receipt"))
        self.witness = notes.Signer("witness.example/w1", digest(f"{seed} witness"), notes.COSIGNATURE)
        self.tag_keys = {kind: digest(f"{seed} tag {kind}") for kind in SUBJECT_TYPES}
        self.policy_digest = sha256(b"policy edition 1").hexdigest()
        self.mmd_us = mmd_us
        self.entries: list[bytes] = []
        self.tree = Tree()
        self.subjects: dict[bytes, Tree] = {}
        self.subject_indices: dict[bytes, list[int]] = {}
        self.buckets: dict[int, dict[bytes, bytes]] = {}
        self.map_bits = map_bits
        self.map = MapTree(map_bits, entries.empty_map(map_bits))
        self.touched: set[bytes] = set()
        self.shown: dict[int, Shown] = {}
        self.by_id: dict[str, int] = {}
        self.config_indices: list[int] = []
        self.size = 0
        self.sizes: list[int] = []
        self.checkpoint = ""
        genesis = {
            "format": "mandate-trail/1",
            "kind": "genesis",
            "log_vkey": str(self.log_key.vkey),
            "map_bits": map_bits,
            "mmd_us": mmd_us,
            "origin": origin,
            "policy": self.policy_digest,
            "prev": None,
            "receipt_vkey": str(self.receipt_key.vkey),
            "tag_key_sha256": {kind: sha256(key).hexdigest() for kind, key in self.tag_keys.items()},
        }
        self.config(genesis, time_us)

    # Growing.

    def _append(self, data: bytes) -> int:
        self.entries.append(data)
        self.tree.append(leaf(data))
        return len(self.entries) - 1

    def config(self, value: Any, time_us: int) -> int:
        self.config_indices.append(len(self.entries))
        return self._append(entries.encode_config(len(self.entries), time_us, canonical(value)))

    def record(
        self,
        record: dict[str, Any],
        time_us: int,
        fields: dict[str, tuple[bytes, Any]] | None = None,
        *,
        body: bytes | None = None,
        tags: list[str] | None = None,
        skip: frozenset[bytes] = frozenset(),
    ) -> int:
        """Log a record. The rest makes a dishonest log: another body, other tags, subjects whose tree skips
        it.
        """
        body = canonical(record) if body is None else body
        held_by = [bytes.fromhex(text) for text in tags or record["subj"]]
        pairs = [(held, len(self.subject_indices.setdefault(held, []))) for held in held_by]
        data = entries.encode_record(len(self.entries), time_us, record_hash(body), pairs)
        index = self._append(data)
        for held in held_by:
            if held not in skip:
                self.subjects.setdefault(held, Tree()).append(leaf(data))
                self.subject_indices[held].append(index)
                self.touched.add(held)
        self.shown[index] = Shown(index, data, body, fields or {})
        self.by_id[record["id"]] = index
        return index

    def publish(
        self, time_us: int, witness_s: int | None = None, *, signers: list[notes.Signer] | None = None
    ) -> int:
        """Append a map entry and sign; returns the new size."""
        changed: dict[int, bytes] = {}
        for held in self.touched:
            bucket = entries.bucket_of(held, self.map_bits)
            tree = self.subjects[held]
            members = self.buckets.setdefault(bucket, {})
            members[held] = entries.subject_value(held, len(tree), tree.root())
            changed[bucket] = b""
        for bucket in changed:
            members = b"".join(part for pair in sorted(self.buckets[bucket].items()) for part in pair)
            changed[bucket] = entries.bucket_leaf(bucket, members)
        self.touched.clear()
        self.map.update(changed)
        self._append(entries.encode_map(len(self.entries), time_us, len(self.subjects), self.map.root()))
        self.size = len(self.entries)
        self.sizes.append(self.size)
        text = str(notes.Checkpoint(self.origin, self.size, self.tree.root()))
        lines = [signer.sign(text) for signer in signers or [self.log_key]]
        if witness_s is not None:
            lines.append(self.witness.cosign(text, witness_s))
        self.checkpoint = str(notes.Note(text, tuple(lines)))
        return self.size

    def receipt(self, index: int) -> bytes:
        shown = self.shown[index]
        assert shown.record is not None
        record_id = next(name for name, at in self.by_id.items() if at == index)
        ts_us = int(shown.record.split(b'"ts_us":')[1].split(b",")[0])
        text = str(notes.Promise(self.origin, record_id, record_hash(shown.record), ts_us, self.mmd_us))
        note = notes.Note(text, (self.receipt_key.sign(text),))
        return canonical({"kind": "receipt", "note": str(note), "record": notes.to_base64(shown.record)})

    # Answering, as a Source.

    def tag(self, subject_type: str, subject_id: str) -> bytes:
        return tag_of(self.tag_keys[subject_type], subject_type, subject_id)

    def tags(self, *subjects: str) -> list[str]:
        return sorted(self.tag(*subject.split(":", 1)).hex() for subject in subjects)

    def configs(self):
        return [(index, self.entries[index]) for index in self.config_indices if index < self.size]

    def log_hash(self, start: int, count: int) -> bytes:
        return self.tree.hash_of(start, count)

    def map_entry(self) -> bytes:
        return self.entries[self.size - 1]

    def bucket(self, tag: bytes):
        bucket = entries.bucket_of(tag, self.map_bits)
        return sorted(self.buckets.get(bucket, {}).items()), self.map.path(bucket)

    def subject(self, tag: bytes):
        tree = self.subjects.get(tag)
        return (len(tree), tree.root()) if tree else None

    def subject_hash(self, tag: bytes, start: int, count: int) -> bytes:
        return self.subjects[tag].hash_of(start, count)

    def records(self, tag: bytes, a: int, b: int):
        return (self.shown[index] for index in self.subject_indices[tag][a:b])

    def by_ids(self, ids: Iterable[str]):
        return [self.shown[index] for index in sorted(self.by_id[name] for name in ids if name in self.by_id)]

    # Writing records.

    def policy(self, **changes: Any) -> dict[str, Any]:
        policy = {
            "log_keys": [{"from_size": 0, "to_size": None, "vkey": str(self.log_key.vkey)}],
            "min_time_us": None,
            "mmd_us": self.mmd_us,
            "origin": self.origin,
            "quorum": 1,
            "receipt_keys": [str(self.receipt_key.vkey)],
            "require_complete": True,
            "require_state": False,
            "skew_us": 5_000_000,
            "tag_keys": {kind: key.hex() for kind, key in self.tag_keys.items()},
            "witnesses": [str(self.witness.vkey)],
        }
        return policy | changes

    def draft(
        self,
        number: int,
        subjects: list[str],
        ts_us: int,
        fields: dict[str, Any] | None = None,
        **changes: Any,
    ):
        """A record and its opened fields; `changes` replace members."""
        opened = {
            name: (digest(f"{self.seed} salt {number} {name}"), value)
            for name, value in (fields or {}).items()
        }
        record = {
            "act": "account.mute",
            "basis": ["rules:4.2"],
            "by": {"kind": "system", "standing": "system.timer", "tag": None},
            "id": f"01a0c450-6f84-7000-8000-{number:012x}",
            "links": [],
            "out": "done",
            "p": {},
            "policy": self.policy_digest,
            "req": None,
            "rule": None,
            "sd": {name: commitment(salt, name, value).hex() for name, (salt, value) in opened.items()},
            "subj": self.tags(*subjects),
            "ts_us": ts_us,
            "v": 1,
            "why": None,
        }
        return record | changes, opened


def bundle_of(log: MemoryLog, subject=("group", "g1"), **options) -> bytes:
    written: list[bytes] = []
    write_bundle(log, written.append, subject, **options)
    return b"".join(written)


def build_full_log() -> MemoryLog:
    """Group g1 has seven records: a link to a cited one, a redaction, an erasure, a retired body, a key
    change.
    """
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
    next_key = notes.Signer(log.origin, digest("full log 2"))
    change = str(notes.KeyChange(log.origin, log.log_key.vkey, next_key.vkey, 10))
    both = (log.log_key.sign(change), next_key.sign(change))
    log.config({"kind": "key", "note": str(notes.Note(change, both))}, T0 + at[0] + 2000)
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
