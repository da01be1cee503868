"""What of the database is rebuilt, table by table and column by column, and what is not, each with the reason.

A table or a column that stands in neither list is a fault: whoever adds one says where it is told, or why it is no fact.
"""

from typing import NamedTuple


class Told(NamedTuple):
    """A table that is rebuilt: the columns that tell its rows apart, and the others."""

    key: str
    facts: str


TABLES = {
    "person": Told(
        "person_id",
        "jurisdiction created_at version identity_status identity_methods identity_ref verified_at minor bot "
        "seen_at terms_accepted closed_at erased_at",
    ),
    "staff": Told("staff_id", "person_id jurisdiction created_at version"),
    "staff_role": Told("by_record staff_id", "standing from_at until_at ended_record"),
    "api_key": Told(
        "key_id",
        "kind staff_id families tiers jurisdictions issued_at expires_at revoked_at by_record version",
    ),
    "groups": Told(
        "group_id",
        "code name klass jurisdiction created_at version owner_id ownerless_since capacity member_count "
        "admin_count messages_per_day join_mode discoverable link_open minors tier tier_basis override "
        "successors succession_due_at succession_record offer transferred_at imported by_record dissolved_at "
        "dissolved_how dissolved_record preserved next_recheck_at",
    ),
    "role": Told("by_record person_id", "group_id rank from_at until_at ended_record granted_by"),
    "mute": Told(
        "by_record", "group_id person_id from_at until by_rank supersedes ended_at ended_how ended_record"
    ),
    "mute_all": Told(
        "by_record", "group_id from_at until by_rank supersedes ended_at ended_how ended_record"
    ),
    "bar": Told(
        "by_record", "group_id person_id from_at until by_rank supersedes ended_at ended_how ended_record"
    ),
    "join_request": Told("by_record", "group_id person_id invited_by at ended_at ended_how ended_record"),
    "hidden_item": Told(
        "by_record", "group_id locator item_sha256 author_id by_rank at ended_at ended_record"
    ),
    "pinned_notice": Told("by_record", "group_id locator by_standing at"),
    "operator": Told(
        "operator_id",
        "kind name is_mcn answerable_person identity_status identity_methods identity_ref verified_at pending "
        "jurisdiction created_at version account_count extra_accounts exited_at by_record",
    ),
    "answerable": Told("operator_id by_record", "person_id from_at until_at ended_record"),
    "account": Told(
        "account_id",
        "name klass operator_id profile jurisdiction created_at version accepted_at refused_at followers "
        "reads_per_post quality quality_source last_used_at tier tier_basis override next_recheck_at "
        "closed_at closed_how by_record name_check pending_profile offer transferred_at "
        "monetisation_eligible_at closing_due_at mcn_agreed mcn_id mcn_record",
    ),
    "account_name": Told("account_id by_record", "name freed_record"),
    "former_profile": Told("account_id by_record", "name klass profile until_at"),
    "subject_change": Told("account_id by_record", "at from_operator to_operator"),
    "mcn_contract": Told("account_id by_record", "mcn_id from_at until_at ended_record"),
    "credential": Told(
        "credential_id",
        "operator_id kind reference valid_from valid_until submitted_at accepted_at accepted_record ended_at "
        "ended_how ended_record version",
    ),
    "credit": Told("subject_type subject_id", "score entries recovering_since"),
    "credit_entry": Told("subject_type subject_id number", "at points score cause by_record"),
    "measure": Told(
        "measure_id",
        "code target_type target_id scope jurisdiction ground basis facts imposed_as from_at until "
        "dsa_surface coupled_to notice_id by_record ended_at ended_how ended_record lift_reason version",
    ),
    "notice": Told("notice_id", "measure_id to_person about_type about_id jurisdiction at by_record"),
    "dormancy_warning": Told("account_id", "unused_since at by_record"),
    "approval": Told(
        "approval_id",
        "action target_type target_id digest proposer parties persons_needed granted_by jurisdiction tier "
        "created_at expires_at state ended_at ended_record version",
    ),
    "legal_hold": Told(
        "hold_id", "subject_type subject_id set_by reason jurisdiction from_at ended_at ended_record version"
    ),
    "filing": Told("filing_id", "document version authority receipt jurisdiction filed_at at"),
    "tier_plan": Told("plan_id", "kind edition state created_at run_record ended_at ended_record version"),
    "edition": Told("digest", "effective_at adopted_record"),
}
"""Every table that is rebuilt."""
KEYS = {table: tuple(told.key.split()) for table, told in TABLES.items()}
COLUMNS = {table: [*told.key.split(), *told.facts.split()] for table, told in TABLES.items()}
_LOG = "the log, its tree and its map: built from the records, and looked at by the audit and the replay of the log"
#: Every table that is not rebuilt, with why it holds no governed fact.
LEFT_OUT = {
    "schema_migrations": "which migrations were run",
    "record": "the records themselves",
    "record_field": "the sealed openings of the records",
    "subject_key": "keys of the sealed openings: whoever rebuilds has them, or the openings are gone",
    "subject_name": "which id a tag of a record stands for: given with the records",
    "pending": "records that wait for the sequencer",
    "request_key": "first answers, kept for who asks again (S010)",
    "outbox": "effects handed over: deliveries, no facts",
    "webhook": "where effects are posted to, and how far: deliveries, no facts",
    **dict.fromkeys(("log_state", "log_entry", "log_tile", "subject", "subject_leaf"), _LOG),
    "checkpoint": "signatures under the log",
    "cosignature": "signatures of witnesses",
    "tier_forecast": "a count of what a plan would do, counted again at any time",
    "tier_progress": "how far the sweep has come with a plan",
    "level_move": "a mark for the sweep, dropped when it was there",
}
#: Every column that is not rebuilt, with why.
COLUMNS_LEFT_OUT = {
    "api_key.prefix": "how a token is recognised, not what may be done with it: who rebuilds gives new tokens",
    "api_key.token_sha256": "as above",
    "approval.body": "the act in its own words while it waits, notes included; the record has their digest",
    "approval.salt": "of that digest",
    "edition.files": "the policy's own files, of which the record has the digest",
    "tier_plan.counts": "a dry run; the record has what would move, the samples are for people who look",
    "notice.parts": "the words of the statement; to whom, of what, by which act is rebuilt",
    "account.name_key": "made of the name",
    "account_name.name_key": "made of the name",
    "account_name.skeleton": "made of the name",
    "account_name.parts": "made of the name",
}


def unknown(columns: dict[str, list[str]]) -> list[str]:
    """Tables and columns of a database that are neither rebuilt nor left out for a reason, and such that are no more."""
    found = [
        f"table {table} is neither rebuilt nor left out for a reason"
        for table in sorted(columns.keys() - TABLES.keys() - LEFT_OUT.keys())
    ]
    for table, known in COLUMNS.items():
        there = [one for one in columns.get(table, ()) if f"{table}.{one}" not in COLUMNS_LEFT_OUT]
        found += [
            f"column {table}.{one} is neither rebuilt nor left out for a reason"
            for one in there
            if one not in known
        ]
        found += [f"column {table}.{one} is no more" for one in known if one not in there]
    return found
