"""The instant at which ownership changes: who may own, and what changes with the owner (G1, G2, S061, S062, S065)."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

from service.action import Change, Effect, Need, Situation, Subject
from service.domain.groups.caps import beyond_means, caps_needs
from service.domain.groups.facts import ADMIN, MEMBER, OUTSIDE, OWNER, STANDING_OF, Group, Role, rank_of
from service.domain.groups.mutes import Mute
from service.domain.people import Person
from service.errors import Code, Refusal


def heir_needs(group_id: str, person_id: str) -> list[Need]:
    """The rows that say whether a person may own this group, and what ends when he does.

    The person is locked: nobody closes or becomes a bot between the look and the commit.
    """
    return [
        *caps_needs(person_id),
        Need(Role, (group_id, person_id)),
        Need(Mute, (group_id, person_id), write=True),
    ]


def unfit(here: Situation, group_id: str, person_id: str) -> str | None:
    """Why a person cannot own this group now, credit and cap of owned groups included (S068); None: he can.

    What the platform imposed on a person is asked here too (S060, S068).
    """
    why = unfit_as_member(here, group_id, person_id)
    if why is not None:
        return why
    beyond = beyond_means(here, person_id, here.get(Group, group_id).tier)
    return None if beyond is None else "capped" if beyond == Code.CAP_GROUPS_OWNED else beyond.value


def unfit_as_member(here: Situation, group_id: str, person_id: str) -> str | None:
    """Why a person cannot own this group, whatever his credit; None: nothing but that can stand in his way."""
    if rank_of(here, group_id, person_id) == OUTSIDE:
        return "not_member"
    return unfit_anywhere(here.find(Person, person_id))


def unfit_anywhere(person: Person | None) -> str | None:
    """Why a person can own no group at all (P3); None: he can."""
    if person is None:
        return "not_member"
    if person.closed_at is not None:
        return "closed"
    if person.bot:
        return "bot"
    return None if person.identity_status == "verified" else "unverified"


def freshly_verified(here: Situation, person: Person) -> None:
    """Refuse `verification_stale`, with the seconds since, when the last verification is too old (S059)."""
    fresh = dt.timedelta(hours=here.policy.parameters.transfer_fresh_h)
    if person.verified_at is None or person.identity_status != "verified":
        raise Refusal(Code.VERIFICATION_STALE, identity=person.identity_status)
    since = here.at - person.verified_at
    if since > fresh:
        raise Refusal(Code.VERIFICATION_STALE, seconds=int(since.total_seconds()))


class _Release(NamedTuple):
    """The old owner's interval, closed, the one that follows it, if any, and what that does to the counts."""

    ended: list[Role]
    opened: list[Role]
    members: int
    admins: int
    becomes: str


def _release(here: Situation, group: Group, becomes: int, lent_by: str | None) -> _Release:
    """End the old owner's interval; a closed person stays no member."""
    owner = group.owner_id
    role = None if owner is None else here.find(Role, group.group_id, owner)
    if owner is None or role is None:
        return _Release([], [], 0, 0, STANDING_OF[OUTSIDE].value)
    ended = [role.ended(here)]
    if here.get(Person, owner).closed_at is not None:
        return _Release(ended, [], -1, 0, STANDING_OF[OUTSIDE].value)
    follows = Role(
        by_record=here.record_id,
        person_id=owner,
        group_id=group.group_id,
        rank=becomes,
        from_at=here.at,
        granted_by=lent_by if becomes == ADMIN else None,
    )
    return _Release(ended, [follows], 0, int(becomes == ADMIN), STANDING_OF[becomes].value)


def hand_over(here: Situation, group: Group, heir: str, *, old_becomes: int = MEMBER, **facts: Any) -> Change:
    """Make `heir`, who is inside, the owner from this very instant; the old owner's interval ends with it.

    The new owner's mute ends (S062), an open offer, a running succession and ownerlessness too, and the list of successors
    is emptied: it was the old owner's. Admins stay who they are (S057). `facts` are further facts of the group.
    """
    group_id = group.group_id
    before_role = here.get(Role, group_id, heir)
    old = _release(here, group, old_becomes, heir)
    admins = group.admin_count - int(before_role.rank == ADMIN) + old.admins
    owner = Role(by_record=here.record_id, person_id=heir, group_id=group_id, rank=OWNER, from_at=here.at)
    changed = group.with_(
        owner_id=heir,
        ownerless_since=None,
        member_count=group.member_count + old.members,
        admin_count=admins,
        successors=[],
        succession_due_at=None,
        succession_record=None,
        offer=None,
        **facts,
    )
    about = {"new_owner": Subject("person", heir)}
    before: dict[str, Any] = {"new_owner": STANDING_OF[before_role.rank].value, "admins": group.admin_count}
    after: dict[str, Any] = {"new_owner": "owner", "admins": admins}
    if group.owner_id is not None:
        about["old_owner"] = Subject("person", group.owner_id)
        before["old_owner"], after["old_owner"] = "owner", old.becomes
    change = Change(
        writes=[changed, *old.ended, before_role.ended(here), *old.opened, owner],
        before=before,
        after=after,
        about=about,
        result={"owner_id": heir, "version": changed.version},
        effects=[
            Effect(
                "group.owner_changed",
                {
                    "group_id": group_id,
                    "owner_id": heir,
                    "old_owner_id": group.owner_id,
                    "old_owner_becomes": old.becomes,
                },
            )
        ],
    )
    _end_with_the_old_owner(change, group)
    _unmute(here, change, group_id, heir)
    return change


def leave_ownerless(here: Situation, group: Group) -> Change:
    """Take the owner away and put nobody in his place: he becomes a member (G1, S069)."""
    old = _release(here, group, MEMBER, None)
    changed = group.with_(
        owner_id=None,
        ownerless_since=here.at,
        member_count=group.member_count + old.members,
        succession_due_at=None,
        succession_record=None,
        offer=None,
    )
    change = Change(
        writes=[changed, *old.ended, *old.opened],
        before={"old_owner": "owner"},
        after={"old_owner": old.becomes, "ownerless": True},
        coupled=[{"what": "joins", "now": "frozen"}],
        about={"old_owner": Subject("person", str(group.owner_id))},
        result={"version": changed.version},
        effects=[Effect("group.orphaned", {"group_id": group.group_id, "old_owner_id": group.owner_id})],
    )
    _end_with_the_old_owner(change, group)
    return change


def _end_with_the_old_owner(change: Change, group: Group) -> None:
    """Name what ends because it was the old owner's doing: his offer and his succession."""
    if group.offer is not None:
        change.coupled.append({"what": "offer", "now": "ended", "set_by": group.offer.by_record})
        change.links.append(group.offer.by_record)
    if group.succession_record is not None:
        change.coupled.append({"what": "succession", "now": "ended", "set_by": group.succession_record})
        change.links.append(group.succession_record)
    if group.ownerless_since is not None:
        change.coupled.append({"what": "joins", "now": "free"})


def _unmute(here: Situation, change: Change, group_id: str, heir: str) -> None:
    mute = here.find(Mute, group_id, heir)
    if mute is None:
        return
    change.writes.append(mute.ended(here, "owner"))
    change.coupled.append({"what": "mute", "of": "new_owner", "now": "ended", "set_by": mute.by_record})
    change.links.append(mute.by_record)
    change.effects.append(Effect("group.unmuted", {"group_id": group_id, "person_id": heir, "how": "owner"}))
