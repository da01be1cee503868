"""What is proposed and what comes of it: who must agree, who did, and the act that others agreed to."""

from collections.abc import Iterable

from tests.rebuilding.facts import TELLS, Facts, Row, UntoldError, tells
from tests.rebuilding.told import Act, Subject, instant

#: Agreed to, these are told in a record of their own.
_OWN_RECORD = {"field.redact", "person.erase", "record.retire", "tier.run_bulk"}


def proposed(facts: Facts, act: Act) -> None:
    """A proposal waits for others; nothing else has changed."""
    target, actor = act.who["target"], act.actor
    ids = {"person_id": "", "staff_id": ""} | ({} if actor is None else {f"{actor.type}_id": actor.id})
    facts.add(
        "approval",
        act,
        approval_id=act.record,
        action=act.act,
        target_type=target.type,
        target_id=target.id,
        digest=act.after["digest"],
        proposer={"kind": "" if actor is None else actor.type, "key_id": act.key, **ids},
        parties=sorted({*_parties(facts, act), *humans(facts, actor)}),
        persons_needed=act.after["persons"],
        granted_by=[],
        jurisdiction=act.territory,
        tier=act.then.get("tier"),
        created_at=act.at,
        expires_at=instant(act.after["until"]),
        state="open",
    )
    facts.proposals[act.record] = act


def humans(facts: Facts, one: Subject | None) -> set[str]:
    """Somebody under every id he is known by."""
    if one is None:
        return set()
    known = facts.get("staff", one.id).get("person_id") if one.type == "staff" else None
    return {f"{one.type}:{one.id}", *([] if known is None else [f"person:{known}"])}


def _parties(facts: Facts, act: Act) -> Iterable[str]:
    """The humans with a stake in what is proposed, who approve nothing: who answers for it, and whom it is about."""
    target = act.who["target"]
    if act.act == "legal_hold.release":
        return set()
    if act.act == "key.issue":
        return humans(facts, act.who.get("holder"))
    if act.act == "field.redact":
        return {f"{one.type}:{one.id}" for one in act.who.values() if one.type in {"person", "staff"}}
    if target.type == "group":
        return _parties_of_group(facts, act, facts.get("groups", target.id))
    if target.type == "account":
        operators = {facts.get("account", target.id)["operator_id"], act.has("offered_to")} - {None}
        return {f"person:{facts.get('operator', one)['answerable_person']}" for one in operators}
    if target.type == "operator":
        return {f"person:{facts.get('operator', target.id)['answerable_person']}"}
    if target.type == "staff":
        known = facts.only("staff", staff_id=target.id)
        same = act.has("same_human") or (None if known is None else known.get("person_id"))
        return {f"staff:{target.id}", *([] if same is None else [f"person:{same}"])}
    return {f"person:{target.id}"} if target.type == "person" else set()


def _parties_of_group(facts: Facts, act: Act, group: Row) -> set[str]:
    roles = facts.all("role", group_id=group["group_id"], until_at=None)
    if act.act == "group.assign_owner":
        mine = humans(facts, act.actor) & {f"person:{role['person_id']}" for role in roles}
        return {f"person:{one}" for one in (act.id("person"), *group["successors"])} | mine
    offices = 2 if act.act in {"group.dissolve", "group.override_tier"} else 3
    return {f"person:{role['person_id']}" for role in roles if role["rank"] >= offices}


def _approval(facts: Facts, act: Act) -> Row:
    """The one open approval among what the act follows from."""
    open_ones = [one for one in facts.all("approval", state="open") if one["approval_id"] in act.links]
    if len(open_ones) != 1:
        raise UntoldError(f"which of {len(open_ones)} approvals")
    return open_ones[0]


@tells("approval.grant")
def granted(facts: Facts, act: Act) -> None:
    approval = _approval(facts, act)
    me = "" if act.actor is None else f"{act.actor.type}:{act.actor.id}"
    yes = {
        "human": me,
        "standing": act.after["as"],
        "record": act.record,
        "known_as": sorted(humans(facts, act.actor) - {me}),
    }
    facts.change(approval, act, granted_by=[*approval["granted_by"], yes])
    if act.after["granted"] != approval["action"]:
        return
    proposal = facts.proposals[approval["approval_id"]]
    facts.change(approval, act, state="granted", ended_at=act.at, ended_record=act.record)
    if proposal.act not in _OWN_RECORD:
        asker = {"actor": proposal.actor, "standing": proposal.standing, "why": proposal.why}
        TELLS[proposal.act](facts, act._replace(act=proposal.act, asked=proposal.asked, **asker))


@tells("approval.refuse", "approval.expire")
def not_agreed(facts: Facts, act: Act) -> None:
    approval = _approval(facts, act)
    facts.change(approval, act, state=act.after["approval"], ended_at=act.at, ended_record=act.record)
