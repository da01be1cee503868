"""What every edition keeps, whatever its lines say: an edition that breaks a promise is faulty and decides nothing.

Only what the rules say without a condition is here, and only where no act looks at it by itself: that a machine accepts no
reserved name (S093) or that the third of three is compliance (S114) holds under any line.
"""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from .compiled import Cell, Table
from .lines import Line
from .vocabulary import STANDINGS, TIERS

READS = ("trail.read", "trail.export")
ON_MEMBERS = ("group.mute", "group.unmute", "group.remove_member", "group.bar_member", "group.dismiss")
OVERRIDES = ("group.override_tier", "account.override_tier")
EXPIRIES = (
    "group.expire_mute",
    "group.expire_mute_all",
    "group.expire_bar",
    "group.expire_request",
    "group.expire_override",
    "group.expire_transfer",
    "account.expire_override",
    "account.expire_transfer",
    "credential.expire",
    "measure.expire",
    "approval.expire",
    "access.expire",
)
HUMANS = tuple(standing for standing in STANDINGS if standing not in {"backend", "sweep"})


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """One promise: of the acts `on` by those of `who` at `tiers` (empty: all), none is allowed beyond what follows.

    `acts`, `by` and `under` are the only acts, standings and relations allowed (empty: any); `persons` is how many humans
    must agree at least; `reason` says that a reason is asked for.
    """

    rule: str
    says: str
    on: tuple[str, ...] = ()
    who: tuple[str, ...] = ()
    tiers: tuple[str, ...] = TIERS
    acts: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    under: tuple[str, ...] = ()
    persons: int = 0
    reason: bool = False

    def is_about(self, cell: Cell) -> bool:
        """Whether it speaks of this cell."""
        action, standing, _, tier = cell
        spoken = not self.on or action in self.on
        return spoken and (not self.who or standing in self.who) and tier in self.tiers

    def cures(self, cell: Cell, line: Line) -> Iterator[str]:
        """What would have to change for `line` to allow this cell, persons apart; nothing where it may."""
        action, standing, relation, _ = cell
        if self.acts and action not in self.acts:
            yield "remove the line"
        if self.by and standing not in self.by:
            yield f"let only {', '.join(self.by)} do it"
        if self.under and relation not in self.under:
            yield f"write relation {' or '.join(self.under)}"
        if self.reason and "reason" not in line.terms:
            yield "add the term reason"


PROMISES = (
    Promise(
        rule="S190",
        says="a regulator asks, reads and takes evidence; no act of his changes anything",
        who=("regulator",),
        acts=(*READS, "order.receive"),
    ),
    Promise(
        rule="S189",
        says="a regulator reads only inside a grant",
        who=("regulator",),
        on=READS,
        under=("in_scope",),
    ),
    Promise(
        rule="S113",
        says="who says yes or no to an act neither proposed it nor has a part in it",
        on=("approval.grant", "approval.refuse"),
        under=("uninvolved",),
    ),
    Promise(
        rule="S114",
        says="the second person is an approver, or compliance, who is the third of three",
        on=("approval.grant", "approval.refuse"),
        by=("approver", "compliance"),
    ),
    Promise(
        rule="S162",
        says="an appeal is decided by a human who took no part in what it is about",
        on=("appeal.decide",),
        by=HUMANS,
        under=("uninvolved",),
    ),
    Promise(
        rule="edition.adopt",
        says="what may be done changes only when two people adopt it",
        on=("edition.adopt",),
        by=HUMANS,
        persons=2,
    ),
    Promise(
        rule="S015",
        says="time acts under its own name: what ends by itself is ended by sweep",
        on=EXPIRIES,
        by=("sweep",),
    ),
    Promise(
        rule="S032-S035",
        says="owner and admins act on lower ranks only, and nobody else acts on members",
        on=ON_MEMBERS,
        by=("owner", "admin"),
        under=("lower",),
    ),
    Promise(
        rule="S053",
        says="in tiers 3 and 4 an owner's dissolution waits for an approver",
        on=("group.dissolve",),
        who=("owner",),
        tiers=("3", "4"),
        persons=2,
    ),
    Promise(
        rule="S056",
        says="only the owner appoints and dismisses admins",
        on=("group.appoint", "group.dismiss"),
        by=("owner",),
    ),
    Promise(rule="S071", says="assigning an owner needs an approver", on=("group.assign_owner",), persons=2),
    Promise(
        rule="S081",
        says="an override of a tier needs a reason and a second person",
        on=OVERRIDES,
        persons=2,
        reason=True,
    ),
    Promise(
        rule="S099",
        says="an account passes on only with the platform's approval",
        on=("account.accept_transfer",),
        persons=2,
    ),
    Promise(
        rule="S188", says="a typical case is published by two", on=("case.publish",), by=HUMANS, persons=2
    ),
)


class Breach(msgspec.Struct, frozen=True):
    """A line that breaks a promise; `effect` names the line of tiers.csv that is to be changed instead."""

    promise: Promise
    line: Line
    effect: str | None = None


def breaches(
    lines: Sequence[Line], table: Table, persons_of: Callable[[Line, str], int]
) -> dict[Breach, list[str]]:
    """Every promise that the table breaks, once for each line that is to be changed, with its cures."""
    found: dict[Breach, dict[str, None]] = {}
    about = {line.action: [one for one in PROMISES if not one.on or line.action in one.on] for line in lines}
    for cell, index in table.items():
        line, tier = lines[index], cell[3]
        if line.effect != "allow":
            continue
        for promise in about[line.action]:
            if not promise.is_about(cell):
                continue
            for cure in promise.cures(cell, line):
                found.setdefault(Breach(promise, line), {})[cure] = None
            if persons_of(line, tier) >= promise.persons:
                continue
            breach = Breach(promise, line)
            if isinstance(line.persons, str):
                if tier == "-":  # of a subject without a tier the most is asked that any tier asks for
                    continue
                breach = Breach(
                    promise, line, f"{line.action.partition('.')[0]}.effect.{line.persons}.{tier}"
                )
            found.setdefault(breach, {})[f"write {promise.persons} persons or more"] = None
    return {breach: list(cures) for breach, cures in found.items()}
