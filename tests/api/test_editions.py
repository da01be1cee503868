"""Editions of the policy over HTTP: adopted by two, in force from a coming instant, kept whole for ever."""

import datetime as dt
from typing import Any

import anyio
import pytest

from service.clock import instant_text
from service.policy import digest
from tests.kit import MORNING, POLICIES, House

pytestmark = pytest.mark.anyio


def edition(
    *changes: tuple[str, str], file: str = "rules.csv", at: dt.datetime | None = None
) -> dict[str, Any]:
    """The shipped policies with some texts of one file replaced, as a body that adopts them an hour later."""
    files = {path.name: path.read_text(encoding="utf-8") for path in sorted(POLICIES.iterdir())}
    for old, new in changes:
        assert old in files[file]
        files[file] = files[file].replace(old, new, 1)
    when = at or MORNING + dt.timedelta(hours=1)
    found = digest({name: text.encode() for name, text in files.items()})
    return {"digest": found, "effective_at": instant_text(when), "files": files}


async def adopted(house: House, body: dict[str, Any]) -> dict[str, Any]:
    """Proposed by co, agreed to by ap."""
    receipt = await house.do("co", "POST", "/v1/editions", body)
    return await house.do("ap", "POST", f"/v1/approvals/{receipt['result']['approval_id']}/grant")


@pytest.fixture
async def group(house: House) -> House:
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    return house


def stricter() -> dict[str, Any]:
    """Admins may no longer mute: the line that allowed it goes."""
    lines = (POLICIES / "rules.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    line = next(line for line in lines if line.startswith("group.mute-admin,"))
    return edition((line, ""))


async def mute(house: House, whom: str) -> Any:
    body = {"person_id": whom, "seconds": 60, "reason": "spam"}
    return await house.ask("ben", "POST", "/v1/groups/g/mutes", body)


async def test_an_edition_decides_from_its_instant_on(group: House) -> None:
    """S005: decisions change at the very instant; earlier records keep the digest under which they were made."""
    before = (await group.do("ann", "GET", "/v1/editions/current"))["edition"]
    body = stricter()
    assert (await adopted(group, body))["result"]["state"] == "granted"
    await group.app.state.editions.refresh()
    group.clock.set(MORNING + dt.timedelta(seconds=3599.999))
    assert (await mute(group, "dan")).status_code == 200
    assert (await group.do("ann", "GET", "/v1/editions/current"))["edition"] == before
    group.clock.advance(0.001)
    refused = (await mute(group, "eve")).json()
    assert (refused["code"], refused["rule"]) == ("refused", "none")
    assert (await group.do("ann", "GET", "/v1/editions/current"))["edition"] == body["digest"]
    done, denied = await group.records("group.mute")
    assert [done["policy"], denied["policy"]] == [before, body["digest"]]


async def test_a_running_house_learns_of_an_edition_by_itself(group: House) -> None:
    """Editions are read on a timer, sooner than any may come into force."""
    body = edition(("Who founds a group", "Whoever founds a group"))
    await adopted(group, body)
    group.clock.advance(3600)
    with anyio.fail_after(9):
        # The timer is under test, so nothing can tell when it has run.
        while (await group.do("ann", "GET", "/v1/editions/current"))["edition"] != body["digest"]:  # noqa: ASYNC110
            await anyio.sleep(0.1)


async def test_an_edition_is_kept_whole_for_ever(house: House) -> None:
    """The text behind a digest in any record can be read back, byte for byte; superseded editions too."""
    first = (await house.do("im", "GET", "/v1/editions/current"))["edition"]
    body = edition(("Who founds a group", "Whoever founds a group"))
    await adopted(house, body)
    await house.app.state.editions.refresh()
    house.clock.advance(7200)
    listed = (await house.do("au", "GET", "/v1/editions"))["items"]
    assert [(one["edition"], one["in_force"]) for one in listed] == [(body["digest"], True), (first, False)]
    for one, files in ((body["digest"], body["files"]), (first, edition()["files"])):
        whole = await house.ask("ann", "GET", f"/v1/editions/{one}")
        assert whole.json()["files"] == files
        assert whole.headers["etag"] == f'"{one}"'
        assert digest({name: text.encode() for name, text in files.items()}) == one
    page = await house.do("au", "GET", "/v1/editions?limit=1")
    rest = await house.do("au", "GET", f"/v1/editions?limit=1&cursor={page['next']}")
    assert [one["edition"] for one in (*page["items"], *rest["items"])] == [body["digest"], first]
    await house.refused("unknown", "ann", "GET", f"/v1/editions/{'0' * 64}")


async def test_a_broken_edition_is_adopted_by_nobody(house: House) -> None:
    """Each fault is listed with its file, line and cure; nothing is recorded, nothing proposed."""
    body = edition(("group.mute-owner,allow,owner", "group.mute-owner,alow,ownr"))
    problem = await house.refused("malformed", "co", "POST", "/v1/editions", body)
    assert problem["pointer"] == "/files"
    faults = problem["data"]["faults"]
    line = 1 + body["files"]["rules.csv"].splitlines().index(
        next(text for text in body["files"]["rules.csv"].splitlines() if text.startswith("group.mute-owner,"))
    )
    assert {(fault["file"], fault["line"]) for fault in faults} >= {("rules.csv", line)}
    assert all(fault["what"] and fault["cure"] for fault in faults)
    assert await house.records("edition.adopt") == []


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"digest": "0" * 64}, "/digest"),
        ({"digest": "xyz"}, "/digest"),
        ({"effective_at": "2026-11-02T09:00:00"}, "/effective_at"),
        ({"effective_at": "0001-01-01T00:00:00+01:00"}, "/effective_at"),
        ({"files": {}}, "/digest"),
    ],
)
async def test_an_edition_is_what_its_digest_says(house: House, change: dict[str, Any], pointer: str) -> None:
    """A digest of other files, or an instant without a zone, is malformed."""
    problem = await house.refused("malformed", "co", "POST", "/v1/editions", edition() | change)
    assert problem["pointer"] == pointer


