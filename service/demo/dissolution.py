"""The story of group h: silenced, then dissolved."""

from __future__ import annotations

from service.demo.groups import MUTE
from service.demo.step import Scene, Step, at

H = "/v1/groups/h"


def group_h() -> Scene:
    """A group that its owner silences, then ends for good."""
    return Scene(
        "Group h: silenced, then dissolved",
        [
            Step(
                at("17:20"),
                "cai",
                "founds group h",
                "POST",
                "/v1/groups",
                {
                    "group_id": "h",
                    "name": "周末羽毛球",
                    "class": "interest",
                    "capacity": 50,
                    "join_mode": "open",
                    "discoverable": True,
                },
                201,
                shows={"result.tier": 1},
                means="tier 1",
            ),
            *(
                Step(at("17:21"), name, "joins h", "POST", f"{H}/joining", {}, rule="group.join-stranger")
                for name in ("dan", "eve")
            ),
            Step(
                at("17:25"),
                "dan",
                "mutes eve",
                "POST",
                f"{H}/mutes",
                {**MUTE, "person_id": "eve"},
                403,
                "refused",
                "none",
                means="members have no power over members",
            ),
            Step(
                at("17:30"),
                "cai",
                "silences h for 8 hours",
                "PUT",
                f"{H}/mute-all",
                {"seconds": 28_800, "reason": "quiet_hours"},
                rule="group.mute_all-owner",
            ),
            Step(
                at("17:31"),
                "im",
                "asks: may eve speak?",
                "GET",
                f"{H}/mutes/eve",
                shows={"muted": True, "until": "2026-11-03T01:30:00.000Z"},
                means="not until 01:30",
            ),
            Step(
                at("17:40"),
                "cai",
                "dissolves h, unseen",
                "POST",
                f"{H}/dissolution",
                {"reason": "owner_request"},
                428,
                "version_required",
                means="say which state you saw",
            ),
            Step(
                at("17:41"),
                "cai",
                "dissolves h",
                "POST",
                f"{H}/dissolution",
                {"reason": "owner_request"},
                rule="group.dissolve-owner",
                shows={
                    "result.dissolved_at": "2026-11-02T17:41:00.000Z",
                    "result.ended": [{"ended": "whole_group_mutes", "count": 1}],
                },
                means="its silence ends with it",
                version=H,
            ),
            Step(
                at("17:45"),
                "dan",
                "joins h again",
                "POST",
                f"{H}/joining",
                {},
                410,
                "group_dissolved",
                means="gone for good",
            ),
            Step(
                at("17:46"),
                "dan",
                "joins a group never known",
                "POST",
                "/v1/groups/nowhere/joining",
                {},
                404,
                "unknown",
                means="gone is not unknown",
            ),
        ],
        about="h",
    )
