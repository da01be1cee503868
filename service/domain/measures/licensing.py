"""What the end and the renewal of a credential do to accounts of its field: publishing there is suspended, and free again (S096)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from service.action import Change, Need, Note, Reason, Situation, Subject
from service.clock import instant_text
from service.domain.accounts.facts import Account
from service.domain.credentials import NEEDED, Credential, CredentialsOf, OfCredential, answered
from service.domain.in_force import OF_ONE_FIELD, Measure, together
from service.domain.measures.ending import end
from service.domain.measures.imposing import LINKED_AT_MOST, NAMED_AT_MOST, Bound, Ground, impose, said
from service.domain.notices import Said
from service.domain.operators import Operator
from service.errors import Code, Refusal
from service.rows import Row

if TYPE_CHECKING:
    from service.policy import Terms

SUSPENSION = OF_ONE_FIELD
BASIS = ["self-media-notice:item.2", "account-rules:art.9"]
RENEWED: Said = {
    "zh": "新的有效资质已获接受，暂停解除。",
    "en": "A new valid credential was accepted; the suspension is lifted.",
}
CLASSES = {kind: klass for klass, kind in NEEDED.items()}
"""The class of accounts that a kind of credential covers."""


class Run(NamedTuple):
    """An account that its operator runs now: accepted, not closed."""

    account_id: str
    klass: str
    jurisdiction: str


class RunBy(Row, frozen=True, kw_only=True):
    """The accounts an operator runs, and the measures on them that nothing has ended. Looked at, never written."""

    table = "account"
    key = ("operator_id",)

    operator_id: str
    accounts: tuple[Run, ...] = ()
    open: tuple[Measure, ...] = ()

    @classmethod
    async def look(
        cls, db: Any, keys: Sequence[tuple[str, ...]], *, lock: str = "read"
    ) -> Mapping[tuple[str, ...], Self]:
        """Read them operator by operator. The operator's row is the lock: who accepts, closes or moves an account takes it too."""
        del lock
        operators = [key[0] for key in keys]
        accounts: dict[str, list[Run]] = {one: [] for one in operators}
        measures: dict[str, list[Measure]] = {one: [] for one in operators}
        for row in await db.fetch(
            "SELECT operator_id, account_id, klass, jurisdiction FROM account WHERE operator_id = ANY($1)"
            " AND accepted_at IS NOT NULL AND closed_at IS NULL ORDER BY account_id",
            operators,
        ):
            accounts[row["operator_id"]].append(Run(row["account_id"], row["klass"], row["jurisdiction"]))
        columns = ", ".join(f"m.{name}" for name in Measure.__struct_fields__)
        for row in await db.fetch(
            f"SELECT {columns}, a.operator_id FROM account a JOIN measure m"
            " ON m.target_type = 'account' AND m.target_id = a.account_id"
            " WHERE a.operator_id = ANY($1) AND m.ended_at IS NULL ORDER BY m.measure_id",
            operators,
        ):
            measures[row["operator_id"]].append(Measure.from_record(tuple(row)[:-1]))
        return {
            (one,): cls(operator_id=one, accounts=tuple(accounts[one]), open=tuple(measures[one]))
            for one in operators
        }


def covered_from(held: Sequence[Credential], kind: str, at: dt.datetime) -> dt.datetime | None:
    """From when accepted credentials cover a field: the instant asked for, a later one, or None: never."""
    starts = [
        max(one.valid_from, at)
        for one in held
        if one.kind == kind and one.state == "accepted" and one.valid_until >= at
    ]
    return min(starts, default=None)


def ground_of(expired: Credential, klass: str, until: dt.datetime | None) -> Ground:
    """What publishing in a field is suspended on."""
    over = instant_text(expired.valid_until)
    return Ground(
        ground="illegal",
        basis=BASIS,
        facts={"credential_kind": expired.kind, "valid_until": over, "field": klass},
        explanation={
            "zh": f"“{klass}”类账号须有有效资质；所持资质已于{over}到期，自即日起暂停在该领域发布。",
            "en": f"Accounts of class {klass} need a valid credential; the one held ended at {over}, so publishing in "
            "this field is suspended from today.",
        },
        remedy={"zh": "提交新的有效资质。", "en": "Show a new valid credential."},
        papers=[f"credential:{expired.kind}"],
        scope=klass,
        until=until,
        links=[expired.accepted_record or expired.credential_id],
    )


