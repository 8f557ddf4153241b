"""Figures of a finished run, from Dagster's history: times, seconds per step, retries, OCR failures, and the error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dagster import AssetMaterialization, DagsterInstance, DagsterRunStatus, RunRecord

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
    for step in instance.get_run_step_stats(run.run_id):
        if step.attempts_list:
            last = step.attempts_list[-1]
            figures.stage_seconds[step.step_key] = (last.end_time or 0.0) - (last.start_time or 0.0)
        figures.retries += max((step.attempts or 1) - 1, 0)
        figures.ocr_failures += sum(_ocr_failures(entry.asset_materialization) for entry in step.materialization_events)
    if record.start_time is not None:
        figures.seconds = max(at_end(record) - record.start_time, 0.0)
        if (queued := instance.get_run_stats(run.run_id).enqueued_time) is not None:
            figures.queued_seconds = max(record.start_time - queued, 0.0)
    if outcome in ("failed", "restarted"):
        # Free text would make a label with unbounded values.
        name = str(failure_details(instance, run)["error_type"])
        figures.error_type = name if _ERROR_TYPE.fullmatch(name) else "Other"
    return figures


def at_end(record: RunRecord) -> float:
    """Return when a finished run ended, in seconds since the epoch."""
    return record.end_time or record.update_timestamp.timestamp()


def _ocr_failures(made: AssetMaterialization | None) -> int:
    named = made.metadata.get(OCR_FAILURES.get(made.asset_key.path[-1], "")) if made is not None else None
    return named.value if named is not None and isinstance(named.value, int) else 0
