"""Asks witnesses to cosign what the log published, and keeps their signatures (trail-format section 8).

Nothing waits for them: acts, the log and its checkpoints go on whoever is away. What fails is told of, counted and tried
again, the longer apart the oftener. A witness that saw more than the database holds, or another tree of the same size, is
the worst news there is: the log was set back or forked.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, Final, NamedTuple

import httpx
import structlog

from service.db import DatabaseUnavailable, Db, queries
from service.settings import Settings, SettingsError
from service.trail import stored
from service.trail.beginning import forked, new_log
from service.trail.entry import MapEntry, decode
from service.trail.evidence import SKEW_US
from service.trail.extension import SIZE_MEDIA, Extension
from service.trail.kept import LogRefused
from service.trail.note import COSIGNATURE, Checkpoint, Note, NoteError, Signature, Vkey, signed_by
from service.watch import Watching

sql = queries(__file__)
_log = structlog.get_logger("mandate.cosigning")

MOST_WITNESSES: Final = 12
"""A note holds 16 signatures: these and those of the log's keys."""
ANSWER_SECONDS: Final = 10.0
START_SECONDS: Final = 3.0
"""How long a start waits for what witnesses saw."""
_LOOK_SECONDS: Final = 5.0
"""How long what another process published may go unseen here."""
_LONGEST_PAUSE_SECONDS: Final = 60.0
_MOST_ANSWER_BYTES: Final = 16_384
_TRIES: Final = 3
"""A witness that saw another size than we thought says which; another process may be asking it too."""


