"""One receipt judged: is it the log's own word, and was the word kept? (trail-format section 4.2)

A receipt alone is a promise. That it was kept is shown by a complete bundle of one of its subjects, or by less: the entry
of its record and the path from it to a signed checkpoint.
"""

from dataclasses import dataclass, field
from typing import Any

from service.trail.entry import EntryError, RecordEntry, decode
from service.trail.merkle import ProofError, leaf, root_of_inclusion
from service.trail.note import Checkpoint, from_base64
from service.trail.verify.opening import judge_checkpoint
from service.trail.verify.trust import Policy, Receipt, read_json
from service.trail.verify.verdict import (
    ACCEPTED,
    EXIT_CODES,
    LANGUAGES,
    REJECTED,
    UNDECIDED,
    Facts,
    Fault,
    blame,
    log_said,
    moment,
    trust_said,
)

_MEMBERS = frozenset(("entry", "hashes", "index", "kind", "note"))


@dataclass
class Judgement:
    """A receipt against what the reader trusts; `kept` holds it against a proof. Then ask for `text` and `exit_code`."""

    policy: Policy
    fault: Fault | None = None
    promised: list[tuple[str, str]] = field(default_factory=list)
    found: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.facts = Facts(
            origin=self.policy.origin,
            pinned_keys=[str(key.vkey) for key in self.policy.log_keys],
            witnesses_known=len({key.name for key in self.policy.witnesses}),
            quorum=self.policy.quorum,
        )

    @property
    def outcome(self) -> str:
        """ACCEPTED, REJECTED or UNDECIDED."""
        if self.fault is None:
            return ACCEPTED
        return UNDECIDED if self.fault.undecided else REJECTED

    @property
    def exit_code(self) -> int:
        """0 the promise is genuine and was kept, 2 it is false or was broken, 3 it could not be judged."""
        return EXIT_CODES[self.outcome]

    def receipt(self, data: bytes) -> Receipt:
        """Read a receipt. Raises Fault `E_RECEIPT` unless a receipt key of the policy signed it for this very record.

        Undecided are an `E_ORIGIN` and an `E_POLICY`, as of `Receipt`.
        """
        receipt = Receipt(data, self.policy)
        record, promise = receipt.record, receipt.promise
        if promise.mmd_us > self.policy.mmd_us:
            raise Fault("E_RECEIPT", name="mmd_us")
        by = f"{record['by']['kind']} ({record['by']['standing'] or '-'})"
        due = moment(promise.ts_us + promise.mmd_us)
        self.promised = [
            (
                f"The receipt is genuine: a receipt key you trust signed it for record {promise.record_id}.",
                f"回执属实：由您信任的回执密钥为记录 {promise.record_id} 签名。",
            ),
            (
                f"The record: {record['act']}, {record['out']}, by {by} at {moment(promise.ts_us)}.",
                f"记录内容：{record['act']}，{record['out']}，行为人 {by}，时间 {moment(promise.ts_us)}。",
            ),
            (f"Promised: it stands in the log by {due}.", f"承诺：最迟于 {due} 写入日志。"),
        ]
        return receipt

    def kept(self, receipt: Receipt, proof: bytes, seen: Checkpoint | None) -> None:
        """Hold a receipt against an inclusion proof, and that against the checkpoint `seen` elsewhere.

        Raises Fault; an undecided `E_RECEIPT` where the proof is good, but of another record.
        """
        value = _read(proof)
        checkpoint = judge_checkpoint(value["note"], self.policy, self.facts, origin=self.policy.origin)
        if seen is not None:
            hold_to(seen, checkpoint.size, checkpoint.root)
        index, promise = value["index"], receipt.promise
        try:
            data = from_base64(value["entry"])
            entry = decode(data)
        except (EntryError, ValueError):
            raise Fault("E_ENTRY", index=index) from None
        if entry.index != index or index >= checkpoint.size:
            raise Fault("E_INDEX", index=index)
        try:
            path = [from_base64(one, 32) for one in value["hashes"]]
            root = root_of_inclusion(index, checkpoint.size, leaf(data), path)
        except (ProofError, ValueError):
            raise Fault("E_INCLUSION", index=index) from None
        if root != checkpoint.root:
            raise Fault("E_INCLUSION", index=index)
        if not isinstance(entry, RecordEntry) or entry.record_hash != promise.record_hash:
            raise Fault("E_RECEIPT", index=index, undecided=True)
        if frozenset(entry.tags) != receipt.tags:
            raise Fault("E_SUBJECT", index=index)
        if entry.time_us - promise.ts_us > promise.mmd_us:
            raise Fault("E_BACKDATED", index=index)
        self.found = [
            (
                f"Kept: the record is log entry {index}, written at {moment(entry.time_us)}.",
                f"已兑现：该记录为日志条目 {index}，写入时间 {moment(entry.time_us)}。",
            ),
            *log_said(self.facts),
            (
                "Not shown: that each of its subjects' trails holds it; a bundle shows that of one, a replay of all.",
                "未予证明：其各主体的记录中均载有该记录；证据包可证明其一，重放可证明全部。",
            ),
        ]

    def text(self, lang: str = "en") -> str:
        """The judgement in words, `en` or `zh`; the first line begins alike in both, for programs."""
        chinese = LANGUAGES.index(lang) == 1
        first = ACCEPTED if self.fault is None else blame(self.outcome, self.fault, chinese=chinese)
        pairs = [*self.promised, *(() if self.fault else self.found)]
        if self.promised and self.fault is not None and self.fault.undecided:
            pairs.append(("Whether it was kept is not shown.", "是否兑现未予证明。"))
        said = [zh if chinese else en for en, zh in pairs]
        return "\n".join([first, *trust_said(self.facts, chinese=chinese), *said]) + "\n"


def hold_to(seen: Checkpoint, size: int, root: bytes) -> None:
    """Compare the size and root that a proof rests on with the checkpoint `seen` elsewhere, of the same log.

    Raises Fault `E_FORK`, and an undecided `E_CHECKPOINT` where the sizes differ.
    """
    if seen.size != size:
        raise Fault("E_CHECKPOINT", name=f"{size}, not {seen.size}", undecided=True)
    if seen.root != root:
        raise Fault("E_FORK")


def _read(proof: bytes) -> dict[str, Any]:
    """An inclusion proof. Raises Fault `E_FORMAT`."""
    try:
        value: Any = read_json(proof)
    except ValueError:
        raise Fault("E_FORMAT") from None
    if type(value) is not dict or value.keys() != _MEMBERS or value["kind"] != "inclusion":
        raise Fault("E_FORMAT")
    texts = (value["entry"], value["note"], *(value["hashes"] if type(value["hashes"]) is list else (None,)))
    if type(value["index"]) is not int or value["index"] < 0 or any(type(one) is not str for one in texts):
        raise Fault("E_FORMAT")
    return value
