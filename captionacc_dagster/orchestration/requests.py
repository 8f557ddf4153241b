"""Plan runs for the rows of the outbox. Pure: rows in, run requests out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dagster import RunRequest

from captionacc_dagster.catalog.models import ProcessingRequest
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.orchestration.priority import priority_run_tags
from captionacc_dagster.orchestration.tenants import TierSource
from captionacc_dagster.tags import ATTEMPT_TAG, FLOW_TAG, PARTITION_TAG, REQUEST_TAG, TIER_SOURCE_TAG, VIDEO_TAG


def plan_run(request: ProcessingRequest, video_name: str | None = None, now: datetime | None = None) -> RunRequest:
    """Return the run that a request needs; its key changes when the request has lost a run and needs another.

    Its partition is a tag: for ``partition_key``, Dagster would load all partitions to check each one.

    Args:
        request: a row of the outbox.
        video_name: the file name of the video, for people.
        now: the time to calculate its priority for; None means the present.
    """
    video_id = str(request.video_id)
    tags = priority_run_tags(
        request.tenant_tier,
        request.requested_at,
        tenant_id=str(request.tenant_id),
        video_name=video_name,
        base_priority_override=request.base_priority,
        now=now,
    )
    tags |= {
        FLOW_TAG: request.flow,
        VIDEO_TAG: video_id,
        PARTITION_TAG: video_id,
        REQUEST_TAG: str(request.id),
        ATTEMPT_TAG: str(request.attempts),
        TIER_SOURCE_TAG: TierSource.CATALOG.value,
    }
    return RunRequest(
        run_key=f"{request.id}:{request.attempts}",
        job_name=request.flow,
        tags=tags,
        run_config=run_config_of(request),
    )


def run_config_of(request: ProcessingRequest) -> dict[str, Any]:
    """Return the run configuration for a request's payload."""
    if request.flow != Flow.CAPTION_OCR:
        return {}
    return {"ops": {"captions_db": {"config": {"caption_ids": request.payload["caption_ids"]}}}}
