"""Server locks of a video's databases, and versions of its cropped frames."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from captionacc_dagster.catalog.calls import CatalogCalls, Id, as_uuid, optional_uuid
from captionacc_dagster.catalog.models import CroppedFramesVersion, DatabaseLock, DatabaseName, LockType

LOCK_TTL_S = 300.0


class LockMethods(CatalogCalls):
    """Who may change a video's databases now, and which version of its frames counts."""

    def acquire_server_lock(
        self,
        video_id: Id,
        database: DatabaseName,
        holder: str,
        ttl_s: float = LOCK_TTL_S,
        *,
        lock_type: LockType = "server",
        user_id: Id | None = None,
    ) -> bool:
        """Take the lock for ``ttl_s`` seconds; never waits.

        True for exactly one of any number of callers, also of those that name the same holder; False when
        it is held, or there is no such video. An expired lock can be taken.
        """
        return self._call(
            "acquire_server_lock",
            p_video_id=as_uuid(video_id, "video id"),
            p_database=database,
            p_holder=holder,
            p_ttl_seconds=ttl_s,
            p_token=uuid4(),
            p_lock_type=lock_type,
            p_user_id=optional_uuid(user_id, "user id"),
        )

    def renew_server_lock(self, video_id: Id, database: DatabaseName, holder: str, ttl_s: float = LOCK_TTL_S) -> bool:
        """Hold the lock ``ttl_s`` seconds from now on; False when ``holder`` has lost it."""
        return self._call(
            "renew_server_lock",
            p_video_id=as_uuid(video_id, "video id"),
            p_database=database,
            p_holder=holder,
            p_ttl_seconds=ttl_s,
        )

    def release_server_lock(self, video_id: Id, database: DatabaseName, holder: str) -> bool:
        """Give the lock back; False (and nothing changes) when ``holder`` does not hold it."""
        return self._call(
            "release_server_lock",
            p_video_id=as_uuid(video_id, "video id"),
            p_database=database,
            p_holder=holder,
        )

    def reap_expired_locks(self, limit: int = 100) -> list[DatabaseLock]:
        """Free up to ``limit`` expired locks; give what they were."""
        return self._rows(DatabaseLock, "reap_expired_locks", p_limit=limit)

    def list_locks(self, video_id: Id | None = None) -> list[DatabaseLock]:
        """Give the locks held, expired ones too (at most 1000, oldest first)."""
        return self._rows(DatabaseLock, "list_locks", p_video_id=optional_uuid(video_id, "video id"))

    def next_cropped_frames_version(self, video_id: Id, run_id: str) -> int:
        """Allocate the video's next version for this run; a run that asks again gets the same.

        Raises:
            NotFound: there is no such video.
        """
        return self._call("next_cropped_frames_version", p_video_id=as_uuid(video_id, "video id"), p_run_id=run_id)

    def activate_cropped_frames_version(
        self, video_id: Id, version: int, *, storage_prefix: str | None = None, frame_count: int | None = None
    ) -> CroppedFramesVersion:
        """Make this version the active one and archive the former.

        Raises:
            NotFound: there is no such version.
            Conflict: it has failed or was archived.
        """
        return self._one(
            CroppedFramesVersion,
            "activate_cropped_frames_version",
            f"version {version} of video {video_id}",
            p_video_id=as_uuid(video_id, "video id"),
            p_version=version,
            p_storage_prefix=storage_prefix,
            p_frame_count=frame_count,
        )

    def fail_cropped_frames_version(
        self, video_id: Id, version: int, error_details: Mapping[str, Any] | None = None
    ) -> bool:
        """Mark a version that is being made as failed; False when it is not being made."""
        return self._call(
            "fail_cropped_frames_version",
            p_video_id=as_uuid(video_id, "video id"),
            p_version=version,
            p_error_details=None if error_details is None else dict(error_details),
        )

    def list_cropped_frames_versions(self, video_id: Id) -> list[CroppedFramesVersion]:
        """Give a video's versions, first to last."""
        return self._rows(
            CroppedFramesVersion, "list_cropped_frames_versions", p_video_id=as_uuid(video_id, "video id")
        )

    def list_stale_cropped_frames_versions(
        self, *, ended_before: datetime, started_before: datetime, limit: int = 100
    ) -> list[CroppedFramesVersion]:
        """Give versions to clean up: failed or archived before ``ended_before``, or begun before
        ``started_before`` and still not ended (look whether their run lives before failing these)."""
        return self._rows(
            CroppedFramesVersion,
            "list_stale_cropped_frames_versions",
            p_ended_before=ended_before,
            p_started_before=started_before,
            p_limit=limit,
        )

    def mark_cropped_frames_version_cleaned(self, video_id: Id, version: int) -> bool:
        """Note that a failed or archived version's objects are gone."""
        return self._call(
            "mark_cropped_frames_version_cleaned",
            p_video_id=as_uuid(video_id, "video id"),
            p_version=version,
        )
