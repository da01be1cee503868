"""A replay as a whole, from what the auditor trusts to a verdict in words (trail-format section 11).

A bundle proves that a trail is what the log was signed for. An audit proves that what was signed for holds every logged
record in the trail of each of its subjects, and that no entry was changed, left out, moved or put in since. It needs no
personal data and no tag key.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from service.trail.note import Checkpoint, Note, NoteError, SignatureError, signed_by
from service.trail.replay import Replay, ReplayError
from service.trail.verify.trust import Policy
from service.trail.verify.verdict import (
    ACCEPTED,
    CODES,
    EXIT_CODES,
    LANGUAGES,
    REJECTED,
    UNDECIDED,
    Fault,
    escaped,
)

_INDEX = slice(1, 9)
"""Where an entry says its place: u64 after its type."""
_WORDS: Final = CODES | {
    "E_MAP": (
        "The list of all subjects is not the one that follows from the entries: a trail was cut, stretched or altered.",
        "全体主体的名录与日志条目推导出的不一致：某一主体的记录被删减、增添或改动。",
    ),
    "E_SEQ": (
        "A record does not bear the number it must have in a subject's trail: one was left out, put in or moved.",
        "某条记录在其主体全部记录中的编号不对：有记录被删除、插入或移动。",
    ),
    "E_MAP_STALE": (
        "A checkpoint was signed where these entries have no list of all subjects: other entries were signed for.",
        "签名的检查点所在位置在这些条目中没有全体主体名录：当初签名所针对的是其他条目。",
    ),
    "E_INCLUSION": (
        "The entries are not those that were signed for: at least one was changed after it entered the log.",
        "条目与已签名的日志不符：至少有一个条目在写入日志后被改动。",
    ),
    "E_ROLLBACK": (
        "The log is shorter than one that was signed for or replayed before: entries were taken away.",
        "日志比已签名或以往重放过的更短：有条目被取走。",
    ),
    "E_TRUNCATED": (
        "The entries end before the checkpoint they should lead up to; get them anew.",
        "条目在到达检查点之前就结束了；请重新获取。",
    ),
    "E_STATE": (
        "The state of the earlier replay cannot be gone on from; replay from entry 0, without it.",
        "无法从以往重放的存档继续；请不使用存档，从条目 0 重新重放。",
    ),
    "E_CHECKPOINT": (
        "There is no signed checkpoint to hold the entries against, or it is of another log or size.",
        "没有可供核对的已签名检查点，或检查点属于其他日志或其他大小。",
    ),
}


@dataclass
class Audit:
    """One run of a replay. Feed it with `run`, then ask for its `outcome` and `text`.

    `policy`: whom the auditor trusts. `kept`: signed checkpoints that others kept. `newest`: the service's own, if the entries
    come from itself: entries missing before it are missing from the log, and none that was kept may be larger.
    """

    policy: Policy
    kept: Sequence[str] = ()
    newest: str | None = None
    start: int = 0
    held: dict[int, str] = field(default_factory=dict)
    keys: dict[int, set[str]] = field(default_factory=dict)
    witnesses: dict[int, set[str]] = field(default_factory=dict)
    fault: Fault | None = None
    reason: str = ""
    state: Path | None = None
    goes_on: bool = False
    """Whether a file of entries goes on after the largest checkpoint."""

    def __post_init__(self) -> None:
        self.replay = Replay(self.policy.origin, self.policy.log_keys)

    @property
    def outcome(self) -> str:
        """ACCEPTED, REJECTED or UNDECIDED."""
        if self.fault is None:
            return ACCEPTED
        return UNDECIDED if self.fault.undecided else REJECTED

    @property
    def exit_code(self) -> int:
        """0 accepted, 2 the log is not what it should be, 3 it could not be judged."""
        return EXIT_CODES[self.outcome]

    @property
    def last(self) -> int:
        """The size of the largest checkpoint at hand; 0 if there is none. Raises Fault."""
        return max(map(self._size, self._notes), default=0)

    @property
    def _notes(self) -> list[str]:
        """Every checkpoint at hand, once."""
        return list(dict.fromkeys(self.kept if self.newest is None else [*self.kept, self.newest]))

    def go_on(self, file: BinaryIO) -> None:
        """Start from the state of an earlier run. Raises an undecided Fault if it is none."""
        try:
            self.replay.load(file)
        except ValueError as error:
            self.reason = str(error)
            raise Fault("E_STATE", undecided=True) from None
        self.start = self.replay.size

    def run(self, entries: Iterable[bytes]) -> Iterator[int]:
        """Replay the entries, hold every checkpoint against them at its size; yields how far it is, entry by entry.

        What follows the largest checkpoint nobody signed: it is not replayed, for the state would then accuse the log of it.
        Raises Fault at the first difference, or where something is missing that the verdict needs.
        """
        due: dict[int, list[str]] = {}
        for note in self._notes:
            due.setdefault(self._size(note), []).append(note)
        if not due:
            raise Fault("E_CHECKPOINT", undecided=True)
        if self.newest is not None and (size := self._size(self.newest)) < max(self.start, *due):
            self.reason = (
                f"the newest checkpoint is of {size} entries, earlier there were {max(self.start, *due)}"
            )
            raise Fault("E_ROLLBACK")
        if min(due) < self.start:
            self.reason = f"a checkpoint is of {min(due)} entries, the state of {self.start}"
            raise Fault("E_STATE", undecided=True)
        self._hold(due.pop(self.start, ()))
        rest = iter(entries)
        while due and (data := next(rest, None)) is not None:
            index = int.from_bytes(data[_INDEX], "big")
            if index < self.start and self.newest is None:
                continue
            if self.replay.size == self.start < index and self.newest is None:
                self.reason = f"the file begins at entry {index}, the state ends before entry {self.start}"
                raise Fault("E_STATE", undecided=True)
            try:
                self.replay.feed(data)
            except ReplayError as error:
                raise self._different(error) from None
            if self.replay.size in due:
                self._hold(due.pop(self.replay.size))
            yield self.replay.size
        if due:
            self.reason = f"{self.replay.size} entries, a checkpoint of {min(due)}"
            raise Fault("E_ROLLBACK") if self.newest is not None else Fault("E_TRUNCATED", undecided=True)
        # The service was asked for no more than this.
        self.goes_on = self.newest is None and self._more(rest)

    def _more(self, rest: Iterable[bytes]) -> bool:
        try:
            return any(int.from_bytes(data[_INDEX], "big") >= self.start for data in rest)
        except ValueError:
            return True

    def _hold(self, notes: Iterable[str]) -> None:
        """Hold checkpoints of the present size against the entries. Raises Fault."""
        for note in notes:
            try:
                self.replay.check(note)
            except ReplayError as error:
                raise self._different(error) from None
            self._signed(Note.parse(note), self.replay.size)
            self.held[self.replay.size] = self.replay.root().hex()

    def _signed(self, note: Note, size: int) -> None:
        """Remember who signed the checkpoint of this size. Raises Fault."""
        try:
            by = signed_by(note, [key.vkey for key in self.policy.log_keys])
            seen = signed_by(note, self.policy.witnesses)
        except SignatureError as error:
            raise Fault("E_COSIG", index=size - 1, name=error.key.name) from None
        self.keys.setdefault(size, set()).update(str(one.key) for one in by)
        # Notes of one size that were held have one text, and that is what each witness signed.
        self.witnesses.setdefault(size, set()).update(one.key.name for one in seen)

    @property
    def witnessed(self) -> bool:
        """Whether as many witnesses as demanded signed the largest checkpoint: one they saw earlier says nothing of what follows."""
        return bool(self.held) and len(self.witnesses[max(self.held)]) >= self.policy.quorum

    def again(self, note: str) -> None:
        """Take the newest checkpoint as fetched anew: witnesses may have signed it meanwhile. Raises Fault."""
        try:
            signed = Note.parse(note)
            same = signed.text == Note.parse(self.newest or "").text
        except NoteError:
            return
        if same:
            self._signed(signed, max(self.held))

    def settle(self) -> None:
        """Say at the end whether enough witnesses had signed. Raises Fault."""
        if not self.witnessed:
            raise Fault("E_QUORUM")

    def _different(self, error: ReplayError) -> Fault:
        self.reason = error.reason
        return Fault(error.code, index=error.index)

    def _size(self, note: str) -> int:
        try:
            checkpoint = Checkpoint.parse(Note.parse(note).text)
        except NoteError as error:
            self.reason = str(error)
            raise Fault("E_NOTE", undecided=True) from None
        if checkpoint.origin != self.policy.origin:
            raise Fault("E_ORIGIN", name=checkpoint.origin)
        return checkpoint.size

    def text(self, lang: str = "en") -> str:
        """The verdict in words, `en` or `zh`; the first line begins alike in both, for programs."""
        chinese = LANGUAGES.index(lang) == 1
        said = [ACCEPTED] if self.fault is None else [self._blame(self.fault, chinese=chinese)]
        pairs = [*self._rests_on(), *(() if self.fault else self._proved())]
        if self.fault is not None and self.fault.code == "E_QUORUM":
            pairs += self._seen_by_witnesses()
        return "\n".join(said + [zh if chinese else en for en, zh in pairs]) + "\n"

    def _blame(self, fault: Fault, *, chinese: bool) -> str:
        first = f"{self.outcome} {fault.code}: {_WORDS[fault.code][chinese]}"
        place = (
            (f"日志条目 {fault.index}" if chinese else f"log entry {fault.index}",)
            if fault.index is not None
            else ()
        )
        more = [*place, *(escaped(one) for one in (fault.name, self.reason) if one)]
        if not more:
            return first
        return first + (f"（{'，'.join(more)}）" if chinese else f" ({', '.join(more)})")

    def _rests_on(self) -> Iterator[tuple[str, str]]:
        pinned = escaped(", ".join(str(key.vkey) for key in self.policy.log_keys))
        origin = escaped(self.policy.origin)
        yield (
            f"Trust root: log {origin}; log keys you pinned: {pinned}",
            f"信任依据：日志 {origin}，您信任的日志密钥：{pinned}",
        )
        size, start = self.replay.size, self.start
        if start:
            yield (
                f"Replayed: entries {start} to {size - 1}, going on from your state of {start} entries.",
                f"重放范围：条目 {start} 至 {size - 1}，接续您已存档的 {start} 个条目。",
            )
        else:
            yield (
                f"Replayed: {size} entries, from the first one on.",
                f"重放范围：自首个条目起共 {size} 个条目。",
            )

    def _proved(self) -> Iterator[tuple[str, str]]:
        size, root = max(self.held.items())
        keys = escaped(", ".join(sorted(self.keys[size])))
        yield (
            f"Entries: each stands where it was put; none is missing, added, moved or altered up to size {size}.",
            f"条目：直至大小 {size}，每个条目都在原来的位置，无缺失、无增添、无移动、无改动。",
        )
        if self.goes_on:
            yield (
                f"Not covered: what follows the largest checkpoint, from entry {size} on.",
                f"不在证明之列：最大检查点之后的内容，即条目 {size} 及其后。",
            )
        yield (
            f"Subjects: {self.replay.subjects}; the list of all of them follows from the entries, each trail being whole.",
            f"主体：共 {self.replay.subjects} 个；全体主体名录与条目推导结果一致，每个主体的记录均完整。",
        )
        yield (
            f"Checkpoints held against them: {len(self.held)}; the last by {keys}: size {size}, fingerprint {root}",
            f"已核对的检查点：{len(self.held)} 个；最后一个的签名密钥：{keys}，大小 {size}，指纹 {root}",
        )
        yield from self._seen_by_witnesses()
        if not self.witnesses[size]:
            yield (
                "No witness has signed that size: compare the fingerprint with other readers, who may be shown another log.",
                "没有见证人为该大小签名：请与其他读者核对指纹，他人所见的日志可能不同。",
            )
        yield (
            "Not shown: what the records say (bundles show that), and whether every act became a record (receipts do).",
            "未予证明：记录的内容（由证据包证明），以及每个行为是否都已成为记录（由回执证明）。",
        )
        if self.state is not None:
            state = escaped(str(self.state))
            yield (
                f"State kept in {state}: the next replay goes on from there.",
                f"已存档于 {state}：下次重放由此继续。",
            )

    def _seen_by_witnesses(self) -> Iterator[tuple[str, str]]:
        """How many witnesses signed the largest checkpoint, then up to which smaller size more of them did.

        Who signed a size has seen all before it (section 8), and nothing after it.
        """
        known, quorum, said = len(self.policy.witnesses), self.policy.quorum, -1
        seen: set[str] = set()
        for size in sorted(self.held, reverse=True):
            seen |= self.witnesses[size]
            if len(seen) > said:
                yield (
                    f"Witnesses: {len(seen)} of {known} signed up to size {size}"
                    + (f" (quorum {quorum})" if said < 0 else ""),
                    f"见证：直至大小 {size}，{known} 个见证人中有 {len(seen)} 个签名"
                    + (f"（要求 {quorum} 个）" if said < 0 else ""),
                )
                said = len(seen)
