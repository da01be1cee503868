"""`mandate found`, and the default staff of a house of one's own: the first people and the first keys."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from itertools import count
from pathlib import Path
from typing import Any, get_args

import rich_click as click

from service.action import ID_PATTERN
from service.commands import CommandError, mute, shown
from service.db import Db
from service.domain.staff import HEAD, Office
from service.door import Door
from service.founding import Founder, FreshKey, found, is_founded
from service.settings import Settings

DEFAULT_STAFF = (
    Founder("head", ["head_of_content_safety"]),
    Founder("compliance-1", ["compliance"]),
    Founder("compliance-2", ["compliance"]),
    Founder("approver", ["approver"]),
    Founder("moderator", ["moderator"]),
    Founder("classifier", ["classifier"]),
    Founder("auditor", ["auditor"]),
    Founder("regulator", ["regulator"]),
)
WARNING = (
    "These keys are shown this once and kept nowhere: write them down. Whoever has one acts in its holder's name. "
    "They serve on the next start too."
)


async def found_by_default(door: Door, db: Db) -> list[FreshKey]:
    """Found a house where there is no staff yet; return the fresh keys, none where it was founded before."""
    if await is_founded(db):
        return []
    return await found(door, db, DEFAULT_STAFF, ["im"])


def hand_over(fresh: Sequence[FreshKey], staff: Sequence[Founder], data: Path, output: str = "table") -> None:
    """Print fresh keys. Where that fails they go to a new file in the data folder, which the CommandError raised names.

    Raises OSError where that cannot be written either: the keys are lost then.
    """
    try:
        _print_keys(fresh, staff, output)
        sys.stdout.flush()
    # A table that nobody reads any more ends the process (`rich` does that).
    except (OSError, SystemExit) as error:
        mute()
        with redirect_stdout(io.StringIO()) as text:
            _print_keys(fresh, staff, output)
        why = error.strerror if isinstance(error, OSError) else "nobody reads it"
        raise CommandError(
            f"standard output cannot be written ({why}); the first keys are in {_kept(text.getvalue(), data)}"
        ) from None


def _kept(text: str, data: Path) -> Path:
    """Write fresh keys to a new file for its owner alone; return which. Raises OSError. Never to a log: a key is a secret."""
    folder = data.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    names = (folder / ("first-keys" if number == 1 else f"first-keys-{number}") for number in count(1))
    file = next(one for one in names if not one.exists())
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as kept:
        kept.write(text)
    return file


def _print_keys(fresh: Sequence[FreshKey], staff: Sequence[Founder], output: str) -> None:
    """Print fresh keys with what their holders hold, and a word of warning."""
    holds = {one.staff_id: ", ".join(one.holds) for one in staff}
    rows = [
        {
            "key": one.key_id,
            "for": one.kind,
            "holds": holds.get(one.holder, "acts for people"),
            "token": one.token,
        }
        for one in fresh
    ]
    shown(rows, output)
    if output == "table":
        click.echo(WARNING)


def founders(staff: Sequence[str]) -> list[Founder]:
    """Read `ID=STANDING,STANDING[@PERSON]`. Raises CommandError where nobody could act as two people do."""
    known = get_args(Office)
    result: list[Founder] = []
    for text in staff:
        staff_id, _, rest = text.partition("=")
        offices, _, person = rest.partition("@")
        holds: list[Any] = [one for one in offices.split(",") if one]
        if not ID_PATTERN.fullmatch(staff_id) or not holds or any(one not in known for one in holds):
            raise CommandError(f"--staff {text}: write ID=STANDING,... with {', '.join(known)}")
        result.append(Founder(staff_id, holds, person or None))
    if len({one.staff_id for one in result}) < len(result):
        raise CommandError("a staff id is named twice: list its standings with commas")
    acting = {_human(one) for one in result if set(one.holds) != {"regulator"}}
    if any("regulator" in one.holds and _human(one) in acting for one in result):
        raise CommandError("a regulator only reads: he holds no other standing, under no other staff id")
    if sum(HEAD in one.holds for one in result) != 1:
        raise CommandError(f"name exactly one {HEAD}: the post is never empty")
    agreeing = {_human(one) for one in result if {"approver", "compliance"} & set(one.holds)}
    if not any("compliance" in one.holds for one in result) or len(agreeing) < 2:
        raise CommandError("name one of compliance, and another of compliance or an approver: two must agree")
    return result


def _human(one: Founder) -> str:
    """One human is one, whatever his staff ids."""
    return f"person:{one.person_id}" if one.person_id else f"staff:{one.staff_id}"


def found_now(settings: Settings, staff: Sequence[str], backends: Sequence[str], output: str) -> None:
    """Found the house in the settings' database and print its keys."""
    from service.app import create_app

    named = founders(staff)

    async def run() -> None:
        app = create_app(settings)
        async with app.lifespan():
            fresh = await found(app.state.door, app.state.db, named, backends)
            hand_over(fresh, named, settings.data, output)

    asyncio.run(run())
