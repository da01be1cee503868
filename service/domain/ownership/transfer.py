"""A group passes on in two steps, offer and acceptance; before acceptance nothing has changed (S058-S065)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from service.action import Change, Effect, Id, Need, Situation, Subject
from service.clock import instant_text
from service.domain import staff
from service.domain.caps import over, tier_cap
from service.domain.groups.caps import creditworthy, level_of, may_own_more
from service.domain.groups.facts import ADMIN, MEMBER, OUTSIDE, Group, GroupAction, Offer, Role, rank_of
from service.domain.ownership.handover import (
    freshly_verified,
    hand_over,
    heir_needs,
    unfit_anywhere,
    unfit_as_member,
)
from service.domain.people import Person
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Terms


def rested(here: Situation, group: Group) -> None:
    """Refuse `transfer_resting`, with the seconds left, too soon after the last transfer (S063)."""
    if group.transferred_at is None:
        return
    free_at = group.transferred_at + dt.timedelta(days=here.policy.parameters.transfer_rest_d)
    if here.at < free_at:
        raise Refusal(Code.TRANSFER_RESTING, seconds=int((free_at - here.at).total_seconds()))


def open_offer(here: Situation, group: Group) -> Offer:
    """The offer, still open; it holds at its end and lapses after it. Raises Refusal `offer_lapsed`."""
    if group.offer is None or group.offer.until < here.at:
        raise Refusal(Code.OFFER_LAPSED)
    return group.offer


class OfferTransfer(GroupAction, frozen=True, kw_only=True, tag="group.offer_transfer"):
    """Offer the group to a member, who has `group_transfer_offer_h` hours to accept; nothing changes yet (S058, S061).

    An offer that has lapsed may be replaced before time has ended it.
    """

    person_id: Id
    old_owner_becomes: Literal["admin", "member"] = "member"

    def other(self) -> str:
        return self.person_id

    def asked(self) -> dict[str, str]:
        return {"old_owner_becomes": self.old_owner_becomes}

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [*super().needs(caller), Need(Person, (self.person_id,))]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `self_target`, `not_eligible`, `not_in_group`, `transfer_pending`, `transfer_resting`, `verification_stale`.

        Open cases and measures block it here too (S060).
        """
        del terms
        group = self.group(here)
        if self.person_id == group.owner_id:
            raise Refusal(Code.SELF_TARGET)
        inside = rank_of(here, self.group_id, self.person_id) != OUTSIDE
        why = unfit_anywhere(here.find(Person, self.person_id))
        if inside and why is not None:
            raise Refusal(Code.NOT_ELIGIBLE, why=why)
        if not inside:
            raise Refusal(Code.NOT_IN_GROUP)
        lapsed = group.offer
        if lapsed is not None and lapsed.until >= here.at:
            raise Refusal(Code.TRANSFER_PENDING)
        rested(here, group)
        freshly_verified(here, staff.acting(here))
        until = here.at + dt.timedelta(hours=here.policy.parameters.group_transfer_offer_h)
        changed = group.with_(
            offer=Offer(
                to=self.person_id,
                until=until,
                old_owner_becomes=self.old_owner_becomes,
                by_record=here.record_id,
            )
        )
        return Change(
            writes=[changed],
            before={} if lapsed is None else {"offer": "lapsed"},
            after={
                "offer": "open",
                "until": instant_text(until),
                "old_owner_becomes": self.old_owner_becomes,
            },
            links=[] if lapsed is None else [lapsed.by_record],
            result={"until": instant_text(until), "version": changed.version},
            effects=[
                Effect(
                    "group.transfer_offered",
                    {
                        "group_id": self.group_id,
                        "to": self.person_id,
                        "until": instant_text(until),
                        "old_owner_becomes": self.old_owner_becomes,
                    },
                )
            ],
        )


