"""The tiers of the fifty accounts: their facts in bulk, each explained; an override that ends; another table, tried on all."""

from __future__ import annotations

import csv
import datetime as dt
from typing import Any

from service.demo.accounts import ACCOUNTS, BEIJING
from service.demo.step import Scene, Step, at
from service.policy import read_folder
from service.settings import shipped

#: Followers of one account after another, and what the table gives for them; the floor of the class is 2.
FOLLOWERS = ((800, 2, 2), (5_000, 8, 2), (50_000, 18, 2), (500_000, 28, 3))
#: Of all of them: class government 14, quality unknown 6, reads under a thousand 0, operator credit B 5.
REST = 14 + 6 + 0 + 5
HEAVIER = ("account.points.class.government,account,points,class,government,,14,", ",,20,")


def _places() -> list[dict[str, str]]:
    with ACCOUNTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def tiers_explained() -> Scene:
    """The facts of all fifty in one call, then each account's inputs with their points."""
    places = _places()
    items: list[dict[str, Any]] = [
        {
            "action": "account.update_facts",
            "account_id": f"patrol-{place['gb2260']}",
            "followers": FOLLOWERS[number % 4][0],
        }
        for number, place in enumerate(places)
    ]
    steps = [
        Step(
            at("07:51"),
            "im",
            "counts the followers of all fifty",
            "POST",
            "/v1/batches",
            {"items": items},
            act=False,
            shows={"items.#": len(places), "items.3.receipt.result.tier": 3},
            means="in one call; a tier that moves has a record of its own",
        )
    ]
    for number, place in enumerate(places):
        followers, points, tier = FOLLOWERS[number % 4]
        steps.append(
            Step(
                at("07:52") + dt.timedelta(seconds=number),
                "au",
                f"asks why {place['display_name']} has its tier",
                "GET",
                f"/v1/accounts/patrol-{place['gb2260']}",
                shows={
                    "tier": tier,
                    "tier_basis.inputs.followers": followers,
                    "tier_basis.points.followers": points,
                    "tier_basis.score": REST + points,
                    "tier_basis.floor": 2,
                },
                means=f"class 14 + quality 6 + followers {points} + reads 0 + credit 5 = {REST + points}, floor 2: tier {tier}",
            )
        )
    return Scene("Why the fifty accounts have their tiers", steps)


def another_table() -> Scene:
    """The override of the day ends by time; then another edition is tried on all accounts, and nothing changes."""
    files = {name: data.decode() for name, data in read_folder(shipped("policies")).items()}
    line, weight = HEAVIER
    files["tiers.csv"] = files["tiers.csv"].replace(line, line.replace(",,14,", weight))
    return Scene(
        "The override ends; another table is tried on all accounts",
        [
            Step(
                at("20:00"),
                "im",
                "reads 北京网警巡查执法",
                "GET",
                BEIJING,
                shows={"tier": 4, "override.tier": 4},
                means="until this instant, inclusive",
            ),
            Step(
                at("20:01"),
                "im",
                "reads it again",
                "GET",
                BEIJING,
                shows={"tier": 3, "override": None, "tier_basis.score": 59},
                means="time ended the override: the computed tier returns",
                waits=True,
            ),
            Step(
                at("20:05"),
                "cl",
                "asks what another edition would do: government weighs 20",
                "POST",
                "/v1/tiers/preview",
                {"kind": "account", "files": files},
                act=False,
                shows={
                    "all.subjects": 50,
                    "all.unchanged": 37,
                    "all.moves.#": 2,
                    "all.moves.0.count": 12,
                    "all.moves.1.samples": ["patrol-110000"],
                },
                means="12 go from tier 2 to 3, one from 3 to 4; nothing has changed",
            ),
            Step(
                at("20:06"),
                "au",
                "asks who overrode what",
                "GET",
                "/v1/tiers/override-counts",
                shows={
                    "items.#": 1,
                    "items.0.staff_id": "cl",
                    "items.0.direction": "up",
                    "items.0.granted": 1,
                },
                means="one, upwards, with its records",
            ),
        ],
    )
