"""The trail's secret keys, in a folder outside the database, made once and never made anew.

    tag_keys.json   the nine tag keys, {"<type>":"<64 hex digits>",...}; they can never change within one log
    master.key      "master <64 hex digits>": wraps the keys of persons
    log.key         "log <64 hex digits>": Ed25519 seed that signs checkpoints
    receipt.key     "receipt <64 hex digits>": Ed25519 seed that signs receipts
    log-next.key    "log-next <64 hex digits>": while the log key is rotated, the seed that is to follow log.key

Each file says what it is, so that one put in the place of another is noticed.
"""

import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import NoReturn, Self

from service.trail import record
from service.trail.fields import Keyring

KEY_FILES = ("tag_keys.json", "master.key", "log.key", "receipt.key")

NEXT_LOG_KEY = "log-next.key"

_KEY_BYTES = 32
_LARGEST_FILE = 4_096
_REMEMBERED_TAGS = 65_536
# Stands in the folder from before the first key is written until after the last one is on disk.
_UNFINISHED = "first-start.unfinished"


class KeysError(Exception):
    """The keys are missing, unsafe or unreadable. Names the file and the cure, never its content."""

    def __init__(self, path: Path, fault: str, cure: str) -> None:
        super().__init__(f"{path}: {fault}; {cure}")
        self.path = path
        self.fault = fault
        self.cure = cure


class TrailKeys:
    """All secrets of one trail, read once at start. Shows nothing of itself and cannot be pickled or copied.

    `keyring` holds the master key; `log_seed` and `receipt_seed` are 32-byte Ed25519 seeds, as they were at the start.
    `tag` makes the 32-byte tag of a subject from its type and id; raises record.SubjectError. Section 3 of the trail format.
    """

    __slots__ = ("_folder", "_tag_keys", "keyring", "log_seed", "receipt_seed", "tag")

    def __init__(
        self, *, tag_keys: dict[str, bytes], master: bytes, log_seed: bytes, receipt_seed: bytes
    ) -> None:
        """From 32-byte keys already at hand. Raises ValueError if one is missing or of another length."""
        if set(tag_keys) != set(record.SUBJECT_TYPES):
            raise ValueError("the tag keys must be of exactly the nine types")
        if any(len(key) != _KEY_BYTES for key in (*tag_keys.values(), master, log_seed, receipt_seed)):
            raise ValueError(f"every key is {_KEY_BYTES} bytes")
        self.keyring = Keyring(master)
        self.log_seed = log_seed
        self.receipt_seed = receipt_seed
        self._folder: Path | None = None
        self._tag_keys = dict(tag_keys)
        self.tag = _remembering(self._tag_keys)

    @classmethod
    def load_or_create(cls, folder: Path, *, may_create: bool) -> Self:
        """The keys in `folder`, made there first if it holds none and `may_create` (no log exists yet).

        A first start that was cut off is taken up where it stopped. Raises KeysError if a key is missing,
        malformed, or readable by others though this process owns it.
        """
        try:
            if folder.is_dir():
                refuse_open_folder(folder)
            complete = not _missing(folder) and not (folder / _UNFINISHED).exists()
        except OSError as fault:
            raise KeysError(
                folder, f"cannot be read ({fault.strerror})", "let the service's user read it"
            ) from fault
        if not complete:
            _create(folder, may_create=may_create)
        keys = cls(
            tag_keys=_read_tag_keys(folder / "tag_keys.json"),
            master=read_seed(folder / "master.key"),
            log_seed=read_seed(folder / "log.key"),
            receipt_seed=read_seed(folder / "receipt.key"),
        )
        keys._folder = folder
        return keys

    def log_seeds(self) -> list[bytes]:
        """The seed of log.key and, while it is rotated, that of log-next.key, as the folder holds them now.

        Raises KeysError.
        """
        if self._folder is None:
            return [self.log_seed]
        # The next key first: between the two reads it may take the place of log.key, which then is the same.
        following = self._folder / NEXT_LOG_KEY
        seeds = [read_seed(following)] if following.exists() else []
        return list(dict.fromkeys((read_seed(self._folder / "log.key"), *seeds)))

    def tag_key(self, subject_type: str) -> bytes:
        """The secret 32-byte tag key of a type, for a reader who may ask about that type. Raises KeyError."""
        return self._tag_keys[subject_type]

    def tag_key_sha256(self) -> dict[str, str]:
        """Type to hex SHA-256 of its tag key, as entry 0 of the log commits to them. Section 5."""
        return {kind: hashlib.sha256(key).hexdigest() for kind, key in sorted(self._tag_keys.items())}

    def __repr__(self) -> str:
        return "TrailKeys(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("the trail's keys stay in the process that loaded them")


def _remembering(tag_keys: dict[str, bytes]) -> Callable[[str, str], bytes]:
    @lru_cache(maxsize=_REMEMBERED_TAGS)
    def tag(subject_type: str, subject_id: str) -> bytes:
        # An unknown type gets a key of no length, and the refusal from the one place that knows the types.
        return record.tag(tag_keys.get(subject_type, b""), subject_type, subject_id)

    return tag


# Reading.


def _read_tag_keys(path: Path) -> dict[str, bytes]:
    try:
        members = record.parse(_read(path).removesuffix(b"\n"))
    except record.ProfileError:
        members = None
    if not isinstance(members, dict) or set(members) != set(record.SUBJECT_TYPES):
        raise _malformed(path)
    keys = {kind: _from_hex(path, text) for kind, text in members.items()}
    if len(set(keys.values())) != len(keys):
        raise _malformed(path)
    return keys


