"""Process a long video in time segments and join their results."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from captionacc_dagster.captioning.captions import Progress
from captionacc_dagster.captioning.extents.time_segments import (
    SegmentFindings,
    follow_time_segment,
    join_time_segments,
    segment_times,
)
from captionacc_dagster.captioning.files import databases
from captionacc_dagster.compute import records
from captionacc_dagster.compute.base import BadInput
from captionacc_dagster.compute.envelope import TimeSegment
from captionacc_dagster.compute.functions import layout_for, opened, publish_extents, with_warnings
from captionacc_dagster.compute.results import CropBox, CropInferResult, SegmentResult
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.errors import ObjectNotFound
from captionacc_dagster.storage.keys import VideoKeys

if TYPE_CHECKING:
    from captionacc_dagster.captioning.ocr.base import OcrEngine

# An hour gives twelve segments; each runs several times longer than a container takes to start.
SEGMENT_SECONDS = 300.0


def time_segments(video_seconds: float, frame_rate: float, about_s: float = SEGMENT_SECONDS) -> list[TimeSegment]:
    """Return time segments of about ``about_s`` seconds; none if the video is too short to benefit."""
    starts = [0.0, *segment_times(video_seconds, frame_rate, about_s)]
    if len(starts) == 1:
        return []
    ends = [*starts[1:], None]
    return [
        TimeSegment(index=index, count=len(starts), start_s=start, end_s=end)
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def crop_and_infer_segment(
    video_key: str,
    tenant_id: str,
    video_id: str,
    crop_region: CropBox | None,
    version: int,
    frame_rate: float,
    *,
    segment: TimeSegment,
    store: ObjectStore,
    engine: OcrEngine,
    progress: Progress | None = None,
) -> SegmentResult:
    """Crop and follow one time segment; write the chunks of its frames and last its findings for the join.

    Raises:
        BadInput: the video or its layout is missing, or the video cannot be decoded.
    """
    started = time.monotonic()
    keys = VideoKeys(tenant_id, video_id)
    outputs = records.segment_outputs(segment)
    with opened(store, video_key, keys) as (facts, work):
        layout = layout_for(store, keys, facts, crop_region, work)
        records.forget_completed(store, keys, outputs)
        chunks_dir = work / "chunks"
        part = follow_time_segment(
            facts,
            layout,
            engine,
            frame_rate,
            own_start_s=segment.start_s,
            own_end_s=segment.end_s,
            chunks_dir=chunks_dir,
            progress=progress,
        )
        prefix = keys.cropped_frames_prefix(version)
        store.upload_many(
            (prefix + chunk.relative_to(chunks_dir).as_posix(), chunk) for chunk in sorted(chunks_dir.rglob("*.webm"))
        )
        part_key = keys.compute_record(f"{outputs}.part")
        store.upload_file(part_key, part.to_json(), content_type="application/json")
        return SegmentResult(
            index=segment.index,
            count=segment.count,
            version=version,
            part_key=part_key,
            frame_count=part.cropped_frame_count,
            caption_count=len(part.captions),
            processing_duration_seconds=time.monotonic() - started,
            warnings=tuple(dict.fromkeys((*facts.warnings, *layout.warnings))),
        )


def join_segments(
    tenant_id: str,
    video_id: str,
    version: int,
    frame_rate: float,
    results: Sequence[SegmentResult],
    *,
    store: ObjectStore,
    run_id: str = "",
) -> CropInferResult:
    """Join the findings of all segments and write ``caption_frame_extents_v{version}.db``.

    Raises:
        BadInput: the findings of a segment are missing.
    """
    started, started_at = time.monotonic(), databases.now_text()
    keys = VideoKeys(tenant_id, video_id)
    try:
        parts = [SegmentFindings.from_json(store.download_to_bytes(result.part_key)) for result in results]
    except ObjectNotFound as error:
        raise BadInput(f"{error}; run caption_frame_extents again") from error
    warnings = [warning for result in results for warning in result.warnings]
    timeline = with_warnings(join_time_segments(parts), warnings)
    records.forget_completed(store, keys, records.CROP_INFER_OUTPUTS)
    seconds = time.monotonic() - started + sum(result.processing_duration_seconds for result in results)
    run = databases.RunFacts(run_id, version, started_at, seconds)
    with TemporaryDirectory(prefix="captionacc-") as folder:
        return publish_extents(store, keys, timeline, run, frame_rate, Path(folder))
