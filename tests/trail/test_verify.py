"""The verifier: the untouched bundle is accepted, and every code of section 10 is reached by a tampered
one.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from service.trail import entry as entries
from service.trail.bundle import Shown
from service.trail.merkle import Tree, prove_range
from service.trail.note import (
    COSIGNATURE,
    ED25519,
    Checkpoint,
    KeyChange,
    Note,
    Signer,
    from_base64,
    to_base64,
)
from service.trail.record import canonical
from service.trail.verify import Verdict, main, run, verify_bundle
from service.trail.verify.verdict import CODES
from tests.trail.memory import SECOND, T0, MemoryLog, build_full_log, bundle_of, digest

Lines = list[dict[str, Any]]


def lines_of(bundle: bytes) -> Lines:
    return [json.loads(line) for line in bundle.splitlines()]


def sealed(lines: Lines) -> bytes:
    """The lines with an end line that matches them: only the fault itself is left to find."""
    body = b"".join(canonical(line) + b"\n" for line in lines if line["kind"] != "end")
    end = {"kind": "end", "lines": body.count(b"\n"), "sha256": sha256(body).hexdigest()}
    return body + canonical(end) + b"\n"


def find(lines: Lines, kind: str, number: int = 0) -> dict[str, Any]:
    return [line for line in lines if line["kind"] == kind][number]


@dataclass
class Case:
    """A bundle and what the reader brings to it."""

    log: MemoryLog
    bundle: bytes
    policy: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] | None = None
    subject: tuple[str, str] | None = None
    receipt: bytes | None = None

    def judge(self, folder: Path) -> Verdict:
        paths = {name: folder / name for name in ("bundle", "policy", "state", "receipt")}
        paths["bundle"].write_bytes(self.bundle)
        paths["policy"].write_text(json.dumps(self.log.policy(**self.policy)))
        paths["state"].unlink(missing_ok=True)
        if self.state is not None:
            paths["state"].write_bytes(canonical(self.state))
        if self.receipt is not None:
            paths["receipt"].write_bytes(self.receipt)
        return verify_bundle(
            paths["bundle"],
            policy=paths["policy"],
            state=paths["state"] if self.state is not None else None,
            subject=self.subject,
            receipt=paths["receipt"] if self.receipt is not None else None,
        )


FULL = build_full_log()
FULL_BUNDLE = bundle_of(FULL, cite_links=True)


def state_of(
    log: MemoryLog, size: int, subjects: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    root = log.tree.root(size).hex()
    state = {"format": "mandate-trail/1", "origin": log.origin, "root": root, "size": size}
    return state | {"subjects": subjects or {}} | changes


def tampered(change: Callable[[Lines], Any], **reader: Any) -> Case:
    """The full bundle after `change`, which may return other lines."""
    lines = lines_of(FULL_BUNDLE)
    other = change(lines)
    return Case(
        FULL, sealed(other if isinstance(other, list) and type(other[0]) is dict else lines), **reader
    )


def changed(kind: str, number: int = 0, **members: Any) -> Case:
    return tampered(lambda lines: find(lines, kind, number).update(members))


def without(kind: str, number: int = 0) -> Case:
    return tampered(lambda lines: [line for line in lines if line is not find(lines, kind, number)])


def honest(**reader: Any) -> Case:
    return Case(FULL, FULL_BUNDLE, **reader)


def small_log(build: Callable[[MemoryLog, Callable[..., int]], None], **reader: Any) -> Case:
    """A log with its own faults, honestly signed; `build` adds records with `add(number, **changes)`."""
    log = MemoryLog("mandate.example/small", time_us=T0, map_bits=1, seed="small")

    def add(
        number: int, *, delay_us: int = 1000, options: dict[str, Any] | None = None, **changes: Any
    ) -> int:
        ts_us = T0 + number * SECOND
        fields = changes.pop("fields", None)
        record, opened = log.draft(number, ["group:g1", "person:Ann"], ts_us, fields, **changes)
        return log.record(record, changes.get("ts_us", ts_us) + delay_us, opened, **(options or {}))

    build(log, add)
    log.publish(T0 + 60 * SECOND, T0 // SECOND + 60)
    return Case(log, bundle_of(log, cite_links=True), **reader)


def note_of(text: str, log: MemoryLog = FULL) -> str:
    lines = (log.log_key.sign(text), log.witness.cosign(text, T0 // SECOND + 60))
    return str(Note(text, lines))


def spoil(text: str) -> str:
    """The same base64 with one bit of its first byte changed."""
    data = bytearray(from_base64(text))
    data[0] ^= 1
    return to_base64(bytes(data))


def swap(kind: str, one: int, other: int) -> Case:
    def change(lines: Lines) -> None:
        first, second = find(lines, kind, one), find(lines, kind, other)
        at, to = lines.index(first), lines.index(second)
        lines[at], lines[to] = second, first

    return tampered(change)


def repeated(kind: str) -> Case:
    def change(lines: Lines) -> None:
        line = find(lines, kind)
        lines.insert(lines.index(line), line)

    return tampered(change)


def respoiled_signature(number: int) -> Case:
    def change(lines: Lines) -> None:
        line = find(lines, "checkpoint")
        note = Note.parse(line["note"])
        signatures = list(note.signatures)
        old = signatures[number]
        signatures[number] = type(old)(old.name, old.key_id, old.raw[:-1] + bytes([old.raw[-1] ^ 1]))
        line["note"] = str(Note(note.text, tuple(signatures)))

    return tampered(change)


def signed_only_by(number: int | None) -> Case:
    def change(lines: Lines) -> None:
        line = find(lines, "checkpoint")
        note = Note.parse(line["note"])
        stranger = Signer("stranger.example", digest("stranger")).sign(note.text)
        line["note"] = str(Note(note.text, (stranger if number is None else note.signatures[number],)))

    return tampered(change)


def older_map() -> Case:
    size = FULL.sizes[0]
    return changed("map", index=size - 1, entry=to_base64(FULL.entries[size - 1]))


def opened(number: int, **fields: Any) -> Case:
    """Change the first field of a record line."""

    def change(lines: Lines) -> None:
        shown = find(lines, "record", number)["fields"]
        name = next(iter(shown))
        shown[name] = shown[name] | fields

    return tampered(change)


def linked_forward(_: MemoryLog, add: Callable[..., int]) -> None:
    add(1, links=["01a0c450-6f84-7000-8000-000000000002"])
    add(2)


def cited_forward() -> Case:
    def build(log: MemoryLog, add: Callable[..., int]) -> None:
        add(1, links=["01a0c450-6f84-7000-8000-000000000009"])
        record, _ = log.draft(9, ["group:g2"], T0 + 9 * SECOND)
        log.record(record, T0 + 9 * SECOND)

    return small_log(build)


def cited_to_the_range() -> Case:
    """A cited record links to a record of the range that is later than itself."""

    def build(log: MemoryLog, add: Callable[..., int]) -> None:
        links = ["01a0c450-6f84-7000-8000-000000000002"]
        record, _ = log.draft(9, ["group:g2"], T0 + SECOND, links=links)
        log.record(record, T0 + SECOND)
        add(2, links=[record["id"]])

    return small_log(build)


def same_id(_: MemoryLog, add: Callable[..., int]) -> None:
    add(1)
    add(2, id="01a0c450-6f84-7000-8000-000000000001")


def ill_formed(log: MemoryLog, add: Callable[..., int]) -> None:
    record, _ = log.draft(1, ["group:g1"], T0 + SECOND)
    body = canonical(record).replace(b'"v":1', b'"v": 1')
    add(1, options={"body": body})


def key_entry(signers: Callable[[MemoryLog, Signer], list[Signer]], **changes: Any) -> Case:
    def build(log: MemoryLog, add: Callable[..., int]) -> None:
        add(1)
        new = Signer(log.origin, digest("small 2"))
        change = KeyChange(
            *({"origin": log.origin, "old": log.log_key.vkey, "new": new.vkey, "size": 9} | changes).values()
        )
        lines = tuple(signer.sign(str(change)) for signer in signers(log, new))
        log.config({"kind": "key", "note": str(Note(str(change), lines))}, T0 + 2 * SECOND)

    return small_log(build)


def deletion(**changes: Any) -> Case:
    """Record 1 says record 2 redacted its field; `changes` make record 2 something else."""
    act = {"act": "field.redact", "p": {"fields": ["name"], "record": "01a0c450-6f84-7000-8000-000000000001"}}

    def build(log: MemoryLog, add: Callable[..., int]) -> None:
        index = add(1, fields={"name": "Ann"})
        add(2, **(act | changes))
        shown = log.shown[index]
        by = "01a0c450-6f84-7000-8000-000000000002"
        log.shown[index] = Shown(index, shown.entry, shown.record, {}, {"name": by})

    return small_log(build)


def deletion_by_another(**changes: Any) -> Case:
    """Record 1 says its field was deleted by a record about a stranger."""
    by = "01a0c450-6f84-7000-8000-000000000002"
    p = {"fields": ["name"], "record": "01a0c450-6f84-7000-8000-000000000001"}

    def build(log: MemoryLog, add: Callable[..., int]) -> None:
        index = add(1, fields={"name": "Ann"})
        record, _ = log.draft(
            2, ["person:Bob"], T0 + 2 * SECOND, **({"act": "field.redact", "p": p} | changes)
        )
        log.record(record, T0 + 2 * SECOND)
        shown = log.shown[index]
        log.shown[index] = Shown(index, shown.entry, shown.record, {}, {"name": by})

    return small_log(build)


def erasure_of_another(target: str) -> Case:
    """Record 1 about Ann says its field went with an erasure that concerns her group too, and erases `target`."""
    by = "01a0c450-6f84-7000-8000-000000000002"

    def build(log: MemoryLog, add: Callable[..., int]) -> None:
        index = add(1, fields={"name": "Ann"})
        subjects = ["group:g1", "person:Ann", "person:Bob"]
        place = log.tags(*subjects).index(log.tags(target)[0])
        p = {"who": {"target": place}}
        record, _ = log.draft(2, subjects, T0 + 2 * SECOND, act="person.erase", p=p)
        log.record(record, T0 + 2 * SECOND)
        log.shown[index] = Shown(index, log.shown[index].entry, log.shown[index].record, {}, {"name": by})

    return small_log(build)


def retirement(**changes: Any) -> Case:
    def build(log: MemoryLog, add: Callable[..., int]) -> None:
        index = add(1)
        add(2, **({"act": "record.retire", "p": {"from_index": index, "to_index": index + 1}} | changes))
        by = "01a0c450-6f84-7000-8000-000000000002"
        log.shown[index] = Shown(index, log.shown[index].entry, None, gone=by)

    return small_log(build)


def misfounded(**changes: Any) -> Case:
    class Misfounded(MemoryLog):
        def config(self, value: Any, time_us: int) -> int:
            return super().config(value | changes if value["kind"] == "genesis" else value, time_us)

    log = Misfounded("mandate.example/small", time_us=T0, map_bits=1, seed="small")
    record, _ = log.draft(1, ["group:g1"], T0 + SECOND)
    log.record(record, T0 + SECOND)
    log.publish(T0 + 2 * SECOND, T0 // SECOND + 2)
    return Case(log, bundle_of(log))


def one_more_subject(log: MemoryLog, add: Callable[..., int]) -> None:
    record, _ = log.draft(1, ["group:g1", "person:Ann"], T0 + SECOND)
    add(1, options={"tags": [*record["subj"], "ff" * 32]})


def before(number: int, **options: Any) -> Callable[[MemoryLog, Callable[..., int]], None]:
    return lambda _, add: (add(number, **options), None)[1]


def backwards(_: MemoryLog, add: Callable[..., int]) -> None:
    add(5)
    add(3)


def promised(**options: Any) -> Case:
    """A receipt for a record that never entered the log."""

    def build(_: MemoryLog, add: Callable[..., int]) -> None:
        add(1)

    case = small_log(build, **options)
    other = MemoryLog(case.log.origin, time_us=T0, map_bits=1, seed="small")
    record, _ = other.draft(2, ["group:g1"], T0 + 2 * SECOND)
    case.receipt = other.receipt(other.record(record, T0 + 2 * SECOND))
    return case


def _retired_promise(*subjects: str, delay_us: int = 1000) -> Case:
    """A receipt for record 1, which was logged so late and under these subjects, and whose body is gone."""
    log = MemoryLog("mandate.example/small", time_us=T0, map_bits=1, seed="small")
    record, _ = log.draft(1, ["group:g1", "person:Ann"], T0 + SECOND)
    index = log.record(record, T0 + SECOND + delay_us, tags=log.tags(*subjects))
    receipt = log.receipt(index)
    p = {"from_index": index, "to_index": index + 1}
    retiring, _ = log.draft(2, ["staff:s1"], T0 + 40 * SECOND, act="record.retire", p=p)
    log.record(retiring, T0 + 40 * SECOND)
    log.shown[index] = Shown(index, log.shown[index].entry, None, gone=retiring["id"])
    log.publish(T0 + 60 * SECOND, T0 // SECOND + 60)
    return Case(log, bundle_of(log), receipt=receipt)


def _late_promise() -> Case:
    """A receipt for a record so late that it breaks the promise, though the reader would bear it."""
    case = small_log(before(1, delay_us=10_000_001), policy={"mmd_us": 60 * SECOND})
    case.receipt = case.log.receipt(1)
    return case


def _trusting_another_receipt_key() -> dict[str, Any]:
    return {"receipt_keys": [str(Signer("mandate.example/small/receipt", digest("other")).vkey)]}


def _witnessed_by(seed: str) -> dict[str, Any]:
    return {"witnesses": [str(Signer("other.example", digest(seed), COSIGNATURE).vkey)]}


def _two_names() -> dict[str, Any]:
    other = _witnessed_by("full witness")["witnesses"]
    return {"witnesses": [str(FULL.witness.vkey), *other], "quorum": 2}


def too_long() -> Case:
    return changed("checkpoint", note="x" * 1_048_576)


def group_state(**changes: Any) -> dict[str, Any]:
    tag = FULL.tag("group", "g1")
    seen = {"n": 2, "root": Tree(FULL.tree.perfect(0, i) for i in FULL.subject_indices[tag][:2]).root().hex()}
    return {tag.hex(): seen | changes}


def absent(change: Callable[[Lines], None] = lambda _: None, **reader: Any) -> Case:
    lines = lines_of(bundle_of(FULL, ("group", "nobody")))
    change(lines)
    return Case(FULL, sealed(lines), **reader)


def part(a: int, b: int, **reader: Any) -> Case:
    policy = {"require_complete": False}
    return Case(FULL, bundle_of(FULL, span=(a, b), cite_links=True), policy=policy, **reader)


def subject_line_of_other_root() -> Case:
    def change(lines: Lines) -> None:
        line = find(lines, "subject")
        line["left"], line["right"] = [to_base64(bytes(32))], line["right"]

    return tampered(change)


def with_state(size: int = FULL.sizes[0], **changes: Any) -> Case:
    return Case(FULL, bundle_of(FULL, old_size=size, cite_links=True), state=state_of(FULL, size, **changes))


def spoiled_consistency() -> Case:
    case = with_state()
    lines = lines_of(case.bundle)
    line = find(lines, "consistency")
    line["hashes"][0] = spoil(line["hashes"][0])
    case.bundle = sealed(lines)
    return case


def uncited() -> Case:
    """A record is cited to which nothing refers."""
    case = honest()
    source = build_full_log()
    full = lines_of(FULL_BUNDLE)
    other = source.shown[source.by_id[f"01a0c450-6f84-7000-8000-{10:012x}"]]
    line = {"kind": "cited", "entry": to_base64(other.entry), "index": other.index, "gone": None}
    line |= {"record": to_base64(other.record or b""), "fields": {}, "withheld": {}}
    full.insert(full.index(find(full, "nodes")), line)
    case.bundle = sealed(full)
    return case


def cited_of_the_range() -> Case:
    def change(lines: Lines) -> None:
        line = find(lines, "record", 2) | {"kind": "cited"}
        find(lines, "record", 2)
        entry = entries.decode(from_base64(line["entry"]))
        assert isinstance(entry, entries.RecordEntry)
        moved = FULL.size - 2
        pairs = zip(entry.tags, entry.numbers, strict=True)
        data = entries.encode_record(moved, entry.time_us, entry.record_hash, pairs)
        line |= {"index": moved, "entry": to_base64(data)}
        lines.insert(lines.index(find(lines, "nodes")), line)

    return tampered(change)


UNDECIDED = {"E_POLICY", "E_STATE", "E_FILE"}


def _cited_again() -> Case:
    def change(lines: Lines) -> None:
        line = find(lines, "record") | {"kind": "cited"}
        lines.insert(lines.index(find(lines, "nodes")), line)

    return tampered(change)


def _record_of_another() -> Case:
    other = lines_of(bundle_of(FULL, ("group", "g2")))

    def change(lines: Lines) -> Lines:
        at = lines.index(find(lines, "record", 5))
        return [*lines[: at + 1], find(other, "record"), *lines[at + 1 :]]

    return tampered(change)


def _other_text(change: Callable[[str], str]) -> Case:
    text = Note.parse(FULL.checkpoint).text
    return changed("checkpoint", note=note_of(change(text)))


def _key_from(start: int, end: int | None) -> list[dict[str, Any]]:
    return [{"from_size": start, "to_size": end, "vkey": str(FULL.log_key.vkey)}]


def _absent_but_seen() -> Case:
    seen = {FULL.tag("group", "nobody").hex(): {"n": 1, "root": "00" * 32}}
    return absent(state=state_of(FULL, FULL.size, seen))


def _seen_all(subjects: dict[str, Any]) -> dict[str, Any]:
    return state_of(FULL, FULL.size, subjects)


def _proof_from_other_size() -> Case:
    return Case(FULL, bundle_of(FULL, old_size=4, cite_links=True), state=state_of(FULL, 5))


def _key_entry_of_strangers() -> Case:
    old, new = (Signer("mandate.example/small", digest(name), ED25519) for name in ("s1", "s2"))
    return key_entry(lambda *_: [old, new], old=old.vkey, new=new.vkey)


def _part_of_all() -> Case:
    case = part(1, 3)
    case.policy = {}
    return case


def _add_subject(lines: Lines) -> None:
    line = {"kind": "subject", "left": [], "n": 1, "right": [], "root": "00" * 32}
    lines.insert(lines.index(find(lines, "nodes")), line)


def _false_side() -> Case:
    case = part(1, 3)
    lines = lines_of(case.bundle)
    line = find(lines, "subject")
    line["right"][0] = spoil(line["right"][0])
    case.bundle = sealed(lines)
    return case


def _short_side() -> Case:
    case = part(1, 3)
    lines = lines_of(case.bundle)
    find(lines, "subject")["right"].pop()
    case.bundle = sealed(lines)
    return case


def _promised_for_another_delay() -> Case:
    log = build_full_log()
    log.mmd_us += 1
    index = log.by_id["01a0c450-6f84-7000-8000-000000000003"]
    return honest(receipt=log.receipt(index))


def _spoil_record(lines: Lines) -> None:
    line = find(lines, "record")
    line["record"] = to_base64(from_base64(line["record"]).replace(b"mute", b"ban_"))


def _spoil_nodes(lines: Lines) -> None:
    hashes = find(lines, "nodes")["hashes"]
    hashes[0] = spoil(hashes[0])


def _early_witness() -> Case:
    case = small_log(before(1))
    case.log.publish(T0 + 120 * SECOND, T0 // SECOND + 60)
    case.bundle = bundle_of(case.log)
    return case


def _unshown_deletion() -> Case:
    case = deletion()
    lines = lines_of(case.bundle)
    find(lines, "record")["withheld"]["name"] = "01a0c450-6f84-7000-8000-000000000003"
    case.bundle = sealed(lines)
    return case


def _other_genesis() -> Case:
    other = MemoryLog("other.example", time_us=T0, seed="full")
    return changed("config", entry=to_base64(other.entries[0]))


def _changed_notice() -> Case:
    def change(lines: Lines) -> None:
        line = find(lines, "config", 1)
        entry = from_base64(line["entry"])
        line["entry"] = to_base64(entry.replace(b"retention.rule", b"retention.rulf"))

    return tampered(change)


CASES: list[tuple[str, str, Callable[[], Case]]] = [
    ("E_LIMIT", "a line is too long", too_long),
    ("E_LIMIT", "an entry is too long", lambda: changed("config", entry=to_base64(bytes(65_558)))),
    ("E_LIMIT", "a record is too long", lambda: changed("record", record=to_base64(bytes(65_537)))),
    (
        "E_TRUNCATED",
        "the end is missing",
        lambda: Case(FULL, FULL_BUNDLE[: FULL_BUNDLE.rindex(b'{"kind":"end"')]),
    ),
    ("E_TRUNCATED", "the last line end is missing", lambda: Case(FULL, FULL_BUNDLE[:-1])),
    ("E_TRUNCATED", "the file is empty", lambda: Case(FULL, b"")),
    (
        "E_TRUNCATED",
        "only the hash is wrong",
        lambda: Case(FULL, FULL_BUNDLE[:-70] + b"0" * 65 + FULL_BUNDLE[-5:]),
    ),
    (
        "E_TRUNCATED",
        "only the hash does not match",
        lambda: Case(
            FULL, sealed(lines_of(FULL_BUNDLE)).replace(b'"sha256":"', b'"sha256":"' + b"0" * 64 + b'","x":"')
        ),
    ),
    (
        "E_TRUNCATED",
        "the number of lines is wrong",
        lambda: Case(FULL, FULL_BUNDLE.replace(b'"lines":', b'"lines":1')),
    ),
    (
        "E_CANON",
        "white space",
        lambda: Case(FULL, FULL_BUNDLE.replace(b'"kind":"nodes"', b'"kind": "nodes"')),
    ),
    ("E_CANON", "a logged record is not canonical", lambda: small_log(ill_formed)),
    ("E_FORMAT", "an unknown member", lambda: changed("nodes", more=1)),
    ("E_FORMAT", "an unknown kind", lambda: tampered(lambda lines: find(lines, "nodes").update(kind="odes"))),
    ("E_FORMAT", "another format", lambda: changed("bundle", format="mandate-trail/2")),
    ("E_FORMAT", "a missing line", lambda: without("map")),
    ("E_FORMAT", "no multi-proof", lambda: without("nodes")),
    (
        "E_FORMAT",
        "no config",
        lambda: tampered(lambda lines: [line for line in lines if line["kind"] != "config"]),
    ),
    ("E_FORMAT", "a range backwards", lambda: changed("bundle", range=[2, 1])),
    (
        "E_FORMAT",
        "an empty second line of nodes",
        lambda: tampered(lambda lines: [*lines, {"kind": "nodes", "hashes": []}]),
    ),
    (
        "E_FORMAT",
        "a body and a retiring record",
        lambda: changed("record", gone="01a0c450-6f84-7000-8000-000000000001"),
    ),
    ("E_FORMAT", "neither body nor retiring record", lambda: changed("record", record=None)),
    ("E_FORMAT", "a strange field", lambda: opened(0, more=1)),
    ("E_FORMAT", "a truth for a number", lambda: changed("subject", n=True)),
    ("E_SUBJECT_ID", "a space at the end", lambda: changed("bundle", subject={"id": "g1 ", "type": "group"})),
    ("E_SUBJECT_ID", "no such type", lambda: changed("bundle", subject={"id": "g1", "type": "planet"})),
    ("E_SUBJECT", "another was asked for", lambda: honest(subject=("group", "g2"))),
    ("E_SUBJECT", "the entry has a subject more", lambda: small_log(one_more_subject)),
    ("E_SUBJECT", "a record of another", _record_of_another),
    ("E_POLICY", "no tag key", lambda: honest(policy={"tag_keys": {}})),
    ("E_POLICY", "a quorum nobody can reach", lambda: honest(policy={"quorum": 2})),
    ("E_POLICY", "a witness under two names", lambda: honest(policy=_two_names())),
    ("E_POLICY", "the log's own key as witness", lambda: honest(policy=_witnessed_by("full log"))),
    ("E_POLICY", "the receipt key as witness", lambda: honest(policy=_witnessed_by("full receipt"))),
    ("E_POLICY", "an unknown member", lambda: honest(policy={"more": 1})),
    ("E_POLICY", "a log key of another name", lambda: honest(policy={"origin": "other.example"})),
    ("E_NOTE", "no signatures", lambda: changed("checkpoint", note="x\n")),
    ("E_CHECKPOINT", "a fourth line", lambda: _other_text(lambda text: text + "more\n")),
    ("E_CHECKPOINT", "a leading zero", lambda: _other_text(lambda text: text.replace("\n", "\n0", 1))),
    ("E_ORIGIN", "the bundle line", lambda: changed("bundle", origin="other.example")),
    ("E_ORIGIN", "the signed text", lambda: _other_text(lambda text: "x" + text)),
    ("E_ORIGIN", "the state", lambda: with_state(origin="other.example")),
    ("E_SIG", "a false signature", lambda: respoiled_signature(0)),
    ("E_SIG", "no signature of the log", lambda: signed_only_by(1)),
    ("E_SIG", "signed by a stranger", lambda: signed_only_by(None)),
    ("E_KEY_RANGE", "not yet", lambda: honest(policy={"log_keys": _key_from(FULL.size + 1, None)})),
    ("E_KEY_RANGE", "no longer", lambda: honest(policy={"log_keys": _key_from(0, FULL.size)})),
    ("E_COSIG", "a false witness", lambda: respoiled_signature(1)),
    ("E_QUORUM", "no witness", lambda: signed_only_by(0)),
    (
        "E_ROLLBACK",
        "the log is shorter",
        lambda: Case(FULL, FULL_BUNDLE, state=state_of(FULL, FULL.size) | {"size": 99}),
    ),
    ("E_ROLLBACK", "the subject has fewer", lambda: with_state(subjects=group_state(n=9))),
    ("E_ROLLBACK", "the subject is gone", _absent_but_seen),
    ("E_FORK", "another root of this size", lambda: with_state(FULL.size, root="00" * 32)),
    ("E_FORK", "another earlier root", lambda: with_state(root="00" * 32)),
    ("E_FORK", "a false proof", spoiled_consistency),
    ("E_FORK", "other first records", lambda: with_state(subjects=group_state(root="00" * 32))),
    ("E_FORK", "other records, as many", lambda: with_state(subjects=group_state(n=6, root="00" * 32))),
    (
        "E_FORK",
        "as many, but other records",
        lambda: part(0, 3, state=_seen_all(group_state(n=6, root="00" * 32))),
    ),
    ("E_FORK", "others before the range", lambda: part(2, 4, state=_seen_all(group_state(root="00" * 32)))),
    ("E_NO_CONSISTENCY", "no proof", lambda: Case(FULL, FULL_BUNDLE, state=state_of(FULL, 5))),
    ("E_NO_CONSISTENCY", "a proof from another size", _proof_from_other_size),
    ("E_STATE", "none, though required", lambda: honest(policy={"require_state": True})),
    ("E_STATE", "no state at all", lambda: honest(state={"format": "other"})),
    ("E_ENTRY", "an unknown type", lambda: changed("config", entry=to_base64(bytes([9]) * 40))),
    ("E_ENTRY", "no base64", lambda: changed("config", entry="!")),
    ("E_ENTRY", "a map where a record belongs", lambda: changed("record", entry=to_base64(FULL.map_entry()))),
    ("E_INDEX", "the line says another", lambda: changed("record", index=9)),
    ("E_DUP_INDEX", "a record twice", lambda: repeated("record")),
    ("E_DUP_INDEX", "a record cited again", _cited_again),
    ("E_DUP_INDEX", "a config twice", lambda: repeated("config")),
    ("E_ORDER", "notices swapped", lambda: swap("config", 1, 2)),
    ("E_SEQ", "records swapped", lambda: swap("record", 0, 1)),
    ("E_CONFIG", "no genesis", lambda: without("config")),
    ("E_CONFIG", "a genesis without policy", lambda: misfounded(policy=None)),
    ("E_CONFIG", "a genesis of another log", _other_genesis),
    ("E_CONFIG", "a genesis of another format", lambda: misfounded(format="mandate-trail/2")),
    ("E_CONFIG", "an earlier log that is none", lambda: misfounded(prev={"origin": "x"})),
    ("E_KEY_ENTRY", "signed by the old key only", lambda: key_entry(lambda log, _: [log.log_key])),
    (
        "E_KEY_ENTRY",
        "for a size already past",
        lambda: key_entry(lambda log, new: [log.log_key, new], size=1),
    ),
    ("E_KEY_ENTRY", "between strangers", _key_entry_of_strangers),
    ("E_TAG_KEY", "another tag key", lambda: honest(policy={"tag_keys": {"group": "00" * 32}})),
    ("E_MAP_STALE", "an older map", older_map),
    (
        "E_MAP",
        "a changed value",
        lambda: tampered(lambda lines: find(lines, "map")["bucket"][0].__setitem__(1, "00" * 32)),
    ),
    ("E_MAP", "a member left out", lambda: tampered(lambda lines: find(lines, "map")["bucket"].pop())),
    ("E_MAP", "a hash less", lambda: tampered(lambda lines: find(lines, "map")["path"].pop())),
    ("E_MAP", "no base64", lambda: tampered(lambda lines: find(lines, "map")["path"].__setitem__(0, "x"))),
    ("E_COMPLETE", "the last record left out", lambda: without("record", 5)),
    ("E_COMPLETE", "another number of records", lambda: changed("subject", n=5)),
    ("E_COMPLETE", "no subject line", lambda: without("subject")),
    ("E_COMPLETE", "left and right not as the range", subject_line_of_other_root),
    ("E_COMPLETE", "a part, though all are required", _part_of_all),
    ("E_COMPLETE", "records of nobody", lambda: absent(lambda lines: lines[0].update(range=[0, 1]))),
    ("E_COMPLETE", "a subject line of nobody", lambda: absent(_add_subject)),
    ("E_COMPLETE", "a hash less on the right", _short_side),
    ("E_COMPLETE", "a false right side", _false_side),
    ("E_RECORD", "a changed body", lambda: tampered(_spoil_record)),
    ("E_RECORD", "no base64", lambda: changed("record", record="!")),
    ("E_SHAPE", "a member too many", lambda: small_log(before(1, more=1))),
    (
        "E_SHAPE",
        "an actor of no kind",
        lambda: small_log(before(1, by={"kind": "x", "standing": None, "tag": None})),
    ),
    ("E_TIME", "an act after its entry", lambda: small_log(before(1, delay_us=-5_000_001))),
    ("E_TIME", "entries backwards", lambda: small_log(backwards)),
    ("E_TIME", "seen before it was made", _early_witness),
    ("E_BACKDATED", "logged too late", lambda: small_log(before(1, delay_us=10_000_001))),
    ("E_FIELDS", "a field left out", lambda: changed("record", fields={}, withheld={})),
    ("E_FIELDS", "a field both shown and withheld", lambda: changed("record", 1, withheld={"name": None})),
    ("E_FIELD", "a changed value", lambda: opened(0, value="Bob")),
    ("E_FIELD", "a changed salt", lambda: opened(0, salt=to_base64(bytes(32)))),
    ("E_FIELD", "a short salt", lambda: opened(0, salt=to_base64(bytes(31)))),
    ("E_SEQ", "the first record left out", lambda: without("record")),
    ("E_CITED", "nothing refers to it", uncited),
    ("E_CITED", "it belongs in the range", cited_of_the_range),
    ("E_DUP_ID", "two records of one id", lambda: small_log(same_id)),
    ("E_LINK", "a link to a later record", lambda: small_log(linked_forward)),
    ("E_LINK", "a cited record links to a later one", cited_to_the_range),
    ("E_LINK", "a link to a later cited record", cited_forward),
    ("E_REDACTION", "the record is no deletion", lambda: deletion(act="account.mute")),
    ("E_REDACTION", "it was refused", lambda: deletion(out="refused")),
    ("E_REDACTION", "it has no basis", lambda: deletion(basis=[])),
    ("E_REDACTION", "it names another field", lambda: deletion(p={"fields": ["phone"], "record": "x"})),
    ("E_REDACTION", "it is about others", deletion_by_another),
    ("E_REDACTION", "it erases another", lambda: deletion_by_another(act="person.erase", p={})),
    ("E_REDACTION", "it erases another of the same group", lambda: erasure_of_another("person:Bob")),
    (
        "E_REDACTION",
        "it does not say whom of several it erases",
        lambda: deletion(act="person.erase", p={}),
    ),
    (
        "E_REDACTION",
        "it says so in no form that is one",
        lambda: deletion(act="person.erase", p={"who": {"actor": 0}}),
    ),
    ("E_REDACTION", "it is not shown", _unshown_deletion),
    ("E_REDACTION", "it retires others", lambda: retirement(p={"from_index": 2, "to_index": 3})),
    ("E_REDACTION", "it retires nothing", lambda: retirement(act="person.erase", p={})),
    ("E_STALE", "older than required", lambda: honest(policy={"min_time_us": T0 + 3600 * SECOND})),
    ("E_INCLUSION", "a changed hash", lambda: tampered(_spoil_nodes)),
    (
        "E_INCLUSION",
        "a hash too many",
        lambda: tampered(lambda lines: find(lines, "nodes")["hashes"].append(to_base64(bytes(32)))),
    ),
    ("E_INCLUSION", "a hash too few", lambda: tampered(lambda lines: find(lines, "nodes")["hashes"].pop())),
    (
        "E_INCLUSION",
        "no base64",
        lambda: tampered(lambda lines: find(lines, "nodes")["hashes"].__setitem__(0, "x")),
    ),
    ("E_INCLUSION", "a notice changed", _changed_notice),
    ("E_BACKDATED", "later than promised", _late_promise),
    (
        "E_BACKDATED",
        "later than promised, and the body gone",
        lambda: _retired_promise("group:g1", "person:Ann", delay_us=10_000_001),
    ),
    ("E_SUBJECT", "not under all subjects promised, and the body gone", lambda: _retired_promise("group:g1")),
    ("E_RECEIPT", "the promise is broken", promised),
    ("E_RECEIPT", "signed by a stranger", lambda: promised(policy=_trusting_another_receipt_key())),
    ("E_POLICY", "no receipt key", lambda: promised(policy={"receipt_keys": []})),
    ("E_RECEIPT", "another delay promised", _promised_for_another_delay),
    ("E_RECEIPT", "no receipt", lambda: honest(receipt=b"{}")),
]


def test_the_untouched_bundle_is_accepted_and_says_what_it_proves(tmp_path):
    """A bundle with everything in it is accepted, and the verdict counts what it holds."""
    verdict = honest().judge(tmp_path)
    facts = verdict.facts
    assert verdict.outcome == "ACCEPTED"
    assert verdict.exit_code == 0
    assert (facts.a, facts.b, facts.n, facts.gone, facts.cited) == (0, 6, 6, 1, 3)
    assert (facts.fields_shown, facts.fields_withheld, facts.fields_redacted) == (2, 1, 2)
    assert "1 - not checked: that their term of keeping was over" in verdict.text()
    assert "1；未核验：其保存期是否已满" in verdict.text("zh")
    assert (facts.key_entries, facts.notices) == (1, {"retention.rule": 1, "policy.edition": 1})


@pytest.mark.parametrize(("code", "what", "make"), CASES, ids=[f"{code}: {what}" for code, what, _ in CASES])
def test_a_tampered_bundle_is_named_by_its_fault(code, what, make, tmp_path):
    """S008: the code names just this fault, and says whether the proof failed or could not be judged."""
    verdict = make().judge(tmp_path)
    assert verdict.code == code
    assert verdict.outcome == ("UNDECIDED" if code in UNDECIDED else "REJECTED")
    assert verdict.exit_code == (3 if code in UNDECIDED else 2)
    for lang in ("en", "zh"):
        assert verdict.text(lang).startswith(f"{verdict.outcome} {code}: ")


def test_no_code_is_without_a_bundle_that_reaches_it():
    """Every code is reached here; the two of the verifier's own have their own tests."""
    assert {code for code, _, _ in CASES} | {"E_FILE", "E_UNFORESEEN"} == set(CODES)


