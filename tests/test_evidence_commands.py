"""Evidence on the command line: taken from a running service, checked without it, replayed, and every failure in one line."""

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from service.trail.replay import read_stream, write_stream
from tests.served import Served, mandate

pytestmark = pytest.mark.slow


class Office(NamedTuple):
    """A served house, the auditor's key in it, and what the auditor trusts."""

    served: Served
    tokens: dict[str, str]
    trust: Path

    def asks(self, who: str, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.tokens[who]}", "idempotency-key": str(time.time_ns())}
        return httpx.request(method, self.served.url + path, json=body, headers=headers)

    def runs(self, *args: object, who: str = "auditor") -> Any:
        env = {"MANDATE_URL": self.served.url, "MANDATE_KEY": self.tokens[who]}
        return mandate(*map(str, args), **env)

    def signed(self, record_id: str) -> None:
        """Wait until the log holds a record."""
        for _ in range(200):
            if self.asks("im", "GET", f"/v1/records/{record_id}/inclusion").status_code == 200:
                return
            time.sleep(0.05)
        raise AssertionError("it was never signed")

    def registers(self, person: str) -> str:
        """An act of the backend about a person; returns its record."""
        body = {"jurisdiction": "CN-110000"}
        record: str = self.asks("im", "PUT", f"/v1/people/{person}", body).json()["record_id"]
        return record


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A house that signs at once, with three people registered."""
    folder = tmp_path_factory.mktemp("office")
    quick = {"MANDATE_MAP_BITS": "4", "MANDATE_SEQUENCE_SECONDS": "0.02"}
    served = Served(folder / "data", **quick)
    tokens = served.keys()
    made = Office(served, tokens, folder / "trust.json")
    made.trust.write_bytes(made.asks("auditor", "GET", "/v1/trust").content)
    for person in ("ann", "ben"):
        made.registers(person)
    made.signed(made.registers("cai"))
    yield made
    served.stop()


def test_a_trail_is_taken_whole_or_in_part_and_accepted(office: Office, tmp_path: Path) -> None:
    """S197, S021: export writes one file and names its record; verify accepts it, a later part too."""
    file = tmp_path / "ann.mandate"
    done = office.runs("export", "person", "ann", "--purpose", "case 17", "-o", file)
    assert done.returncode == 0, done.stderr
    assert "on the record as 01" in done.stdout
    assert done.stderr == ""
    state = tmp_path / "state"
    known = ("--policy", office.trust, "--subject", "person:ann")
    done = mandate("verify", str(file), *map(str, known), "--state", str(state))
    assert done.returncode == 0, done.stdout
    assert "COMPLETE" in done.stdout
    office.signed(office.registers("dan"))
    more = ("--from", "0", "--to", "1", "--state", state, "-o", file)
    assert office.runs("export", "person", "ann", "--purpose", "case 17", *more).returncode == 0
    done = mandate("verify", str(file), *map(str, known), "--state", str(state), "--lang", "zh")
    assert done.returncode == 0, done.stdout
    assert "仅为部分" in done.stdout
    assert "延续" in done.stdout
    assert sorted(one.name for one in tmp_path.iterdir()) == ["ann.mandate", "state"]


def test_of_an_unknown_subject_the_proof_of_nothing_is_taken(office: Office, tmp_path: Path) -> None:
    """S197: a subject without records gives a bundle that proves just that."""
    file = tmp_path / "b"
    assert office.runs("export", "campaign", "2026-1", "--purpose", "order 9", "-o", file).returncode == 0
    done = mandate("verify", str(file), "--policy", str(office.trust), "--subject", "campaign:2026-1")
    assert done.returncode == 0
    assert "NO record" in done.stdout


def test_the_editions_under_which_records_were_made_come_along(office: Office, tmp_path: Path) -> None:
    """S197: beside the bundle stands each edition its records name, and anyone computes the digest from the files."""
    file = tmp_path / "ann.mandate"
    args = ("export", "person", "ann", "--purpose", "case 17", "-o", file, "--with-editions")
    done = office.runs(*args)
    assert done.returncode == 0, done.stderr
    lines = map(json.loads, file.read_bytes().splitlines())
    bodies = [json.loads(base64.b64decode(line["record"])) for line in lines if line["kind"] == "record"]
    named = {body["policy"] for body in bodies}
    folders = list((tmp_path / "ann.mandate.editions").iterdir())
    assert {folder.name for folder in folders} == named
    for folder in folders:
        assert mandate("policy", "digest", str(folder)).stdout.strip() == folder.name
        (folder / "rules.csv").write_bytes((folder / "rules.csv").read_bytes() + b"\n")
        assert mandate("policy", "digest", str(folder)).stdout.strip() != folder.name


@pytest.mark.parametrize(
    ("args", "who", "words"),
    [
        (("person", "ann"), "moderator", "refused: refused"),
        (("person", "ann", "--from", "0", "--to", "99"), "auditor", "malformed at /to_record"),
        (("person", "ann", "--from", "0"), "auditor", "--from and --to go together"),
        (("person", "ann", "--state", "{folder}/kept"), "auditor", "is no state of the verifier"),
        (("person", "ann", "-o", "{folder}/no/where"), "auditor", "cannot write into"),
        (("person", "ann", "--url", "http://127.0.0.1:1"), "auditor", "does not answer"),
        (("person", "ann", "--key-file", "{folder}/none"), "auditor", "cannot read"),
    ],
)
def test_what_hinders_a_taking_is_one_line_and_what_was_there_stays(
    office: Office, tmp_path: Path, args: tuple[str, ...], who: str, words: str
) -> None:
    """Exit code 2, one line that says what to do, and neither a half file nor a stray one."""
    file = tmp_path / "kept"
    file.write_text("as it was")
    given = [one.format(folder=tmp_path) for one in args]
    given = ["export", "-o", str(file), "--purpose", "case 17", *given]
    done = office.runs(*given, who=who)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["kept"]
    assert file.read_text() == "as it was"


def test_an_answer_that_is_cut_off_is_no_bundle(office: Office, tmp_path: Path) -> None:
    """A connection that ends early leaves nothing behind, and says so."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def cut_off() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{"kind":"bundle"}\n')

        thread = threading.Thread(target=cut_off)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        args = ("export", "person", "ann", "--purpose", "case 17", "-o", tmp_path / "b", "--url", url)
        done = office.runs(*args)
        thread.join()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "cut off" in done.stderr or "broke" in done.stderr
    assert list(tmp_path.iterdir()) == []


