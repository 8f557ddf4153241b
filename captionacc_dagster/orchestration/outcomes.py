"""Record the outcome of a run in the catalog: its request's state, the video's statuses, and error details.

Every function is idempotent for a run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import Conflict, InvalidValue, NotFound
from captionacc_dagster.catalog.models import ProcessingRequest, Video
from captionacc_dagster.orchestration.approval import Mode, approve_automatically
from captionacc_dagster.orchestration.flows import Flow, flow_of_run
from captionacc_dagster.orchestration.priority import submitted_priority
from captionacc_dagster.orchestration.transitions import last_stage, record, stage_of
from captionacc_dagster.orchestration.workers import PROCESS_GONE
from captionacc_dagster.tags import (
    ATTEMPT_TAG,
    AUTO_RETRY_RUN_TAG,
    COMMAND_TAG,
    PARENT_RUN_TAG,
    PARTITION_TAG,
    REQUEST_TAG,
    RETRY_NUMBER_TAG,
    VIDEO_TAG,
    WILL_RETRY_TAG,
)

FINISHED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
# Dagster's words for a run that it ends because the process was killed, or ended while it started.
_ENDED_FROM_OUTSIDE = "from outside the execution context"

Recorded = Literal[
    "nothing to do",
    "waits for its retry",
    "handed to its retry",
    "succeeded",
    "layout approved",
    "failed",
    "cancelled",
]


def is_run_of(request: ProcessingRequest, status: DagsterRunStatus, tags: Mapping[str, str]) -> bool:
    """Return whether a pending request belongs to a run that has its tag, and not to one that it has lost.

    A request loses only a run that has ended, or is gone; one that has not ended is a retry of it.
    """
    return status not in FINISHED or tags.get(ATTEMPT_TAG, "0") == str(request.attempts)


def adopt_request(catalog: Catalog, run: DagsterRun) -> ProcessingRequest | None:
    """Make the request named in the run's tags belong to the run, and return it.

    A request that is still pending (its launcher died, or has not recorded the run yet) is marked as launched by this
    run, unless it has lost that; a request of the run that this one retries is handed over. None if it belongs to
    another run, or there is none.
    """
    request_id = run.tags.get(REQUEST_TAG)
    if request_id is None:
        return None
    try:
        request = catalog.get_processing_request(request_id)
        if request.state == "pending":
            return _note_launch(catalog, request, run) if is_run_of(request, run.status, run.tags) else None
        if request.run_id != run.run_id:
            parent = run.tags.get(PARENT_RUN_TAG)
            if parent is None or not catalog.replace_request_run(request.id, parent, run.run_id):
                return None
            return catalog.get_processing_request(request_id)
        return request
    except (NotFound, Conflict, InvalidValue):
        return None


def _note_launch(catalog: Catalog, request: ProcessingRequest, run: DagsterRun) -> ProcessingRequest:
    """Record that the run of a pending request was created, and return the request.

    Raises:
        Conflict: the request was launched by another process meanwhile.
    """
    claimer = request.claimed_by
    if claimer is None:
        claimer = run.run_id
        catalog.claim_processing_request(request.id, claimer)
    return catalog.launch_processing_request(request.id, claimer, run.run_id, priority=submitted_priority(run.tags))


def record_outcome(catalog: Catalog, instance: DagsterInstance, run: DagsterRun, approval: Mode) -> Recorded:
    """Record how a finished run ended if its last step could not, and approve its layout if that is allowed.

    Raises:
        CatalogUnavailable: the catalog cannot be reached; call again later.
    """
    video_id = video_of_run(run)
    if video_id is None or run.status not in FINISHED:
        return "nothing to do"
    adopt_request(catalog, run)
    requests = [
        request
        for request in catalog.list_processing_requests(states=["launched"], video_id=video_id).items
        if request.run_id == run.run_id
    ]
    if run.status is DagsterRunStatus.FAILURE:
        retry = _retry_of(instance, run)
        if retry is not None:
            for request in requests:
                catalog.replace_request_run(request.id, run.run_id, retry)
            return "handed to its retry"
        if _may_be_retried(instance, run):
            return "waits for its retry"

    if run.status is DagsterRunStatus.SUCCESS:
        return _record_success(catalog, run, video_id, requests, approval)
    return _record_failure(catalog, instance, run, video_id, requests)


def _retry_of(instance: DagsterInstance, run: DagsterRun) -> str | None:
    """Return the id of the run that Dagster made to retry a failed one; None if there is none yet."""
    if (retry := run.tags.get(AUTO_RETRY_RUN_TAG)) is not None:
        return retry
    # Dagster writes that tag after it has made the run, and gives the retry up where an outage comes in between.
    made = instance.get_runs(RunsFilter(tags={PARENT_RUN_TAG: run.run_id}))
    return next((other.run_id for other in made if RETRY_NUMBER_TAG in other.tags), None)


def _may_be_retried(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Return whether Dagster retries a failed run, or has not decided that yet.

    It decides after it has written that the run failed: its daemon does, where the process that wrote that was killed
    in between.
    """
    undecided = str(instance.run_retries_enabled).lower()
    return run.tags.get(WILL_RETRY_TAG, undecided) == "true"


