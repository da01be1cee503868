"""`mandate webhooks`: where effects are posted to. Works on the database and the keys folder, like `mandate keys trail`."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from service.commands import (
    CONFIG,
    LISTS,
    OUTPUT,
    CommandError,
    one_line_errors,
    settings_with_database,
    shown,
)

if TYPE_CHECKING:
    from service.db import Db
    from service.settings import Settings
    from service.trail.fields import Keyring

    Work = Callable[["House"], Awaitable[Any]]

_SETTLE_SECONDS = 10.0
_ONCE = "The secret is shown this once. Give it to the receiver, who checks with it that a post is ours."


STANDINGS = [
    "webhook",
    "name",
    "url",
    "families",
    "state",
    "behind",
    "lost",
    "failing_since",
    "answer",
    "answered_at",
    "next_at",
]


@click.group("webhooks")
def commands() -> None:
    """Add, list, rotate, pause, resume, remove and test webhooks."""


@commands.command()
@click.argument("url")
@click.option("--name", default="", help="What you call it, in lists.")
@click.option("--families", default="", metavar="NOUN,...", help="Only effects of these nouns; all if none.")
@CONFIG
@OUTPUT
def add(url: str, name: str, families: str, config: Path | None, output: str) -> None:
    """Post effects to URL from now on; prints the new webhook's id, and its secret once.

    What happened before is at `GET /v1/changes`. URL is https, on an address anybody could reach; MANDATE_WEBHOOK_PRIVATE=1
    allows http and private addresses in a closed network.
    """
    with one_line_errors():
        nouns = _families(families)
        shown([_with_house(config, lambda house: house.add(url, name, nouns))], output)
        click.echo(_ONCE, err=True)


@commands.command("list")
@CONFIG
@LISTS
def list_webhooks(config: Path | None, output: str) -> None:
    """List webhooks and where each stands: effects behind, failing since when, last answer, next attempt, effects lost."""
    with one_line_errors():
        rows = _with_house(config, lambda house: house.standings())
        if output == "table" and not rows:
            click.echo("There is no webhook.")
            return
        shown(rows, output, STANDINGS)


@commands.command()
@click.argument("webhook_id")
@CONFIG
@OUTPUT
def rotate(webhook_id: str, config: Path | None, output: str) -> None:
    """Give WEBHOOK_ID a new secret, printed once; for a day the old one signs every post too."""
    with one_line_errors():
        shown([_with_house(config, lambda house: house.rotate(webhook_id))], output)
        click.echo(_ONCE, err=True)


@commands.command()
@click.argument("webhook_id")
@CONFIG
def pause(webhook_id: str, config: Path | None) -> None:
    """Post nothing more to WEBHOOK_ID until it is resumed; what it would get waits."""
    with one_line_errors():
        _with_house(config, lambda house: house.change("pause", webhook_id))
        click.echo(f"{webhook_id} is paused. Effects wait for it for as long as they are kept.")


@commands.command()
@click.argument("webhook_id")
@CONFIG
def resume(webhook_id: str, config: Path | None) -> None:
    """Post to WEBHOOK_ID again, where it was left off, and without waiting for the next attempt.

    It was paused by you, or by its receiver, who answered 410 (gone); then nothing but this posts to it again.
    """
    with one_line_errors():
        _with_house(config, lambda house: house.change("resume", webhook_id))
        click.echo(f"{webhook_id} is posted to again.")


@commands.command()
@click.argument("webhook_id")
@CONFIG
def remove(webhook_id: str, config: Path | None) -> None:
    """Remove WEBHOOK_ID with its secret and its place; what it has not got it will not get."""
    with one_line_errors():
        _with_house(config, lambda house: house.change("remove", webhook_id))
        click.echo(f"{webhook_id} is removed.")


@commands.command("test")
@click.argument("webhook_id")
@CONFIG
@OUTPUT
def ping(webhook_id: str, config: Path | None, output: str) -> None:
    """Post one signed event of type mandate.ping to WEBHOOK_ID now, and say what came; exit code 1 unless it was taken."""
    with one_line_errors():
        answer = _with_house(config, lambda house: house.ping(webhook_id))
        shown([answer], output)
    sys.exit(0 if answer["taken"] else 1)


class House:
    """What the commands work with: the database under the service's role, the keyring, the settings."""

    def __init__(self, settings: Settings, db: Db, keyring: Keyring) -> None:
        self.settings = settings
        self.db = db
        self.keyring = keyring

    async def add(self, url: str, name: str, families: list[str]) -> dict[str, Any]:
        """A new webhook, its secret in clear. Raises CommandError where the URL may not be posted to."""
        from service.guard import Forbidden, Poster
        from service.webhooks import MOST_WEBHOOKS, new_secret, shown_url, sql

        poster = Poster(private=self.settings.webhook_private)
        try:
            await poster.judge(url)
        except Forbidden as forbidden:
            raise CommandError(f"this URL is not posted to: {forbidden}") from None
        finally:
            await poster.close()
        webhook_id = f"wh-{secrets.token_hex(5)}"
        secret, wrapped = new_secret(self.keyring, webhook_id)
        place = await self._settled()
        async with self.db.transaction() as tx:
            if await sql.count_webhooks(tx) >= MOST_WEBHOOKS:
                raise CommandError(f"there are {MOST_WEBHOOKS} webhooks, which is the most: remove one first")
            await sql.add(
                tx, webhook_id=webhook_id, name=name, url=url, families=families, wrapped=wrapped, place=place
            )
        return {"webhook": webhook_id, "secret": secret, "url": shown_url(url), "families": families}

    async def _settled(self) -> int:
        """Where the outbox ends, as far as nothing can come before it any more. Raises CommandError."""
        from service.outbox import Outbox
        from service.webhooks import sql

        async with self.db.read() as reader:
            newest = await sql.newest_effect(reader)
        outbox, until = Outbox(self.db), time.monotonic() + _SETTLE_SECONDS
        while (place := await outbox.settled()) < newest:
            if time.monotonic() > until:
                raise CommandError("a transaction of the database lasts long; try again when it has ended")
        return place

    async def standings(self) -> list[dict[str, Any]]:
        """How each stands, for people and programs."""
        from service.clock import instant_text
        from service.webhooks import MOST_BEHIND, shown_url, sql

        async with self.db.read() as reader:
            rows = await sql.standings(reader, most=MOST_BEHIND)
        return [
            {
                "webhook": row["webhook_id"],
                "name": row["name"],
                "url": shown_url(row["url"]),
                "families": list(row["families"]),
                "state": _state(row),
                "behind": row["behind"],
                "lost": row["lost"],
                "failing_since": row["failing_since"] and instant_text(row["failing_since"]),
                "answer": row["answer"],
                "answered_at": row["answered_at"] and instant_text(row["answered_at"]),
                "next_at": instant_text(row["next_at"]) if row["failing_since"] and row["next_at"] else None,
            }
            for row in rows
        ]

    async def rotate(self, webhook_id: str) -> dict[str, Any]:
        """A new secret, in clear."""
        from service.webhooks import new_secret

        secret, wrapped = new_secret(self.keyring, webhook_id)
        await self.change("rotate", webhook_id, wrapped=wrapped)
        return {"webhook": webhook_id, "secret": secret}

    async def change(self, what: str, webhook_id: str, **more: Any) -> None:
        """Run one of the statements that change a webhook. Raises CommandError where there is none of this id."""
        from service.webhooks import sql

        async with self.db.transaction() as tx:
            tag = await getattr(sql, what)(tx, webhook_id=webhook_id, **more)
        if tag.endswith(" 0"):
            raise _unknown(webhook_id)

    async def ping(self, webhook_id: str) -> dict[str, Any]:
        """What came of one post."""
        from service.guard import Poster
        from service.webhooks import ping

        poster = Poster(private=self.settings.webhook_private)
        began = time.monotonic()
        try:
            found = await ping(self.db, self.keyring, poster, webhook_id, self.settings.origin)
        finally:
            await poster.close()
        if found is None:
            raise _unknown(webhook_id)
        answer, taken = found
        return {"answer": answer, "taken": taken, "ms": round((time.monotonic() - began) * 1000)}


