"""The three flows: their names, partitions, and assets, and the Dagster job of each."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from dagster import AssetSelection, DagsterRun, DynamicPartitionsDefinition, define_asset_job, in_process_executor

from captionacc_dagster.tags import FLOW_TAG

# The key of a partition is the id of its video.
videos_partitions = DynamicPartitionsDefinition(name="videos")


class Flow(StrEnum):
    """One of the three pieces of processing; each is the job of the same name."""

    VIDEO_INITIAL_PROCESSING = "video_initial_processing"
    CROP_AND_INFER = "crop_and_infer"
    CAPTION_OCR = "caption_ocr"


# caption_ocr refreshes assets of crop_and_infer, so only the job identifies its runs.
FLOW_ASSETS: Mapping[Flow, frozenset[str]] = {
    Flow.VIDEO_INITIAL_PROCESSING: frozenset({"raw_video", "full_frames", "ocr_db", "layout_db"}),
    Flow.CROP_AND_INFER: frozenset({"cropped_frames", "caption_frame_extents", "captions_db", "subtitles"}),
}


def flow_of_run(run: DagsterRun) -> Flow | None:
    """Return the flow whose limit applies to a run; None for a run of none of the three.

    A backfill or a materialization from the UI runs under Dagster's implicit job; its assets determine its flow.
    A run with assets of both counts as ``crop_and_infer``, the flow with the lower limit.
    """
    if run.job_name in set(Flow):
        return Flow(run.job_name)
    names = {key.path[-1] for key in run.asset_selection or ()}
    for flow in (Flow.CROP_AND_INFER, Flow.VIDEO_INITIAL_PROCESSING):
        if names & FLOW_ASSETS[flow]:
            return flow
    return None


def _flow_job(flow: Flow, assets: frozenset[str], description: str):  # noqa: ANN202 - Dagster keeps the type private
    return define_asset_job(
        flow.value,
        selection=AssetSelection.assets(*sorted(assets)),
        executor_def=in_process_executor,
        description=description,
        tags={FLOW_TAG: flow.value},
    )


JOBS = [
    _flow_job(
        Flow.VIDEO_INITIAL_PROCESSING,
        FLOW_ASSETS[Flow.VIDEO_INITIAL_PROCESSING],
        "Sample a new video, read its text, and find where captions appear.",
    ),
    _flow_job(
        Flow.CROP_AND_INFER,
        FLOW_ASSETS[Flow.CROP_AND_INFER],
        "Find when each caption of an approved layout begins and ends, and what it says.",
    ),
    _flow_job(
        Flow.CAPTION_OCR,
        frozenset({"captions_db", "subtitles"}),
        "Read selected captions again, after a person has changed them.",
    ),
]
