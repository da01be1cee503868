"""A name that looks like another waits for a human who sees both; a change of profile is shown once somebody has accepted it."""

from __future__ import annotations

import datetime as dt

from service.demo.step import Kept, Scene, Step, at, verified

KITCHEN = "/v1/accounts/kitchen"
RIVAL = "/v1/accounts/rival-kitchen"


def names_and_profiles() -> Scene:
    """天天厨房 and 夭夭厨房 differ by two strokes; and the first of them takes another name."""
    return Scene(
        "天天厨房 and 夭夭厨房: two names side by side, and a new profile",
        [
            *_company(at("20:10"), "ann", "kitchens", "一家科技有限公司"),
            Step(
                at("20:10"),
                "ann",
                "asks for an account of her company",
                "POST",
                "/v1/accounts",
                _asking("kitchen", "kitchens", "天天厨房"),
                201,
                shows={"result.state": "waiting", "result.name_check": None},
            ),
            Step(
                at("20:10"),
                "cl",
                "accepts",
                "POST",
                f"{KITCHEN}/acceptance",
                {},
                shows={"result.state": "accepted"},
            ),
            *_company(at("20:11"), "ben", "rival", "另一科技有限公司"),
            Step(
                at("20:12"),
                "ben",
                "asks for an account with a name that differs by two strokes",
                "POST",
                "/v1/accounts",
                _asking("rival-kitchen", "rival", "夭夭厨房"),
                201,
                shows={"result.state": "waiting", "result.name_check": "human"},
                means="it waits for a human",
            ),
            Step(
                at("20:13"),
                "cl",
                "accepts it unseen",
                "POST",
                f"{RIVAL}/acceptance",
                {},
                403,
                "human_needed",
                shows={"data.why": ["look_alike"], "data.beside": 1},
                means="never without having compared",
            ),
            Step(
                at("20:14"),
                "cl",
                "looks at both names",
                "GET",
                "/v1/name-checks/rival-kitchen",
                shows={"name": "夭夭厨房", "beside.0.name": "天天厨房", "beside.0.similarity": 1.0},
                means="side by side",
            ),
            Step(
                at("20:15"),
                "cl",
                "refuses",
                "POST",
                f"{RIVAL}/refusal",
                {"reason": "impersonation"},
                shows={"result.state": "refused"},
            ),
            Step(
                at("20:16"),
                "ann",
                "asks for another name",
                "PUT",
                f"{KITCHEN}/profile",
                {"name": "天天厨房在线", "profile": "每日一菜"},
                shows={"result.pending": ["name", "profile"]},
                keeps={"profile_asked": "record_id"},
            ),
            Step(
                at("20:16"),
                "eve",
                "reads the card",
                "GET",
                KITCHEN,
                shows={"name": "天天厨房", "profile": ""},
                means="the old one is shown",
            ),
            Step(
                at("20:20"),
                "cl",
                "accepts the new one",
                "POST",
                f"{KITCHEN}/profile/acceptance",
                {"asked_record": Kept("profile_asked")},
                shows={"result.changed": ["name", "profile"]},
            ),
            Step(
                at("20:20"),
                "eve",
                "reads the card",
                "GET",
                KITCHEN,
                shows={"name": "天天厨房在线", "profile": "每日一菜"},
                means="the new one is shown",
            ),
            Step(
                at("20:21"),
                "au",
                "reads what it was called before",
                "GET",
                f"{KITCHEN}/former-profiles",
                shows={"profiles.#": 1, "profiles.0.name": "天天厨房"},
                means="and the old one is kept",
            ),
        ],
    )


def _company(when: dt.datetime, who: str, operator: str, name: str) -> list[Step]:
    facts = {"operator_id": operator, "kind": "company", "name": name, "jurisdiction": "CN-110000"}
    identity = f"/v1/operators/{operator}/identity"
    return [
        Step(when, who, "registers a company", "POST", "/v1/operators", facts, 201),
        Step(when, "im", "verifies it", "PUT", identity, verified(operator, "credit_code", "mobile")),
    ]


def _asking(account: str, operator: str, name: str) -> dict[str, str]:
    return {
        "account_id": account,
        "operator_id": operator,
        "name": name,
        "class": "life",
        "jurisdiction": "CN-110000",
    }
