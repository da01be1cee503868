"""`mandate policy`: check a folder, explain a cell, list what changes between two folders."""

import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from .compare import Answer, check, diff, diff_values, explain
from .edition import Policy, digest, read_folder
from .sheets import PolicyError, Problem
from .vocabulary import RELATIONS, STANDINGS

SHIPPED = Path(__file__).resolve().parents[2] / "policies"
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
OUTPUT = click.option(
    "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
)


@click.group("policy")
def commands() -> None:
    """Read, check and compare editions of policy. Nothing here changes what is in force."""


@commands.command("check")
@click.argument("folder", type=FOLDER, default=SHIPPED)
@click.pass_obj
def check_folder(known: Callable[[], Collection[str]] | None, folder: Path) -> None:
    """Look for faults in FOLDER (default: the shipped policies), actions misspelt or without a rule among them.

    Prints each fault as file:line and exits with 1; otherwise prints the edition, the digest of all files.
    """
    problems = check(folder, None if known is None else known())
    if problems:
        _refuse(folder, problems)
    click.echo(f"no faults; edition {digest(read_folder(folder))}")


@commands.command("digest")
@click.argument("folder", type=FOLDER, default=SHIPPED)
def digest_of(folder: Path) -> None:
    """Print the digest of all files of FOLDER: the name of that edition, in every record made under it."""
    try:
        click.echo(digest(read_folder(folder)))
    except PolicyError as error:
        _refuse(folder, error.problems)


@commands.command("explain")
@click.option(
    "--standing", type=click.Choice(STANDINGS), required=True, help="What the caller is for this act."
)
@click.option("--action", required=True, metavar="NOUN.VERB", help="What is asked, for example group.mute.")
@click.option(
    "--relation",
    type=click.Choice(RELATIONS),
    default="any",
    show_default=True,
    help="What holds between caller and target.",
)
@click.option(
    "--tier", type=click.IntRange(1, 4), default=None, help="Tier of the target; none for other subjects."
)
@click.option(
    "--folder", type=FOLDER, default=SHIPPED, help="Folder to read (default: the shipped policies)."
)
@OUTPUT
def explain_cell(
    standing: str, action: str, relation: str, tier: int | None, folder: Path, output: str
) -> None:
    """Say what policy answers for one standing, action, relation and tier, and by which line."""
    policy = _read(folder)
    if action not in {line.action for line in policy.lines}:
        raise click.BadParameter(f"'{action}' has no rule in {folder}", param_hint="--action")
    found = explain(policy, standing, action, relation, tier)
    if output == "json":
        _print_json(found)
        return
    rows = [
        ("cell", f"{standing} · {action} · {relation} · tier {found.tier}"),
        ("answer", _say(found.answer)),
        ("rule", f"{found.answer.rule} (rules.csv:{found.line})" if found.line else found.answer.rule),
        ("comment", found.comment),
        ("basis", ", ".join(found.answer.terms.basis)),
        ("further lines", ", ".join(found.others)),
        ("allowed under", ", ".join(found.lacking)),
        ("edition", found.edition),
    ]
    _print_table(("", ""), [row for row in rows if row[1]])


@commands.command("diff")
@click.argument("old", type=FOLDER)
@click.argument("new", type=FOLDER)
@OUTPUT
def diff_folders(old: Path, new: Path, output: str) -> None:
    """List every cell whose effect, rule or terms change from OLD to NEW, and every other line that
    changes.
    """
    before, after = _read(old), _read(new)
    cells, values = diff(before, after), diff_values(before, after)
    if output == "json":
        _print_json({"old": before.edition, "new": after.edition, "cells": cells, "values": values})
        return
    click.echo(f"{before.edition} -> {after.edition}: {len(cells)} cells, {len(values)} other lines change")
    if cells:
        lines = [
            (
                f"{c.standing} · {c.action} · {c.relation} · {c.tier}",
                _say(c.before, rule=True),
                _say(c.after, rule=True),
            )
            for c in cells
        ]
        _print_table(("standing · action · relation · tier", "before", "after"), lines)
    if values:
        rows = [(f"{v.file} {v.key}", _brief(v.before), _brief(v.after)) for v in values]
        _print_table(("line", "before", "after"), rows)


def _read(folder: Path) -> Policy:
    try:
        return Policy.from_folder(folder)
    except PolicyError as error:
        _refuse(folder, error.problems)
        raise AssertionError from error


def _refuse(folder: Path, problems: list[Problem] | tuple[Problem, ...]) -> None:
    for problem in problems:
        click.echo(f"{folder / problem.file}:{problem.line}: {problem.what}; {problem.cure}", err=True)
    click.echo(
        f"{len(problems)} fault{'s' if len(problems) > 1 else ''}; nothing of this folder may be used",
        err=True,
    )
    sys.exit(1)


def _say(answer: Answer, *, rule: bool = False) -> str:
    terms = answer.terms
    parts = [f"{answer.effect} ({answer.rule})" if rule else answer.effect]
    if answer.effect == "allow":
        parts.append(f"{terms.persons} persons" if terms.persons != 1 else "1 person")
        if terms.needs_reason:
            parts.append("reason")
        if terms.needs_note:
            parts.append(f"note of {terms.note_min_chars} characters or more")
    return ", ".join(parts)


def _brief(row: str | None) -> str:
    text = "absent" if row is None else row
    return text if "\n" not in text else "(whole file)"


def _print_json(found: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())


def _print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(show_header=any(columns), box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    console.print(table)
