"""The shape of the story: steps, scenes, and what they expect."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

DAY = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
"""Midnight before the story."""
PEOPLE = ("ann", "ben", "cai", "dan", "eve")
"""Who lives in it."""


class Step(NamedTuple):
    """One request and what must come of it."""

    at: dt.datetime
    who: str
    """A staff id or key, `im` for the backend itself, else a person for whom the backend asks."""
    does: str
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    status: int = 200
    code: str = ""
    """The refusal's code; empty: done."""
    rule: str = ""
    """The rule that decided; empty: not looked at."""
    shows: Mapping[str, Any] = {}
    """Members of the answer by dotted path (`#` counts, the empty path is the whole answer) and what each must be."""
    hides: Sequence[str] = ()
    """Texts that must be nowhere in the answer."""
    means: str = ""
    """A word of what is checked."""
    keeps: Mapping[str, str] = {}
    """What later steps speak of: a name and the path of its value in the answer."""
    label: str = "–"
    """Its row in domain.md (h), where it has one."""
    key: str | None = None
    """A request key of its own, to be used again."""
    version: str = ""
    """The version to send: `$name`, or a path whose present one is read."""
    waits: bool = False
    """Time acts beside us: ask again for some seconds until what must come has come."""
    makes: str = "record_id"
    """Where the answer names the record that was made."""
    in_trail: bool = True
    """Whether that record belongs to the trail of the scene's group."""
    takes: str = ""
    """The answer is a file: the name under which it is kept."""
    act: bool = True
    """False for what is posted and is no single act: a batch, a question."""

    @property
    def outcome(self) -> str:
        """What the receipt must say; empty for reads, questions, files and refusals."""
        acts = self.act and self.method in {"POST", "PUT", "PATCH", "DELETE"}
        if not acts or self.code or self.takes:
            return ""
        return "proposed" if self.status == 202 else "done"


class Scene(NamedTuple):
    """Steps under one title. Folded, it is one line of a table; `about` is the group whose trail must hold its records."""

    title: str
    steps: Sequence[Step]
    folded: bool = False
    about: str = ""


class Kept(NamedTuple):
    """The very value that was kept under a name: what must come, or what is sent."""

    name: str


def at(clock: str, day: int = 0) -> dt.datetime:
    """An instant of the story by its time of day."""
    return dt.datetime.fromisoformat(f"{DAY:%Y-%m-%d}T{clock}+00:00") + dt.timedelta(days=day)


def member(body: Any, path: str) -> Any:
    """The member of an answer at a dotted path (`#`: how many there are); None where there is none."""
    for part in path.split(".") if path else ():
        if part == "#":
            body = len(body) if isinstance(body, list) else None
        elif isinstance(body, list):
            body = body[int(part)] if part.isdigit() and int(part) < len(body) else None
        else:
            body = body.get(part) if isinstance(body, dict) else None
    return body


class Difference(NamedTuple):
    """What was expected of a step and did not come."""

    step: Step
    what: str
    expected: str
    came: str


def reference(name: str) -> str:
    """What a verifier would give: opaque, and the same whenever the story is played."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"mandate.demo/{name}"))


def query(**members: str) -> str:
    """The query of a path."""
    return "?" + urlencode(members)


def verified(name: str, *methods: str) -> dict[str, Any]:
    """What the platform says of an identity it has checked."""
    return {"status": "verified", "methods": list(methods), "identity_ref": reference(name)}
