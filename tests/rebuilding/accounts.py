"""What acts do to accounts: what they are called, whose they are, how heavy their duties are."""

from typing import Any

from tests.rebuilding.facts import Facts, Row, tells
from tests.rebuilding.operators import noticed
from tests.rebuilding.told import Act, instant


def account_of(facts: Facts, act: Act) -> Row:
    return facts.get("account", act.id("account" if "account" in act.who else "target"))


def counted(facts: Facts, act: Act) -> None:
    """How many accounts operators have now."""
    for one in act.of("accounts_counted"):
        facts.change(facts.get("operator", act.id(one["of"])), act, account_count=one["after"])


def named(facts: Facts, act: Act, account_id: str) -> None:
    """The names that an act takes or sets free."""
    for what in act.after.get("names", ()):
        if what == "taken":
            _take(facts, act, account_id)
        else:
            # Set free is what was asked for last: an account asks for one name at a time.
            asked_by = account_of(facts, act)["pending_profile"]["by_record"]
            facts.change(facts.get("account_name", account_id, asked_by), act, freed_record=act.record)


def _take(facts: Facts, act: Act, account_id: str) -> None:
    held = {"account_id": account_id, "by_record": act.record}
    facts.add("account_name", act, **held, name=act.value("name"))


def checked(act: Act) -> dict[str, Any] | None:
    """Why a human must look at a name, as far as a record says it."""
    check = act.after.get("name_check")
    if check is None:
        return None
    beside = [act.id(f"beside_{place}") for place in range(1, check["beside"] + 1)]
    return {"why": check["why"], "kinds": check["kinds"], "beside": beside}


def ranked(act: Act) -> dict[str, Any]:
    """The columns of a tier that a record says afterwards."""
    said: dict[str, Any] = {name: act.after[name] for name in ("tier", "tier_basis") if name in act.after}
    if "next_recheck_at" in act.after:
        said["next_recheck_at"] = instant(act.after["next_recheck_at"])
    return said


def personal(act: Act, differing: list[str], old: Row) -> dict[str, Any]:
    """Name and profile after a change of these; an empty text is not sealed."""
    return {name: act.value(name, "") if name in differing else old[name] for name in ("name", "profile")}


# Registered, accepted, refused


@tells("account.register")
def registered(facts: Facts, act: Act) -> None:
    account_id = act.id("target")
    facts.add(
        "account",
        act,
        account_id=account_id,
        name=act.value("name"),
        klass=act.after["class"],
        operator_id=act.id("operator"),
        profile=act.value("profile", ""),
        jurisdiction=act.asked["jurisdiction"],
        created_at=act.at,
        followers=0,
        reads_per_post=0,
        by_record=act.record,
        name_check=checked(act),
    )
    _take(facts, act, account_id)
    counted(facts, act)


@tells("account.accept")
def accepted(facts: Facts, act: Act) -> None:
    facts.change(account_of(facts, act), act, accepted_at=act.at, name_check=None, **ranked(act))


@tells("account.refuse")
def refused(facts: Facts, act: Act) -> None:
    refusal = {"refused_at": act.at, "closed_at": act.at, "closed_how": "refused"}
    facts.change(account_of(facts, act), act, **refusal)
    counted(facts, act)
    for one in act.of("notice"):
        noticed(facts, act, one["id"], act.id("answerable"), act.who["target"])


@tells("account.update_facts")
def described(facts: Facts, act: Act) -> None:
    said = {name: act.after[name] for name in ("followers", "reads_per_post", "quality")}
    said["last_used_at"] = instant(act.after["last_used_at"])
    if "quality_source" in act.opened:
        said["quality_source"] = act.value("quality_source")
    elif said["quality"] is None:
        said["quality_source"] = None
    for one in act.of("ranked"):
        said["tier"] = one["after"]
    facts.change(account_of(facts, act), act, **said, **ranked(act))


# Profile


@tells("account.update_profile")
def asked_otherwise(facts: Facts, act: Act) -> None:
    account = account_of(facts, act)
    differing = act.after["pending"]
    asked = {
        **personal(act, differing, account),
        "klass": act.asked["class"] if "class" in differing else account["klass"],
        "name_check": checked(act),
        "by_record": act.record,
    }
    named(facts, act, account["account_id"])
    facts.change(account, act, pending_profile=asked)


