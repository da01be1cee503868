"""What acts do to groups, to who is what in them, and to the order inside."""

from typing import Any

from tests.rebuilding.facts import Facts, Row, ended, tells
from tests.rebuilding.told import RANKS, Act, instant

ADMIN, MEMBER, OWNER = 2, 1, 3
#: What a record of a group's facts calls its columns.
_COLUMNS = {
    "class": "klass",
    **{
        name: name
        for name in (
            *("capacity", "join_mode", "discoverable", "link_open", "minors"),
            *("messages_per_day", "member_count", "tier", "tier_basis"),
        )
    },
}


def group_of(facts: Facts, act: Act) -> Row:
    return facts.get("groups", act.id("target"))


def said_of_group(act: Act) -> dict[str, Any]:
    """The columns of a group that a record says afterwards."""
    said = {column: act.after[name] for name, column in _COLUMNS.items() if name in act.after}
    if "next_recheck_at" in act.after:
        said["next_recheck_at"] = instant(act.after["next_recheck_at"])
    return said


def until_of(act: Act) -> dict[str, Any]:
    return {"until": instant(act.after["until"]), "by_rank": act.rank, "from_at": act.at}


# Life


@tells("group.register")
def registered(facts: Facts, act: Act) -> None:
    group_id, owner = act.id("target"), act.id("owner")
    facts.add(
        "groups",
        act,
        group_id=group_id,
        code=act.value("code"),
        name=act.value("name"),
        jurisdiction=act.after["jurisdiction"],
        created_at=act.at,
        owner_id=owner,
        admin_count=0,
        successors=[],
        imported=act.after.get("imported", False),
        by_record=act.record,
        preserved=False,
        **said_of_group(act),
    )
    begin(facts, act, group_id, owner, OWNER)


@tells("group.update_facts", "group.update_profile", "group.rank")
def described(facts: Facts, act: Act) -> None:
    said = said_of_group(act)
    if "name" in act.opened:
        said["name"] = act.value("name")
    for one in act.coupled:
        if one.get("fact") == "tier":
            said["tier"] = one["after"]
    facts.change(group_of(facts, act), act, **said)


@tells("group.override_tier")
def overridden(facts: Facts, act: Act) -> None:
    over = {
        **act.after["override"],
        "until": instant(act.after["override"]["until"]),
        "by_record": act.record,
    }
    facts.change(group_of(facts, act), act, override=over, **said_of_group(act))


@tells("group.expire_override")
def override_over(facts: Facts, act: Act) -> None:
    facts.change(group_of(facts, act), act, override=None, **said_of_group(act))


@tells("group.dissolve")
def dissolved(facts: Facts, act: Act) -> None:
    group = group_of(facts, act)
    how = {"dissolved_at": act.at, "dissolved_how": act.after["how"], "dissolved_record": act.record}
    facts.change(group, act, **how, offer=None, override=None, succession_due_at=None, succession_record=None)
    for table in ("mute", "mute_all", "bar", "join_request", "hidden_item"):
        for row in facts.all(table, group_id=group["group_id"], ended_at=None):
            facts.change(row, act, **ended(act, None if table == "hidden_item" else "dissolved"))


# Roles


def begin(
    facts: Facts, act: Act, group_id: str, person_id: str, rank: int, granted_by: str | None = None
) -> None:
    facts.add(
        "role",
        act,
        by_record=act.record,
        person_id=person_id,
        group_id=group_id,
        rank=rank,
        from_at=act.at,
        granted_by=granted_by,
    )


def end(facts: Facts, act: Act, group_id: str, person_id: str) -> Row:
    role = facts.one("role", group_id=group_id, person_id=person_id, until_at=None)
    return facts.change(role, act, until_at=act.at, ended_record=act.record)


def person_of(act: Act) -> str:
    """Whom an act is on: the person beside the group, or who acts."""
    if "person" in act.who or act.actor is None:
        return act.id("person")
    return act.actor.id


