"""The values of parameters.csv: typed, complete, and within what law fixes."""

import math
from collections.abc import Sequence

import msgspec

from .sheets import Findings, Row, one_of, read_sheet

COLUMNS = ("name", "value", "unit", "fixed_by_law", "bound", "limit", "source", "note")
BOUNDS = ("free", "min", "max", "exact")

LAW = frozenset(
    {
        "identity_methods_min_account",
        "dormancy_pause_d",
        "clean_months_before_monetisation",
        "subject_change_monetisation_months",
        "mute_monetisation_factor",
        "mute_monetisation_factor_repeat",
        "appeal_window_months",
        "log_retention_floor_months",
        "assessment_retention_years",
        "published_report_years",
        "content_backup_floor_days",
        "transparency_report_period_months",
        "transparency_report_within_months",
        "active_users_publish_months",
        "eu_batch_min",
        "eu_batch_max",
        "large_platform_registered",
        "large_platform_monthly",
        "inspection_officers_min",
    }
)
"""The values an edition must bind to a number of law (`fixed_by_law` = yes); the numbers stand in `limit`."""


class Parameters(msgspec.Struct, frozen=True):
    """Every value of parameters.csv, in the order of the file.

    Units are in the names: `_s` seconds, `_h` hours, `_d` days, `_wd` working days, `_months` calendar
    months, `_years` calendar years; `_share`, `_accuracy`, `_review` and `_factor` are ratios; the rest
    counts things.
    """

    # Order inside groups
    mute_min_s: int
    mute_max_s: int
    batch_max: int
    bar_default_d: int
    # Ownership and succession
    transfer_fresh_h: int
    group_transfer_offer_h: int
    account_transfer_offer_d: int
    transfer_rest_d: int
    succession_wait_d: int
    owner_absent_d: int
    ownerless_case_d: int
    # Groups: requests, information page, caps by credit
    admit_request_lapse_d: int
    info_page_members: int
    groups_owned_cap_a: int
    groups_owned_cap_b: int
    groups_owned_cap_c: int
    groups_owned_cap_d: int
    groups_joined_cap_a: int
    groups_joined_cap_b: int
    groups_joined_cap_c: int
    groups_joined_cap_d: int
    # Accounts
    accounts_cap_person: int
    accounts_cap_company: int
    accounts_cap_media: int
    accounts_cap_government: int
    accounts_cap_mass_organisation: int
    accounts_cap_other: int
    identity_methods_min_account: int
    name_similarity_review: float
    dormancy_warn_d: int
    dormancy_pause_d: int
    dormancy_end_d: int
    close_cooling_small_d: int
    close_cooling_middle_d: int
    close_cooling_large_d: int
    close_cooling_small_followers: int
    close_cooling_middle_followers: int
    clean_months_before_monetisation: int
    subject_change_monetisation_months: int
    mute_monetisation_factor: int
    mute_monetisation_factor_repeat: int
    follower_swing_share: float
    # Credit
    credit_start: int
    credit_a_from: int
    credit_b_from: int
    credit_c_from: int
    credit_min: int
    credit_max: int
    credit_loss_g1: int
    credit_loss_g2: int
    credit_loss_g3: int
    credit_loss_g4: int
    credit_loss_g5: int
    credit_loss_duty_overdue: int
    credit_recovery_points: int
    credit_recovery_period_d: int
    # Tiers
    override_max_d: int
    tier_down_wait_d: int
    activity_window_d: int
    # Measures and approvals
    hold_max_h: int
    approval_lapse_h: int
    approval_lapse_urgent_h: int
    automation_sample_share: float
    # Duties and reviews
    education_self_correct_h: int
    rectify_extensions_max: int
    bulletin_ack_d: int
    duty_team_days: int
    review_gravity_from: int
    review_rank_from: int
    review_due_d: int
    # Reports and cases
    report_reply_wd: int
    report_life_risk_h: int
    report_dedupe_d: int
    report_daily_cap: int
    case_due_h_g5: int
    case_due_h_g4: int
    case_due_h_g3: int
    case_due_h_g2: int
    case_due_h_g1: int
    priority_per_gravity: int
    priority_trusted: int
    priority_life_risk: int
    priority_per_waiting_h: int
    trusted_min_reports: int
    trusted_min_accuracy: float
    misuse_window_d: int
    misuse_min_reports: int
    misuse_unfounded_share: float
    # Appeals
    appeal_window_months: int
    appeal_reply_wd: int
    appeal_life_risk_h: int
    restore_closed_group_d: int
    blacklist_review_d: int
    # Retention
    log_retention_floor_months: int
    log_retention_months: int
    evidence_after_appeal_months: int
    assessment_retention_years: int
    published_report_years: int
    content_backup_floor_days: int
    # Publication
    transparency_report_period_months: int
    transparency_report_within_months: int
    active_users_publish_months: int
    eu_batch_min: int
    eu_batch_max: int
    large_platform_registered: int
    large_platform_monthly: int
    # Authorities
    inspection_officers_min: int
    inspection_recheck_wd: int
    access_grant_max_d: int
    order_acknowledge_h: int
    # Bulk work and the service itself
    bulk_max: int
    bulk_sample_min: int
    request_key_keep_d: int
    trail_page_max: int
    # What a count can be at all; editions adopted before these lines existed are read with the values here
    followers_max: int = 10_000_000_000
    reads_per_post_max: int = 10_000_000_000
    messages_per_day_max: int = 100_000_000
    # Credit of operators. Added later: an edition adopted before there were these lines is read with these values
    account_credit_min: int = 40
    raise_cap_credit_min: int = 70
    raise_cap_max_d: int = 365


