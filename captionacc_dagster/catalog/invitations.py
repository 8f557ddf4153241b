"""Codes with which people join a tenant: made by its owners or an operator, bounded in uses and time."""

from __future__ import annotations

from uuid import uuid4

from captionacc_dagster.catalog.calls import CatalogCalls, Id, as_uuid, optional_uuid
from captionacc_dagster.catalog.models import Invitation, NewInvitation, Redemption, Role


class InvitationMethods(CatalogCalls):
    """Methods for invitation codes; the catalog keeps only their hashes, and writes the security log."""

    def create_invitation(
        self,
        tenant_id: Id,
        *,
        role: Role = "member",
        max_uses: int = 1,
        valid_days: int = 14,
        note: str | None = None,
        created_by: Id | None = None,
    ) -> NewInvitation:
        """Return a new invitation with its code, which cannot be read again.

        Raises:
            NotFound: there is no such tenant.
            InvalidValue: more than 1000 uses or 365 days, or a note of more than 200 characters.
            QuotaReached: the tenant has 100 open invitations.
        """
        return self._one(
            NewInvitation,
            "create_invitation",
            f"tenant {tenant_id}",
            p_invitation_id=uuid4(),
            p_tenant_id=as_uuid(tenant_id, "tenant id"),
            p_created_by=optional_uuid(created_by, "user id"),
            p_role=role,
            p_max_uses=max_uses,
            p_valid_days=valid_days,
            p_note=note,
        )

    def list_invitations(self, tenant_id: Id) -> list[Invitation]:
        """Return a tenant's invitations, newest first, at most 500; never their codes."""
        return self._rows(Invitation, "list_invitations", p_tenant_id=as_uuid(tenant_id, "tenant id"))

    def revoke_invitation(self, invitation_id: Id, tenant_id: Id, *, revoked_by: Id | None = None) -> bool:
        """End an invitation; return False if the tenant has no such one."""
        return self._call(
            "revoke_invitation",
            p_invitation_id=as_uuid(invitation_id, "invitation id"),
            p_tenant_id=as_uuid(tenant_id, "tenant id"),
            p_user_id=optional_uuid(revoked_by, "user id"),
        )

    def redeem_invitation(self, user_id: Id, code: str) -> Redemption:
        """Let a user join the tenant of a code, and return how it ended.

        Raises:
            Conflict: Supabase Auth has no such account.
        """
        return self._one(
            Redemption,
            "redeem_invitation_for",
            f"user {user_id}",
            p_user_id=as_uuid(user_id, "user id"),
            p_code=code,
        )
