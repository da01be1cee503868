"""The auditor's replay: an honest log passes, and the first difference of a dishonest one is named."""

import io
import json

import pytest

from service.trail import entry as entries
from service.trail.note import Checkpoint, Note, Signer
from service.trail.replay import Replay, ReplayError, read_stream, write_stream
from service.trail.verify import verify_bundle
from service.trail.verify.trust import LogKey
from tests.trail.memory import SECOND, T0, MemoryLog, build_full_log, bundle_of, digest


def replay_of(log: MemoryLog, start: int = 0, end: int | None = None) -> Replay:
    return Replay(log.origin, [LogKey(log.log_key.vkey, start, end)])


def checkpoint(log: MemoryLog, size: int) -> str:
    text = str(Checkpoint(log.origin, size, log.tree.root(size)))
    return str(Note(text, (log.log_key.sign(text),)))


@pytest.fixture
def log() -> MemoryLog:
    return build_full_log()


def test_an_honest_log_passes_with_all_its_checkpoints(log):
    """Every entry and both checkpoints are as they should be."""
    earlier = log.sizes[0]
    replay = replay_of(log)
    stream = io.BytesIO(b"".join(write_stream(log.entries)))
    assert replay.run(read_stream(stream), [checkpoint(log, earlier), log.checkpoint]) == 2
    assert (replay.size, replay.subjects, replay.root()) == (log.size, len(log.subjects), log.tree.root())


def test_a_replay_goes_on_where_it_stopped(log):
    """Saved after any entry and loaded again, a replay ends where one without a break ends."""
    for stop in range(log.size + 1):
        first, kept = replay_of(log), io.BytesIO()
        first.run(log.entries[:stop])
        first.save(kept)
        second = replay_of(log)
        second.load(io.BytesIO(kept.getvalue()))
        assert second.size == stop
        assert second.run(log.entries[stop:], [log.checkpoint] if stop < log.size else []) <= 1
        assert second.root() == log.tree.root()


def test_a_kept_state_that_was_altered_is_refused(log):
    """One bit more or less, and the state of a replay is not gone on from."""
    kept = io.BytesIO()
    replay = replay_of(log)
    replay.run(log.entries)
    replay.save(kept)
    data = kept.getvalue()
    for at in range(0, len(data), 5):
        broken = bytearray(data)
        broken[at] ^= 1
        with pytest.raises(ValueError):
            replay_of(log).load(io.BytesIO(bytes(broken)))
    for cut in (data[:-1], data + b"x", b""):
        with pytest.raises(ValueError):
            replay_of(log).load(io.BytesIO(cut))


