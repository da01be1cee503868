"""What stands in a path or a query, tried on every operation of the description."""

import re
from typing import Any

import pytest

from tests.kit import House

pytestmark = pytest.mark.anyio
NUL = "%00"
#: What a parameter of these names may hold and still be wrong for all of them.
WRONG = {"integer": "many", "boolean": "perhaps"}


async def operations(house: House) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Method, path and parameters of each; a version is given to none."""
    described = (await house.client.get("/openapi.json")).json()
    shared = described["components"].get("parameters", {})
    return [
        (
            method.upper(),
            path,
            [
                shared[one["$ref"].split("/")[-1]] if "$ref" in one else one
                for one in operation.get("parameters", [])
            ],
        )
        for path, item in described["paths"].items()
        for method, operation in item.items()
        if method in {"get", "post", "put", "patch", "delete"}
    ]


def asking(path: str, parameters: list[dict[str, Any]], name: str, value: str) -> str:
    """The path with this value for one parameter, and something right for those that must be given beside it."""
    query = {
        one["name"]: one["schema"].get("enum", ["a"])[0]
        for one in parameters
        if one["in"] == "query" and one.get("required")
    }
    path = path.replace("{subject_type}", "person")
    return (
        re.sub(r"\{\w+\}", "a", path) + "?" + "&".join(f"{a}={b}" for a, b in (query | {name: value}).items())
    )


async def refused(house: House, method: str, path: str) -> tuple[int, str, str]:
    answers = [
        await house.ask(who, method, path, {} if method != "GET" else None) for who in ("im", "co", "au")
    ]
    assert all(answer.status_code < 500 for answer in answers), path
    # Who may not ask at all may be told that first.
    found = [answer for answer in answers if answer.status_code == 400] or answers
    problem = found[0].json()
    return found[0].status_code, problem["code"], problem.get("pointer", "")


async def test_a_nul_in_a_path_is_refused_by_name(house: House) -> None:
    """No text of PostgreSQL's holds one: 400 with the parameter as pointer, on every path that has parameters."""
    tried = 0
    for method, path, _ in await operations(house):
        names = re.findall(r"\{(\w+)\}", path)
        for name in names:
            url = path
            for one in names:
                url = url.replace(f"{{{one}}}", f"a{NUL}b" if one == name else "a")
            answer = await house.ask("co", method, url, {} if method != "GET" else None)
            if path.startswith("/v1/"):
                # The ids of an act are members of it, also where they stand in the path.
                found = answer.status_code, answer.json()["code"], answer.json()["pointer"].removeprefix("/")
                assert found == (400, "malformed", name), (method, url)
                tried += 1
            else:
                assert answer.status_code in {400, 404}, (method, url)
    assert tried > 90


async def test_a_nul_in_a_query_is_refused_by_name(house: House) -> None:
    """The same in the query, for every parameter there is."""
    tried = 0
    for method, path, parameters in await operations(house):
        for one in parameters:
            if one["in"] == "query":
                url = asking(path, parameters, one["name"], f"a{NUL}")
                assert await refused(house, method, url) == (400, "malformed", one["name"]), url
                tried += 1
    assert tried > 60


async def test_a_parameter_is_told_by_the_name_it_was_sent_by(house: House) -> None:
    """A wrong value is refused with the query's own name of the parameter as pointer, whatever it is called inside."""
    tried = 0
    for method, path, parameters in await operations(house):
        for one in parameters:
            schema = one["schema"]
            kinds = [schema, *schema.get("oneOf", ()), *schema.get("anyOf", ())]
            kinds = [kind for kind in kinds if kind.get("type") != "null"]
            types = {name for kind in kinds for name in WRONG if name in kind.get("type", ())}
            wrong = next((WRONG[name] for name in types), None)
            if wrong is None and any("enum" in kind for kind in kinds):
                wrong = "bogus"
            if one["in"] == "query" and wrong is not None:
                url = asking(path, parameters, one["name"], wrong)
                assert await refused(house, method, url) == (400, "malformed", one["name"]), url
                tried += 1
    assert tried > 30


async def test_a_parameter_that_must_be_given_is_named(house: House) -> None:
    """Left out, it is the pointer, and the refusal says that it must be given."""
    for method, path, parameters in await operations(house):
        for one in parameters:
            if one["in"] == "query" and one.get("required"):
                answer = await house.ask("co", method, asking(path, [], "limit", "1"))
                problem = answer.json()
                assert (answer.status_code, problem["pointer"]) == (400, one["name"]), path
                assert problem["data"]["why"] == "it must be given"


async def test_a_header_that_means_something_is_said_once(house: House) -> None:
    """Of two nobody knows which one counts: batches, checks and previews refuse them as acts do, by the header's name."""
    for path in ("/v1/batches", "/v1/checks", "/v1/tiers/preview", "/v1/groups/g/mutes"):
        for name in ("X-On-Behalf-Of", "Idempotency-Key", "Authorization"):
            headers = [("authorization", f"Bearer {house.tokens['im']}"), ("idempotency-key", "once")]
            headers += [(name, "one"), (name, "two")]
            answer = await house.client.post(path, json={}, headers=headers)
            problem = answer.json()
            assert (problem["code"], problem["pointer"]) == ("malformed", name), path


async def test_an_unfilled_template_is_a_path_like_any(house: House) -> None:
    """A client that forgot to fill `{}` is told, with a code, that there is no such thing."""
    for method, path in (
        ("GET", "/v1/groups/{}"),
        ("POST", "/v1/groups/{}/mutes"),
        ("GET", "/v1/people/%7B%7D"),
    ):
        answer = await house.ask("im", method, path, {} if method == "POST" else None)
        assert 400 <= answer.status_code < 500, path
        assert answer.json()["code"] in {"unknown", "malformed"}, path


async def test_head_is_get_without_a_body(house: House) -> None:
    """RFC 9110, 9.3.2: what answers GET answers HEAD, with the same status."""
    await house.has_group("g", "ann")
    for path in ("/health/live", "/v1/groups/g", "/openapi.json", "/v1/groups/none"):
        head = await house.ask("im", "HEAD", path)
        assert head.status_code == (await house.ask("im", "GET", path)).status_code, path
