"""Steps 2 to 14 of the verifier, line by line (trail-format section 10).

Memory: one line, and for every entry shown its index, time, leaf hash and record id; what a later line must answer
for (links, deletions) waits packed. Nothing grows faster than the file.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from hashlib import sha256
from heapq import merge
from typing import Any, Final, TypeVar

from service.trail.entry import (
    FORMAT,
    LONGEST_ENTRY,
    MEMBER_BYTES,
    ConfigEntry,
    ConfigError,
    Entry,
    EntryError,
    Genesis,
    KeyEntryError,
    MapEntry,
    Notice,
    RecordEntry,
    bucket_leaf,
    bucket_of,
    decode,
    read_config,
    subject_value,
)
from service.trail.merkle import (
    Frontier,
    ProofError,
    check_consistency,
    close_range,
    leaf,
    open_range,
    root_of_inclusion,
    root_of_leaves,
)
from service.trail.note import (
    Checkpoint,
    Note,
    NoteError,
    Promise,
    SignatureError,
    from_base64,
    signed_by,
)
from service.trail.record import (
    HEX_DIGEST,
    ID,
    RECORD_BYTES,
    SUBJECT_TYPES,
    ProfileError,
    ShapeError,
    SubjectError,
    check_subject_id,
    commitment,
    parse,
    read_record,
    record_hash,
    tag,
)
from service.trail.verify.lines import Lines
from service.trail.verify.trust import Policy, State
from service.trail.verify.verdict import Facts, Fault

NODES_IN_A_LINE: Final = 4_096
MOST_CONSISTENCY_HASHES: Final = 128
SECOND_US: Final = 1_000_000
DELETING: Final = frozenset(("field.redact", "person.erase", "record.retire"))

_TAG_BYTES: Final = 32

E = TypeVar("E", RecordEntry, MapEntry, ConfigEntry)


def _pack_id(record_id: str) -> bytes:
    return bytes.fromhex(record_id.replace("-", ""))


def _hashes(texts: list[Any], code: str, line: int) -> list[bytes]:
    try:
        return [from_base64(text, 32) for text in texts]
    except (ValueError, AttributeError, TypeError):
        raise Fault(code, line=line) from None


class _Shown:
    """The entries of one kind of line: index, time and leaf hash, by increasing index."""

    def __init__(self) -> None:
        self.indices = array("Q")
        self.times = array("Q")
        self.leaves = bytearray()

    def add(self, entry: Entry, data: bytes) -> None:
        self.indices.append(entry.index)
        self.times.append(entry.time_us)
        self.leaves += leaf(data)

    def holds(self, index: int) -> bool:
        at = bisect_left(self.indices, index)
        return at < len(self.indices) and self.indices[at] == index

    def __iter__(self) -> Iterator[tuple[int, int, bytes]]:
        for at, (index, time) in enumerate(zip(self.indices, self.times, strict=True)):
            yield index, time, bytes(self.leaves[at * 32 : at * 32 + 32])


class Receipt:
    """A receipt as the caller got it: canonical JSON with a note and the record. Section 4.2."""

    def __init__(self, data: bytes, policy: Policy) -> None:
        """Raises E_RECEIPT unless a receipt key of the policy signed it for exactly this record."""
        fault = Fault("E_RECEIPT", name="receipt")
        try:
            value = parse(data.removesuffix(b"\n"))
            if (
                type(value) is not dict
                or value.keys() != {"kind", "note", "record"}
                or value["kind"] != "receipt"
            ):
                raise fault
            note = Note.parse(str(value["note"]))
            self.promise = Promise.parse(note.text)
            body = from_base64(str(value["record"]))
            record = read_record(body)
            signed = signed_by(note, policy.receipt_keys)
        except (NoteError, ValueError):
            raise fault from None
        promise = self.promise
        same = (record["id"], record["ts_us"], record_hash(body)) == (
            promise.record_id,
            promise.ts_us,
            promise.record_hash,
        )
        if not signed or not same or promise.origin != policy.origin:
            raise fault
        self.tags = frozenset(map(bytes.fromhex, record["subj"]))


class Check:
    """One run over the lines of a bundle. `run` returns the state to keep, or raises the first fault."""

    def __init__(
        self,
        policy: Policy,
        state: State | None = None,
        asked: tuple[str, str] | None = None,
        receipt: bytes | None = None,
    ) -> None:
        self.facts = Facts(
            origin=policy.origin,
            pinned_keys=[str(key.vkey) for key in policy.log_keys],
            witnesses_known=len({key.name for key in policy.witnesses}),
            quorum=policy.quorum,
        )
        self._policy = policy
        self._state = state
        self._asked = asked
        self._receipt = None if receipt is None else Receipt(receipt, policy)
        self._promised = self._receipt.promise.record_hash if self._receipt else b""
        self._promise_index: int | None = None
        self._configs, self._maps, self._records, self._cited = _Shown(), _Shown(), _Shown(), _Shown()
        self._range = Frontier()
        self._watch: int | None = None
        # Per record shown its id, in 16 bytes, and its log index.
        self._ids: dict[bytes, int] = {}
        self._cited_ids: list[bytes] = []
        # Ids not among the records of the range that something refers to: the lowest index of a record linking to
        # it, None if only a deletion names it.
        self._referred: dict[bytes, int | None] = {}
        self._deletions: dict[bytes, tuple[int, dict[str, Any]]] = {}
        # Packed: id of the deleting record || u64 own index || own id || u8 k || k tags || names joined by a comma.
        self._redacted: list[bytes] = []
        # Packed: id of the retiring record || u64 own index.
        self._retired: list[bytes] = []

    def run(self, lines: Lines) -> State:
        """Check everything; the order of the lines is the order of the steps, but for the end."""
        self._lines = lines
        self._bundle(self._lines.take("bundle"))
        self._checkpoint(self._lines.take("checkpoint"))
        self._earlier_state()
        self._config()
        self._consistency()
        right = self._map_and_subject()
        for line in self._lines.every("record"):
            self._record(line)
        if len(self._records.indices) != self.facts.b - self.facts.a:
            raise Fault("E_COMPLETE")
        for line in self._lines.every("cited"):
            self._cite(line)
        self._across()
        self._close_range(right)
        self._include()
        self._lines.close()
        if self._policy.require_complete and (self.facts.a, self.facts.b) != (0, self.facts.n):
            raise Fault("E_COMPLETE")
        self._judge_receipt()
        return self._new_state()

    # Steps 2 to 4: whom it is about, and who stands for it.

    def _bundle(self, line: dict[str, Any]) -> None:
        number = self._lines.number
        subject, span = line["subject"], line["range"]
        if line["format"] != FORMAT or subject.keys() != {"id", "type"}:
            raise Fault("E_FORMAT", line=number)
        if [type(end) for end in span] != [int, int] or not 0 <= span[0] <= span[1]:
            raise Fault("E_FORMAT", line=number, name="range")
        self._origin = line["origin"]
        kind, name = subject["type"], subject["id"]
        if type(kind) is not str or type(name) is not str:
            raise Fault("E_FORMAT", line=number, name="subject")
        try:
            check_subject_id(name)
        except SubjectError:
            raise Fault("E_SUBJECT_ID", line=number) from None
        if kind not in SUBJECT_TYPES:
            raise Fault("E_SUBJECT_ID", line=number)
        self.facts.subject = f"{kind}:{name}"
        self.facts.a, self.facts.b = span
        if self._asked is not None and self._asked != (kind, name):
            raise Fault("E_SUBJECT", line=number)
        key = self._policy.tag_keys.get(kind)
        if key is None:
            raise Fault("E_POLICY", name=f"tag_keys.{kind}", undecided=True)
        self._kind, self._tag_key = kind, key
        self._tag = tag(key, kind, name)

    def _checkpoint(self, line: dict[str, Any]) -> None:
        number, policy, facts = self._lines.number, self._policy, self.facts
        try:
            note = Note.parse(line["note"])
        except NoteError:
            raise Fault("E_NOTE", line=number) from None
        try:
            checkpoint = Checkpoint.parse(note.text)
        except NoteError:
            raise Fault("E_CHECKPOINT", line=number) from None
        if not checkpoint.origin == policy.origin == self._origin:
            raise Fault("E_ORIGIN", line=number)
        facts.size, facts.root = checkpoint.size, checkpoint.root
        try:
            by_log = {signed.key for signed in signed_by(note, [key.vkey for key in policy.log_keys])}
        except SignatureError as fault:
            raise Fault("E_SIG", line=number, name=fault.key.name) from None
        if not by_log:
            raise Fault("E_SIG", line=number)
        valid = {key.vkey for key in policy.log_keys if key.vkey in by_log and key.valid_at(facts.size)}
        if not valid:
            raise Fault("E_KEY_RANGE", line=number)
        facts.signed_keys = sorted(map(str, valid))
        try:
            seen = signed_by(note, policy.witnesses)
        except SignatureError as fault:
            raise Fault("E_COSIG", line=number, name=fault.key.name) from None
        # The earliest time of a witness: every one of his signatures must be late enough.
        for signed in seen:
            time = signed.time or 0
            facts.witness_times[signed.key.name] = min(time, facts.witness_times.get(signed.key.name, time))
        if len(facts.witness_times) < policy.quorum:
            raise Fault("E_QUORUM", line=number)

    def _earlier_state(self) -> None:
        if self._state is None:
            if self._policy.require_state:
                raise Fault("E_STATE", undecided=True)
            return
        if self._state.origin != self.facts.origin:
            raise Fault("E_ORIGIN")
        if self._state.size > self.facts.size:
            raise Fault("E_ROLLBACK")
        if self._state.size == self.facts.size:
            if self._state.root != self.facts.root:
                raise Fault("E_FORK")
            self.facts.compared_size = self._state.size

    def _consistency(self) -> None:
        old_size, hashes, number = None, [], self._lines.number
        if self._lines.is_next("consistency"):
            line, number = self._lines.take("consistency"), self._lines.number
            old_size = line["old_size"]
            if not 0 < old_size < self.facts.size or len(line["hashes"]) > MOST_CONSISTENCY_HASHES:
                raise Fault("E_FORMAT", line=number)
            hashes = _hashes(line["hashes"], "E_FORK", number)
        state = self._state
        if state is None or state.size == self.facts.size:
            return
        if old_size != state.size:
            raise Fault("E_NO_CONSISTENCY")
        try:
            check_consistency(state.size, self.facts.size, state.root, self.facts.root, hashes)
        except ProofError:
            raise Fault("E_FORK", line=number) from None
        self.facts.compared_size = state.size

    # Steps 5 to 8: the log itself, the map, the subject.

    def _entry(self, line: dict[str, Any], kind: type[E], shown: _Shown) -> tuple[E, bytes]:
        number, index = self._lines.number, line["index"]
        # Base64 takes four characters for three bytes; longer texts are not decoded at all.
        if len(line["entry"]) > LONGEST_ENTRY * 4 // 3 + 4:
            raise Fault("E_LIMIT", index=index, line=number)
        try:
            data = from_base64(line["entry"])
            if len(data) > LONGEST_ENTRY:
                raise Fault("E_LIMIT", index=index, line=number)
            entry = decode(data)
        except (EntryError, ValueError):
            raise Fault("E_ENTRY", index=index, line=number) from None
        if not isinstance(entry, kind):
            raise Fault("E_ENTRY", index=index, line=number)
        if entry.index != index or index >= self.facts.size:
            raise Fault("E_INDEX", index=index, line=number)
        last = shown.indices[-1] if shown.indices else -1
        if index == last or any(
            other.holds(index) for other in (self._configs, self._maps, self._records, self._cited)
        ):
            raise Fault("E_DUP_INDEX", index=index, line=number)
        if index < last:
            raise Fault("E_ORDER", index=index, line=number)
        return entry, data

    def _config(self) -> None:
        for line in self._lines.every("config"):
            entry, data = self._entry(line, ConfigEntry, self._configs)
            place = {"index": entry.index, "line": self._lines.number}
            try:
                config = read_config(entry.body)
            except KeyEntryError:
                raise Fault("E_KEY_ENTRY", **place) from None
            except ConfigError:
                raise Fault("E_CONFIG", **place) from None
            if isinstance(config, Genesis) != (entry.index == 0) or (
                entry.index and not self._configs.indices
            ):
                raise Fault("E_CONFIG", **place)
            if isinstance(config, Genesis):
                self._found(config, place)
            elif isinstance(config, Notice):
                self.facts.notices.append(config.code)
            else:
                pinned = {key.vkey for key in self._policy.log_keys}
                known = config.old in pinned or config.new in pinned
                if config.origin != self.facts.origin or config.from_size <= entry.index or not known:
                    raise Fault("E_KEY_ENTRY", **place)
                self.facts.key_entries += 1
            self._configs.add(entry, data)
        if not self._configs.indices:
            raise Fault("E_FORMAT", line=self._lines.number + 1)

    def _found(self, genesis: Genesis, place: dict[str, int]) -> None:
        if genesis.origin != self.facts.origin:
            raise Fault("E_CONFIG", **place)
        if record_key_digest(self._tag_key) != genesis.tag_key_sha256[self._kind]:
            raise Fault("E_TAG_KEY", **place)
        self._map_bits = genesis.map_bits
        self._log_mmd_us = genesis.mmd_us

    def _map_and_subject(self) -> list[bytes]:
        """Check map and subject line; returns the right side of the range proof."""
        line, number, facts = self._lines.take("map"), self._lines.number, self.facts
        entry, data = self._entry(line, MapEntry, self._maps)
        self._maps.add(entry, data)
        facts.map_time_us = entry.time_us
        if entry.index != facts.size - 1:
            raise Fault("E_MAP_STALE", index=entry.index, line=number)
        value = self._value_in_bucket(line, entry.map_root)
        subject = self._lines.take("subject") if self._lines.is_next("subject") else None
        if subject is None or value is None:
            if subject or value or (facts.a, facts.b) != (0, 0):
                raise Fault("E_COMPLETE", line=self._lines.number)
            return []
        number, facts.n = self._lines.number, subject["n"]
        if facts.n < 1 or not HEX_DIGEST.fullmatch(subject["root"]):
            raise Fault("E_COMPLETE", line=number)
        facts.subject_root = bytes.fromhex(subject["root"])
        if subject_value(self._tag, facts.n, facts.subject_root) != value or facts.b > facts.n:
            raise Fault("E_COMPLETE", line=number)
        try:
            self._range = open_range(facts.a, _hashes(subject["left"], "E_COMPLETE", number))
        except ProofError:
            raise Fault("E_COMPLETE", line=number) from None
        self._compare_subject()
        return _hashes(subject["right"], "E_COMPLETE", number)

    def _value_in_bucket(self, line: dict[str, Any], map_root: bytes) -> bytes | None:
        """The value of the subject in the bucket shown, None if it is not there. Raises E_MAP."""
        number, bits = self._lines.number, self._map_bits
        bucket = bucket_of(self._tag, bits)
        members, last, found = bytearray(), b"", None
        for member in line["bucket"]:
            if type(member) is not list or [type(text) for text in member] != [str, str]:
                raise Fault("E_MAP", line=number)
            if not all(map(HEX_DIGEST.fullmatch, member)):
                raise Fault("E_MAP", line=number)
            held, value = map(bytes.fromhex, member)
            if held <= last or bucket_of(held, bits) != bucket:
                raise Fault("E_MAP", line=number)
            if held == self._tag:
                found = value
            last = held
            members += held + value
        path = _hashes(line["path"], "E_MAP", number)
        digest = bucket_leaf(bucket, bytes(members))
        try:
            root = root_of_inclusion(bucket, 1 << bits, digest, path)
        except ProofError:
            raise Fault("E_MAP", line=number) from None
        if root != map_root or len(members) % MEMBER_BYTES:
            raise Fault("E_MAP", line=number)
        return found

    # Step 9: records.

    def _record(self, line: dict[str, Any]) -> None:
        entry, data = self._entry(line, RecordEntry, self._records)
        record, record_id = self._body(line, entry)
        place = {"index": entry.index, "line": self._lines.number}
        try:
            at = entry.tags.index(self._tag)
        except ValueError:
            raise Fault("E_SUBJECT", **place) from None
        position = self._range.size
        if entry.numbers[at] != position or position >= self.facts.b:
            raise Fault("E_SEQ", **place)
        if record is not None:
            known = record_id in self._referred and self._referred[record_id] is not None
            self._remember(record, record_id, entry.index)
            if known:
                raise Fault("E_LINK", **place)
            for link in record["links"]:
                target = _pack_id(link)
                if target not in self._ids:
                    self._refer(target, entry.index)
        self._records.add(entry, data)
        self._range.append(leaf(data))
        if position + 1 == self._watch:
            self._compare_subject()

    def _cite(self, line: dict[str, Any]) -> None:
        entry, data = self._entry(line, RecordEntry, self._cited)
        record, record_id = self._body(line, entry)
        place = {"index": entry.index, "line": self._lines.number}
        numbers = dict(zip(entry.tags, entry.numbers, strict=True))
        if self.facts.a <= numbers.get(self._tag, -1) < self.facts.b:
            raise Fault("E_CITED", **place)
        # Nothing can refer to a record whose id is not shown.
        if record is None:
            raise Fault("E_CITED", **place)
        self._remember(record, record_id, entry.index)
        self._cited_ids.append(record_id)
        for link in record["links"]:
            target = _pack_id(link)
            if self._ids.get(target, -1) >= entry.index:
                raise Fault("E_LINK", **place)
            self._refer(target, entry.index)
        self._cited.add(entry, data)
        self.facts.cited += 1

    def _body(self, line: dict[str, Any], entry: RecordEntry) -> tuple[dict[str, Any] | None, bytes]:
        """The record of a line and its packed id, checked alone; None if its body is gone."""
        number, text, gone = self._lines.number, line["record"], line["gone"]
        index = entry.index
        if entry.record_hash == self._promised:
            self._promise_index = index
        if (text is None) == (gone is None):
            raise Fault("E_FORMAT", index=index, line=number)
        if text is None:
            self._retire(line, index)
            return None, b""
        try:
            if len(text) > RECORD_BYTES * 4 // 3 + 4:
                raise Fault("E_LIMIT", index=index, line=number)
            body = from_base64(text)
        except ValueError:
            raise Fault("E_RECORD", index=index, line=number) from None
        if len(body) > RECORD_BYTES:
            raise Fault("E_LIMIT", index=index, line=number)
        if record_hash(body) != entry.record_hash:
            raise Fault("E_RECORD", index=index, line=number)
        try:
            record = read_record(body)
        except ProfileError as fault:
            raise Fault("E_CANON", index=index, line=number, name=fault.pointer or None) from None
        except ShapeError as fault:
            raise Fault("E_SHAPE", index=index, line=number, name=fault.pointer or None) from None
        if record["subj"] != [held.hex() for held in entry.tags]:
            raise Fault("E_SUBJECT", index=index, line=number)
        if record["ts_us"] > entry.time_us + self._policy.skew_us:
            raise Fault("E_TIME", index=index, line=number)
        if entry.time_us - record["ts_us"] > self._policy.mmd_us:
            raise Fault("E_BACKDATED", index=index, line=number)
        record_id = _pack_id(record["id"])
        self._fields(line, record, record_id, entry)
        return record, record_id

    def _retire(self, line: dict[str, Any], index: int) -> None:
        if line["fields"] or line["withheld"] or not ID.fullmatch(line["gone"]):
            raise Fault("E_FORMAT", index=index, line=self._lines.number)
        by = _pack_id(line["gone"])
        self._referred.setdefault(by, None)
        self._retired.append(by + index.to_bytes(8, "big"))
        self.facts.gone += 1

    def _fields(
        self, line: dict[str, Any], record: dict[str, Any], record_id: bytes, entry: RecordEntry
    ) -> None:
        shown, withheld, committed = line["fields"], line["withheld"], record["sd"]
        index, number = entry.index, self._lines.number
        if len(shown) + len(withheld) != len(committed) or shown.keys() | withheld.keys() != committed.keys():
            raise Fault("E_FIELDS", index=index, line=number)
        for name, opened in shown.items():
            if (
                type(opened) is not dict
                or opened.keys() != {"salt", "value"}
                or type(opened["salt"]) is not str
            ):
                raise Fault("E_FORMAT", index=index, line=number, name=name)
            try:
                bound = commitment(from_base64(opened["salt"], 32), name, opened["value"])
            except ValueError:
                raise Fault("E_FIELD", index=index, line=number, name=name) from None
            if bound.hex() != committed[name]:
                raise Fault("E_FIELD", index=index, line=number, name=name)
        self.facts.fields_shown += len(shown)
        deleted: dict[str, list[str]] = {}
        for name, by in withheld.items():
            if by is None:
                self.facts.fields_withheld += 1
            elif type(by) is str and ID.fullmatch(by):
                deleted.setdefault(by, []).append(name)
            else:
                raise Fault("E_FORMAT", index=index, line=number, name=name)
        for by, names in deleted.items():
            self._referred.setdefault(_pack_id(by), None)
            self.facts.fields_redacted += len(names)
            tags = bytes((len(entry.tags),)) + b"".join(entry.tags)
            own = index.to_bytes(8, "big") + record_id
            self._redacted.append(_pack_id(by) + own + tags + ",".join(names).encode())

    def _remember(self, record: dict[str, Any], record_id: bytes, index: int) -> None:
        if record_id in self._ids:
            raise Fault("E_DUP_ID", index=index, line=self._lines.number)
        self._ids[record_id] = index
        if record["act"] in DELETING and record["out"] == "done" and record["basis"]:
            kept = {
                "act": record["act"],
                "p": record["p"],
                "subj": frozenset(map(bytes.fromhex, record["subj"])),
            }
            self._deletions[record_id] = (index, kept)

    def _refer(self, target: bytes, index: int) -> None:
        before = self._referred.get(target)
        self._referred[target] = index if before is None else min(before, index)

    # Steps 10 to 13: what holds across all that is shown.

    def _across(self) -> None:
        for record_id in self._cited_ids:
            if record_id not in self._referred:
                raise Fault("E_CITED", index=self._ids[record_id])
        for record_id in self._cited_ids:
            linked = self._referred[record_id]
            if linked is not None and linked <= self._ids[record_id]:
                raise Fault("E_LINK", index=linked)
        for packed in self._redacted:
            if not self._is_redacted(packed):
                raise Fault("E_REDACTION", index=int.from_bytes(packed[16:24], "big"))
        for packed in self._retired:
            index = int.from_bytes(packed[16:24], "big")
            by, deletion = self._deletions.get(packed[:16], (0, {}))
            if by <= index or deletion["act"] != "record.retire" or not _retires(deletion["p"], index):
                raise Fault("E_REDACTION", index=index)
        facts, last = self.facts, 0
        for index, time, _ in self._all():
            if time < last:
                raise Fault("E_TIME", index=index)
            last = time
        for name, time in facts.witness_times.items():
            if (time + 1) * SECOND_US + self._policy.skew_us < facts.map_time_us:
                raise Fault("E_TIME", name=name)
        if facts.map_time_us < (self._policy.min_time_us or 0):
            raise Fault("E_STALE")

    def _is_redacted(self, packed: bytes) -> bool:
        """Whether the record named by a packed deletion is shown, later, and orders just this."""
        by, deletion = self._deletions.get(packed[:16], (0, {}))
        index, own, count = int.from_bytes(packed[16:24], "big"), packed[24:40], packed[40]
        if by <= index:
            return False
        end = 41 + count * _TAG_BYTES
        tags = {packed[at : at + _TAG_BYTES] for at in range(41, end, _TAG_BYTES)}
        if deletion["act"] == "person.erase":
            return bool(tags & deletion["subj"])
        fields, target = deletion["p"].get("fields"), deletion["p"].get("record")
        if deletion["act"] != "field.redact" or type(fields) is not list or type(target) is not str:
            return False
        ordered = all(name in fields for name in packed[end:].decode().split(","))
        return (
            ordered
            and ID.fullmatch(target) is not None
            and _pack_id(target) == own
            and tags <= deletion["subj"]
        )

    def _compare_subject(self) -> None:
        """Compare with the state when the range has reached the number of records seen before."""
        seen = self._state.subjects.get(self._tag) if self._state else None
        if seen is None:
            return
        self._watch, old_root = seen
        if self._watch == self._range.size:
            if self._range.root() != old_root:
                raise Fault("E_FORK")
            self.facts.subject_compared = self._watch

    def _close_range(self, right: list[bytes]) -> None:
        facts = self.facts
        if facts.n:
            try:
                root = close_range(self._range, facts.n, right)
            except ProofError:
                raise Fault("E_COMPLETE") from None
            if root != facts.subject_root:
                raise Fault("E_COMPLETE")
        seen = self._state.subjects.get(self._tag) if self._state else None
        if seen is None:
            return
        if facts.n < seen[0]:
            raise Fault("E_ROLLBACK")
        if facts.n == seen[0]:
            if facts.subject_root != seen[1]:
                raise Fault("E_FORK")
            facts.subject_compared = facts.n

    def _all(self) -> Iterator[tuple[int, int, bytes]]:
        return merge(self._configs, self._maps, self._records, self._cited)

    def _include(self) -> None:
        facts = self.facts
        shown = ((index, digest) for index, _, digest in self._all())
        try:
            root = root_of_leaves(shown, facts.size, self._nodes())
        except ProofError:
            raise Fault("E_INCLUSION") from None
        if root != facts.root:
            raise Fault("E_INCLUSION")
        facts.shown = len(self._records.indices)
        ranges = [kind.times[0] for kind in (self._records, self._cited) if kind.times]
        facts.earliest_us = min(ranges, default=None)

    def _nodes(self) -> Iterator[bytes]:
        full, count = True, 0
        for line in self._lines.every("nodes"):
            hashes, count = line["hashes"], count + 1
            if not full or len(hashes) > NODES_IN_A_LINE or (count > 1 and not hashes):
                raise Fault("E_FORMAT", line=self._lines.number)
            full = len(hashes) == NODES_IN_A_LINE
            yield from _hashes(hashes, "E_INCLUSION", self._lines.number)
        if not count:
            raise Fault("E_FORMAT", line=self._lines.number + 1)

    # Step 14 and what is left.

    def _judge_receipt(self) -> None:
        if self._receipt is None:
            return
        promise, facts = self._receipt.promise, self.facts
        if promise.mmd_us != self._log_mmd_us:
            raise Fault("E_RECEIPT", name="mmd_us")
        facts.receipt_index = self._promise_index
        if self._promise_index is not None:
            return
        due = promise.ts_us + promise.mmd_us + self._policy.skew_us
        complete = (facts.a, facts.b) == (0, facts.n)
        # Only then is the absence of the record a proof against the service.
        broken = complete and self._tag in self._receipt.tags and facts.map_time_us > due
        raise Fault("E_RECEIPT", undecided=not broken)

    def _new_state(self) -> State:
        facts, old = self.facts, self._state
        new = State(facts.origin, facts.size, facts.root, old.subjects if old else {})
        seen = new.subjects.get(self._tag)
        # A part that could not be compared must not displace what a later, complete bundle can be compared with.
        if facts.n and (seen is None or facts.subject_compared is not None):
            new = new.with_subject(self._tag, facts.n, facts.subject_root)
        return new


def _retires(p: dict[str, Any], index: int) -> bool:
    start, end = p.get("from_index"), p.get("to_index")
    return type(start) is int and type(end) is int and start <= index < end


def record_key_digest(key: bytes) -> bytes:
    """SHA-256 of a tag key, as entry 0 holds it."""
    return sha256(key).digest()
