"""The acts on measures: imposed for themselves, lifted by hand, ended by time (domain.md (d) "Measures")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from service.action import Action, Change, Id, Need, Note, Reason, Situation, Stand, Subject
from service.clock import instant_text
from service.domain import staff
from service.domain.accounts.facts import Account
from service.domain.in_force import Measure, MeasuresOn, together
from service.domain.measures import dormancy, licensing
from service.domain.measures.ending import end
from service.domain.measures.imposing import Bound, Ground, impose, said
from service.domain.notices import Said, until_text
from service.domain.operators import Operator
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Terms

HEAVY_RANK = 60
"""A measure of this rank or above is lifted by two people."""
LIFTED: Said = {"zh": "该处置措施已解除。", "en": "The measure is lifted."}


class SweepRule(NamedTuple):
    """A published rule by which time itself imposes a measure: the rows it looks at, and the ground it finds in them."""

    needs: Callable[[Account], list[Need]]
    ground: Callable[[Situation, Account], Ground]


SWEEP_RULES: dict[str, SweepRule] = {
    dormancy.PAUSE: SweepRule(
        lambda account: dormancy.needs_of(account.account_id), dormancy.ground_of_pause
    ),
    licensing.SUSPENSION: SweepRule(licensing.needs_of_lapse, licensing.ground_of_lapse),
}
"""The codes that time imposes (S109). What staff, the backend and authorities impose rests on a finding or an order instead."""


class _OnAccount(Action, frozen=True, kw_only=True):
    """An act on a measure on an account; its record is about the account, its operator, and the person it answers through.

    Measures on groups, people and operators join here with the cases and orders that impose them: by their own target row.
    """

    def account_id(self, here: Situation) -> str:
        """The account that the measure binds. Raises Refusal `unknown`."""
        raise NotImplementedError

    def target(self, here: Situation) -> Subject:
        """The account."""
        return Subject("account", self.account_id(here))

    def about(self, here: Situation) -> dict[str, Subject]:
        """The operator and its answerable person."""
        account = here.find(Account, self.account_id(here))
        operator = None if account is None else here.find(Operator, account.operator_id)
        if operator is None:
            return {}
        return {
            "operator": Subject("operator", operator.operator_id),
            "answerable": Subject("person", operator.answerable_person),
        }

    def bound(self, here: Situation) -> Bound:
        """Whom the measure binds."""
        account = here.get(Account, self.account_id(here))
        operator = here.get(Operator, account.operator_id)
        return Bound("account", account.account_id, account.jurisdiction, operator.answerable_person)

    def stand(self, here: Situation) -> Stand:
        """Whoever is the answerable person's human is not apart. An account that is closed keeps its measures."""
        account = here.get(Account, self.account_id(here))
        operator = here.get(Operator, account.operator_id)
        return staff.stand(
            here,
            parties=(f"person:{operator.answerable_person}",),
            own=here.caller.person_id == operator.answerable_person,
        )._replace(tier=account.tier, klass=account.klass, jurisdiction=account.jurisdiction)


