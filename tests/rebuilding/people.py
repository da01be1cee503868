"""What acts do to people, staff and keys, and what agreeing, holding and planning come to."""

from typing import Any

from tests.rebuilding.facts import Facts, ended, tells
from tests.rebuilding.told import GONE, Act, instant

# People


@tells("person.register")
def person_registered(facts: Facts, act: Act) -> None:
    facts.add(
        "person",
        act,
        person_id=act.id("target"),
        jurisdiction=act.asked["jurisdiction"],
        created_at=act.at,
        identity_status=act.after["identity_status"],
        identity_methods=[],
        minor=act.value("minor", "unknown"),
        bot=act.after["bot"],
        terms_accepted=[],
    )


def identity(act: Act) -> dict[str, Any]:
    """The columns of an identity that was just checked."""
    verified = act.after["identity_status"] == "verified"
    return {
        "identity_status": act.after["identity_status"],
        "identity_methods": act.after["methods"],
        "identity_ref": act.value("identity_ref"),
        "verified_at": act.at if verified else None,
    }


@tells("person.verify")
def person_verified(facts: Facts, act: Act) -> None:
    facts.change(facts.get("person", act.id("target")), act, **identity(act))
    credited(facts, act)


@tells("person.update_facts")
def person_counted(facts: Facts, act: Act) -> None:
    said: dict[str, Any] = {"bot": act.after["bot"]}
    if "minor" in act.opened:
        said["minor"] = act.value("minor")
    if "seen_at" in act.opened:
        seen = act.value("seen_at")
        said["seen_at"] = seen if seen is GONE else instant(seen)
    facts.change(facts.get("person", act.id("target")), act, **said)


@tells("person.accept_terms")
def terms_accepted(facts: Facts, act: Act) -> None:
    person = facts.get("person", act.id("target"))
    accepted = {"document": act.after["document"], "version": act.after["version"], "at": act.at}
    facts.change(person, act, terms_accepted=[*person["terms_accepted"], accepted])


@tells("person.close")
def person_closed(facts: Facts, act: Act) -> None:
    person_id = act.id("target")
    facts.change(facts.get("person", person_id), act, closed_at=act.at)
    for role in facts.all("role", person_id=person_id, until_at=None):
        group = facts.get("groups", role["group_id"])
        if group.get("dissolved_at") is None:
            facts.change(role, act, until_at=act.at, ended_record=act.record)
            admins = group["admin_count"] - (role["rank"] == 2)
            facts.change(group, act, member_count=group["member_count"] - 1, admin_count=admins)
    credited(facts, act)


@tells("person.erase")
def person_erased(facts: Facts, act: Act) -> None:
    person = facts.get("person", act.id("target"))
    nothing = {
        "identity_ref": None,
        "verified_at": None,
        "identity_status": "withdrawn",
        "identity_methods": [],
    }
    forgotten = {"minor": "unknown", "seen_at": None, "terms_accepted": []}
    facts.change(person, act, erased_at=act.at, **nothing, **forgotten)
    for role, one in act.who.items():
        if role.startswith("operator_"):
            facts.change(facts.get("operator", one.id), act, name="", pending=None, **nothing)
    items_forgotten(facts, act)


@tells("field.redact")
def redacted(facts: Facts, act: Act) -> None:
    if {"locator", "item_sha256"} & set(act.said["fields"]):
        items_forgotten(facts, act)


def items_forgotten(facts: Facts, act: Act) -> None:
    """Where an item was goes with the values of the records that hid it and showed it again."""
    gone = facts.lost.get(act.record, set())
    for item in facts.rows["hidden_item"].values():
        if {item["by_record"], item.get("ended_record")} & gone:
            facts.change(item, act, locator=f"erased:{item['by_record']}", item_sha256="")


@tells("record.retire", "retention.purge", "trail.read", "trail.export")
def nothing_governed(facts: Facts, act: Act) -> None:
    """What is read, or deleted beside the facts, leaves them as they are."""


