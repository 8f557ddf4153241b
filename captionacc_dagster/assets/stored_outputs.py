"""Read back what is stored for a video and what was recorded about it, for the checks to compare."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dagster import AssetKey, AssetRecordsFilter, DagsterInstance

from captionacc_dagster.captioning.captions import Caption
from captionacc_dagster.captioning.files import captions_database, databases
from captionacc_dagster.captioning.files.captions_database import StoredCaption
from captionacc_dagster.captioning.files.subtitles import FORMATS, Format, SubtitleOptions
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.orchestration.subtitle_files import download_captions, subtitle_texts, video_keys
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.errors import ObjectNotFound

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A person's edit publishes the database and then the subtitles; between the two they differ for a moment.
EDIT_SECONDS = 1.0
EDITS_WAITED_FOR = 3


def describe_object(store: ObjectStore, key: str) -> dict[str, int | str]:
    """Return ``size_bytes`` and ``sha256`` of an object, as they are recorded when it is made."""
    return {"size_bytes": store.stat(key).size, "sha256": store.sha256(key)}


def describe_prefix(store: ObjectStore, prefix: str) -> dict[str, int]:
    """Return the number of ``objects`` under a prefix and their ``size_bytes``."""
    sizes = [info.size for info in store.iterate(prefix)]
    return {"objects": len(sizes), "size_bytes": sum(sizes)}


def recorded_metadata(instance: DagsterInstance, asset: str, video: Video) -> Mapping[str, Any]:
    """Return the metadata of the last materialization of a video's asset; empty if there is none."""
    records = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=AssetKey(asset), asset_partitions=[str(video.id)]), limit=1
    ).records
    materialization = records[0].asset_materialization if records else None
    if materialization is None:
        return {}
    return {name: value.value for name, value in materialization.metadata.items()}


def frame_indices(keys: Sequence[str]) -> list[int]:
    """Return the frame indices in the keys of full frames."""
    return [int(key.rpartition("_")[2].removesuffix(".jpg")) for key in keys]


def read_captions(store: ObjectStore, video: Video) -> list[StoredCaption]:
    """Return the rows of a video's captions database.

    Raises:
        ObjectNotFound: the video has no captions database yet.
    """
    with TemporaryDirectory(prefix="captionacc-") as folder:
        return captions_database.read_captions(download_captions(store, video, Path(folder)))


def read_subtitles(
    store: ObjectStore, video: Video, options: SubtitleOptions
) -> tuple[dict[Format, str], dict[Format, str]]:
    """Return a video's subtitle files as stored, and as its captions database implies them."""
    texts: dict[Format, str] = {}
    meant: dict[Format, str] = {}
    for attempt in range(1 + EDITS_WAITED_FOR):
        if attempt:
            time.sleep(EDIT_SECONDS)
        texts = _stored_subtitles(store, video)
        with TemporaryDirectory(prefix="captionacc-") as folder:
            meant = subtitle_texts(video, download_captions(store, video, Path(folder)), options)
        if texts == meant:
            break
    return texts, meant


def cropped_frame_of_each(
    store: ObjectStore, video: Video, captions: Sequence[Caption], frame_rate: float, limit: int = 40
) -> dict[int, NDArray[np.uint8]]:
    """Return caption number (from 1) → a picture of it from the stored chunks, ``(h, w, 3)`` BGR uint8.

    Only the first ``limit`` captions are shown. A frame of a coarse level is preferred, because each of its chunks
    covers many captions.
    """
    from captionacc_dagster.captioning.files.chunk_frames import read_cropped_frames

    version = video.cropped_frames_version
    if version is None:
        return {}
    wanted = {}
    for number, caption in enumerate(captions[:limit], start=1):
        start, end = databases.cropped_frames_of(caption, frame_rate)
        middle = (start + end) // 2
        shown = [index for index in range(start, end) if index % 16 == 0] or [
            i for i in range(start, end) if i % 4 == 0
        ]
        wanted[number] = min(shown or [middle], key=lambda index: abs(index - middle))

    def load(level: int, first_frame: int) -> bytes | None:
        try:
            return store.download_to_bytes(video_keys(video).chunk(version, level, first_frame))
        except ObjectNotFound:
            return None

    pictures = read_cropped_frames(wanted.values(), load, frame_rate)
    return {number: pictures[index] for number, index in wanted.items() if index in pictures}


def _stored_subtitles(store: ObjectStore, video: Video) -> dict[Format, str]:
    texts: dict[Format, str] = {}
    for kind in FORMATS:
        try:
            texts[kind] = store.download_to_bytes(video_keys(video).subtitles(kind)).decode(errors="replace")
        except ObjectNotFound:
            continue
    return texts


def read_layout(store: ObjectStore, video: Video) -> tuple[databases.Layout, int]:
    """Return a video's layout and the number of text boxes in its database."""
    with TemporaryDirectory(prefix="captionacc-") as folder:
        work = Path(folder)
        packed = store.download_file(video_keys(video).layout_db, work / "layout.db.gz")
        path = databases.decompress(packed, work / "layout.db")
        boxes = sum(len(found) for found in databases.read_boxes(path).values())
        return databases.read_layout_database(path), boxes


def read_ocr(store: ObjectStore, video: Video) -> list[databases.FrameOcr]:
    """Return the OCR results of a video's full frames."""
    with TemporaryDirectory(prefix="captionacc-") as folder:
        work = Path(folder)
        packed = store.download_file(video_keys(video).ocr_db, work / "raw-ocr.db.gz")
        return databases.read_ocr_database(databases.decompress(packed, work / "raw-ocr.db"))
