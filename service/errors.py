"""Refusals: every way in which Mandate says no, each with one stable code (domain.md section (f)).

HTTP is mapped here and nowhere else: a code knows its status. Codes are stable, titles are not.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self

import msgspec


class Code(StrEnum):
    """The closed list of refusal codes: wire value, HTTP status, whether it goes on the record, and what it means.

    `recorded` speaks of callers with standing; refusals of strangers are only counted (S006).
    """

    status: int
    recorded: bool
    sentence: str

    def __new__(cls, value: str, status: int, recorded: bool, title: str) -> Self:
        """Make one row of the table."""
        code = str.__new__(cls, value)
        code._value_ = value
        code.status, code.recorded, code.sentence = status, recorded, title
        return code

    MALFORMED = "malformed", 400, False, "Body does not parse, unknown field, wrong type."
    DURATION_ZERO = "duration_zero", 400, False, "Seconds = 0."
    DURATION_OUT_OF_RANGE = "duration_out_of_range", 400, False, "Outside 1..2592000."
    DUPLICATE_TARGET = "duplicate_target", 400, False, "The same target twice in a batch or plan."
    REQUEST_KEY_MISSING = "request_key_missing", 400, False, "A write without request key."
    RAW_IDENTITY = "raw_identity", 400, False, "A field looks like a number, document or address of a person."
    KEY_INVALID = "key_invalid", 401, False, "Key unknown, revoked, expired."
    KEY_SCOPE = "key_scope", 403, True, "Key has no scope for this action, tier or jurisdiction."
    REFUSED = "refused", 403, True, "No rule allows; `rule` = `none` or the denying line."
    RANK_NOT_LOWER = (
        "rank_not_lower",
        403,
        True,
        "Target's rank is not strictly lower, or the act to undo was of higher rank.",
    )
    SELF_TARGET = "self_target", 403, True, "Acting on oneself."
    IDENTITY_UNVERIFIED = "identity_unverified", 403, True, "Identity not verified, or too few methods."
    CREDIT_TOO_LOW = "credit_too_low", 403, True, "Level below what is asked; data: level, minimum."
    CREDENTIAL_MISSING = "credential_missing", 403, True, "No valid credential for the class."
    BARRED = "barred", 403, True, "Barred from this group."
    NOT_ELIGIBLE = "not_eligible", 403, True, "Target cannot hold this office now; data: why."
    OWN_MATTER = "own_matter", 403, True, "Caller has a part in the matter."
    HUMAN_NEEDED = "human_needed", 403, True, "Automation may not decide this; data: why."
    NOT_MCN = "not_mcn", 403, True, "Operator is no MCN."
    OUTSIDE_SCOPE = "outside_scope", 403, True, "Outside grant, territory, period or campaign."
    UNKNOWN = "unknown", 404, False, "No such thing, or not the caller's to know."
    GROUP_DISSOLVED = "group_dissolved", 410, True, "The group is dissolved."
    ACCOUNT_CLOSED = "account_closed", 410, True, "The account is closed."
    PERSON_CLOSED = "person_closed", 410, True, "The person is closed or erased."
    ALREADY_EXISTS = "already_exists", 409, False, "Id in use."
    ALREADY_IN_STATE = "already_in_state", 409, True, "Already so."
    NOT_IN_STATE = "not_in_state", 409, True, "Nothing there to end, or wrong state."
    ALREADY_ASSIGNED = "already_assigned", 409, True, "Another holds it."
    ALREADY_GRANTED = "already_granted", 409, True, "This human granted already."
    REQUEST_HANDLED = "request_handled", 409, True, "The request was answered."
    NOT_IN_GROUP = "not_in_group", 409, True, "Target is not inside."
    APPROVAL_NEEDED = "approval_needed", 409, True, "Joining here goes by request."
    APPROVAL_PENDING = (
        "approval_pending",
        409,
        True,
        "An approval for the same act is open; data: approval_id, to staff and to who asked.",
    )
    OWNER_MUST_TRANSFER = (
        "owner_must_transfer",
        409,
        True,
        "The owner leaves only by transfer, dissolution or succession.",
    )
    SUCCESSOR_MISSING = "successor_missing", 409, True, "Nobody named can follow."
    CONSENT_MISSING = "consent_missing", 409, True, "The other side did not agree."
    TRANSFER_PENDING = "transfer_pending", 409, True, "An offer is open."
    TRANSFER_BLOCKED = "transfer_blocked", 409, True, "Case or measure stands in the way."
    TRANSFER_RESTING = "transfer_resting", 409, True, "Too soon after the last one; data: seconds."
    OFFER_LAPSED = "offer_lapsed", 409, True, "No open offer."
    NAME_RESERVED = "name_reserved", 409, True, "Name used before, reserved or too similar."
    CAPACITY_BELOW_MEMBERS = "capacity_below_members", 409, True, "Capacity smaller than headcount."
    BELOW_FLOOR = "below_floor", 409, True, "Override under a floor."
    FACTS_CHANGED = "facts_changed", 409, True, "Facts moved since the proposal."
    PLAN_STALE = "plan_stale", 409, True, "Plan no longer fits."
    NOT_IN_FORCE = "not_in_force", 409, False, "Document or edition not in force."
    LEGAL_HOLD = "legal_hold", 409, True, "A legal hold covers it."
    RETENTION_RUNS = "retention_runs", 409, True, "A minimum term runs."
    EXPIRED = "expired", 409, True, "The credential is past its date."
    VERSION_STALE = "version_stale", 412, False, "Expected version is not the present one."
    VERSION_REQUIRED = "version_required", 428, False, "This action demands an expected version."
    VERIFICATION_STALE = "verification_stale", 428, True, "Fresh verification needed; data: seconds."
    REQUEST_KEY_REUSED = "request_key_reused", 422, False, "Same key, other body."
    DURATION_OVER_LIMIT = (
        "duration_over_limit",
        422,
        True,
        "Longer than this rank, tier or code may; data: maximum.",
    )
    CAP_MEMBERS = "cap_members", 422, True, "Capacity reached."
    CAP_ADMINS = "cap_admins", 422, True, "Admins' cap."
    CAP_GROUPS_OWNED = "cap_groups_owned", 422, True, "Groups-owned cap."
    CAP_GROUPS_JOINED = "cap_groups_joined", 422, True, "Groups-joined cap."
    CAP_ACCOUNTS = "cap_accounts", 422, True, "Operator's cap."
    BATCH_LIMIT = "batch_limit", 422, False, "More than `batch_max` or `bulk_max`."
    REASON_MISSING = "reason_missing", 422, True, "Reason code or note missing, or note too thin."
    BASIS_MISSING = "basis_missing", 422, True, "No legal or contract basis."
    WRONG_TARGET = "wrong_target", 422, True, "Code does not fit this target."
    PURPOSE_MISSING = "purpose_missing", 422, True, "A read without purpose."
    BACKDATED = "backdated", 422, True, "Edition in force before its adoption."
    TOO_MANY = "too_many", 429, False, "Rate limit; data: seconds."
    TRAIL_UNAVAILABLE = "trail_unavailable", 503, False, "The record cannot be written."
    TRAIL_DAMAGED = (
        "trail_damaged",
        503,
        False,
        "Rows of the log were changed or are missing; data: row. Asking again does not help: staff run `mandate replay`.",
    )
    NOT_FOUND = "not_found", 404, False, "No route has this path."
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, False, "This path does not take this method."
    BODY_TOO_LARGE = "body_too_large", 413, False, "The body is larger than the service takes."
    MEDIA_TYPE = "media_type", 415, False, "The body must be application/json."
    DATABASE_UNAVAILABLE = (
        "database_unavailable",
        503,
        False,
        "The database does not answer; try again later.",
    )
    INTERNAL = "internal", 500, False, "An error of the service; nothing was done."


class Refusal(Exception):
    """One refusal: a stable code and the data that helps the caller (cap, count, maximum, seconds, pointer).

    `rule` is the policy line that denied, or "none". `pointer` is the JSON pointer of the member at fault. `advice` says what
    to do: the caller reads it as `why`, no record keeps it.
    """

    def __init__(
        self, code: Code, *, rule: str = "none", pointer: str | None = None, advice: str = "", **data: Any
    ) -> None:
        """Refuse with `code`; `data` must hold public, non-personal values only: it is shown and recorded."""
        super().__init__(code.value)
        self.code = code
        self.rule = rule
        self.pointer = pointer
        self.advice = advice
        self.data = data


class Problem(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An RFC 9457 problem document: the one shape of every error."""

    type: str
    title: str
    status: int
    code: str
    rule: str = ""
    pointer: str = ""
    record_id: str = ""
    data: dict[str, Any] = {}


def problem(refusal: Refusal, record_id: str = "") -> Problem:
    """Return the problem document of a refusal; `record_id` where the refusal went on the record."""
    code = refusal.code
    return Problem(
        type=f"urn:mandate:problem:{code.value}",
        title=code.sentence,
        status=code.status,
        code=code.value,
        rule=refusal.rule if code.status == 403 else "",
        pointer=refusal.pointer or "",
        record_id=record_id,
        data=refusal.data | ({"why": refusal.advice} if refusal.advice else {}),
    )