@tells("account.accept_profile")
def profile_accepted(facts: Facts, act: Act) -> None:
    account = account_of(facts, act)
    former = {name: account[name] for name in ("account_id", "name", "klass", "profile")}
    facts.add("former_profile", act, **former, by_record=act.record, until_at=act.at)
    shown = personal(act, act.after["changed"], account)
    said = {"klass": act.after["class"], "pending_profile": None, **shown, **ranked(act)}
    facts.change(account, act, **said)


@tells("account.refuse_profile")
def profile_refused(facts: Facts, act: Act) -> None:
    named(facts, act, act.id("target"))
    facts.change(account_of(facts, act), act, pending_profile=None)
    for one in act.of("notice"):
        noticed(facts, act, one["id"], act.id("answerable"), act.who["target"])


# Tier


@tells("account.recheck", "account.rank")
def looked_at(facts: Facts, act: Act) -> None:
    facts.change(account_of(facts, act), act, **ranked(act))


@tells("account.override_tier")
def overridden(facts: Facts, act: Act) -> None:
    until = instant(act.after["override_until"])
    over = {"tier": act.asked["tier"], "until": until, "by_record": act.record}
    facts.change(account_of(facts, act), act, override=over, **ranked(act))


@tells("account.expire_override")
def override_over(facts: Facts, act: Act) -> None:
    facts.change(account_of(facts, act), act, override=None, **ranked(act))


# Passed on, signed, closed


@tells("account.offer_transfer")
def offered(facts: Facts, act: Act) -> None:
    until = instant(act.after["until"])
    offer = {"to": act.id("offered_to"), "until": until, "by_record": act.record}
    facts.change(account_of(facts, act), act, offer=offer)


@tells("account.decline_transfer", "account.withdraw_transfer", "account.expire_transfer")
def offer_over(facts: Facts, act: Act) -> None:
    account = account_of(facts, act)
    facts.change(account, act, offer={**account["offer"], "ended_how": act.after["offer"]})


@tells("account.accept_transfer")
def handed_over(facts: Facts, act: Act) -> None:
    account, receiver = account_of(facts, act), act.id("offered_to")
    account_id = account["account_id"]
    change = {"from_operator": account["operator_id"], "to_operator": receiver, "at": act.at}
    facts.add("subject_change", act, account_id=account_id, by_record=act.record, **change)
    counted(facts, act)
    named(facts, act, account_id)
    _released(facts, act, account)
    facts.change(
        account,
        act,
        operator_id=receiver,
        offer={**account["offer"], "ended_how": "accepted"},
        transferred_at=act.at,
        monetisation_eligible_at=instant(act.after["monetisation_eligible_at"]),
        pending_profile=None,
        **ranked(act),
    )


def _released(facts: Facts, act: Act, account: Row) -> None:
    """Contract and agreement with an MCN end."""
    contract = facts.only("mcn_contract", account_id=account["account_id"], until_at=None)
    if contract is not None:
        facts.change(contract, act, until_at=act.at, ended_record=act.record)
    facts.change(account, act, mcn_id=None, mcn_record=None, mcn_agreed=None)


@tells("operator.sign_account")
def signed(facts: Facts, act: Act) -> None:
    account, mcn = account_of(facts, act), act.id("target")
    if "agreed" in act.after:
        facts.change(account, act, mcn_agreed={"mcn_id": mcn, "by_record": act.record})
        return
    facts.change(account, act, mcn_agreed=None, mcn_id=mcn, mcn_record=act.record)
    contract = {"account_id": account["account_id"], "by_record": act.record, "mcn_id": mcn}
    facts.add("mcn_contract", act, **contract, from_at=act.at)


@tells("operator.release_account")
def released(facts: Facts, act: Act) -> None:
    account = account_of(facts, act)
    if act.before["mcn"] == "agreed":
        facts.change(account, act, mcn_agreed=None)
        return
    contract = facts.one("mcn_contract", account_id=account["account_id"], until_at=None)
    facts.change(contract, act, until_at=act.at, ended_record=act.record)
    facts.change(account, act, mcn_id=None, mcn_record=None)


@tells("account.request_close", "account.withdraw_close")
def closing(facts: Facts, act: Act) -> None:
    facts.change(account_of(facts, act), act, closing_due_at=instant(act.after["closing_due_at"]))


@tells("account.close")
def closed(facts: Facts, act: Act) -> None:
    account = account_of(facts, act)
    counted(facts, act)
    named(facts, act, account["account_id"])
    _released(facts, act, account)
    end = {"closed_at": act.at, "closed_how": act.after["closed_how"], "closing_due_at": None}
    facts.change(account, act, pending_profile=None, **end)