def _record_success(
    catalog: Catalog, run: DagsterRun, video_id: UUID, requests: list[ProcessingRequest], approval: Mode
) -> Recorded:
    recorded: Recorded = "succeeded" if requests else "nothing to do"
    if _found_a_layout_only(run) and COMMAND_TAG not in run.tags:
        video = catalog.get_videos([video_id]).get(video_id)
        if video and approve_automatically(catalog, video, approval, occasion=run.run_id):
            recorded = "layout approved"
    # Last, so that a request whose layout could not be approved is found again.
    for request in requests:
        flow = Flow(request.flow)
        record(catalog, video_id, flow, last_stage(flow), "completed", requests=[request], run_id=run.run_id)
    return recorded


def _found_a_layout_only(run: DagsterRun) -> bool:
    """Return whether a run found a layout and no captions, so that the next flow is due."""
    assets = {key.path[-1] for key in run.asset_selection or ()}
    return flow_of_run(run) is Flow.VIDEO_INITIAL_PROCESSING and (not assets or "layout_db" in assets)


def _record_failure(
    catalog: Catalog, instance: DagsterInstance, run: DagsterRun, video_id: UUID, requests: list[ProcessingRequest]
) -> Recorded:
    details = failure_details(instance, run)
    end: Literal["failed", "cancelled"] = "failed" if run.status is DagsterRunStatus.FAILURE else "cancelled"
    video = catalog.get_videos([video_id]).get(video_id)
    if video is None:  # deleted meanwhile
        for request in requests:
            catalog.finish_processing_request(request.id, end, run_id=run.run_id, error_details=details)
        return end if requests else "nothing to do"
    for request in requests:
        flow, stage = stage_of(video, Flow(request.flow), details.get("step"))
        if flow is not Flow(request.flow):
            flow, stage = stage_of(video, Flow(request.flow), None)
        record(catalog, video_id, flow, stage, end, requests=[request], run_id=run.run_id, details=details)
    if requests:
        return end
    flow = flow_of_run(run)
    if flow is None or not _concerns_the_video(catalog, run, video, flow, details):
        return "nothing to do"
    flow, stage = stage_of(video, flow, details.get("step"))
    record(catalog, video_id, flow, stage, end, details=details)
    return end


def _concerns_the_video(
    catalog: Catalog, run: DagsterRun, video: Video, flow: Flow, details: Mapping[str, Any]
) -> bool:
    """Return whether the failure of a run that holds no request changes its video.

    It does not while another run works on the video, or will. Otherwise it does if the video would wait for it forever,
    or if a step of a run that was started by hand failed. A run that was made for a request has recorded the failure
    itself.
    """
    if catalog.list_processing_requests(states=["pending", "launched"], video_id=video.id, limit=1).items:
        return False
    if flow is Flow.VIDEO_INITIAL_PROCESSING and video.status == "processing":
        return True
    if REQUEST_TAG in run.tags or details.get("step") is None:
        return False
    recorded = (video.layout_error_details, video.boundaries_error_details, video.text_error_details)
    return not any(found is not None and found.get("run_id") == run.run_id for found in recorded)


def failure_details(instance: DagsterInstance, run: DagsterRun) -> dict[str, Any]:
    """Return message, error type, run id, and time of the error that ended a run, from its events."""
    details = {"run_id": run.run_id, "time": datetime.now(UTC).isoformat()}
    if run.status is DagsterRunStatus.CANCELED:
        return details | {"message": "the run was cancelled", "error_type": "Cancelled"}
    records = instance.get_records_for_run(
        run.run_id, of_type={DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}, limit=20
    ).records
    entries = [record.event_log_entry for record in records]
    for entry in entries:
        event = entry.dagster_event
        if event is None or event.event_type is not DagsterEventType.STEP_FAILURE:
            continue
        error = event.step_failure_data.error
        # Dagster wraps the original exception; the innermost cause is the one a person can act on.
        while error and error.cause:
            error = error.cause
        if error:
            # Dagster puts the class before the message, with its module unless that is a built-in one.
            message = re.sub(rf"^(?:\w+\.)*{error.cls_name}:", "", error.message).strip().splitlines()
            text = message[0] if message else error.cls_name
            return details | {"message": text, "error_type": error.cls_name, "step": event.step_key}
    said = [entry.dagster_event.message if entry.dagster_event else entry.user_message for entry in entries]
    text = next((text for text in reversed(said) if text), "the run failed")
    return details | {"message": PROCESS_GONE if _ENDED_FROM_OUTSIDE in text else text, "error_type": "RunFailure"}


def video_of_run(run: DagsterRun) -> UUID | None:
    """Return the id of the video that a run works on; None if it names none."""
    try:
        return UUID(run.tags.get(VIDEO_TAG) or run.tags.get(PARTITION_TAG) or "")
    except ValueError:
        return None
