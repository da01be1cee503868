"""Writing bundles: what the writer makes the verifier accepts, whatever the range, the size and what is
withheld.
"""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.trail.bundle import HASHES_IN_A_LINE, BundleError, BundleWriter, Shown, write_bundle
from service.trail.merkle import gaps
from service.trail.verify import verify_bundle
from tests.trail.memory import SECOND, T0, MemoryLog, build_full_log, bundle_of


@pytest.fixture(scope="module")
def long_log() -> MemoryLog:
    """Two subjects turn by turn: every second leaf is a gap, so that the multi-proof fills more than a
    line.
    """
    log = MemoryLog("mandate.example/long", time_us=T0, map_bits=4, seed="long")
    for number in range(1, 2 * HASHES_IN_A_LINE + 400):
        record, _ = log.draft(number, [f"group:g{number % 2}"], T0 + number)
        log.record(record, T0 + number)
    log.publish(T0 + SECOND, T0 // SECOND + 1)
    return log


@pytest.mark.parametrize("hashes", [HASHES_IN_A_LINE - 1, HASHES_IN_A_LINE, HASHES_IN_A_LINE + 1])
def test_a_multi_proof_is_cut_into_full_lines(long_log, hashes, tmp_path):
    """At one hash less than a line, just a line, and one more, the bundle has the right lines and is
    accepted.
    """
    indices = long_log.subject_indices[long_log.tag("group", "g1")]

    def needed(a: int, b: int) -> int:
        shown = [0, *indices[a:b], long_log.size - 1]
        return sum(not is_shown for _, _, is_shown in gaps(shown, long_log.size))

    ends = range(hashes - 30, len(indices), 4)
    span = next((a, b) for a in range(30) for b in ends if needed(a, b) == hashes)
    bundle = bundle_of(long_log, span=span)
    counts = [len(json.loads(line)["hashes"]) for line in bundle.splitlines() if b'"kind":"nodes"' in line]
    assert counts == ([HASHES_IN_A_LINE, 1] if hashes > HASHES_IN_A_LINE else [hashes])
    (tmp_path / "b").write_bytes(bundle)
    (tmp_path / "p").write_text(json.dumps(long_log.policy(require_complete=False)))
    assert verify_bundle(tmp_path / "b", policy=tmp_path / "p").outcome == "ACCEPTED"


@settings(max_examples=40, deadline=None)
@given(
    records=st.lists(
        st.sets(st.sampled_from(["group:a", "group:b", "person:c", "case:d"]), min_size=1), max_size=25
    ),
    data=st.data(),
)
def test_every_range_of_every_subject_of_any_log_is_accepted(records, data, tmp_path_factory):
    """Logs of any shape, published at any sizes; any subject, any range, from any earlier size."""
    log = MemoryLog("any.example/1", time_us=T0, map_bits=data.draw(st.integers(1, 3)), seed="any")
    log.publish(T0)
    for number, subjects in enumerate(records, 1):
        record, opened = log.draft(number, sorted(subjects), T0 + number, {"name": "x"})
        log.record(record, T0 + number, opened)
        if data.draw(st.booleans()):
            log.publish(T0 + number)
    log.publish(T0 + 100, T0 // SECOND + 1)
    subject = data.draw(
        st.sampled_from([("group", "a"), ("group", "b"), ("person", "c"), ("group", "nobody")])
    )
    known = log.subject(log.tag(*subject))
    n = known[0] if known else 0
    a = data.draw(st.integers(0, n))
    b = data.draw(st.integers(a, n))
    old = data.draw(st.sampled_from(log.sizes))
    folder = tmp_path_factory.mktemp("any")
    (folder / "b").write_bytes(bundle_of(log, subject, span=(a, b), old_size=old))
    (folder / "p").write_text(json.dumps(log.policy(require_complete=False)))
    root = log.tree.root(old).hex()
    state = {"format": "mandate-trail/1", "origin": log.origin, "root": root, "size": old, "subjects": {}}
    (folder / "s").write_text(json.dumps(state, separators=(",", ":"), sort_keys=True))
    verdict = verify_bundle(folder / "b", policy=folder / "p", state=folder / "s", subject=subject)
    assert verdict.outcome == "ACCEPTED", verdict.code
    assert verdict.facts.compared_size == old


def test_a_deletion_is_always_cited_and_a_link_on_request():
    """Records a deletion relies on are cited in any case; records linked to only when asked for."""

    def cited(**options):
        lines = map(json.loads, bundle_of(build_full_log(), **options).splitlines())
        return [line["index"] for line in lines if line["kind"] == "cited"]

    log = build_full_log()
    acts = {
        index: json.loads(log.shown[index].record or b'{"act":""}')["act"] for index in cited(cite_links=True)
    }
    assert [acts[index] for index in cited()] == ["record.retire", "person.erase"]
    assert list(acts.values()) == ["account.mute", "record.retire", "person.erase"]


def test_what_cannot_stand_in_a_bundle_is_not_written():
    """A range beyond the records, a line too long, a deletion that cannot be shown."""
    log = build_full_log()
    for span in ((0, 7), (3, 2), (-1, 2)):
        with pytest.raises(BundleError):
            bundle_of(log, span=span)
    writer = BundleWriter(lambda _: None, 10)
    with pytest.raises(BundleError):
        writer.record(Shown(1, b"", None, {"note": (bytes(32), "x" * 1_048_576)}))
    index = log.subject_indices[log.tag("group", "g1")][1]
    unknown = "01a0c450-6f84-7000-8000-0000000000ff"
    log.shown[index] = replace(log.shown[index], fields={}, withheld={"name": unknown})
    with pytest.raises(BundleError):
        write_bundle(log, lambda _: None, ("group", "g1"))