def test_a_deletion_as_it_should_be_is_accepted(tmp_path):
    """Redaction, erasure and retirement are accepted when the record that orders them is shown."""
    # An erasure that concerns one subject alone, and does not say whom, is in the full bundle.
    for case in (honest(), deletion(), erasure_of_another("person:Ann"), retirement()):
        assert case.judge(tmp_path).outcome == "ACCEPTED"


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 3), (2, 4), (3, 6), (6, 6)])
def test_a_part_is_called_a_part(a, b, tmp_path):
    """Any range of the records is accepted where completeness is not required, and is called what it is."""
    verdict = part(a, b).judge(tmp_path)
    assert verdict.outcome == "ACCEPTED", verdict.code
    assert "PART ONLY" in verdict.text()
    assert "仅为部分" in verdict.text("zh")


def test_a_subject_without_records_is_proved_to_have_none(tmp_path):
    """That the log holds nothing of a subject is proved, and said."""
    verdict = absent().judge(tmp_path)
    assert verdict.outcome == "ACCEPTED"
    assert "NO record" in verdict.text()


def test_a_state_makes_the_next_bundle_a_continuation(tmp_path):
    """Log and subject are compared with what was seen; the state then speaks of the new size."""
    case = with_state(subjects=group_state())
    verdict = case.judge(tmp_path)
    assert verdict.outcome == "ACCEPTED"
    assert (verdict.facts.compared_size, verdict.facts.subject_compared) == (FULL.sizes[0], 2)
    for lang, words in (("en", "continues the one of size"), ("zh", "的日志的延续")):
        assert words in verdict.text(lang)
    kept = json.loads((tmp_path / "state").read_bytes())
    assert kept["size"] == FULL.size
    assert kept["subjects"][FULL.tag("group", "g1").hex()]["n"] == 6


