"""`mandate filings`: the filing register, and what is in force and was not lodged; a client of the API."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from service.commands import LISTS, one_line_errors, shown
from service.commands.keys import opened

LODGED = [
    "filing_id",
    "document",
    "document_version",
    "authority",
    "receipt",
    "jurisdiction",
    "filed_at",
    "noted_at",
]
MISSING = ["document", "document_version", "name_zh", "name_en", "in_force_since", "days", "note"]


@click.group("filings")
def commands() -> None:
    """List what was lodged with authorities, and what is in force and was not."""


@commands.command("list")
@LISTS
@click.pass_obj
def list_filings(where: tuple[str, Path | None], output: str) -> None:
    """List the register: each version of a document, with whom it was lodged, and the receipt."""
    with one_line_errors():
        shown(opened(where).pages("/v1/filings"), output, LODGED)


@commands.command("missing")
@LISTS
@click.pass_obj
def list_missing(where: tuple[str, Path | None], output: str) -> None:
    """List versions of our published documents that are in force and were lodged with no authority."""
    with one_line_errors():
        found = opened(where).ask("GET", "/v1/filings/missing")["items"]
        if output == "table" and not found:
            click.echo("All that is in force was lodged.")
            return
        shown(found, output, MISSING)