class AcceptCredential(OfCredential, frozen=True, kw_only=True, tag="credential.accept"):
    """A classifier has looked at the document: from its first day the operator may run accounts of that field (A3).

    A suspension of publishing in the field that an earlier credential's end imposed is lifted here (S096); where the new one
    begins later, the suspension gets that day as its end. Of more accounts than one record can name the rest is lifted by time.
    """

    reason: Reason | None = None
    note: Note | None = None

    def more(self, here: Situation) -> Sequence[Need]:
        """Also what is suspended in the field, locked."""
        found = here.find(Credential, self.credential_id)
        if found is None:
            return ()
        run = here.facts.get(RunBy, {}).get((found.operator_id,))
        open_ones = () if run is None else run.open
        return [
            *super().more(here),
            Need(RunBy, (found.operator_id,)),
            *(Need(Measure, (one.measure_id,), write=True) for one in self._suspended(here, open_ones)),
        ]

    def _suspended(self, here: Situation, open_ones: Sequence[Measure]) -> list[Measure]:
        """The open suspensions of the field, each followed by what was coupled to it."""
        klass = CLASSES[here.get(Credential, self.credential_id).kind]
        return [
            part
            for one in open_ones
            if one.code == SUSPENSION and one.scope == klass and one.coupled_to is None
            for part in together(one, open_ones)
        ]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` (answered before), `expired`."""
        del terms
        found = self.waiting(here)
        if found.valid_until < here.at:
            raise Refusal(Code.EXPIRED, valid_until=instant_text(found.valid_until))
        accepted = found.with_(accepted_at=here.at, accepted_record=here.record_id)
        operator, run = here.get(Operator, found.operator_id), here.get(RunBy, found.operator_id)
        suspended = [here.get(Measure, one.measure_id) for one in self._suspended(here, run.open)]
        suspended = [one for one in suspended if one.holds(here.at)]
        places = list(dict.fromkeys(one.target_id for one in suspended))
        named = {account: f"account_{number}" for number, account in enumerate(places[:NAMED_AT_MOST], 1)}
        now = accepted.valid_from <= here.at
        lifted = [
            (
                one,
                Bound(
                    "account",
                    one.target_id,
                    one.jurisdiction,
                    operator.answerable_person,
                    named[one.target_id],
                ),
            )
            for one in suspended
            if now and one.target_id in named
        ]
        ended = end(here, lifted, "lifted", why=RENEWED)
        ends_at = max(here.at, accepted.valid_from)
        later = [
            one.with_(until=ends_at)
            for one in suspended
            if not (now and one.target_id in named) and (one.until is None or one.until > ends_at)
        ]
        change = answered(found, accepted, **_counted(lifted=len(lifted), ending=len(later)))
        change.writes += [*ended.measures, *later, *ended.notices]
        change.coupled = [
            *ended.coupled,
            *(
                {
                    "what": "measure_ending",
                    "measure": one.measure_id,
                    "code": one.code,
                    "of": named[one.target_id],
                    "until": instant_text(ends_at),
                }
                for one in later
                if one.target_id in named
            ),
        ]
        change.about = {
            **({"answerable": Subject("person", operator.answerable_person)} if suspended else {}),
            **{role: Subject("account", account) for account, role in named.items()},
        }
        begun_by = dict.fromkeys([*change.links, *(one.by_record for one in suspended)])
        change.links = list(begun_by)[:LINKED_AT_MOST]
        change.effects += ended.effects
        return change


class ExpireCredential(OfCredential, frozen=True, kw_only=True, tag="credential.expire"):
    """A credential is past its date: from this day it covers nothing, and the operator is told.

    Where no other covers its field, publishing there is suspended on the operator's accounts of that class in the same act
    (S096); until the day on which one that is accepted already begins. Of more accounts than one record can name the rest
    is suspended by acts of their own (measure.impose).
    """

    writes_operator: ClassVar[bool] = True

    def more(self, here: Situation) -> Sequence[Need]:
        """Also what else the operator holds, and its accounts."""
        found = here.find(Credential, self.credential_id)
        if found is None:
            return ()
        return [
            *super().more(here),
            Need(CredentialsOf, (found.operator_id,)),
            Need(RunBy, (found.operator_id,)),
        ]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` when it ended before or its date is not past (S016)."""
        del terms
        found = here.get(Credential, self.credential_id)
        if found.ended_at is not None or here.at <= found.valid_until:
            raise Refusal(Code.NOT_IN_STATE)
        expired = found.ended(here, "expired")
        if found.accepted_at is None:
            return answered(found, expired)
        others = [
            one
            for one in here.get(CredentialsOf, found.operator_id).held
            if one.credential_id != found.credential_id
        ]
        covered = covered_from(others, found.kind, here.at)
        if covered == here.at:
            return answered(found, expired, covered=True)
        operator, run = here.get(Operator, found.operator_id), here.get(RunBy, found.operator_id)
        klass = CLASSES[found.kind]
        already = {
            one.target_id
            for one in run.open
            if one.code == SUSPENSION and one.scope == klass and one.coupled_to is None
        }
        bound = [
            Bound(
                "account", one.account_id, one.jurisdiction, operator.answerable_person, f"account_{number}"
            )
            for number, one in enumerate(
                [one for one in run.accounts if one.klass == klass and one.account_id not in already], 1
            )
        ][:NAMED_AT_MOST]
        imposed = impose(here, SUSPENSION, bound, ground_of(found, klass, covered))
        change = answered(found, expired, covered=False, **_counted(suspended=len(bound)))
        change.writes += imposed.writes
        change.coupled = imposed.coupled
        if bound:
            change.after["measure"] = said(imposed.measures[0])
        change.basis = BASIS
        change.about = {
            **({"answerable": Subject("person", operator.answerable_person)} if bound else {}),
            **{one.role: Subject("account", one.id) for one in bound},
        }
        change.effects += imposed.effects
        return change


def _counted(**counts: int) -> dict[str, int]:
    return {name: number for name, number in counts.items() if number}


# What an act of its own imposes where the credential's end did not


class Lapse(Row, frozen=True, kw_only=True):
    """The credential of a kind that an operator lost last, and when that field was suspended last for one account."""

    table = "credential"
    key = ("operator_id", "kind", "account_id")

    operator_id: str
    kind: str
    account_id: str
    expired: Credential | None = None
    suspended_at: dt.datetime | None = None

    @classmethod
    async def look(
        cls, db: Any, keys: Sequence[tuple[str, ...]], *, lock: str = "read"
    ) -> Mapping[tuple[str, ...], Self]:
        """Read them one by one: they are asked for where an operator has more accounts in a field than one record names."""
        del lock
        columns = ", ".join(Credential.__struct_fields__)
        found: dict[tuple[str, ...], Self] = {}
        for operator, kind, account in keys:
            expired = await db.fetch(
                f"SELECT {columns} FROM credential WHERE operator_id = $1 AND kind = $2 AND ended_how = 'expired'"
                " AND accepted_at IS NOT NULL ORDER BY ended_at DESC LIMIT 1",
                operator,
                kind,
            )
            suspended = await db.fetch(
                "SELECT max(from_at) AS at FROM measure WHERE target_type = 'account' AND target_id = $1 AND code = $2"
                " AND scope = $3",
                account,
                SUSPENSION,
                CLASSES[kind],
            )
            found[operator, kind, account] = cls(
                operator_id=operator,
                kind=kind,
                account_id=account,
                expired=Credential.from_record(expired[0]) if expired else None,
                suspended_at=suspended[0]["at"],
            )
        return found


def needs_of_lapse(account: Account) -> list[Need]:
    """The rows by which a lapse is known."""
    kind = NEEDED.get(account.klass)
    if kind is None:
        return []
    return [
        Need(CredentialsOf, (account.operator_id,)),
        Need(Lapse, (account.operator_id, kind, account.account_id)),
    ]


def ground_of_lapse(here: Situation, account: Account) -> Ground:
    """What the sweep suspends one account's field on.

    Raises Refusal `not_in_state` where it is covered, where a credential's own end is due and will suspend it, and where it was
    suspended since the last end.
    """
    kind = NEEDED.get(account.klass)
    if kind is None or account.accepted_at is None or account.closed_at is not None:
        raise Refusal(Code.NOT_IN_STATE)
    lapse = here.get(Lapse, account.operator_id, kind, account.account_id)
    held = here.get(CredentialsOf, account.operator_id).held
    if any(one.kind == kind and one.valid_until < here.at for one in held):
        raise Refusal(Code.NOT_IN_STATE, state="end_due")
    covered = covered_from(held, kind, here.at)
    lost = lapse.expired
    if lost is None or lost.ended_at is None or covered == here.at:
        raise Refusal(Code.NOT_IN_STATE, state="covered")
    if lapse.suspended_at is not None and lapse.suspended_at >= lost.ended_at:
        raise Refusal(Code.NOT_IN_STATE, state="suspended_since")
    return ground_of(lost, account.klass, covered)
