"""The day of domain.md (h) as data: who asks what at which instant, and what must come of it.

`$name` in a path, a body or an expectation stands for what an earlier step kept, or what the play made (a token's hash).
"""

from __future__ import annotations

from service.demo.accounts import account_ranked_anew, patrol_accounts, people
from service.demo.authority import authority_looks, authority_looks_again, regulators_key
from service.demo.credit import credential_and_cap, credit_explained
from service.demo.dissolution import group_h
from service.demo.evidence import evidence
from service.demo.groups import founding_of_g, mute_of_dan
from service.demo.handover import transfer
from service.demo.measures import credential_ends, dormancy
from service.demo.names import names_and_profiles
from service.demo.step import Scene
from service.demo.tiers import another_table, tiers_explained
from service.founding import Founder

STAFF = [
    Founder("head", ["head_of_content_safety"]),
    Founder("co", ["compliance"]),
    Founder("ap", ["approver"]),
    Founder("cl", ["classifier", "approver"]),
    Founder("au", ["auditor"]),
    Founder("reg", ["regulator"]),
]


def story() -> list[Scene]:
    """Everything, in the order of its instants."""
    return [
        *patrol_accounts(),
        tiers_explained(),
        *people(),
        founding_of_g(),
        mute_of_dan(),
        regulators_key(),
        authority_looks(),
        group_h(),
        account_ranked_anew(),
        another_table(),
        names_and_profiles(),
        transfer(),
        authority_looks_again(),
        evidence(),
        credential_and_cap(),
        credit_explained(),
        credential_ends(),
        dormancy(),
    ]
