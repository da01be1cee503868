"""A replay as an auditor runs it: how many witnesses its verdict rests on, and up to which size."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from service.trail.entry import encode_record
from service.trail.note import Note
from service.trail.replay import write_stream
from tests.served import mandate
from tests.trail.memory import SECOND, T0, MemoryLog


class Case:
    """A log whose first checkpoint its witness signed, and which the log's key alone went on from."""

    def __init__(self, folder: Path) -> None:
        self.log = MemoryLog("mandate.example/audit", time_us=T0, seed="audit")
        self.act(1)
        self.seen = self.log.publish(T0 + SECOND, T0 // SECOND + 1)
        self.kept = self.log.checkpoint
        self.act(2)
        self.size = self.log.publish(T0 + 2 * SECOND)
        self.unseen = self.log.checkpoint
        text = Note.parse(self.unseen).text
        self.cosigned = self.unseen + str(self.log.witness.cosign(text, T0 // SECOND + 2))
        self.entries = b"".join(write_stream(self.log.entries))
        self._folder = folder

    def act(self, number: int) -> None:
        record, opened = self.log.draft(number, ["group:g1", "person:Ann"], T0 + number * SECOND)
        self.log.record(record, T0 + number * SECOND, opened)

    def file(self, name: str, data: bytes | str) -> str:
        path = self._folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return str(path)

    def replay(self, *args: str, **env: str) -> tuple[int, list[str]]:
        """The exit code and lines of a replay by a policy that demands the one witness."""
        done = mandate("replay", *args, "--policy", self.file("trust", json.dumps(self.log.policy())), **env)
        assert not done.stderr
        return done.returncode, done.stdout.splitlines()

    def of_file(self, *checkpoints: str, lang: str = "en") -> tuple[int, list[str]]:
        """A replay of all entries in a file against these checkpoints."""
        given = [
            word
            for number, one in enumerate(checkpoints)
            for word in ("--checkpoint", self.file(f"checkpoint-{number}", one))
        ]
        return self.replay(self.file("entries", self.entries), *given, "--lang", lang)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


@pytest.mark.parametrize("order", [1, -1])
def test_who_signed_an_older_checkpoint_is_no_witness_of_what_follows(case: Case, order: int) -> None:
    """Section 8: without a witness of the largest checkpoint it is rejected, whatever older ones are kept beside it."""
    code, lines = case.of_file(case.unseen)
    assert (code, lines[0][:17]) == (2, "REJECTED E_QUORUM")
    code, lines = case.of_file(*[case.kept, case.unseen][::order])
    assert (code, lines[0][:17]) == (2, "REJECTED E_QUORUM")
    assert lines[-2:] == [
        f"Witnesses: 0 of 1 signed up to size {case.size} (quorum 1)",
        f"Witnesses: 1 of 1 signed up to size {case.seen}",
    ]
    assert (
        f"见证：直至大小 {case.seen}，1 个见证人中有 1 个签名"
        in case.of_file(case.kept, case.unseen, lang="zh")[1]
    )


def test_a_verdict_speaks_up_to_the_size_that_witnesses_signed(case: Case) -> None:
    """The signature counts wherever the note of that size was kept; entries after the largest checkpoint are not covered."""
    for notes in ([case.cosigned], [case.kept, case.cosigned], [case.unseen, case.cosigned]):
        code, lines = case.of_file(*notes)
        assert (code, lines[0]) == (0, "ACCEPTED")
        assert [one for one in lines if "Witnesses" in one] == [
            f"Witnesses: 1 of 1 signed up to size {case.size} (quorum 1)"
        ]
        assert not [one for one in lines if "Not covered" in one]
    code, lines = case.of_file(case.kept)
    assert (code, lines[0]) == (0, "ACCEPTED")
    assert f"Witnesses: 1 of 1 signed up to size {case.seen} (quorum 1)" in lines
    assert f"Not covered: what follows the largest checkpoint, from entry {case.seen} on." in lines


def test_a_state_is_gone_on_from_with_its_own_log_only(case: Case, tmp_path: Path) -> None:
    """The log that follows an ended one is not accused of what the ended one held: there is no verdict, and it says why."""
    state = tmp_path / "state"
    args = ("--checkpoint", case.file("kept", case.cosigned), "--state", str(state))
    assert case.replay(case.file("entries", case.entries), *args)[0] == 0
    kept = state.read_bytes()
    case.log = MemoryLog("mandate.example/audit/2", time_us=T0, seed="audit")
    case.act(1)
    case.log.publish(T0 + SECOND, T0 // SECOND + 1)
    entries = case.file("entries", b"".join(write_stream(case.log.entries)))
    args = ("--checkpoint", case.file("kept", case.log.checkpoint), "--state", str(state))
    code, lines = case.replay(entries, *args)
    assert (code, lines[0][:17]) == (3, "UNDECIDED E_STATE")
    assert lines[0].endswith("(the state is of the log mandate.example/audit)")
    assert state.read_bytes() == kept
    state.write_bytes(kept.replace(b"replay/2", b"replay/1"))
    code, lines = case.replay(entries, *args)
    assert (code, lines[0][:17], lines[0].endswith("begin anew)")) == (3, "UNDECIDED E_STATE", True)
    state.unlink()
    assert case.replay(entries, *args)[0] == 0


@pytest.mark.parametrize("tail", ["forged", "junk", "cut"])
def test_what_nobody_signed_is_neither_told_of_nor_kept(case: Case, tmp_path: Path, tail: str) -> None:
    """What somebody put behind the largest checkpoint counts no subject, and the next replay does not accuse the log of it."""
    forged = encode_record(case.size, T0 + 9 * SECOND, bytes(32), [(bytes(32), 0)])
    more = {"forged": b"".join(write_stream([forged])), "junk": b"\0\0\0\x09" + b"\xff" * 9, "cut": b"\0"}[
        tail
    ]
    state = tmp_path / "state"
    args = ("--checkpoint", case.file("kept", case.cosigned), "--state", str(state))
    for _ in range(2):
        code, lines = case.replay(case.file("entries", case.entries + more), *args)
        assert (code, lines[0]) == (0, "ACCEPTED")
        assert any(one.startswith("Subjects: 2;") for one in lines)
        assert f"Not covered: what follows the largest checkpoint, from entry {case.size} on." in lines
    case.act(3)
    size = case.log.publish(T0 + 3 * SECOND, T0 // SECOND + 3)
    entries = case.file("entries", b"".join(write_stream(case.log.entries)))
    args = ("--checkpoint", case.file("kept", case.log.checkpoint), "--state", str(state))
    code, lines = case.replay(entries, *args)
    assert (code, lines[0]) == (0, "ACCEPTED")
    assert any(one.startswith(f"Replayed: entries {case.size} to {size - 1},") for one in lines)
    assert not [one for one in lines if "Not covered" in one]


def test_file_names_that_are_no_utf_8_are_shown_escaped(case: Case, tmp_path: Path) -> None:
    """Exit codes mean what they say whatever bytes a name holds; `mandate verify` and `mandate receipt` say it alike."""
    # As in a locale of UTF-8, where what is no UTF-8 cannot be printed as it is.
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    entries, kept = case.file("e\udcff", case.entries), case.file("c\udcff", case.cosigned)
    state, trust = str(tmp_path / "s\udcff"), case.file("t\udcff", json.dumps(case.log.policy()))
    code, lines = case.replay(entries, "--checkpoint", kept, "--state", state, **strict)
    assert (code, lines[0]) == (0, "ACCEPTED")
    assert lines[-1] == f"State kept in {tmp_path}/s\\xff: the next replay goes on from there."
    for command in (
        ("verify", "no\udcff", "--policy", trust),
        ("receipt", "verify", "no\udcff", "--policy", trust, "--bundle", entries),
        ("receipt", "verify", "no\udcff", "--policy", trust),
        ("replay", "no\udcff", "--checkpoint", kept, "--policy", trust),
        ("replay", entries, "--checkpoint", "no\udcff", "--policy", trust),
    ):
        done = mandate(*command, **strict)
        assert done.returncode == 3
        assert "no\\xff" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


class Host(ThreadingHTTPServer):
    """Hands out the log of a case; its newest checkpoint bears no witness, what it has by its size is `signed`."""

    def __init__(self, case: Case) -> None:
        self.signed: str | None = None
        self.asked = 0
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answers = {"/checkpoint": case.unseen.encode(), "/v1/log-entries": case.entries}
                found = answers.get(self.path.partition("?")[0])
                if self.path == f"/checkpoint/{case.size}":
                    host.asked += 1
                    # Not at once: a witness takes its time.
                    found = (host.signed if host.asked > 1 else case.unseen).encode() if host.signed else None
                self.send_response(200 if found else 404)
                self.end_headers()
                self.wfile.write(found or b"")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name there
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def judged(self, case: Case) -> tuple[int, list[str]]:
        url = f"http://127.0.0.1:{self.server_port}"
        kept = case.file("kept", case.kept)
        return case.replay("--checkpoint", kept, MANDATE_URL=url, MANDATE_KEY="mk_any")


@pytest.fixture
def host(case: Case) -> Iterator[Host]:
    with Host(case) as made:
        threading.Thread(target=made.serve_forever).start()
        yield made
        made.shutdown()


def test_a_witness_that_signs_while_a_running_log_is_replayed_counts(case: Case, host: Host) -> None:
    """The newest checkpoint is asked for again by its size, for witnesses sign after it is published."""
    host.signed = case.cosigned
    code, lines = host.judged(case)
    assert (code, lines[0], host.asked) == (0, "ACCEPTED", 2)
    assert f"Witnesses: 1 of 1 signed up to size {case.size} (quorum 1)" in lines


@pytest.mark.parametrize("given", ["unseen", "kept", "nonsense", None])
def test_a_running_log_that_no_witness_follows_is_rejected(case: Case, host: Host, given: str | None) -> None:
    """A kept checkpoint does not help it, nor what the service answers, or does not, when it is asked again."""
    host.signed = getattr(case, given, given) if given else None
    code, lines = host.judged(case)
    assert (code, lines[0][:17]) == (2, "REJECTED E_QUORUM")
    assert host.asked
