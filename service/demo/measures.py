"""The story of measures: a credential ends and with it publishing in its field; accounts fall dormant and one is woken."""

from __future__ import annotations

from service.demo.step import Kept, Scene, Step, at

COMPANY = "/v1/operators/company/credentials"
USES = "/v1/accounts/clinic/uses"
TANGSHAN = "patrol-130200"
WARNED_DAY, PAUSED_DAY = 150, 183


def credential_ends() -> Scene:
    """From the millisecond after its credential's date the account may not publish in its field, with reasons; a new one frees it."""
    return Scene(
        "The clinic's credential ends: publishing in its field with it",
        [
            Step(
                at("10:00", 2),
                "ann",
                "shows a credential for an hour",
                "POST",
                COMPANY,
                _shown("2026-11-04T11:00:00.000Z"),
                201,
                keeps={"hour": "result.credential_id"},
            ),
            Step(at("10:01", 2), "cl", "accepts it", "POST", "/v1/credentials/$hour/acceptance", {}),
            Step(
                at("10:02", 2),
                "cl",
                "accepts the account",
                "POST",
                "/v1/accounts/clinic/acceptance",
                {},
                shows={"result.state": "accepted"},
            ),
            Step(
                at("11:00", 2),
                "im",
                "asks what the account may do",
                "GET",
                USES,
                shows={"code": "", "uses.0.use": "publish", "uses.0.may": True},
                means="covered until this instant, inclusive",
            ),
            Step(
                at("11:00:00.001", 2),
                "im",
                "asks again",
                "GET",
                USES,
                shows={
                    "code": "measure_forbids",
                    "uses.0.may": False,
                    "uses.1.may": True,
                    "measures.#": 1,
                    "measures.0.code": "P_FIELD_SUSPEND",
                    "measures.0.imposed_as": "automation",
                },
                means="time ended the credential and suspended its field, in one record",
                waits=True,
                keeps={"suspension": "measures.0.measure_id", "expired": "measures.0.record_id"},
            ),
            Step(
                at("11:01", 2),
                "ann",
                "reads her notice of reasons",
                "GET",
                "/v1/notices",
                shows={
                    "items.#": 1,
                    "items.0.measure_id": Kept("suspension"),
                    "items.0.record_id": Kept("expired"),
                    "items.0.parts.facts.valid_until": "2026-11-04T11:00:00.000Z",
                    "items.0.parts.automation.decision": True,
                    "items.0.parts.redress.window_months": 6,
                },
                means="what, why, since when, by a machine, and how to object",
            ),
            Step(
                at("11:02", 2),
                "eve",
                "asks for the measure",
                "GET",
                "/v1/measures/$suspension",
                None,
                404,
                "unknown",
                means="somebody else's is as unknown as none",
            ),
            Step(
                at("11:10", 2),
                "ann",
                "shows a new credential",
                "POST",
                COMPANY,
                _shown("2029-12-31T00:00:00.000Z"),
                201,
                keeps={"renewed": "result.credential_id"},
            ),
            Step(
                at("11:11", 2),
                "cl",
                "accepts it",
                "POST",
                "/v1/credentials/$renewed/acceptance",
                {},
                shows={"result.lifted": 1},
                means="and the suspension is lifted by the same record",
                keeps={"lifting": "record_id"},
            ),
            Step(
                at("11:12", 2),
                "ann",
                "reads the measure",
                "GET",
                "/v1/measures/$suspension",
                shows={"measure.state": "lifted", "measure.ended_record": Kept("lifting"), "notices.#": 2},
            ),
            Step(at("11:13", 2), "im", "asks once more", "GET", USES, shows={"code": "", "uses.0.may": True}),
        ],
    )


def dormancy() -> Scene:
    """Nobody has used the fifty accounts: after 150 days all are warned, after 183 those still unused are paused, one is woken."""
    return Scene(
        "Five months later: accounts that nobody uses",
        [
            Step(
                at("08:30", WARNED_DAY),
                "cl",
                "lists who was warned",
                "GET",
                "/v1/dormant-accounts?stage=warned",
                shows={"items.#": 50, "items.0.stage": "warned"},
                means="150 days without use; each operator has its notice",
                waits=True,
            ),
            Step(
                at("09:00", WARNED_DAY),
                "im",
                "tells of a use of 北京网警巡查执法",
                "PATCH",
                "/v1/accounts/patrol-110000",
                {"last_used_at": f"{at('09:00', WARNED_DAY):%Y-%m-%dT%H:%M:%SZ}"},
            ),
            Step(
                at("09:01", WARNED_DAY),
                "cl",
                "lists them again",
                "GET",
                "/v1/dormant-accounts?stage=warned",
                shows={"items.#": 49},
                means="any use voids the warning and what would follow",
            ),
            Step(
                at("09:00", PAUSED_DAY),
                "cl",
                "lists who is paused",
                "GET",
                "/v1/dormant-accounts?stage=paused",
                shows={"items.#": 49},
                means="183 days, and not before; nothing is ever closed by time",
                waits=True,
            ),
            Step(
                at("09:01", PAUSED_DAY),
                "im",
                "asks what 唐山网警巡查执法 may do",
                "GET",
                f"/v1/accounts/{TANGSHAN}/uses",
                shows={"code": "measure_forbids", "uses.0.may": False, "measures.0.code": "P_DORMANT_PAUSE"},
            ),
            Step(
                at("09:02", PAUSED_DAY),
                "eve",
                "wakes it",
                "POST",
                f"/v1/accounts/{TANGSHAN}/waking",
                {},
                403,
                "refused",
                rule="none",
                means="she does not answer for it",
            ),
            Step(
                at("09:03", PAUSED_DAY),
                "officer-130200",
                "wakes it",
                "POST",
                f"/v1/accounts/{TANGSHAN}/waking",
                {},
                rule="account.wake-owner",
                shows={"result.state": "lifted"},
                means="whoever answers for the account does",
            ),
            Step(
                at("09:04", PAUSED_DAY),
                "im",
                "asks again",
                "GET",
                f"/v1/accounts/{TANGSHAN}/uses",
                shows={"code": "", "uses.0.may": True, "measures.#": 0},
            ),
        ],
    )


def _shown(until: str) -> dict[str, str]:
    return {
        "kind": "health",
        "reference": "京卫网审〔2026〕第 0043 号",
        "valid_from": "2026-01-01T00:00:00.000Z",
        "valid_until": until,
    }