def test_a_part_beside_what_was_seen_is_compared_by_its_root(tmp_path):
    """As many records as before, of which only a part is shown: the root says they are the same."""
    tag = FULL.tag("group", "g1")
    seen = {tag.hex(): {"n": 6, "root": FULL.subjects[tag].root().hex()}}
    verdict = part(0, 3, state=_seen_all(seen)).judge(tmp_path)
    assert (verdict.outcome, verdict.facts.subject_compared) == ("ACCEPTED", 6)


def test_a_part_that_was_not_compared_does_not_displace_what_was_seen(tmp_path):
    """After a part beyond the records seen, the state still knows the old number, to compare later."""
    part(4, 6, state=_seen_all(group_state())).judge(tmp_path)
    kept = json.loads((tmp_path / "state").read_bytes())
    assert kept["subjects"][FULL.tag("group", "g1").hex()]["n"] == 2


def test_nothing_is_remembered_of_a_rejected_bundle(tmp_path):
    """The state is untouched unless the bundle is accepted."""
    case = with_state()
    case.bundle = case.bundle[:-1]
    case.judge(tmp_path)
    assert (tmp_path / "state").read_bytes() == canonical(case.state)


def test_a_state_that_cannot_be_written_leaves_the_matter_undecided(tmp_path):
    """An acceptance that cannot be remembered is no acceptance."""
    (tmp_path / "b").write_bytes(FULL_BUNDLE)
    (tmp_path / "p").write_text(json.dumps(FULL.policy()))
    verdict = verify_bundle(tmp_path / "b", policy=tmp_path / "p", state=tmp_path / "none" / "state")
    assert (verdict.outcome, verdict.code) == ("UNDECIDED", "E_STATE")


