"""`mandate measures`: what is in force on whom, and which accounts are dormant; a client of the API."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import rich_click as click

from service.commands import LISTS, CommandError, one_line_errors, shown
from service.commands.client import Api, opened

IN_FORCE = ["measure_id", "code", "target", "state", "from", "until", "imposed_as", "ground"]
DORMANT = [
    "account_id",
    "name",
    "class",
    "jurisdiction",
    "operator_id",
    "stage",
    "unused_since",
    "warned_at",
    "warned_record",
    "pause_due_at",
    "paused_at",
    "measure_id",
    "decision_due_at",
]


@click.group("measures")
def commands() -> None:
    """List measures, and accounts that were warned, paused or wait for a decision because nobody used them."""


@commands.command("list")
@click.option("--account", help="Only those on this account.")
@click.option("--code", help="Only those of this code of the catalogue, such as P_FIELD_SUSPEND.")
@click.option(
    "--imposed-as",
    type=click.Choice(["platform", "automation", "authority"]),
    help="Only those imposed by staff, by a machine, or by order.",
)
@click.option("--at", help="Only those in force at this instant, such as 2026-11-02T08:00:00Z.")
@click.option("--ended", is_flag=True, help="Also those no longer in force; not together with --at.")
@LISTS
@click.pass_obj
def list_measures(
    where: tuple[str, Path | None],
    account: str | None,
    code: str | None,
    imposed_as: str | None,
    at: str | None,
    output: str,
    *,
    ended: bool,
) -> None:
    """List the measures in force now, each with what it binds and the record that imposed it."""
    if ended and at is not None:
        raise click.UsageError("--ended shows all there ever were; leave out --at")
    asked = {
        "target_type": None if account is None else "account",
        "target_id": account,
        "code": code,
        "imposed_as": imposed_as,
        "at": at,
        "in_force": None if ended else "true",
    }
    with one_line_errors():
        api = opened(where)
        found = api.pages("/v1/measures", asked)
        if code is not None and not found:
            _require_known(api, code)
        if output == "table" and not found:
            click.echo("No such measure.")
            return
        shown(found if output == "json" else [_line(one) for one in found], output, IN_FORCE)


@commands.command("dormant")
@click.option(
    "--stage",
    type=click.Choice(["warned", "paused", "to_decide"]),
    help="Only those at this stage; to_decide: so long paused that a human is to decide.",
)
@LISTS
@click.pass_obj
def list_dormant(where: tuple[str, Path | None], stage: str | None, output: str) -> None:
    """List dormant accounts: since when unused, when warned, when paused, and when a human is to decide."""
    with one_line_errors():
        found = opened(where).pages("/v1/dormant-accounts", {"stage": stage})
        if output == "table" and not found:
            click.echo("No account is dormant.")
            return
        shown(found, output, DORMANT)


def _require_known(api: Api, code: str) -> None:
    """Raises CommandError where the catalogue in force has no such code; one of before is asked about only while it finds some."""
    text = api.ask("GET", "/v1/editions/current")["files"]["measures.csv"]
    known = sorted(row["code"] for row in csv.DictReader(io.StringIO(text)))
    if code not in known:
        raise CommandError(f"there is no measure {code}; measures.csv has {', '.join(known)}")


def _line(measure: dict[str, Any]) -> dict[str, Any]:
    """What a line of a list shows; the rest is in --output json."""
    return {
        "measure_id": measure["measure_id"],
        "code": measure["code"],
        "target": f"{measure['target']['type']}:{measure['target']['id']}",
        "state": measure["state"],
        "from": measure["from"],
        "until": measure["until"],
        "imposed_as": measure["imposed_as"],
        "ground": measure["ground"],
    }
