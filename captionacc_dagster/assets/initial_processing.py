"""Sample full frames, read their text, and find where captions appear, in one compute call."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, ResourceParam, multi_asset

from captionacc_dagster.assets.drawings import (
    LayoutNotes,
    MarkedBoxes,
    boxes_over_time,
    contact_sheet,
    layout_picture,
    spread,
)
from captionacc_dagster.assets.lifecycle import TRANSIENT_RETRIES, VideoRun
from captionacc_dagster.assets.metadata import picture, warning_metadata
from captionacc_dagster.assets.specs import compute_output
from captionacc_dagster.assets.stored_outputs import describe_object, describe_prefix, frame_indices, read_ocr
from captionacc_dagster.captioning.files import databases
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.compute.base import BadInput, ComputeBackend
from captionacc_dagster.compute.results import ExtractResult
from captionacc_dagster.orchestration.flows import Flow, videos_partitions
from captionacc_dagster.orchestration.transitions import record_layout
from captionacc_dagster.resources import COMPUTE_POOL, ProcessingResource, ProgressReporter
from captionacc_dagster.storage.base import ObjectStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_SHEET_FRAMES = 9


_spec = partial(compute_output, made_from="raw_video", flow="video_initial_processing")


@multi_asset(
    specs=[
        _spec(
            "full_frames",
            "Whole frames of the video, one every ten seconds, as JPEG: what a person needs to judge the layout.",
            {"jpeg"},
        ),
        _spec(
            "ocr_db",
            "`raw-ocr.db.gz`: every piece of text in the full frames, with its box and confidence.",
            {"sqlite"},
        ),
        _spec(
            "layout_db",
            "`layout.db.gz`: where captions appear (crop region, anchor, tracks), found from text that keeps its place "
            "while its words change; each box is labeled `in` or `out`.",
            {"sqlite"},
        ),
    ],
    partitions_def=videos_partitions,
    name="initial_processing",
    retry_policy=TRANSIENT_RETRIES,
    pool=COMPUTE_POOL,
)
def initial_processing(
    context: AssetExecutionContext,
    catalog: ResourceParam[Catalog],
    store: ResourceParam[ObjectStore],
    compute: ResourceParam[ComputeBackend],
    processing: ProcessingResource,
    progress: ResourceParam[ProgressReporter],
) -> Iterator[MaterializeResult]:
    """Sample full frames, read them, and find the layout, in one compute call."""
    run = VideoRun(context, catalog, Flow.VIDEO_INITIAL_PROCESSING, "layout")
    with run.working():
        result = compute.extract_frames_and_ocr(
            run.keys.video,
            run.keys.tenant_id,
            run.keys.video_id,
            processing.full_frame_rate,
            progress=progress.watch(context.log),
        )
        _record(run, result)
        yield from _materializations(run, store, result, processing.full_frame_rate, compute.call_metadata())


def _record(run: VideoRun, result: ExtractResult) -> None:
    box = result.crop_region
    region = {
        "crop_left": box.crop_left if box else None,
        "crop_top": box.crop_top if box else None,
        "crop_right": box.crop_right if box else None,
        "crop_bottom": box.crop_bottom if box else None,
    }
    record_layout(
        run.catalog,
        run.video_id,
        {
            "duration_seconds": result.duration,
            "frame_count": result.frame_count,
            "frame_rate": result.frame_rate,
            "width": result.frame_width,
            "height": result.frame_height,
            "video_codec": result.video_codec,
            "bitrate": result.bitrate,
            "ocr_box_count": result.ocr_box_count,
            "failed_ocr_count": result.failed_ocr_count,
            "processing_duration_seconds": result.processing_duration_seconds,
            "layout_confidence": result.layout_confidence,
            "warnings": [asdict(warning) for warning in result.warnings],
        },
        region,
    )


def _materializations(
    run: VideoRun,
    store: ObjectStore,
    result: ExtractResult,
    frame_rate: float,
    call: Mapping[str, str | int | float | bool],
) -> Iterator[MaterializeResult]:
    with TemporaryDirectory(prefix="captionacc-") as folder:
        layout, boxes = _read_layout(store, run.keys.layout_db, Path(folder))
    region, read = layout.crop_region, read_ocr(store, run.video)
    times = {frame.frame_index: frame.timestamp_s for frame in read}
    frames = _frames(store, run.keys.full_frames_prefix, times, boxes)
    yield run.made(
        "full_frames",
        {
            "frames": result.frame_count,
            "sampled_per_second": frame_rate,
            "prefix": MetadataValue.path(result.full_frames_key),
            **describe_prefix(store, result.full_frames_key),
            "contact_sheet": picture(contact_sheet(frames, region), "full frames with boxes and crop region"),
        },
    )
    evidence = [
        (found.timestamp_s, [(found.bbox, region is not None and _inside(found.bbox, region))])
        for found in layout.evidence
    ]
    over_time = [(seconds, boxes.get(index, [])) for index, seconds in sorted(times.items())] + evidence
    failed = [frame.timestamp_s for frame in read if frame.error is not None]
    confidences = [found.confidence for frame in read for found in frame.detections]
    yield run.made(
        "ocr_db",
        {
            "boxes": result.ocr_box_count,
            "failed_frames": result.failed_ocr_count,
            "mean_confidence": sum(confidences) / len(confidences) if confidences else 0.0,
            "key": MetadataValue.path(result.ocr_db_key),
            **describe_object(store, result.ocr_db_key),
            "boxes_over_time": picture(
                boxes_over_time(over_time, failed, result.duration), "where text appears over time", "png"
            ),
        },
    )
    yield _layout_materialization(run, store, result, layout, call, frames[len(frames) // 2][1], over_time)


def _layout_materialization(
    run: VideoRun,
    store: ObjectStore,
    result: ExtractResult,
    layout: databases.Layout,
    call: Mapping[str, str | int | float | bool],
    background: "NDArray[np.uint8]",
    over_time: Sequence[tuple[float, MarkedBoxes]],
) -> MaterializeResult:
    region, seconds = layout.crop_region, result.processing_duration_seconds
    every_box = [box for _, found in over_time for box in found]
    tracks = [track.name for track in layout.tracks]
    notes = LayoutNotes(str(layout.anchor_type), layout.anchor_position, layout.confidence, tracks)
    return run.made(
        "layout_db",
        {
            "crop_region": MetadataValue.text(
                ", ".join(f"{number:.4f}" for number in region.as_tuple()) if region else "no captions found"
            ),
            "tracks": MetadataValue.text(", ".join(tracks) or "none"),
            "anchor": MetadataValue.text(str(layout.anchor_type)),
            "confidence": layout.confidence,
            "processing_seconds": seconds,
            "video_seconds_per_second": result.duration / seconds if seconds else 0.0,
            "key": MetadataValue.path(result.layout_db_key),
            **describe_object(store, result.layout_db_key),
            **call,
            **warning_metadata(result.warnings),
            "layout": picture(layout_picture(background, every_box, region, notes=notes), "layout"),
        },
    )


def _frames(
    store: ObjectStore, prefix: str, times: Mapping[int, float], boxes: Mapping[int, MarkedBoxes]
) -> "list[tuple[float, NDArray[np.uint8], MarkedBoxes]]":
    """Return some full frames, spread over the video: time in seconds, picture (RGB), and boxes."""
    import cv2
    import numpy as np

    keys = store.list_files(prefix)
    frames = []
    for key in [keys[i] for i in spread(len(keys), MAX_SHEET_FRAMES)]:
        image = cv2.imdecode(np.frombuffer(store.download_to_bytes(key), np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise BadInput(f"{key}: not a readable JPEG")
        [index] = frame_indices([key])
        rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
        frames.append((times.get(index, 0.0), rgb, boxes.get(index, [])))
    return frames


def _read_layout(
    store: ObjectStore, key: str, work: Path
) -> tuple[databases.Layout, dict[int, list[tuple[BBox, bool]]]]:
    """Return the layout and, for each full frame, its boxes with whether each is a caption."""
    packed = store.download_file(key, work / "layout.db.gz")
    path = databases.decompress(packed, work / "layout.db")
    return databases.read_layout_database(path), databases.read_boxes(path)


def _inside(bbox: BBox, region: BBox) -> bool:
    middle_x, middle_y = (bbox.left + bbox.right) / 2, (bbox.top + bbox.bottom) / 2
    return region.left <= middle_x <= region.right and region.top <= middle_y <= region.bottom
