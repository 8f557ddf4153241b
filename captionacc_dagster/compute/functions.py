"""The three compute functions, called by the local backend and deployed by the Modal app.

Each takes a video's key, works in its own folder, and publishes every output only when it is complete; the output that
marks a result as complete is written last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from captionacc_dagster.captioning.files import databases
from captionacc_dagster.compute import records
from captionacc_dagster.compute.base import BadInput
from captionacc_dagster.compute.progress import StoredProgress
from captionacc_dagster.compute.results import (
    CaptionOcrResult,
    CaptionSpan,
    CropBox,
    CropInferResult,
    ExtractResult,
)
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.errors import ObjectNotFound
from captionacc_dagster.storage.keys import VideoKeys

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from captionacc_dagster.captioning.captions import CaptionWarning, Progress, Timeline
    from captionacc_dagster.captioning.layout.model import FrameOcr, Layout
    from captionacc_dagster.captioning.layout.sampler import Sampler
    from captionacc_dagster.captioning.ocr.base import OcrEngine
    from captionacc_dagster.captioning.video.reader import VideoFacts
    from captionacc_dagster.compute.processes import Workers

JPEG_QUALITY = 85


def extract_frames_and_ocr(
    video_key: str,
    tenant_id: str,
    video_id: str,
    frame_rate: float = 0.1,
    *,
    store: ObjectStore,
    engine: OcrEngine,
    progress: Progress | None = None,
) -> ExtractResult:
    """Sample full frames, read them, and find where captions appear.

    Writes the full frames, the frame grid, ``raw-ocr.db.gz``, and last ``layout.db.gz``. A frame whose OCR fails is
    counted, and the rest goes on.

    Raises:
        BadInput: the video is missing or cannot be decoded; the message names it and the reason.
    """
    from captionacc_dagster.captioning.layout.find import find_layout
    from captionacc_dagster.captioning.layout.sampler import Sampler
    from captionacc_dagster.captioning.video.frame_grid import read_frame_grid

    started = time.monotonic()
    keys = VideoKeys(tenant_id, video_id)
    with opened(store, video_key, keys) as (facts, work), StoredProgress(progress, store, keys.progress) as noted:
        records.forget_completed(store, keys, records.EXTRACT_OUTPUTS)
        with Sampler(facts) as sampler:
            frames = _extract_full_frames(sampler, engine, frame_rate, store, keys, noted)
            layout = find_layout(facts, engine, frames, sampler=sampler, progress=noted)
        store.publish(keys.frame_grid, read_frame_grid(facts).pack())
        databases.write_ocr_database(work / "raw-ocr.db", frames)
        databases.write_layout_database(work / "layout.db", layout, frames)
        for name, key in (("raw-ocr.db", keys.ocr_db), ("layout.db", keys.layout_db)):
            packed = databases.compress(work / name, work / f"{name}.gz")
            store.publish(key, packed)
        return ExtractResult(
            frame_count=len(frames),
            duration=facts.duration_s,
            frame_width=facts.width,
            frame_height=facts.height,
            frame_rate=facts.frame_rate,
            video_codec=facts.codec,
            bitrate=facts.bitrate,
            ocr_box_count=sum(len(frame.detections) for frame in frames),
            failed_ocr_count=sum(frame.error is not None for frame in frames),
            processing_duration_seconds=time.monotonic() - started,
            full_frames_key=keys.full_frames_prefix,
            ocr_db_key=keys.ocr_db,
            layout_db_key=keys.layout_db,
            crop_region=CropBox.from_region(layout.crop_region) if layout.crop_region else None,
            layout_confidence=layout.confidence,
            warnings=tuple(dict.fromkeys((*facts.warnings, *layout.warnings))),
        )


def crop_and_infer_caption_frame_extents(
    video_key: str,
    tenant_id: str,
    video_id: str,
    crop_region: CropBox | None,
    version: int,
    frame_rate: float = 10.0,
    *,
    store: ObjectStore,
    engine: OcrEngine,
    workers: Workers | None = None,
    run_id: str = "",
    progress: Progress | None = None,
) -> CropInferResult:
    """Crop the region, find when each caption begins and ends, and read it, in one pass over the video.

    Writes the chunks of ``cropped_frames_v{version}`` and last ``caption_frame_extents_v{version}.db``. With
    ``workers``, a long video is cut into time segments that run in parallel.

    Raises:
        BadInput: the video or its layout is missing, or the video cannot be decoded.
    """
    from captionacc_dagster.captioning.extents.find import find_captions
    from captionacc_dagster.compute.processes import find_captions_in_processes

    started, started_at = time.monotonic(), databases.now_text()
    keys = VideoKeys(tenant_id, video_id)
    with opened(store, video_key, keys) as (facts, work), StoredProgress(progress, store, keys.progress) as noted:
        layout = layout_for(store, keys, facts, crop_region, work)
        chunks_dir = work / "chunks"
        timeline = workers and find_captions_in_processes(
            facts,
            layout,
            workers.create_engine,
            frame_rate,
            processes=workers.count,
            chunks_dir=chunks_dir,
            progress=noted,
        )
        if timeline is None:
            timeline = find_captions(facts, layout, engine, frame_rate, chunks_dir=chunks_dir, progress=noted)
        records.forget_completed(store, keys, records.CROP_INFER_OUTPUTS)
        prefix = keys.cropped_frames_prefix(version)
        store.publish_prefix(
            prefix,
            ((prefix + path.relative_to(chunks_dir).as_posix(), path) for path in sorted(chunks_dir.rglob("*.webm"))),
        )
        timeline = with_warnings(timeline, (*facts.warnings, *layout.warnings))
        run = databases.RunFacts(run_id, version, started_at, time.monotonic() - started)
        return publish_extents(store, keys, timeline, run, frame_rate, work)


def publish_extents(
    store: ObjectStore, keys: VideoKeys, timeline: Timeline, run: databases.RunFacts, frame_rate: float, work: Path
) -> CropInferResult:
    """Publish the shots and ``caption_frame_extents_v{version}.db``, which completes the version; return the result."""
    version, seconds = run.version, run.processing_seconds
    if timeline.native_frame_count:
        store.publish(keys.shots, json.dumps(timeline.cuts_ms).encode())
    databases.write_extents_database(work / "extents.db", timeline, run, frame_rate)
    store.publish(keys.extents_db(version), work / "extents.db")
    return CropInferResult(
        version=version,
        frame_count=timeline.cropped_frame_count,
        label_counts=databases.label_counts(timeline.pairs),
        caption_frame_extents_count=len(timeline.captions),
        processing_duration_seconds=seconds,
        caption_frame_extents_db_key=keys.extents_db(version),
        cropped_frames_prefix=keys.cropped_frames_prefix(version),
        native_frame_count=timeline.native_frame_count,
        ocr_recognitions=timeline.ocr_recognitions,
        stage_seconds=timeline.seconds,
        warnings=timeline.warnings,
    )


def with_warnings(timeline: Timeline, earlier: Iterable[CaptionWarning]) -> Timeline:
    """Return the timeline with the warnings of earlier stages before its own, each once."""
    return replace(timeline, warnings=tuple(dict.fromkeys((*earlier, *timeline.warnings))))


def generate_caption_ocr(
    video_key: str,
    tenant_id: str,
    video_id: str,
    crop_region: CropBox | None,
    version: int,
    captions: Sequence[CaptionSpan],
    *,
    store: ObjectStore,
    engine: OcrEngine,
    progress: Progress | None = None,
) -> list[CaptionOcrResult]:
    """Read the given captions.

    A span that the pass over the video read with exactly the same frames reuses that reading. Any other is decoded and
    read, as is one in a script that no engine read: an engine may be ready by now. One that cannot be read gets its
    error, and the others go on.

    Raises:
        BadInput: the video or the extents of this version are missing.
    """
    keys = VideoKeys(tenant_id, video_id)
    results, unread = captions_read_before(keys, version, captions, store=store)
    if unread:
        results |= _read_spans(video_key, keys, crop_region, unread, store, engine, progress)
    return [results[span.caption_id] for span in captions]


def captions_read_before(
    keys: VideoKeys, version: int, captions: Sequence[CaptionSpan], *, store: ObjectStore
) -> tuple[dict[int, CaptionOcrResult], list[CaptionSpan]]:
    """Return caption id → reading from the pass over the video, and the spans without such a reading.

    Raises:
        BadInput: the extents of this version are missing.
    """
    with TemporaryDirectory(prefix="captionacc-") as folder:
        known = _known_readings(store, keys, version, Path(folder))
    results: dict[int, CaptionOcrResult] = {}
    unread: list[CaptionSpan] = []
    for span in captions:
        reading = known.get((span.start_ms, span.end_ms))
        if reading is None or reading.unread:
            unread.append(span)
        else:
            results[span.caption_id] = reading.model_copy(update={"caption_id": span.caption_id})
    return results, unread


@contextmanager
def opened(store: ObjectStore, video_key: str, keys: VideoKeys) -> Iterator[tuple[VideoFacts, Path]]:
    """Yield the video's facts and a work folder, under the process settings that suit video work.

    Raises:
        BadInput: the video is missing, or the file cannot be used.
    """
    from captionacc_dagster.captioning.video.process_settings import video_process_settings
    from captionacc_dagster.captioning.video.reader import VideoError, probe

    if video_key != keys.video:
        raise BadInput(f"{video_key}: not the key of video {keys.video_id} of tenant {keys.tenant_id}")
    try:
        with (
            TemporaryDirectory(prefix="captionacc-") as folder,
            store.open_local(video_key, folder) as path,
            video_process_settings(),
        ):
            yield probe(path), Path(folder)
    except VideoError as error:
        raise BadInput(str(error)) from error
    except ObjectNotFound as error:
        raise BadInput(f"{error}") from error


def _extract_full_frames(
    sampler: Sampler,
    engine: OcrEngine,
    frame_rate: float,
    store: ObjectStore,
    keys: VideoKeys,
    progress: Progress | None,
) -> list[FrameOcr]:
    """Read the full frames and publish their pictures; extra ones from an earlier run are removed."""
    from captionacc_dagster.captioning.layout.find import read_full_frames

    facts = sampler.facts
    expected = max(1, int(facts.duration_s * frame_rate))
    frames: list[FrameOcr] = []

    def pictures() -> Iterator[tuple[str, bytes]]:
        for sampled, frame in read_full_frames(facts, engine, frame_rate, sampler=sampler):
            frames.append(frame)
            yield keys.full_frame(sampled.index), _jpeg(sampled.image)
            if progress is not None:
                progress("full frames", len(frames), max(expected, len(frames)))

    store.publish_prefix(keys.full_frames_prefix, pictures())
    if not frames:
        raise BadInput(f"{facts.path.name}: no frame can be decoded")
    return frames


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    """Return an ``(h, w, 3)`` RGB uint8 picture as JPEG."""
    import cv2

    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()


def layout_for(
    store: ObjectStore, keys: VideoKeys, facts: VideoFacts, crop_region: CropBox | None, work: Path
) -> Layout:
    """Return the layout that was found, or one for the region that a person drew."""
    from captionacc_dagster.captioning.layout.find import layout_from_region

    try:
        packed = store.download_file(keys.layout_db, work / "layout.db.gz")
    except ObjectNotFound as error:
        raise BadInput(f"{keys.layout_db}: this video has no layout yet; run layout_db first") from error
    found = databases.read_layout_database(databases.decompress(packed, work / "layout.db"))
    found_box = CropBox.from_region(found.crop_region) if found.crop_region else None
    if crop_region == found_box:
        return found
    if crop_region is None:
        return layout_without_captions(found)
    return layout_from_region(facts, crop_region.to_region(), found)


def layout_without_captions(layout: Layout) -> Layout:
    """Return the layout without its tracks."""
    return replace(layout, tracks=(), crop_region=None)


def _known_readings(
    store: ObjectStore, keys: VideoKeys, version: int, work: Path
) -> dict[tuple[int, int], CaptionOcrResult]:
    try:
        path = store.download_file(keys.extents_db(version), work / "extents.db")
    except ObjectNotFound as error:
        raise BadInput(f"{keys.extents_db(version)}: run caption_frame_extents first") from error
    return {
        (caption.start_ms, caption.end_ms): CaptionOcrResult(
            caption_id=0,
            ocr_text=caption.text,
            confidence=caption.confidence,
            frame_count=caption.end_frame - caption.start_frame,
            lang=caption.lang,
            script=caption.script,
            unread=caption.unread,
        )
        for caption in databases.read_extents_database(path)
    }


def _read_spans(
    video_key: str,
    keys: VideoKeys,
    crop_region: CropBox | None,
    spans: Sequence[CaptionSpan],
    store: ObjectStore,
    engine: OcrEngine,
    progress: Progress | None,
) -> dict[int, CaptionOcrResult]:
    from captionacc_dagster.captioning.extents.spans import read_spans

    with opened(store, video_key, keys) as (facts, work):
        layout = layout_for(store, keys, facts, crop_region, work)
        times = [(span.start_ms / 1000, span.end_ms / 1000) for span in spans]
        results: dict[int, CaptionOcrResult] = {}
        for number, (span, reading) in enumerate(
            zip(spans, read_spans(facts, layout, times, engine), strict=True), start=1
        ):
            results[span.caption_id] = CaptionOcrResult(
                caption_id=span.caption_id,
                ocr_text=reading.text,
                confidence=reading.confidence,
                frame_count=reading.frame_count,
                error=None if reading.text or reading.unread else "no text could be read in this span",
                lang=reading.lang,
                script=reading.script,
                unread=reading.unread,
            )
            if progress is not None:
                progress("read captions", number, len(spans))
        return results
