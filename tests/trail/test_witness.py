"""The witness: it signs what extends what it saw, says why it does not, and remembers whatever happens in between."""

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.trail import keys
from service.trail.extension import MOST_BYTES, Extension
from service.trail.keys import KeysError
from service.trail.merkle import prove_consistency
from service.trail.note import COSIGNATURE, Checkpoint, Note, Signer, Vkey
from service.trail.witness import Witness
from tests.trail.memory import T0, MemoryLog, digest
from tests.trail.test_worked_example import build

NOW = 1_790_000_006
ORIGIN = "mandate.example/trail/1"


def grown(sizes: int = 4, *, other: bool = False) -> tuple[MemoryLog, dict[int, str]]:
    """A log and its checkpoints by size: 3, 5, 7, 9. `other`: another log signed by the same key."""
    log = MemoryLog(ORIGIN, time_us=T0)
    notes: dict[int, str] = {}
    for turn in range(1, sizes + 1):
        record, opened = log.draft(turn + 100 * other, ["person:Ann"], T0 + turn)
        log.record(record, T0 + turn, opened)
        size = log.publish(T0 + turn)
        notes[size] = log.checkpoint
    return log, notes


LOG, NOTES = grown()
FORKED, FORK_NOTES = grown(other=True)


def asked(old: int, new: int, log: MemoryLog = LOG, notes: dict[int, str] = NOTES) -> bytes:
    proof = prove_consistency(old, new, log.log_hash) if 0 < old < new else []
    return bytes(Extension(old, proof, notes[new]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "witness"


@pytest.fixture
def witness(folder: Path) -> Witness:
    return Witness.open(folder, "witness.example/w1", [LOG.log_key.vkey], lambda: NOW)


def test_it_signs_what_extends_what_it_saw(witness: Witness) -> None:
    """O3: first contact, an extension and the same again get a signature that readers count; it remembers the last."""
    for old, new in ((0, 3), (3, 7), (7, 7), (7, 9)):
        answer = witness.cosign(asked(old, new))
        assert (answer.status, answer.text.count("\n")) == (200, 1)
        text = Note.parse(NOTES[new]).text
        note = Note.parse(f"{text}\n{answer.text}")
        [signature] = note.signatures
        assert (signature.name, signature.key_id) == (witness.vkey.name, witness.vkey.key_id)
        assert witness.seen() == [Checkpoint.parse(text)]


def test_its_signature_is_that_of_the_worked_example(folder: Path) -> None:
    """O3: with the example's keys and time, the line is the one of the format, byte for byte."""
    log, notes = build()
    keys.make_folder(folder)
    seed = digest("mandate-example witness")
    (folder / "witness.key").touch(0o600)
    (folder / "witness.key").write_bytes(keys.seed_text(Path("witness.key"), seed))
    witness = Witness.open(folder, "witness.example/w1", [log.log_key.vkey], lambda: NOW)
    assert str(witness.vkey) == "witness.example/w1+842817d0+BOpM/WkmBWVwBCpz4J0ALjEbSMd7DaIMC8+tSLSOkoLG"
    assert witness.cosign(bytes(Extension(0, (), notes[0]))).status == 200
    proof = prove_consistency(3, 6, log.log_hash)
    answer = witness.cosign(bytes(Extension(3, proof, notes[1])))
    assert answer.text == (
        "— witness.example/w1 hCgX0AAAAABqsTuGUum4Yxkmc5Sqg7vTCK00XqOStMAVSrmzdqQK1JzqActzWPduShxXmleoEorc"
        "Nn+p7HOxRi8+RaIbssts/BmxDg==\n"
    )


def signed(note: str, *signers: Signer) -> str:
    text = Note.parse(note).text
    return str(Note(text, tuple(signer.sign(text) for signer in signers)))


STRANGER = Signer(ORIGIN, bytes(32))
OTHER_LOG = Signer("elsewhere.example", bytes(32))
BROKEN = NOTES[7].replace("\n7\n", "\n8\n")
ELSEWHERE = signed(NOTES[7].replace(ORIGIN, "elsewhere.example"), OTHER_LOG)
REFUSED: dict[str, tuple[int, bytes]] = {
    "another log": (404, bytes(Extension(5, (), ELSEWHERE))),
    "a stranger signed": (403, bytes(Extension(5, (), signed(NOTES[7], STRANGER)))),
    "a signature that does not verify": (403, bytes(Extension(5, (), BROKEN))),
    "old above new": (400, bytes(Extension(8, (), NOTES[7]))),
    "saw another size": (409, asked(3, 7)),
    "saw another size, told none": (409, bytes(Extension(0, (), NOTES[7]))),
    "a smaller checkpoint": (409, asked(0, 3)),
    "another tree of the same size": (409, bytes(Extension(5, (), FORK_NOTES[5]))),
    "no proof": (422, bytes(Extension(5, (), NOTES[7]))),
    "the proof of another tree": (422, asked(5, 7, FORKED, NOTES)),
    "a fork": (422, asked(5, 7, FORKED, FORK_NOTES)),
    "a proof too long": (422, bytes(Extension(5, [*prove_consistency(5, 7, LOG.log_hash), bytes(32)], NOTES[7]))),
    "a proof of nothing": (422, bytes(Extension(5, [bytes(32)], NOTES[5]))),
    "nothing": (400, b""),
    "no old size": (400, b"new 5\n\n" + NOTES[7].encode()),
    "a leading zero": (400, b"old 05\n\n" + NOTES[7].encode()),
    "a size too large": (400, b"old 9999999999999999\n\n" + NOTES[7].encode()),
    "no empty line": (400, b"old 5\n" + NOTES[7].encode().replace(b"\n\n", b"\n")),
    "a short hash": (400, b"old 5\nAAAA\n\n" + NOTES[7].encode()),
    "too many hashes": (400, bytes(Extension(5, [bytes(32)] * 64, NOTES[7]))),
    "no note": (400, b"old 5\n\nnonsense\n"),
    "no checkpoint": (400, b"old 5\n\na\nb\n\n" + NOTES[7].encode().rpartition(b"\n\n")[2]),
    "not UTF-8": (400, b"old 5\n\n\xff"),
    "too long": (400, asked(5, 7) + b" " * MOST_BYTES),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_it_says_why_it_does_not_sign(witness: Witness, case: str) -> None:
    """O3: each fault has the status of C2SP tlog-witness, nothing is signed and nothing forgotten; 409 says its own size."""
    assert witness.cosign(asked(0, 5)).status == 200
    status, request = REFUSED[case]
    answer = witness.cosign(request)
    assert answer.status == status, answer.text
    assert "—" not in answer.text
    if status == 409:
        assert (answer.text, answer.media) == ("5\n", "text/x.tlog.size")
    if case == "a fork":
        assert "mandate replay" in answer.text, "what to do next is said"
    assert [one.size for one in witness.seen()] == [5]
    assert witness.cosign(asked(5, 7)).status == 200


def test_first_contact_takes_no_proof(witness: Witness) -> None:
    """O3: a log it never saw begins with old 0 and without a proof."""
    assert witness.cosign(asked(3, 5)).text == "0\n"
    assert witness.cosign(bytes(Extension(0, [bytes(32)], NOTES[5]))).status == 422
    assert witness.seen() == []


def test_a_forks_two_signatures_are_kept(witness: Witness, folder: Path) -> None:
    """O3: two trees of one size, both signed by the log, are proof against it; the witness keeps both."""
    witness.cosign(asked(0, 5))
    assert witness.cosign(bytes(Extension(5, (), FORK_NOTES[5]))).status == 409
    [mine], [theirs] = folder.glob("*.note"), folder.glob("*.fork")
    assert mine.stem == theirs.stem
    assert theirs.read_text() == FORK_NOTES[5]
    assert mine.read_text().startswith(Note.parse(NOTES[5]).text)


def test_lines_of_strangers_are_not_remembered(witness: Witness, folder: Path) -> None:
    """O3: fifteen lines by others, before that of the log, leave its memory readable and the log's line in it."""
    note = Note.parse(NOTES[5])
    text = note.text
    others = [Signer(f"other.example/{number}", bytes(32)).sign(text) for number in range(15)]
    crowded = str(Note(text, (*others, *note.signatures)))
    assert witness.cosign(bytes(Extension(0, (), crowded))).status == 200
    [kept] = folder.glob("*.note")
    assert [line.name for line in Note.parse(kept.read_text()).signatures] == [ORIGIN, "witness.example/w1"]


def test_two_at_once_cannot_set_it_back(witness: Witness, folder: Path) -> None:
    """O3: of many requests at once, in threads and over two handles, one extends each size and the memory never falls."""
    witness.cosign(asked(0, 3))
    second = Witness.open(folder, None, [LOG.log_key.vkey], lambda: NOW)
    requests = [asked(3, 5), asked(3, 7), asked(3, 9)] * 8
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda at: (witness, second)[at % 2].cosign(requests[at]), range(24)))
    assert sum(answer.status == 200 for answer in answers) == 1
    told = {int(answer.text) for answer in answers if answer.status == 409}
    assert told == {one.size for one in witness.seen()}


def crashing(after: bool) -> Callable[..., None]:
    whole = keys.put

    def put(*args: object) -> None:
        if after:
            whole(*args)  # type: ignore[arg-type]
        raise ZeroDivisionError

    return put


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_before_the_answer_is_no_obstacle(
    witness: Witness, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    """O3: it dies before or after it stored what it saw; the log finds out from its next answer and goes on."""
    witness.cosign(asked(0, 3))
    with monkeypatch.context() as patch:
        patch.setattr(keys, "put", crashing(after))
        with pytest.raises(ZeroDivisionError):
            witness.cosign(asked(3, 7))
    again = witness.cosign(asked(3, 7))
    if after:
        assert (again.status, again.text) == (409, "7\n")
        again = witness.cosign(asked(7, 7))
    assert again.status == 200
    assert witness.cosign(asked(7, 9)).status == 200


def test_a_rotated_log_key_is_trusted_beside_the_old_one(folder: Path) -> None:
    """O3: who is given two keys of a log signs what either of them signed."""
    following = Signer(ORIGIN, digest("next"))
    both = [LOG.log_key.vkey, following.vkey]
    witness = Witness.open(folder, "witness.example/w1", both, lambda: NOW)
    assert witness.cosign(bytes(Extension(0, (), signed(NOTES[3], LOG.log_key, following)))).status == 200
    proof = prove_consistency(3, 5, LOG.log_hash)
    assert witness.cosign(bytes(Extension(3, proof, signed(NOTES[5], following)))).status == 200


def test_its_key_is_made_once_and_is_its_own(folder: Path) -> None:
    """The first start makes a private key and needs a name; later starts find the same, under no other name."""
    with pytest.raises(KeysError, match="--name"):
        Witness.open(folder, None, [], lambda: NOW)
    with pytest.raises(KeysError, match="choose another name"):
        Witness.open(folder, "a b", [], lambda: NOW)
    first = Witness.open(folder, "w1", [], lambda: NOW)
    assert (
        Witness.open(folder, None, [], lambda: NOW).vkey == Witness.open(folder, "w1", [], lambda: NOW).vkey
    )
    assert Vkey.parse((folder / "witness.vkey").read_text().strip(), COSIGNATURE) == first.vkey
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    with pytest.raises(KeysError, match="another folder"):
        Witness.open(folder, "w2", [], lambda: NOW)


@pytest.mark.parametrize(
    ("fault", "cure"),
    [
        (lambda folder: (folder / "witness.key").chmod(0o644), "chmod 600"),
        (lambda folder: folder.chmod(0o777), "chmod 700"),
        (lambda folder: (folder / "witness.key").unlink(), "put back its copy"),
        (lambda folder: (folder / "witness.vkey").unlink(), "put back its copy"),
        (lambda folder: (folder / "witness.vkey").write_text("nonsense"), "put back its copy"),
        (lambda folder: (folder / "witness.key").write_text(f"witness {bytes(32).hex()}"), "put back its copy"),
    ],
    ids=["open file", "open folder", "no key", "no vkey", "damaged vkey", "another key"],
)  # fmt: skip
def test_a_wrong_or_missing_key_stops_the_start(
    witness: Witness, folder: Path, fault: Callable[[Path], object], cure: str
) -> None:
    """A key that is missing, open to others or another one stops the start, which names the file and the cure."""
    witness.cosign(asked(0, 3))
    fault(folder)
    with pytest.raises(KeysError, match=cure) as caught:
        Witness.open(folder, "witness.example/w1", [LOG.log_key.vkey], lambda: NOW)
    assert str(folder) in str(caught.value)


def test_a_damaged_memory_is_no_first_contact(witness: Witness, folder: Path) -> None:
    """O3: where what it saw cannot be read, it signs nothing: starting over would sign a fork."""
    witness.cosign(asked(0, 5))
    [kept] = folder.glob("*.note")
    kept.write_text("nonsense")
    with pytest.raises(KeysError, match="put back its copy"):
        witness.cosign(bytes(Extension(0, (), FORK_NOTES[7])))
