"""Signed notes and their texts: checkpoints, receipts, key entries (trail-format sections 4.2, 5, 7).

C2SP signed-note and tlog-cosignature with Ed25519 only. The standalone verifier ships this file, so it
imports the standard library and `cryptography` only, and nothing of the service.
"""

import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519: Final = 0x01
"""Signature type of log and receipt keys."""
COSIGNATURE: Final = 0x04
"""Signature type of witnesses: the signature covers a time and the checkpoint text."""

NOTE_BYTES: Final = 16_384
MOST_SIGNATURES: Final = 16
LARGEST_SIZE: Final = 2**53 - 1

_KEY_ID_BYTES: Final = 4
_PUBLIC_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_TIME_BYTES: Final = 8
_SMALLEST_TREE: Final = 2

_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(one)
    for one in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
"""The public keys of small order, with their highest bit off: anybody can sign by them."""

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,15}")
_NOT_IN_NOTES = re.compile("[\x00-\x09\x0b-\x1f]")
_KEY_TEXT = re.compile(r"([^+]+)\+([0-9a-f]{8})\+(.+)")
_RECORD_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_RECORD_HASH = re.compile(r"[0-9a-f]{64}")


class NoteError(ValueError):
    """Not a signed note, a verifier key, or a text of the kind asked for. Sections 4.2, 5 and 7."""


class SignatureError(NoteError):
    """A line by a known key does not verify: the whole note is worth nothing. `key` is that key."""

    def __init__(self, key: "Vkey") -> None:
        super().__init__(f"the signature by {key.name} does not verify")
        self.key = key


def to_base64(data: bytes) -> str:
    """Standard base64 with padding."""
    return binascii.b2a_base64(data, newline=False).decode()


def from_base64(text: str, length: int | None = None) -> bytes:
    """The bytes that `text` stands for, `length` of them if that is given.

    Raises ValueError unless encoding them again gives the same text. Section 1.
    """
    encoded = text.encode()
    data = binascii.a2b_base64(encoded)
    if binascii.b2a_base64(data, newline=False) != encoded or (length is not None and len(data) != length):
        raise ValueError("not canonical base64 of the right length")
    return data


def _number(text: str) -> int:
    if not _DECIMAL.fullmatch(text) or int(text) > LARGEST_SIZE:
        raise NoteError("not a number without leading zeros, up to 2^53-1")
    return int(text)


def _check_name(name: str) -> None:
    if not name or "+" in name or any(c.isspace() or "\ud800" <= c <= "\udfff" for c in name):
        raise NoteError("the name of a key is empty, not UTF-8, or holds white space or a plus")


@dataclass(frozen=True, slots=True)
class Vkey:
    """A key that verifies: a name, a signature type and the 32 bytes of an Ed25519 public key."""

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The 4 bytes by which signature lines name the key."""
        typed = bytes((self.kind,)) + self.public
        return sha256(self.name.encode() + b"\n" + typed).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{to_base64(bytes((self.kind,)) + self.public)}"

    @classmethod
    def parse(cls, text: str, kind: int) -> "Vkey":
        """The key written as `<name>+<key id>+<base64>`.

        Raises NoteError for another form, another signature type than `kind`, a key id that is not its
        own, or a key by which anybody can sign.
        """
        parts = _KEY_TEXT.fullmatch(text)
        if not parts:
            raise NoteError("not a verifier key")
        try:
            typed = from_base64(parts[3], 1 + _PUBLIC_BYTES)
        except ValueError:
            raise NoteError("not a verifier key") from None
        key = cls(parts[1], typed[0], typed[1:])
        _check_name(key.name)
        if key.kind != kind:
            raise NoteError("a verifier key of the wrong type")
        if key.key_id.hex() != parts[2]:
            raise NoteError("the key id of a verifier key is not its own")
        if key.public[:-1] + bytes((key.public[-1] & 0x7F,)) in _SMALL_ORDER:
            raise NoteError("a verifier key by which anybody can sign")
        return key


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: who is said to have signed, and the bytes after the key id."""

    name: str
    key_id: bytes
    raw: bytes

    def __str__(self) -> str:
        return f"\u2014 {self.name} {to_base64(self.key_id + self.raw)}\n"

    @classmethod
    def parse(cls, line: str) -> "Signature":
        """The signature of a line without its line end. Raises NoteError if it is none."""
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        _check_name(name)
        try:
            data = from_base64(encoded)
        except ValueError:
            raise NoteError("a signature is not base64") from None
        if dash != "\u2014" or len(data) <= _KEY_ID_BYTES:
            raise NoteError("not a signature line")
        return cls(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])


@dataclass(frozen=True, slots=True)
class Note:
    """A text and the signatures under it. That they verify is for `signed_by` to say."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(map(str, self.signatures))}"

    @classmethod
    def parse(cls, note: str) -> "Note":
        """The note written so. Raises NoteError outside the rules and limits of section 7."""
        try:
            length = len(note.encode())
        except UnicodeEncodeError:
            raise NoteError("the note is not UTF-8") from None
        if length > NOTE_BYTES:
            raise NoteError(f"the note is longer than {NOTE_BYTES} bytes")
        if _NOT_IN_NOTES.search(note):
            raise NoteError("the note holds a control character")
        end = note.rfind("\n\n")
        if end < 0 or not note.endswith("\n"):
            raise NoteError("the note has no empty line before its signatures, or no line end after them")
        lines = note[end + 2 : -1].split("\n")
        if len(lines) > MOST_SIGNATURES:
            raise NoteError(f"the note has more than {MOST_SIGNATURES} signatures")
        return cls(note[: end + 1], tuple(map(Signature.parse, lines)))


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that verified: by which key and, for a witness, at which time (seconds since 1970 UTC)."""

    key: Vkey
    time: int | None


