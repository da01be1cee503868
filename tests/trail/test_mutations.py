"""Hostile bundles: whatever is done to a good one, it is never accepted and never takes long."""

import io
import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.trail.note import to_base64
from service.trail.verify import Fault, Policy, verify_bundle
from service.trail.verify.lines import Lines
from service.trail.verify.steps import Check
from tests.trail.memory import EXAMPLE, build_full_log, bundle_of
from tests.trail.test_verify import lines_of, sealed

LOG = build_full_log()
BUNDLE = bundle_of(LOG, cite_links=True)
LINES = lines_of(BUNDLE)

hostile = settings(
    max_examples=250,
    deadline=2000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
odd_values = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1,
        2,
        7,
        2**53 - 1,
        "",
        "x",
        "AAAA",
        "0" * 64,
        to_base64(bytes(32)),
        [],
        [0, 0],
        [None],
        {},
        {"a": 1},
    ]
)


@pytest.fixture
def policy(tmp_path) -> Path:
    path = tmp_path / "policy"
    path.write_text(json.dumps(LOG.policy()))
    return path


def refused(data: bytes, policy: Path) -> None:
    if data == BUNDLE:
        return
    path = policy.with_name("bundle")
    path.write_bytes(data)
    verdict = verify_bundle(path, policy=policy)
    assert verdict.outcome == "REJECTED"
    assert verdict.code != "E_UNFORESEEN"


@hostile
@given(data=st.data())
def test_changed_bytes_are_refused(data, policy):
    """Bytes changed, cut out, put in or doubled anywhere."""
    start = data.draw(st.integers(0, len(BUNDLE)))
    end = data.draw(
        st.integers(start, min(len(BUNDLE), start + data.draw(st.sampled_from([0, 1, 3, 50, 5000]))))
    )
    put = data.draw(st.one_of(st.binary(max_size=4), st.just(BUNDLE[start:end] * 2)))
    refused(BUNDLE[:start] + put + BUNDLE[end:], policy)