class Bound(msgspec.Struct, frozen=True):
    """What holds a value in place: `min`, `max` or `exact` against a number of law or another value's
    name.
    """

    line: int
    kind: str
    limit: str


def read_parameters(data: bytes, findings: Findings) -> Parameters | None:
    """All values, or None with findings: a value missing, unknown, of the wrong type or beyond its bound."""
    rows = read_sheet(data, COLUMNS, ("name",), findings, may_be_empty=("limit", "note"))
    if rows is None:
        return None
    before = len(findings.problems)
    types = {field.name: field.type for field in msgspec.structs.fields(Parameters)}
    values: dict[str, int | float] = {}
    bounds: dict[str, Bound] = {}
    for row in rows:
        name = row["name"]
        if name not in types:
            findings.add(
                row.line, f"parameter '{name}' is unknown", "correct the spelling or remove the line"
            )
            continue
        value = _number(row, types[name] is int, findings)
        if value is not None:
            values[name] = value
        bound = _bound(row, types, findings)
        if bound is not None:
            bounds[name] = bound
    listed = {row["name"] for row in rows}
    required = {field.name for field in msgspec.structs.fields(Parameters) if field.required}
    for name in types:
        if name in required and name not in listed:
            findings.add(1, f"parameter '{name}' is missing", "add its line")
    for name, bound in bounds.items():
        _hold(name, bound, values, findings)
    if len(findings.problems) > before or not required <= values.keys():
        return None
    return msgspec.convert(values, Parameters)


def _number(row: Row, is_whole: bool, findings: Findings) -> int | float | None:
    value = _parse(row["value"])
    if value is None or value < 0 or (is_whole and not isinstance(value, int)):
        kind = "whole number" if is_whole else "number"
        findings.add(row.line, f"value '{row['value']}' is no {kind} of at least 0", f"write a {kind}")
        return None
    return value


def _parse(text: str) -> int | float | None:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _bound(row: Row, names: Sequence[str] | dict[str, object], findings: Findings) -> Bound | None:
    if not one_of(row, "fixed_by_law", ("yes", "no"), findings) or not one_of(row, "bound", BOUNDS, findings):
        return None
    by_law = row["fixed_by_law"] == "yes"
    if row["name"] in LAW and not by_law:
        findings.add(row.line, f"'{row['name']}' is fixed by law", "write fixed_by_law yes and its limit")
        return None
    if row["bound"] == "free":
        if by_law or row["limit"]:
            findings.add(row.line, "bound free, yet fixed by law or with a limit", "write min, max or exact")
        return None
    is_number = _parse(row["limit"]) is not None
    if not is_number and (by_law or row["limit"] not in names):
        cure = "write the number of law" if by_law else "write a number or the name of another parameter"
        findings.add(row.line, f"limit '{row['limit']}' is unknown", cure)
        return None
    return Bound(row.line, row["bound"], row["limit"])


def _hold(name: str, bound: Bound, values: dict[str, int | float], findings: Findings) -> None:
    number = _parse(bound.limit)
    limit = values.get(bound.limit) if number is None else number
    value = values.get(name)
    if value is None or limit is None:
        return
    if bound.kind == "min" and value < limit:
        findings.add(
            bound.line, f"{name} {value} is below {bound.limit} ({limit})", f"write at least {limit}"
        )
    elif bound.kind == "max" and value > limit:
        findings.add(bound.line, f"{name} {value} is above {bound.limit} ({limit})", f"write at most {limit}")
    elif bound.kind == "exact" and value != limit:
        findings.add(bound.line, f"{name} {value} is not {bound.limit}", f"write exactly {limit}")
