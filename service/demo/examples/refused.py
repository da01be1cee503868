"""What is refused, and says why: one request for each common way of saying no that the story does not meet."""

from __future__ import annotations

from service.demo.examples.asking import ask, scene
from service.demo.examples.groups import DAY, R
from service.demo.names import KITCHEN
from service.demo.step import Scene, at

MUTE = {"person_id": "eve", "seconds": 3600, "reason": "spam"}


def refused() -> Scene:
    """In groups, with accounts, of staff: each answer is a problem with the data of its code."""
    group = {
        "group_id": "r",
        "name": "又一个读书会",
        "class": "interest",
        "capacity": 50,
        "join_mode": "open",
    }
    account = {
        "account_id": "clinic-too",
        "operator_id": "kitchens",
        "class": "life",
        "jurisdiction": "CN-110000",
    }
    act = {"action": "group.mute", "group_id": "r", **MUTE}
    return scene(
        "What is refused",
        at("19:00", DAY),
        [
            ask(
                "im",
                "registers ann again",
                "PUT",
                "/v1/people/ann",
                {"jurisdiction": "CN-110000"},
                409,
                "already_exists",
            ),
            ask("fay", "comes back", "POST", f"{R}/join-requests", {}, 410, "person_closed"),
            ask("ann", "founds r again", "POST", "/v1/groups", group, 409, "already_exists"),
            ask("im", "tells a fact that is none", "PATCH", R, {"weather": "fine"}, 400, "malformed"),
            ask("ann", "mutes who has left", "POST", f"{R}/mutes", MUTE, 409, "not_in_group"),
            ask(
                "ann",
                "ends what has ended",
                "DELETE",
                f"{R}/mutes/dan",
                {"reason": "error_corrected"},
                409,
                "not_in_state",
            ),
            ask(
                "ann",
                "admits who did not ask",
                "POST",
                f"{R}/join-requests/eve/admission",
                {},
                409,
                "request_handled",
            ),
            ask("ann", "leaves her group", "POST", f"{R}/leaving", {}, 409, "owner_must_transfer"),
            ask("ann", "takes no offer back", "DELETE", f"{R}/transfer", {}, 409, "offer_lapsed"),
            ask(
                "ann",
                "names herself to follow",
                "PUT",
                f"{R}/successors",
                {"successors": ["ann"]},
                403,
                "self_target",
            ),
            ask(
                "ann",
                "removes for no reason",
                "POST",
                f"{R}/removals",
                {"person_id": "cai"},
                422,
                "reason_missing",
            ),
            ask("dan", "joins without asking", "POST", f"{R}/joining", {}, 409, "approval_needed"),
            ask(
                "im",
                "says one thing twice",
                "POST",
                "/v1/batches",
                {"items": [act, act]},
                400,
                "duplicate_target",
            ),
            ask(
                "ann",
                "takes a name",
                "POST",
                "/v1/accounts",
                account | {"name": "健康问答"},
                409,
                "name_reserved",
            ),
            ask("cl", "accepts again", "POST", "/v1/accounts/clinic/acceptance", {}, 409, "already_in_state"),
            ask("ben", "takes no offer back", "DELETE", f"{KITCHEN}/transfer", {}, 409, "offer_lapsed"),
            ask(
                "co",
                "erases too early",
                "POST",
                "/v1/people/fay/erasure",
                {"legal_basis": ["pipl:art.47"]},
                409,
                "retention_runs",
            ),
            ask(
                "co",
                "revokes again",
                "POST",
                "/v1/keys/reg/revocation",
                {"reason": "key_exposed"},
                409,
                "not_in_state",
            ),
            ask(
                "co",
                "holds for no reason",
                "POST",
                "/v1/legal-holds",
                {"subject_type": "person", "subject_id": "dan"},
                422,
                "reason_missing",
            ),
            ask(
                "cl",
                "plans for no edition",
                "POST",
                "/v1/tiers/preview",
                {"kind": "account", "id": "nobody"},
                404,
                "unknown",
                act=False,
            ),
        ],
    )
