"""The filing register: what was lodged, and what is in force and was not."""

import asyncio
from typing import Any

import pytest

from tests.kit import House

pytestmark = pytest.mark.anyio

RULES = {
    "document": "group_rules",
    "document_version": "1",
    "authority": "北京市互联网信息办公室",
    "receipt": "京网备 2026-0117",
    "filed_at": "2026-10-20T00:00:00Z",
    "jurisdiction": "CN-110000",
}


async def missing(house: House, who: str = "co") -> list[tuple[str, str]]:
    found = await house.do(who, "GET", "/v1/filings/missing")
    return [(one["document"], one["document_version"]) for one in found["items"]]


async def test_what_is_in_force_and_was_not_filed_is_listed(house: House) -> None:
    """S213: of each document the version in force, until it was lodged; a version no longer in force is not missed."""
    found = await house.do("au", "GET", "/v1/filings/missing")
    assert found["edition"] == house.edition
    assert found["items"][-1] == {
        "document": "user_agreement",
        "document_version": "2",
        "name_zh": "用户服务协议",
        "name_en": "User agreement",
        "in_force_since": "2026-07-01T00:00:00.000Z",
        "days": 124,
        "note": "Names the six months in which anyone may object",
    }
    everything = [
        ("account_agreement", "1"),
        ("community_convention", "1"),
        ("group_rules", "1"),
        ("user_agreement", "2"),
    ]
    assert await missing(house) == everything
    await house.do("co", "POST", "/v1/filings", RULES)
    await house.do("co", "POST", "/v1/filings", RULES | {"document": "user_agreement"})
    assert await missing(house) == [one for one in everything if one[0] != "group_rules"]


async def test_a_filing_is_noted_with_its_receipt(house: House) -> None:
    """S213: document, version, authority, receipt and day stand in the register; authority and receipt are sealed in the record."""
    receipt = await house.do("co", "POST", "/v1/filings", RULES)
    assert receipt["target"] == {"type": "jurisdiction", "id": "CN-110000"}
    (record,) = await house.records("filing.record")
    assert record["p"]["after"] == {"document": "group_rules", "document_version": "1"}
    assert sorted(record["sd"]) == ["authority", "receipt"]
    listed = await house.do("mo", "GET", "/v1/filings?document=group_rules")
    assert listed == {
        "items": [
            RULES
            | {
                "filing_id": receipt["record_id"],
                "filed_at": "2026-10-20T00:00:00.000Z",
                "noted_at": "2026-11-02T08:00:00.000Z",
            }
        ],
        "next": None,
    }
    assert (await house.do("mo", "GET", "/v1/filings?document=user_agreement"))["items"] == []


async def test_a_filing_is_noted_once(house: House) -> None:
    """S213: the same version with the same authority is `already_in_state`, also of four at once; another authority is another filing."""
    answers = await asyncio.gather(*(house.ask("co", "POST", "/v1/filings", RULES) for _ in range(4)))
    assert sorted(one.json().get("code", "") for one in answers) == ["", *["already_in_state"] * 3]
    await house.do("co2", "POST", "/v1/filings", RULES | {"authority": "国家网信办", "jurisdiction": "CN"})
    pages, query = [], "?limit=1"
    while query:
        page = await house.do("co", "GET", f"/v1/filings{query}")
        pages += [one["authority"] for one in page["items"]]
        query = page["next"] and f"?limit=1&cursor={page['next']}"
    assert pages == ["国家网信办", RULES["authority"]]


async def test_who_notes_what(house: House) -> None:
    """S006, P1: compliance alone; a version of the published list, lodged by now, under nobody's number."""
    for who in ("mo", "im"):
        assert (await house.refused("refused", who, "POST", "/v1/filings", RULES))["rule"] == "none"
    problems: list[tuple[dict[str, Any], str, str]] = [
        ({"document_version": "7"}, "unknown", "/document_version"),
        ({"document": "cookbook"}, "unknown", "/document_version"),
        ({"filed_at": "2026-11-03T00:00:00Z"}, "malformed", "/filed_at"),
        ({"receipt": "13812345678"}, "raw_identity", "/receipt"),
        ({"authority": ""}, "malformed", "/authority"),
    ]
    for facts, code, pointer in problems:
        assert (await house.refused(code, "co", "POST", "/v1/filings", RULES | facts))["pointer"] == pointer
    await house.has_people("ann")
    for path in ("/v1/filings", "/v1/filings/missing"):
        for who in ("ann", "im", "reg"):
            await house.refused("refused", who, "GET", path)
