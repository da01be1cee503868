"""Step 9 of the verifier: each record, alone and against its entry."""

from typing import Any

from service.trail.entry import RecordEntry
from service.trail.note import from_base64
from service.trail.record import (
    ID,
    RECORD_BYTES,
    ProfileError,
    ShapeError,
    commitment_of_json,
    encoded,
    read_record,
    record_hash,
)
from service.trail.verify.lines import Lines
from service.trail.verify.opening import Opening
from service.trail.verify.references import References, pack_id
from service.trail.verify.trust import Policy, Receipt
from service.trail.verify.verdict import Facts, Fault


class Records:
    """The record and cited lines of a bundle. The record of a `receipt` is looked out for."""

    def __init__(
        self, lines: Lines, policy: Policy, opening: Opening, facts: Facts, receipt: Receipt | None
    ) -> None:
        self._lines = lines
        self._policy = policy
        self._opening = opening
        self._facts = facts
        self._receipt = receipt
        self._references = References()

    def run(self) -> None:
        """Take and check all of them, and what they say about one another."""
        for line in self._lines.every("record"):
            self._record(line)
        if len(self._opening.entries.records) != self._facts.b - self._facts.a:
            raise Fault("E_COMPLETE")
        for line in self._lines.every("cited"):
            self._cite(line)
        self._references.check()

    def _record(self, line: dict[str, Any]) -> None:
        entries, history = self._opening.entries, self._opening.history
        entry, digest = entries.take(line, self._lines.number, RecordEntry, entries.records)
        record, record_id = self._body(line, entry)
        if self._opening.tag not in entry.tags:
            raise Fault("E_SUBJECT", index=entry.index, line=self._lines.number)
        number = entry.numbers[entry.tags.index(self._opening.tag)]
        if number != history.size or number >= self._facts.b:
            raise Fault("E_SEQ", index=entry.index, line=self._lines.number)
        if record is not None:
            self._references.add(record, record_id, entry.index, cited=False)
        history.append(digest)

    def _cite(self, line: dict[str, Any]) -> None:
        entries = self._opening.entries
        entry, _ = entries.take(line, self._lines.number, RecordEntry, entries.cited)
        record, record_id = self._body(line, entry)
        numbers = dict(zip(entry.tags, entry.numbers, strict=True))
        in_range = self._facts.a <= numbers.get(self._opening.tag, -1) < self._facts.b
        # Nothing can refer to a record whose body, and so its id, is gone.
        if in_range or record is None:
            raise Fault("E_CITED", index=entry.index, line=self._lines.number)
        self._references.add(record, record_id, entry.index, cited=True)
        self._facts.cited += 1

    def _body(self, line: dict[str, Any], entry: RecordEntry) -> tuple[dict[str, Any] | None, bytes]:
        """The record of a line and its packed id, checked alone; None if its body is gone."""
        number, text, gone = self._lines.number, line["record"], line["gone"]
        index = entry.index
        self._keep_promise(entry)
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
        record_id = pack_id(record["id"])
        self._fields(line, record, record_id, entry)
        return record, record_id

    def _keep_promise(self, entry: RecordEntry) -> None:
        """Section 4.2: the record of the receipt stands under all its subjects, and in time, be its body gone or not."""
        receipt, facts = self._receipt, self._facts
        # What was logged twice was kept by the first.
        if receipt is None or facts.receipt_index is not None:
            return
        promise = receipt.promise
        if entry.record_hash != promise.record_hash:
            return
        if frozenset(entry.tags) != receipt.tags:
            raise Fault("E_SUBJECT", index=entry.index, line=self._lines.number)
        if entry.time_us - promise.ts_us > promise.mmd_us:
            raise Fault("E_BACKDATED", index=entry.index, line=self._lines.number)
        facts.receipt_index = entry.index

    def _retire(self, line: dict[str, Any], index: int) -> None:
        if line["fields"] or line["withheld"] or not ID.fullmatch(line["gone"]):
            raise Fault("E_FORMAT", index=index, line=self._lines.number)
        self._references.retired(line["gone"], index)
        self._facts.gone += 1

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
                salt = from_base64(opened["salt"], 32)
                # The line that holds the value was canonical, so the value is.
                bound = commitment_of_json(salt, name, encoded(opened["value"]))
            except ValueError:
                raise Fault("E_FIELD", index=index, line=number, name=name) from None
            if bound.hex() != committed[name]:
                raise Fault("E_FIELD", index=index, line=number, name=name)
        self._facts.fields_shown += len(shown)
        deleted: dict[str, list[str]] = {}
        for name, by in withheld.items():
            if by is None:
                self._facts.fields_withheld += 1
            elif type(by) is str and ID.fullmatch(by):
                deleted.setdefault(by, []).append(name)
            else:
                raise Fault("E_FORMAT", index=index, line=number, name=name)
        for by, names in deleted.items():
            self._references.redacted(by, index, record_id, entry.tags, names)
            self._facts.fields_redacted += len(names)
