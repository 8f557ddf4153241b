"""Crop the caption region and find when each caption begins and ends, in one compute call."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, ResourceParam, multi_asset

from captionacc_dagster.assets.drawings import timeline_picture
from captionacc_dagster.assets.lifecycle import TRANSIENT_RETRIES, VideoRun
from captionacc_dagster.assets.metadata import picture, warning_metadata
from captionacc_dagster.assets.specs import compute_output
from captionacc_dagster.assets.stored_outputs import describe_object, describe_prefix
from captionacc_dagster.captioning.files import databases
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.models import Video, error_details
from captionacc_dagster.compute.base import BadInput, ComputeBackend
from captionacc_dagster.compute.results import CropBox, CropInferResult
from captionacc_dagster.orchestration.approval import Mode, may_be_approved
from captionacc_dagster.orchestration.flows import Flow, videos_partitions
from captionacc_dagster.resources import COMPUTE_POOL, ProcessingResource, ProgressReporter
from captionacc_dagster.storage.base import ObjectStore

_spec = partial(compute_output, made_from="layout_db", flow="crop_and_infer")


@multi_asset(
    specs=[
        _spec(
            "cropped_frames",
            "The crop region at 10 frames per second, as WebM chunks in three levels without a common frame.",
            {"webm"},
        ),
        _spec(
            "caption_frame_extents",
            "`caption_frame_extents_v{N}.db`: the first and last native frame of each caption, and the label of "
            "each pair of consecutive cropped frames.",
            {"sqlite"},
        ),
    ],
    partitions_def=videos_partitions,
    name="caption_extents",
    retry_policy=TRANSIENT_RETRIES,
    pool=COMPUTE_POOL,
)
def caption_extents(
    context: AssetExecutionContext,
    catalog: ResourceParam[Catalog],
    store: ResourceParam[ObjectStore],
    compute: ResourceParam[ComputeBackend],
    processing: ProcessingResource,
    progress: ResourceParam[ProgressReporter],
) -> Iterator[MaterializeResult]:
    """Crop the region, follow every native frame, find the extents, and read the captions, in one compute call."""
    run = VideoRun(context, catalog, Flow.CROP_AND_INFER, "boundaries")
    with run.working():
        _make_sure_of_approval(run, processing.auto_approve_layout)
        run.begin()
        with run.locked() as lock:
            video = run.video
            version = catalog.next_cropped_frames_version(
                run.video_id, context.run.run_id, processing.cropped_frame_rate
            )
            frame_rate = catalog.get_cropped_frame_rate(run.video_id, version)
            try:
                result = compute.crop_and_infer_caption_frame_extents(
                    run.keys.video,
                    run.keys.tenant_id,
                    run.keys.video_id,
                    crop_box(video),
                    version,
                    frame_rate,
                    progress=progress.watch(context.log),
                )
            except Exception as error:
                if not run.will_retry(error):
                    details = error_details(error, run_id=context.run.run_id)
                    catalog.fail_cropped_frames_version(run.video_id, version, details)
                raise
            lock.check()
            catalog.activate_cropped_frames_version(
                run.video_id, version, storage_prefix=result.cropped_frames_prefix, frame_count=result.frame_count
            )
            catalog.update_video_metadata(run.video_id, {"warnings": [asdict(warning) for warning in result.warnings]})
        yield from _materializations(run, store, result, frame_rate, compute.call_metadata())


def crop_box(video: Video) -> CropBox | None:
    """Return the video's crop region as a compute argument; None for a video without captions."""
    region = video.crop_region
    if region is None:
        return None
    left, top, right, bottom = region
    return CropBox(crop_left=left, crop_top=top, crop_right=right, crop_bottom=bottom)


def _make_sure_of_approval(run: VideoRun, mode: Mode) -> None:
    """Approve the layout automatically where the tenant allows it and the confidence suffices.

    Raises:
        BadInput: a person must approve it first.
    """
    video = run.video
    if video.layout_approved_at is not None:
        return
    if not may_be_approved(video, run.catalog.get_tenant(video.tenant_id), mode):
        raise BadInput(
            f"{video.filename}: the layout needs approval (confidence {video.layout_confidence or 0.0:.2f}); "
            f"check it and run `captionacc approve {video.id}`"
        )
    run.catalog.approve_layout(
        video.id,
        video.crop_region,
        approval="automatic",
        claimer=run.context.run.run_id,
        request_key=f"crop_and_infer:{run.context.run.run_id}",
    )


def _materializations(
    run: VideoRun,
    store: ObjectStore,
    result: CropInferResult,
    frame_rate: float,
    call: Mapping[str, str | int | float | bool],
) -> Iterator[MaterializeResult]:
    with TemporaryDirectory(prefix="captionacc-") as folder:
        path = store.download_file(result.caption_frame_extents_db_key, Path(folder) / "extents.db")
        captions = databases.read_extents_database(path)
    duration = run.video.duration_seconds or max((caption.end_s for caption in captions), default=1.0)
    yield run.made(
        "cropped_frames",
        {
            "version": result.version,
            "frames": result.frame_count,
            "sampled_per_second": frame_rate,
            "prefix": MetadataValue.path(result.cropped_frames_prefix),
            **describe_prefix(store, result.cropped_frames_prefix),
        },
    )
    seconds = result.processing_duration_seconds
    yield run.made(
        "caption_frame_extents",
        {
            "version": result.version,
            "captions": result.caption_frame_extents_count,
            "native_frames": result.native_frame_count,
            "frames_per_second": result.native_frame_count / seconds if seconds else 0.0,
            "ocr_recognitions": result.ocr_recognitions,
            "processing_seconds": seconds,
            **{f"cpu_seconds_{stage}": value for stage, value in result.stage_seconds.items()},
            **call,
            **warning_metadata(result.warnings),
            **{f"label_{label}": count for label, count in result.label_counts.items()},
            "timeline": picture(timeline_picture(captions, duration), "captions over time", "png"),
            "key": MetadataValue.path(result.caption_frame_extents_db_key),
            **describe_object(store, result.caption_frame_extents_db_key),
        },
    )
