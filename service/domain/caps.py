"""Caps: how many of something there may be, and how every one of them is named where it stops somebody (S085)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.policy import Policy


class Cap(NamedTuple):
    """A cap: at most `value`, because line `source` of the policy says so (or `group.capacity`, which the owner asked for)."""

    value: int
    source: str


def tier_cap(policy: Policy, what: str, tier: int) -> Cap | None:
    """What a group's tier allows (`member_cap`, `admins_cap`); None: no cap."""
    value = policy.tier_effect("group", what, tier)
    return Cap(value, f"group.effect.{what}.{tier}") if isinstance(value, int) else None


def over(
    code: Code, cap: Cap, count: int, policy: Policy, *, pointer: str | None = None, **more: Any
) -> Refusal:
    """The refusal at a cap. Its data always has `cap`, `count`, `source` and the `edition` that `source` is a line of."""
    return Refusal(
        code, pointer=pointer, cap=cap.value, count=count, source=cap.source, edition=policy.edition, **more
    )