def credited(facts: Facts, act: Act) -> None:
    """Add the lines of credit that an act lists."""
    for line in act.of("credit"):
        whose = act.who[line["of"]]
        key = {"subject_type": whose.type, "subject_id": whose.id}
        told = {name: line[name] for name in ("number", "points", "score", "cause")}
        facts.add("credit_entry", act, **key, **told, at=act.at, by_record=act.record)
        ledger = facts.only("credit", **key) or facts.add("credit", act, **key)
        facts.change(ledger, act, score=line["score"], entries=line["number"])
        if "recovering_since" in line:
            facts.change(ledger, act, recovering_since=instant(line["recovering_since"]))


# Staff and keys


@tells("staff.appoint")
def staff_appointed(facts: Facts, act: Act) -> None:
    staff_id, same = act.id("target"), act.has("same_human")
    place = act.after["jurisdiction"]
    known = facts.only("staff", staff_id=staff_id)
    if known is None:
        facts.add("staff", act, staff_id=staff_id, person_id=same, jurisdiction=place, created_at=act.at)
    else:
        facts.change(known, act, jurisdiction=place, person_id=same or known.get("person_id"))
    if "predecessor" in act.who:
        _dismiss(facts, act, act.id("predecessor"), act.after["standing"])
    held = {"by_record": act.record, "staff_id": staff_id, "standing": act.after["standing"]}
    facts.add("staff_role", act, **held, from_at=act.at)


@tells("staff.dismiss")
def staff_dismissed(facts: Facts, act: Act) -> None:
    facts.change(facts.get("staff", act.id("target")), act)
    _dismiss(facts, act, act.id("target"), act.before["standing"])


def _dismiss(facts: Facts, act: Act, staff_id: str, standing: str) -> None:
    role = facts.one("staff_role", staff_id=staff_id, standing=standing, until_at=None)
    facts.change(role, act, until_at=act.at, ended_record=act.record)


@tells("key.issue")
def key_issued(facts: Facts, act: Act) -> None:
    scopes = {name: act.asked[name] for name in ("kind", "families", "tiers", "jurisdictions")}
    facts.add(
        "api_key",
        act,
        key_id=act.id("target").removeprefix("key:"),
        staff_id=act.has("holder"),
        **scopes,
        issued_at=act.at,
        expires_at=instant(act.after["expires_at"]),
        by_record=act.record,
    )


@tells("key.revoke")
def key_revoked(facts: Facts, act: Act) -> None:
    facts.change(facts.get("api_key", act.id("target").removeprefix("key:")), act, revoked_at=act.at)


# What the house has agreed to


@tells("edition.adopt")
def edition_adopted(facts: Facts, act: Act) -> None:
    since = instant(act.after["effective_at"])
    facts.add("edition", act, digest=act.after["edition"], effective_at=since, adopted_record=act.record)


@tells("filing.record")
def filing_recorded(facts: Facts, act: Act) -> None:
    facts.add(
        "filing",
        act,
        filing_id=act.record,
        document=act.after["document"],
        version=act.after["document_version"],
        authority=act.value("authority"),
        receipt=act.value("receipt"),
        jurisdiction=act.id("target"),
        filed_at=instant(act.asked["filed_at"]),
        at=act.at,
    )


@tells("legal_hold.set")
def hold_set(facts: Facts, act: Act) -> None:
    held = act.who["target"]
    facts.add(
        "legal_hold",
        act,
        hold_id=act.record,
        subject_type=held.type,
        subject_id=held.id,
        set_by="" if act.actor is None else act.actor.id,
        reason=act.why,
        jurisdiction=act.territory,
        from_at=act.at,
    )


@tells("legal_hold.release")
def hold_released(facts: Facts, act: Act) -> None:
    [hold] = [one for one in facts.all("legal_hold", ended_at=None) if one["hold_id"] in act.links]
    facts.change(hold, act, **ended(act))


@tells("tier.plan_bulk")
def planned(facts: Facts, act: Act) -> None:
    said = {name: act.after[name] for name in ("kind", "edition")}
    facts.add("tier_plan", act, plan_id=act.record, **said, state="planned", created_at=act.at)


@tells("tier.run_bulk", "tier.stop_bulk", "tier.finish_bulk")
def plan_moved(facts: Facts, act: Act) -> None:
    [plan] = [one for one in facts.rows["tier_plan"].values() if one["plan_id"] in act.links]
    facts.change(plan, act, state=act.after["plan"])
    if act.after["plan"] == "running":
        facts.change(plan, act, run_record=act.record)
    else:
        facts.change(plan, act, **ended(act))
