"""Invitation codes: owners make, list, and revoke them; whoever has signed in joins a tenant with one."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from captionacc_dagster.api.auth import OwnerDependency, UserDependency
from captionacc_dagster.api.errors import ApiError, responses
from captionacc_dagster.api.services import Services, ServicesDependency
from captionacc_dagster.api.views import (
    CreateInvitation,
    InvitationCode,
    InvitationList,
    InvitationView,
    Membership,
    RedeemInvitation,
)
from captionacc_dagster.catalog.models import Redemption, RedemptionOutcome

router = APIRouter(tags=["people"])

REFUSALS: dict[RedemptionOutcome, str] = {
    "unknown": "there is no such invitation code",
    "revoked": "this invitation was revoked",
    "expired": "this invitation has expired",
    "used_up": "this invitation has been used",
    "other_tenant": "this account already belongs to another tenant",
    "rejected": "an owner of the tenant has rejected this account",
}


@router.post(
    "/invitations", status_code=201, summary="Make an invitation", responses=responses(401, 403, 422, 429, 503)
)
def create_invitation(services: ServicesDependency, owner: OwnerDependency, body: CreateInvitation) -> InvitationCode:
    """Return a code with which people join the caller's tenant; it is shown once. For owners of the tenant."""
    made = services.catalog.create_invitation(
        owner.tenant_id,
        role=body.role,
        max_uses=body.max_uses,
        valid_days=body.valid_days,
        note=body.note,
        created_by=owner.user_id,
    )
    return InvitationCode.of(made)


@router.get("/invitations", summary="List invitations", responses=responses(401, 403, 429, 503))
def list_invitations(services: ServicesDependency, owner: OwnerDependency) -> InvitationList:
    """Return the invitations of the caller's tenant, newest first, without their codes. For owners of the tenant."""
    invitations = services.catalog.list_invitations(owner.tenant_id)
    return InvitationList(invitations=[InvitationView.of(row) for row in invitations])


@router.delete(
    "/invitations/{invitation_id}",
    status_code=204,
    summary="Revoke an invitation",
    responses=responses(401, 403, 404, 422, 429, 503),
)
def revoke_invitation(services: ServicesDependency, owner: OwnerDependency, invitation_id: UUID) -> None:
    """End an invitation; people who already joined keep access. For owners of the tenant."""
    if not services.catalog.revoke_invitation(invitation_id, owner.tenant_id, revoked_by=owner.user_id):
        services.audit.record("no_such_invitation")
        raise ApiError(404, "no such invitation")


@router.post(
    "/invitations/redeem", summary="Redeem an invitation code", responses=responses(401, 404, 409, 422, 429, 503)
)
def redeem_invitation(services: ServicesDependency, user_id: UserDependency, body: RedeemInvitation) -> Membership:
    """Let the caller, who has an account but no tenant yet, join the tenant of a code.

    Redeeming again has no effect.
    """
    joined = redeem(services, user_id, body.code)
    return Membership.of(joined)


def redeem(services: Services, user_id: UUID, code: str) -> Redemption:
    """Redeem a code.

    Raises:
        ApiError: 404 for an unknown code, 409 for one that is not for this account any more, 429 after too many.
    """
    redemption = services.catalog.redeem_invitation(user_id, code)
    refusal = REFUSALS.get(redemption.outcome)
    if refusal is None:
        return redemption
    if redemption.outcome == "unknown":
        services.refused("invitation_unknown")
        raise ApiError(404, refusal)
    raise ApiError(409, refusal)