# Replay


def test_a_log_is_replayed_and_gone_on_with_the_next_day(office: Office, tmp_path: Path) -> None:
    """S197: from entries alone the auditor finds the log whole; the next day he goes on from his state."""
    state = tmp_path / "state"
    args = ("replay", "--policy", office.trust, "--state", state)
    done = office.runs(*args)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("ACCEPTED\n")
    assert "from the first one on" in done.stdout
    office.signed(office.registers(f"p{time.time_ns()}"))
    done = office.runs(*args, "--lang", "zh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "接续您已存档的" in done.stdout
    done = office.runs(*args)
    assert done.returncode == 0, done.stdout
    for who in ("moderator", "im"):
        done = office.runs("replay", "--policy", office.trust, who=who)
        assert (done.returncode, done.stderr.count("\n")) == (3, 1)
        assert "refused" in done.stderr


@pytest.fixture
def stream(office: Office, tmp_path: Path) -> tuple[Path, Path]:
    """All entries in a file, and the checkpoint they lead up to."""
    checkpoint, entries = tmp_path / "checkpoint", tmp_path / "entries"
    checkpoint.write_bytes(office.asks("auditor", "GET", "/checkpoint").content)
    size = checkpoint.read_text().splitlines()[1]
    entries.write_bytes(office.asks("auditor", "GET", f"/v1/log-entries?end={size}").content)
    return entries, checkpoint


Change = Callable[[list[bytes]], list[bytes]]


@pytest.mark.parametrize(
    ("change", "code", "exit_code"),
    [
        (lambda entries: entries, None, 0),
        (lambda entries: [*entries[:2], *entries[3:]], "REJECTED E_INDEX", 2),
        (lambda entries: [*entries[:2], entries[3], entries[2], *entries[4:]], "REJECTED E_INDEX", 2),
        (
            lambda entries: [*entries[:2], entries[2][:30] + b"x" + entries[2][31:], *entries[3:]],
            "REJECTED E_",
            2,
        ),
        (lambda entries: entries[:-1], "UNDECIDED E_TRUNCATED", 3),
        (lambda entries: [*entries, b"x"], None, 0),
        (lambda entries: [*entries[:-1], b"x"], "REJECTED E_ENTRY", 2),
    ],
)
def test_a_file_of_entries_is_judged_without_the_service(
    office: Office, stream: tuple[Path, Path], change: Change, code: str | None, exit_code: int
) -> None:
    """S197: a file handed on by another is held against a signed checkpoint; what was changed in it is found."""
    entries, checkpoint = stream
    with entries.open("rb") as file:
        found = list(read_stream(file))
    entries.write_bytes(b"".join(write_stream(change(found))))
    args = ("replay", str(entries), "--policy", str(office.trust), "--checkpoint", str(checkpoint))
    done = mandate(*args)
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert done.stdout.startswith(code or "ACCEPTED\n")


def test_what_a_replay_lacks_is_no_verdict(office: Office, stream: tuple[Path, Path], tmp_path: Path) -> None:
    """Exit code 3, never 2, where nothing was proved: no checkpoint, a broken state, a mistaken command line."""
    entries, checkpoint = stream
    known = ("--policy", str(office.trust))
    done = mandate("replay", str(entries), *known)
    assert (done.returncode, done.stdout[:22]) == (3, "UNDECIDED E_CHECKPOINT")
    state = tmp_path / "state"
    state.write_text("x")
    done = mandate("replay", str(entries), *known, "--state", str(state), "--checkpoint", str(checkpoint))
    assert (done.returncode, done.stdout[:17]) == (3, "UNDECIDED E_STATE")
    assert mandate("replay", str(entries)).returncode == 3
    done = mandate("replay", str(entries), "--policy", str(entries))
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)


