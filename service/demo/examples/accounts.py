"""Operators and accounts: what is asked of them and of their names, credentials, owners and tiers beside the story."""

from __future__ import annotations

from service.demo.examples.asking import agrees, ask, scene, verified_anew
from service.demo.examples.groups import DAY
from service.demo.names import KITCHEN
from service.demo.step import Kept, Scene, at, verified
from service.demo.tiers import HEAVIER
from service.policy import digest, read_folder
from service.settings import shipped

STUDIO = "/v1/operators/studio"
COMPANY = "/v1/operators/company"
IN_FORCE = "2026-11-04T16:30:00.000Z"


def account_scenes() -> list[Scene]:
    """In the order of their instants."""
    return [_operators(), _kitchen(), _questions(), _another_edition(), _plan()]


def _operators() -> Scene:
    studio = {
        "operator_id": "studio",
        "kind": "company",
        "name": "一方文化有限公司",
        "jurisdiction": "CN-110000",
    }
    shown = {
        "kind": "health",
        "reference": "京卫网审〔2026〕第 0044 号",
        "valid_from": "2026-01-01T00:00:00.000Z",
        "valid_until": "2030-12-31T00:00:00.000Z",
    }
    cap = {"number": 3, "until": "2027-06-01T00:00:00.000Z", "reason": "fact_changed"}
    signing = f"{STUDIO}/accounts/kitchen"
    return scene(
        "Operators: an MCN, a cap and a credential",
        at("14:00", DAY),
        [
            ask("ben", "registers an MCN", "POST", "/v1/operators", studio | {"is_mcn": True}, 201),
            ask(
                "im", "verifies it", "PUT", f"{STUDIO}/identity", verified("studio", "credit_code", "mobile")
            ),
            ask("ben", "renames it", "PATCH", STUDIO, {"name": "一方文化传媒有限公司"}),
            ask("cl", "reads it", "GET", STUDIO),
            ask("ann", "agrees to its contract", "PUT", signing, {}),
            ask("ben", "signs it", "PUT", signing, {}),
            ask("ben", "ends it", "DELETE", signing, {}),
            ask("cl", "raises a cap", "PUT", f"{COMPANY}/accounts-cap", cap, 202),
            ask(
                "ann",
                "shows a credential",
                "POST",
                f"{COMPANY}/credentials",
                shown,
                201,
                keeps={"shown": "result.credential_id"},
            ),
            ask("cl", "lists what waits", "GET", "/v1/credentials"),
            ask(
                "cl", "refuses it", "POST", "/v1/credentials/$shown/refusal", {"reason": "credential_missing"}
            ),
        ],
    )


def _kitchen() -> Scene:
    profile = {"name": "天天厨房新闻", "profile": "每日两菜"}
    offer = f"{KITCHEN}/transfer"
    refusal = {"asked_record": Kept("asked"), "reason": "name_misleading"}
    return scene(
        "天天厨房在线: looked at, offered, kept",
        at("14:30", DAY),
        [
            ask("im", "lists accounts", "GET", "/v1/accounts"),
            ask("cl", "checks it again", "POST", f"{KITCHEN}/rechecks", {"fits": True}),
            ask(
                "ann",
                "asks for another name",
                "PUT",
                f"{KITCHEN}/profile",
                profile,
                keeps={"asked": "record_id"},
            ),
            ask("cl", "lists names that wait", "GET", "/v1/name-checks"),
            ask("cl", "refuses", "POST", f"{KITCHEN}/profile/refusal", refusal),
            ask("ann", "reads why", "GET", "/v1/notices", keeps={"notice": "items.0.notice_id"}),
            ask("ann", "reads it whole", "GET", "/v1/notices/$notice"),
            *verified_anew("ann", "ben"),
            ask("ann", "offers it", "POST", offer, {"operator_id": "rival"}),
            ask("ben", "declines", "POST", f"{offer}/declination", {}),
            ask("ann", "offers it again", "POST", offer, {"operator_id": "rival"}),
            ask("ann", "thinks better of it", "DELETE", offer, {}),
            ask(
                "ann",
                "offers it once more",
                "POST",
                offer,
                {"operator_id": "rival"},
                keeps={"version": "result.version"},
            ),
            ask(
                "ben",
                "accepts",
                "POST",
                f"{offer}/acceptance",
                {},
                202,
                version="$version",
                keeps={"passing": "result.approval_id"},
            ),
            agrees("ap", "passing"),
            ask("ben", "wants to close it", "POST", f"{KITCHEN}/closing", {}),
            ask("ben", "keeps it", "DELETE", f"{KITCHEN}/closing", {}),
        ],
    )


