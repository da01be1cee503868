"""The look through the database after each test notices what it is there to notice."""

import pytest

from tests import reconciling
from tests.conftest import Database
from tests.kit import House, past_the_house

pytestmark = pytest.mark.anyio

STRAY = "01a19b45-b800-722e-be4e-6aadb24f835d"


@pytest.mark.unreconciled("each case breaks something")
@pytest.mark.parametrize(
    ("breaking", "fault"),
    [
        ("UPDATE groups SET member_count = 7", "group g: 7 members, 1 admins"),
        ("UPDATE groups SET admin_count = 2", "group g: 3 members, 2 admins"),
        ("UPDATE groups SET owner_id = 'ben'", "owner ben"),
        (
            (
                "INSERT INTO role SELECT 'x', 'zoe', group_id, 3, from_at, from_at + interval '1 s', NULL, NULL"
                " FROM role WHERE rank = 3"
            ),
            "two owners of group g at one instant",
        ),
        (f"UPDATE mute SET by_record = '{STRAY}'", f"mute.by_record names record {STRAY}, which did nothing"),
        (f"UPDATE mute SET ended_record = '{STRAY}'", "mute.ended_record names record"),
        (f'UPDATE groups SET override = \'{{"by_record": "{STRAY}"}}\'', "override by record"),
        (
            "INSERT INTO pending VALUES (999999, '', '')",
            "record 999999 waits for the sequencer, and is not there",
        ),
        ("DELETE FROM subject_key", "its key is gone"),
        ("UPDATE pending SET record_hash = '\\x00'", "hash does not fit"),
        ("UPDATE record SET act = 'group.other'", "act does not fit"),
        ("UPDATE pending SET tags = '\\x00'", "tags does not fit"),
        ("UPDATE record SET at = at + interval '1 ms'", "instant does not fit"),
        ("UPDATE record SET body = body || ' '", "does not parse"),
        ("DELETE FROM pending", "waits or is logged 0 times"),
        ("UPDATE subject_name SET id = 'somebody'", "stands for somebody else"),
        ("UPDATE record_field SET name = 'other'", "the record knows nothing of it"),
    ],
)
async def test_what_does_not_fit_is_named(
    house: House, database: Database, breaking: str, fault: str
) -> None:
    """S001, S002: state without its record, a record without its state, or a changed byte of either is told."""
    await house.has_group("g", "ann", ("ben",), ("dan",))
    muting = {"person_id": "dan", "seconds": 60, "reason": "spam", "note": "again and again"}
    await house.do("ann", "POST", "/v1/groups/g/mutes", muting)
    await house.reconcile()
    await past_the_house(database.owner_dsn, "ALTER TABLE record DISABLE TRIGGER ALL", breaking)
    async with house.db.read(snapshot=True) as reader:
        found = await reconciling.faults(reader, house.app.state["keys"])
    assert any(fault in one for one in found), found


@pytest.mark.unreconciled("each case breaks something")
@pytest.mark.parametrize(
    ("breaking", "fault"),
    [
        ("UPDATE log_entry SET entry = overlay(entry PLACING '\\x00' FROM 20)", "hash does not fit"),
        ("UPDATE log_entry SET entry = overlay(entry PLACING '\\x00' FROM 60)", "tags does not fit"),
        ("DELETE FROM log_entry WHERE record_id IS NOT NULL", "waits or is logged 0 times"),
        ("INSERT INTO pending SELECT id, '', '' FROM record", "waits or is logged 2 times"),
        (
            "UPDATE subject SET edge = substr(edge, 1, length(edge) - 8)",
            "no trail of its subjects leads to it",
        ),
    ],
)
async def test_what_does_not_fit_in_the_log_is_named(
    house: House, database: Database, breaking: str, fault: str
) -> None:
    """S001, S002: a record that its entry does not fit, that stands nowhere or twice, or that no trail leads to, is told."""
    await house.has_group("g", "ann", ("ben",), ("dan",))
    await house.do("ann", "POST", "/v1/groups/g/mutes", {"person_id": "dan", "seconds": 60, "reason": "spam"})
    await house.publish()
    await house.reconcile()
    await past_the_house(database.owner_dsn, "ALTER TABLE log_entry DISABLE TRIGGER ALL", breaking)
    async with house.db.read(snapshot=True) as reader:
        found = await reconciling.faults(reader, house.app.state["keys"])
    assert any(fault in one for one in found), found
