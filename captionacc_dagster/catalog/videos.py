"""Tenants, users, and videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from captionacc_dagster.catalog.calls import (
    IDS_PER_CALL,
    CatalogCalls,
    Id,
    Page,
    as_uuid,
    chunks,
    optional_uuid,
    page_of,
    read_cursor,
)
from captionacc_dagster.catalog.models import (
    Account,
    ApprovalStatus,
    CreatedVideo,
    HistoryEvent,
    Role,
    Tenant,
    TenantQuota,
    Tier,
    UserProfile,
    Video,
    VideoSource,
    VideoStage,
    VideoStatus,
)


class VideoMethods(CatalogCalls):
    """Methods for tenants, users, and videos."""

    def get_tenant(self, tenant_id: Id) -> Tenant:
        """Return a tenant.

        Raises:
            NotFound: there is none.
        """
        return self._one(Tenant, "get_tenant", f"tenant {tenant_id}", p_tenant_id=as_uuid(tenant_id, "tenant id"))

    def ensure_tenant(
        self, tenant_id: Id, name: str, access_tier_id: str | None, *, auto_approve_layout: bool = False
    ) -> Tenant:
        """Return the tenant, created with these values if it does not exist."""
        return self._one(
            Tenant,
            "ensure_tenant",
            f"tenant {tenant_id}",
            p_tenant_id=as_uuid(tenant_id, "tenant id"),
            p_name=name,
            p_access_tier_id=access_tier_id,
            p_auto_approve_layout=auto_approve_layout,
        )

    def list_tenants(self) -> list[Tenant]:
        """Return the tenants, at most 1000, in the order of their names."""
        return self._rows(Tenant, "list_tenants")

    def get_tenant_tier(self, tenant_id: Id) -> Tier:
        """Return the tier that determines a tenant's priority; ``free`` for an unknown tenant.

        It follows from the access tier of the first approved user who has one (owners first), or else of the tenant:
        ``active`` → ``premium``, ``enterprise`` → ``enterprise``, anything else → ``free``.
        """
        return self._call("tenant_tier", p_tenant_id=as_uuid(tenant_id, "tenant id"))

    def get_tenant_quota(self, tenant_id: Id) -> TenantQuota:
        """Return a tenant's limits and their use in this calendar month.

        Raises:
            NotFound: there is no such tenant.
        """
        return self._one(
            TenantQuota, "tenant_quota", f"tenant {tenant_id}", p_tenant_id=as_uuid(tenant_id, "tenant id")
        )

    def get_tenant_run_limits(self) -> dict[str, int]:
        """Return tenant id → concurrent runs, for tenants with a limit of their own."""
        return dict(self._call("tenant_run_limits"))

    def find_account(self, email: str) -> Account | None:
        """Return the account of an e-mail address, in capital or small letters, or None."""
        return self._first(Account, "find_account", p_email=email)

    def invite_account(self, email: str) -> tuple[Account, str]:
        """Return the account of an e-mail address, made if there is none, and what the person has to do with it.

        Raises:
            InvalidValue: Supabase Auth makes the accounts of this database, and this connection cannot ask it.
        """
        account = self._one(Account, "add_account", f"account {email}", p_email=email)
        return account, f"its tokens name {account.id} as `sub`"

    def find_user_profile(self, user_id: Id) -> UserProfile | None:
        """Return a user's profile, or None."""
        return self._first(UserProfile, "get_user_profile", p_user_id=as_uuid(user_id, "user id"))

    def set_user_profile(
        self,
        user_id: Id,
        tenant_id: Id,
        *,
        role: Role = "member",
        approval_status: ApprovalStatus = "pending",
        access_tier_id: str | None = None,
        display_name: str | None = None,
    ) -> UserProfile:
        """Create or replace the profile of a user of ``auth.users``.

        Raises:
            Conflict: there is no such user, tenant, or access tier.
        """
        return self._one(
            UserProfile,
            "set_user_profile",
            f"user {user_id}",
            p_user_id=as_uuid(user_id, "user id"),
            p_tenant_id=as_uuid(tenant_id, "tenant id"),
            p_role=role,
            p_approval_status=approval_status,
            p_access_tier_id=access_tier_id,
            p_display_name=display_name,
        )

    def create_video(
        self,
        tenant_id: Id,
        filename: str,
        *,
        storage_key: str | None = None,
        video_id: Id | None = None,
        content_hash: str | None = None,
        file_size_bytes: int | None = None,
        source: VideoSource = "upload",
        uploaded_by: Id | None = None,
        lang: str | None = None,
        claimer: str | None = None,
        lease_s: float = 300.0,
    ) -> CreatedVideo:
        """Add a video and, in the same transaction, its request for initial processing.

        Equal content (``content_hash``: SHA-256, 64 hex digits) of one tenant is one video: an existing one is returned
        with ``created=False``. With ``claimer``, the request is claimed for ``lease_s`` seconds in the same
        transaction, so that no other process starts it; launch it with the same name. ``storage_key`` defaults to the
        usual key.

        Raises:
            NotFound: there is no such tenant.
            Conflict: the id or key belongs to another video.
            InvalidValue: the key is not this tenant's and video's, or the hash is malformed.
        """
        number = as_uuid(video_id, "video id") if video_id is not None else uuid4()
        tenant = as_uuid(tenant_id, "tenant id")
        made = self._call(
            "create_video",
            p_video_id=number,
            p_tenant_id=tenant,
            p_filename=filename,
            p_storage_key=storage_key or f"{tenant}/client/videos/{number}/video.mp4",
            p_content_hash=content_hash,
            p_file_size_bytes=file_size_bytes,
            p_source=source,
            p_uploaded_by=optional_uuid(uploaded_by, "user id"),
            p_lang=lang,
            p_claimer=claimer,
            p_lease_seconds=lease_s,
        )
        return CreatedVideo.model_validate(made)

    def get_video_metadata(self, video_id: Id) -> Video:
        """Return a video.

        Raises:
            NotFound: there is no such video, or it was deleted.
        """
        return self._one(Video, "get_videos", f"video {video_id}", p_video_ids=[as_uuid(video_id, "video id")])

    def get_videos(
        self, video_ids: Iterable[Id], *, tenant_id: Id | None = None, with_demos: bool = False
    ) -> dict[UUID, Video]:
        """Return id → video, for those that exist; with ``tenant_id``, only this tenant's (and demo videos)."""
        wanted = [as_uuid(video_id, "video id") for video_id in video_ids]
        return {
            video.id: video
            for part in chunks(wanted, IDS_PER_CALL)
            for video in self._rows(
                Video,
                "get_videos",
                p_video_ids=part,
                p_tenant_id=optional_uuid(tenant_id, "tenant id"),
                p_with_demos=with_demos,
            )
        }

    def find_video(self, tenant_id: Id, content_hash: str) -> Video | None:
        """Return the tenant's video with this content, or None."""
        return self._first(
            Video,
            "find_video",
            p_tenant_id=as_uuid(tenant_id, "tenant id"),
            p_content_hash=content_hash,
        )

    def list_videos(
        self,
        *,
        tenant_id: Id | None = None,
        statuses: Iterable[VideoStatus] | None = None,
        filename: str | None = None,
        folder: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Video]:
        """Return a page of videos, newest first (of all tenants if none is given; ``limit`` at most 500).

        ``folder`` includes the folders in it.
        """
        before_at, before_id = read_cursor(cursor)
        count = min(max(limit, 1), 500)
        rows = self._rows(
            Video,
            "list_videos",
            p_tenant_id=optional_uuid(tenant_id, "tenant id"),
            p_statuses=None if statuses is None else list(statuses),
            p_filename=filename,
            p_before_created_at=before_at,
            p_before_id=before_id,
            p_limit=count + 1,
            p_folder=folder,
        )
        return page_of([(video.created_at, video.id, video) for video in rows], count)

    def search_videos(
        self,
        tenant_id: Id,
        *,
        text: str | None = None,
        stage: VideoStage | None = None,
        folder: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Video]:
        """Return a page of a tenant's videos in this stage with ``text`` in their name or folder, newest first.

        ``folder`` includes the folders in it.
        """
        before_at, before_id = read_cursor(cursor)
        count = min(max(limit, 1), 500)
        rows = self._rows(
            Video,
            "search_videos",
            p_tenant_id=as_uuid(tenant_id, "tenant id"),
            p_text=text or None,
            p_stage=stage,
            p_before_created_at=before_at,
            p_before_id=before_id,
            p_limit=count + 1,
            p_folder=folder or None,
        )
        return page_of([(video.created_at, video.id, video) for video in rows], count)

    def match_videos(self, text: str, *, limit: int = 10) -> list[Video]:
        """Return the videos whose id is or begins with ``text`` (at least four digits), or whose file name it is.

        Newest first, of all tenants, at most 100.
        """
        return self._rows(Video, "match_videos", p_text=text, p_limit=limit)

    def update_video_status(self, video_id: Id, status: VideoStatus | None = None, **changes: Any) -> Video:
        """Change statuses and error details; only the given columns change.

        ``changes`` may name ``layout_status``, ``boundaries_status``, ``text_status``, ``error_details`` and
        ``*_error_details`` (see :func:`captionacc_dagster.catalog.models.error_details`); each may be None.

        Raises:
            NotFound: there is no such video.
            InvalidValue: a column or value that is not allowed.
        """
        given = changes if status is None else {"status": status, **changes}
        return self.update_video_metadata(video_id, given)

    def update_video_metadata(self, video_id: Id, changes: Mapping[str, Any]) -> Video:
        """Change the columns named in ``changes``: measured facts and statuses of a video.

        Raises:
            NotFound: there is no such video.
            InvalidValue: a column that the pipeline may not change, or a value that is not allowed.
        """
        return self._one(
            Video,
            "update_video",
            f"video {video_id}",
            p_video_id=as_uuid(video_id, "video id"),
            p_changes=dict(changes),
        )

    def list_demo_videos(self) -> list[Video]:
        """Return the videos that every tenant may read, newest first, at most 100."""
        return self._rows(Video, "list_demo_videos")

    def set_demo_video(self, video_id: Id, is_demo: bool) -> Video:
        """Let every tenant read a video, or no longer.

        Raises:
            NotFound: there is no such video, or it was deleted.
        """
        return self._one(
            Video,
            "set_demo_video",
            f"video {video_id}",
            p_video_id=as_uuid(video_id, "video id"),
            p_is_demo=is_demo,
        )

    def delete_video(self, video_id: Id) -> bool:
        """Hide a video and cancel its pending requests; return False if there is no such video."""
        return self._call("delete_video", p_video_id=as_uuid(video_id, "video id"))

    def restore_video(self, video_id: Id, tenant_id: Id) -> bool:
        """Undo a deletion; return False if the tenant has no such deleted video.

        Raises:
            Conflict: the same content was uploaded again since.
        """
        return self._call(
            "restore_tenant_video",
            p_video_id=as_uuid(video_id, "video id"),
            p_tenant_id=as_uuid(tenant_id, "tenant id"),
        )

    def list_deleted_videos(self, deleted_before: datetime, limit: int = 100) -> list[Video]:
        """Return deleted videos whose objects and rows may be removed, oldest deletion first."""
        return self._rows(Video, "list_deleted_videos", p_deleted_before=deleted_before, p_limit=limit)

    def purge_video(self, video_id: Id) -> bool:
        """Remove a deleted video's row and all dependent rows; return False if there is no such video."""
        return self._call("purge_video", p_video_id=as_uuid(video_id, "video id"))

    def get_video_history(self, video_id: Id) -> list[HistoryEvent]:
        """Return the events of a video in order of time; empty for an unknown video."""
        return self._rows(HistoryEvent, "video_story", p_video_id=as_uuid(video_id, "video id"))
