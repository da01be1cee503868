"""How acts go together: who was just answered is waited for, who asks alone waits for nobody."""

import asyncio
from typing import Any

import pytest

from tests.kit import House

pytestmark = pytest.mark.anyio
MEMBERS = tuple(f"m{n}" for n in range(8))


@pytest.fixture
async def sets(house: House, monkeypatch: Any) -> list[int]:
    """Group g with eight members; how many acts each set carries out from now on."""
    await house.has_group("g", "ann", ("ben",), MEMBERS)
    ran: list[int] = []
    monkeypatch.setattr(house.app.state.watch, "ran", lambda *, acts, **_: ran.append(acts))
    return ran


async def mute(house: House, whom: str, times: int) -> None:
    for n in range(times):
        body = {"person_id": whom, "seconds": 60 + n, "reason": "fraud"}
        await house.do("ben", "POST", "/v1/groups/g/mutes", body)


async def test_who_asks_again_at_once_is_waited_for(house: House, sets: list[int], monkeypatch: Any) -> None:
    """S001: clients that each ask again when answered soon share one set, which all of them are in."""
    monkeypatch.setattr("service.door._COMPANY_SECONDS", 2.0)
    asking = [asyncio.create_task(mute(house, whom, 12)) for whom in MEMBERS]
    await asyncio.sleep(0)
    await asyncio.gather(*asking)
    assert sum(sets) == 12 * len(MEMBERS)
    assert sets.count(len(MEMBERS)) >= 10


async def test_who_waited_in_vain_does_not_wait_again(
    house: House, sets: list[int], monkeypatch: Any
) -> None:
    """S001: where those just answered do not come back, one set waits for them for a moment and the next ones do not."""
    await asyncio.gather(*(mute(house, whom, 1) for whom in MEMBERS))
    monkeypatch.setattr("service.door._COMPANY_SECONDS", 0.02)
    await mute(house, "m0", 1)
    monkeypatch.setattr("service.door._COMPANY_SECONDS", 1000.0)
    await mute(house, "m0", 5)
    assert sets[-6:] == [1] * 6
