"""How scenes are told that are there for their answers: one request a minute."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from service.demo.step import DAY, Scene, Step, verified


def ask(
    who: str,
    does: str,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    status: int = 200,
    code: str = "",
    **more: Any,
) -> Step:
    """A request whose instant its scene knows."""
    return Step(DAY, who, does, method, path, body, status, code, **more)


def scene(title: str, begins: dt.datetime, steps: Iterable[Step]) -> Scene:
    """Steps from an instant on, a minute apart."""
    return Scene(
        title,
        [step._replace(at=begins + dt.timedelta(minutes=minute)) for minute, step in enumerate(steps)],
        folded=True,
    )


def verified_anew(*people: str) -> list[Step]:
    """The backend has looked at these people again: for what asks for a fresh look."""
    return [
        ask(
            "im",
            f"verifies {name}",
            "PUT",
            f"/v1/people/{name}/identity",
            verified(name, "mobile", "id_document"),
        )
        for name in people
    ]


def agrees(who: str, proposal: str) -> Step:
    """Another person's yes to what was kept under a name."""
    return ask(who, "agrees", "POST", f"/v1/approvals/${proposal}/grant", {})
