"""What the reader brings: policy, state of earlier checks, receipt (trail-format section 10)."""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NoReturn

from service.trail.entry import FORMAT
from service.trail.note import (
    COSIGNATURE,
    ED25519,
    LARGEST_SIZE,
    Note,
    NoteError,
    Promise,
    Vkey,
    from_base64,
    signed_by,
)
from service.trail.record import (
    HEX_DIGEST,
    SUBJECT_TYPES,
    ProfileError,
    canonical,
    parse,
    read_record,
    record_hash,
)
from service.trail.verify.verdict import Fault

MOST_POLICY_BYTES: Final = 1_048_576
MOST_STATE_BYTES: Final = 64 * 1_048_576

_POLICY_MEMBERS = frozenset(
    (
        "log_keys",
        "min_time_us",
        "mmd_us",
        "origin",
        "quorum",
        "receipt_keys",
        "require_complete",
        "require_state",
        "skew_us",
        "tag_keys",
        "witnesses",
    )
)
_LOG_KEY_MEMBERS = frozenset(("from_size", "to_size", "vkey"))
_STATE_MEMBERS = frozenset(("format", "origin", "root", "size", "subjects"))


@dataclass(frozen=True)
class LogKey:
    """A log key and the sizes it may sign: from_size included, to_size not; None for no end."""

    vkey: Vkey
    from_size: int
    to_size: int | None

    def valid_at(self, size: int) -> bool:
        """Whether the key may sign a tree of this size."""
        return self.from_size <= size and (self.to_size is None or size < self.to_size)


@dataclass(frozen=True)
class Policy:
    """What the reader trusts and demands. Durations and times in microseconds."""

    origin: str
    log_keys: tuple[LogKey, ...]
    receipt_keys: tuple[Vkey, ...]
    witnesses: tuple[Vkey, ...]
    quorum: int
    tag_keys: Mapping[str, bytes]
    mmd_us: int
    skew_us: int
    require_complete: bool
    require_state: bool
    min_time_us: int | None

    @classmethod
    def parse(cls, data: bytes) -> "Policy":
        """The policy written so. Raises an undecided E_POLICY fault that names the member at fault."""
        try:
            value = read_json(data)
        except ValueError:
            raise _unusable("JSON") from None
        if type(value) is not dict or value.keys() != _POLICY_MEMBERS:
            raise _unusable("members")
        origin = value["origin"]
        if type(origin) is not str or not origin:
            raise _unusable("origin")
        for name in ("quorum", "mmd_us", "skew_us"):
            if not _is_count(value[name]):
                raise _unusable(name)
        for name in ("require_complete", "require_state"):
            if type(value[name]) is not bool:
                raise _unusable(name)
        if value["min_time_us"] is not None and not _is_count(value["min_time_us"]):
            raise _unusable("min_time_us")
        witnesses = _vkeys(value["witnesses"], COSIGNATURE, "witnesses")
        if value["quorum"] > len({key.name for key in witnesses}):
            raise _unusable("quorum")
        receipt_keys = _vkeys(value["receipt_keys"], ED25519, "receipt_keys")
        if any(key.name != f"{origin}/receipt" for key in receipt_keys):
            raise _unusable("receipt_keys")
        log_keys = _log_keys(value["log_keys"], origin)
        _refuse_twins(witnesses, [*receipt_keys, *(key.vkey for key in log_keys)])
        return cls(
            origin=origin,
            log_keys=log_keys,
            receipt_keys=receipt_keys,
            witnesses=witnesses,
            quorum=value["quorum"],
            tag_keys=_tag_keys(value["tag_keys"]),
            mmd_us=value["mmd_us"],
            skew_us=value["skew_us"],
            require_complete=value["require_complete"],
            require_state=value["require_state"],
            min_time_us=value["min_time_us"],
        )


def read_json(data: bytes) -> Any:
    """JSON as an editor or another program may have left it: with a byte order mark, white space, members in any order.

    Only for files whose meaning does not lie in their spelling. Raises ValueError if it is none, or a member stands twice.
    """
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_no_repeats)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unusable(name: str) -> Fault:
    return Fault("E_POLICY", name=name, undecided=True)


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member stands twice")
    return value


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_SIZE


def _vkeys(value: Any, kind: int, name: str) -> tuple[Vkey, ...]:
    if type(value) is not list or any(type(text) is not str for text in value):
        raise _unusable(name)
    try:
        keys = tuple(Vkey.parse(text, kind) for text in value)
    except NoteError:
        raise _unusable(name) from None
    if len(set(keys)) != len(keys):
        raise _unusable(name)
    return keys


def _refuse_twins(witnesses: Iterable[Vkey], of_log: Iterable[Vkey]) -> None:
    """A witness is somebody else than the log and the other witnesses, whatever names one key is given."""
    names: dict[bytes, str | None] = {key.public: None for key in of_log}
    for key in witnesses:
        if names.setdefault(key.public, key.name) != key.name:
            raise _unusable("witnesses")