def read_seed(path: Path) -> bytes:
    """The 32 bytes of a key file that says what it is. Raises KeysError."""
    words = _read(path).decode("ascii", "replace").removesuffix("\n").split(" ")
    if len(words) != 2 or words[0] != path.stem:
        raise _malformed(path)
    return _from_hex(path, words[1])


def _from_hex(path: Path, text: object) -> bytes:
    if not isinstance(text, str) or not record.HEX_DIGEST.fullmatch(text):
        raise _malformed(path)
    return bytes.fromhex(text)


def _malformed(path: Path) -> KeysError:
    return KeysError(
        path, "is cut off or malformed", "put back its copy, the service cannot make the same key again"
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise KeysError(path, "is no regular file", "put back its copy")
            _refuse_others(
                path, state, 0o077, "may be read by others", "chmod 600 it and consider the key known"
            )
            return file.read(_LARGEST_FILE)
    except OSError as fault:
        raise KeysError(
            path, f"cannot be read ({fault.strerror})", "let the service's user read it"
        ) from fault


def refuse_open_folder(folder: Path) -> None:
    """Raise KeysError for a folder of ours in which others could replace a key."""
    _refuse_others(folder, folder.stat(), 0o022, "may be written by others", "chmod 700 it")


def _refuse_others(path: Path, state: os.stat_result, bits: int, fault: str, cure: str) -> None:
    # What another user mounted for us (a secret of the orchestrator) has the modes that user chose.
    if state.st_uid == os.geteuid() and state.st_mode & bits:
        raise KeysError(path, fault, cure)


# Rotating.


def make_next_log_key(folder: Path) -> bytes:
    """The seed that is to follow log.key, made unless it is there from a rotation that was cut off. Raises KeysError."""
    following = folder / NEXT_LOG_KEY
    with locked(folder) as folder_fd:
        if not following.exists():
            put(following, seed_text(following, secrets.token_bytes(_KEY_BYTES)), folder_fd)
        return read_seed(following)


def take_next_log_key(folder: Path) -> None:
    """Put the next log key in the place of log.key, whose seed is gone then. Nothing happens where there is none."""
    following, present = folder / NEXT_LOG_KEY, folder / "log.key"
    with locked(folder) as folder_fd:
        if following.exists():
            put(present, seed_text(present, read_seed(following)), folder_fd)
            # A crash before this line leaves the same seed twice, which does no harm.
            following.unlink()
            os.fsync(folder_fd)


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Keep other processes and threads from changing the folder; yields its descriptor."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


# Making, once.


def _missing(folder: Path) -> list[str]:
    return [name for name in KEY_FILES if not (folder / name).exists()]


def _create(folder: Path, *, may_create: bool) -> None:
    """Make the missing keys, under a lock: two processes may start at once, and one may die half-way."""
    if not folder.is_dir():
        if not may_create:
            raise _none_here(folder)
        make_folder(folder)
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as fault:
        raise KeysError(
            folder, f"cannot be opened ({fault.strerror})", "let the service's user use it"
        ) from fault
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _create_locked(folder, lock, may_create=may_create)
    except OSError as fault:
        raise KeysError(
            folder, f"cannot hold new keys ({fault.strerror})", "give the service's user the folder"
        ) from fault
    finally:
        os.close(lock)


def _create_locked(folder: Path, folder_fd: int, *, may_create: bool) -> None:
    missing = _missing(folder)
    unfinished = folder / _UNFINISHED
    if not unfinished.exists():
        if not missing:
            return
        if len(missing) < len(KEY_FILES):
            raise KeysError(
                folder / missing[0],
                "is missing beside other keys",
                "put back its copy, it is never made anew",
            )
        if not may_create:
            raise _none_here(folder)
        put(unfinished, b"", folder_fd)
    elif missing and not may_create:
        raise KeysError(folder / missing[0], "is missing though a log exists", "put back its copy")
    for name in missing:
        put(folder / name, _fresh(name), folder_fd)
    # A crash before this line leaves whole files and the mark: the next start makes only what is missing.
    unfinished.unlink()
    os.fsync(folder_fd)


def _none_here(folder: Path) -> KeysError:
    return KeysError(
        folder,
        "holds no keys though a log exists",
        "put back the copy of the folder, or point to where it is",
    )


def make_folder(folder: Path) -> None:
    """Make a folder for keys, which only its owner may use. Raises KeysError."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    except OSError as fault:
        raise KeysError(
            folder, f"cannot be made ({fault.strerror})", "let the service's user make it"
        ) from fault


def _fresh(name: str) -> bytes:
    if name == "tag_keys.json":
        return (
            record.canonical({kind: secrets.token_hex(_KEY_BYTES) for kind in record.SUBJECT_TYPES}) + b"\n"
        )
    return seed_text(Path(name), secrets.token_bytes(_KEY_BYTES))


def seed_text(path: Path, seed: bytes) -> bytes:
    """What stands in the key file of this name for these 32 bytes."""
    return f"{path.stem} {seed.hex()}\n".encode()


def put(path: Path, content: bytes, folder_fd: int) -> None:
    """Put a whole file in place or none, for nobody else to read: it is on disk before it has its name."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        draft.rename(path)
        os.fsync(folder_fd)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
