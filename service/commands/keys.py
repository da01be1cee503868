"""`mandate keys`: a client of the API. The token is made here and shown once; the service gets its SHA-256."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import rich_click as click

from service.commands import OUTPUT, CommandError, one_line_errors, shown, trail_keys
from service.commands.client import Api, opened
from service.founding import new_token

_LOOK_SECONDS = 2.0
_SCOPES = ("families", "tiers", "jurisdictions")


@click.group("keys")
def commands() -> None:
    """List, issue, rotate and revoke keys."""


commands.add_command(trail_keys.commands)


@commands.command("list")
@OUTPUT
@click.pass_obj
def list_keys(where: tuple[str, Path | None], output: str) -> None:
    """List keys: whose, with which scopes, until when. Never a token."""
    with one_line_errors():
        api = opened(where)
        keys = api.pages("/v1/keys")
        if output == "table":
            keys = [
                {
                    "key": one["key_id"],
                    "prefix": one["prefix"],
                    "kind": one["kind"],
                    "holder": one["staff_id"],
                    "families": one["families"] or ["all"],
                    "tiers": one["tiers"] or ["all"],
                    "jurisdictions": one["jurisdictions"] or ["all"],
                    "expires": one["expires_at"],
                    "revoked": one["revoked_at"],
                }
                for one in keys
            ]
        shown(keys, output)


@commands.command()
@click.argument("key_id")
@click.option(
    "--kind",
    type=click.Choice(["backend", "staff", "regulator"]),
    default="backend",
    show_default=True,
    help="Who will show it: the IM backend, somebody of staff, or an authority's reader.",
)
@click.option("--holder", help="Staff id that a staff or regulator key is bound to.")
@click.option(
    "--family", "families", multiple=True, help="Noun of actions it may ask for; repeat. All if none."
)
@click.option(
    "--tier",
    "tiers",
    type=click.IntRange(1, 4),
    multiple=True,
    help="Tier it may touch; repeat. All if none.",
)
@click.option(
    "--jurisdiction", "jurisdictions", multiple=True, help="Territory, e.g. CN-110000; repeat. All if none."
)
@click.option("--expires", help="Instant of its end, e.g. 2027-01-01T00:00:00Z.")
@OUTPUT
@click.pass_obj
def issue(
    where: tuple[str, Path | None],
    key_id: str,
    kind: str,
    holder: str | None,
    expires: str | None,
    output: str,
    **scopes: Any,
) -> None:
    """Ask for a key named KEY_ID; a second person must agree before it serves.

    The token is printed once, here, and kept nowhere.
    """
    with one_line_errors():
        api = opened(where)
        members = {"kind": kind, "staff_id": holder, "expires_at": expires}
        _fresh(_ask_for(api, key_id, members | {name: list(scopes[name]) for name in _SCOPES}), output)


@commands.command()
@click.argument("key_id")
@click.option("--as", "new_id", help="Name of the new key (else KEY_ID with a number).")
@click.option("--expires", help="Instant of the new key's end; the old one's does not carry over.")
@click.option(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="Wait for the approval, then revoke the old key.",
)
@OUTPUT
@click.pass_obj
def rotate(
    where: tuple[str, Path | None],
    key_id: str,
    new_id: str | None,
    expires: str | None,
    wait: bool,
    output: str,
) -> None:
    """Replace KEY_ID by a new key with the same scopes.

    Asks for the new one, prints its token once, waits until a second person has agreed, and then revokes the old one.
    Interrupted while waiting, the old key stays in force: revoke it when the new one serves.
    """
    with one_line_errors():
        api = opened(where)
        known = {one["key_id"]: one for one in api.pages("/v1/keys")}
        old = known.get(key_id)
        if old is None or old["revoked_at"] is not None:
            raise CommandError(f"there is no key {key_id} in force; see `mandate keys list`")
        members = {name: old[name] for name in ("kind", "staff_id", *_SCOPES)} | {"expires_at": expires}
        asked = _ask_for(api, new_id or _next(key_id, known), members)
        _fresh(asked, output)
        if not wait:
            click.echo(f"When the new key serves: mandate keys revoke {key_id}", err=True)
            return
        state = "open"
        while state == "open":
            time.sleep(_LOOK_SECONDS)
            state = api.ask("GET", f"/v1/approvals/{asked['approval']}")["state"]
        if state != "granted":
            raise CommandError(f"the new key was {state}; {key_id} stays in force")
        _revoke(api, key_id, "routine", None)
        click.echo(f"{key_id} is revoked; {asked['key']} serves.", err=True)


@commands.command()
@click.argument("key_id")
@click.option("--reason", default="key_exposed", show_default=True, help="A code of reasons.csv.")
@click.option("--note", help="A word on why; sealed.")
@click.pass_obj
def revoke(where: tuple[str, Path | None], key_id: str, reason: str, note: str | None) -> None:
    """Shut KEY_ID out, at once and for good. One person suffices."""
    with one_line_errors():
        api = opened(where)
        _revoke(api, key_id, reason, note)
        click.echo(f"{key_id} is revoked.")


def _revoke(api: Api, key_id: str, reason: str, note: str | None) -> None:
    body = {"reason": reason} | ({"note": note} if note else {})
    api.ask("POST", f"/v1/keys/{quote(key_id, safe='')}/revocation", body)


def _ask_for(api: Api, key_id: str, members: dict[str, Any]) -> dict[str, Any]:
    token, prefix, digest = new_token()
    said = {name: value for name, value in members.items() if value not in (None, [], "")}
    receipt = api.ask("POST", "/v1/keys", said | {"key_id": key_id, "token_sha256": digest, "prefix": prefix})
    return {
        "key": key_id,
        "token": token,
        "approval": receipt["result"].get("approval_id"),
        "persons": receipt["result"].get("persons_needed", 1),
        "until": receipt["result"].get("expires_at"),
    }


def _fresh(asked: dict[str, Any], output: str) -> None:
    shown([asked], output)
    if output == "table":
        click.echo("The token is shown this once. Keep it where only its user can read it.")
    if asked["approval"]:
        click.echo(
            f"It serves when approval {asked['approval']} is granted by another person, "
            f"an approver or compliance: POST /v1/approvals/{asked['approval']}/grant",
            err=True,
        )


def _next(key_id: str, known: dict[str, Any]) -> str:
    """The key's name with the next free number."""
    stem, _, number = key_id.rpartition("-")
    name, count = (stem, int(number)) if stem and number.isdigit() else (key_id, 1)
    while f"{name}-{count + 1}" in known:
        count += 1
    return f"{name}-{count + 1}"
