"""What no caller should send: each fault has a stable code and a pointer, nothing is done, and nothing breaks."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit import House

pytestmark = pytest.mark.anyio
MUTES = "/v1/groups/g/mutes"
JSON = {"content-type": "application/json"}
GOOD = {"person_id": "dan", "seconds": 60, "reason": "spam"}


@pytest.fixture
async def group(house: House) -> House:
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    return house


async def raw(house: House, body: bytes, path: str = MUTES, **headers: str) -> Any:
    return await house.ask("ann", "POST", path, body, headers=JSON | headers)


def said(answer: Any) -> tuple[int, str, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert answer.headers["x-request-id"]
    problem = answer.json()
    assert problem["status"] == answer.status_code
    return answer.status_code, problem["code"], problem.get("pointer", "")


BODIES = [
        (b"{", ""),
        (b"", "/person_id"),
        (b"[]", ""),
        (b"null", ""),
        (b'"text"', ""),
        (b'{"person_id": "dan", "seconds": 60} {}', ""),
        (b"{'person_id': 'dan'}", ""),
        (b'{"person_id": "dan", "seconds": NaN}', ""),
        (b'{"person_id": "dan", "seconds": 1e999}', ""),
        (b'{"person_id": "dan", "seconds": 60, "seconds": 90}', ""),
        (b'{"person_id" : "dan", "seconds" : 60, "note" : "\\":", "seconds"\n: 90}', ""),
        (b'{"person_id": "dan", "seconds": "60"}', "/seconds"),
        (b'{"person_id": "dan", "seconds": 60.5}', "/seconds"),
        (b'{"person_id": "dan", "seconds": true}', "/seconds"),
        (b'{"person_id": "dan", "seconds": {}}', "/seconds"),
        (b'{"person_id": 7, "seconds": 60}', "/person_id"),
        (b'{"person_id": null, "seconds": 60}', "/person_id"),
        (b'{"person_id": "", "seconds": 60}', "/person_id"),
        (b'{"person_id": "a b", "seconds": 60}', "/person_id"),
        (b'{"person_id": "dan\\n", "seconds": 60}', "/person_id"),
        (b'{"person_id": "dan\\u0000", "seconds": 60}', "/person_id"),
        (b'{"person_id": "\xe4\xbd\xa0", "seconds": 60}', "/person_id"),
        (b'{"person_id": "' + b"d" * 129 + b'", "seconds": 60}', "/person_id"),
        (b'{"person_id": "dan", "seconds": 60, "colour": "red"}', "/colour"),
        (b'{"person_id": "dan", "seconds": 60, "action": "group.unmute"}', "/action"),
        (b'{"person_id": "dan", "seconds": 60, "group_id": "other"}', "/group_id"),
        (b'{"person_id": "dan", "seconds": 60, "reason": "SPAM"}', "/reason"),
        (b'{"person_id": "dan", "seconds": 60, "note": "' + b"n" * 2001 + b'"}', "/note"),
        (b'{"person_id": "dan", "seconds": 60, "note": "\\ud800"}', ""),
        (b'{"person_id": "dan", "seconds": 60, "note": "\\udfff\\ud800"}', ""),
        (b'{"person_id": "dan", "seconds": 60, "note": "\\u0378"}', "/note"),
        (b'{"person_id": "dan", "seconds": 60, "note": "a\\u0000b"}', "/note"),
        (b'{"person_id": "d\xff", "seconds": 60}', ""),
        (b"\xff\xfe{\x00}\x00", ""),
        (b'\xef\xbb\xbf{"person_id": "dan", "seconds": 60}', ""),
        (b"[" * 5000 + b"]" * 5000, ""),
        (b'{"note":' * 5000 + b"1" + b"}" * 5000, ""),
        (b'{"person_id": "dan", "seconds": 60, "note": ' + b"[" * 900 + b"]" * 900 + b"}", ""),
    (b'{"person_id": "dan", "seconds": 60, "note": ' + b"[" * 90 + b"]" * 90 + b"}", "/note"),
    ]  # fmt: skip


async def test_a_bad_body_is_malformed_and_points_at_the_member(group: House) -> None:
    """Whatever is wrong with a body is 400 `malformed`; nothing is recorded."""
    for body, pointer in BODIES:
        assert said(await raw(group, body)) == (400, "malformed", pointer), body[:80]
    assert await group.records() == []


async def test_a_member_said_twice_is_refused_wherever_acts_are_named(group: House) -> None:
    """An act in a batch or a check that says a member twice is malformed, as on its own route; the same name further in is not."""
    act = '{"action": "group.mute", "group_id": "g", "person_id": "eve", "person_id": "dan", "seconds": 60}'
    assert said(await raw(group, act.encode(), "/v1/checks"))[:2] == (400, "malformed")
    batch = await raw(group, f'{{"items": [{act}]}}'.encode(), "/v1/batches")
    assert [one["problem"]["code"] for one in batch.json()["items"]] == ["malformed"]
    for again in ("items", "\\u0069tems"):
        twice = f'{{"items": [{{}}], "{again}": []}}'.encode()
        assert said(await raw(group, twice, "/v1/batches")) == (400, "malformed", "")
    looked = {
        "action": "trail.read",
        "subject_type": "group",
        "subject_id": "g",
        "looked": {"action": "group.mute"},
    }
    assert (await group.do("au", "POST", "/v1/checks", looked))["code"] == "purpose_missing"
    assert await group.records() == []


async def test_a_text_that_looks_like_a_name_is_a_text(group: House) -> None:
    """Quotes, colons and backslashes inside a text, also at its ends, are no member said twice."""
    for number, note in enumerate((":)", " : ", '":', '\\":"', "\\", '{"seconds": 1, "seconds": 2}')):
        body = GOOD | {"person_id": ("dan", "eve")[number % 2], "seconds": 60 + number, "note": note}
        assert (await group.do("ann", "POST", MUTES, body))["outcome"] == "done", note


async def test_absurd_durations_have_their_own_codes(group: House) -> None:
    """S023: zero and out of range are told apart, up to the largest integers."""
    for seconds, code in [
        (0, "duration_zero"),
        (-1, "duration_out_of_range"),
        (2**53, "duration_out_of_range"),
        (2**63 - 1, "duration_out_of_range"),
        (-(2**63), "duration_out_of_range"),
        (2**63, "duration_out_of_range"),
    ]:
        answer = await group.ask("ann", "POST", MUTES, GOOD | {"seconds": seconds})
        assert said(answer) == (400, code, "/seconds")


INSTANTS: list[Any] = ["2026-11-02", "yesterday", 0, "2026-02-30T00:00:00Z", "2026-11-02T08:00:00", "9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+23:00", "+12026-01-01T00:00:00Z", "2026-11-02T25:00:00Z"]  # fmt: skip


async def test_absurd_instants_are_malformed(house: House) -> None:
    """Only an RFC 3339 instant with a zone, that UTC can hold, is one."""
    body = {"key_id": "k", "kind": "backend", "prefix": "mk_1", "token_sha256": "0" * 64}
    for value in INSTANTS:
        answer = await house.ask("co", "POST", "/v1/keys", body | {"expires_at": value})
        assert said(answer) == (400, "malformed", "/expires_at"), value


async def test_a_huge_body_is_413(database: Any, tmp_path: Any) -> None:
    """Beyond the limit the body is not read: `body_too_large`, whether its length was said or not."""
    async with House.open(database.service_dsn, tmp_path, body_limit=2048) as house:
        for path in (MUTES, "/v1/checks", "/v1/batches", "/access/v1/evaluations"):
            assert said(await raw(house, b" " * 2049, path)) == (413, "body_too_large", ""), path

        async def pieces() -> Any:
            for _ in range(3):
                yield b" " * 1024

        headers = {"authorization": f"Bearer {house.tokens['im']}", "idempotency-key": "k"} | JSON
        answer = await house.client.post(MUTES, content=pieces(), headers=headers)  # type: ignore[arg-type]  an async iterator
        assert said(answer) == (413, "body_too_large", "")
        assert said(await raw(house, b" " * 2048))[1] == "malformed"


PATHS = ["/", "/nothing", "/v1", "/v2/groups/g/mutes", "/v1/groups/g%2Fh/mutes", "/v1/groups/g/mutes/dan/more", "/V1/groups/g/mutes", "/v1/groups/../keys2"]  # fmt: skip


async def test_an_unknown_route_is_not_found(house: House) -> None:
    """No route: 404 `not_found`, with a key or without one."""
    for path in PATHS:
        assert said(await house.ask("ann", "POST", path, GOOD)) == (404, "not_found", ""), path
        assert said(await house.client.get(path)) == (404, "not_found", ""), path


async def test_a_wrong_method_is_405(house: House) -> None:
    """The answer says which methods there are."""
    for method in ("GET", "PUT", "PATCH", "DELETE", "HEAD", "TRACE"):
        answer = await house.client.request(method, MUTES)
        assert answer.status_code == 405
        assert "POST" in answer.headers["allow"]
        if method != "HEAD":
            assert said(answer)[1] == "method_not_allowed"


MEDIA = ["text/plain", "application/x-www-form-urlencoded", "application/json5", "multipart/form-data; boundary=x", ""]  # fmt: skip


async def test_a_body_of_another_kind_is_415(house: House) -> None:
    """Only application/json is read, with or without parameters, in any case."""
    for media in MEDIA:
        answer = await house.ask("ann", "POST", MUTES, b"{}", headers={"content-type": media})
        assert said(answer) == (415, "media_type", ""), media
    for fine in ("application/json; charset=utf-8", "Application/JSON"):
        answer = await house.ask("ann", "POST", MUTES, b"{}", headers={"content-type": fine})
        assert said(answer)[1] == "malformed"


async def test_a_compressed_body_is_415(house: House) -> None:
    """What it is compressed by is told, rather than that its first byte is no JSON."""
    json = {"content-type": "application/json"}
    for coding in ("gzip", "br", "identity, gzip"):
        answer = await house.ask("ann", "POST", MUTES, b"{}", headers={**json, "content-encoding": coding})
        assert said(answer) == (415, "media_type", "Content-Encoding"), coding
        assert answer.json()["data"] == {"why": "send it as it is"}
    answer = await house.ask("ann", "POST", MUTES, b"{}", headers={**json, "content-encoding": "Identity"})
    assert said(answer)[1] == "malformed"


HEADERS: list[tuple[dict[str, str], int, str, str]] = [
    ({"idempotency-key": ""}, 400, "malformed", "Idempotency-Key"),
    ({"idempotency-key": "two words"}, 400, "malformed", "Idempotency-Key"),
    ({"idempotency-key": "k" * 256}, 400, "malformed", "Idempotency-Key"),
    ({"if-match": "7"}, 400, "malformed", "If-Match"),
    ({"if-match": 'W/"7"'}, 400, "malformed", "If-Match"),
    ({"if-match": "*"}, 400, "malformed", "If-Match"),
    ({"if-match": '"1", "2"'}, 400, "malformed", "If-Match"),
    ({"if-match": '"9999999999999999999"'}, 400, "malformed", "If-Match"),
    ({"x-on-behalf-of": ""}, 400, "malformed", "X-On-Behalf-Of"),
    ({"x-on-behalf-of": "a b"}, 400, "malformed", "X-On-Behalf-Of"),
    ({"x-on-behalf-of": "p" * 129}, 400, "malformed", "X-On-Behalf-Of"),
    ({"x-on-behalf-of": "nobody"}, 404, "unknown", ""),
    ({"authorization": ""}, 401, "key_invalid", ""),
    ({"authorization": "Bearer"}, 401, "key_invalid", ""),
    ({"authorization": "Bearer  "}, 401, "key_invalid", ""),
    ({"authorization": "Bearer mk_unknown"}, 401, "key_invalid", ""),
    ({"authorization": "Basic YTpi"}, 401, "key_invalid", ""),
]


async def test_a_bad_header_is_named(group: House) -> None:
    """Each header at fault is pointed at by its name; a bad key says so and no more."""
    for headers, status, code, pointer in HEADERS:
        answer = await group.ask("ann", "POST", MUTES, GOOD, headers=headers)
        assert said(answer) == (status, code, pointer), headers
        if status == 401:
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_write_without_request_key_has_its_own_code(group: House) -> None:
    """S010: `request_key_missing`."""
    headers = {"authorization": f"Bearer {group.tokens['im']}", "x-on-behalf-of": "ann"}
    answer = await group.client.post(MUTES, json=GOOD, headers=headers)
    assert said(answer) == (400, "request_key_missing", "Idempotency-Key")


async def test_a_header_said_twice_is_malformed(group: House) -> None:
    """Nobody may choose which of two the service believes, even where both are equal."""
    one = {
        "Authorization": f"Bearer {group.tokens['im']}",
        "Idempotency-Key": "k",
        "If-Match": '"1"',
        "X-On-Behalf-Of": "ann",
        "Content-Type": "application/json",
    }
    for name, value in one.items():
        headers = [*one.items(), (name, value)]
        answer = await group.client.post(MUTES, content=json.dumps(GOOD).encode(), headers=headers)
        assert said(answer) == (400, "malformed", name)


GROUP_IDS = ["a%20b", "%00", "a%00b", "g%0a", "%F0%9F%98%80", "a%22b", "g%3B", "..%5c", "%FF", "g" * 129]  # fmt: skip


async def test_an_id_in_the_path_that_is_none_is_malformed(group: House) -> None:
    """Ids are 1 to 128 of letters, digits and ._:@- wherever they stand."""
    for group_id in GROUP_IDS:
        answer = await group.ask("ann", "POST", f"/v1/groups/{group_id}/mutes", GOOD)
        assert said(answer) == (400, "malformed", "/group_id"), group_id
    assert said(await group.ask("co", "GET", "/v1/staff/%00"))[1] == "malformed"


async def test_a_path_may_be_written_in_several_ways(group: House) -> None:
    """Escapes of plain letters, a slash too many and a query that nobody reads change nothing."""
    for path in ("/v1/groups/%67/mutes", "/v1//groups/g/mutes/", "/v1/groups/g/mutes?person_id=eve"):
        await group.do("ann", "POST", path, GOOD)
    assert {effect["person_id"] for effect in await group.effects("group.muted")} == {"dan"}


async def test_a_bad_parameter_of_a_read_is_named(house: House) -> None:
    """A query that does not fit is malformed and named; so is one nobody knows."""
    for query, pointer in [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("cursor=%00", "cursor"),
        ("colour=red", "colour"),
    ]:
        assert said(await house.ask("au", "GET", f"/v1/staff?{query}")) == (400, "malformed", pointer)


async def test_no_problem_says_how_the_house_is_built(group: House) -> None:
    """No table, constraint, module or file is named in any refusal."""
    for body in (b"{", b"[]", b'{"person_id": 7}', b'{"seconds": "x"}', b"[" * 5000):
        text = (await raw(group, body)).text
        for word in ("Traceback", "service.", ".py", "msgspec", "asyncpg", "MuteMember"):
            assert word not in text


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
names = st.sampled_from(
    ["person_id", "seconds", "reason", "note", "standing", "jurisdiction", "key_id", "kind", "token_sha256",
     "prefix", "families", "tiers", "jurisdictions", "expires_at", "digest", "effective_at", "files"]
)  # fmt: skip
bodies = st.dictionaries(names | st.text(max_size=6), values, max_size=9) | values
ROUTES = [
    ("ann", "POST", MUTES),
    ("ann", "DELETE", "/v1/groups/g/mutes/dan"),
    ("co", "POST", "/v1/staff/x/standings"),
    ("co", "DELETE", "/v1/staff/x/standings/moderator"),
    ("co", "POST", "/v1/keys"),
    ("co", "POST", "/v1/keys/k/revocation"),
    ("co", "POST", "/v1/editions"),
]


async def test_random_bodies_never_break_the_house(group: House) -> None:
    """Whatever JSON is thrown at any route, and whatever bytes: an answer below 500, problems as problem documents."""
    cases: list[tuple[tuple[str, str, str], bytes]] = []

    @settings(max_examples=150, deadline=None, database=None, derandomize=True,
              suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large])  # fmt: skip
    @given(
        st.sampled_from(ROUTES), bodies.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=60)
    )
    def collect(route: tuple[str, str, str], body: bytes) -> None:
        cases.append((route, body))

    collect()
    for (who, method, path), body in cases:
        answer = await group.ask(who, method, path, body, headers=JSON)
        assert answer.status_code < 500, (path, body, answer.text)
        if answer.status_code >= 400:
            said(answer)
