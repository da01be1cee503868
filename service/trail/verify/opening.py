"""Steps 2 to 8 of the verifier: who is meant, who stands for it, where the subject is in the map."""

from hashlib import sha256
from typing import Any, Final

from service.trail.entry import (
    FORMAT,
    ConfigEntry,
    ConfigError,
    Genesis,
    KeyEntryError,
    MapEntry,
    Notice,
    bucket_leaf,
    bucket_of,
    read_config,
    subject_value,
)
from service.trail.merkle import ProofError, check_consistency, root_of_inclusion
from service.trail.note import Checkpoint, Note, NoteError, SignatureError, signed_by
from service.trail.record import HEX_DIGEST, SUBJECT_TYPES, SubjectError, check_subject_id, tag
from service.trail.verify.lines import Lines
from service.trail.verify.shown import Entries, History, read_hashes
from service.trail.verify.trust import Policy, State
from service.trail.verify.verdict import Facts, Fault

MOST_CONSISTENCY_HASHES: Final = 128


class Opening:
    """The lines of a bundle before its records. After `run` it knows the subject's tag and its tree."""

    def __init__(
        self, lines: Lines, policy: Policy, state: State | None, asked: tuple[str, str] | None, facts: Facts
    ) -> None:
        self._lines = lines
        self._policy = policy
        self._state = state
        self._asked = asked
        self._facts = facts
        self.tag = b""
        self.log_mmd_us = 0
        self.right: list[bytes] = []

    def run(self) -> None:
        """Take and check the lines up to the subject line."""
        self._bundle(self._lines.take("bundle"))
        self._checkpoint(self._lines.take("checkpoint"))
        self.entries = Entries(self._facts.size)
        self.history = History(self._state.subjects.get(self.tag) if self._state else None)
        self._earlier_state()
        self._config()
        self._consistency()
        self._map_and_subject()

    # Steps 2 to 4.

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
        self._facts.subject = f"{kind}:{name}"
        self._facts.a, self._facts.b = span
        if self._asked is not None and self._asked != (kind, name):
            raise Fault("E_SUBJECT", line=number)
        key = self._policy.tag_keys.get(kind)
        if key is None:
            raise Fault("E_POLICY", name=f"tag_keys.{kind}", undecided=True)
        self._kind, self._tag_key = kind, key
        self.tag = tag(key, kind, name)

    def _checkpoint(self, line: dict[str, Any]) -> None:
        judge_checkpoint(
            line["note"], self._policy, self._facts, origin=self._origin, line=self._lines.number
        )

    def _earlier_state(self) -> None:
        if self._state is None:
            if self._policy.require_state:
                raise Fault("E_STATE", undecided=True)
            return
        if self._state.origin != self._facts.origin:
            raise Fault("E_ORIGIN")
        if self._state.size > self._facts.size:
            raise Fault("E_ROLLBACK")
        if self._state.size == self._facts.size:
            if self._state.root != self._facts.root:
                raise Fault("E_FORK")
            self._facts.compared_size = self._state.size

    def _consistency(self) -> None:
        old_size, hashes, number = None, [], self._lines.number
        if self._lines.is_next("consistency"):
            line, number = self._lines.take("consistency"), self._lines.number
            old_size = line["old_size"]
            if not 0 < old_size < self._facts.size or len(line["hashes"]) > MOST_CONSISTENCY_HASHES:
                raise Fault("E_FORMAT", line=number)
            hashes = read_hashes(line["hashes"], "E_FORK", number)
        state = self._state
        if state is None or state.size == self._facts.size:
            return
        if old_size != state.size:
            raise Fault("E_NO_CONSISTENCY")
        try:
            check_consistency(state.size, self._facts.size, state.root, self._facts.root, hashes)
        except ProofError:
            raise Fault("E_FORK", line=number) from None
        self._facts.compared_size = state.size

    # Steps 6 to 8.

    def _config(self) -> None:
        for line in self._lines.every("config"):
            first = not self.entries.configs
            entry, _ = self.entries.take(line, self._lines.number, ConfigEntry, self.entries.configs)
            code = self._read_config(entry, first=first)
            if code:
                raise Fault(code, index=entry.index, line=self._lines.number)
        if not self.entries.configs:
            raise Fault("E_FORMAT", line=self._lines.number + 1)

    def _read_config(self, entry: ConfigEntry, *, first: bool) -> str | None:
        """The code of what is wrong with a config entry, if anything."""
        try:
            config = read_config(entry.body)
        except KeyEntryError:
            return "E_KEY_ENTRY"
        except ConfigError:
            return "E_CONFIG"
        if not (isinstance(config, Genesis) == first == (entry.index == 0)):
            return "E_CONFIG"
        if isinstance(config, Genesis):
            return self._found(config)
        if isinstance(config, Notice):
            self._facts.notices[config.code] = self._facts.notices.get(config.code, 0) + 1
            return None
        pinned = {key.vkey for key in self._policy.log_keys}
        if config.origin != self._facts.origin or config.from_size <= entry.index:
            return "E_KEY_ENTRY"
        if not pinned & {config.old, config.new}:
            return "E_KEY_ENTRY"
        self._facts.key_entries += 1
        return None

    def _found(self, genesis: Genesis) -> str | None:
        self._map_bits = genesis.map_bits
        self.log_mmd_us = genesis.mmd_us
        if genesis.origin != self._facts.origin:
            return "E_CONFIG"
        if sha256(self._tag_key).digest() != genesis.tag_key_sha256[self._kind]:
            return "E_TAG_KEY"
        return None

    def _map_and_subject(self) -> None:
        line, number, facts = self._lines.take("map"), self._lines.number, self._facts
        entry, _ = self.entries.take(line, number, MapEntry, self.entries.maps)
        facts.map_time_us = entry.time_us
        if entry.index != facts.size - 1:
            raise Fault("E_MAP_STALE", index=entry.index, line=number)
        value = self._value_in_bucket(line, entry.map_root)
        subject = self._lines.take("subject") if self._lines.is_next("subject") else None
        if subject is None or value is None:
            if subject or value or (facts.a, facts.b) != (0, 0):
                raise Fault("E_COMPLETE", line=self._lines.number)
            return
        number, facts.n = self._lines.number, subject["n"]
        if facts.n < 1 or not HEX_DIGEST.fullmatch(subject["root"]):
            raise Fault("E_COMPLETE", line=number)
        facts.subject_root = bytes.fromhex(subject["root"])
        if subject_value(self.tag, facts.n, facts.subject_root) != value or facts.b > facts.n:
            raise Fault("E_COMPLETE", line=number)
        self.history.open(facts.a, read_hashes(subject["left"], "E_COMPLETE", number))
        self.right = read_hashes(subject["right"], "E_COMPLETE", number)

    def _value_in_bucket(self, line: dict[str, Any], map_root: bytes) -> bytes | None:
        """The value of the subject in the bucket shown, None if it is not there. Raises E_MAP."""
        number, bits = self._lines.number, self._map_bits
        bucket = bucket_of(self.tag, bits)
        members, last, found = bytearray(), b"", None
        for member in line["bucket"]:
            if type(member) is not list or [type(text) for text in member] != [str, str]:
                raise Fault("E_MAP", line=number)
            if not all(map(HEX_DIGEST.fullmatch, member)):
                raise Fault("E_MAP", line=number)
            held, value = map(bytes.fromhex, member)
            if held <= last or bucket_of(held, bits) != bucket:
                raise Fault("E_MAP", line=number)
            if held == self.tag:
                found = value
            last = held
            members += held + value
        path = read_hashes(line["path"], "E_MAP", number)
        digest = bucket_leaf(bucket, bytes(members))
        try:
            root = root_of_inclusion(bucket, 1 << bits, digest, path)
        except ProofError:
            raise Fault("E_MAP", line=number) from None
        if root != map_root:
            raise Fault("E_MAP", line=number)
        return found


