"""A receiver of webhooks on loopback, which keeps all that is posted and answers as it is told; and webhooks of a house."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from standardwebhooks.webhooks import Webhook

from service.commands import webhooks as commands
from service.commands.serving import answering, free_port
from tests.api.test_changes import settled
from tests.conftest import Database
from tests.kit import Founded, House

Answering = Callable[["Post"], int | Awaitable[int]]


class Post(NamedTuple):
    """One request as it came."""

    headers: dict[str, str]
    body: bytes
    path: str

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def events(self) -> list[dict[str, Any]]:
        return json.loads(self.body)

    def verifies(self, secret: str) -> None:
        """Raise WebhookVerificationError unless it was signed with this secret, by the judgement of the standard's library."""
        Webhook(secret).verify(self.body, self.headers)


class Receiver:
    """An ASGI application; `answer` says with which status each post is answered."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.taken: list[Post] = []
        self.came = asyncio.Event()
        self.answer: Answering = lambda _: 200
        self.answer_headers: list[tuple[bytes, bytes]] = []

    @property
    def effects(self) -> list[str]:
        """The ids of all events that were taken, as they came; of a batch that came twice, once."""
        seen: dict[str, Post] = {one.message_id: one for one in self.taken}
        return [event["id"] for one in seen.values() for event in one.events]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        post = Post(headers, body, scope["path"])
        self.posts.append(post)
        self.came.set()
        status = self.answer(post)
        status = status if isinstance(status, int) else await status
        if 200 <= status < 300:
            self.taken.append(post)
        await send({"type": "http.response.start", "status": status, "headers": self.answer_headers})
        await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def receiving(receiver: Receiver, port: int = 0) -> AsyncIterator[str]:
    """Serve it on loopback; yields its URL."""
    port = port or free_port("127.0.0.1", 0)
    async with answering(receiver, "127.0.0.1", port):
        yield f"http://127.0.0.1:{port}/hook"


@asynccontextmanager
async def in_a_closed_network(database: Database, founded: Founded, data: Path) -> AsyncIterator[House]:
    """A house that posts to loopback, with group g: ann owns it; dan and eve are members."""
    async with House.join(database.service_dsn, data, founded, webhook_private=True) as house:
        await house.has_group("g", "ann", (), ("dan", "eve"))
        yield house
        await house.reconcile()


class Hook:
    """A webhook of a house, as an operator handles it."""

    def __init__(self, house: House, added: dict[str, Any]) -> None:
        self.house = house
        self.webhook_id: str = added["webhook"]
        self.secret: str = added["secret"]

    @classmethod
    async def add(cls, house: House, url: str, *families: str) -> "Hook":
        return cls(house, await operator(house).add(url, "im", list(families)))

    async def deliver(self) -> None:
        """Post what is due; whoever waits after a failure waits no longer."""
        await settled(self.house)
        async with self.house.db.transaction() as tx:
            await tx.execute("UPDATE webhook SET next_at = now()")
        await self.house.app.state.webhooks.once()

    async def stands(self) -> dict[str, Any]:
        [found] = [one for one in await operator(self.house).standings() if one["webhook"] == self.webhook_id]
        return found

    async def row(self) -> Any:
        async with self.house.db.read() as db:
            return await db.fetchrow("SELECT * FROM webhook WHERE webhook_id = $1", self.webhook_id)


def operator(house: House) -> commands.House:
    return commands.House(house.app.state.settings, house.db, house.app.state["keys"].keyring)


async def mute(house: House, whom: str = "dan", seconds: int = 60) -> dict[str, Any]:
    body = {"person_id": whom, "seconds": seconds, "reason": "fraud"}
    return await house.do("ann", "POST", "/v1/groups/g/mutes", body)


async def outbox(house: House) -> list[str]:
    """All effects of a house, as the events that tell of them are called."""
    async with house.db.read() as db:
        return [
            f"{row['rid']}.{row['id']}" for row in await db.fetch("SELECT id, rid FROM outbox ORDER BY id")
        ]


async def put(house: House, *effects: tuple[str, dict[str, Any]]) -> None:
    """Arrange effects of no act."""
    async with house.db.transaction() as tx:
        for kind, payload in effects:
            await tx.execute(
                "INSERT INTO outbox (rid, at, kind, payload) VALUES ('arranged', now(), $1, $2)",
                kind,
                payload,
            )


async def failing(hook: Hook) -> tuple[str, bool]:
    stands = await hook.stands()
    return stands["answer"], stands["state"] == "failing" and stands["failing_since"] is not None
