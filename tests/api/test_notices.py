"""Notices of reasons that come with acts which are no measures: refusals by staff, and falls of credit."""

from typing import Any

import pytest

from tests.api.test_account_life import PROFILE
from tests.api.test_accounts import accept, asking, run
from tests.api.test_credentials import OF_O, SHOWN
from tests.api.test_credit import REF, VERIFIED, adjust
from tests.kit import House

pytestmark = pytest.mark.anyio


async def notices(house: House, who: str = "ann") -> list[dict[str, Any]]:
    return (await house.do(who, "GET", "/v1/notices"))["items"]


async def told(house: House, record: str, number: int, to: str = "ann") -> dict[str, Any]:
    """The one notice that a person got: of the act on this record, handed to the backend, and listed in the record."""
    [notice] = await notices(house, to)
    assert (notice["notice_id"], notice["record_id"]) == (f"{record}.{number}", record)
    assert (notice["measure_id"], notice["to"]) == (None, to)
    [sent] = await house.effects("notice.sent")
    assert (sent["notice_id"], sent["to"], sent["parts"]) == (notice["notice_id"], to, notice["parts"])
    [act] = [one for one in await house.records() if one["id"] == record]
    assert {"id": number, "what": "notice", "of": "target"} in act["p"]["coupled"]
    parts = notice["parts"]
    assert (parts["source"], parts["ground"], parts["code"]) == ("staff", "terms", None)
    assert parts["automation"] == {"detection": False, "decision": False}
    assert parts["basis"]
    assert set(parts["basis"]) <= set(act["basis"])
    assert set(parts["explanation"]) == set(parts["redress"]["remedy"]) == {"zh", "en"}
    assert parts["redress"]["window_months"] == 6
    assert await notices(house, "ben") == []
    await house.refused("unknown", "ben", "GET", f"/v1/notices/{notice['notice_id']}")
    return notice


@pytest.fixture
async def company(house: House) -> House:
    """Operator o, a company, for which ann answers; ben is somebody else."""
    await run(house, "o")
    await house.has_people("ben")
    return house


async def test_a_refused_account_is_told_with_its_reason(company: House) -> None:
    """S134, S136: refused by a human, whoever answers is told why, on which basis, and what to do; no name and no note in it."""
    await company.do("ann", "POST", "/v1/accounts", asking("a", name="某某健康门诊"))
    body = {"reason": "name_misleading", "note": "假冒门诊"}
    receipt = await company.do("cl", "POST", "/v1/accounts/a/refusal", body)
    notice = await told(company, receipt["record_id"], 2)
    assert notice["about"] == {"type": "account", "id": "a"}
    parts = notice["parts"]
    assert (parts["kind"], parts["basis"], parts["until"]) == ("refused", ["account-rules:art.8"], None)
    assert parts["facts"] == {"asked": "registration", "class": "life", "reason": "name_misleading"}
    assert "name misleading or reserved" in parts["explanation"]["en"]
    assert "名称误导" in parts["explanation"]["zh"]
    assert parts["redress"]["papers"] == []
    assert "门诊" not in str(notice)


async def test_what_is_missing_is_named(company: House) -> None:
    """S134: where a credential is what was missing, the notice says of which kind; a reason kept in the note is not invented."""
    await company.has_credentials("o", "health")
    await company.do("ann", "POST", "/v1/accounts", asking("a") | {"class": "health"})
    await company.do("cl", "POST", "/v1/accounts/a/refusal", {"reason": "credential_missing"})
    await company.do("ann", "POST", "/v1/accounts", asking("b"))
    await company.do("cl", "POST", "/v1/accounts/b/refusal", {"reason": "other", "note": "见内部记录"})
    first, second = await notices(company)
    assert first["parts"]["redress"]["papers"] == ["credential:health"]
    assert second["parts"]["explanation"]["en"].endswith("Reason: another reason.")


async def test_a_refused_change_of_profile_is_told(company: House) -> None:
    """S094, S134: the notice says what of the profile was refused and why; the old one is shown on."""
    await accept(company, "a")
    asked = await company.do("ann", "PUT", PROFILE, {"name": "Another Name", "profile": "new"})
    body = {"asked_record": asked["record_id"], "reason": "name_misleading"}
    receipt = await company.do("cl", "POST", f"{PROFILE}/refusal", body)
    notice = await told(company, receipt["record_id"], 1)
    assert notice["about"] == {"type": "account", "id": "a"}
    assert notice["parts"]["kind"] == "refused"
    facts = {"asked": "profile", "changed": ["name", "profile"], "class": "life", "reason": "name_misleading"}
    assert notice["parts"]["facts"] == facts
    assert "Another" not in str(notice)


