"""Figures of finished runs for the metrics: times, seconds per step, retries, OCR failures, and the error.

Read from Dagster's events once, when the run's outcome is recorded, and kept in the catalog, so that they outlive both
the events and every process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from uuid import UUID

from dagster import AssetMaterialization, DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import NotFound
from captionacc_dagster.catalog.models import FlowRun, RunOutcome, Total
from captionacc_dagster.orchestration.flows import flow_of_run
from captionacc_dagster.orchestration.outcomes import failure_details, video_of_run
from captionacc_dagster.orchestration.priority import TenantTier
from captionacc_dagster.tags import RETRY_NUMBER_TAG, TIER_TAG, WILL_RETRY_TAG

# Upper bounds in seconds: a stage takes seconds to minutes; a run is stopped after four hours.
DURATION_BUCKETS_S = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)

# Asset → name of its metadata that counts unread text.
OCR_FAILURES: Mapping[str, str] = {"ocr_db": "failed_frames", "captions_db": "failed"}

_OUTCOMES: Mapping[DagsterRunStatus, RunOutcome] = {
    DagsterRunStatus.SUCCESS: "succeeded",
    DagsterRunStatus.FAILURE: "failed",
    DagsterRunStatus.CANCELED: "cancelled",
}
_EVENTS = {
    DagsterEventType.RUN_ENQUEUED,
    DagsterEventType.STEP_SUCCESS,
    DagsterEventType.STEP_FAILURE,
    DagsterEventType.STEP_START,
    DagsterEventType.STEP_UP_FOR_RETRY,
    DagsterEventType.ASSET_MATERIALIZATION,
}
_MOST_EVENTS = 500
_ERROR_TYPE = re.compile(r"[A-Za-z_]\w{0,59}")


def record_run_figures(catalog: Catalog, instance: DagsterInstance, run: DagsterRun) -> bool:
    """Record the figures of a finished run; return False if it belongs to no flow or was recorded before.

    Raises:
        CatalogUnavailable: the catalog cannot be reached; call again later.
    """
    figures = figures_of_run(catalog, instance, run)
    return figures is not None and catalog.record_flow_run(figures, list(totals_of_run(figures)))


def figures_of_run(catalog: Catalog, instance: DagsterInstance, run: DagsterRun) -> FlowRun | None:
    """Return the figures of a finished run; None if it belongs to no flow."""
    flow = flow_of_run(run.job_name, [key.path[-1] for key in run.asset_selection or ()])
    outcome = _OUTCOMES.get(run.status)
    record = instance.get_run_record_by_id(run.run_id)
    if flow is None or outcome is None or record is None:
        return None
    if outcome == "failed" and run.tags.get(WILL_RETRY_TAG) == "true":
        outcome = "restarted"
    video_id = video_of_run(run)
    events = _Events(instance, run.run_id)
    return FlowRun(
        run_id=run.run_id,
        flow=flow.value,
        outcome=outcome,
        tier=_tier(catalog, run, video_id).value,
        video_id=video_id,
        queued_at=events.queued_at,
        started_at=_time(record.start_time),
        ended_at=_time(record.end_time) or record.update_timestamp,
        stage_seconds=events.stage_seconds,
        ocr_failures=events.ocr_failures,
        retries=events.retries + int(run.tags.get(RETRY_NUMBER_TAG, 0)),
        error_type=_error_type(instance, run) if outcome in ("failed", "restarted") else None,
    )


def totals_of_run(run: FlowRun) -> Iterator[Total]:
    """Yield what a run adds to the catalog's totals; names and labels are those of the metrics, without prefix."""
    flow = {"flow": run.flow}
    ended = flow | {"outcome": run.outcome}
    yield Total(metric="flow_runs", labels=ended | {"tier": run.tier}, value=1)
    if run.started_at is not None:
        yield from _observed("flow_run_duration_seconds", ended, (run.ended_at - run.started_at).total_seconds())
        if run.queued_at is not None:
            waited = (run.started_at - run.queued_at).total_seconds()
            yield from _observed("flow_run_queued_seconds", flow | {"tier": run.tier}, waited)
    for stage, seconds in sorted(run.stage_seconds.items()):
        yield from _observed("stage_duration_seconds", {"stage": stage}, seconds)
    if run.ocr_failures:
        yield Total(metric="ocr_failures", labels=flow, value=run.ocr_failures)
    if run.retries:
        yield Total(metric="flow_run_retries", labels=flow, value=run.retries)
        yield Total(metric="retried_flow_runs", labels=ended, value=1)
    if run.error_type is not None:
        yield Total(metric="flow_run_errors", labels=flow | {"error_type": run.error_type}, value=1)


def _observed(metric: str, labels: Mapping[str, str], seconds: float) -> Iterator[Total]:
    """Yield an observation as a histogram bucket; buckets become cumulative when they are shown."""
    seconds = max(seconds, 0.0)
    bound = next((str(bound) for bound in DURATION_BUCKETS_S if seconds <= bound), "+Inf")
    yield Total(metric=f"{metric}_bucket", labels={**labels, "le": bound}, value=1)
    yield Total(metric=f"{metric}_sum", labels=dict(labels), value=seconds)


class _Events:
    """Figures from a run's own events."""

    def __init__(self, instance: DagsterInstance, run_id: str) -> None:
        self.queued_at: datetime | None = None
        self.stage_seconds: dict[str, float] = {}
        self.ocr_failures = 0
        self.retries = 0
        self._began: dict[str, float] = {}
        for record in instance.get_records_for_run(run_id, of_type=_EVENTS, limit=_MOST_EVENTS).records:
            event = record.event_log_entry.dagster_event
            if event is not None:
                self._take(event, record.event_log_entry.timestamp)

    def _take(self, event: DagsterEvent, timestamp: float) -> None:
        kind, step = event.event_type, event.step_key or ""
        if kind is DagsterEventType.RUN_ENQUEUED:
            self.queued_at = self.queued_at or _time(timestamp)
        elif kind is DagsterEventType.STEP_START:
            self._began[step] = timestamp
        elif kind is DagsterEventType.STEP_SUCCESS:
            self.stage_seconds[step] = event.step_success_data.duration_ms / 1000
        elif kind is DagsterEventType.STEP_FAILURE:
            self.stage_seconds[step] = max(timestamp - self._began.get(step, timestamp), 0.0)
        elif kind is DagsterEventType.STEP_UP_FOR_RETRY:
            self.retries += 1
        elif kind is DagsterEventType.ASSET_MATERIALIZATION:
            self.ocr_failures += _ocr_failures(event.step_materialization_data.materialization)


def _ocr_failures(made: AssetMaterialization) -> int:
    named = made.metadata.get(OCR_FAILURES.get(made.asset_key.path[-1], ""))
    value = named.value if named is not None else 0
    return value if isinstance(value, int) else 0


def _error_type(instance: DagsterInstance, run: DagsterRun) -> str:
    """Return the class of the error that ended the run; free text would make a label with unbounded values."""
    name = str(failure_details(instance, run)["error_type"])
    return name if _ERROR_TYPE.fullmatch(name) else "Other"


def _tier(catalog: Catalog, run: DagsterRun, video_id: UUID | None) -> TenantTier:
    """Return the tier in the run's tags, or the tenant's: runs inside a command are never queued and have no tag."""
    if TIER_TAG in run.tags or video_id is None:
        return TenantTier.from_name(run.tags.get(TIER_TAG, ""))
    try:
        return TenantTier.from_name(catalog.get_tenant_tier(catalog.get_video_metadata(video_id).tenant_id))
    except NotFound:
        return TenantTier.FREE


def _time(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