def go(facts: Facts, act: Act) -> None:
    """The person is no longer inside."""
    group = group_of(facts, act)
    role = end(facts, act, group["group_id"], person_of(act))
    facts.change(
        group,
        act,
        member_count=max(0, group["member_count"] - 1),
        admin_count=group["admin_count"] - (role["rank"] == ADMIN),
    )


@tells("group.leave", "group.remove_member")
def left(facts: Facts, act: Act) -> None:
    go(facts, act)


@tells("group.join", "group.admit")
def entered(facts: Facts, act: Act) -> None:
    group, person = group_of(facts, act), person_of(act)
    begin(facts, act, group["group_id"], person, MEMBER)
    facts.change(group, act, member_count=act.after["member_count"])
    how = "joined" if act.act == "group.join" else "admitted"
    request_ended(facts, act, person, act.after.get("request", how))


@tells("group.appoint", "group.dismiss", "group.step_down")
def office(facts: Facts, act: Act) -> None:
    group, person, rank = group_of(facts, act), person_of(act), act.after["rank"]
    end(facts, act, group["group_id"], person)
    lent_by = act.actor.id if rank == ADMIN and act.actor else None
    begin(facts, act, group["group_id"], person, rank, lent_by)
    facts.change(group, act, admin_count=act.after["admins"])


# Ownership


@tells("group.accept_transfer", "group.succeed", "group.assign_owner")
def handed_over(facts: Facts, act: Act) -> None:
    group, heir = group_of(facts, act), act.id("new_owner")
    group_id = group["group_id"]
    end(facts, act, group_id, heir)
    _release(facts, act, group, heir)
    begin(facts, act, group_id, heir, OWNER)
    if act.act == "group.accept_transfer":
        facts.change(group, act, transferred_at=act.at)
    facts.change(
        group, act, owner_id=heir, ownerless_since=None, admin_count=act.after["admins"], successors=[]
    )
    if any(one.get("of") == "new_owner" for one in act.of("mute")):
        mute = facts.one("mute", group_id=group_id, person_id=heir, ended_at=None)
        facts.change(mute, act, **ended(act, "owner"))


@tells("group.orphan")
def orphaned(facts: Facts, act: Act) -> None:
    group = group_of(facts, act)
    _release(facts, act, group, None)
    facts.change(group, act, owner_id=None, ownerless_since=act.at)


def _release(facts: Facts, act: Act, group: Row, heir: str | None) -> None:
    """The old owner becomes what the record says; his offer and his succession end."""
    facts.change(group, act, offer=None, succession_due_at=None, succession_record=None)
    old = act.has("old_owner")
    if old is None:
        return
    end(facts, act, group["group_id"], old)
    rank = RANKS[act.after["old_owner"]]
    if rank:
        begin(facts, act, group["group_id"], old, rank, heir if rank == ADMIN else None)
    else:
        facts.change(group, act, member_count=group["member_count"] - 1)


@tells("group.offer_transfer")
def offered(facts: Facts, act: Act) -> None:
    offer = {
        "to": act.id("person"),
        "until": instant(act.after["until"]),
        "old_owner_becomes": act.after["old_owner_becomes"],
        "by_record": act.record,
    }
    facts.change(group_of(facts, act), act, offer=offer)


@tells("group.decline_transfer", "group.withdraw_transfer", "group.expire_transfer")
def offer_over(facts: Facts, act: Act) -> None:
    facts.change(group_of(facts, act), act, offer=None)


@tells("group.name_successors")
def successors_named(facts: Facts, act: Act) -> None:
    named = [act.id(f"successor_{place}") for place in range(1, act.after["successors"] + 1)]
    facts.change(group_of(facts, act), act, successors=named)


@tells("group.open_succession")
def succession_open(facts: Facts, act: Act) -> None:
    due = {"succession_due_at": instant(act.after["due_at"]), "succession_record": act.record}
    facts.change(group_of(facts, act), act, **due)


