"""A receipt on the command line, held against a bundle or a proof of a log in memory."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.trail.merkle import prove_inclusion
from service.trail.note import Note, to_base64
from service.trail.record import canonical
from tests.served import mandate
from tests.trail.memory import SECOND, T0, MemoryLog, bundle_of


def log_of(origin: str = "mandate.example/promise", **first: Any) -> MemoryLog:
    """Two records of group g1, the first of which `first` changes."""
    log = MemoryLog(origin, time_us=T0, seed="promise")
    for number in (1, 2):
        at_us = T0 + number * SECOND
        record, _ = log.draft(number, ["group:g1", "person:Ann"], at_us, **(first if number == 1 else {}))
        log.record(record, at_us + 1000)
    log.publish(T0 + 3 * SECOND, T0 // SECOND + 4)
    return log


LOG = log_of()


def proof_of(log: MemoryLog, index: int) -> dict[str, Any]:
    hashes = [to_base64(one) for one in prove_inclusion(index, log.size, log.log_hash)]
    entry = to_base64(log.entries[index])
    return {
        "entry": entry, "hashes": hashes, "index": index, "kind": "inclusion", "note": log.checkpoint
    }  # fmt: skip


class Desk:
    """Files of LOG and the verdict on its first receipt by them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.receipt = LOG.receipt(1)
        self.policy = LOG.policy()
        self.bundle = self.file("bundle", bundle_of(LOG))
        self.proof = self.file("proof", canonical(proof_of(LOG, 1)))

    def file(self, name: str, data: bytes | str) -> str:
        path = self._folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return str(path)

    def judge(self, *against: str) -> tuple[int, str]:
        """The exit code, and all that was said."""
        given = (self.file("receipt", self.receipt), "--policy", self.file("trust", json.dumps(self.policy)))
        done = mandate("receipt", "verify", *given, *against)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("kind", ["bundle", "proof"])
def test_a_checkpoint_got_elsewhere_must_be_of_the_log_that_is_shown(desk: Desk, kind: str) -> None:
    """Of the same size and another root it shows a fork; of another size, of another log or missing, it shows nothing."""
    against = (f"--{kind}", getattr(desk, kind))
    code, said = desk.judge(*against, "--checkpoint", desk.file("same", LOG.checkpoint))
    assert (code, said[:9]) == (0, "ACCEPTED\n")
    other = log_of(why="other")
    assert other.size == LOG.size
    code, said = desk.judge(*against, "--checkpoint", desk.file("fork", other.checkpoint))
    assert (code, said[:15]) == (2, "REJECTED E_FORK")
    other.publish(T0 + 5 * SECOND)
    code, said = desk.judge(*against, "--checkpoint", desk.file("larger", other.checkpoint))
    assert (code, said[:22]) == (3, "UNDECIDED E_CHECKPOINT")
    strange = desk.file("strange", log_of("mandate.example/strange").checkpoint)
    code, said = desk.judge(*against, "--checkpoint", strange)
    assert (code, "of the log mandate.example/strange" in said) == (3, True)
    assert desk.judge(*against, "--checkpoint", "/missing")[0] == 3


def test_a_receipt_is_held_against_one_thing_at_a_time(desk: Desk) -> None:
    """Of a bundle and a proof, or a proof and one to be fetched, none may be passed over: it is a mistaken command line."""
    for two in (
        ("--bundle", desk.bundle, "--proof", desk.proof),
        ("--bundle", desk.bundle, "--fetch"),
        ("--proof", desk.proof, "--fetch"),
    ):
        code, said = desk.judge(*two)
        assert (code, "ACCEPTED" in said, "one of" in said) == (3, False, True)


@pytest.mark.parametrize("kind", ["bundle", "proof"])
def test_how_a_receipt_is_spelled_says_nothing_of_it(desk: Desk, kind: str) -> None:
    """An editor may indent it, end its lines otherwise or mark its byte order: note and record are the same, and signed for."""
    plain, against = json.loads(desk.receipt), (f"--{kind}", getattr(desk, kind))
    indented = json.dumps(plain, indent=2)
    for text in (indented, indented.replace("\n", "\r\n") + "\r\n", "\ufeff" + json.dumps(plain)):
        desk.receipt = text.encode()
        code, said = desk.judge(*against)
        assert (code, said[:9]) == (0, "ACCEPTED\n")
    desk.receipt = json.dumps(plain | {"more": 1}, indent=2).encode()
    assert desk.judge(*against)[0] == 2


def test_how_a_proof_is_spelled_says_nothing_of_it(desk: Desk) -> None:
    """What counts of a proof are its hashes, not the white space between them; what is no proof is none."""
    text = json.dumps(proof_of(LOG, 1), indent=2)
    for spelled in ("\ufeff" + text, text.replace("\n", "\r\n")):
        assert desk.judge("--proof", desk.file("spelled", spelled))[0] == 0
    for broken in (text[:-1], text.replace('"index": 1', '"index": 1, "index": 1'), "[" * 100_000):
        code, said = desk.judge("--proof", desk.file("broken", broken))
        assert (code, said[:17]) == (2, "REJECTED E_FORMAT")


def test_a_good_proof_of_another_record_accuses_nobody(desk: Desk) -> None:
    """It does not show whether this promise was kept; one that is not of the log is false all the same."""
    code, said = desk.judge("--proof", desk.file("other", canonical(proof_of(LOG, 2))))
    assert (code, said[:19]) == (3, "UNDECIDED E_RECEIPT")
    assert "Whether it was kept is not shown." in said
    mixed = proof_of(LOG, 2) | {"hashes": proof_of(LOG, 1)["hashes"]}
    code, said = desk.judge("--proof", desk.file("mixed", canonical(mixed)))
    assert (code, said[:20]) == (2, "REJECTED E_INCLUSION")


def test_a_receipt_is_judged_by_the_trust_file_of_its_own_log_only(desk: Desk) -> None:
    """Against that of another log, or one without a receipt key, it may be as good as any: there is no verdict."""
    desk.policy = log_of("mandate.example/promise/2").policy()
    for against in ((), ("--bundle", desk.bundle), ("--proof", desk.proof)):
        code, said = desk.judge(*against)
        assert (code, said[:18]) == (3, "UNDECIDED E_ORIGIN")
        assert "(mandate.example/promise)" in said.splitlines()[0]
    # By a key of this log it is no receipt of another.
    note = Note.parse(json.loads(LOG.receipt(1))["note"])
    text = note.text.replace(LOG.origin, "mandate.example/other")
    signed = str(Note(text, (LOG.receipt_key.sign(text),)))
    desk.policy, desk.receipt = LOG.policy(), canonical(json.loads(desk.receipt) | {"note": signed})
    code, said = desk.judge("--proof", desk.proof)
    assert (code, said[:18]) == (2, "REJECTED E_RECEIPT")
    desk.policy, desk.receipt = LOG.policy(receipt_keys=[]), LOG.receipt(1)
    code, said = desk.judge("--proof", desk.proof)
    assert (code, said[:18]) == (3, "UNDECIDED E_POLICY")
    assert said.splitlines()[0].endswith("(receipt_keys)")
