"""Keys: what callers show. The token is made by whoever asks for the key; the service only ever sees its hash."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec

from service.action import (
    Action,
    Change,
    Id,
    Instant,
    Jurisdiction,
    Need,
    Note,
    Reason,
    Situation,
    Stand,
    Subject,
)
from service.caller import Caller
from service.clock import instant_text
from service.domain import staff
from service.errors import Code, Refusal
from service.rows import Row, subject

if TYPE_CHECKING:
    from service.policy import Policy, Terms

Family = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z_]{1,40}$", description="The noun of actions: group, account, ...")
]
Tier = Annotated[int, msgspec.Meta(ge=1, le=4)]


@subject
class ApiKey(Row, frozen=True, kw_only=True):
    """A key with its scopes: action families, tiers and territories; an empty list means all."""

    table = "api_key"
    key = ("key_id",)
    reading = "read"

    key_id: str
    prefix: str
    token_sha256: bytes
    kind: Literal["backend", "staff", "regulator"]
    staff_id: str | None = None
    families: list[str] = []
    tiers: list[int] = []
    jurisdictions: list[str] = []
    issued_at: dt.datetime
    expires_at: dt.datetime | None = None
    revoked_at: dt.datetime | None = None
    by_record: str
    version: int = 1

    def holds(self, at: dt.datetime) -> bool:
        """Whether the key may be used at `at`."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


def contains(territory: str, other: str) -> bool:
    """Whether a jurisdiction contains another: CN all of China, xx0000 its xx...., xxyy00 its xxyy.., EU its states."""
    if territory == other or territory == other.split("-", 1)[0]:
        return True
    if not (territory.startswith("CN-") and other.startswith("CN-")):
        return False
    code, inner = territory[3:], other[3:]
    if code.endswith("0000"):
        return inner[:2] == code[:2]
    return code.endswith("00") and inner[:4] == code[:4]


class _OfKey(Action, frozen=True, kw_only=True):
    key_id: Id

    def target(self, here: Situation) -> Subject:
        """The key, as a subject of type staff: whoever it is bound to stands beside it."""
        del here
        return Subject("staff", f"key:{self.key_id}")

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [Need(ApiKey, (self.key_id,), write=True), *staff.needs_of(caller)]

    def stand(self, here: Situation) -> Stand:
        key = here.find(ApiKey, self.key_id)
        return staff.stand(here)._replace(version=None if key is None else key.version)


class IssueKey(_OfKey, frozen=True, kw_only=True, tag="key.issue"):
    """Let a token in. The token is made by whoever asks and shown to nobody here: the service keeps its SHA-256.

    Its kind fits what the holder holds now: an authority's reader gets a regulator's key and no other (S189, S190).
    """

    created: ClassVar[bool] = True

    kind: Literal["backend", "staff", "regulator"]
    staff_id: Id | None = None
    token_sha256: Annotated[
        str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the token, hex.")
    ]
    prefix: Annotated[
        str, msgspec.Meta(pattern=r"^[A-Za-z0-9_]{4,16}$", description="Start of the token, to know it by.")
    ]
    families: Annotated[list[Family], msgspec.Meta(max_length=40)] = []
    tiers: Annotated[list[Tier], msgspec.Meta(max_length=4)] = []
    jurisdictions: Annotated[list[Jurisdiction], msgspec.Meta(max_length=100)] = []
    expires_at: Instant | None = None
    reason: Reason | None = None
    note: Note | None = None

    def form(self, policy: Policy) -> None:
        nouns = {line.action.split(".", 1)[0] for line in policy.lines}
        for place, family in enumerate(self.families):
            if family not in nouns:
                raise Refusal(Code.MALFORMED, pointer=f"/families/{place}", why="no action has this noun")
        if (self.kind == "backend") != (self.staff_id is None):
            raise Refusal(
                Code.MALFORMED,
                pointer="/staff_id",
                why="a staff or regulator key is bound to somebody, a backend's to nobody",
            )

    def about(self, here: Situation) -> dict[str, Subject]:
        del here
        return {} if self.staff_id is None else {"holder": Subject("staff", self.staff_id)}

    def needs(self, caller: Caller) -> Sequence[Need]:
        if self.staff_id is None:
            return super().needs(caller)
        holder = (self.staff_id,)
        return [*super().needs(caller), Need(staff.Staff, holder), Need(staff.OpenRoles, holder)]

    def stand(self, here: Situation) -> Stand:
        """Whoever the key would be bound to has a part in the matter (S113)."""
        holder = () if self.staff_id is None else (f"staff:{self.staff_id}",)
        someone = None if self.staff_id is None else here.find(staff.Staff, self.staff_id)
        same = () if someone is None or someone.person_id is None else (f"person:{someone.person_id}",)
        again = staff.stand(here, parties=(*holder, *same))
        return super().stand(here)._replace(relations=again.relations, parties=again.parties)

    def asked(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "families": self.families,
            "tiers": self.tiers,
            "jurisdictions": self.jurisdictions,
            "expires_at": None if self.expires_at is None else instant_text(self.expires_at),
        }

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `already_exists`, `unknown` (nobody of staff has this id), `not_eligible`, `malformed` (over before it begins)."""
        del terms
        if here.find(ApiKey, self.key_id) is not None:
            raise Refusal(Code.ALREADY_EXISTS)
        if self.staff_id is not None:
            here.get(staff.Staff, self.staff_id)
            if not here.get(staff.OpenRoles, self.staff_id).fit(self.kind):
                raise Refusal(Code.NOT_ELIGIBLE, pointer="/kind", why="standing_missing")
        if self.expires_at is not None and self.expires_at <= here.at:
            raise Refusal(Code.MALFORMED, pointer="/expires_at", why="in the past")
        key = ApiKey(
            key_id=self.key_id,
            prefix=self.prefix,
            token_sha256=bytes.fromhex(self.token_sha256),
            kind=self.kind,
            staff_id=self.staff_id,
            families=list(self.families),
            tiers=self.tiers,
            jurisdictions=self.jurisdictions,
            issued_at=here.at,
            expires_at=self.expires_at,
            by_record=here.record_id,
        )
        return Change(
            writes=[key],
            after={
                "kind": self.kind,
                "expires_at": None if self.expires_at is None else instant_text(self.expires_at),
            },
            result={"key_id": self.key_id, "prefix": self.prefix, "version": 1},
        )


class RevokeKey(_OfKey, frozen=True, kw_only=True, tag="key.revoke"):
    """Shut a key out, at once and for good."""

    reason: Reason | None = None
    note: Note | None = None

    def about(self, here: Situation) -> dict[str, Subject]:
        key = here.find(ApiKey, self.key_id)
        return {} if key is None or key.staff_id is None else {"holder": Subject("staff", key.staff_id)}

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `unknown`, `not_in_state`."""
        del terms
        key = here.get(ApiKey, self.key_id)
        if key.revoked_at is not None:
            raise Refusal(Code.NOT_IN_STATE)
        return Change(
            writes=[msgspec.structs.replace(key, revoked_at=here.at, version=key.version + 1)],
            after={"revoked_at": instant_text(here.at)},
            links=[key.by_record],
            result={"key_id": self.key_id, "version": key.version + 1},
        )