# Receipts


def test_a_receipt_is_checked_against_a_fetched_proof(office: Office, tmp_path: Path) -> None:
    """S197: a receipt alone is a promise; with the proof that its record is logged it was kept."""
    record_id = office.registers(f"p{time.time_ns()}")
    receipt = tmp_path / "receipt"
    receipt.write_bytes(office.asks("im", "GET", f"/v1/records/{record_id}/receipt").content)
    office.signed(record_id)
    args = ("receipt", "verify", receipt, "--policy", office.trust)
    done = office.runs(*args)
    assert (done.returncode, done.stdout[:20]) == (3, "UNDECIDED E_RECEIPT:")
    assert "The receipt is genuine" in done.stdout
    done = office.runs(*args, "--fetch", who="im")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Kept: the record is log entry" in done.stdout
    proof = tmp_path / "proof"
    proof.write_bytes(office.asks("im", "GET", f"/v1/records/{record_id}/inclusion").content)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.write_text(json.loads(proof.read_text())["note"])
    against = ("--proof", proof, "--checkpoint", checkpoint)
    assert "已兑现" in office.runs(*args, *against, "--lang", "zh").stdout
    assert office.runs(*args, "--fetch", "--checkpoint", checkpoint, who="im").returncode == 0


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ("note", "E_RECEIPT"),
        ("record", "E_RECEIPT"),
        ("entry", "E_"),
        ("hashes", "E_INCLUSION"),
        ("index", "E_INDEX"),
    ],
)
def test_a_false_receipt_or_proof_is_refused(office: Office, tmp_path: Path, part: str, code: str) -> None:
    """One changed byte of the receipt, or of what it is held against, and it is rejected with exit code 2."""
    record_id = office.registers(f"p{time.time_ns()}")
    office.signed(record_id)
    receipt = office.asks("im", "GET", f"/v1/records/{record_id}/receipt").json()
    proof = office.asks("im", "GET", f"/v1/records/{record_id}/inclusion").json()
    held = receipt if part in receipt else proof
    if part == "note":
        held[part] = held[part].replace("\n10000000\n", "\n10000001\n")
    elif part == "index":
        held[part] += 1
    else:
        text = held[part][0] if part == "hashes" else held[part]
        raw = bytearray(base64.b64decode(text))
        raw[-5] ^= 1
        changed = base64.b64encode(bytes(raw)).decode()
        held[part] = [changed, *held[part][1:]] if part == "hashes" else changed
    files = [tmp_path / "receipt", tmp_path / "proof"]
    for file, value in zip(files, (receipt, proof), strict=True):
        file.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True))
    done = office.runs("receipt", "verify", files[0], "--policy", office.trust, "--proof", files[1])
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout.startswith(f"REJECTED {code}")
