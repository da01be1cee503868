"""Personal fields: committed in the record, sealed beside it, gone when the person's key is gone.

A record carries only a salted commitment to each personal value (section 4.1 of the trail format).
Salt and value lie in another table, sealed under a key of one person and one purpose. That key lies
wrapped under a master key which is never in the database: whoever deletes the wrapped key has erased
the values, in every copy of the table.
"""

import os
import threading
from collections import OrderedDict
from typing import Any, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.trail import record

KEY_BYTES = 32
SALT_BYTES = 32
FIELD_PURPOSE = "record.field"
"""What a data subject's key is wrapped for."""

_VERSION = b"\x01"
_NONCE_BYTES = 12
_MAC_BYTES = 16
_TAG_BYTES = 32


class SealError(ValueError):
    """A sealed value or wrapped key does not open: it was altered, or is of another key, record or field.

    The message never says more, and never holds key or value.
    """


def commit_field(name: str, value: object) -> tuple[bytes, bytes]:
    """A fresh 32-byte salt and, under it, the 32-byte commitment to `value` as the field `name`.

    Raises record.ProfileError if name or value is outside canonical JSON. Section 4.1.
    """
    salt = os.urandom(SALT_BYTES)
    return salt, record.commitment(salt, name, value)


def seal(key: bytes, *, record_id: str, name: str, salt: bytes, value_json: bytes) -> bytes:
    """Salt and value of one field, readable only with `key` and only as this field of this record.

    `key` is 32 bytes, `value_json` what record.canonical made of the value. The result is a version byte, a
    random 12-byte nonce and AES-256-GCM; one key may seal 2^32 values.
    Raises ValueError for a key, salt, record id or name of the wrong form.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt is {SALT_BYTES} bytes")
    return _lock(_cipher(key), salt + value_json, _field_context(record_id, name))


def open_sealed(key: bytes, *, record_id: str, name: str, sealed: bytes) -> tuple[bytes, Any]:
    """The 32-byte salt and the value that `seal` was given.

    Raises SealError if it was sealed under another key, for another record or field, or has been altered.
    """
    plain = _unlock(_cipher(key), sealed, _field_context(record_id, name))
    if len(plain) <= SALT_BYTES:
        raise SealError("a sealed value does not open")
    return plain[:SALT_BYTES], record.parse(plain[SALT_BYTES:])


class Keyring:
    """The keys of persons, made and unwrapped under one 32-byte master key.

    Remembers at most `remembered` unwrapped keys; the least recently used go first. Safe between threads.
    Shows nothing of itself and cannot be pickled or copied.
    """

    __slots__ = ("_lock", "_master", "_remembered", "_unwrapped")

    def __init__(self, master: bytes, *, remembered: int = 10_000) -> None:
        """Raises ValueError unless the master key is 32 bytes."""
        self._master = _cipher(master)
        self._remembered = remembered
        self._unwrapped: OrderedDict[tuple[bytes, str, bytes], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def new_person_key(self, *, purpose: str, tag: bytes) -> tuple[bytes, bytes]:
        """A fresh 32-byte key for one purpose and the person with this 32-byte tag, plain and wrapped.

        Only the wrapped one may be stored. One master key may wrap 2^32 keys.
        Raises ValueError if the purpose is no NAME of the trail format or the tag not 32 bytes.
        """
        context = _key_context(purpose, tag)
        key = os.urandom(KEY_BYTES)
        wrapped = _lock(self._master, key, context)
        self._remember((wrapped, purpose, tag), key)
        return key, wrapped

    def unwrap(self, wrapped: bytes, *, purpose: str, tag: bytes) -> bytes:
        """The 32-byte key that was wrapped for this purpose and person.

        Raises SealError if it was wrapped for another purpose or person, under another master, or altered.
        """
        place = (wrapped, purpose, tag)
        with self._lock:
            key = self._unwrapped.get(place)
            if key is not None:
                self._unwrapped.move_to_end(place)
                return key
        key = _unlock(self._master, wrapped, _key_context(purpose, tag))
        if len(key) != KEY_BYTES:
            raise SealError("a wrapped key does not open")
        self._remember(place, key)
        return key

    def forget(self, *, tag: bytes) -> None:
        """Drop the unwrapped keys of a subject from memory: the erasure of a person must leave no copy here."""
        with self._lock:
            for place in [place for place in self._unwrapped if place[2] == tag]:
                del self._unwrapped[place]

    def _remember(self, place: tuple[bytes, str, bytes], key: bytes) -> None:
        with self._lock:
            self._unwrapped[place] = key
            self._unwrapped.move_to_end(place)
            while len(self._unwrapped) > self._remembered:
                self._unwrapped.popitem(last=False)

    def __repr__(self) -> str:
        return "Keyring(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a keyring stays in the process that loaded it")


def _field_context(record_id: str, name: str) -> bytes:
    if not record.ID.fullmatch(record_id):
        raise ValueError("not the id of a record")
    if not record.KEY.fullmatch(name):
        raise ValueError("not the name of a field")
    return f"mandate-sealed/v1\n{record_id}\n{name}".encode()


def _key_context(purpose: str, tag: bytes) -> bytes:
    if not record.NAME.fullmatch(purpose):
        raise ValueError("a purpose must be a NAME of the trail format")
    if len(tag) != _TAG_BYTES:
        raise ValueError(f"a tag is {_TAG_BYTES} bytes")
    return f"mandate-person-key/v1\n{purpose}\n".encode() + tag


def _cipher(key: bytes) -> AESGCM:
    # AESGCM takes shorter keys too, and would quietly be AES-128.
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key is {KEY_BYTES} bytes")
    return AESGCM(key)


def _lock(cipher: AESGCM, plain: bytes, context: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return _VERSION + nonce + cipher.encrypt(nonce, plain, context)


def _unlock(cipher: AESGCM, sealed: bytes, context: bytes) -> bytes:
    start = len(_VERSION) + _NONCE_BYTES
    if sealed[:1] != _VERSION or len(sealed) < start + _MAC_BYTES:
        raise SealError("a sealed value does not open")
    try:
        return cipher.decrypt(sealed[1:start], sealed[start:], context)
    except InvalidTag:
        raise SealError("a sealed value does not open") from None
