"""Keys are made once, completely and privately; whatever is wrong with them stops the start with a cure."""

import hashlib
import json
import multiprocessing
import os
import pickle
import stat
from pathlib import Path

import pytest

from service.trail import keys, record
from service.trail.keys import KEY_FILES, KeysError, TrailKeys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys"


@pytest.fixture
def made(folder: Path) -> Path:
    TrailKeys.load_or_create(folder, may_create=True)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_first_start_makes_private_keys(made: Path) -> None:
    """The first start makes a folder and files that only their owner may use, and nothing else."""
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in made.iterdir()} == dict.fromkeys(
        KEY_FILES, 0o600
    )
    texts = [*json.loads((made / "tag_keys.json").read_text()).values()]
    texts += [(made / name).read_text().split()[1] for name in KEY_FILES[1:]]
    assert len(set(texts)) == len(texts) == 12


def test_next_start_reads_the_same_keys(made: Path) -> None:
    """Later starts find the same keys and change no byte, whether or not they might have made them."""
    before = contents(made)
    first = TrailKeys.load_or_create(made, may_create=True)
    second = TrailKeys.load_or_create(made, may_create=False)
    assert first.tag("person", "Li Wei") == second.tag("person", "Li Wei")
    assert (first.log_seed, first.receipt_seed) == (second.log_seed, second.receipt_seed)
    _, wrapped = first.keyring.new_person_key(purpose="record.fields", tag=bytes(32))
    second.keyring.unwrap(wrapped, purpose="record.fields", tag=bytes(32))
    assert contents(made) == before


def test_tags_are_those_of_the_keys(made: Path) -> None:
    """Tags follow the format, first and remembered; strange subjects are refused each time."""
    trail_keys = TrailKeys.load_or_create(made, may_create=False)
    stored = json.loads((made / "tag_keys.json").read_text())
    for kind in record.SUBJECT_TYPES:
        key = bytes.fromhex(stored[kind])
        assert trail_keys.tag_key(kind) == key
        assert trail_keys.tag_key_sha256()[kind] == hashlib.sha256(key).hexdigest()
        for _ in range(2):
            assert trail_keys.tag(kind, "a7") == record.tag(key, kind, "a7")
            with pytest.raises(record.SubjectError):
                trail_keys.tag(kind, "a7 ")
    with pytest.raises(record.SubjectError):
        trail_keys.tag("robot", "a7")
    assert set(trail_keys.tag_key_sha256()) == set(record.SUBJECT_TYPES)


@pytest.mark.parametrize("exists", [True, False])
def test_no_keys_beside_a_log(folder: Path, exists: bool) -> None:
    """Where a log exists and the folder holds no key, nothing is made."""
    if exists:
        folder.mkdir(parents=True, mode=0o700)
    with pytest.raises(KeysError, match="put back") as caught:
        TrailKeys.load_or_create(folder, may_create=False)
    assert caught.value.path == folder
    assert not folder.exists() or not contents(folder)


@pytest.mark.parametrize("name", KEY_FILES)
@pytest.mark.parametrize("may_create", [True, False])
def test_a_lost_key_is_never_made_anew(made: Path, name: str, may_create: bool) -> None:
    """A key missing beside others stops the start, which names it and changes nothing."""
    (made / name).unlink()
    before = contents(made)
    with pytest.raises(KeysError, match="missing") as caught:
        TrailKeys.load_or_create(made, may_create=may_create)
    assert caught.value.path == made / name
    assert contents(made) == before


@pytest.mark.parametrize("name", KEY_FILES)
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_keys_open_to_others_stop_the_start(made: Path, name: str, mode: int) -> None:
    """A key file of ours that others may read or write stops the start, with the cure."""
    (made / name).chmod(mode)
    with pytest.raises(KeysError, match="chmod 600") as caught:
        TrailKeys.load_or_create(made, may_create=False)
    assert caught.value.path == made / name


def test_a_folder_open_to_others_stops_the_start(made: Path) -> None:
    """A folder of ours in which others could replace a key stops the start; an empty one is not filled."""
    made.chmod(0o770)
    with pytest.raises(KeysError, match="chmod 700"):
        TrailKeys.load_or_create(made, may_create=False)
    empty = made.parent / "empty"
    empty.mkdir()
    empty.chmod(0o777)
    with pytest.raises(KeysError, match="chmod 700"):
        TrailKeys.load_or_create(empty, may_create=True)
    assert not contents(empty)


