"""The verifier from files to verdict to exit code (trail-format section 10)."""

import argparse
import os
import stat
import sys
import unicodedata
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

from service.trail.record import SUBJECT_TYPES, SubjectError, check_subject_id
from service.trail.verify.lines import LINE_BYTES, Lines
from service.trail.verify.steps import Check
from service.trail.verify.trust import MOST_POLICY_BYTES, MOST_STATE_BYTES, Policy, Receipt, State
from service.trail.verify.verdict import (
    ACCEPTED,
    EXIT_CODES,
    LANGUAGES,
    REJECTED,
    UNDECIDED,
    Facts,
    Fault,
    Verdict,
)

_USAGE: Final = "Check an evidence bundle offline. 离线核验证据包。"


def verify_bundle(
    bundle: Path,
    *,
    policy: Path,
    state: Path | None = None,
    subject: tuple[str, str] | None = None,
    receipt: Path | None = None,
) -> Verdict:
    """Judge a bundle by the reader's policy, and write his state after acceptance.

    `state` need not exist yet; it is then written for the first time. `subject` is (type, id) if the reader
    asked for one. Never raises but for an interrupt: whatever is not foreseen is a rejection.
    """
    facts = Facts()
    try:
        trusted = Policy.parse(_read(policy, MOST_POLICY_BYTES, "E_POLICY"))
        known = None if state is None else _known(state)
        promised = None if receipt is None else Receipt(_read(receipt, LINE_BYTES, "E_FILE"), trusted)
        with _open(bundle, "E_FILE") as file:
            check = Check(trusted, known, subject, promised)
            facts = check.facts
            new = check.run(Lines(file))
        if state is not None:
            new.write(state)
            facts.state_written = True
    except Fault as fault:
        return Verdict(UNDECIDED if fault.undecided else REJECTED, facts, fault)
    except Exception:  # noqa: BLE001 a bundle that surprises us is not accepted
        return Verdict(REJECTED, facts, Fault("E_UNFORESEEN"))
    return Verdict(ACCEPTED, facts)


def _open(path: Path, code: str) -> BinaryIO:
    """A regular file only: a pipe or device could feed us for ever."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Fault(code, name=path.name, undecided=True)
        return path.open("rb")
    except (OSError, ValueError):
        raise Fault(code, name=path.name, undecided=True) from None


def _read(path: Path, limit: int, code: str) -> bytes:
    with _open(path, code) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Fault(code, name=path.name, undecided=True)
    return data


def _known(path: Path) -> State | None:
    """The state at `path`, None before the first acceptance."""
    try:
        path.lstat()
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise Fault("E_STATE", name=path.name, undecided=True) from None
    return State.parse(_read(path, MOST_STATE_BYTES, "E_STATE"))


class _Parser(argparse.ArgumentParser):
    """Exit code 2 means that a proof failed; a mistaken command line proves nothing."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_CODES[UNDECIDED], f"{self.prog}: {message}\n")


def _subject(text: str) -> tuple[str, str]:
    kind, _, name = unicodedata.normalize("NFC", text).partition(":")
    try:
        check_subject_id(name)
    except SubjectError as error:
        raise argparse.ArgumentTypeError(f"expected type:id; {error}") from None
    if kind not in SUBJECT_TYPES:
        raise argparse.ArgumentTypeError(f"expected type:id, the type one of {', '.join(SUBJECT_TYPES)}")
    return kind, name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verifier from a command line; returns 0 accepted, 2 the proof failed, 3 it could not be
    judged, or the verdict cannot be written.
    """
    # What a terminal cannot show is escaped; None where it was closed.
    for out in (sys.stdout, sys.stderr):
        if isinstance(out, TextIOWrapper):
            out.reconfigure(errors="backslashreplace")
    parser = _Parser(prog="verify", description=_USAGE)
    parser.add_argument("bundle", type=Path, help="the evidence bundle / 证据包")
    parser.add_argument("--policy", type=Path, required=True, help="whom you trust / 信任文件")
    parser.add_argument("--state", type=Path, help="memory of earlier checks / 以往核验的存档")
    parser.add_argument("--subject", type=_subject, help="type:id you asked for / 您查询的主体")
    parser.add_argument("--receipt", type=Path, help="a receipt to hold against it / 待核对的回执")
    parser.add_argument("--lang", choices=LANGUAGES, default="en", help="language / 语言")
    given = parser.parse_args(arguments)
    verdict = verify_bundle(
        given.bundle,
        policy=given.policy,
        state=given.state,
        subject=given.subject,
        receipt=given.receipt,
    )
    return verdict.exit_code if _told(verdict.text(given.lang)) else EXIT_CODES[UNDECIDED]


def _told(text: str) -> bool:
    """Write a verdict to standard output; whether that could be done."""
    try:
        if not sys.stdout:
            raise OSError("standard output is closed")
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
        sys.stdout.flush()
    except OSError as error:
        if sys.stderr:
            sys.stderr.write(f"verify: the verdict cannot be written: {error}\n")
        if sys.stdout:
            # Python writes what is left when it ends, and would fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True
