"""What acts do that impose or end measures, by themselves or with something else."""

from typing import Any

from tests.rebuilding.facts import Facts, Row, ended, tells
from tests.rebuilding.operators import credential_of, noticed
from tests.rebuilding.told import Act, instant

SUSPENSION = "P_FIELD_SUSPEND"


def imposed(facts: Facts, act: Act, said: dict[str, Any]) -> None:
    """The measures that an act lists, with what they rest on and their notices."""
    for one in act.of("measure_imposed"):
        target, measure_id = act.who[one["of"]], f"{act.record}.{one['id']}"
        facts.add(
            "measure",
            act,
            measure_id=measure_id,
            code=one["code"],
            target_type=target.type,
            target_id=target.id,
            scope=said["scope"],
            jurisdiction=facts.get("account", target.id)["jurisdiction"],
            **{name: said[name] for name in ("ground", "basis", "facts", "imposed_as")},
            from_at=act.at,
            until=instant(one["until"]),
            dsa_surface=said["surface"],
            coupled_to=f"{act.record}.{one['coupled_to']}" if "coupled_to" in one else None,
            notice_id=measure_id if "notice" in one else None,
            by_record=act.record,
        )
        if "notice" in one:
            noticed(facts, act, one["id"], act.id("answerable"), target, measure_id)


def over(facts: Facts, act: Act, how: str) -> None:
    """The measures that an act lists as ended, with the notices of it."""
    for one in act.of(f"measure_{how}"):
        measure = facts.get("measure", one["measure"])
        why = act.why if act.act == "measure.lift" else None
        facts.change(measure, act, **ended(act, how), lift_reason=why)
        if "notice" in one:
            told = (act.id("answerable"), act.who[one["of"]], measure["measure_id"])
            noticed(facts, act, one["id"], *told)


@tells("measure.impose")
def by_itself(facts: Facts, act: Act) -> None:
    imposed(facts, act, act.after)


@tells("measure.lift", "account.wake")
def lifted(facts: Facts, act: Act) -> None:
    over(facts, act, "lifted")


@tells("measure.expire")
def expired(facts: Facts, act: Act) -> None:
    over(facts, act, "expired")


@tells("account.warn_dormant")
def warned(facts: Facts, act: Act) -> None:
    since = {"unused_since": instant(act.after["unused_since"]), "at": act.at}
    facts.add("dormancy_warning", act, account_id=act.id("target"), **since, by_record=act.record)
    for one in act.of("notice"):
        noticed(facts, act, one["id"], act.id("answerable"), act.who["target"])


@tells("credential.accept")
def credential_accepted(facts: Facts, act: Act) -> None:
    credential = credential_of(facts, act)
    facts.change(credential, act, accepted_at=act.at, accepted_record=act.record)
    over(facts, act, "lifted")
    ends_at = max(act.at, credential["valid_from"])
    ending = [facts.get("measure", one["measure"]) for one in act.of("measure_ending")]
    if len(ending) < act.after.get("ending", 0):
        # More than one record can name: all that is suspended in the field ends so.
        ending = [
            one for one in _suspended(facts, credential) if one["until"] is None or one["until"] > ends_at
        ]
    for measure in ending:
        facts.change(measure, act, until=ends_at)


def _suspended(facts: Facts, credential: Row) -> list[Row]:
    run = {one["account_id"] for one in facts.all("account", operator_id=credential["operator_id"])}
    field = {"news_licence": "news"}.get(credential["kind"], credential["kind"])
    first = [
        one
        for one in facts.all("measure", code=SUSPENSION, scope=field, ended_at=None, coupled_to=None)
        if one["target_id"] in run
    ]
    ids = {one["measure_id"] for one in first}
    return [*first, *(one for one in facts.all("measure", ended_at=None) if one["coupled_to"] in ids)]


@tells("credential.expire")
def credential_over(facts: Facts, act: Act) -> None:
    facts.change(credential_of(facts, act), act, **ended(act, "expired"))
    imposed(facts, act, act.after.get("measure", {}))
