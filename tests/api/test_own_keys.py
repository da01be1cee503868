"""A master key of another house stops every start that loads the keys, before anything is sealed under it."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from service.app import post_alone, sequence_alone
from service.commands.trail_keys import begin_anew
from service.db import Db
from service.settings import Settings
from service.trail.kept import LogRefused
from service.trail.keys import KeysError, TrailKeys
from service.trail.own_keys import own_keys
from service.watch import Watching
from service.webhooks import new_secret
from tests.conftest import Database
from tests.kit import House, past_the_house
from tests.served import mandate

pytestmark = pytest.mark.anyio
WRONG = r"master[.]key: is the key of another house.*put back the copy"
MUTE = {"person_id": "dan", "seconds": 60, "reason": "fraud", "note": "seen twice"}


@pytest.fixture
async def sealed(house: House) -> House:
    """A house with a value that is sealed under a subject's key, logged and signed; its folder is at rest."""
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    await house.do("ben", "POST", "/v1/groups/g/mutes", MUTE)
    await house.publish()
    return house


def exchange(house: House, tmp_path: Path, *names: str) -> Path:
    """Copy keys of another house over those of this one; return where its own are kept."""
    folder = house.app.state.settings.data / "keys"
    shutil.copytree(folder, tmp_path / "own")
    TrailKeys.load_or_create(tmp_path / "other", may_create=True)
    for name in names:
        shutil.copy(tmp_path / "other" / name, folder / name)
    return tmp_path / "own"


async def serve(settings: Settings) -> None:
    async with House.reopen(settings.dsn or "", settings.data):
        pass


async def sequence(settings: Settings) -> None:
    await asyncio.wait_for(sequence_alone(settings, Watching()), 2)


async def post(settings: Settings) -> None:
    await asyncio.wait_for(post_alone(settings, Watching()), 2)


async def end_the_log(settings: Settings) -> None:
    changed = replace(settings, origin="mandate.localhost/trail/2", clock_file=None)
    await asyncio.to_thread(begin_anew, changed)


@pytest.mark.parametrize("start", [serve, sequence, post, end_the_log])
async def test_a_master_key_of_another_house_stops_each_start(
    sealed: House, database: Database, tmp_path: Path, start: Callable[[Settings], Awaitable[None]]
) -> None:
    """O3: whichever process loads the keys, it says which file is wrong and what to put back, and changes nothing."""
    own = exchange(sealed, tmp_path, "master.key")
    settings = replace(sealed.app.state.settings, migration_dsn=database.owner_dsn)
    before = await rows(sealed)
    with pytest.raises((KeysError, ExceptionGroup)) as caught:
        await start(settings)
    said: BaseException = caught.value
    while isinstance(said, BaseExceptionGroup):
        [said] = said.exceptions
    with pytest.raises(KeysError, match=WRONG):
        raise said
    assert await rows(sealed) == before
    shutil.copy(own / "master.key", settings.data / "keys" / "master.key")
    with suppress(TimeoutError):
        await (start if start is not end_the_log else serve)(settings)


async def rows(house: House) -> list[Any]:
    async with house.db.read() as db:
        return [
            await db.fetchval(f"SELECT count(*) FROM {table}")
            for table in ("record", "subject_key", "record_field", "log_entry")
        ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("serve", "--port", "0"),
        ("work", "sequencer"),
        ("work", "webhooks"),
        ("webhooks", "list"),
        ("keys", "trail", "list"),
    ],
)
async def test_the_refusal_is_one_line(
    sealed: House, database: Database, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """O3: an operator reads one line and gets exit code 2."""
    exchange(sealed, tmp_path, "master.key")
    env = {"MANDATE_DSN": database.service_dsn, "MANDATE_DATA": str(sealed.app.state.settings.data)}
    done = await asyncio.to_thread(lambda: mandate(*command, MANDATE_WORKERS="1", **env))
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert "/master.key: is the key of another house" in line


async def test_other_tag_keys_are_named_first(sealed: House, tmp_path: Path) -> None:
    """O3: they open no subject's key either, but it is not the master key that is to be put back."""
    exchange(sealed, tmp_path, "tag_keys.json")
    with pytest.raises(LogRefused, match=r"tag_keys[.]json.*put back the copy"):
        await own_keys(sealed.app.state.db, sealed.app.state.settings.data / "keys")


@pytest.mark.unreconciled("a row of no key is put in past the house")
async def test_one_damaged_row_does_not_keep_the_right_key_out(sealed: House, database: Database) -> None:
    """O3: the key is right where it opens any of those looked at; the damaged row is found where it is read."""
    await past_the_house(database.owner_dsn, "INSERT INTO subject_key VALUES ('account', 'a', '\\x00')")
    await own_keys(sealed.app.state.db, sealed.app.state.settings.data / "keys")


async def test_where_no_subject_has_a_key_a_webhooks_secret_tells(database: Database, tmp_path: Path) -> None:
    """O3: before anything is sealed the secrets of webhooks are compared; where nothing is stored there is nothing to."""
    folder = tmp_path / "keys"
    keys = TrailKeys.load_or_create(folder, may_create=True)
    other = tmp_path / "other"
    TrailKeys.load_or_create(other, may_create=True)
    settings = Settings(dsn=database.service_dsn, pool_size=1)
    db = await Db.open(settings)
    try:
        await own_keys(db, other)
        _, wrapped = new_secret(keys.keyring, "w")
        async with db.transaction() as tx:
            await tx.execute(
                "INSERT INTO webhook (webhook_id, name, url, families, created_at, wrapped, place, next_at)"
                " VALUES ('w', 'w', 'https://im.example/', '{}', now(), $1, 0, now())",
                wrapped,
            )
        await own_keys(db, folder)
        with pytest.raises(KeysError, match=WRONG):
            await own_keys(db, other)
    finally:
        await db.close()
