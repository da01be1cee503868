"""The log key changes without a break: bundles hold before, during and after; a key out of its range does not."""

import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from service.trail import keys, logkeys, rotation
from service.trail.kept import LogRefused
from service.trail.logkeys import KeyRange
from service.trail.note import Note, Signer
from service.trail.sequencer import Sequencer
from service.trail.verify import verify_bundle
from tests.conftest import Database
from tests.kit import House
from tests.logcheck import check_log

pytestmark = pytest.mark.anyio


@pytest.fixture
async def group(house: House) -> House:
    """Group g with one act on record, logged and signed."""
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    await mute(house)
    await house.publish()
    return house


async def mute(house: House, seconds: int = 60) -> None:
    body = {"person_id": "dan", "seconds": seconds, "reason": "fraud"}
    await house.do("ben", "POST", "/v1/groups/g/mutes", body)


def folder(house: House) -> Path:
    return house.app.state.settings.data / "keys"


def sequencer(house: House) -> Sequencer:
    """That of a command beside the service, which reads the keys anew."""
    state = house.app.state
    trail_keys = keys.TrailKeys.load_or_create(folder(house), may_create=False)
    edition = state.editions.at(house.clock.now()).edition
    return Sequencer.of(state.settings, state.db, trail_keys, house.clock, lambda: edition)


async def rotate(house: House) -> KeyRange:
    command = sequencer(house)
    await command.start()
    return await rotation.rotate(house.db, command, folder(house))


async def retire(house: House, to_size: int | None = None) -> list[KeyRange]:
    command = sequencer(house)
    await command.start()
    return await rotation.retire(house.db, command, folder(house), to_size)


async def bundle(house: House) -> bytes:
    body = {"subject_type": "group", "subject_id": "g", "purpose": "case 17"}
    answer = await house.ask("au", "POST", "/v1/trail-exports", body)
    assert answer.status_code == 200, answer.text
    return answer.content


async def trust(house: House) -> dict[str, Any]:
    return await house.do("au", "GET", "/v1/trust")


def judged(tmp_path: Path, found: bytes, trusted: dict[str, Any]) -> str:
    (tmp_path / "trust.json").write_text(json.dumps(trusted))
    (tmp_path / "bundle").write_bytes(found)
    return verify_bundle(tmp_path / "bundle", policy=tmp_path / "trust.json").text("en").splitlines()[0]


async def signers(house: House) -> int:
    return len(Note.parse((await house.client.get("/checkpoint")).text).signatures)


async def test_bundles_hold_before_during_and_after_a_rotation(group: House, tmp_path: Path) -> None:
    """O3: old and new trust files accept what was made while both keys sign; afterwards only the new one does (E_SIG)."""
    before, old = await bundle(group), await trust(group)
    new = await rotate(group)
    assert [one["to_size"] for one in (await trust(group))["log_keys"]] == [None, None]
    await mute(group, 70)
    await group.publish()
    assert await signers(group) == 2, "the running service signs with both by itself"
    during, both = await bundle(group), await trust(group)
    [first, second] = await retire(group)
    assert (first.from_size, second.to_size, second.vkey) == (0, None, new.vkey)
    assert first.to_size is not None
    assert new.from_size < first.to_size
    await mute(group, 80)
    await group.publish()
    assert await signers(group) == 1
    after, last = await bundle(group), await trust(group)
    assert last["log_keys"] == [
        {"from_size": one.from_size, "to_size": one.to_size, "vkey": str(one.vkey)} for one in (first, second)
    ]
    for found in (before, during, after):
        assert judged(tmp_path, found, last).startswith("ACCEPTED")
    assert judged(tmp_path, during, old).startswith("ACCEPTED")
    assert judged(tmp_path, during, both).startswith("ACCEPTED")
    assert "E_SIG" in judged(tmp_path, after, old)
    origin = group.app.state.settings.origin
    replay = await check_log(group.db, origin, *(str(one.vkey) for one in (first, second)))
    assert replay.size >= first.to_size


