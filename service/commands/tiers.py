"""`mandate tiers`: what staff look at and do about tiers, through the API; `recompute` alone reads the database itself."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import rich_click as click

from service.commands import LISTS, CommandError, one_line_errors, shown
from service.commands.client import Api, opened

KIND = click.option(
    "--kind",
    type=click.Choice(["account", "group"]),
    default="account",
    show_default=True,
    help="Of accounts or of groups.",
)
_Where = tuple[str, Path | None, Any]

_RANKED = ("name", "class", "place", "tier", "override until", "recheck")
LISTED = {"account": ("account", *_RANKED, "state"), "group": ("group", *_RANKED, "members")}
CHANGES = ["what", "from", "to", "when", "class", "count", "samples"]
ODD = ["id", "class", "jurisdiction", "tier", "computed", "why", "edition", "record", "override_record"]
DEVIATIONS = ["profile", "class", "tier", "computed", "why", "count", "peers", "samples"]
OVERRIDDEN = [
    "approval_id",
    "kind",
    "id",
    "staff_id",
    "class",
    "direction",
    "before",
    "tier",
    "until",
    "state",
    "at",
    "records",
]
COUNTED = ["staff_id", "kind", "class", "direction", "count", "granted", "records"]
MOVES = ["plan", "from", "to", "when", "count"]
PLANS = ["plan_id", "kind", "state", "looked", "changed", "created_at", "ended_at"]
DIFFERING = ["kind", "id", "where", "why"]


@click.group("tiers")
def commands() -> None:
    """Explain, preview and compare tiers; rank all again after the table has changed; prove what is stored."""


def _api(where: _Where) -> Api:
    return opened(where[:2])


# Lists


@commands.command("list")
@KIND
@click.option("--tier", type=click.IntRange(1, 4), help="Only of this tier.")
@click.option("--class", "klass", help="Only of this class.")
@click.option("--jurisdiction", help="Only there, and in all it contains: CN-110000.")
@click.option(
    "--state",
    help="Accounts: waiting (for a human), accepted, refused, closed. Groups: living, ownerless, dissolved.",
)
@click.option(
    "--override/--no-override", default=None, help="Only with, or only without, a tier set by hand."
)
@click.option("--due-before", help="Only what is to be looked at again before this instant.")
@LISTS
@click.pass_obj
def list_subjects(where: _Where, kind: str, output: str, **asked: Any) -> None:
    """List groups or accounts by tier, class, territory, override, due recheck, and what waits for a human. For example:

    mandate tiers list --state waiting
    mandate tiers list --tier 4 --due-before 2026-12-01T00:00:00Z --output csv
    """
    with one_line_errors():
        query = {
            "tier": asked["tier"],
            "class": asked["klass"],
            "jurisdiction": asked["jurisdiction"],
            "state": asked["state"],
            "override": None if asked["override"] is None else str(asked["override"]).lower(),
            "due_recheck_before": asked["due_before"],
        }
        items = _api(where).pages(f"/v1/{kind}s", query, key="accounts" if kind == "account" else "items")
        shown([_line(kind, one) if output != "json" else one for one in items], output, LISTED[kind])


def _line(kind: str, one: dict[str, Any]) -> dict[str, Any]:
    override = one.get("override") or {}
    return {
        kind: one[f"{kind}_id"],
        "name": one["name"],
        "class": one["class"],
        "place": one["place"] if kind == "account" else one["jurisdiction"],
        "tier": one["tier"],
        "override until": override.get("until"),
        "recheck": one.get("next_recheck_at"),
        **({"state": one["state"]} if kind == "account" else {"members": one["headcount"]}),
    }


@commands.command()
@click.argument("subject")
@KIND
@LISTS
@click.pass_obj
def explain(where: _Where, subject: str, kind: str, output: str) -> None:
    """Say why SUBJECT has its tier: every input with its points and floor, what waits, what stands over it."""
    with one_line_errors():
        found = _api(where).ask("GET", f"/v1/{kind}s/{quote(subject, safe='')}")
        basis = found.get("tier_basis")
        if not basis:
            raise CommandError(f"{kind} {subject} was never ranked")
        if output == "json":
            shown([{"tier": found["tier"], "override": found.get("override"), "tier_basis": basis}], output)
            return
        floors = basis.get("floors", {})
        rows = [
            {"input": name, "value": value, "points": basis["points"].get(name), "floor": floors.get(name)}
            for name, value in basis["inputs"].items()
        ]
        rows.append({"input": "sum", "value": "", "points": basis["score"], "floor": basis["floor"]})
        shown(rows, output)
        if output == "table":
            click.echo(_why(found, basis))


def _why(found: dict[str, Any], basis: dict[str, Any]) -> str:
    said = [
        f"Tier {found['tier']}: computed {basis['computed']} at {basis['at']} under edition {basis['edition']}"
    ]
    if basis["waiting"]:
        said.append(f"tier {basis['waiting']['tier']} waits since {basis['waiting']['since']}")
    if found.get("override"):
        over = found["override"]
        said.append(
            f"tier {over['tier']} was set over it until {over['until']} by record {over['by_record']}"
        )
    if basis.get("record"):
        said.append(f"ranked by record {basis['record']}")
    return "; ".join(said) + "."


# What if


@commands.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@KIND
@click.option("--id", "subject", help="Of one group or account; else of all.")
@click.option("--fact", "facts", multiple=True, metavar="NAME=VALUE", help="Another fact of the one. Repeat.")
@click.option("--override", type=click.IntRange(1, 4), help="A tier set by hand over the one.")
@click.option("--edition", help="Digest of an adopted edition, instead of FOLDER.")
@LISTS
@click.pass_obj
def preview(
    where: _Where,
    folder: Path | None,
    kind: str,
    subject: str | None,
    facts: tuple[str, ...],
    override: int | None,
    edition: str | None,
    output: str,
) -> None:
    """Tell what a new edition in FOLDER, another fact or an override would change. Changes nothing. For example:

    mandate tiers preview policies-next
    mandate tiers preview --id a-1 --fact followers=2000000
    """
    with one_line_errors():
        files = None
        if folder is not None:
            from service.policy import read_folder

            files = {name: data.decode() for name, data in read_folder(folder).items()}
        asked = {
            "kind": kind,
            "id": subject,
            "facts": dict(_fact(one) for one in facts) or None,
            "override": override,
            "edition": edition,
            "files": files,
        }
        body = {name: value for name, value in asked.items() if value is not None}
        found = _api(where).ask("POST", "/v1/tiers/preview", body, patient=True)
        if output == "json":
            shown([found["subject"] or found["all"]], output)
        elif found["subject"]:
            _tell_one(found["subject"], output)
        else:
            _tell_all(found["all"], output)


def _fact(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise CommandError(f"--fact {text}: write NAME=VALUE")
    words = {"yes": True, "no": False, "unknown": None}
    if name in ("discoverable", "link_open", "quality"):
        return name, words[value] if value in words else _number(value)
    return name, _number(value)


def _number(value: str) -> Any:
    return int(value) if value.removeprefix("-").isdigit() else value


def _tell_one(one: dict[str, Any], output: str) -> None:
    shown(
        [
            {
                "subject": one["id"],
                "tier": one["tier_before"],
                "would be": one["tier"],
                "after the wait": one["later"],
                "score": one["result"]["score"],
                "floor": one["result"]["floor"],
                "override below floor": one["override_floor"],
                "loses": one["losses"],
                "asked otherwise": [f"{name} {value}" for name, value in one["obligations"].items()],
            }
        ],
        output,
    )


def _tell_all(found: dict[str, Any], output: str) -> None:
    rows = [
        {
            "what": "moves",
            "from": one["from"],
            "to": one["to"],
            "when": one["when"],
            "class": None,
            "count": one["count"],
            "samples": one["samples"][:5],
        }
        for one in found["moves"]
    ]
    for name, what in (("credentials", "newly needs a credential"), ("losses", "loses")):
        rows += [
            {
                "what": what if name == "credentials" else f"{what} {one['what']}",
                "from": None,
                "to": None,
                "when": None,
                "class": one["class"],
                "count": one["count"],
                "samples": one["samples"][:5],
            }
            for one in found[name]
        ]
    shown(rows, output, CHANGES)
    if output == "table":
        click.echo(
            f"{found['subjects']} {found['kind']}s; {found['unchanged']} keep their tier. "
            f"Edition {found['in_force'][:12]} -> {found['edition'][:12]}."
        )


# Consistency


@commands.command("consistency")
@KIND
@click.option("--subjects", is_flag=True, help="List the subjects themselves, each with its records.")
@LISTS
@click.pass_obj
def list_deviations(where: _Where, kind: str, subjects: bool, output: str) -> None:
    """List where facts that weigh the same go with another tier, and why: override, wait, edition, or nothing."""
    with one_line_errors():
        api = _api(where)
        if subjects:
            items = api.pages("/v1/tiers/consistency", {"kind": kind})
        else:
            items = api.ask("GET", f"/v1/tiers/deviations?kind={kind}", patient=True)["items"]
        shown(items, output, ODD if subjects else DEVIATIONS)


@commands.command()
@click.option("--kind", type=click.Choice(["account", "group"]), help="Of one kind only.")
@click.option("--each", is_flag=True, help="List every override, not their counts.")
@LISTS
@click.pass_obj
def overrides(where: _Where, kind: str | None, each: bool, output: str) -> None:
    """Count overrides by member of staff, class and direction, each with its records."""
    with one_line_errors():
        api = _api(where)
        if each:
            items = api.pages("/v1/tiers/overrides", {"kind": kind})
        else:
            asked = "" if kind is None else f"?kind={kind}"
            items = api.ask("GET", f"/v1/tiers/override-counts{asked}")["items"]
        shown(items, output, OVERRIDDEN if each else COUNTED)


# Ranking all again


@commands.command()
@KIND
@click.option("--reason", default="routine", show_default=True, help="A code of reasons.csv.")
@LISTS
@click.pass_obj
def plan(where: _Where, kind: str, reason: str, output: str) -> None:
    """Plan to rank all again under the edition in force: a dry run that prints what would move."""
    with one_line_errors():
        api = _api(where)
        made = api.ask("POST", "/v1/tiers/plans", {"kind": kind, "reason": reason}, patient=True)["result"]
        if output == "json":
            shown([api.ask("GET", f"/v1/tiers/plans/{made['plan_id']}")], output)
            return
        shown([{"plan": made["plan_id"], **one} for one in made["moves"]], output, MOVES)
        if output == "table":
            click.echo(
                f"{made['subjects']} {kind}s looked at. To run it: mandate tiers run {made['plan_id']}"
            )


@commands.command("run")
@click.argument("plan_id")
@click.option("--reason", default="routine", show_default=True, help="A code of reasons.csv.")
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait for approval and end, with a bar."
)
@click.pass_obj
def run_plan(where: _Where, plan_id: str, reason: str, wait: bool) -> None:
    """Ask to run PLAN_ID; a second person must agree. Then show how far it has come; Ctrl-C leaves it running."""
    with one_line_errors():
        api = _api(where)
        path = f"/v1/tiers/plans/{quote(plan_id, safe='')}"
        if api.ask("GET", path)["state"] == "planned":
            asked = api.ask("POST", f"{path}/run", {"reason": reason})
            if approval := asked["result"].get("approval_id"):
                click.echo(
                    f"It runs when another person agrees: POST /v1/approvals/{approval}/grant", err=True
                )
        if wait:
            _watch(api, path)


@commands.command("stop")
@click.argument("plan_id")
@click.option("--reason", default="error_corrected", show_default=True, help="A code of reasons.csv.")
@click.pass_obj
def stop_plan(where: _Where, plan_id: str, reason: str) -> None:
    """Stop PLAN_ID at once. What it has moved stays moved, each by its own record."""
    with one_line_errors():
        _api(where).ask("POST", f"/v1/tiers/plans/{quote(plan_id, safe='')}/stop", {"reason": reason})
        click.echo(f"{plan_id} is stopped.")


@commands.command()
@LISTS
@click.pass_obj
def plans(where: _Where, output: str) -> None:
    """List plans, their state and how far they have come."""
    with one_line_errors():
        rows = _api(where).pages("/v1/tiers/plans")
        if output != "json":
            rows = [{name: one[name] for name in PLANS} for one in rows]
        shown(rows, output, PLANS)


def _watch(api: Api, path: str) -> None:
    """A bar until the plan has ended."""
    from rich.progress import Progress, TextColumn

    with Progress(*Progress.get_default_columns(), TextColumn("{task.fields[changed]} changed")) as bar:
        task = bar.add_task("waits for approval", total=None, changed=0)
        while True:
            found = api.ask("GET", path)
            bar.update(
                task,
                description=found["state"],
                total=found["counts"].get("subjects") or None,
                completed=found["looked"],
                changed=found["changed"],
            )
            if found["state"] in ("done", "stopped"):
                break
            time.sleep(1.0)
    click.echo(f"{found['state']}: {found['looked']} looked at, {found['changed']} changed")
    if found["state"] == "stopped":
        sys.exit(1)


# Proof


@commands.command()
@click.option(
    "--config", type=click.Path(path_type=Path), help="TOML file of settings (else MANDATE_CONFIG)."
)
@LISTS
@click.pass_obj
def recompute(where: _Where, config: Path | None, output: str) -> None:
    """Compute every stored tier again from its stored inputs under its own edition, and compare byte for byte.

    Reads the database of the settings, not the service. Prints what differs and exits with 1 if anything does.
    """
    from rich.console import Console
    from rich.progress import Progress

    from service.db import Db
    from service.domain import reproduction

    async def prove(dsn: str, bar: Progress) -> reproduction.Proved:
        db = await Db.open(dsn, size=1)
        try:
            async with db.read(snapshot=True) as reader:
                task = bar.add_task("computing again", total=await reproduction.size(reader))
                return await reproduction.prove(reader, lambda number: bar.advance(task, number))
        finally:
            await db.close()

    with one_line_errors(), where[2](config) as settings:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            found = asyncio.run(prove(settings.dsn, bar))
        if found.differing or output != "table":
            import msgspec

            shown([msgspec.to_builtins(one) for one in found.differing], output, DIFFERING)
        click.echo(
            f"{found.results} results computed again, {len(found.differing)} differ; {found.unranked} subjects have none",
            err=output != "table",
        )
        if found.differing:
            sys.exit(1)