def signed_by(note: Note, keys: Iterable[Vkey]) -> list[Signed]:
    """The lines of `note` by one of `keys`, each of which verifies.

    Lines by others are ignored. Raises SignatureError if a line by one of `keys` does not verify. Section 7.
    """
    known = {(key.name, key.key_id): key for key in keys}
    return [
        Signed(key, _verify(key, note.text, line.raw))
        for line in note.signatures
        if (key := known.get((line.name, line.key_id)))
    ]


def _verify(key: Vkey, text: str, raw: bytes) -> int | None:
    time = None
    message = text.encode()
    if key.kind == COSIGNATURE:
        time, raw = int.from_bytes(raw[:_TIME_BYTES], "big"), raw[_TIME_BYTES:]
        message = _cosigned(time, text)
    if len(raw) != _SIGNATURE_BYTES:
        raise SignatureError(key)
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(raw, message)
    except (InvalidSignature, ValueError):
        raise SignatureError(key) from None
    return time


def _cosigned(time: int, text: str) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


class Signer:
    """A private key with its name. `seed` is the 32 bytes of an Ed25519 private key."""

    def __init__(self, name: str, seed: bytes, kind: int = ED25519) -> None:
        _check_name(name)
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.vkey = Vkey(name, kind, self._private.public_key().public_bytes_raw())
        self._key_id = self.vkey.key_id

    def sign(self, text: str) -> Signature:
        """Sign as a log or for a receipt."""
        if self.vkey.kind != ED25519:
            raise ValueError("a witness signs with a time")
        return self._line(self._private.sign(text.encode()))

    def cosign(self, text: str, time: int) -> Signature:
        """Sign a checkpoint text as a witness at `time`, seconds since 1970 UTC."""
        if self.vkey.kind != COSIGNATURE:
            raise ValueError("only a witness signs with a time")
        return self._line(time.to_bytes(_TIME_BYTES, "big") + self._private.sign(_cosigned(time, text)))

    def _line(self, raw: bytes) -> Signature:
        return Signature(self.vkey.name, self._key_id, raw)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log signs: under this origin, a tree of this size has this root."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{to_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """The checkpoint of exactly three lines. Raises NoteError for anything else. Section 7."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise NoteError("a checkpoint has exactly three lines")
        _check_name(lines[0])
        size = _number(lines[1])
        if size < _SMALLEST_TREE:
            raise NoteError("a checkpoint speaks of two entries at least")
        try:
            return cls(lines[0], size, from_base64(lines[2], 32))
        except ValueError:
            raise NoteError("the root of a checkpoint is not a hash") from None


@dataclass(frozen=True, slots=True)
class Promise:
    """The text of a receipt: this record, made at `ts_us`, enters the log within `mmd_us` (microseconds)."""

    origin: str
    record_id: str
    record_hash: bytes
    ts_us: int
    mmd_us: int

    def __str__(self) -> str:
        return (
            f"mandate-receipt/v1\n{self.origin}\n{self.record_id}\n"
            f"{self.record_hash.hex()}\n{self.ts_us}\n{self.mmd_us}\n"
        )

    @classmethod
    def parse(cls, text: str) -> "Promise":
        """The promise of exactly six lines. Raises NoteError for anything else. Section 4.2."""
        lines = text.split("\n")
        if len(lines) != 7 or lines[0] != "mandate-receipt/v1" or lines[6]:
            raise NoteError("not the six lines of a receipt")
        if not _RECORD_ID.fullmatch(lines[2]) or not _RECORD_HASH.fullmatch(lines[3]):
            raise NoteError("a receipt without the id or the hash of a record")
        return cls(lines[1], lines[2], bytes.fromhex(lines[3]), _number(lines[4]), _number(lines[5]))


@dataclass(frozen=True, slots=True)
class KeyChange:
    """The text of a key entry: from this size on, `new` signs for the log where `old` did."""

    origin: str
    old: Vkey
    new: Vkey
    from_size: int

    def __str__(self) -> str:
        return f"mandate-trail/1 key\n{self.origin}\n{self.old}\n{self.new}\n{self.from_size}\n"

    @classmethod
    def parse(cls, text: str) -> "KeyChange":
        """The key change of exactly five lines. Raises NoteError for anything else. Section 5."""
        lines = text.split("\n")
        if len(lines) != 6 or lines[0] != "mandate-trail/1 key" or lines[5]:
            raise NoteError("not the five lines of a key entry")
        old, new = (Vkey.parse(line, ED25519) for line in lines[2:4])
        if old == new or old.name != lines[1] or new.name != lines[1]:
            raise NoteError("a key entry names two keys of the log")
        return cls(lines[1], old, new, _number(lines[4]))

    @classmethod
    def read(cls, note: str) -> "KeyChange":
        """The key change of a note that both its keys have signed. Raises NoteError otherwise."""
        signed = Note.parse(note)
        change = cls.parse(signed.text)
        if {line.key for line in signed_by(signed, (change.old, change.new))} != {change.old, change.new}:
            raise NoteError("a key entry is signed by the old and the new key")
        return change
