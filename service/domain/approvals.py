"""Approvals: a second (third) person's yes or no to a proposed act (S112-S116)."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from service.action import (
    Action,
    Change,
    Deed,
    Effect,
    Id,
    Need,
    Note,
    Reason,
    Situation,
    Stand,
    Subject,
    action_name,
    actions,
)
from service.caller import Caller, Standing
from service.decide import judge
from service.domain import staff
from service.errors import Code, Refusal
from service.rows import Row, subject

if TYPE_CHECKING:
    from service.policy import Terms


class Grant(msgspec.Struct, frozen=True):
    """One person's yes: who, as what, by which record. `known_as`: further ids of the same human (S113)."""

    human: str
    standing: str
    record: str
    known_as: list[str] = []

    def humans(self, here: Situation) -> frozenset[str]:
        """Who agreed, under every id he was known by then or is known by now."""
        kind, _, name = self.human.partition(":")
        someone = here.find(staff.Staff, name) if kind == "staff" else None
        person = {f"person:{someone.person_id}"} if someone is not None and someone.person_id else set()
        return frozenset({self.human, *self.known_as, *person})


#: What a backend has ids of; whom staff propose to appoint is none of its business.
_BACKENDS = frozenset({"person", "group", "account", "operator"})


@subject
class Approval(Row, frozen=True, kw_only=True):
    """A proposed act and who agreed to it so far. `approval_id` is the id of the record that proposed it."""

    table = "approval"
    key = ("approval_id",)

    approval_id: str
    action: str
    target_type: str
    target_id: str
    body: bytes | None
    digest: str
    salt: bytes | None = None
    proposer: Caller
    parties: list[str]
    persons_needed: int
    granted_by: list[Grant] = []
    jurisdiction: str
    tier: int | None
    created_at: dt.datetime
    expires_at: dt.datetime
    state: Literal["open", "granted", "refused", "lapsed"] = "open"
    ended_at: dt.datetime | None = None
    ended_record: str | None = None
    version: int = 1

    def proposed(self) -> Action:
        """The act as it was asked."""
        return msgspec.json.decode(self.body or b"", type=actions()[self.action])

    def ended(self, here: Situation, state: Literal["granted", "refused", "lapsed"]) -> Approval:
        """The approval after its end: what was asked is dropped, for it may hold free text."""
        return msgspec.structs.replace(
            self,
            state=state,
            body=None,
            salt=None,
            ended_at=here.at,
            ended_record=here.record_id,
            version=self.version + 1,
        )

    def told(self, state: Literal["granted", "refused", "lapsed"]) -> Effect:
        """What backends are told of the end: an app shows what waits, and who asked cannot ask for ever."""
        target = {"type": self.target_type, "id": self.target_id}
        return Effect(
            f"approval.{state}",
            {"approval_id": self.approval_id, "action": self.action}
            | ({"target": target} if self.target_type in _BACKENDS else {}),
        )


def propose(action: Action, here: Situation, stand: Stand, persons: int) -> Approval:
    """Return the approval that waits for the other `persons - 1` humans (2 or 3 in all) to agree to `action`."""
    body, salt = msgspec.json.encode(action), os.urandom(32)
    target = action.target(here)
    return Approval(
        approval_id=here.record_id,
        action=action_name(action),
        target_type=target.type,
        target_id=target.id,
        body=body,
        # The digest stays, in the record too: without the salt nobody can try out what a note may have said.
        digest=hashlib.sha256(salt + body).hexdigest(),
        salt=salt,
        proposer=here.caller,
        parties=sorted({*stand.parties, *staff.humans(here)}),
        persons_needed=persons,
        jurisdiction=stand.jurisdiction,
        tier=stand.tier,
        created_at=here.at,
        expires_at=here.at + dt.timedelta(hours=here.policy.parameters.approval_lapse_h),
    )


class _ApprovalAction(Action, frozen=True, kw_only=True):
    approval_id: Id

    def target(self, here: Situation) -> Subject:
        approval = here.get(Approval, self.approval_id)
        return Subject(approval.target_type, approval.target_id)

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [Need(Approval, (self.approval_id,), write=True), *staff.needs_of(caller)]

    def more(self, here: Situation) -> Sequence[Need]:
        approval = here.find(Approval, self.approval_id)
        if approval is None or approval.body is None:
            return ()
        act = approval.proposed()
        agreed = (grant.human.partition(":") for grant in approval.granted_by)
        needs = [
            *act.needs(approval.proposer),
            *staff.needs_of(approval.proposer),
            *(Need(staff.Staff, (name,)) for kind, _, name in agreed if kind == "staff"),
        ]
        if any(need.key not in here.facts.get(need.kind, ()) for need in needs):
            return needs
        return [*needs, *act.more(here.seen_as(approval.proposer))]

    def stand(self, here: Situation) -> Stand:
        approval = here.get(Approval, self.approval_id)
        return staff.stand(here, parties=self._parties(here, approval))._replace(
            jurisdiction=approval.jurisdiction, tier=approval.tier, version=approval.version
        )

    def _parties(self, here: Situation, approval: Approval) -> tuple[str, ...]:
        """Who had a stake when it was proposed, and who has come to have one since (S113)."""
        if approval.body is None or here.caller.kind == "sweep":
            return tuple(approval.parties)
        then = here.seen_as(approval.proposer)
        try:
            today = approval.proposed().stand(then).parties
        except Refusal:
            # There is nothing left to have a stake in; the last yes will say so.
            today = ()
        return tuple(dict.fromkeys((*approval.parties, *today, *sorted(staff.humans(then)))))

    def open(self, here: Situation) -> Approval:
        """The approval, still open. Raises Refusal `not_in_state`."""
        approval = here.get(Approval, self.approval_id)
        if approval.state != "open" or approval.expires_at < here.at:
            raise Refusal(Code.NOT_IN_STATE, state="lapsed" if approval.state == "open" else approval.state)
        return approval


