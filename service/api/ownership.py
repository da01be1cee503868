"""Transfer, succession and assignment of owners over REST."""

from __future__ import annotations

from service.api.acting import governed
from service.domain.ownership.succession import AssignOwner, NameSuccessors, OpenSuccession, Reclaim
from service.domain.ownership.transfer import (
    AcceptTransfer,
    DeclineTransfer,
    OfferTransfer,
    WithdrawTransfer,
)

ROUTES = [
    governed(
        "POST",
        "/v1/groups/{group_id}/transfer",
        OfferTransfer,
        example={"person_id": "ben", "old_owner_becomes": "admin"},
    ),
    governed("POST", "/v1/groups/{group_id}/transfer/acceptance", AcceptTransfer, example={}),
    governed("POST", "/v1/groups/{group_id}/transfer/declination", DeclineTransfer, example={}),
    governed("DELETE", "/v1/groups/{group_id}/transfer", WithdrawTransfer, example={}),
    governed(
        "PUT",
        "/v1/groups/{group_id}/successors",
        NameSuccessors,
        example={"successors": ["ben", "cai"]},
    ),
    governed("POST", "/v1/groups/{group_id}/succession", OpenSuccession, example={}),
    governed("DELETE", "/v1/groups/{group_id}/succession", Reclaim, example={}),
    governed("PUT", "/v1/groups/{group_id}/owner", AssignOwner, example={"person_id": "ben"}),
]