def test_a_kept_promise_is_confirmed_and_an_undecidable_one_left_open(tmp_path):
    """A receipt for a record shown is confirmed; where the bundle cannot tell, nobody is accused."""
    index = FULL.by_id["01a0c450-6f84-7000-8000-000000000003"]
    verdict = honest(receipt=FULL.receipt(index)).judge(tmp_path)
    assert (verdict.outcome, verdict.facts.receipt_index) == ("ACCEPTED", index)
    assert f"log entry {index}" in verdict.text()
    assert "回执已兑现" in verdict.text("zh")
    last = _retired_promise("group:g1", "person:Ann", delay_us=10_000_000).judge(tmp_path)
    assert (last.outcome, last.facts.receipt_index, last.facts.gone) == ("ACCEPTED", 1, 1)
    other = FULL.by_id[f"01a0c450-6f84-7000-8000-{10:012x}"]
    verdict = honest(receipt=FULL.receipt(other)).judge(tmp_path)
    assert (verdict.outcome, verdict.code) == ("UNDECIDED", "E_RECEIPT")


def test_without_state_and_witness_the_verdict_warns(tmp_path):
    """A reader with neither state nor witness is told that others may see another log."""
    verdict = honest(policy={"witnesses": [], "quorum": 0}).judge(tmp_path)
    assert verdict.outcome == "ACCEPTED"
    assert "others may be shown another log" in verdict.text()
    assert "他人所见的日志可能不同" in verdict.text("zh")