class WitnessFailed(Exception):
    """The witness did not cosign; the message says why. `outcome` is its kind in a word."""

    def __init__(self, outcome: str, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome


class Witness(NamedTuple):
    """A witness the log asks; `url` is None for one without a network."""

    url: str | None
    vkey: Vkey


def witnesses_of(settings: Settings) -> list[Witness]:
    """The witnesses of the settings. Raises SettingsError, naming the line at fault."""
    found: list[Witness] = []
    for line in filter(None, map(str.strip, settings.witnesses.splitlines())):
        url, _, text = line.partition(" ")
        try:
            if url != "-" and not url.startswith(("http://", "https://")):
                raise NoteError("the first word is no http address and no -")
            found.append(
                Witness(None if url == "-" else url.rstrip("/"), Vkey.parse(text.strip(), COSIGNATURE))
            )
        except NoteError as fault:
            raise SettingsError(
                f"witnesses: {line!r} does not fit: {fault}; write one a line, `URL VKEY`, as `mandate witness` prints it"
            ) from None
    if len({one.vkey.public for one in found}) != len(found):
        raise SettingsError(
            "witnesses: one key stands twice, so two of them are one witness; ask each for its own"
        )
    if len({one.vkey.name for one in found}) != len(found) or len(found) > MOST_WITNESSES:
        raise SettingsError(f"witnesses: names must differ, and {MOST_WITNESSES} is the most there can be")
    return found


def quorum_of(settings: Settings, witnesses: Sequence[Witness]) -> int:
    """How many witnesses a reader should demand: as set, else more than half of those with a network."""
    if settings.witness_quorum is not None:
        if settings.witness_quorum > len(witnesses):
            raise SettingsError(
                f"witness_quorum: {settings.witness_quorum} cannot sign where witnesses names {len(witnesses)}; name more, or say less"
            )
        return settings.witness_quorum
    online = sum(one.url is not None for one in witnesses)
    return online // 2 + 1 if online else 0


class Cosigning:
    """Asks each witness of the settings in a task of its own."""

    def __init__(self, db: Db, witnesses: Sequence[Witness], watch: Watching) -> None:
        self._db = db
        self._witnesses = [one for one in witnesses if one.url is not None]
        self._watch = watch
        self._news = {one.vkey: asyncio.Event() for one in self._witnesses}
        self._tasks: list[asyncio.Task[None]] = []

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        # At first use: it reads the machine's certificates, which takes longer than most of a start.
        return httpx.AsyncClient(timeout=ANSWER_SECONDS)

    def tell(self) -> None:
        """A new checkpoint is published."""
        for news in self._news.values():
            news.set()

    async def refuse_set_back(self) -> None:
        """Ask, at the start, what the witnesses saw; who does not answer in time is passed over. Raises LogRefused."""
        async with self._db.read() as db:
            if await stored.sql.newest_checkpoint(db) is None:
                return
        for failed in await self.once(START_SECONDS):
            if isinstance(failed, LogRefused):
                raise failed

    async def once(self, seconds: float = ANSWER_SECONDS) -> list[Exception]:
        """Ask all witnesses once, side by side; return what went wrong."""
        asked = (self._asked(one, seconds) for one in self._witnesses)
        return [failed for failed in await asyncio.gather(*asked) if failed is not None]

    def open(self) -> None:
        """Ask in the background, from now on."""
        self._tasks = [
            asyncio.create_task(self._follow(one), name=f"witness {one.vkey.name}") for one in self._witnesses
        ]

    async def close(self) -> None:
        """End. What was not asked yet is asked after the next start."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if "_client" in self.__dict__:
            await self._client.aclose()

    async def _follow(self, witness: Witness) -> None:
        news, failures = self._news[witness.vkey], 0
        while True:
            failed = await self._asked(witness, ANSWER_SECONDS)
            failures = 0 if failed is None else failures + 1
            if failures:
                news.clear()
                pause = min(2.0 ** min(failures - 1, 8), _LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  no secret
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await news.wait()
            news.clear()

    async def _asked(self, witness: Witness, seconds: float) -> Exception | None:
        """Ask one witness about the newest checkpoint; what failed is told of and returned."""
        name = witness.vkey.name
        try:
            async with asyncio.timeout(seconds):
                size = await self._ask(witness)
        except LogRefused as refused:
            _log.critical("witness.refused", witness=name, why=str(refused))
            self._watch.cosigned(name, "refused")
            return refused
        except (WitnessFailed, httpx.HTTPError, httpx.InvalidURL, TimeoutError) as failed:
            outcome = failed.outcome if isinstance(failed, WitnessFailed) else "unreachable"
            why = str(failed) if isinstance(failed, WitnessFailed) else type(failed).__name__
            _log.warning("witness.failed", witness=name, outcome=outcome, why=why)
            self._watch.cosigned(name, outcome)
            return failed
        except DatabaseUnavailable as gone:
            _log.warning("witness.lost", why=str(gone))
            return gone
        except Exception as error:  # noqa: BLE001 - one strange answer must not end the asking for ever
            _log.error("witness", witness=name, exc_info=error)
            self._watch.cosigned(name, "error")
            return error
        if size is not None:
            self._watch.cosigned(name, "done", size)
        return None

    async def _ask(self, witness: Witness) -> int | None:
        """Bring home a signature under the newest checkpoint; return its size, None where it is here already."""
        vkey = str(witness.vkey)
        async with self._db.read() as db:
            newest = await stored.sql.newest_checkpoint(db)
            if newest is None or vkey in newest["vkeys"]:
                return None
            old = await sql.seen_by(db, vkey=vkey) or 0
        size: int = newest["size"]
        for _ in range(_TRIES):
            asked = await request(self._db, newest["signed"], old)
            status, answer = await self._post(f"{witness.url}/add-checkpoint", bytes(asked))
            if status == 200:
                await keep(self._db, newest["signed"], answer, witness.vkey)
                return size
            if status != 409:
                raise WitnessFailed(f"status {status}", answer.strip()[:200])
            theirs = _size(answer)
            origin = Checkpoint.parse(Note.parse(newest["signed"]).text).origin
            if theirs == old:
                raise LogRefused(
                    f"the witness {witness.vkey.name} signed another log of {theirs} entries than this one: the log was "
                    f"forked; stop the service, and {forked(origin)}"
                )
            if theirs > size:
                await self._refuse_larger(witness, origin, theirs)
                raise WitnessFailed("ahead", f"it saw {theirs} entries before we published {size}")
            old = theirs
        raise WitnessFailed("busy", "it saw another size each time")

    async def _refuse_larger(self, witness: Witness, origin: str, theirs: int) -> None:
        async with self._db.read() as db:
            state = await stored.sql.log_state(db)
        if state["size"] < theirs:
            raise LogRefused(
                f"the database holds {state['size']} log entries, but the witness {witness.vkey.name} signed {theirs}: "
                f"it was restored from an older backup; restore one that holds them, or {new_log(origin)}"
            )

    async def _post(self, url: str, body: bytes) -> tuple[int, str]:
        headers = {"content-type": "text/plain"}
        async with self._client.stream("POST", url, content=body, headers=headers) as answer:
            found = b""
            async for part in answer.aiter_bytes():
                found += part
                if len(found) > _MOST_ANSWER_BYTES:
                    raise WitnessFailed("malformed", "its answer is too long")
        if answer.status_code == 409 and not answer.headers.get("content-type", "").startswith(SIZE_MEDIA):
            raise WitnessFailed("malformed", "it says 409 without a size")
        return answer.status_code, found.decode("utf-8", "replace")


def _size(answer: str) -> int:
    if not answer.removesuffix("\n").isdecimal() or len(answer) > 17:
        raise WitnessFailed("malformed", "the size it saw is no number")
    return int(answer)


async def request(db: Db, signed: str, old: int) -> Extension:
    """What a witness that saw `old` entries is asked about a checkpoint of ours."""
    size = Checkpoint.parse(Note.parse(signed).text).size
    if not 0 < old < size:
        return Extension(old, (), signed)
    async with db.read(snapshot=True) as reader:
        return Extension(old, await stored.consistency(reader, old, size), signed)


async def keep(db: Db, signed: str, lines: str, vkey: Vkey) -> None:
    """Keep a witness's signature under a checkpoint of ours, given as lines. Raises WitnessFailed where it is no good."""
    text = Note.parse(signed).text
    try:
        found = [Signature.parse(line) for line in lines.removesuffix("\n").split("\n")]
        times = [one.time or 0 for one in signed_by(Note(text, tuple(found)), [vkey])]
    except NoteError as fault:
        raise WitnessFailed("malformed", str(fault)) from None
    mine = [line for line in found if (line.name, line.key_id) == (vkey.name, vkey.key_id)]
    if not mine:
        raise WitnessFailed("malformed", f"no line by {vkey.name}")
    size = Checkpoint.parse(text).size
    async with db.read() as reader:
        [row] = await stored.sql.entries(reader, start=size - 1, end=size)
    last: Any = decode(row["entry"])
    assert isinstance(last, MapEntry)  # noqa: S101  only such sizes are signed
    # A reader refuses a bundle whose witness saw it before it was: better no line than one that spoils the bundle.
    if (min(times) + 1) * 1_000_000 + SKEW_US < last.time_us:
        raise WitnessFailed("clock", "its clock is behind: it signed before the log did")
    async with db.transaction() as tx:
        await sql.keep(tx, size=size, vkey=str(vkey), line=str(mine[0]))
