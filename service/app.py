"""Builds the Litestar app: routes, problem documents and lifespan. The one file that knows every room."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from litestar import Litestar, Request
from litestar.datastructures import State

from service.api import (
    account_life,
    accounts,
    approvals,
    batches,
    changes,
    checks,
    credentials,
    credit,
    documentation,
    dormancy,
    evaluations,
    exports,
    filings,
    groups,
    health,
    joining,
    log,
    measures,
    metrics,
    office,
    operators,
    order,
    ownership,
    people,
    retention,
    tiers,
    trails,
)
from service.api.batches import asking_of
from service.api.callers import Callers
from service.api.documentation import openapi_config
from service.api.instants import InstantTexts
from service.api.lane import Lane
from service.api.problems import HANDLERS
from service.api.requests import numbered, refuse_nul
from service.bulk import BulkRanking
from service.clock import Clock, FileClock
from service.db import Db, require_schema
from service.domain.trails import ExportTrail, ReadTrail
from service.door import Door
from service.editions import Editions
from service.founding import adopt_first_edition
from service.looking import Looks
from service.outbox import Outbox
from service.settings import Settings
from service.sweep import Sweep
from service.trail.beginning import began_us
from service.trail.cosigning import Cosigning, quorum_of, witnesses_of
from service.trail.exporter import Exporter
from service.trail.keys import TrailKeys
from service.trail.notices import InForce
from service.trail.own_keys import own_keys
from service.trail.receipts import Receipts
from service.trail.sequencer import Sequencer
from service.trail.stored import on_record
from service.trail.waiting import Waiting
from service.watch import Watching
from service.webhooks import Webhooks


def create_app(settings: Settings, *, clock: Clock | None = None) -> Litestar:
    """Build the app; `settings.dsn` must be set, since starting a database is not the app's work.

    `clock` is for tests; without it the settings choose. The lifespan opens everything in the loop it runs in.
    """
    routes = [
        *health.ROUTES,
        *people.ROUTES,
        *operators.ROUTES,
        *credit.ROUTES,
        *credentials.ROUTES,
        *filings.ROUTES,
        *groups.ROUTES,
        *joining.ROUTES,
        *order.ROUTES,
        *ownership.ROUTES,
        *accounts.ROUTES,
        *account_life.ROUTES,
        *tiers.ROUTES,
        *measures.ROUTES,
        *dormancy.ROUTES,
        *approvals.ROUTES,
        *office.ROUTES,
        *retention.ROUTES,
        *trails.ROUTES,
        *exports.ROUTES,
        *log.ROUTES,
        *batches.ROUTES,
        *checks.ROUTES,
        *evaluations.ROUTES,
        *changes.ROUTES,
        *documentation.ROUTES,
        *(metrics.ROUTES if settings.metrics else ()),
    ]

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        # Not what create_app was given: an app of other settings may share these routes (tests/kit.py).
        settings: Settings = app.state.settings
        clock: Clock = app.state.clock
        db = await Db.open(settings)
        try:
            await require_schema(db)
            # Where anything is on record, keys made anew would be other keys.
            keys = await own_keys(db, settings.data / "keys", may_create=not await on_record(db))
            editions = await Editions.open(db, settings.policies, clock, cache=settings.data / "cache")
            door = Door(
                db=db,
                editions=editions,
                keys=keys,
                clock=clock,
                watch=app.state.watch,
                set_limit=settings.set_limit,
            )
            sweep = Sweep(db, door, clock, editions)
            bulk = BulkRanking(db, door, clock, editions)
            app.state.update(
                {
                    "db": db,
                    "keys": keys,
                    "door": door,
                    "editions": editions,
                    "sweep": sweep,
                    "bulk": bulk,
                    "stopping": asyncio.Event(),
                    "looks": Looks(db, settings.set_limit),
                    "silences": order.silences_of(db, settings.set_limit),
                    "callers": Callers(db, settings.rate_limit_per_minute),
                    "outbox": Outbox(db),
                }
            )
            webhooks = app.state.webhooks = _webhooks(settings, db, app.state.outbox, keys, app.state.watch)
            door.open()
            await adopt_first_edition(door, editions, clock)
            sequencer = app.state.sequencer = Sequencer.of(
                settings, db, keys, clock, lambda: editions.at(clock.now()).edition
            )
            cosigning = app.state.cosigning = Cosigning(db, app.state.witnesses, app.state.watch)
            sequencer.on_publish, sequencer.on_turn = cosigning.tell, app.state.watch.sequenced
            sequencer.in_force = partial(_in_force, editions, clock)
            genesis = await sequencer.start()
            async with db.read() as reader:
                since_us = await began_us(reader) if genesis.prev else 0
            door.receipts = Receipts(genesis, keys, since_us=since_us)
            if settings.sequence_seconds:
                await cosigning.refuse_set_back()
            app.state.exporter = Exporter(
                db, keys, genesis.map_bits, [one.vkey for one in app.state.witnesses], app.state.quorum
            )
            following = asyncio.create_task(editions.follow(), name="editions")
            if settings.sweep_seconds:
                sweep.open(settings.sweep_seconds)
                bulk.open(settings.sweep_seconds)
            waiting = app.state.waiting = Waiting(db, clock, app.state.watch.log_waits, mmd_us=genesis.mmd_us)
            if settings.sweep_seconds or settings.webhook_seconds:
                # Who keeps time tells how webhooks stand, whoever posts to them.
                webhooks.open(settings.webhook_seconds)
            if settings.sweep_seconds or settings.webhook_seconds or settings.sequence_seconds:
                # And how long records wait, whoever sequences.
                waiting.open()
            if settings.sequence_seconds:
                sequencer.open(settings.sequence_seconds)
                cosigning.open()
            try:
                yield
            finally:
                app.state.stopping.set()
                await sweep.close()
                await bulk.close()
                await webhooks.close()
                await waiting.close()
                following.cancel()
                with suppress(asyncio.CancelledError):
                    await following
                await door.close()
                await sequencer.close()
                await cosigning.close()
        finally:
            await db.close()

    app = Litestar(
        route_handlers=routes,
        lifespan=[lifespan],
        exception_handlers=HANDLERS,
        before_request=_sound,
        state=State(
            {
                **given(settings, clock),
                "batched": asking_of("Act", routes),
                "checked": asking_of("CheckedAct", routes, ReadTrail, ExportTrail),
            }
        ),
        request_max_body_size=settings.body_limit,
        openapi_config=openapi_config(),
        plugins=[InstantTexts()],
        logging_config=None,
    )
    # Around the router and not as its middleware, which a path without a route never reaches.
    app.asgi_handler = numbered(Lane(app.asgi_handler, routes))
    return app


async def _sound(request: Request[Any, Any, Any]) -> None:
    """What the lane asks of the requests it takes."""
    refuse_nul(request.scope, request.path_params)


def given(settings: Settings, clock: Clock | None = None) -> dict[str, Any]:
    """What the state of an app holds before its lifespan opens the rest; without a `clock` the settings choose it."""
    witnesses = witnesses_of(settings)
    return {
        "settings": settings,
        "clock": clock or (FileClock(settings.clock_file) if settings.clock_file else Clock()),
        "watch": Watching(),
        "witnesses": witnesses,
        "quorum": quorum_of(settings, witnesses),
    }


def _webhooks(settings: Settings, db: Db, outbox: Outbox, keys: TrailKeys, watch: Watching) -> Webhooks:
    return Webhooks(db, outbox, keys.keyring, watch, origin=settings.origin, private=settings.webhook_private)


def _in_force(editions: Editions, clock: Clock) -> InForce:
    """What the log announces of the edition in force."""
    policy = editions.at(clock.now())
    return InForce(policy.edition, policy.parameters.log_retention_months)


async def sequence_alone(settings: Settings, watch: Watching) -> None:
    """Do nothing but bring records into the log and sign it, until cancelled. Raises LogRefused."""
    clock = FileClock(settings.clock_file) if settings.clock_file else Clock()
    db = await Db.open(settings)
    try:
        await require_schema(db)
        keys = await own_keys(db, settings.data / "keys")
        editions = await Editions.open(db, settings.policies, clock, cache=settings.data / "cache")
        sequencer = Sequencer.of(settings, db, keys, clock, lambda: editions.at(clock.now()).edition)
        cosigning = Cosigning(db, witnesses_of(settings), watch)
        sequencer.on_publish, sequencer.on_turn = cosigning.tell, watch.sequenced
        sequencer.in_force = partial(_in_force, editions, clock)
        genesis = await sequencer.start()
        await cosigning.refuse_set_back()
        waiting = Waiting(db, clock, watch.log_waits, mmd_us=genesis.mmd_us)
        following = asyncio.create_task(editions.follow(), name="editions")
        sequencer.open(settings.sequence_seconds or Settings().sequence_seconds)
        cosigning.open()
        waiting.open()
        try:
            await asyncio.Event().wait()
        finally:
            await waiting.close()
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            await sequencer.close()
            await cosigning.close()
    finally:
        await db.close()


async def post_alone(settings: Settings, watch: Watching) -> None:
    """Do nothing but post effects to webhooks, until cancelled."""
    db = await Db.open(settings)
    try:
        await require_schema(db)
        keys = await own_keys(db, settings.data / "keys")
        webhooks = _webhooks(settings, db, Outbox(db), keys, watch)
        webhooks.open(settings.webhook_seconds or Settings().webhook_seconds)
        try:
            await asyncio.Event().wait()
        finally:
            await webhooks.close()
    finally:
        await db.close()