def test_the_new_key_of_a_rotation_may_sign(tmp_path):
    """While both keys sign, a reader who trusts only the new one from its size on accepts."""
    log = build_full_log()
    new = Signer(log.origin, digest("full log 2"))
    log.publish(T0 + 100 * SECOND, T0 // SECOND + 100, signers=[log.log_key, new])
    keys = [{"from_size": 10, "to_size": None, "vkey": str(new.vkey)}]
    verdict = Case(log, bundle_of(log, cite_links=True), policy={"log_keys": keys}).judge(tmp_path)
    assert verdict.outcome == "ACCEPTED"
    assert verdict.facts.signed_keys == [str(new.vkey)]


def test_a_witness_may_change_its_key(tmp_path):
    """Two keys under one name are one witness: the reader trusts either, and either counts once."""
    new = Signer(FULL.witness.vkey.name, digest("new"), COSIGNATURE)
    both = [str(new.vkey), str(FULL.witness.vkey)]
    verdict = honest(policy={"witnesses": both}).judge(tmp_path)
    assert (verdict.outcome, verdict.facts.witnesses_known) == ("ACCEPTED", 1)
    assert honest(policy={"witnesses": both, "quorum": 2}).judge(tmp_path).code == "E_POLICY"


def test_files_that_cannot_be_read_leave_the_matter_undecided(tmp_path):
    """A missing file, a folder or a device is no proof of anything."""
    (tmp_path / "p").write_text(json.dumps(FULL.policy()))
    for path in (tmp_path / "none", tmp_path, Path("/dev/zero"), tmp_path / "a\0b"):
        verdict = verify_bundle(path, policy=tmp_path / "p")
        assert (verdict.outcome, verdict.code) == ("UNDECIDED", "E_FILE")
    assert verify_bundle(tmp_path / "p", policy=tmp_path / "none").code == "E_POLICY"
    for path in (tmp_path, tmp_path / "a\0b", tmp_path / "p" / "x"):
        assert verify_bundle(tmp_path / "p", policy=tmp_path / "p", state=path).code == "E_STATE"


def test_what_nobody_foresaw_is_a_rejection(tmp_path, monkeypatch):
    """An exception of any kind rejects, and never escapes."""

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(run, "Lines", fail)
    verdict = honest().judge(tmp_path)
    assert (verdict.outcome, verdict.code, verdict.exit_code) == ("REJECTED", "E_UNFORESEEN", 2)


def test_the_command_speaks_both_languages_and_exits_as_it_judges(tmp_path, capfdbinary):
    """The first line is for programs, the rest for people; a mistaken command line proves nothing."""
    honest().judge(tmp_path)
    arguments = [str(tmp_path / "bundle"), "--policy", str(tmp_path / "policy")]
    assert main([*arguments, "--subject", "group:g1", "--lang", "zh"]) == 0
    said = capfdbinary.readouterr().out.decode()
    assert said.startswith("ACCEPTED\n")
    assert "完整" in said
    assert main([*arguments, "--subject", "group:g2"]) == 2
    assert capfdbinary.readouterr().out.startswith(b"REJECTED E_SUBJECT: ")
    for name in ("g1", "grp:g1", "group:", "group:g1 ", "group:g1\0"):
        with pytest.raises(SystemExit) as stopped:
            main([*arguments, "--subject", name])
        assert stopped.value.code == 3
        assert b"expected type:id" in capfdbinary.readouterr().err
    for wrong in (["--lang", "fr"], ["--what"]):
        with pytest.raises(SystemExit) as stopped:
            main([*arguments, *wrong])
        assert stopped.value.code == 3


def test_a_subject_may_be_asked_for_in_another_normal_form(tmp_path):
    """Some keyboards and file systems give letters and marks apart; the log knows the composed form only."""
    log = MemoryLog("mandate.example/small", time_us=T0, seed="small")
    record, _ = log.draft(1, ["person:Jos\u00e9"], T0 + SECOND)
    log.record(record, T0 + SECOND)
    log.publish(T0 + 2 * SECOND, T0 // SECOND + 2)
    Case(log, bundle_of(log, ("person", "Jos\u00e9"))).judge(tmp_path)
    arguments = [str(tmp_path / "bundle"), "--policy", str(tmp_path / "policy")]
    for name in ("Jos\u00e9", "Jose\u0301"):
        assert main([*arguments, "--subject", f"person:{name}"]) == 0
    assert main([*arguments, "--subject", "person:Jose"]) == 2


def test_the_range_proof_of_a_part_is_that_of_the_subject_tree():
    """The sides shown are those of the format, for a subject tree kept apart."""
    tag = FULL.tag("group", "g1")
    left, right = prove_range(2, 4, 6, lambda start, count: FULL.subject_hash(tag, start, count))
    line = find(lines_of(bundle_of(FULL, span=(2, 4))), "subject")
    assert (line["left"], line["right"]) == ([to_base64(h) for h in left], [to_base64(h) for h in right])
    assert Checkpoint.parse(Note.parse(FULL.checkpoint).text).root == FULL.tree.root()