async def test_a_refused_credential_is_told(company: House) -> None:
    """S134: the notice says which kind of document does not do, and why; not its number."""
    shown = await company.do("ann", "POST", OF_O, SHOWN)
    path = f"/v1/credentials/{shown['record_id']}/refusal"
    await company.refused("reason_missing", "cl", "POST", path, {})
    assert await notices(company) == []
    receipt = await company.do("cl", "POST", path, {"reason": "identity"})
    notice = await told(company, receipt["record_id"], 1)
    assert notice["about"] == {"type": "operator", "id": "o"}
    parts = notice["parts"]
    assert parts["facts"] == {
        "credential_kind": "health",
        "valid_until": SHOWN["valid_until"],
        "reason": "identity",
    }
    assert parts["redress"]["papers"] == ["credential:health"]
    assert "0042" not in str(notice)


async def test_a_fall_to_a_lower_level_is_told(company: House) -> None:
    """S091: whose credit falls to a lower level is told from which to which, why, what it stops, and how it comes back."""
    await company.do("im", "PUT", "/v1/people/cai", {"jurisdiction": "CN-110000"})
    await company.do("im", "PUT", "/v1/people/cai/identity", VERIFIED)
    receipt = await adjust(company, -30, "/v1/credit/person/cai")
    notice = await told(company, receipt["record_id"], 1, to="cai")
    assert notice["about"] == {"type": "person", "id": "cai"}
    parts = notice["parts"]
    assert parts["kind"] == "lowered"
    facts = parts["facts"]
    assert (facts["level"], facts["points"]) == ({"before": "B", "after": "C"}, -30)
    assert parts["basis"] == ["group-rules:art.7", "account-rules:art.13"]
    assert (facts["score"], facts["reason"]) == (45, "error_corrected")
    [changed] = await company.effects("credit.level_changed")
    assert facts["entitlements"]["after"] == changed["entitlements"]
    assert facts["entitlements"]["before"]["groups_owned"] > facts["entitlements"]["after"]["groups_owned"]
    assert "30 points of credit were taken; 45 are left" in parts["explanation"]["en"]
    assert "an error is put right" in parts["explanation"]["en"]
    assert "counted twice" not in str(notice)


async def test_an_operators_fall_is_told_to_who_answers(company: House) -> None:
    """S091, O2: the notice of an operator's fall goes to its answerable person, and is about the operator."""
    receipt = await adjust(company, -30, "/v1/credit/operator/o")
    notice = await told(company, receipt["record_id"], 1)
    assert notice["about"] == {"type": "operator", "id": "o"}
    assert set(notice["parts"]["facts"]["entitlements"]["after"]) == {"comment_tiers"}
    assert REF not in str(notice)


async def test_only_a_fall_is_told(company: House) -> None:
    """S091: points lost within a level, a rise, and what was only proposed give no notice."""
    await adjust(company, -5, "/v1/credit/operator/o")
    await adjust(company, 25, "/v1/credit/operator/o")
    asked = {"points": -50, "reason": "error_corrected", "note": "counted twice"}
    await company.do("mo", "POST", "/v1/credit/operator/o/adjustments", asked)
    assert (await company.do("im", "GET", "/v1/credit/operator/o"))["level"] == "A"
    assert await notices(company) == []
    assert await company.effects("notice.sent") == []


async def test_what_owners_and_admins_do_is_no_notice(house: House) -> None:
    """S044: muted, or removed and barred, by an admin: it is on record and the backend hears it with whom; no notice of reasons."""
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    mute = {"person_id": "dan", "seconds": 3600, "reason": "fraud"}
    await house.do("ben", "POST", "/v1/groups/g/mutes", mute)
    await house.do("ben", "POST", "/v1/groups/g/bars", {"person_id": "eve", "days": 3, "reason": "spam"})
    assert [one["why"] for one in await house.records("group.mute")] == ["fraud"]
    [muted] = await house.effects("group.muted")
    assert muted["person_id"] == "dan"
    assert await house.effects("notice.sent") == []
    for who in ("dan", "eve"):
        assert await notices(house, who) == []