async def test_an_edition_never_reaches_backwards(house: House) -> None:
    """`backdated`: not before its adoption can be known, not before the edition adopted last, not at its instant."""
    soon = MORNING + dt.timedelta(seconds=9.999)
    body = edition(("Who founds a group", "Whoever founds a group"))
    problem = await house.refused(
        "backdated", "co", "POST", "/v1/editions", body | {"effective_at": instant_text(soon)}
    )
    assert problem["data"]["earliest"] == "2026-11-02T08:00:10.000Z"
    await adopted(house, body)
    other = edition(("Who founds a group", "He who founds a group"))
    await house.refused("backdated", "co", "POST", "/v1/editions", other)
    earlier = other | {"effective_at": instant_text(MORNING + dt.timedelta(minutes=30))}
    await house.refused("backdated", "co", "POST", "/v1/editions", earlier)


async def test_an_edition_agreed_to_too_late_does_not_reach_back(house: House) -> None:
    """S115: at the second yes the instant is looked at again; by then past, nothing happens."""
    body = edition(("Who founds a group", "Whoever founds a group"))
    receipt = await house.do("co", "POST", "/v1/editions", body)
    house.clock.advance(3600)
    path = f"/v1/approvals/{receipt['result']['approval_id']}/grant"
    problem = await house.refused("facts_changed", "ap", "POST", path)
    assert problem["data"]["now"] == "backdated"


async def test_an_edition_is_adopted_once(house: House) -> None:
    """The edition in force may not be adopted again."""
    await house.refused("already_exists", "co", "POST", "/v1/editions", edition())


async def test_only_compliance_adopts(house: House) -> None:
    """S034: others are refused before any of their files is compiled."""
    for who in ("ap", "mo", "reg", "im", "ann"):
        await house.has_people("ann")
        body = edition(("Who founds a group", "Whoever founds a group"))
        await house.refused("refused", who, "POST", "/v1/editions", body)


async def test_an_edition_has_no_other_way_in(house: House) -> None:
    """A batch does not adopt: there the files would be compiled by nobody. Nor does it take an instant that UTC cannot hold."""
    broken = edition(("group.mute-owner,allow,owner", "group.mute-owner,alow,ownr"))
    key = {"key_id": "k", "kind": "backend", "prefix": "mk_1", "token_sha256": "0" * 64}
    items = [
        {"action": "edition.adopt", **broken},
        {"action": "key.issue", **key, "expires_at": "9999-12-31T23:59:59-23:00"},
    ]
    answer = await house.do("co", "POST", "/v1/batches", {"items": items})
    assert [(one["status"], one["problem"]["code"]) for one in answer["items"]] == [(400, "malformed")] * 2
    assert await house.records() == []
