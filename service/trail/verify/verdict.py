"""What the verifier says: its codes and its verdict in the words of a lawyer, in English and Chinese.

Codes are stable: programs and case files quote them. Section 10 of the trail format; E_FILE and
E_UNFORESEEN are the verifier's own.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

ACCEPTED: Final = "ACCEPTED"
REJECTED: Final = "REJECTED"
UNDECIDED: Final = "UNDECIDED"

EXIT_CODES: Final = {ACCEPTED: 0, REJECTED: 2, UNDECIDED: 3}
LANGUAGES: Final = ("en", "zh")

CODES: Final[dict[str, tuple[str, str]]] = {
    "E_LIMIT": (
        "The file, or something in it, is larger than the format allows.",
        "文件或其中某项内容超出了格式允许的大小。",
    ),
    "E_TRUNCATED": (
        "The file is incomplete or was altered: its last line does not match the lines before it.",
        "文件不完整或被改动：末行与前面各行不符。",
    ),
    "E_CANON": (
        "Something is not written in the one form the format permits.",
        "有内容不是按格式规定的唯一写法书写的。",
    ),
    "E_FORMAT": (
        "The file does not consist of the lines the format prescribes.",
        "文件的行或其成员不符合格式规定。",
    ),
    "E_SUBJECT_ID": (
        "The name of the subject is not a permitted one.",
        "主体的名称不符合规定。",
    ),
    "E_SUBJECT": (
        "The file, or a record in it, is about another subject than it should be.",
        "文件或其中的记录所涉主体与应有的不同。",
    ),
    "E_POLICY": (
        "Your trust file cannot be used, or lacks a key that this needs.",
        "您的信任文件无法使用，或缺少此处所需的密钥。",
    ),
    "E_NOTE": (
        "The signed statement of the log is malformed.",
        "日志的签名声明格式有误。",
    ),
    "E_CHECKPOINT": (
        "The signed statement does not state the size and the fingerprint of the log.",
        "签名声明未正确载明日志的大小与指纹。",
    ),
    "E_ORIGIN": (
        "The file comes from another log than the one you trust.",
        "文件来自另一个日志，而非您所信任的日志。",
    ),
    "E_SIG": (
        "The log's signature is missing or false.",
        "缺少日志的签名，或签名为假。",
    ),
    "E_KEY_RANGE": (
        "The signature is by a key of the log that was not, or no longer, valid at this size.",
        "签名所用的日志密钥在此大小时尚未生效或已失效。",
    ),
    "E_COSIG": (
        "The signature of a witness you know is false.",
        "您所认可的某个见证人的签名为假。",
    ),
    "E_QUORUM": (
        "Fewer witnesses have signed than you require.",
        "签名的见证人少于您要求的数目。",
    ),
    "E_ROLLBACK": (
        "The log or the subject's history is shorter than what you were shown before.",
        "日志或该主体的历史比以前向您出示的更短。",
    ),
    "E_FORK": (
        "The log or the subject's history does not continue what you were shown before: it was changed.",
        "日志或该主体的历史不是以前向您出示的内容的延续：事后有改动。",
    ),
    "E_NO_CONSISTENCY": (
        "The file does not show that the log continues the one you were shown before.",
        "文件没有证明日志是以前向您出示的日志的延续。",
    ),
    "E_STATE": (
        "The memory of earlier checks is required but missing, unreadable or cannot be written.",
        "需要以往核验的存档，但该存档缺失、不可读或无法写入。",
    ),
    "E_ENTRY": (
        "An entry of the log is malformed.",
        "日志中的一个条目格式有误。",
    ),
    "E_INDEX": (
        "An entry of the log does not stand at the place the file gives for it.",
        "日志条目的位置与文件所述不符。",
    ),
    "E_DUP_INDEX": (
        "The same place in the log is shown twice.",
        "日志的同一位置出现了两次。",
    ),
    "E_ORDER": (
        "Entries of the log are not shown in their order.",
        "日志条目未按顺序出示。",
    ),
    "E_CONFIG": (
        "The founding entry of the log, or another entry about the log itself, is wrong.",
        "日志的创立条目或其他关于日志本身的条目有误。",
    ),
    "E_KEY_ENTRY": (
        "A change of the log's key is not signed by both keys, or concerns none you trust.",
        "日志密钥的更换未经新旧两个密钥签名，或与您信任的密钥无关。",
    ),
    "E_TAG_KEY": (
        "The tag key in your trust file is not the one the log committed itself to.",
        "您信任文件中的标签密钥不是日志所承诺的那一个。",
    ),
    "E_MAP_STALE": (
        "The list of all subjects is not the newest: it does not cover the whole log.",
        "全体主体的名录不是最新的：它没有覆盖整个日志。",
    ),
    "E_MAP": (
        "The part of the list of all subjects that is shown does not belong to the list signed for.",
        "所出示的主体名录部分不属于已签名的名录。",
    ),
    "E_COMPLETE": (
        "Records of this subject are missing, too many, or not those the log committed itself to.",
        "该主体的记录有缺失、多余，或与日志所承诺的不符。",
    ),
    "E_RECORD": (
        "A record was altered: it is not the one that entered the log.",
        "记录被改动：它不是当初写入日志的那一条。",
    ),
    "E_SHAPE": (
        "A record does not have the members the format prescribes.",
        "记录不具备格式规定的各项内容。",
    ),
    "E_TIME": (
        "Times contradict one another: something is later than what must have followed it.",
        "时间相互矛盾：有事项晚于其后必然发生的事项。",
    ),
    "E_BACKDATED": (
        "A record entered the log later after the act than is permitted: it may have been backdated.",
        "记录写入日志的时间晚于行为发生后的允许期限：可能被倒签日期。",
    ),
    "E_FIELDS": (
        "The personal values shown and withheld are not those the record names.",
        "所出示与保留的个人信息与记录所列的不一致。",
    ),
    "E_FIELD": (
        "A personal value was altered: it is not the one the record committed itself to.",
        "个人信息被改动：它不是记录所承诺的内容。",
    ),
    "E_SEQ": (
        "A record does not bear the number it must have among the records of this subject.",
        "记录在该主体的全部记录中的编号不对。",
    ),
    "E_CITED": (
        "A further record is shown to which nothing refers, or which belongs in the range itself.",
        "附带出示的记录未被文件中任何内容引用，或本应列入范围之内。",
    ),
    "E_DUP_ID": (
        "Two records bear the same identity.",
        "两条记录的标识相同。",
    ),
    "E_LINK": (
        "A record claims to follow from one that is later than itself.",
        "记录声称源于一条比自己更晚的记录。",
    ),
    "E_REDACTION": (
        "Something is said to be deleted, but no later record that is shown orders its deletion.",
        "文件称某内容已删除，但没有出示其后作出该删除的记录。",
    ),
    "E_STALE": (
        "The file is older than you require.",
        "文件早于您要求的时间。",
    ),
    "E_INCLUSION": (
        "What is shown is not what the signed log holds.",
        "所出示的内容不是已签名日志中的内容。",
    ),
    "E_RECEIPT": (
        "The receipt is not borne out: it is false, its record is not in the log, or this file cannot tell.",
        "回执未得到印证：回执为假，或其承诺的记录不在日志中，或凭本文件无法判断。",
    ),
    "E_FILE": (
        "The file cannot be read.",
        "文件无法读取。",
    ),
    "E_UNFORESEEN": (
        "The check met something it was not made for. This counts as a rejection.",
        "核验遇到了未曾预料的情况，按拒绝处理。",
    ),
}


class Fault(Exception):
    """Why a bundle is not accepted: a code of section 10 and the place it concerns.

    `index` is a log index, `line` a line of the file from 1, `name` a field or member. `undecided` means
    that the reader lacks something; otherwise the proof failed.
    """

    def __init__(
        self,
        code: str,
        *,
        index: int | None = None,
        line: int | None = None,
        name: str | None = None,
        undecided: bool = False,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.index = index
        self.line = line
        self.name = name
        self.undecided = undecided


@dataclass
class Facts:
    """What was found on the way; complete only when the bundle is accepted. Times as in the format."""

    origin: str = ""
    subject: str = ""
    pinned_keys: list[str] = field(default_factory=list)
    signed_keys: list[str] = field(default_factory=list)
    witnesses_known: int = 0
    quorum: int = 0
    witness_times: dict[str, int] = field(default_factory=dict)
    size: int = 0
    root: bytes = b""
    map_time_us: int = 0
    earliest_us: int | None = None
    compared_size: int | None = None
    subject_compared: int | None = None
    a: int = 0
    b: int = 0
    n: int = 0
    subject_root: bytes = b""
    shown: int = 0
    fields_shown: int = 0
    fields_withheld: int = 0
    fields_redacted: int = 0
    gone: int = 0
    cited: int = 0
    key_entries: int = 0
    notices: dict[str, int] = field(default_factory=dict)
    receipt_index: int | None = None
    state_written: bool = False


@dataclass(frozen=True)
class Verdict:
    """The outcome, and on what it rests."""

    outcome: str
    facts: Facts
    fault: Fault | None = None

    @property
    def code(self) -> str | None:
        """The code of section 10, None if accepted."""
        return self.fault.code if self.fault else None

    @property
    def exit_code(self) -> int:
        """0 accepted, 2 the proof failed, 3 it could not be judged."""
        return EXIT_CODES[self.outcome]

    def text(self, lang: str = "en") -> str:
        """The verdict in words, `en` or `zh`; the first line is the same for programs in both."""
        chinese = LANGUAGES.index(lang) == 1
        if self.fault:
            lines = [
                blame(self.outcome, self.fault, chinese=chinese),
                *trust_said(self.facts, chinese=chinese),
            ]
        else:
            lines = [
                ACCEPTED,
                *trust_said(self.facts, chinese=chinese),
                *_proved(self.facts, chinese=chinese),
            ]
        return "\n".join(lines) + "\n"


def blame(outcome: str, fault: Fault, *, chinese: bool) -> str:
    """The first line of a verdict that is not ACCEPTED."""
    places = [
        (fault.index, "log entry {}", "日志条目 {}"),
        (fault.line, "line {} of the file", "文件第 {} 行"),
        (fault.name and escaped(fault.name), "{}", "{}"),
    ]
    where = [(zh if chinese else en).format(at) for at, en, zh in places if at is not None]
    sentence = CODES[fault.code][chinese]
    if chinese:
        return f"{outcome} {fault.code}: {sentence}" + (f"（{'，'.join(where)}）" if where else "")
    return f"{outcome} {fault.code}: {sentence}" + (f" ({', '.join(where)})" if where else "")


def escaped(text: str) -> str:
    r"""Text that fits on a line of output: what cannot be printed is escaped, `\xff` for a byte of a file name not in UTF-8."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1].replace("\\udc", "\\x") for one in text)


