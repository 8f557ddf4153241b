"""Server locks of a video's databases, and versions of its cropped frames."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from captionacc_dagster.catalog.calls import CatalogCalls, Id, as_uuid, optional_uuid
from captionacc_dagster.catalog.errors import NotFound
from captionacc_dagster.catalog.models import CroppedFramesVersion, DatabaseLock, DatabaseName, LockType

LOCK_TTL_S = 300.0


class LockMethods(CatalogCalls):
    """Methods for server locks and versions of cropped frames."""

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
        """Acquire the lock for ``ttl_s`` seconds without waiting.

        Return True for exactly one of any number of callers, even if they name the same holder; False if the lock is
        held or there is no such video. An expired lock can be acquired.
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
        """Extend the lock to ``ttl_s`` seconds from now; return False if ``holder`` has lost it."""
        return self._call(
            "renew_server_lock",
            p_video_id=as_uuid(video_id, "video id"),
            p_database=database,
            p_holder=holder,
            p_ttl_seconds=ttl_s,
        )

    def release_server_lock(self, video_id: Id, database: DatabaseName, holder: str) -> bool:
        """Release the lock; return False, changing nothing, if ``holder`` does not hold it."""
        return self._call(
            "release_server_lock",
            p_video_id=as_uuid(video_id, "video id"),
            p_database=database,
            p_holder=holder,
        )

    def reap_expired_locks(self, limit: int = 100) -> list[DatabaseLock]:
        """Remove up to ``limit`` expired locks and return them."""
        return self._rows(DatabaseLock, "reap_expired_locks", p_limit=limit)

    def list_locks(self, video_id: Id | None = None) -> list[DatabaseLock]:
        """Return all locks, including expired ones (at most 1000, oldest first)."""
        return self._rows(DatabaseLock, "list_locks", p_video_id=optional_uuid(video_id, "video id"))

    def next_cropped_frames_version(self, video_id: Id, run_id: str, frame_rate: float | None = None) -> int:
        """Allocate the video's next version for this run; repeated calls of a run return the same version.

        Args:
            video_id: the video.
            run_id: the run that makes the version.
            frame_rate: cropped frames per second of video; None: 10.

        Raises:
            NotFound: there is no such video.
        """
        return self._call(
            "next_cropped_frames_version",
            p_video_id=as_uuid(video_id, "video id"),
            p_run_id=run_id,
            p_frame_rate=frame_rate,
        )

    def get_cropped_frame_rate(self, video_id: Id, version: int) -> float:
        """Return the cropped frames per second of a version.

        Raises:
            NotFound: there is no such version.
        """
        for row in self.list_cropped_frames_versions(video_id):
            if row.version == version:
                return row.cropped_frame_rate
        raise NotFound(f"no version {version} of video {video_id}")

    def activate_cropped_frames_version(
        self, video_id: Id, version: int, *, storage_prefix: str | None = None, frame_count: int | None = None
    ) -> CroppedFramesVersion:
        """Make this version the active one and archive the previous one.

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
        """Mark a version in progress as failed; return False if it is not in progress."""
        return self._call(
            "fail_cropped_frames_version",
            p_video_id=as_uuid(video_id, "video id"),
            p_version=version,
            p_error_details=None if error_details is None else dict(error_details),
        )

    def list_cropped_frames_versions(self, video_id: Id) -> list[CroppedFramesVersion]:
        """Return a video's versions in order."""
        return self._rows(
            CroppedFramesVersion, "list_cropped_frames_versions", p_video_id=as_uuid(video_id, "video id")
        )

    def list_stale_cropped_frames_versions(
        self, *, ended_before: datetime, started_before: datetime, limit: int = 100
    ) -> list[CroppedFramesVersion]:
        """Return versions to clean up: failed or archived before ``ended_before``, or begun before ``started_before``
        and not ended. Check that the run of the latter is gone before marking them as failed.
        """
        return self._rows(
            CroppedFramesVersion,
            "list_stale_cropped_frames_versions",
            p_ended_before=ended_before,
            p_started_before=started_before,
            p_limit=limit,
        )

    def mark_cropped_frames_version_cleaned(self, video_id: Id, version: int) -> bool:
        """Record that the objects of a failed or archived version were removed."""
        return self._call(
            "mark_cropped_frames_version_cleaned",
            p_video_id=as_uuid(video_id, "video id"),
            p_version=version,
        )
