"""The three flows as jobs over assets; one run is one process."""

from dagster import AssetSelection, define_asset_job, in_process_executor

from captionacc_dagster.orchestration.flows import FLOW_ASSETS, Flow


def _flow_job(flow: Flow, assets: frozenset[str], description: str):  # noqa: ANN202 - Dagster keeps the type private
    return define_asset_job(
        flow.value,
        selection=AssetSelection.assets(*sorted(assets)),
        executor_def=in_process_executor,
        description=description,
        tags={"captionacc/flow": flow.value},
    )


video_initial_processing = _flow_job(
    Flow.VIDEO_INITIAL_PROCESSING,
    FLOW_ASSETS[Flow.VIDEO_INITIAL_PROCESSING],
    "Look at a new video: sample it, read it, find where captions stand.",
)
crop_and_infer = _flow_job(
    Flow.CROP_AND_INFER,
    FLOW_ASSETS[Flow.CROP_AND_INFER],
    "Find when each caption of an approved layout begins and ends, and what it says.",
)
caption_ocr = _flow_job(
    Flow.CAPTION_OCR,
    frozenset({"captions_db", "subtitles"}),
    "Read chosen captions anew, after a person has changed them.",
)
JOBS = [video_initial_processing, crop_and_infer, caption_ocr]
