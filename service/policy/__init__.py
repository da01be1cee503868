"""Policy: who may do what to whom, under which terms; data in `policies/`, compiled once, asked in a
microsecond.

Casbin lives here and nowhere else. An edition is read strictly or not at all.
"""

from .bands import Band, Scale, TierEdition, TierTable, adopted_tiers
from .catalogue import Document, Measure, Reason, ReservedTerm, Term, Violation
from .compare import Answer, CellChange, Explanation, ValueChange, check, diff, diff_values, explain
from .edition import Policy, Terms, Verdict, digest, read_folder
from .lines import Line
from .parameters import Parameters
from .sheets import PolicyError, Problem
from .vocabulary import RELATIONS, STANDINGS, TIERS

__all__ = [
    "RELATIONS",
    "STANDINGS",
    "TIERS",
    "Answer",
    "Band",
    "CellChange",
    "Document",
    "Explanation",
    "Line",
    "Measure",
    "Parameters",
    "Policy",
    "PolicyError",
    "Problem",
    "Reason",
    "ReservedTerm",
    "Scale",
    "Term",
    "Terms",
    "TierEdition",
    "TierTable",
    "ValueChange",
    "Verdict",
    "Violation",
    "adopted_tiers",
    "check",
    "diff",
    "diff_values",
    "digest",
    "explain",
    "read_folder",
]