def trust_said(facts: Facts, *, chinese: bool) -> list[str]:
    """On whom a verdict rests."""
    # The trust file is somebody else's work: no name in it may move the cursor over the verdict.
    pinned, origin = escaped(", ".join(facts.pinned_keys)) or "-", escaped(facts.origin) or "-"
    if chinese:
        return [
            f"信任依据：日志 {origin}，您信任的日志密钥：{pinned}",
            f"见证人：您认可 {facts.witnesses_known} 个，至少需要 {facts.quorum} 个",
        ]
    return [
        f"Trust root: log {origin}; log keys you pinned: {pinned}",
        f"Witnesses: {facts.witnesses_known} known to you, {facts.quorum} required",
    ]


def _proved(facts: Facts, *, chinese: bool) -> list[str]:
    pairs = [*log_said(facts), *_of_subject(facts), *_of_content(facts)]
    return [zh if chinese else en for en, zh in pairs]


def log_said(facts: Facts) -> list[tuple[str, str]]:
    """What was found of the checkpoint, in English and Chinese."""
    keys = escaped(", ".join(facts.signed_keys))
    seen = len(facts.witness_times)
    known = facts.witnesses_known
    said = [
        (
            f"Signed by the log's key: {keys}; size {facts.size}, fingerprint {facts.root.hex()}",
            f"日志签名密钥：{keys}；大小 {facts.size}，指纹 {facts.root.hex()}",
        ),
        (
            f"Witnesses: {seen} of {known} signed (quorum {facts.quorum})",
            f"见证：{known} 个见证人中有 {seen} 个签名（要求 {facts.quorum} 个）",
        ),
    ]
    said += [
        (f"  {name} saw it at {at}", f"  {name} 于 {at} 见到")
        for name, at in (
            (escaped(one), moment(time * 1_000_000)) for one, time in sorted(facts.witness_times.items())
        )
    ]
    if facts.compared_size is not None:
        said.append(
            (
                f"The log continues the one of size {facts.compared_size} you were shown before.",
                f"日志是以前向您出示的大小为 {facts.compared_size} 的日志的延续。",
            )
        )
    else:
        said.append(
            (
                "Compared with no earlier state"
                + ("." if seen else ", and no witness has signed: others may be shown another log."),
                "未与任何以往状态比较" + ("。" if seen else "，且没有见证人签名：他人所见的日志可能不同。"),
            )
        )
    return said


