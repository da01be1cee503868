"""What the service itself says where the owner of the database wrote in the tables of the log (S197); see test_attacks.py."""

import asyncpg
import pytest
import structlog

from service.trail.kept import LogRefused
from tests.api.test_attacks import GROUP, MUTE, VICTIM, Evening, evening, owner
from tests.kit import House

__all__ = ["evening", "owner"]
pytestmark = [pytest.mark.anyio, pytest.mark.unreconciled("each case breaks something")]


def as_auditor(house: House) -> dict[str, str]:
    return {"authorization": f"Bearer {house.tokens['au']}"}


@pytest.mark.parametrize(
    ("table", "forged"),
    [
        (
            "log_entry",
            "INSERT INTO log_entry SELECT l.size, NULL, e.entry FROM log_state l, log_entry e WHERE e.idx = 0",
        ),
        ("subject_leaf", "INSERT INTO subject_leaf SELECT tag, 0, '\\x00' FROM subject"),
    ],
)
async def test_a_row_put_in_the_way_of_the_log_is_named_and_taken_away_frees_it(
    evening: Evening, owner: asyncpg.Connection, table: str, forged: str
) -> None:
    """S197: where a forged row stands in the way nothing is logged or signed, which row it is is said, acts go on meanwhile;
    once it is gone, all that waited is logged. Not even a forged key or notice behind the end of the log is read.
    """
    house = evening.house
    await owner.execute(forged)
    for number in range(33):
        body = MUTE | {"person_id": ("dan", "eve")[number % 2], "seconds": 60 + number}
        await house.do("ben", "POST", "/v1/groups/g/mutes", body)
    with pytest.raises(LogRefused, match=f"a row of {table} that no sequencer wrote.*Key .* already exists"):
        await house.publish()
    with structlog.testing.capture_logs() as said:
        await house.app.state.sequencer._take_turn()
    assert [(one["log_level"], table in one["why"]) for one in said] == [("critical", True)]
    assert "mandate_log_stalled 1.0" in (await house.client.get("/metrics", headers=as_auditor(house))).text
    assert (await house.client.get("/.well-known/mandate-trust.json")).status_code == 200
    assert (await house.client.get("/health/ready")).status_code == 200
    await owner.execute(
        f"DELETE FROM {table}"
        + (" WHERE idx >= (SELECT size FROM log_state)" if table == "log_entry" else "")
    )
    await house.app.state.sequencer._take_turn()
    assert "mandate_log_stalled 0.0" in (await house.client.get("/metrics", headers=as_auditor(house))).text
    assert (await evening.bundle(evening.checked), await evening.replay(evening.replayed)) == ("-", "-")


async def test_what_cannot_be_shown_for_damage_says_which_row_and_what_to_do(
    evening: Evening, owner: asyncpg.Connection
) -> None:
    """S197: evidence over damaged tables is refused in plain words with a code of its own, everywhere, and nothing breaks."""
    house = evening.house
    act = await house.do("ben", "POST", "/v1/groups/g/mutes", MUTE | {"person_id": "dan"})
    await house.publish()
    place = await owner.fetchval(f"DELETE FROM log_entry WHERE record_id = {VICTIM} RETURNING idx")
    told = await house.refused("trail_damaged", "au", "POST", "/v1/trail-exports", GROUP)
    assert (told["status"], told["data"]) == (503, {"row": f"log_entry {place}"})
    assert "mandate replay" in told["title"]
    path = f"/v1/records/{act['record_id']}/inclusion"
    assert (await house.refused("trail_damaged", "im", "GET", path))["data"] == {"row": f"log_entry {place}"}
    await owner.execute("UPDATE log_entry SET entry = overlay(entry PLACING 'x' FROM 30 FOR 1) WHERE idx = 0")
    for path in ("/v1/trust", "/.well-known/mandate-trust.json"):
        await house.refused("trail_damaged", "au", "GET", path)


async def test_a_subject_whose_value_is_not_that_of_its_tree_is_not_shown(
    evening: Evening, owner: asyncpg.Connection
) -> None:
    """S197: where a subject's row contradicts itself no bundle is made of it, and the row is named."""
    tag = evening.house.app.state["keys"].tag("group", "g")
    forged = "UPDATE subject SET edge = overlay(edge PLACING sha256('') FROM 1 FOR 32) WHERE tag = $1"
    await owner.execute(forged, tag)
    told = await evening.house.refused("trail_damaged", "au", "POST", "/v1/trail-exports", GROUP)
    assert tag.hex() in told["data"]["row"]
