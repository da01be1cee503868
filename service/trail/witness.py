"""A witness: it cosigns a log's checkpoints as long as each extends the last one it saw, and so notices a fork (section 8).

It needs a folder and nothing else of Mandate: no database, no settings. In the folder stand

    witness.key       "witness <64 hex digits>": the Ed25519 seed it cosigns with
    witness.vkey      its public key, by which others know it, with its name
    <sha256>.note     per log, by the hash of its origin: the last checkpoint it cosigned, with its cosignature
    <sha256>.fork     a checkpoint of the same size and another root that the log signed too: proof that it forked

What it saw is on disk before it answers. If it crashes between the two it has seen more than the log knows of, and says so
with its next answer (409), from which the log goes on.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, Self

from service.trail import keys
from service.trail.extension import SIZE_MEDIA, Extension, ExtensionError
from service.trail.keys import KeysError
from service.trail.merkle import ProofError, check_consistency
from service.trail.note import COSIGNATURE, Checkpoint, Note, NoteError, Signer, Vkey, signed_by

KEY_FILE: Final = "witness.key"
VKEY_FILE: Final = "witness.vkey"
_TEXT = "text/plain; charset=utf-8"
KEEP_BOTH: Final = (
    "the log was forked, or rows of its tables were changed: keep what `mandate witness show` prints and the checkpoint that "
    "was asked for, show both to the log's readers, and let an auditor find the true one: `mandate replay --policy trust.json "
    "--checkpoint FILE`"
)
"""What to do where a log is none that goes on from what a witness cosigned."""


class Answer(NamedTuple):
    """What the witness says, as HTTP has it. 200 with signature lines; any other status cosigned nothing."""

    status: int
    text: str
    media: str = _TEXT


class Witness:
    """One witness over its folder. Several processes and threads may share the folder: each answer takes its lock."""

    def __init__(self, folder: Path, signer: Signer, logs: Iterable[Vkey], now: Callable[[], float]) -> None:
        """`logs` are the keys of logs it trusts, by their names; `now` tells seconds since 1970 UTC."""
        self._folder = folder
        self._signer = signer
        self._now = now
        self._logs: dict[str, list[Vkey]] = {}
        for key in logs:
            self._logs.setdefault(key.name, []).append(key)

    @classmethod
    def open(cls, folder: Path, name: str | None, logs: Iterable[Vkey], now: Callable[[], float]) -> Self:
        """The witness of this folder; its key is made at the first start, which needs a `name`.

        Raises KeysError where the key is missing, damaged, open to others, or not that of `witness.vkey`.
        """
        if not folder.is_dir():
            keys.make_folder(folder)
        keys.refuse_open_folder(folder)
        with keys.locked(folder) as lock:
            known = folder / VKEY_FILE
            if not known.exists():
                _make(folder, name, lock)
            try:
                vkey = Vkey.parse(known.read_text(encoding="utf-8").strip(), COSIGNATURE)
            except (OSError, UnicodeDecodeError, NoteError) as fault:
                raise KeysError(known, f"is no key of a witness ({fault})", "put back its copy") from None
            if not (folder / KEY_FILE).exists():
                raise KeysError(folder / KEY_FILE, "is missing", "put back its copy, it is never made anew")
            signer = Signer(vkey.name, keys.read_seed(folder / KEY_FILE), COSIGNATURE)
        if signer.vkey != vkey:
            raise KeysError(folder / KEY_FILE, f"is not the key of {known}", "put back its copy")
        if name not in (None, vkey.name):
            raise KeysError(known, f"names the witness {vkey.name}, not {name}", "choose another folder")
        return cls(folder, signer, logs, now)

    @property
    def vkey(self) -> Vkey:
        """The key by which readers know this witness."""
        return self._signer.vkey

    def seen(self) -> list[Checkpoint]:
        """The last checkpoint of each log it ever cosigned, by origin."""
        notes = sorted(self._folder.glob("*.note"))
        return sorted((_read(path) for path in notes), key=lambda one: one.origin)

    def cosign(self, request: bytes) -> Answer:
        """Judge an add-checkpoint request. Blocks: call it in a thread. Raises KeysError where its memory is damaged."""
        try:
            asked = Extension.parse(request)
            note = Note.parse(asked.note)
            new = Checkpoint.parse(note.text)
        except (ExtensionError, NoteError) as fault:
            return Answer(400, f"{fault}\n")
        trusted = self._logs.get(new.origin)
        if trusted is None:
            return Answer(404, f"this witness does not follow the log {new.origin}\n")
        try:
            signed = signed_by(note, trusted)
        except NoteError as fault:
            return Answer(403, f"{fault}\n")
        if not signed:
            return Answer(403, "no key that this witness trusts for the log has signed\n")
        if asked.old_size > new.size:
            return Answer(400, "the old size is above that of the checkpoint\n")
        with keys.locked(self._folder) as lock:
            # Only lines that verified are kept: what others put beside them must not make the memory unreadable.
            known = {(one.key.name, one.key.key_id): one.key for one in signed}
            lines = {known[at]: line for line in note.signatures if (at := (line.name, line.key_id)) in known}
            return self._extend(asked, Note(note.text, tuple(lines.values())), new, lock)

    def _extend(self, asked: Extension, note: Note, new: Checkpoint, lock: int) -> Answer:
        """Compare with the last one, and keep the new one, as one step: two requests at once must not set it back."""
        path = self._path(new.origin)
        last = _read(path) if path.exists() else None
        seen = last.size if last else 0
        if asked.old_size != seen:
            return Answer(409, f"{seen}\n", SIZE_MEDIA)
        if last is not None and new.size == last.size and new.root != last.root:
            keys.put(path.with_suffix(".fork"), str(note).encode(), lock)
            return Answer(409, f"{seen}\n", SIZE_MEDIA)
        if last is None or new.size == last.size:
            if asked.proof:
                return Answer(422, "there is nothing to prove, but a proof\n")
        else:
            try:
                check_consistency(last.size, new.size, last.root, new.root, asked.proof)
            except ProofError as fault:
                said = f"{fault}, the one of {last.size} entries that this witness cosigned; {KEEP_BOTH}"
                return Answer(422, f"{said}\n")
        signature = self._signer.cosign(note.text, int(self._now()))
        kept = Note(note.text, (*note.signatures, signature))
        keys.put(path, str(kept).encode(), lock)
        return Answer(200, str(signature))

    def _path(self, origin: str) -> Path:
        return self._folder / f"{sha256(origin.encode()).hexdigest()}.note"


def _read(path: Path) -> Checkpoint:
    try:
        return Checkpoint.parse(Note.parse(path.read_text(encoding="utf-8")).text)
    except (OSError, UnicodeDecodeError, NoteError) as fault:
        # Starting over would cosign a fork of what was cosigned before.
        raise KeysError(path, f"is no checkpoint ({fault})", "put back its copy") from None


def _make(folder: Path, name: str | None, lock: int) -> None:
    """The first start. A crash leaves a key without a name, which the next start takes on."""
    if list(folder.glob("*.note")):
        raise KeysError(folder / VKEY_FILE, "is missing beside what was cosigned", "put back its copy")
    if name is None:
        raise KeysError(folder, "holds no witness yet", "name it: --name witness.example/w1")
    key = folder / KEY_FILE
    seed = keys.read_seed(key) if key.exists() else secrets.token_bytes(32)
    try:
        vkey = Signer(name, seed, COSIGNATURE).vkey
    except NoteError as fault:
        raise KeysError(folder, f"cannot belong to {name!r}: {fault}", "choose another name") from None
    if not key.exists():
        keys.put(key, keys.seed_text(key, seed), lock)
    keys.put(folder / VKEY_FILE, f"{vkey}\n".encode(), lock)
