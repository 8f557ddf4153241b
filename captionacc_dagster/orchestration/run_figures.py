"""Figures of a finished run, from Dagster's history: times, seconds per step, retries, OCR failures, and the error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dagster import AssetMaterialization, DagsterEvent, DagsterEventType, DagsterInstance, DagsterRunStatus, RunRecord

from captionacc_dagster.orchestration.flows import flow_of_run
from captionacc_dagster.orchestration.outcomes import failure_details
from captionacc_dagster.orchestration.priority import TenantTier
from captionacc_dagster.tags import RETRY_NUMBER_TAG, TIER_TAG, WILL_RETRY_TAG

# restarted: the worker died, and a retry took over.
RunOutcome = Literal["succeeded", "failed", "cancelled", "restarted"]

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


@dataclass
class RunFigures:
    """How a run ended."""

    flow: str
    outcome: RunOutcome
    tier: str
    retries: int
    seconds: float | None = None
    queued_seconds: float | None = None
    stage_seconds: dict[str, float] = field(default_factory=dict)
    ocr_failures: int = 0
    error_type: str | None = None


def figures_of_run(instance: DagsterInstance, record: RunRecord) -> RunFigures | None:
    """Return the figures of a finished run; None if it belongs to no flow."""
    run = record.dagster_run
    flow = flow_of_run(run)
    if flow is None:
        return None
    outcome = _OUTCOMES[run.status]
    if outcome == "failed" and run.tags.get(WILL_RETRY_TAG) == "true":
        outcome = "restarted"
    figures = RunFigures(
        flow=flow.value,
        outcome=outcome,
        tier=TenantTier.from_name(run.tags.get(TIER_TAG, "")).value,
        retries=int(run.tags.get(RETRY_NUMBER_TAG, 0)),
    )
    began: dict[str, float] = {}
    for entry in instance.get_records_for_run(run.run_id, of_type=_EVENTS, limit=_MOST_EVENTS).records:
        event, at = entry.event_log_entry.dagster_event, entry.event_log_entry.timestamp
        if event is not None:
            _take(figures, event, at, began)
    if record.start_time is not None:
        figures.seconds = max(at_end(record) - record.start_time, 0.0)
        if (queued := began.get("")) is not None:
            figures.queued_seconds = max(record.start_time - queued, 0.0)
    if outcome in ("failed", "restarted"):
        # Free text would make a label with unbounded values.
        name = str(failure_details(instance, run)["error_type"])
        figures.error_type = name if _ERROR_TYPE.fullmatch(name) else "Other"
    return figures


def at_end(record: RunRecord) -> float:
    """Return when a finished run ended, in seconds since the epoch."""
    return record.end_time or record.update_timestamp.timestamp()


def _take(figures: RunFigures, event: DagsterEvent, at: float, began: dict[str, float]) -> None:
    kind, step = event.event_type, event.step_key or ""
    if kind in (DagsterEventType.RUN_ENQUEUED, DagsterEventType.STEP_START):
        began.setdefault(step, at)
    elif kind is DagsterEventType.STEP_SUCCESS:
        figures.stage_seconds[step] = event.step_success_data.duration_ms / 1000
    elif kind is DagsterEventType.STEP_FAILURE:
        figures.stage_seconds[step] = max(at - began.get(step, at), 0.0)
    elif kind is DagsterEventType.STEP_UP_FOR_RETRY:
        figures.retries += 1
    elif kind is DagsterEventType.ASSET_MATERIALIZATION:
        figures.ocr_failures += _ocr_failures(event.step_materialization_data.materialization)


def _ocr_failures(made: AssetMaterialization) -> int:
    named = made.metadata.get(OCR_FAILURES.get(made.asset_key.path[-1], ""))
    value = named.value if named is not None else 0
    return value if isinstance(value, int) else 0
