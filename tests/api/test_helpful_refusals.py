"""Refusals that say what to do: which header is missing, where a list is, which version, which words."""

from typing import Any

import pytest

from tests.kit import House

pytestmark = pytest.mark.anyio
MUTES = "/v1/groups/g/mutes"
MUTE = {"person_id": "dan", "seconds": 60, "reason": "spam"}
DISSOLUTION = "/v1/groups/g/dissolution"


@pytest.fixture
async def group(house: House) -> House:
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    return house


def why(problem: dict[str, Any]) -> str:
    return problem["data"]["why"]


async def test_a_backend_that_names_nobody_is_told_so(group: House) -> None:
    """What people do and a backend does not is refused with the header that names one; the record says what it said before."""
    problem = await group.refused("refused", "im", "POST", MUTES, MUTE)
    assert (problem["rule"], problem["pointer"]) == ("none", "X-On-Behalf-Of")
    assert "person" in why(problem)
    (record,) = await group.records("group.mute")
    assert record["p"]["refusal"] == {"code": "refused"}
    checked = await group.do("im", "POST", "/v1/checks", MUTE | {"action": "group.mute", "group_id": "g"})
    assert (checked["status"], checked["refusal"]["pointer"]) == (403, "X-On-Behalf-Of")


async def test_who_names_somebody_or_asks_for_an_act_of_staff_is_told_of_no_header(group: House) -> None:
    """A header would not help a person who may not, nor a backend with what only staff do."""
    hold = {"subject_type": "group", "subject_id": "g", "reason": "proceedings"}
    for who, method, path, body in (("eve", "POST", MUTES, MUTE), ("im", "POST", "/v1/legal-holds", hold)):
        problem = await group.refused("refused", who, method, path, body)
        assert "pointer" not in problem
        assert "why" not in problem.get("data", {})


async def test_an_unknown_reason_is_told_where_the_reasons_are(group: House) -> None:
    """`reason_missing` names a route, and there the codes are; the record keeps the code of the refusal alone."""
    for reason in ({"reason": "no_such_reason"}, {"reason": None}):
        problem = await group.refused("reason_missing", "ann", "POST", MUTES, MUTE | reason)
        assert problem["pointer"] == "/reason"
        route = why(problem).rpartition("GET ")[2]
        codes = [line.partition(",")[0] for line in (await group.do("im", "GET", route))["files"]["reasons.csv"].split("\n")]  # fmt: skip
        assert "spam" in codes
        assert "no_such_reason" not in codes
    assert [one["p"]["refusal"] for one in await group.records()] == [{"code": "reason_missing"}] * 2


async def test_who_must_name_a_version_is_told_the_present_one(group: House) -> None:
    """S012: 428 names the header and the version it wants; named, the act goes on. In a batch it is the item's member."""
    problem = await group.refused("version_required", "ann", "POST", DISSOLUTION, {"reason": "spam"})
    seen = await group.ask("ann", "GET", "/v1/groups/g")
    assert (problem["pointer"], f'"{problem["data"]["version"]}"') == ("If-Match", seen.headers["etag"])
    item = {"action": "group.dissolve", "group_id": "g", "reason": "spam"}
    told = (await group.do("ann", "POST", "/v1/batches", {"items": [item]}))["items"][0]["problem"]
    assert (told["code"], told["pointer"]) == ("version_required", "/items/0/expected_version")
    assert told["data"] == problem["data"]
    version = problem["data"]["version"]
    assert (await group.ask("ann", "POST", DISSOLUTION, {"reason": "spam"}, version=version)).is_success


async def test_a_stranger_to_a_private_group_is_told_no_version(house: House) -> None:
    """S012: whoever may not know of the group does not learn from 428 how often it changed."""
    await house.has_group("g", "ann", join_mode="invite")
    await house.has_people("zoe")
    problem = await house.refused("version_required", "zoe", "POST", DISSOLUTION, {"reason": "spam"})
    assert "data" not in problem


async def test_a_header_that_does_not_fit_is_told_what_would(group: House) -> None:
    """A request key and a person's id say of what they are made."""
    for name, value, what in (
        ("idempotency-key", "two words", "1 to 255 printable ASCII"),
        ("idempotency-key", "k" * 256, "1 to 255 printable ASCII"),
        ("x-on-behalf-of", "ann smith", "1 to 128"),
    ):
        problem = await group.refused("malformed", "ann", "POST", MUTES, MUTE, headers={name: value})
        assert problem["pointer"].lower() == name
        assert what in why(problem)


async def test_a_word_that_is_none_of_a_few_is_answered_with_them(group: House) -> None:
    """In a body, an item of a batch, a check and a query: the words that go there, and not the one that was sent."""
    body = {"join_mode": "zz-secret"}
    item = {"action": "group.update_profile", "group_id": "g", **body}
    batch = await group.do("ann", "POST", "/v1/batches", {"items": [item]})
    for problem in (
        await group.refused("malformed", "ann", "PUT", "/v1/groups/g/profile", body),
        batch["items"][0]["problem"],
        await group.refused("malformed", "ann", "POST", "/v1/checks", item),
    ):
        assert problem["pointer"].endswith("/join_mode")
        assert why(problem).startswith("Invalid enum value: one of ")
        assert {"open", "invite"} <= set(why(problem).partition("one of ")[2].split(", "))
        assert "secret" not in why(problem)
    problem = await group.refused("malformed", "au", "GET", "/v1/groups?state=zz-secret")
    assert (problem["pointer"], why(problem)) == (
        "state",
        "Invalid enum value: one of dissolved, living, ownerless",
    )


async def test_an_act_of_no_name_is_told_where_the_names_are(group: House) -> None:
    """A batch and a check name the schema that lists the acts, and the document has it."""
    schemas = (await group.client.get("/openapi.json")).json()["components"]["schemas"]
    act = {"action": "group.silence", "group_id": "g"}
    batch = await group.do("ann", "POST", "/v1/batches", {"items": [act]})
    check = await group.refused("malformed", "ann", "POST", "/v1/checks", act)
    for problem, name in ((batch["items"][0]["problem"], "Act"), (check, "CheckedAct")):
        assert problem["pointer"].endswith("/action")
        assert f"`{name}`" in why(problem)
        assert "group.mute" in schemas[name]["discriminator"]["mapping"]


async def test_half_a_pair_of_surrogates_is_told_as_that(group: House) -> None:
    """A lone surrogate is named, in a body and in an item; a body that ends too soon is told as that."""
    for note in ("\\ud800", "\\ud83dx", "\\udc00", "\\\\\\ud800"):
        body = b'{"person_id": "dan", "seconds": 60, "note": "%b"}' % note.encode()
        problem = await group.refused("malformed", "ann", "POST", MUTES, body, headers={"content-type": "application/json"})  # fmt: skip
        assert "surrogate" in why(problem), note
    for note in ("\\ud83d\\ude00", "\\\\ud800"):
        body = b'{"person_id": "dan", "seconds": 60, "note": "%b' % note.encode()
        problem = await group.refused("malformed", "ann", "POST", MUTES, body, headers={"content-type": "application/json"})  # fmt: skip
        assert "truncated" in why(problem), note
