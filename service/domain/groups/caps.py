"""How many groups somebody owns and is in, and whether it may be one more (S046, S047, S085, S090)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from service.action import Need, Situation
from service.domain import credit
from service.domain.caps import over
from service.domain.credit import Credit, Level
from service.domain.people import Person
from service.errors import Code, Refusal
from service.rows import Row

if TYPE_CHECKING:
    from service.policy import Policy


class GroupsOf(Row, frozen=True, kw_only=True):
    """The living groups a person owns, and those he is in without owning them. Looked at, never written.

    Counted, not kept: a count would have to change for every member of a group that is dissolved. Whoever adds a role
    locks the person first, so that two acts never count the same place (S047).
    """

    table = "role"
    key = ("person_id",)

    person_id: str
    owned: int
    joined: int

    @classmethod
    async def look(
        cls, db: Any, keys: Sequence[tuple[str, ...]], *, lock: str = "read"
    ) -> Mapping[tuple[str, ...], Self]:
        """Count the open roles in living groups, person by person."""
        del lock
        found = await db.fetch(
            "SELECT k.id AS person_id, c.owned, c.joined FROM unnest($1::text[]) AS k(id) CROSS JOIN LATERAL ("
            "SELECT count(*) FILTER (WHERE r.rank = 3) AS owned, count(*) FILTER (WHERE r.rank < 3) AS joined"
            " FROM role r JOIN groups g USING (group_id)"
            " WHERE r.person_id = k.id AND r.until_at IS NULL AND g.dissolved_at IS NULL) c",
            [key[0] for key in keys],
        )
        return {(one["person_id"],): cls(**one) for one in found}


def caps_needs(person_id: str) -> list[Need]:
    """The rows by which the caps of a person are asked, his own among them, locked."""
    return [
        Need(Person, (person_id,), write=True),
        Need(Credit, ("person", person_id)),
        Need(GroupsOf, (person_id,)),
    ]


def level_of(here: Situation, person_id: str) -> Level | None:
    """The person's level of credit now; the act has asked for his row and his ledger."""
    person = here.find(Person, person_id)
    return credit.level(
        here.policy.parameters,
        here.find(Credit, "person", person_id),
        verified=person is not None and person.identity_status == "verified",
    )


def creditworthy(policy: Policy, found: Level | None, tier: int, *, pointer: str | None = None) -> None:
    """Refuse `credit_too_low` for the owner of a group of this tier (S046)."""
    least = str(policy.tier_effect("group", "owner_credit_min", tier))
    if not credit.at_least(found, least):
        raise credit.too_low(policy, found, least, f"group.effect.owner_credit_min.{tier}", pointer=pointer)


def may_own_more(here: Situation, person_id: str) -> None:
    """Refuse `cap_groups_owned` for a person who owns as many groups as his credit allows (S047, S090)."""
    cap = credit.entitled(here.policy, "groups_owned", level_of(here, person_id))
    owned = here.get(GroupsOf, person_id).owned
    if owned >= cap.value:
        raise over(Code.CAP_GROUPS_OWNED, cap, owned, here.policy)


def may_join_more(here: Situation, person_id: str) -> None:
    """Refuse `cap_groups_joined` for a person who is in as many groups of others as his credit allows (S090)."""
    cap = credit.entitled(here.policy, "groups_joined", level_of(here, person_id))
    joined = here.get(GroupsOf, person_id).joined
    if joined >= cap.value:
        raise over(Code.CAP_GROUPS_JOINED, cap, joined, here.policy)


def beyond_means(here: Situation, person_id: str, tier: int) -> Code | None:
    """`credit_too_low` or `cap_groups_owned` where a person's credit is not enough to own one more group of this tier."""
    try:
        creditworthy(here.policy, level_of(here, person_id), tier)
        may_own_more(here, person_id)
    except Refusal as refusal:
        return refusal.code
    return None
