"""Plays the story against a house of its own: starts everything, asks over HTTP, compares, tells, and stops everything."""

from __future__ import annotations

import asyncio
import datetime as dt
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from rich.console import Console

from service import log
from service.app import create_app
from service.clock import SetClock
from service.db import Embedded, migrate
from service.demo.authority import REGULATOR_KEY
from service.demo.client import Answer, Client, Heard
from service.demo.evidence import CHECK, Desk
from service.demo.step import DAY, Difference, Kept, Scene, Step, member
from service.demo.story import STAFF, story
from service.demo.telling import Telling, plain
from service.founding import Founder, FreshKey, found, new_token
from service.settings import Settings

TURN_SECONDS = 0.1
"""How often time and the log take their turns."""
PATIENCE_SECONDS = 10.0
"""How long what time has to do is waited for."""
MERGE_SECONDS = 86_400
"""What the demo's log promises. Its clock leaps over hours while its sequencer needs its tenth of a real second: under the
usual ten seconds a record made before a leap and logged after it would count as backdated, and rightly so."""
STOP_SECONDS = 15
_AUDIT = "?purpose=the+day+as+it+was&limit=500"


class DemoError(Exception):
    """The house did not come up, or went away; the message says what to look at."""


def run(
    *,
    keep: bool = False,
    scenes: Sequence[Scene] | None = None,
    console: Console | None = None,
    staff: Sequence[Founder] = STAFF,
    hears: Callable[[Heard], None] | None = None,
) -> int:
    """Play the story; return 0 when every expected outcome was seen, else 1. `keep` leaves the data and says where.

    `hears` is told every answer as it came. Raises DemoError, EmbeddedError, MigrationError.
    """
    log.set_up("warning")
    told = Telling(console or _console())
    folder = Path(tempfile.mkdtemp(prefix="mandate-demo-"))
    began = time.monotonic()
    try:
        chosen = story() if scenes is None else scenes
        with (
            told.progress(sum(len(scene.steps) for scene in chosen)),
            _served(folder, staff, told.saying) as client,
        ):
            client.hears = hears
            play = Play(client, told, Desk(folder / "desk"))
            for scene in chosen:
                play.scene(scene)
            if keep:
                _keep(client.tokens, folder / "tokens.json")
            trails = {name: play.trail(name) for name in dict.fromkeys(one.about for one in chosen) if name}
        if chain := play.names.get("chain"):
            told.chain(chain)
        if "g" in trails:
            told.trail("g", trails["g"])
        told.closing(play.asked, play.differences, time.monotonic() - began)
        return 1 if play.differences else 0
    finally:
        if keep:
            told.kept(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _console() -> Console:
    """A terminal as wide as it is; elsewhere wide enough for the tables."""
    return Console() if sys.stdout.isatty() else Console(width=140)


def _keep(tokens: Mapping[str, str], file: Path) -> None:
    """Leave the story's tokens beside its data, for its owner alone: else nobody could ask the house again."""
    with open(file, "w", encoding="ascii", opener=lambda path, flags: os.open(path, flags, 0o600)) as kept:
        json.dump(tokens, kept, indent=2)


# The house


@contextmanager
def _served(folder: Path, staff: Sequence[Founder], say: Callable[[str], None]) -> Iterator[Client]:
    """A founded, served house in `folder`, and who asks it; all stopped at the end."""
    clock = folder / "clock"
    say("PostgreSQL starts")
    with Embedded.start(folder) as embedded:
        say("migrations")
        migrate(embedded.owner_dsn, say=None, embedded=True)
        say("edition, staff and keys")
        tokens = {key.key_id: key.token for key in asyncio.run(_found(embedded, folder, staff))}
        clock.write_text("2026-11-02T06:00:00.000Z", encoding="ascii")
        say("the service starts")
        with _serving(folder, clock) as port:
            yield Client("127.0.0.1", port, tokens, clock)
            say("everything stops")


async def _found(embedded: Embedded, folder: Path, staff: Sequence[Founder]) -> list[FreshKey]:
    """Adopt the edition, appoint the story's staff and issue the first keys, two hours before the story."""
    app = create_app(
        Settings(dsn=embedded.service_dsn, data=folder, merge_seconds=MERGE_SECONDS),
        clock=SetClock(DAY + dt.timedelta(hours=6)),
    )
    async with app.lifespan():
        return await found(app.state.door, app.state.db, staff, ["im"])


@contextmanager
def _serving(folder: Path, clock: Path) -> Iterator[int]:
    """`mandate serve` on a free port of this machine; yields the port."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MANDATE_")}
    env |= {
        "MANDATE_DATA": str(folder),
        "MANDATE_CLOCK_FILE": str(clock),
        "MANDATE_MERGE_SECONDS": str(MERGE_SECONDS),
        "MANDATE_SWEEP_SECONDS": str(TURN_SECONDS),
        "MANDATE_SEQUENCE_SECONDS": str(TURN_SECONDS),
        "MANDATE_LOG_LEVEL": "warning",
    }
    log = folder / "service.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--port", "0"],
            cwd=Path(__file__).resolve().parents[2],
            env=env,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        yield _port(process, log)
    except (OSError, http.client.HTTPException) as error:
        raise DemoError(f"the service does not answer any more ({error!r}): {_last_line(log)}") from error
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(process: subprocess.Popen[str], log: Path) -> int:
    for line in process.stdout or ():
        if match := re.search(r"http://[^:]+:(\d+)", line):
            return int(match[1])
    raise DemoError(f"the service ended before it served: {_last_line(log)}")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


# The play


class Play:
    """Asks step by step, remembers what later steps speak of, and compares what came with what must come."""

    def __init__(self, client: Client, told: Telling, desk: Desk) -> None:
        """The token of the authority's second key is made here: the service only ever sees its hash."""
        token, prefix, digest = new_token()
        client.tokens[REGULATOR_KEY] = token
        self.names: dict[str, Any] = {"key_sha256": digest, "key_prefix": prefix}
        self.asked = 0
        self.differences: list[Difference] = []
        self._client = client
        self._told = told
        self._desk = desk
        self._made: dict[str, list[str]] = {}

    def scene(self, scene: Scene) -> None:
        """Play a scene and tell it."""
        self._told.opens(scene)
        for step in scene.steps:
            before = len(self.differences)
            answer = self._step(step)
            if scene.about and step.in_trail and answer is not None:
                self._remember(scene.about, member(answer.body, step.makes))
            self._told.step(step, answer, as_expected=len(self.differences) == before)
        self._told.closes(scene)

    def trail(self, group_id: str) -> list[dict[str, Any]]:
        """Read a group's trail as the auditor: its records must be those that were answered, in order, and no others."""
        path = f"/v1/trails/group/{quote(group_id)}{_AUDIT}"
        step = Step(self._client.now or DAY, "au", f"reads the trail of {group_id}", "GET", path)
        answer = self._step(step)
        items = [] if answer is None else answer.body.get("items", [])
        found, made = [one["record_id"] for one in items], self._made.get(group_id, [])
        if found != made:
            odd = sorted(set(found) ^ set(made)) or ["their order"]
            self.differences.append(
                Difference(step, "its records", f"{len(made)} as answered", f"{len(found)}: {', '.join(odd)}")
            )
        return items

    def _step(self, step: Step) -> Answer | None:
        """Ask once, or until time has done its part; None where an earlier step owes what this one speaks of."""
        self.asked += 1
        self._client.at(step.at)
        patient_until = time.monotonic() + (PATIENCE_SECONDS if step.waits else 0)
        try:
            while True:
                answer = self._ask(step)
                found = [Difference(step, *one) for one in self._compared(step, answer)]
                if not found or time.monotonic() >= patient_until:
                    break
                time.sleep(TURN_SECONDS)
        except KeyError as missing:
            self.differences.append(Difference(step, "an earlier step", f"gave {missing}", "nothing"))
            return None
        self.differences += found
        if step.takes:
            self._desk.lay_down(step.takes, answer.raw)
        for name, path in step.keeps.items():
            if (value := member(answer.body, path)) is not None:
                self.names[name] = value
        return answer

    def _ask(self, step: Step) -> Answer:
        if step.method == CHECK:
            about = (step.body or {}).get("about", "")
            return self._desk.check(step, self.names, self._made.get(about, []))
        version = None
        if step.version.startswith("/"):
            version = self._client.ask("im", "GET", step.version).version
        elif step.version:
            version = int(self._filled(step.version))
        return self._client.ask(
            step.who,
            step.method,
            self._filled(step.path),
            None if step.body is None else self._filled(step.body),
            key=step.key,
            version=version,
        )

    def _compared(self, step: Step, answer: Answer) -> Iterator[tuple[str, str, str]]:
        """Each member that is not as expected: what it is, what was expected, what came."""
        body = answer.body
        expected: dict[str, Any] = dict(step.shows)
        if step.code:
            expected["code"] = step.code
        if step.outcome:
            expected["outcome"] = step.outcome
        if step.rule:
            expected["rule"] = step.rule
        if answer.status != step.status:
            yield "status", str(step.status), f"{answer.status} {plain(body)[:200]}"
        for path, wanted in expected.items():
            value, came = self._kept(wanted), member(body, path)
            if came != value:
                yield path or "answer", plain(value), plain(came)
        said = json.dumps(body, ensure_ascii=False)
        for text in step.hides:
            if text in said:
                yield "answer", f"not to say {text}", "it does"

    def _filled(self, value: Any) -> Any:
        """The value with every `$name` in its texts filled in, and what was kept in its place. Raises KeyError."""
        if isinstance(value, Kept):
            return self.names[value.name]
        if isinstance(value, str):
            return Template(value).substitute(self.names)
        if isinstance(value, Mapping):
            return {name: self._filled(one) for name, one in value.items()}
        return [self._filled(one) for one in value] if isinstance(value, list) else value

    def _kept(self, value: Any) -> Any:
        if isinstance(value, Kept):
            return self.names[value.name]
        return [self._kept(one) for one in value] if isinstance(value, list) else value

    def _remember(self, group_id: str, record_id: Any) -> None:
        made = self._made.setdefault(group_id, [])
        if record_id and record_id not in made:
            made.append(record_id)
