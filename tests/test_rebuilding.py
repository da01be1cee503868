"""S017: the state is rebuilt from its records, and the look that says so notices what it is there to notice."""

import pytest

from service.action import actions
from tests import rebuilding
from tests.conftest import Database
from tests.kit import House, past_the_house
from tests.rebuilding.facts import TELLS

pytestmark = pytest.mark.anyio

GROUP = {"group_id": "g", "name": "Tea", "class": "community", "capacity": 200, "join_mode": "approval"}
MUTING = {"person_id": "ben", "seconds": 60, "reason": "spam"}


@pytest.fixture
async def day(house: House) -> House:
    """Ann founds g, admits ben and mutes him, then appoints cai, whom she admitted too."""
    await house.has_people("ann", "ben", "cai", credit=75)
    await house.do("ann", "POST", "/v1/groups", GROUP)
    for one in ("ben", "cai"):
        await house.do(one, "POST", "/v1/groups/g/join-requests", {})
        await house.do("ann", "POST", f"/v1/groups/g/join-requests/{one}/admission", {})
    await house.do("ann", "POST", "/v1/groups/g/mutes", MUTING)
    await house.do("ann", "PUT", "/v1/groups/g/admins/cai", {})
    return house


async def rebuilt(house: House) -> list[str]:
    async with house.db.read(snapshot=True) as reader:
        return await rebuilding.faults(reader, house.app.state["keys"], house.arranged)


@pytest.mark.unreconciled("each case breaks something")
@pytest.mark.parametrize(
    ("breaking", "fault"),
    [
        ("UPDATE groups SET name = 'Coffee'", "groups g: name is 'Coffee', and by the records 'Tea'"),
        ("UPDATE groups SET capacity = 300", "groups g: capacity is 300, and by the records 200"),
        ("UPDATE groups SET next_recheck_at = NULL", "groups g: next_recheck_at is None"),
        ("UPDATE groups SET version = version + 1", "groups g: version is"),
        ("UPDATE groups SET tier_basis = jsonb_set(tier_basis, '{score}', '1')", "groups g: tier_basis is"),
        ("UPDATE role SET granted_by = 'ben' WHERE rank = 2", "granted_by is 'ben', and by the records 'ann'"),
        ("UPDATE role SET until_at = now() WHERE rank = 3", "until_at is"),
        ("UPDATE mute SET until = until + interval '1 s'", "until is"),
        ("UPDATE mute SET by_rank = 2", "by_rank is 2, and by the records 3"),
        ("DELETE FROM mute", "records tell of it, and there is none"),
        ("DELETE FROM record WHERE act = 'group.mute'", "no record tells of it"),
        ("DELETE FROM record WHERE act = 'group.admit'", "(group.appoint) does not tell"),
        ("UPDATE join_request SET ended_how = 'lapsed'", "ended_how is 'lapsed', and by the records 'admitted'"),
        ("UPDATE person SET bot = true WHERE person_id = 'ann'", "person ann: bot is True"),
        ("UPDATE api_key SET revoked_at = now() WHERE key_id = 'im'", "api_key im: revoked_at is"),
        ("UPDATE staff_role SET standing = 'auditor' WHERE staff_id = 'reg'", "standing is 'auditor'"),
        ("UPDATE edition SET effective_at = effective_at - interval '1 day'", "effective_at is"),
        ("CREATE TABLE fact (fact_id text)", "table fact is neither rebuilt nor left out for a reason"),
        ("ALTER TABLE groups ADD fact text", "column groups.fact is neither rebuilt nor left out for a reason"),
    ],
)  # fmt: skip
async def test_what_the_records_do_not_tell_is_named(
    day: House, database: Database, breaking: str, fault: str
) -> None:
    """S017: a fact that the records do not tell, one that they tell otherwise, and a table nobody rebuilds are named."""
    assert await rebuilt(day) == []
    await past_the_house(
        database.owner_dsn,
        "ALTER TABLE record DISABLE TRIGGER ALL; ALTER TABLE edition DISABLE TRIGGER ALL",
        breaking,
    )
    found = await rebuilt(day)
    assert any(fault in one for one in found), found


def test_every_act_is_replayed() -> None:
    """S017: there is no act of the house whose records could not be replayed, and none is replayed that is no more."""
    assert TELLS.keys() == actions().keys()
