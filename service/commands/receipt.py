"""`mandate receipt`: whether the log's word was given, and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from service.commands import UNJUDGED, CommandError, Judging, one_line_errors
from service.commands.client import opened
from service.commands.replay import trusted
from service.trail.note import Checkpoint, Note, NoteError
from service.trail.promise import Judgement, hold_to
from service.trail.verify import Fault, Verdict, verify_bundle
from service.trail.verify.verdict import REJECTED, UNDECIDED

_FILE = click.Path(path_type=Path, dir_okay=False)
_PROOF_BYTES = 1 << 20


@click.group("receipt")
def commands() -> None:
    """Check receipts of single acts."""


@commands.command(cls=Judging)
@click.argument("receipt", type=_FILE)
@click.option("--policy", type=_FILE, required=True, help="Whom you trust, as for `mandate verify`.")
@click.option("--bundle", type=_FILE, help="A bundle of one of its subjects that should hold the record.")
@click.option("--proof", type=_FILE, help="The answer of GET /v1/records/ID/inclusion.")
@click.option("--fetch", is_flag=True, help="Ask the service for that answer, with the key of whoever acted.")
@click.option(
    "--checkpoint", type=_FILE, help="One you got elsewhere: proof or bundle must be of that very log."
)
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Language.")
@click.pass_obj
def verify(
    where: tuple[str, Path | None],
    receipt: Path,
    policy: Path,
    bundle: Path | None,
    checkpoint: Path | None,
    lang: str,
    **against: Any,
) -> None:
    """Check RECEIPT: that a key you trust signed it, and that the log holds its record as promised.

    Whether the promise was kept is shown by a --bundle, a --proof, or a proof that is fetched (--fetch). Exit code: 0 it is
    genuine and was kept, 2 it is false or was broken, 3 it could not be judged: without proof a receipt is only a promise.
    """
    with one_line_errors(UNJUDGED):
        if (bundle is not None) + (against["proof"] is not None) + against["fetch"] > 1:
            raise CommandError(
                "a receipt is held against one thing: give one of --bundle, --proof and --fetch"
            )
        if bundle is not None:
            seen = None if checkpoint is None else _checkpoint(checkpoint, trusted(policy).origin)
            verdict = _held(verify_bundle(bundle, policy=policy, receipt=receipt), seen)
            click.echo(verdict.text(lang), nl=False)
            raise SystemExit(verdict.exit_code)
        judged = Judgement(trusted(policy))
        try:
            seen = None if checkpoint is None else _checkpoint(checkpoint, judged.policy.origin)
            _judge(judged, _read(receipt), where, seen, **against)
        except Fault as fault:
            judged.fault = fault
        click.echo(judged.text(lang), nl=False)
        raise SystemExit(judged.exit_code)


def _held(verdict: Verdict, seen: Checkpoint | None) -> Verdict:
    """The verdict on a bundle, held against a checkpoint too: what is accepted must be of that very log."""
    if verdict.fault is None and seen is not None:
        try:
            hold_to(seen, verdict.facts.size, verdict.facts.root)
        except Fault as fault:
            return Verdict(UNDECIDED if fault.undecided else REJECTED, verdict.facts, fault)
    return verdict


def _judge(
    judged: Judgement,
    data: bytes,
    where: tuple[str, Path | None],
    seen: Checkpoint | None,
    *,
    proof: Path | None,
    fetch: bool,
) -> None:
    """Raises Fault, CommandError."""
    receipt = judged.receipt(data)
    if proof is not None:
        shown = _read(proof)
    elif fetch:
        size = "" if seen is None else f"?size={seen.size}"
        path = f"/v1/records/{receipt.promise.record_id}/inclusion{size}"
        shown = opened(where).fetch(path, _PROOF_BYTES)
    else:
        raise Fault("E_RECEIPT", undecided=True)
    judged.kept(receipt, shown, seen)


def _checkpoint(path: Path, origin: str) -> Checkpoint:
    try:
        seen = Checkpoint.parse(Note.parse(_read(path).decode("utf-8", "replace")).text)
    except NoteError as error:
        raise CommandError(f"{path} is no checkpoint: {error}") from None
    if seen.origin != origin:
        raise CommandError(f"{path} is a checkpoint of the log {seen.origin}, not of {origin}")
    return seen


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_PROOF_BYTES)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from None
