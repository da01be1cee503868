"""Group r: what its owner, its admins and the platform do in it; and group q, which loses its owner."""

from __future__ import annotations

from service.demo.examples.asking import ask, scene, verified_anew
from service.demo.step import Kept, Scene, at, reference, verified

R, Q = "/v1/groups/r", "/v1/groups/q"
DAY = 2
ORPHANED_DAY = 10
FAILED = {"status": "failed", "methods": ["mobile"]}
ITEM = {"locator": "i-77", "item_sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}


def group_scenes() -> list[Scene]:
    """In the order of their instants."""
    return [_members(), _order(), _facts(), _owners()]


def _members() -> Scene:
    asking = [ask(name, "asks to join", "POST", f"{R}/join-requests", {}) for name in ("ben", "cai", "dan")]
    founding = {
        "group_id": "r",
        "name": "城南读书会",
        "class": "interest",
        "capacity": 100,
        "join_mode": "approval",
        "discoverable": True,
    }
    return scene(
        "Group r: its members",
        at("12:00", DAY),
        [
            ask("ann", "founds group r", "POST", "/v1/groups", founding, 201),
            *asking,
            ask("ann", "admits ben", "POST", f"{R}/join-requests/ben/admission", {}),
            ask("ann", "admits cai", "POST", f"{R}/join-requests/cai/admission", {}),
            ask("ann", "turns dan away", "DELETE", f"{R}/join-requests/dan", {"reason": "group_rules"}),
            ask("ann", "invites eve", "POST", f"{R}/invitations", {"person_id": "eve"}),
            ask("eve", "joins", "POST", f"{R}/joining", {}),
            ask("ann", "invites dan", "POST", f"{R}/invitations", {"person_id": "dan"}),
            ask("dan", "joins", "POST", f"{R}/joining", {}),
            ask("ann", "appoints ben admin", "PUT", f"{R}/admins/ben", {"reason": "routine"}),
            ask("ann", "appoints cai admin", "PUT", f"{R}/admins/cai", {"reason": "routine"}),
            ask("im", "reads the roster", "GET", f"{R}/roles"),
            ask("im", "lists the members", "GET", f"{R}/members"),
            ask("au", "lists groups", "GET", "/v1/groups"),
            ask("ben", "steps down", "POST", f"{R}/stepping-down", {}),
            ask("ann", "dismisses cai", "DELETE", f"{R}/admins/cai", {"reason": "routine"}),
        ],
    )


def _order() -> Scene:
    mute = {"person_id": "dan", "seconds": 3600, "reason": "spam", "note": "同一广告连发三次"}
    hides = ITEM | {"author_id": "dan", "reason": "spam"}
    return scene(
        "Group r: its order",
        at("12:30", DAY),
        [
            ask("ann", "mutes dan", "POST", f"{R}/mutes", mute, keeps={"noted": "record_id"}),
            ask("im", "asks: is dan muted?", "GET", f"{R}/mutes/dan"),
            ask("ann", "ends it", "DELETE", f"{R}/mutes/dan", {"reason": "error_corrected"}),
            ask("ann", "silences r", "PUT", f"{R}/mute-all", {"seconds": 28800, "reason": "quiet_hours"}),
            ask("ann", "ends it", "DELETE", f"{R}/mute-all", {"reason": "routine"}),
            ask("ann", "hides an item of dan", "POST", f"{R}/hidden-items", hides),
            ask("ann", "shows it again", "DELETE", f"{R}/hidden-items/i-77", {"reason": "error_corrected"}),
            ask("ann", "pins a notice", "POST", f"{R}/pinned-notices", {"locator": "i-78"}),
            ask(
                "ann",
                "bars dan",
                "POST",
                f"{R}/bars",
                {"person_id": "dan", "days": 30, "reason": "harassment"},
            ),
            ask("ann", "ends it", "DELETE", f"{R}/bars/dan", {"reason": "error_corrected"}),
            ask("eve", "leaves", "POST", f"{R}/leaving", {}),
        ],
    )


def _facts() -> Scene:
    tier = {"tier": 3, "until": "2026-12-01T00:00:00.000Z", "reason": "activity_unusual"}
    return scene(
        "Group r: its profile, facts and tier",
        at("13:00", DAY),
        [
            ask(
                "ann",
                "changes its profile",
                "PUT",
                f"{R}/profile",
                {"name": "城南读书会·周末", "capacity": 150},
            ),
            ask("im", "counts its messages", "PATCH", R, {"messages_per_day": 300}),
            ask("cl", "ranks it", "PUT", f"{R}/tier", {"reason": "routine"}),
            ask(
                "cl",
                "puts tier 3 over it",
                "PUT",
                f"{R}/override",
                tier,
                202,
                keeps={"override": "result.approval_id"},
            ),
            ask("ap", "lists what waits", "GET", "/v1/approvals"),
            ask("ap", "looks at it", "GET", "/v1/approvals/$override"),
            ask("ap", "refuses", "POST", "/v1/approvals/$override/refusal", {"reason": "facts_insufficient"}),
        ],
    )


def _owners() -> Scene:
    offer, answer = f"{R}/transfer", {"person_id": "ben", "old_owner_becomes": "admin"}
    founding = {"group_id": "q", "name": "河边晨跑", "class": "interest", "capacity": 50, "join_mode": "open"}
    return scene(
        "Groups r and q: who is to own them",
        at("13:15", DAY),
        [
            *verified_anew("ann", "ben"),
            ask("ann", "offers r to ben", "POST", offer, answer),
            ask("ben", "declines", "POST", f"{offer}/declination", {}),
            ask("ann", "offers it again", "POST", offer, answer),
            ask("ann", "thinks better of it", "DELETE", offer, {}),
            ask("ann", "names who may follow", "PUT", f"{R}/successors", {"successors": ["ben", "cai"]}),
            ask("ann", "asks to go", "POST", f"{R}/succession", {}),
            ask("ann", "stays", "DELETE", f"{R}/succession", {}),
            ask("dan", "founds group q", "POST", "/v1/groups", founding, 201),
            ask("cai", "joins", "POST", f"{Q}/joining", {}),
            ask("dan", "names cai to follow", "PUT", f"{Q}/successors", {"successors": ["cai"]}),
            ask("dan", "asks to go", "POST", f"{Q}/succession", {}),
            ask("im", "tells that cai's identity fell", "PUT", "/v1/people/cai/identity", FAILED),
        ],
    )


def orphan_adopted() -> Scene:
    """A week later nobody could follow dan; a moderator gives q to cai, who is verified again."""
    again = verified("cai", "mobile", "id_document") | {"identity_ref": reference("cai-again")}
    return scene(
        "Group q: without owner, and given one",
        at("09:00", ORPHANED_DAY),
        [
            ask("im", "asks who owns q", "GET", Q, shows={"owner_id": None}, waits=True),
            ask("im", "verifies cai", "PUT", "/v1/people/cai/identity", again),
            ask(
                "mo",
                "gives it to cai",
                "PUT",
                f"{Q}/owner",
                {"person_id": "cai"},
                202,
                keeps={"given": "result.approval_id"},
            ),
            ask("ap", "agrees", "POST", "/v1/approvals/$given/grant", {}, keeps={"owner": "record_id"}),
            ask("im", "asks again", "GET", Q, shows={"owner_id": "cai"}),
            ask(
                "co",
                "reads who did it",
                "GET",
                "/v1/records/$owner?purpose=routine",
                shows={"item.record_id": Kept("owner")},
            ),
        ],
    )
