"""The one way reads go: valid keys, strict parameters, cursors of their own query."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from service.api.reading import Parameters, reader
from service.errors import Refusal
from tests.kit import House

pytestmark = pytest.mark.anyio


def asked(query: str, *known: str, path: str = "/v1/things", headers: Any = ()) -> Parameters:
    scope = {"path": path, "query_string": query.encode(), "headers": list(headers)}
    return Parameters(SimpleNamespace(scope=scope), *known)  # type: ignore[arg-type]


def refusal(call: Any) -> tuple[str, str | None]:
    with pytest.raises(Refusal) as caught:
        call()
    return caught.value.code.value, caught.value.pointer


def test_parameters_are_known_single_and_well_formed() -> None:
    """S003: an unknown, repeated or unparseable parameter is refused by name, never ignored."""
    assert refusal(lambda: asked("colour=red", "limit")) == ("malformed", "colour")
    assert refusal(lambda: asked("limit=1&limit=2", "limit")) == ("malformed", "limit")
    assert refusal(lambda: asked("limit", "limit")) == ("malformed", "")
    assert refusal(lambda: asked("name=%ff", "name")) == ("malformed", "")
    assert refusal(lambda: asked("%3Cb%3E=1", "limit")) == ("malformed", "")
    assert asked("", "limit").limit() == 100


@pytest.mark.parametrize(
    ("call", "good", "bad"),
    [
        (lambda given: given.limit(), ["1", "500"], ["0", "501", "-1", "1.0", "٣", "1e2", "9" * 12, ""]),
        (lambda given: given.id("limit"), ["a", "A.b_c:d@e-1"], ["", "a b", "a/b", "x" * 129, "é"]),
        (
            lambda given: given.instant("limit"),
            ["2026-11-02T08:00:00Z", "2026-11-02T08:00:00.1%2B08:00"],
            ["2026-11-02", "2026-11-02T08:00:00", "now", "", "2026-13-02T08:00:00Z"],
        ),
        (lambda given: given.one_of("limit", ("a", "b")), ["a"], ["c", "", "A"]),
        (lambda given: given.text("limit", 5), ["", "a b", "%E7%BE%A4"], ["abcdef", "%00", "%CD%B8"]),
    ],
)
def test_each_kind_of_parameter_is_read_strictly(call: Any, good: list[str], bad: list[str]) -> None:
    """S003: numbers, ids, instants, words and texts have one form each; the refusal names the parameter."""
    for value in good:
        call(asked(f"limit={value}", "limit"))
    for value in bad:
        code, pointer = refusal(lambda value=value: call(asked(f"limit={value}", "limit")))
        assert (code, pointer) in {("malformed", "limit"), ("malformed", "")}, value


def test_a_cursor_fits_only_its_own_query() -> None:
    """S003: a cursor with another filter, path, shape or version is refused; limit and purpose may change."""
    known = ("colour", "limit", "cursor", "purpose")
    cursor = asked("colour=red", *known).cursor_to(7, "x")
    again = asked(f"colour=red&limit=3&purpose=p&cursor={cursor}", *known)
    assert again.cursor(int, str) == (7, "x")
    for query in (
        f"colour=blue&cursor={cursor}",
        f"cursor={cursor}",
        "colour=red&cursor=AAAA",
        "colour=red&cursor=a*b",
    ):
        other = asked(query, *known)
        assert refusal(lambda other=other: other.cursor(int, str)) == ("malformed", "cursor")
    assert refusal(lambda: again.cursor(int)) == ("malformed", "cursor")
    assert refusal(lambda: again.cursor(str, int)) == ("malformed", "cursor")
    elsewhere = asked(f"colour=red&cursor={cursor}", *known, path="/v1/others")
    assert refusal(lambda: elsewhere.cursor(int, str)) == ("malformed", "cursor")
    assert asked("", *known).cursor(int) is None


async def read(house: House, who: str, family: str = "", **headers: str) -> Any:
    sent = {"authorization": f"Bearer {house.tokens.get(who, 'none')}", **headers}
    scope = {"headers": [(name.encode(), value.encode()) for name, value in sent.items()]}
    return await reader(SimpleNamespace(scope=scope, app=house.app), family)  # type: ignore[arg-type]


async def test_a_reader_shows_a_key_that_holds_now(house: House) -> None:
    """S003: revocation and expiry count from their instant on, whatever was remembered of the key before."""
    caller = await read(house, "mo")
    assert (caller.kind, caller.staff_id, caller.standings) == ("staff", "mo", ("moderator", "approver"))
    async with house.db.transaction() as tx:
        await tx.execute("UPDATE api_key SET expires_at = $1 WHERE key_id = 'mo'", house.clock.now())
        await tx.execute("UPDATE api_key SET revoked_at = $1 WHERE key_id = 'cl'", house.clock.now())
    for who in ("mo", "cl", "nobody"):
        with pytest.raises(Refusal, match="key_invalid"):
            await read(house, who)


async def test_authorities_and_former_staff_read_no_ordinary_state(house: House) -> None:
    """S021, S189: every read by an authority is a record, so it reads through the trail only."""
    async with house.db.transaction() as tx:
        await tx.execute("UPDATE staff_role SET until_at = $1 WHERE staff_id = 'cl'", house.clock.now())
    for who in ("reg", "cl"):
        with pytest.raises(Refusal, match="refused"):
            await read(house, who)


async def test_a_keys_scopes_hold_for_reads(house: House) -> None:
    """S003: families, territories and tiers limit what a key reads as they limit what it does."""
    async with house.db.transaction() as tx:
        await tx.execute(
            """UPDATE api_key SET families = '["group"]', jurisdictions = '["CN-110000"]', tiers = '[1, 2]' WHERE key_id = 'im'"""
        )
    caller = await read(house, "im", "group", **{"x-on-behalf-of": "ann"})
    assert (caller.kind, caller.person_id) == ("person", "ann")
    assert caller.sees("CN-110105", 2)
    assert not caller.sees("CN-310000")
    assert not caller.sees("CN-110105", 3)
    with pytest.raises(Refusal, match="key_scope"):
        caller.inside("EU")
    with pytest.raises(Refusal, match="key_scope"):
        await read(house, "im", "account")


async def test_reads_of_ordinary_state_are_counted(house: House) -> None:
    """S021: such a read leaves no record, only a count by kind of caller."""
    before = await house.records()
    await read(house, "mo")
    await read(house, "im")
    text = house.app.state.watch.metrics().decode()
    assert 'mandate_reads_total{by="staff"} 1.0' in text
    assert 'mandate_reads_total{by="backend"} 1.0' in text
    assert await house.records() == before


EVERY_READ = (
    "/v1/accounts",
    "/v1/accounts/a",
    "/v1/accounts/a/former-profiles",
    "/v1/accounts/a/uses",
    "/v1/approvals",
    "/v1/approvals/x",
    "/v1/credentials",
    "/v1/credit/person/ann",
    "/v1/dormant-accounts",
    "/v1/editions",
    "/v1/editions/current",
    "/v1/editions/x",
    "/v1/filings",
    "/v1/filings/missing",
    "/v1/groups",
    "/v1/groups/g",
    "/v1/groups/g/members",
    "/v1/groups/g/mutes/dan",
    "/v1/groups/g/roles",
    "/v1/keys",
    "/v1/legal-holds",
    "/v1/legal-holds/x",
    "/v1/measures",
    "/v1/measures/x",
    "/v1/name-checks",
    "/v1/name-checks/a",
    "/v1/notices",
    "/v1/notices/x",
    "/v1/operators/o",
    "/v1/operators/o/credentials",
    "/v1/people/ann",
    "/v1/staff",
    "/v1/staff/co",
    "/v1/tiers/consistency?kind=account",
    "/v1/tiers/deviations?kind=account",
    "/v1/tiers/override-counts",
    "/v1/tiers/overrides",
    "/v1/tiers/plans",
    "/v1/tiers/plans/x",
)


async def test_every_read_is_among_those_tested_here(house: House) -> None:
    """S021: a GET that is no look into the trail and not open to all is in the list the tests below go through."""
    listed = {
        re.sub(r"\{[^}]*\}", "*", path)
        for path, route in house.app.openapi_schema.to_schema()["paths"].items()
        if "get" in route
    }
    beside = {
        "/metrics",
        "/openapi.json",
        "/health/live",
        "/health/ready",
        "/checkpoint",
        "/checkpoint/*",
        "/tile/*/*",
        "/.well-known/mandate-trust.json",
        "/.well-known/authzen-configuration",
        "/v1/changes",
        "/v1/changes/stream",
    }
    trail = {
        "/v1/trails/*/*",
        "/v1/records/*",
        "/v1/responsibility/*/*",
        "/v1/records/*/receipt",
        "/v1/records/*/inclusion",
        "/v1/trail-exports/*/editions/*",
        "/v1/log-entries",
        "/v1/trust",
    }
    named = {
        re.sub(r"/(a|x|g|dan|o|person|ann|co)(?=/|$)", "/*", path.partition("?")[0]) for path in EVERY_READ
    }
    assert listed - beside - trail == named


async def test_no_read_goes_past_the_key(house: House) -> None:
    """S003, S021: of every read, a key that was revoked reads nothing, nor does an authority, nor staff without standing."""
    async with house.db.transaction() as tx:
        await tx.execute("UPDATE api_key SET revoked_at = $1 WHERE key_id = 'ap'", house.clock.now())
        await tx.execute("UPDATE staff_role SET until_at = $1 WHERE staff_id = 'cl'", house.clock.now())
        await tx.execute("""UPDATE api_key SET families = '["trail"]' WHERE key_id = 'im'""")
    for path in EVERY_READ:
        await house.refused("key_invalid", "ap", "GET", path)
        await house.refused("refused", "reg", "GET", path)
        await house.refused("refused", "cl", "GET", path)
        await house.refused("key_scope", "im", "GET", path)
        await house.refused("malformed", "mo", "GET", f"{path}{'&' if '?' in path else '?'}colour=red")


async def test_a_key_reads_inside_its_territories_and_tiers(house: House) -> None:
    """S003: one thing outside them is `key_scope`; a list leaves it out and goes on behind it."""
    await house.has_group("g1", "ann")
    await house.has_group("g2", "ben", jurisdiction="CN-310000")
    await house.has_group("g3", "cai", tier=3)
    await house.has_group("g4", "dan", jurisdiction="CN-110105")
    await house.has_people("eve", jurisdiction="EU-DE")
    async with house.db.transaction() as tx:
        await tx.execute(
            """UPDATE api_key SET jurisdictions = '["CN-110000"]', tiers = '[1, 2]' WHERE key_id = 'im'"""
        )
    for group in ("g2", "g3"):
        for path in ("", "/members", "/roles", "/mutes/ann"):
            await house.refused("key_scope", "im", "GET", f"/v1/groups/{group}{path}")
    await house.refused("key_scope", "im", "GET", "/v1/people/eve")
    await house.do("im", "GET", "/v1/groups/g4")
    first = await house.do("im", "GET", "/v1/groups?limit=3")
    assert [one["group_id"] for one in first["items"]] == ["g1"]
    rest = await house.do("im", "GET", f"/v1/groups?limit=3&cursor={first['next']}")
    assert ([one["group_id"] for one in rest["items"]], rest["next"]) == (["g4"], None)


def test_a_made_up_cursor_carries_nothing_the_database_cannot_take() -> None:
    """S003: a cursor is no secret; numbers out of range and NUL in it are refused like any other nonsense."""
    for place in ((1 << 63,), (-1,)):
        asking = asked("", "cursor")
        made = asked(f"cursor={asking.cursor_to(*place)}", "cursor")
        assert refusal(lambda made=made: made.cursor(int)) == ("malformed", "cursor")
    nul = asked(f"cursor={asked('', 'cursor').cursor_to(chr(0))}", "cursor")
    assert refusal(lambda: nul.cursor(str)) == ("malformed", "cursor")
