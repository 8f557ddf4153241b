"""Actions on a video's workflow: approve, complete, retry."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header

from captionacc_dagster.api.auth import CallerDependency, VideoDependency
from captionacc_dagster.api.errors import responses
from captionacc_dagster.api.launcher import CLAIM_SECONDS, LaunchDelayed, new_claimer
from captionacc_dagster.api.services import Services, ServicesDependency
from captionacc_dagster.api.views import ApproveLayout, Job, VideoView
from captionacc_dagster.catalog.models import ProcessingRequest, Video

router = APIRouter(prefix="/videos/{video_id}/actions", tags=["actions"])

_CHANGE = responses(400, 401, 403, 404, 409, 413, 422, 429, 503)
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[A-Za-z0-9._:-]{1,100}$",
        description="Calls with the same key count as one.",
    ),
]


def launched_job(services: Services, video: Video, request: ProcessingRequest, claimer: str) -> Job:
    """Launch a request that this claimer tried to claim, and return its job; pending while Dagster is unavailable."""
    try:
        launched = services.launcher.launch(request, claimer, video.filename)
    except LaunchDelayed:
        current = services.catalog.get_processing_request(request.id)
        return Job(jobId=current.run_id or str(current.id), status=current.state)
    state = "launched" if request.state == "pending" else request.state
    return Job(jobId=launched.run_id, status=state)


@router.post("/approve-layout", summary="Approve the layout", responses=_CHANGE)
def approve_layout(
    services: ServicesDependency,
    caller: CallerDependency,
    video: VideoDependency,
    body: ApproveLayout,
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Store the region of the captions and start finding them; 409 while the video is being processed.

    While Dagster is unavailable, the answer has the status `pending`, and the work starts once it is back.
    """
    claimer = new_claimer()
    request = services.catalog.approve_layout(
        video.id,
        body.crop_region.as_tuple() if body.crop_region is not None else video.crop_region,
        user_id=caller.user_id,
        request_key=f"approve:{video.id}:{idempotency_key}" if idempotency_key else None,
        claimer=claimer,
        lease_s=CLAIM_SECONDS,
    )
    if body.lang is not None:
        services.catalog.update_video_metadata(video.id, {"lang": body.lang})
    return launched_job(services, video, request, claimer)


@router.post("/retry", summary="Retry what failed", responses=_CHANGE)
def retry(
    services: ServicesDependency,
    caller: CallerDependency,
    video: VideoDependency,
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Restart the first failed stage; 409 if nothing has failed."""
    claimer = new_claimer()
    request = services.catalog.retry_video(
        video.id,
        user_id=caller.user_id,
        request_key=f"retry:{video.id}:{idempotency_key}" if idempotency_key else None,
        claimer=claimer,
        lease_s=CLAIM_SECONDS,
    )
    return launched_job(services, video, request, claimer)


@router.post("/complete-boundaries", summary="Complete the boundaries", responses=_CHANGE)
def complete_boundaries(services: ServicesDependency, video: VideoDependency) -> VideoView:
    """Mark the start and end of every caption as correct; the text is next."""
    return VideoView.of(services.catalog.complete_boundaries(video.id))


@router.post("/complete-text", summary="Complete the text", responses=_CHANGE)
def complete_text(services: ServicesDependency, video: VideoDependency) -> VideoView:
    """Mark the text of every caption as correct; the boundaries must be complete."""
    return VideoView.of(services.catalog.complete_text(video.id))
