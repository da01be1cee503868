"""Posts effects to webhooks: in record order, at least once, none skipped, for as long as it takes.

Each webhook has a place in the outbox. What follows it is fixed as a batch, posted, and the place moves when the receiver
has answered 2xx. No row is locked meanwhile: a lease says which process posts. If we crash before the post, or between it
and the move, the next one posts the same batch under the same webhook-id, by which the receiver knows it.

Leases and pauses go by the database's clock, which all processes share and no test or demo moves.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import random
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

import httpcore
import msgspec
import structlog

from service.clock import instant_text
from service.db import DatabaseUnavailable, Db, queries
from service.guard import Forbidden, Poster
from service.outbox import Handed, Outbox
from service.trail.fields import Keyring, SealError
from service.trail.own_keys import WEBHOOK_PURPOSE, webhook_tag
from service.watch import Watching

sql = queries(__file__)
_log = structlog.get_logger("mandate.webhooks")

FAMILIES: Final = (
    "account",
    "approval",
    "credential",
    "credit",
    "group",
    "measure",
    "notice",
    "operator",
    "person",
)
"""The nouns of all effects; a test holds them to the code."""
MOST_WEBHOOKS: Final = 32
MOST_EVENTS: Final = 100
MOST_BYTES: Final = 256 * 1024
"""A batch is no larger, but where one effect alone is."""
MOST_BEHIND: Final = 100_000
"""Effects behind are counted among so many."""
LEASE_SECONDS: Final = 30.0
"""Well above the time for one post; so long a webhook rests when the process that posted died."""
_LONGEST_PAUSE_SECONDS: Final = 300.0
_LONGEST_WAIT_SECONDS: Final = 3_600.0
"""What a receiver asks for with Retry-After is granted up to an hour."""
_MEASURE_SECONDS: Final = 10.0
_MEDIA: Final = "application/cloudevents-batch+json"


# Secrets


def new_secret(keyring: Keyring, webhook_id: str) -> tuple[str, bytes]:
    """A fresh secret as the receiver gets it, and as it is stored: wrapped like the key of a person, and bound to its webhook."""
    secret, wrapped = keyring.new_person_key(purpose=WEBHOOK_PURPOSE, tag=webhook_tag(webhook_id))
    return f"whsec_{base64.b64encode(secret).decode()}", wrapped


# What is posted


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One effect as a CloudEvent 1.0; `data` is its payload with the record it is of."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    time: str
    subject: str | msgspec.UnsetType = msgspec.UNSET
    data: dict[str, Any]


class Batch(NamedTuple):
    """Effects as they are posted, and the place of the last."""

    body: bytes
    upto: int


_encode = msgspec.json.Encoder().encode


def source_of(origin: str) -> str:
    """The name of a log as the URI reference that CloudEvents wants for the `source` of events."""
    return quote(origin, safe="/:@!$&'()*,;=~")


def batch_of(source: str, found: Sequence[Handed]) -> Batch:
    """As many of these effects, from the first on, as one post may hold; at least one."""
    parts: list[bytes] = []
    size, upto = 1, found[0].place
    for one in found[:MOST_EVENTS]:
        part = _encode(_event(source, one))
        size += len(part) + 1
        if parts and size > MOST_BYTES:
            break
        parts.append(part)
        upto = one.place
    return Batch(b"[" + b",".join(parts) + b"]", upto)


def _event(source: str, one: Handed) -> Event:
    data = msgspec.json.decode(one.payload)
    family = one.kind.split(".", 1)[0]
    about = data.get("subject_type", family), data.get("subject_id", data.get(f"{family}_id"))
    return Event(
        # A place alone could come again for another effect after a restore from an older backup.
        id=f"{one.record_id}.{one.place}",
        source=source,
        type=one.kind,
        time=one.at,
        subject=msgspec.UNSET if about[1] is None else f"{about[0]}/{about[1]}",
        data={"record_id": one.record_id, **data},
    )


def signed_headers(keyring: Keyring, webhook_id: str, row: Any, message_id: str, body: bytes) -> list[Any]:
    """The headers of Standard Webhooks 1.0 over these very bytes; both secrets sign while one is being replaced.

    `row`: `wrapped`, `former` and the instant `at` of the database. Raises SealError where the master key is another one.
    """
    second = int(row["at"].timestamp())
    signed = b"%s.%d.%s" % (message_id.encode(), second, body)
    signatures = [
        base64.b64encode(
            hmac.digest(
                keyring.unwrap(one, purpose=WEBHOOK_PURPOSE, tag=webhook_tag(webhook_id)), signed, "sha256"
            )
        ).decode()
        for one in (row["wrapped"], row["former"])
        if one is not None
    ]
    return [
        ("content-type", _MEDIA),
        ("user-agent", "mandate"),
        ("webhook-id", message_id),
        ("webhook-timestamp", str(second)),
        ("webhook-signature", " ".join(f"v1,{one}" for one in signatures)),
    ]


def shown_url(url: str) -> str:
    """The URL for people and logs: without its query, which may be a password."""
    return urlunsplit((*urlsplit(url)[:3], "", ""))


async def ping(
    db: Db, keyring: Keyring, poster: Poster, webhook_id: str, origin: str
) -> tuple[str, bool] | None:
    """Post one event of no effect now, whatever waits; return what came of it, and whether it was taken. None: no such webhook."""
    async with db.read() as reader:
        row = await sql.one(reader, webhook_id=webhook_id)
    if row is None:
        return None
    message_id = _message_id()
    about = {"webhook_id": webhook_id}
    event = Event(
        id=message_id, source=source_of(origin), type="mandate.ping", time=instant_text(row["at"]), data=about
    )  # fmt: skip
    answer, taken, _ = await _posted(keyring, poster, webhook_id, row, message_id, _encode([event]))
    return answer, taken


def _message_id() -> str:
    return f"msg_{secrets.token_hex(16)}"


async def _posted(
    keyring: Keyring, poster: Poster, webhook_id: str, row: Any, message_id: str, body: bytes
) -> tuple[str, bool, float]:
    """Post, and say what came of it: the status or a word, whether the receiver took it, and for how many seconds it wants
    to be left alone. Nothing is raised.
    """
    try:
        headers = signed_headers(keyring, webhook_id, row, message_id, body)
        answered = await poster.post(row["url"], headers, body)
    except Forbidden as forbidden:
        return f"forbidden: {forbidden}", False, 0.0
    except (TimeoutError, httpcore.TimeoutException):
        return "timeout", False, 0.0
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
        return "unreachable", False, 0.0
    except SealError:
        return "secret does not open", False, 0.0
    except Exception as error:  # noqa: BLE001 - one strange answer must not end the posting for ever
        _log.error("webhook", webhook=webhook_id, exc_info=error)
        return "error", False, 0.0
    return str(answered.status), 200 <= answered.status < 300, answered.wait


# Delivery


class Webhooks:
    """Follows all webhooks, each in a task of its own while there is something to post."""

    def __init__(
        self, db: Db, outbox: Outbox, keyring: Keyring, watch: Watching, *, origin: str, private: bool
    ) -> None:
        """`origin`: the `source` of all events. `private`: addresses of a closed network are posted to."""
        self._db = db
        self._outbox = outbox
        self._keyring = keyring
        self._watch = watch
        self._source = source_of(origin)
        self._poster = Poster(private=private)
        self._process = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._working: dict[str, asyncio.Task[None]] = {}
        self._measured: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def open(self, seconds: float) -> None:
        """Look every so many seconds for what is to be posted; 0: only measure how all stand."""
        self._tasks = [
            asyncio.create_task(self._repeat(self.measure, _MEASURE_SECONDS), name="webhooks measured")
        ]
        if seconds:
            self._tasks.append(asyncio.create_task(self._repeat(self._look, seconds), name="webhooks"))

    async def close(self) -> None:
        """End. A post under way is cut off, and posted again by whoever comes next."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        working = list(self._working.values())
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        if working:
            # One may have been cut off while it gave its lease back.
            with suppress(DatabaseUnavailable):
                async with self._db.transaction() as tx:
                    await sql.release_all(tx, process=self._process)
        await self._poster.close()

    async def once(self) -> None:
        """Post all that is due, and wait for it. Raises DatabaseUnavailable."""
        await self._look()
        await asyncio.gather(*self._working.values())

    async def measure(self) -> None:
        """Tell the metrics how each webhook stands. Raises DatabaseUnavailable."""
        async with self._db.read() as reader:
            rows = await sql.standings(reader, most=MOST_BEHIND)
        for row in rows:
            self._watch.webhook_stands(row["webhook_id"], row["behind"], row["failing_seconds"], row["lost"])
        here = {row["webhook_id"] for row in rows}
        for removed in self._measured - here:
            self._watch.webhook_stands(removed, 0, 0, 0)
        self._measured = here

    async def _repeat(self, work: Any, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except DatabaseUnavailable as gone:
                _log.warning("webhooks", lost=str(gone))
            except Exception as error:  # noqa: BLE001 - delivery must go on
                _log.error("webhooks", exc_info=error)

    async def _look(self) -> None:
        """Begin with every webhook that has something to post and is not posted to already."""
        async with self._db.read() as reader:
            due = [row for row in await sql.due(reader) if row["webhook_id"] not in self._working]
        if not due:
            return
        settled = await self._outbox.settled()
        for row in due:
            if row["begun"] or row["place"] < settled:
                webhook_id = row["webhook_id"]
                task = asyncio.create_task(self._follow(webhook_id), name=f"webhook {webhook_id}")
                self._working[webhook_id] = task
                task.add_done_callback(lambda _, one=webhook_id: self._working.pop(one, None))

    async def _follow(self, webhook_id: str) -> None:
        """Post batch after batch until nothing is left, one fails, or somebody else follows."""
        mine = {"webhook_id": webhook_id, "process": self._process}
        try:
            async with self._db.transaction() as tx:
                claimed = await sql.claim(tx, **mine, seconds=LEASE_SECONDS)
            if claimed is None:
                return
            place, begun, families = claimed["place"], claimed["batch_upto"], claimed["families"]
            while place is not None:
                place, begun = await self._step(mine, place, begun, families), None
        except DatabaseUnavailable as gone:
            _log.warning("webhooks", webhook=webhook_id, lost=str(gone))
        except Exception as error:  # noqa: BLE001 - the lease ends, and the next look tries again
            _log.error("webhooks", webhook=webhook_id, exc_info=error)
        finally:
            # If this does not reach the database, the lease ends by itself.
            with suppress(DatabaseUnavailable):
                async with self._db.transaction() as tx:
                    await sql.release(tx, **mine)

    async def _step(
        self, mine: dict[str, str], place: int, begun: int | None, families: Sequence[str]
    ) -> int | None:
        """Post what follows this place; return the place it moved to, None where there is no more to do now.

        `begun`: where a batch ends that was fixed before.
        """
        settled = await self._outbox.settled()
        if settled < (begun or place + 1):
            return None
        end = begun or settled
        found = await self._outbox.page(after=place, limit=MOST_EVENTS, families=families)
        found = [one for one in found if one.place <= end]
        if not found:
            async with self._db.transaction() as tx:
                return await sql.pass_over(tx, **mine, place=place, upto=end)
        batch = batch_of(self._source, found)
        new = {"batch_id": _message_id(), "upto": batch.upto}
        async with self._db.transaction() as tx:
            row = await sql.begin_batch(tx, **mine, place=place, **new, seconds=LEASE_SECONDS)
        return None if row is None else await self._deliver(mine, row, batch.body)

    async def _deliver(self, mine: dict[str, str], row: Any, body: bytes) -> int | None:
        webhook_id, batch_id = mine["webhook_id"], row["batch_id"]
        answer, taken, wait = await _posted(self._keyring, self._poster, webhook_id, row, batch_id, body)
        self._watch.webhook_posted(webhook_id, "taken" if taken else _outcome(answer))
        async with self._db.transaction() as tx:
            # If we crash before this, the batch is posted again, under the same id.
            if taken:
                return await sql.batch_taken(tx, webhook_id=webhook_id, batch_id=batch_id, answer=answer)
            pause = min(2.0 ** min(row["failures"], 8), _LONGEST_PAUSE_SECONDS / 1.5)
            pause *= random.uniform(1.0, 1.5)  # noqa: S311  no secret
            pause = max(pause, min(wait, _LONGEST_WAIT_SECONDS))
            gone = answer == "410"
            await sql.batch_failed(tx, **mine, batch_id=batch_id, answer=answer, pause=pause, gone=gone)
        log = _log.error if gone else _log.warning
        log(
            "webhook.gone" if gone else "webhook.failed",
            webhook=webhook_id,
            answer=answer,
            times=row["failures"] + 1,
        )
        return None


def _outcome(answer: str) -> str:
    """The kind of an answer, of which there are few."""
    return f"{answer[0]}xx" if answer.isdecimal() else answer.split(":", 1)[0].replace(" ", "_")
