"""What tests of measures arrange and ask: a clinic whose credential ends, an account that falls dormant, editions of measures."""

import csv
import datetime as dt
import io
from typing import Any

from service.clock import instant_text
from service.policy import digest
from tests.kit import POLICIES, House

REF = "b2d0c6b1-6f0e-4d1c-9a53-7c1e84f2a905"
VERIFIED = {"status": "verified", "methods": ["credit_code", "mobile"], "identity_ref": REF}
END = dt.datetime(2026, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
SHOWN = {
    "kind": "health",
    "reference": "京卫网审〔2026〕第 0042 号",
    "valid_from": "2026-01-01T00:00:00.000Z",
    "valid_until": instant_text(END),
}
PAUSE = "P_DORMANT_PAUSE"


async def arranged(house: House) -> House:
    """Operator o, for which ann answers, runs the health account `clinic` and the life account `tea`; its credential ends at END."""
    await house.has_people("ann", "ben")
    body = {"operator_id": "o", "kind": "media", "name": "某某健康", "jurisdiction": "CN-110000"}
    await house.do("ann", "POST", "/v1/operators", body)
    await house.do("im", "PUT", "/v1/operators/o/identity", VERIFIED)
    await accept(house)
    for account, klass in (("clinic", "health"), ("tea", "life")):
        known = {"operator_id": "o", "name": f"name {account}", "jurisdiction": "CN-110000"}
        await house.do("ann", "POST", "/v1/accounts", {"account_id": account, "class": klass} | known)
        await house.do("cl", "POST", f"/v1/accounts/{account}/acceptance", {})
    return house


async def accept(house: House, **facts: Any) -> dict[str, Any]:
    """A credential shown by ann and accepted."""
    receipt = await house.do("ann", "POST", "/v1/operators/o/credentials", SHOWN | facts)
    return await house.do(
        "cl", "POST", f"/v1/credentials/{receipt['result']['credential_id']}/acceptance", {}
    )


async def expired(house: House) -> str:
    """Let the credential end by time; return the id of the measure on `clinic`."""
    house.clock.set(END + dt.timedelta(milliseconds=1))
    await house.sweep()
    [measure] = await in_force(house, "clinic")
    return str(measure)


async def swept(house: House) -> list[str]:
    """Let time act; return what it did to credentials, measures and accounts, in order, but for credit and what ranks by it."""
    before = len(await house.records())
    await house.sweep()
    done = [one["act"] for one in (await house.records())[before:]]
    return [act for act in done if act not in {"credit.recover", "account.rank", "retention.purge"}]


async def in_force(house: House, account: str, at: dt.datetime | None = None) -> list[str]:
    """The ids of the measures in force on an account, now or at an instant."""
    query = f"?target_type=account&target_id={account}&in_force=true"
    asked = "" if at is None else f"&at={instant_text(at)}"
    found = await house.do("mo", "GET", f"/v1/measures{query}{asked}")
    return [one["measure_id"] for one in found["items"]]


async def may(house: House, account: str, use: str = "publish") -> bool:
    """Whether an account may be used so now, as the backend is told."""
    answer = await house.do("im", "GET", f"/v1/accounts/{account}/uses")
    [taken] = [one for one in answer["uses"] if one["use"] == use]
    return bool(taken["may"])


async def adopted(house: House, **changes: dict[str, str]) -> None:
    """Bring an edition into force in which some measures (by code) have other columns; an hour passes.

    The credential of `clinic` lasts for years, so that time has nothing to do but what follows from the change.
    """
    await accept(house, valid_until="2029-12-31T00:00:00Z")
    files = {path.name: path.read_text(encoding="utf-8") for path in sorted(POLICIES.iterdir())}
    rows = list(csv.DictReader(io.StringIO(files["measures.csv"])))
    written = io.StringIO()
    writer = csv.DictWriter(written, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | changes.get(row["code"], {}) for row in rows)
    files["measures.csv"] = written.getvalue()
    found = digest({name: text.encode() for name, text in files.items()})
    when = house.clock.now() + dt.timedelta(hours=1)
    body = {"digest": found, "effective_at": instant_text(when), "files": files}
    receipt = await house.do("co", "POST", "/v1/editions", body)
    await house.do("ap", "POST", f"/v1/approvals/{receipt['result']['approval_id']}/grant")
    await house.app.state.editions.refresh()
    house.clock.set(when)


async def paused(house: House) -> list[str]:
    """Let `tea` fall dormant and be paused; return the measures then in force on it."""
    await house.do("im", "PATCH", "/v1/accounts/tea", {"last_used_at": instant_text(house.clock.now())})
    for days in (150, 33):
        house.clock.advance(days * 86_400)
        # Only one of the two lies idle; the other may publish still.
        await house.do(
            "im", "PATCH", "/v1/accounts/clinic", {"last_used_at": instant_text(house.clock.now())}
        )
        await house.sweep()
    return await in_force(house, "tea")
