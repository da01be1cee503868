"""`mandate names`: which names wait for a human, beside those they look like; a client of the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rich_click as click

from service.commands import LISTS, one_line_errors, shown
from service.commands.client import opened

WAITING = (
    "account",
    "name",
    "looks like",
    "similarity",
    "of account",
    "which is",
    "why",
    "terms",
    "kinds",
    "class",
    "asked by",
    "operator",
    "place",
)


@click.group("names")
def commands() -> None:
    """List names of accounts that no machine may accept."""


@commands.command("waiting")
@click.option(
    "--by",
    type=click.Choice(["registration", "profile"]),
    help="Only new accounts, or only changes of profile.",
)
@click.option("--most", type=click.IntRange(1), help="Only the first so many names; without it all.")
@LISTS
@click.pass_obj
def list_waiting(where: tuple[str, Path | None], by: str | None, most: int | None, output: str) -> None:
    """List new accounts and changes of profile whose name waits for a human: a line for each name that it looks like.

    Why a name waits: `look_alike` (of the name beside it; similarity 1: the same at a glance), `reserved_term` (the term and
    its kind are shown), `class` (news or government). As JSON, an entry for each name holds all of that, with the record
    (`asked_record`), the `version`, and the accounts to `compare` which accepting it asks for. For example:

        mandate names waiting
        mandate names waiting --by profile --most 20 --output csv
    """
    with one_line_errors():
        found = opened(where).pages("/v1/name-checks", {"by": by}, key="names", most=most)
        if output == "table" and not found:
            click.echo("No name waits.")
            return
        lines = [line for one in found for line in _lines(one)]
        shown(found if output == "json" else lines, output, WAITING)


def _lines(waiting: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A line for each name beside it, the most similar first; one line where none is."""
    for other in waiting["beside"] or [None]:
        yield {
            "account": waiting["account_id"],
            "name": waiting["name"],
            "looks like": None if other is None else other["name"],
            "similarity": None if other is None else other["similarity"],
            "of account": None if other is None else other["account_id"],
            "which is": None if other is None else other["state"],
            "why": waiting["why"],
            "terms": waiting["terms"],
            "kinds": waiting["kinds"],
            "class": waiting["class"],
            "asked by": waiting["by"],
            "operator": waiting["operator_name"],
            "place": waiting["place"],
        }