class _Answer(GroupAction, frozen=True, kw_only=True):
    def own(self, here: Situation) -> bool:
        """The addressee. Where no offer is open there is none, and the state says so: `offer_lapsed`."""
        offer = self.group(here).offer
        return offer is None or offer.to == here.caller.person_id


class AcceptTransfer(_Answer, frozen=True, kw_only=True, tag="group.accept_transfer"):
    """Take the group over: at one instant the owners' intervals swap (S061, S062, S065).

    In heavier tiers an approver must agree, and all is looked at again then (S115). An offer that was accepted in time
    stays open to the approver until its own end.
    """

    demands_version: ClassVar[bool] = True

    def needs(self, caller: Caller) -> Sequence[Need]:
        heir = heir_needs(self.group_id, caller.person_id) if caller.kind == "person" else []
        return [*super().needs(caller), *heir]

    def more(self, here: Situation) -> Sequence[Need]:
        group = here.find(Group, self.group_id)
        if group is None or group.owner_id is None:
            return ()
        return [Need(Role, (self.group_id, group.owner_id)), Need(Person, (group.owner_id,))]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_eligible`, `credit_too_low`, `offer_lapsed`, `transfer_resting`, `verification_stale`, `cap_admins`,
        `cap_groups_owned`.

        Open cases and measures block it here too (S060).
        """
        del terms
        group, heir = self.group(here), here.caller.person_id
        why = unfit_as_member(here, self.group_id, heir)
        if why is not None:
            raise Refusal(Code.NOT_ELIGIBLE, why=why)
        creditworthy(here.policy, level_of(here, heir), group.tier)
        offer = open_offer(here, group)
        rested(here, group)
        freshly_verified(here, here.get(Person, heir))
        becomes = ADMIN if offer.old_owner_becomes == "admin" else MEMBER
        admins = group.admin_count - int(rank_of(here, self.group_id, heir) == ADMIN)
        cap = tier_cap(here.policy, "admins_cap", group.tier)
        if becomes == ADMIN and cap is not None and admins >= cap.value:
            raise over(Code.CAP_ADMINS, cap, admins, here.policy)
        may_own_more(here, heir)
        return hand_over(here, group, heir, old_becomes=becomes, transferred_at=here.at)


class DeclineTransfer(_Answer, frozen=True, kw_only=True, tag="group.decline_transfer"):
    """Say no to an offer."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `offer_lapsed`."""
        del terms
        group = self.group(here)
        return offer_ended(here, group, open_offer(here, group), "declined")


class WithdrawTransfer(GroupAction, frozen=True, kw_only=True, tag="group.withdraw_transfer"):
    """Take an offer back while it is open; an acceptance that waits for approval then comes to nothing."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `offer_lapsed`."""
        del terms
        group = self.group(here)
        return offer_ended(here, group, open_offer(here, group), "withdrawn")


class ExpireTransfer(GroupAction, frozen=True, kw_only=True, tag="group.expire_transfer"):
    """Nobody answered in time: the offer lapses (S015)."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` when it was ended by hand or is not over (S016)."""
        del terms
        group = self.group(here)
        if group.offer is None or group.offer.until >= here.at:
            raise Refusal(Code.NOT_IN_STATE)
        return offer_ended(here, group, group.offer, "lapsed")


def offer_ended(
    here: Situation, group: Group, offer: Offer, how: Literal["declined", "withdrawn", "lapsed"]
) -> Change:
    """The change that ends an offer and names the act whose end it is."""
    del here
    changed = group.with_(offer=None)
    return Change(
        writes=[changed],
        before={"offer": "open", "until": instant_text(offer.until)},
        after={"offer": how},
        about={"offered_to": Subject("person", offer.to)},
        links=[offer.by_record],
        result={"offer": how, "version": changed.version},
        effects=[Effect("group.transfer_ended", {"group_id": group.group_id, "to": offer.to, "how": how})],
    )


__all__ = [
    "AcceptTransfer",
    "DeclineTransfer",
    "ExpireTransfer",
    "OfferTransfer",
    "WithdrawTransfer",
]