def _questions() -> Scene:
    mute = {"person_id": "cai", "seconds": 3600, "reason": "fraud"}
    subject, group = {"type": "person", "id": "ben"}, {"type": "group", "id": "g"}
    action = {"name": "group.mute", "properties": mute}
    one = {"subject": subject, "action": action, "resource": group}
    many = {
        "subject": subject,
        "action": action,
        "evaluations": [{"resource": group}, {"resource": group | {"id": "r"}}],
    }
    asked = {"action": "group.mute", "group_id": "g", **mute}
    return scene(
        "What would be",
        at("15:00", DAY),
        [
            ask("ben", "asks whether he may", "POST", "/v1/checks", asked, act=False),
            ask("im", "asks in other words", "POST", "/access/v1/evaluation", one, act=False),
            ask("im", "asks about two groups", "POST", "/access/v1/evaluations", many, act=False),
            ask("im", "asks where to ask", "GET", "/.well-known/authzen-configuration"),
            ask("co", "lists measures", "GET", "/v1/measures?at=2026-11-04T11:05:00Z"),
            ask("cl", "lists overrides", "GET", "/v1/tiers/overrides"),
        ],
    )


def _another_edition() -> Scene:
    files = _heavier()
    adopts = {"digest": _digest(files), "effective_at": IN_FORCE, "files": files}
    return scene(
        "Another edition is adopted",
        at("15:30", DAY),
        [
            ask(
                "co",
                "asks for it",
                "POST",
                "/v1/editions",
                adopts,
                202,
                keeps={"adoption": "result.approval_id"},
            ),
            agrees("ap", "adoption"),
            ask("im", "lists editions", "GET", "/v1/editions"),
        ],
    )


def _heavier() -> dict[str, str]:
    """The shipped policies, but government weighs more."""
    files = {name: data.decode() for name, data in read_folder(shipped("policies")).items()}
    line, weight = HEAVIER
    return files | {"tiers.csv": files["tiers.csv"].replace(line, line.replace(",,14,", weight))}


def _digest(files: dict[str, str]) -> str:
    return digest({name: text.encode() for name, text in files.items()})


def _plan() -> Scene:
    plan, why = "/v1/tiers/plans/$plan", {"reason": "routine"}
    return scene(
        "The edition is in force, and all accounts are to be ranked by it",
        at("16:40", DAY),
        [
            ask(
                "im",
                "reads what is in force",
                "GET",
                "/v1/editions/current",
                shows={"edition": _digest(_heavier())},
                waits=True,
            ),
            ask("im", "reads the former one", "GET", "/v1/editions/$edition"),
            ask("au", "asks who is out of line", "GET", "/v1/tiers/consistency?kind=account"),
            ask("au", "counts them", "GET", "/v1/tiers/deviations?kind=account"),
            ask(
                "cl",
                "plans",
                "POST",
                "/v1/tiers/plans",
                {"kind": "account", **why},
                201,
                keeps={"plan": "result.plan_id"},
            ),
            ask("cl", "looks at the plan", "GET", plan),
            ask("cl", "lists plans", "GET", "/v1/tiers/plans"),
            ask(
                "cl",
                "wants to run it",
                "POST",
                f"{plan}/run",
                why,
                202,
                keeps={"running": "result.approval_id"},
            ),
            agrees("ap", "running"),
            ask("ap", "stops it", "POST", f"{plan}/stop", why),
        ],
    )