def _of_subject(facts: Facts) -> list[tuple[str, str]]:
    start = "-" if facts.earliest_us is None else moment(facts.earliest_us)
    end = moment(facts.map_time_us)
    span = f"[{facts.a}, {facts.b})"
    said: list[tuple[str, str]] = []
    if not facts.n:
        said.append(
            (
                f"Subject {facts.subject}: proved that the log holds NO record of it.",
                f"主体 {facts.subject}：已证明日志中没有其任何记录。",
            )
        )
    elif (facts.a, facts.b) == (0, facts.n):
        said.append(
            (
                f"Subject {facts.subject}: COMPLETE, all {facts.n} records, unchanged and in order.",
                f"主体 {facts.subject}：完整，全部 {facts.n} 条记录，未经改动，次序无误。",
            )
        )
    else:
        said.append(
            (
                f"Subject {facts.subject}: PART ONLY, {span} of {facts.n} records, unchanged and in order.",
                f"主体 {facts.subject}：仅为部分，{facts.n} 条记录中的 {span}，未经改动，次序无误。",
            )
        )
    if facts.subject_compared is not None:
        said.append(
            (
                f"The first {facts.subject_compared} records are those you were shown before.",
                f"前 {facts.subject_compared} 条记录与以前向您出示的相同。",
            )
        )
    said.append(
        (
            f"Time: what is shown entered the log from {start} to {end}; nothing later is covered.",
            f"时间：所出示内容写入日志的时间自 {start} 至 {end}；此后的内容不在证明之列。",
        )
    )
    return said


