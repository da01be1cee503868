"""Groups over REST."""

from __future__ import annotations

from service.api.acting import governed
from service.domain.groups.mutes import MuteMember, UnmuteMember

ROUTES = [
    governed(
        "POST",
        "/v1/groups/{group_id}/mutes",
        MuteMember,
        example={"person_id": "dan", "seconds": 3600, "reason": "fraud"},
    ),
    governed(
        "DELETE",
        "/v1/groups/{group_id}/mutes/{person_id}",
        UnmuteMember,
        example={"reason": "error_corrected"},
    ),
]