async def test_a_stolen_key_counts_no_more_from_the_size_that_is_named(group: House, tmp_path: Path) -> None:
    """O3: what the old key alone signed at or above that size is refused (E_KEY_RANGE), what is below still holds."""
    early, size = await bundle(group), await group.publish()
    await mute(group, 70)
    await group.publish()
    late = await bundle(group)
    await rotate(group)
    with pytest.raises(LogRefused, match="between 2 and"):
        await retire(group, 10_000)
    [stolen, _] = await retire(group, size + 1)
    assert stolen.to_size == size + 1
    last = await trust(group)
    assert "E_KEY_RANGE" in judged(tmp_path, late, last)
    assert judged(tmp_path, early, last).startswith("ACCEPTED")
    assert judged(tmp_path, await bundle(group), last).startswith("ACCEPTED")


async def test_a_rotation_cut_off_anywhere_is_taken_up(group: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """O3: with a key but no entry the same key is used; with the notice but the old file, the file is replaced."""
    made = keys.make_next_log_key(folder(group))
    await group.publish()
    assert await signers(group) == 1, "a key that the log does not name signs nothing"
    origin = group.app.state.settings.origin
    with pytest.raises(LogRefused, match="does not sign for the log yet"):
        await retire(group)
    new = await rotate(group)
    assert new.vkey == Signer(origin, made).vkey
    with pytest.raises(LogRefused, match="mandate keys trail retire"):
        await rotate(group)
    with monkeypatch.context() as patch:
        patch.setattr(keys, "take_next_log_key", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await retire(group)
    await mute(group, 70)
    await group.publish()
    assert await signers(group) == 1
    await retire(group)
    assert keys.read_seed(folder(group) / "log.key") == made
    assert not (folder(group) / keys.NEXT_LOG_KEY).exists()
    assert stat.S_IMODE((folder(group) / "log.key").stat().st_mode) == 0o600
    with pytest.raises(LogRefused, match="no rotation is under way"):
        await retire(group)
    again = await rotate(group)
    assert again.vkey != new.vkey
    assert len(await retire(group)) == 3


async def test_a_start_after_a_rotation_needs_the_new_key(
    group: House, database: Database, tmp_path: Path
) -> None:
    """O3: the old copy of the keys folder stops the start with what to do; the present one starts and signs."""
    shutil.copytree(folder(group), tmp_path / "copy")
    await rotate(group)
    await sequencer(group).start()
    await retire(group)
    await sequencer(group).start()
    shutil.copy(tmp_path / "copy" / "log.key", folder(group) / "log.key")
    with pytest.raises(LogRefused, match=r"log\.key is not the key of the log .*put back the copy"):
        await sequencer(group).start()
    with pytest.raises(LogRefused, match=r"log\.key"):
        await rotate(group)


@pytest.mark.parametrize("name", ["tag_keys.json", "receipt.key", "log.key"])
async def test_a_key_of_another_log_stops_the_start(group: House, tmp_path: Path, name: str) -> None:
    """O3: whichever key is not that of the log in the database, the start is refused and the file named."""
    keys.TrailKeys.load_or_create(tmp_path / "other", may_create=True)
    shutil.copy(tmp_path / "other" / name, folder(group) / name)
    with pytest.raises(LogRefused, match=f"{name.replace('.', '[.]')}.*put back the copy"):
        await sequencer(group).start()


async def test_keys_are_not_made_anew_beside_records(
    group: House, database: Database, tmp_path: Path
) -> None:
    """O3: a folder that was lost stops the start of the service, which makes no other keys in it."""
    with pytest.raises(ExceptionGroup) as caught:
        async with House.reopen(database.service_dsn, tmp_path / "elsewhere"):
            pass
    assert caught.group_contains(keys.KeysError, match="holds no keys though a log exists")
    assert not (tmp_path / "elsewhere" / "keys").exists()


async def test_the_keys_are_read_from_the_log(group: House) -> None:
    """O3: the ranges are those of the config entries, whoever asks: nothing else keeps them."""
    async with group.db.read() as db:
        assert [(one.from_size, one.to_size) for one in await logkeys.read(db)] == [(0, None)]
    await rotate(group)
    async with group.db.read() as db:
        [first, second] = await logkeys.read(db)
    assert first.valid_at(second.from_size)
    assert not second.valid_at(second.from_size - 1)