@tells("group.reclaim")
def reclaimed(facts: Facts, act: Act) -> None:
    facts.change(group_of(facts, act), act, succession_due_at=None, succession_record=None)
    for one in act.of("seen_at"):
        if act.actor is not None:
            facts.change(facts.get("person", act.actor.id), act, seen_at=instant(one["now"]))


# Order


def impose(facts: Facts, act: Act, table: str, **whose: str) -> None:
    """A mute or a bar begins; one that was open is superseded by it."""
    old = facts.only(table, **whose, ended_at=None)
    if old is not None:
        facts.change(old, act, **ended(act, "superseded"))
    before = None if old is None else old["by_record"]
    facts.add(table, act, by_record=act.record, **whose, **until_of(act), supersedes=before)


def lift(facts: Facts, act: Act, table: str, **whose: str) -> None:
    facts.change(facts.one(table, **whose, ended_at=None), act, **ended(act, act.after["ended"]))


@tells("group.mute")
def muted(facts: Facts, act: Act) -> None:
    impose(facts, act, "mute", group_id=act.id("target"), person_id=act.id("person"))


@tells("group.unmute", "group.expire_mute")
def unmuted(facts: Facts, act: Act) -> None:
    lift(facts, act, "mute", group_id=act.id("target"), person_id=act.id("person"))


@tells("group.mute_all")
def all_muted(facts: Facts, act: Act) -> None:
    impose(facts, act, "mute_all", group_id=act.id("target"))


@tells("group.unmute_all", "group.expire_mute_all")
def all_unmuted(facts: Facts, act: Act) -> None:
    lift(facts, act, "mute_all", group_id=act.id("target"))


@tells("group.bar_member")
def barred(facts: Facts, act: Act) -> None:
    impose(facts, act, "bar", group_id=act.id("target"), person_id=act.id("person"))
    for one in act.coupled:
        if one["effect"] == "group.request_ended":
            request_ended(facts, act, act.id("person"), one["how"])
        else:
            go(facts, act)


@tells("group.unbar_member", "group.expire_bar")
def unbarred(facts: Facts, act: Act) -> None:
    lift(facts, act, "bar", group_id=act.id("target"), person_id=act.id("person"))


@tells("group.request_join", "group.invite")
def asked_in(facts: Facts, act: Act) -> None:
    person = person_of(act)
    if act.coupled:
        request_ended(facts, act, person, "lapsed")
    inviter = act.actor.id if act.act == "group.invite" and act.actor else None
    whose = {"group_id": act.id("target"), "person_id": person, "invited_by": inviter}
    facts.add("join_request", act, by_record=act.record, **whose, at=act.at)


@tells("group.turn_away", "group.expire_request")
def turned_away(facts: Facts, act: Act) -> None:
    [how] = act.after.values()
    request_ended(facts, act, person_of(act), how)


def request_ended(facts: Facts, act: Act, person_id: str, how: str) -> None:
    request = facts.only("join_request", group_id=act.id("target"), person_id=person_id, ended_at=None)
    if request is not None:
        facts.change(request, act, **ended(act, how))


@tells("group.hide_item")
def hidden(facts: Facts, act: Act) -> None:
    facts.add(
        "hidden_item",
        act,
        by_record=act.record,
        group_id=act.id("target"),
        locator=act.value("locator"),
        item_sha256=act.value("item_sha256"),
        author_id=act.id("author"),
        by_rank=act.rank,
        at=act.at,
    )


@tells("group.restore_item")
def restored(facts: Facts, act: Act) -> None:
    [item] = [one for one in facts.rows["hidden_item"].values() if one["by_record"] in act.links]
    facts.change(item, act, **ended(act))


@tells("group.pin_notice")
def pinned(facts: Facts, act: Act) -> None:
    said = {"locator": act.value("locator"), "by_standing": act.after["by"], "at": act.at}
    facts.add("pinned_notice", act, by_record=act.record, group_id=act.id("target"), **said)
