"""Two tenants with rows in every table, and who may come: for the tests of who sees and changes what."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.models import Role

TABLES = (
    "access_tiers",
    "tenants",
    "user_profiles",
    "videos",
    "video_database_state",
    "cropped_frames_versions",
    "processing_requests",
    "compute_calls",
    "webhook_deliveries",
    "security_audit_log",
    "issued_video_ids",
    "invitations",
)


@dataclass(frozen=True, slots=True)
class House:
    """A tenant with an owner, a member, one who waits for approval, and a video."""

    tenant_id: UUID
    owner: UUID
    member: UUID
    pending: UUID
    video_id: UUID


def add_user(catalog: Catalog, url: str, tenant_id: UUID, role: Role, *, approved: bool = True) -> UUID:
    user_id = uuid4()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("insert into auth.users (id, email) values (%s, %s)", (user_id, f"{user_id}@example.com"))
    catalog.set_user_profile(user_id, tenant_id, role=role, approval_status="approved" if approved else "pending")
    return user_id


def furnish(catalog: Catalog, url: str) -> House:
    """Make a tenant with at least one row of its own in every table that has tenants' rows."""
    tenant_id = catalog.ensure_tenant(uuid4(), "a tenant", "active").id
    owner = add_user(catalog, url, tenant_id, "owner")
    member = add_user(catalog, url, tenant_id, "member")
    pending = add_user(catalog, url, tenant_id, "member", approved=False)
    video_id = catalog.create_video(tenant_id, "a.mp4").video.id
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("insert into captionacc.issued_video_ids (tenant_id) values (%s)", (tenant_id,))
    catalog.create_invitation(tenant_id)
    catalog.acquire_server_lock(video_id, "layout", "run-1")
    catalog.next_cropped_frames_version(video_id, "run-1")
    catalog.record_compute_call(
        f"key of {video_id}", video_id, app_name="app", function_name="f", code_version="1", arguments={}
    )
    catalog.accept_webhook_delivery(f"delivery of {video_id}", "supabase", tenant_id=tenant_id)
    catalog.record_security_event("foreign_tenant", tenant_id=tenant_id)
    return House(tenant_id, owner, member, pending, video_id)
