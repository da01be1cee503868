"""The story of group g, the first day: founded, joined, its powers lent, and a mute."""

from __future__ import annotations

from service.demo.step import PEOPLE, Kept, Scene, Step, at, query

# Group g

G = "/v1/groups/g"
MUTE = {"person_id": "dan", "seconds": 3600, "reason": "fraud"}
LIMIT_S = 604_800


def founding_of_g() -> Scene:
    """R1 to R14: a group, its members, its admins, and admins who reach too far."""
    joining = [
        Step(
            at("08:02"),
            name,
            "asks to join g",
            "POST",
            f"{G}/join-requests",
            {},
            rule="group.request_join-stranger",
            label=f"R{number}",
        )
        for number, name in enumerate(PEOPLE[1:], 2)
    ]
    admitting = [
        Step(
            at("08:05"),
            "ann",
            f"admits {name}",
            "POST",
            f"{G}/join-requests/{name}/admission",
            {},
            rule="group.admit-owner",
            label=f"R{number}",
        )
        for number, name in enumerate(PEOPLE[1:], 6)
    ]
    return Scene(
        "Group g: founded, joined, its powers lent",
        [
            Step(
                at("08:00"),
                "ann",
                "founds group g",
                "POST",
                "/v1/groups",
                {
                    "group_id": "g",
                    "name": "朝阳路邻里",
                    "class": "community",
                    "capacity": 200,
                    "join_mode": "approval",
                },
                201,
                rule="group.register-stranger",
                shows={"result.owner_id": "ann", "result.score": 13, "result.floor": 2, "result.tier": 2},
                means="ann owns it; score 13, floor 2, tier 2",
                keeps={"founding": "record_id", "edition": "edition", "code": "result.code"},
                label="R1",
            ),
            *joining,
            *admitting,
            Step(
                at("08:05"),
                "im",
                "reads group g",
                "GET",
                G,
                shows={"headcount": 5, "code": Kept("code"), "owner_id": "ann"},
                means="5 members, the public code",
            ),
            Step(
                at("08:05"),
                "im",
                "reads the roster",
                "GET",
                f"{G}/roles",
                shows={
                    "roles.#": 5,
                    "roles.0.person_id": "ann",
                    "roles.0.standing": "owner",
                    "roles.1.standing": "member",
                    "roles.4.standing": "member",
                },
                means="one owner, four members",
            ),
            _appoint("08:20", "ben", "R10"),
            _appoint("08:21", "cai", "R11"),
            Step(
                at("08:22"),
                "ben",
                "appoints dan admin",
                "PUT",
                f"{G}/admins/dan",
                {},
                403,
                "refused",
                "none",
                means="an admin lends no power",
                label="R12",
            ),
            Step(
                at("08:30"),
                "ben",
                "mutes dan for 0 seconds",
                "POST",
                f"{G}/mutes",
                {**MUTE, "seconds": 0},
                400,
                "duration_zero",
                shows={"record_id": None},
                means="no record",
            ),
            Step(
                at("08:31"),
                "ben",
                "mutes cai for 600 s",
                "POST",
                f"{G}/mutes",
                {**MUTE, "person_id": "cai", "seconds": 600},
                403,
                "rank_not_lower",
                means="an admin is no admin's target",
                label="R13",
            ),
            Step(
                at("08:32"),
                "ben",
                "mutes dan for 8 days",
                "POST",
                f"{G}/mutes",
                {**MUTE, "seconds": 691_200},
                422,
                "duration_over_limit",
                shows={"data.maximum": LIMIT_S},
                means="at most 7 days here",
                label="R14",
            ),
        ],
        about="g",
    )


def _appoint(clock: str, name: str, label: str) -> Step:
    return Step(
        at(clock),
        "ann",
        f"appoints {name} admin",
        "PUT",
        f"{G}/admins/{name}",
        {},
        rule="group.appoint-owner",
        keeps={f"admin_{name}": "record_id"},
        label=label,
    )


def mute_of_dan() -> Scene:
    """R16 to R21 and R28: a mute, asked twice, ended by time to the millisecond; then dan is removed."""
    until = "2026-11-02T10:05:00.000Z"
    muted = f"{G}/mutes/dan"
    return Scene(
        "Group g: a mute and its end",
        [
            Step(
                at("09:05"),
                "ben",
                "mutes dan for an hour",
                "POST",
                f"{G}/mutes",
                MUTE,
                rule="group.mute-admin",
                shows={"result.until": until},
                means=f"until {until}",
                keeps={"mute": "record_id", "muting": ""},
                key="ben-mutes-dan",
                label="R16",
            ),
            Step(
                at("09:05"),
                "ben",
                "asks the same again",
                "POST",
                f"{G}/mutes",
                MUTE,
                shows={"": Kept("muting")},
                means="the same answer, the same record",
                key="ben-mutes-dan",
            ),
            Step(
                at("09:06"),
                "ben",
                "takes that key for 60 s",
                "POST",
                f"{G}/mutes",
                {**MUTE, "seconds": 60},
                422,
                "request_key_reused",
                means="a key means one request",
                key="ben-mutes-dan",
            ),
            Step(
                at("10:05"),
                "im",
                "asks: is dan muted?",
                "GET",
                muted,
                shows={"muted": True, "until": until, "holds.0.by_record": Kept("mute")},
                means="yes, to the last millisecond, by R16",
            ),
            Step(
                at("10:05"),
                "im",
                "reads what there is to do",
                "GET",
                "/v1/changes?limit=500",
                keeps={"so_far": "next"},
                means="and remembers the place",
            ),
            Step(
                at("10:05:00.001"),
                "im",
                "waits for time to act",
                "GET",
                "/v1/changes?after=$so_far",
                shows={
                    "changes.#": 1,
                    "changes.0.kind": "group.unmuted",
                    "changes.0.at": "2026-11-02T10:05:00.001Z",
                    "changes.0.payload.person_id": "dan",
                    "changes.0.payload.how": "lapsed",
                },
                means="the sweep ended it, a millisecond later",
                keeps={"lapse": "changes.0.record_id"},
                waits=True,
                makes="changes.0.record_id",
                label="R21",
            ),
            Step(
                at("10:05:00.001"),
                "im",
                "asks: is dan muted?",
                "GET",
                muted,
                shows={"muted": False, "holds": []},
                means="no, dan speaks",
            ),
            Step(
                at("10:06"),
                "au",
                "reads the record of the end",
                "GET",
                "/v1/records/$lapse" + query(purpose="who ended the mute of dan"),
                shows={
                    "item.act": "group.expire_mute",
                    "item.outcome": "done",
                    "item.rule": "group.expire_mute-sweep",
                    "item.by.who": None,
                    "item.links": [Kept("mute")],
                },
                means="time did, and it names R16",
                makes="read_record_id",
            ),
            Step(
                at("12:00"),
                "ben",
                "removes dan from g",
                "POST",
                f"{G}/removals",
                {"person_id": "dan", "reason": "fraud"},
                rule="group.remove_member-admin",
                shows={"result.member_count": 4},
                means="4 members stay",
                label="R28",
            ),
            Step(
                at("12:00"),
                "im",
                "asks what dan is to g",
                "GET",
                muted,
                shows={"standing": "stranger", "muted": False},
                means="a stranger",
            ),
        ],
        about="g",
    )