def _state(row: Any) -> str:
    if row["paused_by"]:
        return f"paused by {row['paused_by']}"
    return "failing" if row["failing_since"] else "delivering"


def _unknown(webhook_id: str) -> CommandError:
    return CommandError(f"there is no webhook {webhook_id}; see `mandate webhooks list`")


def _families(text: str) -> list[str]:
    from service.webhooks import FAMILIES

    nouns = sorted({one.strip() for one in text.split(",")} - {""})
    for noun in nouns:
        if noun not in FAMILIES:
            raise CommandError(f"no effect is of {noun!r}; known are {', '.join(FAMILIES)}")
    return nouns


def _with_house(config: Path | None, work: Work) -> Any:
    """Work on the house's database, beside a service that may be running. Raises DatabaseUnavailable, KeysError."""
    from msgspec.structs import replace

    from service import log
    from service.db import Db, require_schema
    from service.trail.own_keys import own_keys

    log.set_up("warning")

    async def run(settings: Settings) -> Any:
        db = await Db.open(replace(settings, pool_size=2))
        try:
            await require_schema(db)
            keys = await own_keys(db, settings.data / "keys")
            return await work(House(settings, db, keys.keyring))
        finally:
            await db.close()

    with settings_with_database(config) as settings:
        return asyncio.run(run(settings))