@pytest.mark.parametrize("name", KEY_FILES)
@pytest.mark.parametrize("fault", ["empty", "short", "upper", "bytes", "long", "words"])
def test_a_damaged_key_stops_the_start(made: Path, name: str, fault: str) -> None:
    """A key file that is cut off or altered in form stops the start; the message shows nothing of it."""
    path = made / name
    whole = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "short": whole[:-10],
            "upper": whole.upper(),
            "bytes": b"\xff" * len(whole),
            "long": whole + b"0" * 5_000,
            "words": whole.rstrip() + b" x\n",
        }[fault]
    )
    with pytest.raises(KeysError, match="malformed") as caught:
        TrailKeys.load_or_create(made, may_create=True)
    assert caught.value.path == path
    assert whole.decode()[-20:-10] not in str(caught.value)


def test_keys_in_each_others_place_stop_the_start(made: Path) -> None:
    """A key copied over another is noticed."""
    (made / "log.key").write_bytes((made / "receipt.key").read_bytes())
    with pytest.raises(KeysError):
        TrailKeys.load_or_create(made, may_create=False)


@pytest.mark.parametrize("change", ["missing", "more", "twice", "list", "null"])
def test_tag_keys_are_exactly_nine(made: Path, change: str) -> None:
    """Tag keys of fewer or more types, or one key for two types, stop the start."""
    path = made / "tag_keys.json"
    found = json.loads(path.read_text())
    if change == "missing":
        del found["person"]
    elif change == "more":
        found["robot"] = "0" * 64
    elif change == "twice":
        found["person"] = found["group"]
    elif change == "null":
        found["person"] = None
    else:
        found = sorted(found)
    path.write_bytes(record.canonical(found))
    with pytest.raises(KeysError, match="malformed"):
        TrailKeys.load_or_create(made, may_create=False)


@pytest.mark.parametrize("writes", range(1, 5))
def test_a_first_start_cut_off_is_taken_up(
    folder: Path, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first start that dies after any write is finished by the next one, which keeps what it finds."""
    write, left = keys.put, [writes]  # pyright: ignore[reportPrivateUsage]

    def dying(path: Path, content: bytes, folder_fd: int) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write(path, content, folder_fd)

    monkeypatch.setattr(keys, "put", dying)
    with pytest.raises(KeyboardInterrupt):
        TrailKeys.load_or_create(folder, may_create=True)
    monkeypatch.undo()
    before = {name: content for name, content in contents(folder).items() if name in KEY_FILES}
    TrailKeys.load_or_create(folder, may_create=True)
    after = contents(folder)
    assert set(after) == set(KEY_FILES)
    assert before.items() <= after.items()


def first_start(folder: Path) -> bytes:
    return TrailKeys.load_or_create(folder, may_create=True).tag("person", "Li Wei")


def test_two_first_starts_agree(folder: Path) -> None:
    """Processes that start at once end with one and the same set of keys."""
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert len(set(pool.map(first_start, [folder] * 8, chunksize=1))) == 1
    assert set(contents(folder)) == set(KEY_FILES)


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    """A file in the place of the folder, or a folder in the place of a key, is named with a cure."""
    (tmp_path / "keys").write_bytes(b"")
    with pytest.raises(KeysError):
        TrailKeys.load_or_create(tmp_path / "keys", may_create=True)
    made = tmp_path / "other"
    TrailKeys.load_or_create(made, may_create=True)
    (made / "log.key").unlink()
    (made / "log.key").mkdir()
    with pytest.raises(KeysError) as caught:
        TrailKeys.load_or_create(made, may_create=True)
    assert caught.value.path == made / "log.key"


def test_a_file_of_another_owner_keeps_its_modes(made: Path) -> None:
    """A key mounted by another owner is read with the modes that owner chose."""
    if os.geteuid():
        pytest.skip("only root can give files away")
    for name in KEY_FILES:
        (made / name).chmod(0o444)
        os.chown(made / name, 65_534, 65_534)
    TrailKeys.load_or_create(made, may_create=False)


def test_the_keys_show_nothing(made: Path) -> None:
    """Neither print nor pickle brings a key out."""
    trail_keys = TrailKeys.load_or_create(made, may_create=False)
    assert repr(trail_keys) == "TrailKeys(...)"
    with pytest.raises(TypeError):
        pickle.dumps(trail_keys)
    with pytest.raises(ValueError, match="nine types"):
        TrailKeys(tag_keys={}, master=bytes(32), log_seed=bytes(32), receipt_seed=bytes(32))
