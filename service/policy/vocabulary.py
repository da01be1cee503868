"""The closed lists that policy files may use. A word outside them is a fault, never a silent refusal.

Source: the glossary of standings and relations, the classes of groups and accounts, the kinds of duty, and
the instruments of law that a rule may rest on.
"""

from typing import Final

STANDINGS: Final = (
    "owner",
    "admin",
    "member",
    "stranger",
    "backend",
    "moderator",
    "classifier",
    "approver",
    "compliance",
    "auditor",
    "regulator",
    "sweep",
)
RELATIONS: Final = ("here", "lower", "self", "own", "affected", "apart", "uninvolved", "in_scope", "any")
TIERS: Final = ("-", "1", "2", "3", "4")
"""Tier of the target as rules write it; "-" is a subject without a tier (a person, a key, an approval)."""

ANY: Final = "any"
NO_RULE: Final = "none"
EFFECTS: Final = ("allow", "deny")
TERM_WORDS: Final = ("reason", "note")

NOUNS: Final = (
    "person",
    "operator",
    "credential",
    "credit",
    "reporter",
    "group",
    "account",
    "tier",
    "measure",
    "report",
    "case",
    "appeal",
    "duty",
    "review",
    "approval",
    "order",
    "inspection",
    "referral",
    "campaign",
    "notice",
    "filing",
    "edition",
    "staff",
    "key",
    "access",
    "legal_hold",
    "retention",
    "field",
    "record",
    "trail",
)
INSTRUMENTS: Final = (
    "platform-choice",
    "group-rules",
    "account-rules",
    "account-information-rules",
    "ecology-rules",
    "cyberviolence-rules",
    "self-media-notice",
    "cybersecurity-law",
    "pipl",
    "data-rules",
    "anti-fraud-law",
    "minors-rules",
    "police-inspection-rules",
    "dsa",
)
GROUP_CLASSES: Final = (
    "family",
    "work",
    "school",
    "interest",
    "community",
    "commerce",
    "fan",
    "current_affairs",
    "specialist",
    "public_service",
    "other",
)
ACCOUNT_CLASSES: Final = (
    "news",
    "government",
    "finance",
    "education",
    "health",
    "law",
    "commerce",
    "culture",
    "entertainment",
    "science",
    "life",
    "other",
)
CREDIT_LEVELS: Final = ("A", "B", "C", "D")
TARGET_KINDS: Final = ("group", "person", "office", "account", "operator", "reporter")
DUTY_KINDS: Final = (
    "act_on_members",
    "self_correction",
    "correction",
    "rectification",
    "acknowledge",
    "interview",
    "self_check",
    "recheck",
    "name_successor",
    "assign_owner",
    "review_answer",
    "file_document",
)