@hostile
@given(data=st.data())
def test_changed_lines_are_refused(data, policy):
    """Lines left out, repeated, moved, with an end line that matches them."""
    lines = list(LINES)
    at = data.draw(st.integers(0, len(lines) - 2))
    what = data.draw(st.sampled_from(["drop", "repeat", "move"]))
    to = data.draw(st.integers(0, len(lines) - 2))
    line = lines[at] if what == "repeat" else lines.pop(at)
    if what != "drop":
        lines.insert(to, line)
    changed = sealed(lines)
    refused(changed, policy)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all members and items below a value."""
    found = [path] if path else []
    if isinstance(value, dict):
        for name, item in value.items():
            found += places(item, (*path, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            found += places(item, (*path, number))
    return found


@hostile
@given(data=st.data())
def test_changed_members_are_refused(data, policy):
    """Any member or item replaced by an odd value, left out, or spoilt, with an end line that matches."""
    lines = lines_of(BUNDLE)
    path = data.draw(st.sampled_from(places(lines[:-1])))
    holder: Any = lines
    for step in path[:-1]:
        holder = holder[step]
    old = holder[path[-1]]
    what = data.draw(st.sampled_from(["odd", "drop", "spoil"]))
    if what == "drop":
        del holder[path[-1]]
    elif what == "spoil" and isinstance(old, str) and old:
        at = data.draw(st.integers(0, len(old) - 1))
        holder[path[-1]] = old[:at] + data.draw(st.sampled_from("Az09+/=f")) + old[at + 1 :]
    elif what == "spoil" and isinstance(old, int):
        holder[path[-1]] = old + data.draw(st.sampled_from([-1, 1]))
    else:
        holder[path[-1]] = data.draw(odd_values)
    # That a field is held back, and not redacted, is for the exporter to say: that alone is another good
    # bundle.
    held_back = "withheld" in path and holder.get(path[-1], 0) is None
    if all(isinstance(line, dict) and "kind" in line for line in lines) and not held_back:
        refused(sealed(lines), policy)


@hostile
@given(text=st.text(max_size=200), number=st.integers(0, 30))
def test_any_text_for_a_line_is_refused(text, number, policy):
    """A line of any text in the place of one of ours."""
    raw = BUNDLE.splitlines(keepends=True)
    raw[number % len(raw)] = text.encode(errors="replace") + b"\n"
    refused(b"".join(raw), policy)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 1_000_000 + b"\n",
        b'{"a":' * 100_000 + b"\n",
        b"\n" * 2_000_001,
        b'{"kind":"end","lines":0,"sha256":"' + b"0" * 64 + b'"}\n',
        b'{"kind":"bundle","n":' + b"9" * 1_000_000 + b"}\n",
        b"\xff\xfe\n",
        b"x" * 5_000_000,
        b"{}\n" * 200_000,
    ],
    ids=["arrays", "objects", "lines", "only the end", "digits", "bytes", "one line", "empty objects"],
)
def test_bombs_are_refused_at_once(data, policy):
    """Deep, long and endless input is refused within seconds, also with an end that matches."""
    started = time.monotonic()
    refused(data, policy)
    if data.endswith(b"\n"):
        end = (
            f'{{"kind":"end","lines":{data.count(chr(10).encode())},"sha256":"{sha256(data).hexdigest()}"}}\n'
        )
        refused(data + end.encode(), policy)
    assert time.monotonic() - started < 30


@given(data=st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_are_no_policy_no_state_and_no_receipt(data, tmp_path):
    """A trust file, state or receipt of any bytes is never taken for one."""
    odd = tmp_path / "odd"
    odd.write_bytes(data)
    bundle = EXAMPLE / "group-g1.bundle"
    assert verify_bundle(bundle, policy=odd).outcome == "UNDECIDED"
    verdict = verify_bundle(bundle, policy=EXAMPLE / "trust.json", state=odd)
    assert (verdict.outcome, verdict.code) == ("UNDECIDED", "E_STATE")
    verdict = verify_bundle(bundle, policy=EXAMPLE / "trust.json", receipt=odd)
    assert (verdict.outcome, verdict.code) == ("REJECTED", "E_RECEIPT")


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_a_policy_with_any_odd_member_never_surprises(data, tmp_path):
    """Every member and item of a policy replaced by an odd value: judged or undecided, never unforeseen."""
    policy = LOG.policy()
    path = data.draw(st.sampled_from(places(policy)))
    holder: Any = policy
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = data.draw(odd_values)
    odd, bundle = tmp_path / "odd", tmp_path / "bundle"
    odd.write_text(json.dumps(policy))
    bundle.write_bytes(BUNDLE)
    assert verify_bundle(bundle, policy=odd).code != "E_UNFORESEEN"


@hostile
@given(data=st.data())
def test_a_changed_receipt_is_refused(data, policy):
    """Any byte of a receipt changed, and it is no receipt of the service."""
    receipt = bytearray(LOG.receipt(1))
    at = data.draw(st.integers(0, len(receipt) - 1))
    receipt[at] ^= data.draw(st.integers(1, 255))
    bundle, odd = policy.with_name("bundle"), policy.with_name("receipt")
    bundle.write_bytes(BUNDLE)
    odd.write_bytes(bytes(receipt))
    verdict = verify_bundle(bundle, policy=policy, receipt=odd)
    assert (verdict.outcome, verdict.code) == ("REJECTED", "E_RECEIPT")


def test_a_file_that_changes_while_it_is_read_is_refused():
    """The file is read twice; if it is another file the second time, it is not accepted, however good."""

    class Changing(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            self.__init__(bundle_of(LOG))
            return super().seek(offset, whence)

    check = Check(Policy.parse(json.dumps(LOG.policy()).encode()))
    with pytest.raises(Fault) as found:
        check.run(Lines(Changing(BUNDLE)))
    assert found.value.code == "E_TRUNCATED"
