"""Step 10 of the verifier: ids, links and deletions among the records shown (trail-format section 9.1).

A line may refer to a later one, so what is not answered yet waits, packed: memory grows with the file,
never faster.
"""

from dataclasses import dataclass
from typing import Any

from service.trail.record import ID, KEY, MOST_FIELDS
from service.trail.verify.verdict import Fault

_ID_BYTES = 16
_TAG_BYTES = 32


def pack_id(record_id: str) -> bytes:
    """The 16 bytes of a record id."""
    return bytes.fromhex(record_id.replace("-", ""))


@dataclass(frozen=True, slots=True)
class Deletion:
    """A record shown that orders a deletion: what it touches, and no more of it than that."""

    index: int
    act: str
    tags: frozenset[bytes]
    record: bytes = b""
    fields: frozenset[str] = frozenset()
    start: int = 0
    end: int = 0

    @classmethod
    def of(cls, record: dict[str, Any], index: int) -> "Deletion | None":
        """The deletion a record orders, None if it orders none: it must be done, have a basis, and say
        what.
        """
        act, p = record["act"], record["p"]
        if record["out"] != "done" or not record["basis"]:
            return None
        tags = frozenset(map(bytes.fromhex, record["subj"]))
        if act == "person.erase":
            whom = _erased(p, record["subj"])
            return cls(index, act, whom) if whom else None
        if act == "record.retire":
            start, end = p.get("from_index"), p.get("to_index")
            if type(start) is int and type(end) is int:
                return cls(index, act, tags, start=start, end=end)
        if act == "field.redact":
            names, target = p.get("fields"), p.get("record")
            named = type(names) is list and len(names) <= MOST_FIELDS and type(target) is str
            if named and ID.fullmatch(target) and all(type(n) is str and KEY.fullmatch(n) for n in names):
                return cls(index, act, tags, pack_id(target), frozenset(names))
        return None


class References:
    """The ids of all records shown, and what was said about others."""

    def __init__(self) -> None:
        self._ids: dict[bytes, int] = {}
        self._cited: list[bytes] = []
        # Ids not among the records of the range that something refers to: the lowest index of a record
        # linking to it, None if only a deletion names it.
        self._referred: dict[bytes, int | None] = {}
        self._deletions: dict[bytes, Deletion] = {}
        # Id of the deleting record || u64 own index || own id || u8 k || k tags || names joined by a comma.
        self._redacted: list[bytes] = []
        # Id of the retiring record || u64 own index.
        self._retired: list[bytes] = []

    def add(self, record: dict[str, Any], record_id: bytes, index: int, *, cited: bool) -> None:
        """A record is shown, in the range or cited. Raises E_DUP_ID, E_LINK."""
        if record_id in self._ids:
            raise Fault("E_DUP_ID", index=index)
        self._ids[record_id] = index
        if deletion := Deletion.of(record, index):
            self._deletions[record_id] = deletion
        if cited:
            self._cited.append(record_id)
        elif self._referred.get(record_id) is not None:
            raise Fault("E_LINK", index=self._referred[record_id])
        for link in record["links"]:
            target = pack_id(link)
            known = self._ids.get(target)
            if known is not None and known >= index:
                raise Fault("E_LINK", index=index)
            if known is None or cited:
                before = self._referred.get(target)
                self._referred[target] = index if before is None else min(before, index)

    def redacted(
        self, by: str, index: int, record_id: bytes, tags: tuple[bytes, ...], names: list[str]
    ) -> None:
        """Fields of a record are said to have been deleted by another."""
        packed = pack_id(by)
        self._referred.setdefault(packed, None)
        own = index.to_bytes(8, "big") + record_id
        self._redacted.append(packed + own + bytes((len(tags),)) + b"".join(tags) + ",".join(names).encode())

    def retired(self, by: str, index: int) -> None:
        """The body of a record is said to have been deleted by another."""
        packed = pack_id(by)
        self._referred.setdefault(packed, None)
        self._retired.append(packed + index.to_bytes(8, "big"))

    def check(self) -> None:
        """Hold all that was said against all that is shown. Raises E_CITED, E_LINK, E_REDACTION."""
        for record_id in self._cited:
            if record_id not in self._referred:
                raise Fault("E_CITED", index=self._ids[record_id])
        for record_id in self._cited:
            linked = self._referred[record_id]
            if linked is not None and linked <= self._ids[record_id]:
                raise Fault("E_LINK", index=linked)
        for packed in (*self._redacted, *self._retired):
            by, index = packed[:_ID_BYTES], int.from_bytes(packed[_ID_BYTES : _ID_BYTES + 8], "big")
            deletion = self._deletions.get(by)
            if deletion is None or deletion.index <= index:
                raise Fault("E_REDACTION", index=index)
            rest = packed[_ID_BYTES + 8 :]
            if not (_redacts(deletion, rest) if rest else _retires(deletion, index)):
                raise Fault("E_REDACTION", index=index)


def _erased(p: dict[str, Any], subjects: list[str]) -> frozenset[bytes]:
    """Whom an erasure says it erases, among its subjects; empty if it does not say and there are several.

    Without this an erasure would excuse the absence of values of anybody in the same territory.
    """
    if "who" not in p:
        return frozenset(map(bytes.fromhex, subjects)) if len(subjects) == 1 else frozenset()
    who = p["who"]
    place = who.get("target") if type(who) is dict else None
    if type(place) is not int or not 0 <= place < len(subjects):
        return frozenset()
    return frozenset((bytes.fromhex(subjects[place]),))


def _retires(deletion: Deletion, index: int) -> bool:
    return deletion.act == "record.retire" and deletion.start <= index < deletion.end


def _redacts(deletion: Deletion, packed: bytes) -> bool:
    """Whether a deletion orders just this: own id || u8 k || k tags || names."""
    own, count = packed[:_ID_BYTES], packed[_ID_BYTES]
    start = _ID_BYTES + 1
    end = start + count * _TAG_BYTES
    tags = {packed[at : at + _TAG_BYTES] for at in range(start, end, _TAG_BYTES)}
    if deletion.act == "person.erase":
        return bool(tags & deletion.tags)
    names = set(packed[end:].decode().split(","))
    return (
        deletion.act == "field.redact"
        and deletion.record == own
        and names <= deletion.fields
        and tags <= deletion.tags
    )