def skipping_log() -> MemoryLog:
    """The map is wrong from the start: record 2 is in the log, but never in the group's tree."""
    log = MemoryLog("mandate.example/skip", time_us=T0, map_bits=2, seed="skip")
    group = log.tag("group", "g1")
    for number in range(1, 4):
        record, _ = log.draft(number, ["group:g1", "person:Ann"], T0 + number * SECOND)
        hidden = frozenset([group]) if number == 2 else frozenset()
        log.record(record, T0 + number * SECOND, skip=hidden)
    log.publish(T0 + 4 * SECOND, T0 // SECOND + 4)
    return log


def test_a_map_wrong_from_the_start_passes_a_bundle_but_not_a_replay(tmp_path):
    """What section 14 says a bundle cannot prove, replay finds: with the index of the entry."""
    log = skipping_log()
    (tmp_path / "b").write_bytes(bundle_of(log))
    (tmp_path / "p").write_text(json.dumps(log.policy()))
    assert verify_bundle(tmp_path / "b", policy=tmp_path / "p").outcome == "ACCEPTED"
    with pytest.raises(ReplayError) as found:
        replay_of(log).run(log.entries, [log.checkpoint])
    assert found.value.index == 3
    assert log.tag("group", "g1").hex() in found.value.reason


def test_a_map_of_other_values_is_found():
    """Right numbers in every entry, but a map that leaves a record out, is found at the map entry."""
    log = MemoryLog("mandate.example/skip", time_us=T0, map_bits=2, seed="skip")
    group = log.tag("group", "g1")
    for number in range(1, 4):
        record, _ = log.draft(number, ["group:g1", "person:Ann"], T0 + number * SECOND)
        log.record(record, T0 + number * SECOND, skip=frozenset([group]) if number == 3 else frozenset())
    log.publish(T0 + 4 * SECOND)
    with pytest.raises(ReplayError, match="map") as found:
        replay_of(log).run(log.entries)
    assert found.value.index == 4


@pytest.mark.parametrize("index", range(5))
def test_a_changed_entry_is_found_at_the_latest_at_the_next_map(index):
    """Whatever bit of an entry is changed, the replay stops there, or at the next map or checkpoint."""
    log = MemoryLog("mandate.example/bits", time_us=T0, map_bits=1, seed="bits")
    for number in range(1, 4):
        record, _ = log.draft(number, ["group:g1", "person:Ann"], T0 + number * SECOND)
        log.record(record, T0 + number * SECOND)
    log.publish(T0 + 4 * SECOND)
    for at in range(0, len(log.entries[index]), 3):
        changed = bytearray(log.entries[index])
        changed[at] ^= 1
        with pytest.raises(ReplayError) as found:
            replay_of(log).run(
                [*log.entries[:index], bytes(changed), *log.entries[index + 1 :]], [log.checkpoint]
            )
        assert found.value.index >= index


def test_entries_left_out_swapped_or_repeated_are_found(log):
    """The first entry that stands at another place than it says is named."""
    for order in ([0, 2], [0, 1, 1], [1], [0, 2, 1]):
        with pytest.raises(ReplayError) as found:
            replay_of(log).run([log.entries[index] for index in order])
        assert found.value.index == next(at for at, index in enumerate(order) if at != index)


def test_a_log_must_begin_with_its_genesis_and_hold_no_other(log):
    """A record or map entry first, or a second genesis, is found."""
    genesis = entries.decode(log.entries[0])
    assert isinstance(genesis, entries.ConfigEntry)
    second = entries.encode_config(1, genesis.time_us, genesis.body)
    with pytest.raises(ReplayError, match="genesis"):
        replay_of(log).run([log.entries[0], second])
    with pytest.raises(ReplayError, match="genesis"):
        replay_of(log).run([entries.encode_map(0, T0, 0, bytes(32))])
    with pytest.raises(ReplayError, match="full"):
        Replay("other.example", []).run(log.entries)
    with pytest.raises(ReplayError, match="time"):
        replay_of(log).run([log.entries[0], entries.encode_map(1, T0 - 1, 0, bytes(32))])


def test_checkpoints_must_be_signed_of_the_log_and_behind_a_map_entry(log):
    """A checkpoint of another root, size, key or place is no checkpoint of this log."""
    other = Signer(log.origin, digest("other"))
    text = Note.parse(log.checkpoint).text
    false = str(Note(text, (other.sign(text),)))
    wrong = str(Checkpoint(log.origin, log.size, bytes(32)))
    broken = [false, str(Note(wrong, (log.log_key.sign(wrong),))), checkpoint(log, 4), "x"]
    for note in broken:
        with pytest.raises(ReplayError):
            replay_of(log).run(log.entries, [note])
    with pytest.raises(ReplayError):
        replay_of(log, 0, log.size).run(log.entries, [log.checkpoint])
    with pytest.raises(ReplayError, match="end before"):
        replay_of(log).run(log.entries[:-1], [log.checkpoint])


def test_a_stream_that_is_cut_off_is_refused(log):
    """The end of a stream is the end of an entry."""
    data = b"".join(write_stream(log.entries))
    assert list(read_stream(io.BytesIO(data))) == log.entries
    for broken in (data[:-1], data[:3], b"\xff\xff\xff\xff" + data):
        with pytest.raises(ValueError):
            list(read_stream(io.BytesIO(broken)))
