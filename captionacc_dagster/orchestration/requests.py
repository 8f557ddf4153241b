"""Plan runs for the rows of the outbox: the run that a request needs, or the one that it already has.

Pure: rows and runs in, decisions out. The sensors fetch, call this module, and act.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from captionacc_dagster.catalog.models import ProcessingRequest
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.orchestration.priority import priority_run_tags
from captionacc_dagster.orchestration.tenants import TierSource
from captionacc_dagster.tags import FLOW_TAG, REQUEST_TAG, TIER_SOURCE_TAG, VIDEO_TAG


@dataclass(frozen=True)
class RunPlan:
    """A run to create.

    Attributes:
        request_id: the request it serves.
        run_key: equal for every attempt to create the same run, so that Dagster creates it once.
        job_name: name of the job.
        partition_key: the video's id.
        tags: place the run in the queue and refer back to the request.
        run_config: configuration of the steps.
    """

    request_id: str
    run_key: str
    job_name: str
    partition_key: str
    tags: Mapping[str, str]
    run_config: Mapping[str, Any]


@dataclass(frozen=True)
class KnownRun:
    """A run of the instance that has a request's tag."""

    run_id: str
    request_id: str
    priority: int | None


@dataclass(frozen=True)
class RequestPlans:
    """What to do with claimed requests: create runs, or record runs that already exist."""

    to_run: Sequence[RunPlan]
    to_note: Sequence[KnownRun]


def plan_run(request: ProcessingRequest, video_name: str | None = None, now: datetime | None = None) -> RunPlan:
    """Return the run that a request needs; its key changes when the request has lost a run and needs another.

    ``video_name`` is the file name of the video, for people.
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
        REQUEST_TAG: str(request.id),
        TIER_SOURCE_TAG: TierSource.CATALOG.value,
    }
    return RunPlan(
        request_id=str(request.id),
        run_key=f"{request.id}:{request.attempts}",
        job_name=request.flow,
        partition_key=video_id,
        tags=tags,
        run_config=run_config_of(request),
    )


def run_config_of(request: ProcessingRequest) -> dict[str, Any]:
    """Return the run configuration for a request's payload."""
    if request.flow != Flow.CAPTION_OCR:
        return {}
    return {"ops": {"captions_db": {"config": {"caption_ids": request.payload["caption_ids"]}}}}


def plan_requests(
    claimed: Iterable[ProcessingRequest],
    known_runs: Iterable[KnownRun],
    video_names: Mapping[UUID, str] | None = None,
    now: datetime | None = None,
) -> RequestPlans:
    """Decide for each claimed request whether its run already exists (its creator died before recording it).

    Args:
        claimed: requests that the caller has claimed.
        known_runs: runs that have the tag of one of them and can still do its work; the first one counts.
        video_names: video → file name, for people; videos may be missing.
        now: the time to calculate priorities for; None means the present.
    """
    names = video_names or {}
    runs: dict[str, KnownRun] = {}
    for run in known_runs:
        runs.setdefault(run.request_id, run)
    requests = list(claimed)
    return RequestPlans(
        to_run=[
            plan_run(request, names.get(request.video_id), now) for request in requests if str(request.id) not in runs
        ],
        to_note=[runs[str(request.id)] for request in requests if str(request.id) in runs],
    )