def judge_checkpoint(
    text: str, policy: Policy, facts: Facts, *, origin: str, line: int | None = None
) -> Checkpoint:
    """Step 3: the checkpoint of a note, by the log of the policy and of `origin`, signed as the policy demands.

    What was found goes into `facts`. Raises Fault.
    """
    try:
        note = Note.parse(text)
    except NoteError:
        raise Fault("E_NOTE", line=line) from None
    try:
        checkpoint = Checkpoint.parse(note.text)
    except NoteError:
        raise Fault("E_CHECKPOINT", line=line) from None
    if not checkpoint.origin == policy.origin == origin:
        raise Fault("E_ORIGIN", line=line)
    facts.size, facts.root = checkpoint.size, checkpoint.root
    try:
        by_log = {signed.key for signed in signed_by(note, [key.vkey for key in policy.log_keys])}
    except SignatureError as fault:
        raise Fault("E_SIG", line=line, name=fault.key.name) from None
    if not by_log:
        raise Fault("E_SIG", line=line)
    valid = {key.vkey for key in policy.log_keys if key.vkey in by_log and key.valid_at(facts.size)}
    if not valid:
        raise Fault("E_KEY_RANGE", line=line)
    facts.signed_keys = sorted(map(str, valid))
    try:
        seen = signed_by(note, policy.witnesses)
    except SignatureError as fault:
        raise Fault("E_COSIG", line=line, name=fault.key.name) from None
    # The earliest time of a witness: every one of his signatures must be late enough.
    for signed in seen:
        time = signed.time or 0
        facts.witness_times[signed.key.name] = min(time, facts.witness_times.get(signed.key.name, time))
    if len(facts.witness_times) < policy.quorum:
        raise Fault("E_QUORUM", line=line)
    return checkpoint
