"""What tests arrange and ask with: a founded house on a database of its own, its clock set by hand, asked over HTTP."""

import asyncio
import copy
import datetime as dt
import hashlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx
import msgspec
import structlog
from litestar import Litestar
from litestar.datastructures import State

from service.action import Action
from service.api.effects import effects
from service.app import create_app, given
from service.caller import Caller
from service.clock import SetClock
from service.db import Db, Tx
from service.domain.credentials import Credential, CredentialKind
from service.domain.credit import Credit, CreditEntry
from service.domain.groups.facts import ADMIN, MEMBER, OWNER, Group, Role
from service.domain.people import Person
from service.founding import Founder, found
from service.settings import Settings
from tests import rebuilding, reconciling

MORNING = dt.datetime(2026, 11, 2, 8, 0, tzinfo=dt.UTC)
POLICIES = Path(__file__).resolve().parents[1] / "policies"
#: Tests let time act, and the log grow, by hand; see `House.sweep` and `House.publish`.
_QUIET: dict[str, Any] = {
    "policies": POLICIES,
    "sweep_seconds": 3600,
    "sequence_seconds": 0,
    "webhook_seconds": 0,
    "map_bits": 4,
}
STAFF = [
    Founder("head", ["head_of_content_safety"]),
    Founder("co", ["compliance"]),
    Founder("co2", ["compliance"]),
    Founder("ap", ["approver"]),
    Founder("mo", ["moderator", "approver"]),
    Founder("cl", ["classifier"]),
    Founder("cl2", ["classifier"]),
    Founder("au", ["auditor"]),
    Founder("reg", ["regulator"]),
]


def record_named(name: str) -> str:
    """The id of a record that was never made, for what is arranged past the API: always the same for a name."""
    return f"00000000-0000-7000-8000-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


class Founded(msgspec.Struct, frozen=True):
    """A founded database to copy, what goes with it, and its tokens by key."""

    name: str
    data: Path
    tokens: dict[str, str]


def _known(kind: str, payload: Any) -> bool:
    """Whether backends are told of such an effect beforehand, member by member."""
    told = effects().get(kind)
    try:
        return told is not None and msgspec.to_builtins(msgspec.convert(payload, told)) == payload
    except msgspec.ValidationError:
        return False


def plain_logs() -> None:
    """Log as tests do: shown where one fails. Tracebacks in colour, with every local, take minutes where something is nested deep."""
    structlog.reset_defaults()
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()]
    )


async def past_the_house(owner_dsn: str, *statements: str) -> None:
    """Run statements as the owner of the tables, who may do what the service may not."""
    owner = await asyncpg.connect(owner_dsn)
    try:
        for statement in statements:
            await owner.execute(statement)
    finally:
        await owner.close()


@asynccontextmanager
async def out_of_reach(admin_dsn: str, name: str) -> AsyncIterator[None]:
    """Cut everybody off from a database, and let nobody in until this ends."""
    admin = await asyncpg.connect(admin_dsn)
    try:
        await admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        there = 1
        while there:
            # Also for those who were cut off to notice: one whose end is still on its way fails the next who borrows it.
            await asyncio.sleep(0.05)
            there = await admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name)
        yield
    finally:
        await admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
        await admin.close()


class _Arranging(Db):
    """A house's pool whose transactions are those of a test: what they write stands in no record, and is remembered."""

    def __init__(self, db: Db, arranged: list[rebuilding.Arranged]) -> None:
        super().__init__(db._pool, pooled=db._pooled)
        self._arranged = arranged

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """A transaction of the service's own pool."""
        async with super().transaction() as tx:
            yield tx
            self._arranged += await rebuilding.arranged(tx)


