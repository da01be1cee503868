"""People, staff, keys, filings, holds and deletions; the log as anybody reads it; and what the house says of itself."""

from __future__ import annotations

from service.demo.examples.asking import agrees, ask, scene
from service.demo.examples.groups import DAY
from service.demo.step import Scene, at, verified

FAY = "/v1/people/fay"
REDACTED_DAY = 200
RETIRED_DAY = 440


def house_scenes() -> list[Scene]:
    """In the order of their instants."""
    return [_person(), _staff(), _holds(), _log()]


def _person() -> Scene:
    return scene(
        "fay comes and goes",
        at("17:00", DAY),
        [
            ask("im", "registers fay", "PUT", FAY, {"jurisdiction": "CN-110000", "minor": "no"}, 201),
            ask("im", "verifies her", "PUT", f"{FAY}/identity", verified("fay", "mobile", "id_document")),
            ask(
                "fay",
                "accepts terms",
                "POST",
                f"{FAY}/terms",
                {"document": "user_agreement", "document_version": "2"},
            ),
            ask("im", "tells when she was seen", "PATCH", FAY, {"seen_at": "2026-11-04T17:02:00.000Z"}),
            ask("im", "reads what is known", "GET", FAY),
            ask("fay", "closes herself", "POST", f"{FAY}/closure", {}),
        ],
    )


def _staff() -> Scene:
    post = {"standing": "moderator", "jurisdiction": "CN-110000"}
    lodged = {
        "document": "group_rules",
        "document_version": "1",
        "authority": "北京市互联网信息办公室",
        "receipt": "京网备 2026-0117",
        "filed_at": "2026-10-20T00:00:00.000Z",
        "jurisdiction": "CN-110000",
    }
    exposed = {"reason": "key_exposed", "note": "Seen in a log file."}
    return scene(
        "Staff, keys and filings",
        at("17:30", DAY),
        [
            ask(
                "co",
                "asks for a moderator",
                "POST",
                "/v1/staff/lin/standings",
                post,
                202,
                keeps={"post": "result.approval_id"},
            ),
            agrees("ap", "post"),
            ask("co", "ends a post", "DELETE", "/v1/staff/lin/standings/moderator", {"reason": "post_ended"}),
            ask("au", "lists staff", "GET", "/v1/staff"),
            ask("au", "reads of one", "GET", "/v1/staff/lin"),
            ask("co", "revokes a key", "POST", "/v1/keys/reg/revocation", exposed),
            ask("co", "lists keys", "GET", "/v1/keys"),
            ask("co", "tells what was lodged", "POST", "/v1/filings", lodged, 201),
            ask("co", "lists what was", "GET", "/v1/filings"),
            ask("co", "lists what was not", "GET", "/v1/filings/missing"),
        ],
    )


def _holds() -> Scene:
    holds = {"subject_type": "person", "subject_id": "dan", "reason": "proceedings", "note": "案卷 12 号"}
    release = {"reason": "proceedings_over"}
    return scene(
        "A legal hold",
        at("18:00", DAY),
        [
            ask(
                "co",
                "holds what speaks of dan",
                "POST",
                "/v1/legal-holds",
                holds,
                201,
                keeps={"hold": "result.hold_id"},
            ),
            ask("au", "reads the hold", "GET", "/v1/legal-holds/$hold"),
            ask("au", "lists holds", "GET", "/v1/legal-holds"),
            ask(
                "co",
                "wants to let go",
                "DELETE",
                "/v1/legal-holds/$hold",
                release,
                202,
                keeps={"letting": "result.approval_id"},
            ),
            agrees("ap", "letting"),
        ],
    )


def _log() -> Scene:
    taking = {"subject_type": "group", "subject_id": "r", "purpose": "complaint 2026-31"}
    return scene(
        "The log, and the house of itself",
        at("18:30", DAY),
        [
            ask(
                "au",
                "takes a trail",
                "POST",
                "/v1/trail-exports",
                taking,
                takes="r",
                keeps={"taking": "record_id"},
            ),
            ask("au", "reads an edition it names", "GET", "/v1/trail-exports/$taking/editions/$edition"),
            ask("au", "reads the entries", "GET", "/v1/log-entries?end=2"),
            ask("im", "reads the checkpoint", "GET", "/checkpoint", keeps={"size": "lines.1"}),
            ask("im", "reads it by its size", "GET", "/checkpoint/$size"),
            ask("im", "reads a tile", "GET", "/tile/0/000.p/1"),
            ask("im", "hears of changes", "GET", "/v1/changes/stream"),
            ask("im", "asks whether it lives", "GET", "/health/live"),
            ask("im", "asks whether it is ready", "GET", "/health/ready"),
            ask("au", "reads its numbers", "GET", "/metrics"),
            ask("im", "reads what it can be asked", "GET", "/openapi.json"),
        ],
    )


def lifted() -> Scene:
    """A moderator lifts what time has imposed on an unused account."""
    return scene(
        "A pause is lifted by hand",
        at("10:00", 183),
        [
            ask(
                "mo",
                "asks what holds 广州网警巡查执法",
                "GET",
                "/v1/accounts/patrol-440100/uses",
                keeps={"pause": "measures.0.measure_id"},
            ),
            ask("mo", "lifts it", "POST", "/v1/measures/$pause/lifting", {"reason": "error_corrected"}),
        ],
    )


def deletions() -> list[Scene]:
    """When the terms are over: a person, a value, and bodies of records."""
    law = {"legal_basis": ["pipl:art.47"]}
    bodies = {"from_index": 3, "to_index": 5, "legal_basis": ["pipl:art.19"]}
    return [
        scene(
            "Half a year is over",
            at("09:00", REDACTED_DAY),
            [
                ask("co", "wants fay erased", "POST", f"{FAY}/erasure", law, 202),
                ask(
                    "co",
                    "wants a note gone",
                    "POST",
                    "/v1/records/$noted/redaction",
                    law | {"fields": ["note"]},
                    202,
                ),
            ],
        ),
        scene(
            "The published term is over",
            at("09:00", RETIRED_DAY),
            [ask("co", "wants bodies gone", "POST", "/v1/record-retirements", bodies, 202)],
        ),
    ]
