"""The story of credit and caps: what moves a ledger, what a level allows, and a credential that ends by time."""

from __future__ import annotations

from service.demo.step import Kept, Scene, Step, at

EVE = "/v1/credit/person/eve"
COMPANY = "/v1/operators/company/credentials"


def credit_explained() -> Scene:
    """Two people move a person's credit; the ledger says by which record, and what the new level allows."""
    return Scene(
        "eve's credit: a ledger, a level, and what it allows",
        [
            Step(
                at("10:40", 1),
                "co",
                "takes 10 points from eve",
                "POST",
                f"{EVE}/adjustments",
                {"points": -10, "reason": "error_corrected", "note": "上月误记的恢复分"},
                202,
                rule="credit.adjust-compliance",
                means="proposed: nobody moves credit alone",
                keeps={"credit_approval": "result.approval_id"},
            ),
            Step(
                at("10:41", 1),
                "ap",
                "agrees",
                "POST",
                "/v1/approvals/$credit_approval/grant",
                {},
                shows={"result.score": 65, "result.level": "C"},
                means="75 - 10: level C",
                keeps={"credit_record": "record_id"},
            ),
            Step(
                at("10:42", 1),
                "eve",
                "reads her ledger",
                "GET",
                EVE,
                shows={
                    "level": "C",
                    "score": 65,
                    "lines.#": 2,
                    "lines.0.points": -10,
                    "lines.0.record_id": Kept("credit_record"),
                    "lines.1.cause": "opened",
                    "caps.0.cap": 5,
                    "caps.0.source": "groups_owned_cap_c",
                    "tiers": [1, 2],
                },
                means="each line with its record; the sum is the level",
            ),
            Step(
                at("10:42:30", 1),
                "eve",
                "reads why",
                "GET",
                "/v1/notices",
                shows={
                    "items.#": 1,
                    "items.0.record_id": Kept("credit_record"),
                    "items.0.parts.kind": "lowered",
                    "items.0.parts.facts.level": {"before": "B", "after": "C"},
                    "items.0.parts.automation.decision": False,
                },
                means="a fall is a restriction: reasons, and how to object",
            ),
            Step(
                at("10:43", 1),
                "eve",
                "founds a group for 500",
                "POST",
                "/v1/groups",
                {
                    "group_id": "eves",
                    "name": "读书会",
                    "class": "interest",
                    "capacity": 500,
                    "join_mode": "approval",
                },
                403,
                "credit_too_low",
                shows={
                    "data.level": "C",
                    "data.minimum": "B",
                    "data.source": "group.effect.owner_credit_min.3",
                },
                means="tier 3 asks for credit B, and says where",
            ),
        ],
    )


def credential_and_cap() -> Scene:
    """A field needs a credential; it is shown, accepted, and over when its date has passed. And a cap names its line."""
    return Scene(
        "The company: a credential for health, and its cap of accounts",
        [
            Step(
                at("10:10", 1),
                "ann",
                "asks for a health account",
                "POST",
                "/v1/accounts",
                _account("clinic", "健康问答", "health"),
                403,
                "credential_missing",
                shows={"data.needs": "health"},
                means="this field needs a credential",
            ),
            Step(
                at("10:11", 1),
                "ann",
                "shows one, valid until 10:30",
                "POST",
                COMPANY,
                {
                    "kind": "health",
                    "reference": "京卫网审〔2026〕第 0042 号",
                    "valid_from": "2026-01-01T00:00:00.000Z",
                    "valid_until": "2026-11-03T10:30:00.000Z",
                },
                201,
                shows={"result.state": "waiting"},
                means="waits for a human",
                keeps={"credential": "result.credential_id"},
            ),
            Step(
                at("10:12", 1),
                "cl",
                "accepts it",
                "POST",
                "/v1/credentials/$credential/acceptance",
                {},
                rule="credential.accept-classifier",
                shows={"result.state": "accepted"},
            ),
            Step(
                at("10:13", 1),
                "ann",
                "asks for the account again",
                "POST",
                "/v1/accounts",
                _account("clinic", "健康问答", "health"),
                201,
                shows={"result.state": "waiting"},
            ),
            Step(
                at("10:14", 1),
                "ann",
                "asks for a second one",
                "POST",
                "/v1/accounts",
                _account("news-of-ours", "企业动态", "commerce"),
                201,
            ),
            Step(
                at("10:15", 1),
                "ann",
                "asks for a third one",
                "POST",
                "/v1/accounts",
                _account("life-of-ours", "员工生活", "life"),
                422,
                "cap_accounts",
                shows={"data.cap": 2, "data.count": 2, "data.source": "accounts_cap_company"},
                means="the cap, its value, and the line it comes from",
            ),
            Step(
                at("10:30:00.001", 1),
                "ann",
                "waits for time to act",
                "GET",
                COMPANY,
                shows={"items.0.state": "expired", "items.0.ended_at": "2026-11-03T10:30:00.001Z"},
                means="the sweep ended it, a millisecond after its date",
                waits=True,
            ),
            Step(
                at("10:31", 1),
                "cl",
                "accepts the account",
                "POST",
                "/v1/accounts/clinic/acceptance",
                {},
                403,
                "credential_missing",
                means="it covers nothing any more",
            ),
        ],
    )


def _account(account_id: str, name: str, klass: str) -> dict[str, str]:
    return {
        "account_id": account_id,
        "operator_id": "company",
        "name": name,
        "class": klass,
        "jurisdiction": "CN-110000",
    }
