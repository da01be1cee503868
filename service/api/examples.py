"""What operations answer: as the service did when it was asked everything, and with which codes they refuse."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from service.action import Action
from service.errors import Code, Refusal, problem

ANSWERS = Path(__file__).with_name("answers.json")
"""By operation and status: what was asked, and what came. Written by `make examples`."""
_REFUSES = re.compile(r"Refuses .*?(?:\.(?:\s|$)|$)", re.DOTALL)
#: Which acts of every kind are answered so: one that was done, and one that waits for others.
_SHARED = {
    "Done": ("group.mute", "200", "is done"),
    "Proposed": ("account.override_tier", "202", "waits for others"),
}
#: What is no more, by the first word of an action.
_GONE = {"group": Code.GROUP_DISSOLVED, "account": Code.ACCOUNT_CLOSED, "measure": Code.ACCOUNT_CLOSED}
#: What every operation of a sort may answer. Under some edition any act waits for others (`approval_pending`); any may be asked
#: for a person who is closed.
_USUAL = {
    400: Code.MALFORMED,
    401: Code.KEY_INVALID,
    403: Code.REFUSED,
    404: Code.UNKNOWN,
    409: Code.APPROVAL_PENDING,
    410: Code.PERSON_CLOSED,
    412: Code.VERSION_STALE,
    413: Code.BODY_TOO_LARGE,
    415: Code.MEDIA_TYPE,
    422: Code.REQUEST_KEY_REUSED,
    429: Code.TOO_MANY,
    500: Code.INTERNAL,
    503: Code.DATABASE_UNAVAILABLE,
}
_CODES = frozenset(Code)


@cache
def answers() -> dict[str, dict[str, dict[str, Any]]]:
    """All that was heard, by operation and status; nothing where nobody has asked yet."""
    return msgspec.json.decode(ANSWERS.read_bytes()) if ANSWERS.is_file() else {}


def heard(operation: str, status: str, media: str) -> dict[str, Any] | None:
    """The example of an answer, as OpenAPI writes examples; None where none was heard."""
    found = answers().get(operation, {}).get(status)
    if found is None:
        return None
    written = ", in base64" if media == "application/octet-stream" else ""
    return {"summary": f"What {found['asked']} got{written}", "value": found["answer"]}


def shared() -> dict[str, dict[str, Any]]:
    """Receipts for where the shipped policies leave an act no such answer, by the name of the component."""
    found: dict[str, dict[str, Any]] = {}
    for name, (operation, status, what) in _SHARED.items():
        if example := heard(operation, status, "application/json"):
            found[name] = {
                **example,
                "summary": f"{example['summary']}; so is every act answered that {what}",
            }
    return found


def refusals(operation: str, action: type[Action] | None, statuses: Iterable[int], *own: Code) -> list[Code]:
    """A code for each of these statuses that an operation can refuse with; none for a status that it cannot.

    What it was heard to refuse with comes first, then its `own`, then what its `action` says ("Refuses …", in the methods
    of the action), then what every operation may answer.
    """
    told = (
        Code(found["answer"]["code"]) for found in answers().get(operation, {}).values() if _is_problem(found)
    )
    by_status = {code.status: code for code in reversed([*told, *own, *_said(action)])}
    gone = _GONE.get(operation.partition(".")[0])
    if gone is not None and action is not None and not action.created:
        by_status.setdefault(gone.status, gone)
    if action is not None and action.demands_version:
        by_status.setdefault(Code.VERSION_REQUIRED.status, Code.VERSION_REQUIRED)
    found = (by_status.get(status, _USUAL.get(status)) for status in statuses)
    return [code for code in found if code is not None]


def is_usual(code: Code) -> bool:
    """Whether every operation with its status may refuse with it."""
    return _USUAL.get(code.status) is code


def problem_of(code: Code) -> dict[str, Any]:
    """A problem document with this code: of those heard the one with the fewest members, else what all of that code hold."""
    heard = [
        found["answer"]
        for operation in answers().values()
        for found in operation.values()
        if _is_problem(found) and found["answer"]["code"] == code
    ]
    return min(heard, key=len) if heard else msgspec.to_builtins(problem(Refusal(code)))


def _is_problem(found: dict[str, Any]) -> bool:
    return isinstance(found["answer"], dict) and found["answer"].get("type", "").startswith(
        "urn:mandate:problem:"
    )


def _said(action: type[Action] | None) -> list[Code]:
    """The codes that an action names in its methods as its refusals, in their order."""
    texts = [getattr(action, name).__doc__ or "" for name in dir(action) if not name.startswith("_")]
    said = [
        word for text in texts for part in _REFUSES.findall(text) for word in re.findall(r"`(\w+)`", part)
    ]
    return [Code(word) for word in said if word in _CODES]