def _log_keys(value: Any, origin: str) -> tuple[LogKey, ...]:
    def refuse() -> NoReturn:
        raise _unusable("log_keys")

    if type(value) is not list or not value:
        refuse()
    keys: list[LogKey] = []
    for item in value:
        if type(item) is not dict or item.keys() != _LOG_KEY_MEMBERS:
            refuse()
        (vkey,) = _vkeys([item["vkey"]], ED25519, "log_keys")
        start, end = item["from_size"], item["to_size"]
        if vkey.name != origin or not _is_count(start) or (end is not None and not _is_count(end)):
            refuse()
        keys.append(LogKey(vkey, start, end))
    return tuple(keys)


def _tag_keys(value: Any) -> dict[str, bytes]:
    if type(value) is not dict or not value.keys() <= set(SUBJECT_TYPES):
        raise _unusable("tag_keys")
    if any(type(key) is not str or not HEX_DIGEST.fullmatch(key) for key in value.values()):
        raise _unusable("tag_keys")
    return {name: bytes.fromhex(key) for name, key in value.items()}


@dataclass(frozen=True)
class State:
    """What the reader saw last: the log's size and root, and per subject tag its number of records and
    root.
    """

    origin: str
    size: int
    root: bytes
    subjects: Mapping[bytes, tuple[int, bytes]]

    @classmethod
    def parse(cls, data: bytes) -> "State":
        """The state written so. Raises an undecided E_STATE fault if it is none."""
        fault = Fault("E_STATE", undecided=True)
        try:
            value = parse(data.removesuffix(b"\n"))
        except ProfileError:
            raise fault from None
        if type(value) is not dict or value.keys() != _STATE_MEMBERS or value["format"] != FORMAT:
            raise fault
        sound = type(value["origin"]) is str and type(value["subjects"]) is dict
        if not sound or not _is_tree(value["size"], value["root"]):
            raise fault
        subjects: dict[bytes, tuple[int, bytes]] = {}
        for tag, seen in value["subjects"].items():
            if not HEX_DIGEST.fullmatch(tag) or type(seen) is not dict or seen.keys() != {"n", "root"}:
                raise fault
            if not _is_tree(seen["n"], seen["root"]):
                raise fault
            subjects[bytes.fromhex(tag)] = (seen["n"], bytes.fromhex(seen["root"]))
        return cls(value["origin"], value["size"], bytes.fromhex(value["root"]), subjects)

    def __bytes__(self) -> bytes:
        subjects = {tag.hex(): {"n": n, "root": root.hex()} for tag, (n, root) in self.subjects.items()}
        value = {
            "format": FORMAT,
            "origin": self.origin,
            "root": self.root.hex(),
            "size": self.size,
            "subjects": subjects,
        }
        return canonical(value) + b"\n"

    def with_subject(self, tag: bytes, n: int, root: bytes) -> "State":
        """The same state, knowing this of a subject."""
        return replace(self, subjects={**self.subjects, tag: (n, root)})

    def write(self, path: Path) -> None:
        """Put the state in the place of `path`, whole or not at all. Raises an undecided E_STATE fault.

        A crash before the rename leaves the old state and a stray temporary file beside it.
        """
        try:
            handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(bytes(self))
                    file.flush()
                    os.fsync(file.fileno())
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            raise Fault("E_STATE", undecided=True) from None


def _is_tree(size: Any, root: Any) -> bool:
    return _is_count(size) and size > 0 and type(root) is str and HEX_DIGEST.fullmatch(root) is not None


class Receipt:
    """A receipt as the caller got it: JSON with a note and the record. Section 4.2.

    What is signed is the note, which names the record by its hash; how the JSON around them is spelled says nothing.
    """

    def __init__(self, data: bytes, policy: Policy) -> None:
        """Raises E_RECEIPT unless a receipt key of the policy signed it for exactly this record.

        Undecided are an E_ORIGIN, where another log made it, and an E_POLICY, where the policy has no receipt key.
        """
        fault = Fault("E_RECEIPT", name="receipt")
        try:
            value = read_json(data)
            if (
                type(value) is not dict
                or value.keys() != {"kind", "note", "record"}
                or value["kind"] != "receipt"
            ):
                raise fault
            note = Note.parse(str(value["note"]))
            self.promise = Promise.parse(note.text)
            signed = signed_by(note, policy.receipt_keys)
            of_log = self.promise.origin == policy.origin
            if not signed and not of_log:
                raise Fault("E_ORIGIN", name=self.promise.origin, undecided=True)
            if not policy.receipt_keys:
                raise _unusable("receipt_keys")
            body = from_base64(str(value["record"]))
            record = read_record(body)
        except (NoteError, ValueError):
            raise fault from None
        promise = self.promise
        same = (record["id"], record["ts_us"], record_hash(body)) == (
            promise.record_id,
            promise.ts_us,
            promise.record_hash,
        )
        if not signed or not same or not of_log:
            raise fault
        self.record = record
        self.tags = frozenset(map(bytes.fromhex, record["subj"]))
