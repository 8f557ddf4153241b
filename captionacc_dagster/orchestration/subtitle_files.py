"""Publish a video's captions database and the subtitle files made from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from captionacc_dagster.captioning.captions import Caption
from captionacc_dagster.captioning.files import captions_database, databases
from captionacc_dagster.captioning.files.previous_captions import bring_back
from captionacc_dagster.captioning.files.subtitles import FORMATS, Format, SubtitleOptions, format_subtitles
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.keys import VideoKeys


def video_keys(video: Video) -> VideoKeys:
    """Return the keys of a video's objects."""
    return VideoKeys(str(video.tenant_id), str(video.id))


def video_facts(video: Video) -> dict[str, object]:
    """Return what the JSON file says about the video itself."""
    return {
        "id": str(video.id),
        "filename": video.filename,
        "duration_s": video.duration_seconds,
        "frame_rate": video.frame_rate,
        "width": video.width,
        "height": video.height,
    }


def subtitle_texts(
    video: Video,
    captions_db: Path,
    options: SubtitleOptions,
    kinds: Iterable[Format] = FORMATS,
    captions: list[Caption] | None = None,
) -> dict[Format, str]:
    """Return the texts of a video's subtitle files, made from its ``captions.db``, or from other ``captions``.

    Raises:
        DatabaseError: not a captions database.
    """
    if captions is None:
        captions = shown_captions(video, captions_db)
    warnings = databases.read_warnings(captions_db)
    return {kind: format_subtitles(captions, kind, video_facts(video), warnings, options) for kind in kinds}


def shown_captions(video: Video, captions_db: Path) -> list[Caption]:
    """Return the captions of a video, including text of other kinds, from its ``captions.db``.

    Raises:
        DatabaseError: not a captions database.
    """
    rows = captions_database.read_captions(captions_db)
    return captions_database.to_captions(rows, video.usual_frame_rate)


def publish_subtitles(
    store: ObjectStore, video: Video, captions_db: Path, options: SubtitleOptions
) -> dict[Format, str]:
    """Write a video's subtitle files in every format, and return their texts.

    Raises:
        DatabaseError: not a captions database.
    """
    texts = subtitle_texts(video, captions_db, options)
    for kind, text in texts.items():
        store.publish(video_keys(video).subtitles(kind), text.encode())
    return texts


def caption_counts(rows: Iterable[captions_database.StoredCaption]) -> dict[str, int]:
    """Return the columns of a video that count its captions."""
    states = [row.caption_frame_extents_state for row in rows]
    return {"caption_count": len(states) - states.count("gap"), "confirmed_count": states.count("confirmed")}


def record_captions(
    catalog: Catalog,
    video: Video,
    rows: Iterable[captions_database.StoredCaption],
    *,
    is_text_open: bool,
    **facts: object,
) -> None:
    """Write to a video's row what an edit of its captions changed; a text that was complete is to be reviewed if it is
    open again."""
    facts |= caption_counts(rows)
    if any(getattr(video, name) != value for name, value in facts.items()):
        catalog.update_video_metadata(video.id, facts)
    if is_text_open and video.text_status == "done":
        catalog.update_video_status(video.id, text_status="review")


def download_captions(store: ObjectStore, video: Video, folder: Path) -> Path:
    """Download a video's ``captions.db`` into a folder.

    Raises:
        ObjectNotFound: the video has no captions yet.
        DatabaseError: the object is not a captions database.
    """
    packed = store.download_file(video_keys(video).captions_db, folder / "captions.db.gz")
    return databases.decompress(packed, folder / "captions.db")


def publish_captions(store: ObjectStore, video: Video, path: Path) -> None:
    """Publish a ``captions.db``, replacing the one before."""
    store.publish(video_keys(video).captions_db, databases.compress(path, path.with_name("captions-published.db.gz")))


def restore_captions(
    catalog: Catalog,
    store: ObjectStore,
    video: Video,
    path: Path,
    options: SubtitleOptions,
    check_lock: Callable[[], object],
) -> list[captions_database.StoredCaption]:
    """Swap the captions and those from before the last processing, publish them, and return their rows.

    ``path`` is the ``captions.db``, downloaded under the lock of the captions, which the caller has; ``check_lock``
    raises if that was lost, and nothing is published then.

    Raises:
        NothingKept: no captions from before are kept.
        DatabaseError: not a captions database.
    """
    bring_back(path)
    rows = captions_database.read_captions(path)
    check_lock()
    publish_captions(store, video, path)
    publish_subtitles(store, video, path, options)
    warnings = [asdict(warning) for warning in databases.read_warnings(path)]
    is_text_open = any(row.caption_frame_extents_state == "predicted" for row in rows)
    record_captions(catalog, video, rows, is_text_open=is_text_open, warnings=warnings)
    return rows
