"""The story of the fifty patrol accounts of 2015, and of one that is ranked anew."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from service.demo.step import PEOPLE, Kept, Scene, Step, at, verified

ACCOUNTS = Path(__file__).with_name("patrol_accounts.csv")


def patrol_accounts() -> list[Scene]:
    """Each account: its answerable person, its operator, and the account itself, accepted and ranked by staff."""
    with ACCOUNTS.open(encoding="utf-8", newline="") as file:
        places = list(csv.DictReader(file))
    return [_patrol(place, at("07:00") + dt.timedelta(minutes=minute)) for minute, place in enumerate(places)]


def _patrol(place: Mapping[str, str], when: dt.datetime) -> Scene:
    code, jurisdiction, province = place["gb2260"], place["jurisdiction"], place["province"]
    police = province + ("公安局" if province.endswith("市") else "公安厅")
    if place["level"] == "city":
        police = f"{place['place']}市公安局"
    officer, operator, account = f"officer-{code}", f"police-{code}", f"patrol-{code}"
    steps = [
        *person(when, officer, jurisdiction),
        Step(
            when,
            officer,
            "registers",
            "POST",
            "/v1/operators",
            {"operator_id": operator, "kind": "government", "name": police, "jurisdiction": jurisdiction},
            201,
        ),
        Step(
            when,
            "im",
            "verifies",
            "PUT",
            f"/v1/operators/{operator}/identity",
            verified(operator, "credit_code", "mobile"),
        ),
        Step(
            when,
            officer,
            "asks for the account",
            "POST",
            "/v1/accounts",
            {
                "account_id": account,
                "operator_id": operator,
                "name": place["display_name"],
                "class": place["class"],
                "jurisdiction": jurisdiction,
            },
            201,
            rule="account.register-owner",
            shows={"result.state": "waiting"},
        ),
        Step(
            when,
            "cl",
            "looks at its name beside others",
            "GET",
            f"/v1/name-checks/{account}",
            shows={"name": place["display_name"], "kinds.0": "state"},
            keeps={f"compare_{code}": "compare"},
        ),
        Step(
            when,
            "cl",
            "accepts",
            "POST",
            f"/v1/accounts/{account}/acceptance",
            {"compared_with": Kept(f"compare_{code}")},
            shows={"result.state": "accepted", "result.tier": 2},
        ),
        Step(
            when,
            "cl",
            "ranks",
            "PUT",
            f"/v1/accounts/{account}/tier",
            {"reason": "routine"},
            rule="account.rank-classifier",
            shows={"result.tier": 2, "result.floor": 2},
        ),
        Step(
            when,
            "im",
            "reads the card",
            "GET",
            f"/v1/accounts/{account}",
            shows={
                "name": place["display_name"],
                "class": "government",
                "operator_name": police,
                "place": jurisdiction,
                "state": "accepted",
                "tier": 2,
            },
        ),
    ]
    return Scene(f"{place['display_name']} ({police}, {jurisdiction})", steps, folded=True)


def people() -> list[Scene]:
    """Everybody of the story, verified at 07:55."""
    return [Scene(name, person(at("07:55"), name, "CN-110000"), folded=True) for name in PEOPLE]


def person(when: dt.datetime, name: str, jurisdiction: str) -> list[Step]:
    """Somebody becomes known and is verified."""
    path = f"/v1/people/{name}"
    return [
        Step(when, "im", "registers", "PUT", path, {"jurisdiction": jurisdiction}, 201),
        Step(
            when,
            "im",
            "verifies",
            "PUT",
            f"{path}/identity",
            verified(name, "mobile", "id_document"),
            shows={"result.identity_status": "verified"},
        ),
    ]


BEIJING = "/v1/accounts/patrol-110000"


def account_ranked_anew() -> Scene:
    """An override of a tier: never below the floor, and by two people."""
    asked = {"tier": 4, "until": "2026-11-02T20:00:00.000Z", "reason": "activity_unusual"}
    grant = "/v1/approvals/$tier_approval/grant"
    return Scene(
        "北京网警巡查执法: another tier, by two people",
        [
            Step(
                at("17:55"),
                "im",
                "counts 2 370 000 followers of good quality",
                "PATCH",
                BEIJING,
                {
                    "followers": 2_370_000,
                    "reads_per_post": 120_000,
                    "quality": 90,
                    "quality_source": "model",
                },
                shows={"result.tier": 3},
                means="tier 3 at once",
            ),
            Step(
                at("17:56"),
                "cl",
                "puts tier 2 over it",
                "PUT",
                f"{BEIJING}/override",
                {**asked, "tier": 2},
                409,
                "below_floor",
                shows={"data.floor": 3},
                means="never below the floor",
            ),
            Step(
                at("18:00"),
                "cl",
                "puts tier 4 over it",
                "PUT",
                f"{BEIJING}/override",
                asked,
                202,
                rule="account.override_tier-classifier",
                means="proposed",
                keeps={"tier_approval": "result.approval_id"},
            ),
            Step(
                at("18:01"),
                "im",
                "reads the account",
                "GET",
                BEIJING,
                shows={"tier": 3, "override": None},
                means="still tier 3",
            ),
            Step(
                at("18:02"),
                "cl",
                "agrees with herself",
                "POST",
                grant,
                {},
                403,
                "own_matter",
                means="an approver, but not of her own",
            ),
            Step(
                at("18:10"),
                "ap",
                "agrees",
                "POST",
                grant,
                {},
                shows={"result.state": "granted"},
                means="a second person",
            ),
            Step(
                at("18:10"),
                "im",
                "reads the account",
                "GET",
                BEIJING,
                shows={"tier": 4, "override.tier": 4},
                means="tier 4, until eight in the evening",
            ),
            Step(
                at("18:15"),
                "ann",
                "registers a company",
                "POST",
                "/v1/operators",
                {
                    "operator_id": "company",
                    "kind": "company",
                    "name": "某某科技有限公司",
                    "jurisdiction": "CN-110000",
                },
                201,
            ),
            Step(
                at("18:15"),
                "im",
                "verifies it",
                "PUT",
                "/v1/operators/company/identity",
                verified("company", "credit_code", "mobile"),
            ),
            Step(
                at("18:16"),
                "ann",
                "asks for a police account",
                "POST",
                "/v1/accounts",
                {
                    "account_id": "false-patrol",
                    "operator_id": "company",
                    "name": "网警巡查在线",
                    "class": "government",
                    "jurisdiction": "CN-110000",
                },
                403,
                "credential_missing",
                means="government is for government",
            ),
        ],
    )
