"""How questions in the standard's words are sent, how they are told apart by id, and how their routes are found."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.test_evaluations import MANY, ONE, G, ask, mute, person, question
from tests.kit import House

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}


@pytest.fixture
async def group(house: House) -> House:
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    return house


# Bodies and headers


async def test_what_the_service_does_not_know_is_ignored(group: House) -> None:
    """As the standard wants: unknown members anywhere, properties and context change nothing; claims are no facts."""
    claims = {"role": "owner", "rank": 3}
    body = {
        "subject": person("dan") | {"properties": claims, "colour": "red"},
        "action": mute("eve", method="POST", nested={"a": [1]}) | {"colour": "red"},
        "resource": G | {"properties": {"owner_id": "dan"}, "colour": "red"},
        "context": {"time": "1985-10-26T01:22-07:00", "standing": "owner"},
        "colour": {"red": 1},
    }
    plain = await ask(group, ONE, question("dan", mute("eve")))
    assert plain["decision"] is False
    assert await ask(group, ONE, body) == plain
    assert await ask(group, MANY, body | {"evaluations": [{"colour": 1}]}) == {"evaluations": [plain]}


async def test_a_body_that_can_be_read_in_two_ways_is_refused(group: House) -> None:
    """What is no JSON, names a member twice or is nested without end is 400 as a whole, on both routes."""
    good = json.dumps(question("ben"))
    listed = json.dumps({"evaluations": [question("ben")]})
    deep = "[" * 20_000 + "]" * 20_000
    for body in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        good.encode() + b"{}",
        good.replace('"ben"', '"\udcff"').encode("utf-8", "surrogateescape"),
        good.replace('"id": "ben"', '"id": "dan", "id": "ben"').encode(),
        good.replace('"subject"', '"subject": {}, "subject"').encode(),
        listed.replace('"seconds": 3600', '"seconds": 1, "seconds": 3600').encode(),
        good[:-1].encode() + rb', "context": {"a\\": 1, "a\\": 2}}',
        good.replace('"seconds": 3600', f'"seconds": {deep}').encode(),
        good[:-1].encode() + f', "context": {{"a": {deep}}}}}'.encode(),
        good[:-1].encode() + b', "colour": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001,
    ):
        for path in (ONE, MANY):
            problem = await group.refused("malformed", "im", "POST", path, body, headers=JSON)
            assert problem["status"] == 400


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PLACES = (
    ("subject",), ("subject", "type"), ("subject", "id"), ("subject", "properties"), ("context",),
    ("resource",), ("resource", "type"), ("resource", "id"), ("action",), ("action", "name"), ("action", "properties"),
    *(("action", "properties", one) for one in ("person_id", "seconds", "reason", "note", "expected_version", "group_id")),
)  # fmt: skip


async def test_anything_in_any_place_is_answered(group: House) -> None:
    """Whatever JSON stands in whatever place: one question is a decision or a problem, in a list it is always a decision."""
    cases: list[dict[str, Any]] = []

    @settings(max_examples=300, deadline=None, database=None, derandomize=True,
              suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large])  # fmt: skip
    @given(st.sampled_from(PLACES), anything)
    def collect(place: tuple[str, ...], value: Any) -> None:
        body = json.loads(json.dumps(question("ben")))
        inner = body
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = value
        cases.append(body)

    collect()
    alone = [await group.ask("im", "POST", ONE, one) for one in cases]
    listed = (await ask(group, MANY, {"evaluations": cases}))["evaluations"]
    for case, answer, decision in zip(cases, alone, listed, strict=True):
        if answer.status_code == 200:
            assert answer.json() == decision, case
        else:
            assert answer.json()["code"] == decision["context"]["reason"] in {"malformed", "key_scope"}, case
            assert decision["decision"] is False


async def test_a_body_must_be_said_to_be_json(group: House) -> None:
    """text/plain, a form, another JSON type or none at all is 415; a character set beside it is not looked at."""
    body = json.dumps(question("ben")).encode()
    for media in ("text/plain", "application/x-www-form-urlencoded", "application/xml", "text/json", ""):
        for path in (ONE, MANY):
            problem = await group.refused(
                "media_type", "im", "POST", path, body, headers={"content-type": media}
            )
            assert problem["status"] == 415
    with_charset = {"content-type": "application/json; charset=utf-8"}
    assert (await group.do("im", "POST", ONE, body, headers=with_charset))["decision"] is True
    big = json.dumps(question("ben") | {"context": {"a": "x" * (1 << 20)}}).encode()
    await group.refused("body_too_large", "im", "POST", ONE, big, headers=JSON)


async def test_the_request_id_comes_back(group: House) -> None:
    """X-Request-ID is any text: the same one is in the answer, of a decision, a list and a refusal; without one, ours is."""
    for sent in ("bfe9eb29-ab87-4ca3-be83-a1d5d8305716", "a/b+c==", '{"trace":"7"}', "x" * 255):
        for path, body, status in (
            (ONE, question("ben"), 200),
            (MANY, question("ben") | {"evaluations": [{}]}, 200),
            (ONE, {}, 400),
        ):
            answer = await group.ask("im", "POST", path, body, headers={"x-request-id": sent})
            assert (answer.status_code, answer.headers["x-request-id"]) == (status, sent)
    for unsound in ("x" * 256, "a\tb", ""):
        answer = await group.ask("im", "POST", ONE, question("ben"), headers={"x-request-id": unsound})
        assert answer.headers["x-request-id"] not in {unsound, ""}


async def test_questions_count_for_the_rate_of_the_key(group: House) -> None:
    """A list is one request; the answers say what the key has left."""
    first = await group.ask("im", "POST", ONE, question("ben"))
    second = await group.ask("im", "POST", MANY, question("ben") | {"evaluations": [{}] * 9})
    left = [int(one.headers["ratelimit-remaining"]) for one in (first, second)]
    assert left[0] - left[1] == 1


# Finding the service


async def test_the_configuration_names_the_routes_under_the_callers_name(group: House) -> None:
    """Anybody finds the two routes by the well-known document, and they answer; no other route is promised."""
    answer = await group.client.get(
        "/.well-known/authzen-configuration", headers={"host": "pdp.example.com:8443"}
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    here = "http://pdp.example.com:8443"
    assert answer.json() == {
        "policy_decision_point": here,
        "access_evaluation_endpoint": f"{here}{ONE}",
        "access_evaluations_endpoint": f"{here}{MANY}",
    }
    for host in ("a b", "user@host", "host/path", 'h"', "[::1", ""):
        problem = await group.client.get("/.well-known/authzen-configuration", headers={"host": host})
        assert (problem.status_code, problem.json()["code"]) == (400, "malformed"), host


async def test_the_documented_example_is_answered(group: House) -> None:
    """What the document shows as bodies of the two routes are questions that get decisions."""
    described = (await group.client.get("/openapi.json")).json()
    for path in (ONE, MANY):
        body = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        answer = await ask(group, path, body["examples"]["usual"]["value"])
        assert answer.get("decision", True) is True
        assert [one["decision"] for one in answer.get("evaluations", [])] in ([], [True, False])
