"""The names of accounts: given once (A5), and looked at by a human where they hold a reserved term or look like another (S093)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import msgspec

from service.action import Id, Need, Situation, Subject
from service.domain.names import name_key, parts, probes, reserved_terms, similarity, skeleton
from service.errors import Code, Refusal
from service.rows import Row

if TYPE_CHECKING:
    from collections.abc import Collection

BESIDE = 20
"""Most names that are shown beside one, the most similar first."""

Compared = Annotated[
    list[Id],
    msgspec.Meta(max_length=BESIDE, description="The accounts beside whose names a human has seen this one."),
]


class AccountName(Row, frozen=True, kw_only=True):
    """A name that an account asks for, has or had; `freed_record`: it was refused and never given."""

    table = "account_name"
    key = ("name_key", "account_id")

    name_key: str
    account_id: str
    name: str
    skeleton: str
    parts: list[str]
    by_record: str
    freed_record: str | None = None


class NamedAccount(Row, frozen=True, kw_only=True):
    """The account that asks for, has or had a name; names are never given again (A5). Looked at, never written."""

    table = "account_name"
    key = ("name_key",)
    only = "t.freed_record IS NULL"

    name_key: str
    account_id: str
    name: str
    skeleton: str
    parts: list[str]
    by_record: str

    def freed(self, here: Situation) -> AccountName:
        """The name, free for others: what was asked for was not given."""
        return AccountName(**msgspec.structs.asdict(self), freed_record=here.record_id)


class Alike(msgspec.Struct, frozen=True, kw_only=True):
    """A name that a human must see beside another: whose, and how similar, 1 for a look-alike letter by letter."""

    account_id: str
    name: str
    similarity: float
    by_record: str


class NameCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Why a name waits for a human: terms it holds, by kind; a class that automation never accepts; names it looks like."""

    why: list[Literal["reserved_term", "class", "look_alike"]]
    terms: list[str] = []
    kinds: list[str] = []
    beside: list[Alike] = []


class LookAlikes(Row, frozen=True, kw_only=True):
    """The names similar to one, `LEAST_SIMILARITY` or more, the most similar first. Looked at, never written."""

    table = "account_name"
    key = ("name_key",)

    name_key: str
    found: tuple[Alike, ...] = ()

    @classmethod
    async def look(
        cls, db: Any, keys: Sequence[tuple[str, ...]], *, lock: str = "read"
    ) -> Mapping[tuple[str, ...], Self]:
        """Find the names that share a part with each of these, and measure them."""
        del lock
        bones = {key: skeleton(key[0]) for key in keys}
        rows = await db.fetch(
            "SELECT k.name_key AS asked, t.account_id, t.name, t.skeleton, t.by_record"
            " FROM unnest($1::text[], $2::text[]) AS k (name_key, probes) CROSS JOIN LATERAL"
            " (SELECT * FROM account_name a WHERE a.parts ?| string_to_array(k.probes, chr(31))"
            " AND a.freed_record IS NULL OFFSET 0) t",
            [key[0] for key in keys],
            ["\x1f".join(probes(bones[key])) for key in keys],
        )
        found: dict[tuple[str, ...], list[Alike]] = {key: [] for key in keys}
        for row in rows:
            share = similarity(bones[row["asked"],], row["skeleton"])
            if share:
                found[row["asked"],].append(
                    Alike(
                        account_id=row["account_id"],
                        name=row["name"],
                        similarity=share,
                        by_record=row["by_record"],
                    )
                )
        return {
            key: cls(
                name_key=key[0],
                found=tuple(sorted(ones, key=lambda one: (-one.similarity, one.account_id))),
            )
            for key, ones in found.items()
        }


def needs_of_name(key: str, *, write: bool = False) -> list[Need]:
    """The rows that say who has a name, and which look like it; `write`: the act takes it or sets it free."""
    return [Need(NamedAccount, (key,), write=write), Need(LookAlikes, (key,))]


def require_free(here: Situation, key: str, account_id: str) -> None:
    """Refuse `name_reserved` where another account asks for the name, has it or had it (A5)."""
    taken = here.find(NamedAccount, key)
    if taken is not None and taken.account_id != account_id:
        raise Refusal(Code.NAME_RESERVED, pointer="/name")


def taken(here: Situation, account_id: str, name: str) -> list[AccountName]:
    """The row by which an account takes a name; none where it has it already."""
    key = name_key(name)
    if here.find(NamedAccount, key) is not None:
        return []
    bones = skeleton(key)
    return [
        AccountName(
            name_key=key,
            account_id=account_id,
            name=name,
            skeleton=bones,
            parts=parts(bones),
            by_record=here.record_id,
        )
    ]


def name_check(here: Situation, account_id: str, name: str, klass: str) -> NameCheck | None:
    """Why a human must look at this name of this class; None: nothing was found. The act has asked for `needs_of_name`.

    It is seen beside names taken before it only: who was there first need not be compared with who comes after.
    """
    terms = [term for term in reserved_terms(here.policy, name) if "account" in term.nouns]
    own = here.find(NamedAccount, name_key(name))
    since = here.record_id if own is None else own.by_record
    least = here.policy.parameters.name_similarity_review
    beside = [
        one
        for one in here.get(LookAlikes, name_key(name)).found
        if one.account_id != account_id and one.similarity >= least and one.by_record < since
    ][:BESIDE]
    why: list[Literal["reserved_term", "class", "look_alike"]] = []
    if terms:
        why.append("reserved_term")
    if klass in {"news", "government"}:
        why.append("class")
    if beside:
        why.append("look_alike")
    if not why:
        return None
    return NameCheck(
        why=why,
        terms=[term.term for term in terms],
        kinds=list(dict.fromkeys(term.kind for term in terms)),
        beside=beside,
    )


def told(check: NameCheck | None) -> dict[str, Any]:
    """What a record says of a check, without any name."""
    if check is None:
        return {}
    return {"name_check": {"why": check.why, "kinds": check.kinds, "beside": len(check.beside)}}


def said_of(names: Sequence[AccountName]) -> dict[str, Any]:
    """What a record says of names that an act takes or sets free, without any name."""
    return {"names": ["taken" if one.freed_record is None else "freed" for one in names]} if names else {}


def seen_beside(check: NameCheck | None) -> dict[str, Subject]:
    """The accounts whose names stand beside this one, by their roles in the record."""
    beside = [] if check is None else check.beside
    return {f"beside_{place}": Subject("account", one.account_id) for place, one in enumerate(beside, 1)}


def require_human(
    here: Situation, check: NameCheck | None, compared_with: Collection[str], *, by_tier: bool
) -> None:
    """Refuse `human_needed`, whatever the policy's lines say (S093, S129).

    A machine accepts no name that holds a reserved term, looks like another, is of class news or government, or whose tier
    asks for a human (`by_tier`). And who accepts a look-alike says beside which names he saw it: no list is worked off unseen.
    """
    machine = here.caller.kind not in {"staff", "founding"}
    if machine and (by_tier or check is not None):
        raise Refusal(Code.HUMAN_NEEDED, why=["tier"] if check is None else check.why)
    if check is not None and not {one.account_id for one in check.beside} <= set(compared_with):
        raise Refusal(Code.HUMAN_NEEDED, pointer="/compared_with", why=check.why, beside=len(check.beside))
