"""Bring back a video's captions from before its last processing; the caller has the lock of its captions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from captionacc_dagster.captioning.files.captions_before import bring_back
from captionacc_dagster.captioning.files.captions_database import StoredCaption, read_captions
from captionacc_dagster.captioning.files.databases import read_warnings
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.orchestration.subtitle_files import caption_counts, publish_captions, publish_subtitles
from captionacc_dagster.storage.base import ObjectStore


def restore_captions(
    catalog: Catalog, store: ObjectStore, video: Video, path: Path, check_lock: Callable[[], object]
) -> list[StoredCaption]:
    """Swap the captions and those from before, publish them with their subtitles, and return their rows.

    Args:
        catalog: gets the counts and the warnings of what is shown now.
        store: has the video's objects.
        video: its row.
        path: its ``captions.db``, downloaded under the lock.
        check_lock: raises if the lock was lost; nothing is published then.

    Raises:
        NothingKept: no captions from before are kept.
        DatabaseError: not a captions database.
    """
    bring_back(path)
    rows = read_captions(path)
    check_lock()
    publish_captions(store, video, path)
    publish_subtitles(store, video, path)
    warnings = [asdict(warning) for warning in read_warnings(path)]
    catalog.update_video_metadata(video.id, {**caption_counts(rows), "warnings": warnings})
    if video.text_status == "done" and any(row.caption_frame_extents_state == "predicted" for row in rows):
        catalog.update_video_status(video.id, text_status="review")
    return rows
