"""Joining and leaving groups over REST."""

from __future__ import annotations

from service.api.acting import governed
from service.domain.groups.joining import (
    AdmitPerson,
    InvitePerson,
    JoinGroup,
    LeaveGroup,
    RequestJoin,
    TurnAway,
)

ROUTES = [
    governed("POST", "/v1/groups/{group_id}/joining", JoinGroup, example={"by_link": True}),
    governed("POST", "/v1/groups/{group_id}/join-requests", RequestJoin, example={}),
    governed("POST", "/v1/groups/{group_id}/invitations", InvitePerson, example={"person_id": "eve"}),
    governed("POST", "/v1/groups/{group_id}/join-requests/{person_id}/admission", AdmitPerson, example={}),
    governed(
        "DELETE",
        "/v1/groups/{group_id}/join-requests/{person_id}",
        TurnAway,
        example={"reason": "group_rules"},
    ),
    governed("POST", "/v1/groups/{group_id}/leaving", LeaveGroup, example={}),
]