class ImposeMeasure(_OnAccount, frozen=True, kw_only=True, tag="measure.impose"):
    """Impose a measure of the catalogue, with what is coupled to it and a notice of reasons, in one act (S119, S133).

    Here time imposes by a sweep rule. Staff join with the members that name a case or an order (S109, S112): their
    findings give the ground, and all the rest is this.
    """

    code: str
    target_id: Id

    def account_id(self, here: Situation) -> str:
        return self.target_id

    def asked(self) -> dict[str, str]:
        return {"code": self.code}

    def needs(self, caller: Caller) -> Sequence[Need]:
        """The account, held still, and what is on it."""
        return [
            Need(Account, (self.target_id,)),
            Need(MeasuresOn, ("account", self.target_id)),
            *staff.needs_of(caller),
        ]

    def more(self, here: Situation) -> Sequence[Need]:
        """Its operator, and what the sweep rule looks at."""
        account = here.find(Account, self.target_id)
        if account is None:
            return ()
        rule = SWEEP_RULES.get(self.code)
        return [
            Need(Operator, (account.operator_id,)),
            *([] if rule is None else rule.needs(account)),
        ]

    def stand(self, here: Situation) -> Stand:
        """A new measure on a closed account has nothing to bind."""
        account = here.get(Account, self.target_id)
        gone = None if account.closed_at is None else Code.ACCOUNT_CLOSED
        return super().stand(here)._replace(gone=gone)

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `unknown` (no such code), `wrong_target`, `human_needed`, `basis_missing` (no sweep rule), `already_in_state`,
        `not_in_state` (the rule does not apply now, S016).
        """
        del terms
        account = here.get(Account, self.target_id)
        rule, entry = SWEEP_RULES.get(self.code), here.policy.measures.get(self.code)
        if here.get(MeasuresOn, "account", self.target_id).of(self.code) is not None:
            raise Refusal(Code.ALREADY_IN_STATE)
        if rule is None:
            if entry is not None and not entry.automation:
                raise Refusal(Code.HUMAN_NEEDED, measure=self.code)
            raise Refusal(Code.BASIS_MISSING if entry is not None else Code.UNKNOWN, pointer="/code")
        ground = rule.ground(here, account)
        imposed = impose(here, self.code, [self.bound(here)], ground)
        first = imposed.measures[0]
        return Change(
            writes=imposed.writes,
            after=said(first),
            coupled=imposed.coupled,
            basis=ground.basis,
            links=ground.links,
            result={"measure_id": first.measure_id, "until": until_text(first.until)},
            effects=imposed.effects,
        )


class _OfMeasure(_OnAccount, frozen=True, kw_only=True):
    """An act on one measure."""

    measure_id: Id

    def measure(self, here: Situation) -> Measure:
        """The measure as it is now. Raises Refusal `unknown`."""
        return here.get(Measure, self.measure_id)

    def account_id(self, here: Situation) -> str:
        return self.measure(here).target_id

    def asked(self) -> dict[str, Any]:
        return {"measure": self.measure_id}

    def needs(self, caller: Caller) -> Sequence[Need]:
        """The measure and the caller."""
        return [Need(Measure, (self.measure_id,), write=True), *staff.needs_of(caller)]

    def more(self, here: Situation) -> Sequence[Need]:
        """The account, its operator, and what stands beside the measure."""
        measure = here.find(Measure, self.measure_id)
        if measure is None:
            return ()
        account = here.facts.get(Account, {}).get((measure.target_id,))
        return [
            Need(Account, (measure.target_id,)),
            Need(MeasuresOn, (measure.target_type, measure.target_id)),
            *([] if account is None else [Need(Operator, (account.operator_id,))]),
        ]

    def stand(self, here: Situation) -> Stand:
        return super().stand(here)._replace(version=self.measure(here).version)


class LiftMeasure(_OfMeasure, frozen=True, kw_only=True, tag="measure.lift"):
    """A moderator without a part in it lifts a measure, with a reason; what was coupled to it goes too (S124).

    From rank 60 a second person must agree. What rests on an order is lifted by order only (S127): that joins with orders.
    """

    reason: Reason | None = None
    note: Note | None = None

    def more(self, here: Situation) -> Sequence[Need]:
        """Also what was coupled to it, locked."""
        found = super().more(here)
        measure = here.find(Measure, self.measure_id)
        if measure is None:
            return found
        beside = here.facts.get(MeasuresOn, {}).get((measure.target_type, measure.target_id))
        parts = [] if beside is None else together(measure, beside.open)[1:]
        return [*found, *(Need(Measure, (one.measure_id,), write=True) for one in parts)]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` (not in force)."""
        measure, bound = self.measure(here), self.bound(here)
        if not measure.holds(here.at):
            raise Refusal(Code.NOT_IN_STATE, state=measure.state(here.at))
        beside = here.get(MeasuresOn, measure.target_type, measure.target_id).open
        parts = [here.get(Measure, one.measure_id) for one in together(measure, beside)]
        ended = end(
            here,
            [(one, bound) for one in parts if one.holds(here.at)],
            "lifted",
            why=LIFTED,
            reason=self.reason,
        )
        entry = here.policy.measures.get(measure.code)
        heavy = entry is not None and entry.rank >= HEAVY_RANK
        return Change(
            writes=ended.writes,
            before={"code": measure.code, "state": "in_force", "until": until_text(measure.until)},
            after={"state": "lifted"},
            coupled=ended.coupled,
            links=[measure.by_record],
            result={"measure_id": measure.measure_id, "state": "lifted", "version": measure.version + 1},
            effects=ended.effects,
            persons=2 if heavy else terms.persons,
        )


class ExpireMeasure(_OfMeasure, frozen=True, kw_only=True, tag="measure.expire"):
    """A timed measure ends by lapse, the instant after `until`; what was coupled to it by its own date (S125)."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` when it was ended by hand or is not over (S016)."""
        del terms
        measure = self.measure(here)
        if measure.ended_at is not None or measure.until is None or here.at <= measure.until:
            raise Refusal(Code.NOT_IN_STATE)
        ended = end(here, [(measure, self.bound(here))], "expired")
        return Change(
            writes=ended.writes,
            before={"code": measure.code, "until": instant_text(measure.until)},
            after={"state": "expired"},
            coupled=ended.coupled,
            links=[measure.by_record],
            result={"measure_id": measure.measure_id, "state": "expired"},
            effects=ended.effects,
        )
