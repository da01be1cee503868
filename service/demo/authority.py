"""The story of an authority: it may look when two persons agreed, for a purpose, and never act."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from service.demo.step import PEOPLE, Kept, Scene, Step, at, query, reference

REGULATOR_KEY = "reg-110000"
"""The authority's second key, which opens its territory; its token is made here and its hash is asked in."""
WHY = "complaint 2026-31: who muted a member of this group"
CHAIN = "/v1/responsibility/record/$mute"
IDENTITIES = tuple(reference(name) for name in PEOPLE)


def regulators_key() -> Scene:
    """In the place of R40 and R41: what the authority may see is asked by one person and agreed to by another."""
    grant = "/v1/approvals/$key_approval/grant"
    return Scene(
        "The authority: two persons let it look",
        [
            Step(
                at("16:42"),
                "co",
                "asks for a key for reg",
                "POST",
                "/v1/keys",
                {
                    "key_id": REGULATOR_KEY,
                    "kind": "regulator",
                    "staff_id": "reg",
                    "token_sha256": "$key_sha256",
                    "prefix": "$key_prefix",
                    "jurisdictions": ["CN-110000"],
                },
                202,
                rule="key.issue-compliance",
                means="proposed: opens CN-110000",
                keeps={"key_approval": "result.approval_id"},
            ),
            Step(
                at("16:43"),
                REGULATOR_KEY,
                "shows it too early",
                "GET",
                "/v1/trails/group/g" + query(purpose=WHY),
                None,
                401,
                "key_invalid",
                means="not a key yet",
            ),
            Step(
                at("16:45"),
                "co",
                "agrees with herself",
                "POST",
                grant,
                {},
                403,
                "own_matter",
                means="a second person means another person",
            ),
            Step(
                at("16:50"),
                "ap",
                "agrees",
                "POST",
                grant,
                {},
                rule="approval.grant-approver",
                shows={"result.state": "granted"},
                means="now it opens",
            ),
        ],
    )


def authority_looks() -> Scene:
    """R43 to R45: the authority cannot act, cannot look without purpose, and sees who answered at 09:05."""
    return Scene(
        "The authority: it looks, it does not act",
        [
            Step(
                at("16:55"),
                "reg",
                "reads with its first key",
                "GET",
                "/v1/trails/group/g" + query(purpose=WHY),
                None,
                403,
                "outside_scope",
                means="that one opens no territory",
            ),
            Step(
                at("17:01"),
                REGULATOR_KEY,
                "dissolves g",
                "POST",
                "/v1/groups/g/dissolution",
                {"reason": "other"},
                403,
                "refused",
                "none",
                means="it reads, and g lives",
                version="/v1/groups/g",
                label="R43",
            ),
            Step(
                at("17:02"),
                REGULATOR_KEY,
                "asks who answers for R16",
                "GET",
                CHAIN + query(at="2026-11-02T09:05:00.000Z"),
                None,
                422,
                "purpose_missing",
                means="not without a purpose",
                label="R44",
            ),
            _chain_of_the_mute(at("17:03"), "R45", keeps={"chain": ""}),
        ],
        about="g",
    )


def _chain_of_the_mute(when: dt.datetime, label: str, keeps: Mapping[str, str]) -> Step:
    """Platform, owner, admin, act: the same answer whenever it is asked."""
    return Step(
        when,
        REGULATOR_KEY,
        "asks with a purpose",
        "GET",
        CHAIN + query(at="2026-11-02T09:05:00.000Z", purpose=WHY),
        shows={
            "chain.platform.id": "head",
            "chain.owner.id": "ann",
            "chain.owner.record_id": Kept("founding"),
            "chain.admins.#": 2,
            "chain.admins.0.id": "ben",
            "chain.admins.0.granted_by": "ann",
            "chain.admins.0.record_id": Kept("admin_ben"),
            "chain.admins.1.record_id": Kept("admin_cai"),
            "act.record_id": Kept("mute"),
            "act.by.who.id": "ben",
            "act.rule": "group.mute-admin",
            "act.edition": Kept("edition"),
            "act.fields": {},
        },
        hides=('"eve"', "朝阳路邻里", *IDENTITIES),
        means="head → ann (R1) → ben (R10) → R16; no identity",
        keeps=keeps,
        makes="read_record_id",
        label=label,
    )


def authority_looks_again() -> Scene:
    """After the transfer: what was true yesterday stays true of yesterday."""
    return Scene(
        "The authority, the next day: yesterday stays what it was",
        [
            _chain_of_the_mute(at("09:30", 1), "–", keeps={})._replace(
                does="asks about R16 again", means="yesterday's answer stands: ann answered"
            ),
            Step(
                at("09:31", 1),
                REGULATOR_KEY,
                "asks who answers for g now",
                "GET",
                "/v1/responsibility/group/g" + query(purpose=WHY),
                shows={
                    "chain.owner.id": "ben",
                    "chain.owner.record_id": Kept("acceptance"),
                    "chain.admins.#": 1,
                    "chain.admins.0.id": "cai",
                    "chain.admins.0.granted_by": "ann",
                    "chain.admins.0.served_under.#": 2,
                },
                means="ben; cai served under ann, then ben",
                makes="read_record_id",
            ),
        ],
        about="g",
    )