class GrantApproval(_ApprovalAction, frozen=True, kw_only=True, tag="approval.grant"):
    """Agree to a proposed act; with the last yes it is decided again on today's facts and takes effect (S115).

    Nobody agrees who has a part in the matter now, or had one when it was proposed (S113).
    Where three must agree, one who agrees is an approver and one is compliance (S114). `digest`: what the caller believes to agree to.
    """

    digest: str | None = None

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state`, `already_granted`, `facts_changed`."""
        del terms
        approval = self.open(here)
        if self.digest is not None and self.digest != approval.digest:
            raise Refusal(Code.FACTS_CHANGED, pointer="/digest")
        mine = staff.humans(here)
        if any(not mine.isdisjoint(grant.humans(here)) for grant in approval.granted_by):
            raise Refusal(Code.ALREADY_GRANTED)
        standing = self._standing(here, approval)
        known_as = sorted(mine - {here.caller.human})
        granted = [*approval.granted_by, Grant(here.caller.human, standing.value, here.record_id, known_as)]
        both = {Standing.APPROVER.value, Standing.COMPLIANCE.value} <= {grant.standing for grant in granted}
        if len(granted) + 1 < approval.persons_needed or (approval.persons_needed == 3 and not both):
            still = msgspec.structs.replace(approval, granted_by=granted, version=approval.version + 1)
            return Change(
                writes=[still],
                before={"granted": len(approval.granted_by)},
                after={"granted": len(granted), "needed": approval.persons_needed - 1, "as": standing.value},
                links=[approval.approval_id],
                result={"approval_id": approval.approval_id, "state": "open", "granted": len(granted)},
            )
        return self._take_effect(here, msgspec.structs.replace(approval, granted_by=granted))

    def _standing(self, here: Situation, approval: Approval) -> Standing:
        """As what the caller agrees: of what he holds, the part that is still lacking; else as approver."""
        held = staff.stand(here).standings
        given = {grant.standing for grant in approval.granted_by}
        if Standing.COMPLIANCE in held and (
            Standing.APPROVER not in held or Standing.APPROVER.value in given
        ):
            return Standing.COMPLIANCE
        return Standing.APPROVER

    def _take_effect(self, here: Situation, approval: Approval) -> Change:
        act = approval.proposed()
        then = here.seen_as(approval.proposer, own_record=act.own_record)
        try:
            stand = act.stand(then)
            if stand.gone is not None:
                raise Refusal(stand.gone)
            self._still_apart(here, approval)
            judged = judge(act, then, stand)
        except Refusal as refusal:
            raise Refusal(Code.FACTS_CHANGED, now=refusal.code.value, **refusal.data) from refusal
        change = judged.change
        if act.own_record:
            change = self._set_going(approval, Deed(act, then, judged))
        # How many the act asks for was asked when it was proposed; the yes itself is one person's.
        change.persons = None
        change.writes.append(approval.ended(here, "granted"))
        change.links.extend([approval.approval_id, *(grant.record for grant in approval.granted_by)])
        change.links = [link for link in dict.fromkeys(change.links) if link != here.record_id]
        change.about = {**act.about(then), **change.about}
        change.after = {**change.after, "granted": approval.action, "as": approval.granted_by[-1].standing}
        change.result = {
            **change.result,
            "approval_id": approval.approval_id,
            "state": "granted",
            "granted": approval.action,
        }
        change.effects.append(approval.told("granted"))
        return change

    def _still_apart(self, here: Situation, approval: Approval) -> None:
        """Refuse `own_matter` where somebody who agreed before has come to have a stake since (S113)."""
        parties = self._parties(here, approval)
        if any(not grant.humans(here).isdisjoint(parties) for grant in approval.granted_by[:-1]):
            raise Refusal(Code.OWN_MATTER)

    @staticmethod
    def _set_going(approval: Approval, deed: Deed) -> Change:
        """The yes alone; what it sets going is written by it, and told in the deed's record, by who asked, after this one."""
        done = deed.judged.change
        yes = [grant.record for grant in approval.granted_by]
        done.links = list(dict.fromkeys([*done.links, approval.approval_id, *yes]))
        return Change(
            writes=list(done.writes),
            about=done.about,
            forgets=done.forgets,
            deed=deed,
            result={**done.result, "deed_id": deed.here.record_id},
        )


class RefuseApproval(_ApprovalAction, frozen=True, kw_only=True, tag="approval.refuse"):
    """Say no to a proposed act: it does not happen."""

    reason: Reason | None = None
    note: Note | None = None

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state`."""
        del terms
        approval = self.open(here)
        return Change(
            writes=[approval.ended(here, "refused")],
            before={"approval": "open"},
            after={"approval": "refused", "act": approval.action},
            links=[approval.approval_id],
            result={"approval_id": approval.approval_id, "state": "refused"},
            effects=[approval.told("refused")],
        )


class ExpireApproval(_ApprovalAction, frozen=True, kw_only=True, tag="approval.expire"):
    """Time is over and nobody agreed: the act lapses; silence is never consent (S116)."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` when it ended by hand or time is not over."""
        del terms
        approval = here.get(Approval, self.approval_id)
        if approval.state != "open" or here.at <= approval.expires_at:
            raise Refusal(Code.NOT_IN_STATE, state=approval.state)
        return Change(
            writes=[approval.ended(here, "lapsed")],
            before={"approval": "open"},
            after={"approval": "lapsed", "act": approval.action},
            links=[approval.approval_id],
            result={"approval_id": approval.approval_id, "state": "lapsed"},
            effects=[approval.told("lapsed")],
        )