class House:
    """A running service. `ask` speaks for people through the backend's key, for staff through their own."""

    def __init__(
        self, app: Litestar, client: httpx.AsyncClient, clock: SetClock, tokens: dict[str, str]
    ) -> None:
        self.app = app
        self.client = client
        self.clock = clock
        self.tokens = tokens
        self.arranged: list[rebuilding.Arranged] = []
        self._keys = count(1)

    @property
    def db(self) -> Db:
        """The service's own pool: arranging and looking, past the API. What is arranged is remembered (`arranged`)."""
        return _Arranging(self.app.state.db, self.arranged)

    async def ask(
        self,
        who: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        version: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Send one request. `who`: a staff id, `im` for the backend itself, else a person the backend acts for."""
        sent = {"authorization": f"Bearer {self.tokens.get(who, self.tokens['im'])}"}
        if who not in self.tokens:
            sent["x-on-behalf-of"] = who
        if method != "GET":
            sent["idempotency-key"] = key or f"key-{next(self._keys)}"
        if version is not None:
            sent["if-match"] = f'"{version}"'
        sent |= headers or {}
        if isinstance(body, bytes):
            return await self.client.request(method, path, content=body, headers=sent)
        return await self.client.request(method, path, json=body, headers=sent)

    async def do(self, who: str, method: str, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
        """Ask, expect success, and return the receipt (or what was read)."""
        answer = await self.ask(who, method, path, body, **more)
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def refused(
        self, code: str, who: str, method: str, path: str, body: Any = None, **more: Any
    ) -> dict[str, Any]:
        """Ask, expect this refusal, and return the problem document."""
        answer = await self.ask(who, method, path, body, **more)
        assert answer.status_code >= 400, answer.text
        problem = answer.json()
        assert problem["code"] == code, problem
        assert answer.headers["content-type"] == "application/problem+json"
        return problem

    @property
    def edition(self) -> str:
        """The edition of the policy that is in force."""
        return self.app.state.editions.at(self.clock.now()).edition

    def at_cap(self, cap: int, count: int, source: str, **more: Any) -> dict[str, Any]:
        """What the refusal at any cap says: its value, how many there are, and the line of the edition it comes from."""
        return {"cap": cap, "count": count, "source": source, "edition": self.edition, **more}

    async def sweep(self) -> int:
        """Let time act once: what has fallen due by the clock ends. Nothing sweeps in the background of a test."""
        return await self.app.state.sweep.once()

    async def publish(self) -> int:
        """Bring all records into the log and sign it; return its size."""
        await self.app.state.sequencer.once()
        return await self.app.state.sequencer.publish()

    async def by_time(self, action: Action) -> str:
        """Let time act (past the API, for it has no key); return the outcome, or the code of its refusal."""
        answer = await self.app.state.door.act(action, caller=Caller.sweep())
        return answer.code or answer.outcome

    async def records(self, act: str | None = None) -> list[dict[str, Any]]:
        """All records since the founding, oldest first, as their bodies say; of one act only, if named."""
        async with self.db.read() as db:
            rows = await db.fetch("SELECT body FROM record ORDER BY id")
        found = [msgspec.json.decode(row["body"]) for row in rows]
        return [one for one in found if one["rule"] != "founding" and act in (None, one["act"])]

    async def reconcile(self) -> None:
        """Look through the whole database for what does not fit, independently of who wrote it; see reconciling.py."""
        async with self.db.read(snapshot=True) as reader:
            found = await reconciling.faults(reader, self.app.state["keys"])
            told = await reader.fetch("SELECT DISTINCT kind, payload FROM outbox JOIN record USING (rid)")
        found += [
            f"the effect {kind} is not as documented: {said}" for kind, said in told if not _known(kind, said)
        ]
        assert not found, "\n".join(found)

    async def rebuild(self) -> None:
        """Rebuild the state from the records, and from what was arranged past the API, and compare; see rebuilding/."""
        async with self.db.read(snapshot=True) as reader:
            found = await rebuilding.faults(reader, self.app.state["keys"], self.arranged)
        assert not found, "\n".join(found)

    async def effects(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The payloads of all effects handed over so far, in order; of one kind only, if named."""
        async with self.db.read() as db:
            rows = await db.fetch("SELECT kind, payload FROM outbox ORDER BY id")
        return [row["payload"] for row in rows if kind in (None, row["kind"])]

    async def has_people(self, *ids: str, **facts: Any) -> None:
        """Arrange verified people (past the API); with `credit` points, each has a ledger opened at so many."""
        at = self.clock.now()
        credit: int | None = facts.pop("credit", None)
        known = {
            "jurisdiction": "CN-110000",
            "created_at": at,
            "identity_status": "verified",
            "identity_methods": ["mobile", "id_document"],
            "verified_at": at,
        }
        async with self.db.transaction() as tx:
            await Person.apply(tx, [Person(person_id=one, **(known | facts)) for one in ids])
            if credit is not None:
                await self._has_credit(tx, ids, credit)

    async def _has_credit(self, tx: Tx, ids: tuple[str, ...], score: int) -> None:
        at = self.clock.now()
        whose: list[dict[str, Any]] = [{"subject_type": "person", "subject_id": one} for one in ids]
        line: dict[str, Any] = {"number": 1, "at": at, "points": score, "score": score, "cause": "opened"}
        await Credit.apply(tx, [Credit(**one, score=score, entries=1, recovering_since=at) for one in whose])
        await CreditEntry.apply(
            tx, [CreditEntry(**one, **line, by_record=record_named("credit")) for one in whose]
        )

    async def has_credentials(self, operator_id: str, *kinds: CredentialKind) -> None:
        """Arrange accepted credentials of an operator, for a year (past the API)."""
        at = self.clock.now()
        async with self.db.transaction() as tx:
            await Credential.apply(
                tx,
                [
                    Credential(
                        credential_id=record_named(f"{operator_id}-{kind}"),
                        operator_id=operator_id,
                        kind=kind,
                        reference="0042",
                        valid_from=at,
                        valid_until=at + dt.timedelta(days=365),
                        submitted_at=at,
                        accepted_at=at,
                        accepted_record=record_named(f"{operator_id}-{kind}-accepted"),
                    )
                    for kind in kinds
                ],
            )

    async def has_group(
        self,
        group_id: str,
        owner: str,
        admins: tuple[str, ...] = (),
        members: tuple[str, ...] = (),
        **facts: Any,
    ) -> None:
        """Arrange a group of tier 2 with its roles (past the API); its people are arranged as well."""
        at = self.clock.now()
        ranks = {owner: OWNER, **dict.fromkeys(admins, ADMIN), **dict.fromkeys(members, MEMBER)}
        await self.has_people(*ranks)
        known: dict[str, Any] = {
            "code": f"code-{group_id}",
            "name": "a group",
            "klass": "community",
            "jurisdiction": "CN-110000",
            "created_at": at,
            "owner_id": owner,
            "capacity": 200,
            "member_count": len(ranks),
            "admin_count": len(admins),
            "join_mode": "approval",
            "tier": 2,
            "tier_basis": {},
            "by_record": record_named(group_id),
        }
        async with self.db.transaction() as tx:
            await Group.apply(tx, [Group(group_id=group_id, **(known | facts))])
            await Role.apply(
                tx,
                [
                    Role(
                        by_record=record_named(group_id),
                        person_id=person,
                        group_id=group_id,
                        rank=rank,
                        from_at=at,
                        granted_by=owner if rank == ADMIN else None,
                    )
                    for person, rank in ranks.items()
                ],
            )

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str, data: Path, **settings: Any) -> AsyncIterator[Self]:
        """Start the service on a migrated database and found it, at 2026-11-02 08:00 UTC."""
        async with cls._serving(dsn, data, settings) as house:
            fresh = await found(house.app.state.door, house.db, STAFF, ["im"])
            house.tokens = {key.key_id: key.token for key in fresh}
            yield house

    @classmethod
    @asynccontextmanager
    async def reopen(cls, dsn: str, data: Path, **settings: Any) -> AsyncIterator[Self]:
        """Start the service again on a database and folder that were founded before; nobody holds a token."""
        async with cls._serving(dsn, data, settings) as house:
            yield house

    @classmethod
    @asynccontextmanager
    async def join(cls, dsn: str, data: Path, founded: Founded, **settings: Any) -> AsyncIterator[Self]:
        """Start the service on a copy of a founded database, with a copy of its keys and its compiled policy."""
        shutil.copytree(founded.data, data, dirs_exist_ok=True)
        async with cls._serving(dsn, data, settings) as house:
            house.tokens = dict(founded.tokens)
            yield house

    @classmethod
    @asynccontextmanager
    async def _serving(cls, dsn: str, data: Path, settings: dict[str, Any]) -> AsyncIterator[Self]:
        given_settings = Settings(dsn=dsn, data=data, pool_size=4, **(_QUIET | settings))
        clock = SetClock(MORNING)
        app = _app(given_settings, clock)
        for name, content in _compiled.items():
            path = data / "cache" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        async with app.lifespan():
            _compiled.update({path.name: path.read_bytes() for path in (data / "cache").iterdir()})
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://mandate") as client:
                yield cls(app, client, clock, {})


#: Tables of the policy as they were compiled, by file name: compiling takes longer than most tests.
_compiled: dict[str, bytes] = {}


def _app(settings: Settings, clock: SetClock) -> Litestar:
    """An app with a state of its own. The routes are built once, which takes longer than most tests: no test changes them."""
    pattern = _routed(settings.body_limit, settings.metrics)
    app = copy.copy(pattern)
    app.state = State(pattern.state.dict() | given(settings, clock))
    return app


@cache
def _routed(body_limit: int, metrics: bool) -> Litestar:
    dsn = "postgresql://nobody@localhost/none"
    return create_app(Settings(dsn=dsn, body_limit=body_limit, metrics=metrics))