def _of_content(facts: Facts) -> list[tuple[str, str]]:
    shown, held, deleted = facts.fields_shown, facts.fields_withheld, facts.fields_redacted
    said = [
        (
            f"Personal values: {shown} proved, {held} held back, {deleted} deleted by a record shown.",
            f"个人信息：{shown} 项已出示并证实，{held} 项被保留，{deleted} 项已由所出示的记录删除。",
        ),
        (
            f"Records whose body was deleted by a record shown (fingerprint only): {facts.gone}"
            + (" - not checked: that their term of keeping was over" if facts.gone else ""),
            f"正文已由所出示的记录删除的记录（仅存指纹）：{facts.gone}"
            + ("；未核验：其保存期是否已满" if facts.gone else ""),
        ),
        (f"Further records cited: {facts.cited}", f"附带引用的记录：{facts.cited}"),
        (
            f"Changes of the log's key: {facts.key_entries}; notices: {', '.join(facts.notices) or '-'}",
            f"日志密钥的更换：{facts.key_entries} 次；公告：{'、'.join(facts.notices) or '-'}",
        ),
    ]
    if facts.receipt_index is not None:
        said.append(
            (
                f"The receipt is kept: its record is log entry {facts.receipt_index}.",
                f"回执已兑现：其记录为日志条目 {facts.receipt_index}。",
            )
        )
    if facts.state_written:
        said.append(
            ("Remembered for the next check.", "已存档，供下次核验比较。"),
        )
    return said


def moment(us: int) -> str:
    """An instant in words, from microseconds since 1970 UTC."""
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).isoformat(
            timespec="microseconds"
        )
    except OverflowError:
        return f"{us} us"
