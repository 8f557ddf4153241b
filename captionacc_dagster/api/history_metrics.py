"""Counters of what has ended since this process started: runs in Dagster's history, and remote calls in their ledger.

Every process of the API counts the same, so one of them is chosen before anything is added up. A restart sets the
counters to zero, which Prometheus' ``rate`` and ``increase`` recognize.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar, get_args
from uuid import UUID

from dagster import AssetMaterialization, DagsterInstance, DagsterRunStatus, RunRecord
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from captionacc_dagster.catalog.models import ComputeState, EndedCall, Tier
from captionacc_dagster.compute.modal_spec import FUNCTIONS
from captionacc_dagster.orchestration.flows import Flow, flow_of_run
from captionacc_dagster.orchestration.outcomes import failure_details
from captionacc_dagster.orchestration.priority import TenantTier
from captionacc_dagster.orchestration.run_updates import OVERLAP, RunUpdates
from captionacc_dagster.tags import (
    COMMAND_TAG,
    PARENT_RUN_TAG,
    REQUEST_TAG,
    RETRY_NUMBER_TAG,
    SENSOR_TAG,
    TIER_TAG,
    WILL_RETRY_TAG,
)

PREFIX = "captionacc_"
# Upper bounds in seconds: a stage takes seconds to minutes; a run is stopped after four hours.
DURATION_BUCKETS_S = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
# Half of what a scrape may take; what is left is counted at the next one.
READ_SECONDS = 3.0
RUNS_PER_READ = 500
# A run whose row changes later, for instance because somebody tags it, is not counted again within this time.
REMEMBERED = timedelta(days=1)

_FLOWS = tuple(flow.value for flow in Flow)
_TIERS: tuple[str, ...] = get_args(Tier)
_OUTCOMES: Mapping[DagsterRunStatus, str] = {
    DagsterRunStatus.SUCCESS: "succeeded",
    DagsterRunStatus.FAILURE: "failed",
    DagsterRunStatus.CANCELED: "cancelled",
}
# restarted: the worker died, and a retry took over.
_ENDS = (*_OUTCOMES.values(), "restarted")
# Asset → name of its metadata that counts unread text.
_OCR_FAILURES: Mapping[str, str] = {"ocr_db": "failed_frames", "captions_db": "failed"}
_ERROR_TYPE = re.compile(r"[A-Za-z_]\w{0,59}")
_LAUNCHERS = ("sensor", "api", "run")
_CALL_ENDS: tuple[ComputeState, ...] = ("succeeded", "failed", "cancelled", "refused")

MetricType = TypeVar("MetricType", bound=MetricWrapperBase)


class RunCounters:
    """Counts runs: those that were created, and those that have ended."""

    def __init__(self, registry: CollectorRegistry, started: datetime | None = None) -> None:
        self._started = started or datetime.now(UTC)
        self._updates = RunUpdates(self._started.isoformat())
        self._launched: dict[str, float] = {}
        self._ended: dict[str, float] = {}

        counter = partial(_shown, Counter, registry)
        histogram = partial(_shown, partial(Histogram, buckets=DURATION_BUCKETS_S), registry)
        self.runs = counter(
            "flow_runs", "Runs that have ended; restarted: their worker died and a retry took over.",
            flow=_FLOWS, tier=_TIERS, outcome=_ENDS,
        )  # fmt: skip
        self.seconds = histogram(
            "flow_run_duration_seconds", "From a run's start to its end.",
            flow=_FLOWS, outcome=("succeeded", "failed"),
        )  # fmt: skip
        self.queued_seconds = histogram(
            "flow_run_queued_seconds", "Time a run waited in the queue.", flow=_FLOWS, tier=_TIERS
        )
        self.stage_seconds = histogram("stage_duration_seconds", "Duration of each step of a run.", stage=())
        self.errors = counter(
            "flow_run_errors", "Runs that failed or were restarted, by the class of the error.",
            flow=_FLOWS, error_type=(),
        )  # fmt: skip
        self.retries = counter("flow_run_retries", "Steps and runs that were retried.", flow=_FLOWS)
        self.retried = counter("retried_flow_runs", "Runs with retries, by how they ended.", flow=_FLOWS, outcome=_ENDS)
        self.ocr_failures = counter("ocr_failures", "Frames and captions whose text could not be read.", flow=_FLOWS)
        self.launches = counter(
            "launches", "Runs that were created, by what created them.", flow=_FLOWS, launcher=_LAUNCHERS
        )

    def read(self, instance: DagsterInstance) -> None:
        """Count what happened since the last call."""
        deadline = time.monotonic() + READ_SECONDS
        for record in self._updates.read(instance, DagsterRunStatus, RUNS_PER_READ):
            run = record.dagster_run
            if _is_new(self._launched, run.run_id, record.create_timestamp.timestamp(), self._started):
                self._count_launch(record)
            if run.is_finished and _is_new(self._ended, run.run_id, _at_end(record), self._started):
                try:
                    self._count_end(instance, record)
                except BaseException:
                    # Its events could not be read now.
                    del self._ended[run.run_id]
                    raise
            if time.monotonic() > deadline:
                break
        for counted in (self._launched, self._ended):
            _forget(counted, datetime.fromisoformat(self._updates.after))

    def _count_launch(self, record: RunRecord) -> None:
        tags = record.dagster_run.tags
        flow = flow_of_run(record.dagster_run)
        if flow is None or PARENT_RUN_TAG in tags:
            return
        by_hand = COMMAND_TAG in tags or REQUEST_TAG not in tags
        self.launches.labels(flow.value, "sensor" if SENSOR_TAG in tags else "run" if by_hand else "api").inc()

    def _count_end(self, instance: DagsterInstance, record: RunRecord) -> None:
        run, flow = record.dagster_run, flow_of_run(record.dagster_run)
        if flow is None:
            return
        outcome = _OUTCOMES[run.status]
        if outcome == "failed" and run.tags.get(WILL_RETRY_TAG) == "true":
            outcome = "restarted"
        # All is read before anything is counted: what fails is read again at the next scrape.
        steps = instance.get_run_step_stats(run.run_id)
        queued_at = instance.get_run_stats(run.run_id).enqueued_time
        error = str(failure_details(instance, run)["error_type"]) if outcome in ("failed", "restarted") else None

        tier = TenantTier.from_name(run.tags.get(TIER_TAG, "")).value
        self.runs.labels(flow.value, tier, outcome).inc()
        if record.start_time is not None:
            self.seconds.labels(flow.value, outcome).observe(max(_at_end(record) - record.start_time, 0.0))
            if queued_at is not None:
                self.queued_seconds.labels(flow.value, tier).observe(max(record.start_time - queued_at, 0.0))
        retries = int(run.tags.get(RETRY_NUMBER_TAG, 0))
        for step in steps:
            if step.attempts_list:
                last = step.attempts_list[-1]
                self.stage_seconds.labels(step.step_key).observe((last.end_time or 0.0) - (last.start_time or 0.0))
            retries += max((step.attempts or 1) - 1, 0)
            for entry in step.materialization_events:
                self.ocr_failures.labels(flow.value).inc(_ocr_failures(entry.asset_materialization))
        self.retries.labels(flow.value).inc(retries)
        if retries:
            self.retried.labels(flow.value, outcome).inc()
        if error is not None:
            # Free text would make a label with unbounded values.
            self.errors.labels(flow.value, error if _ERROR_TYPE.fullmatch(error) else "Other").inc()


class CallCounters:
    """Counts remote calls that have ended."""

    def __init__(self, registry: CollectorRegistry, started: datetime | None = None) -> None:
        self._started = started or datetime.now(UTC)
        self._latest = self._started
        self._counted: dict[tuple[UUID, int, str], float] = {}

        counter = partial(_shown, Counter, registry, function=tuple(FUNCTIONS))
        self.calls = counter("compute_calls", "Remote compute calls that are over.", outcome=_CALL_ENDS)
        self.timeouts = counter("compute_timeouts", "Remote compute calls that exceeded a time limit.")
        self.restarts = counter("compute_call_restarts", "Remote compute calls that were restarted.")
        self.seconds = counter("compute_call_seconds", "Seconds that remote compute calls ran.")
        self.dollars = counter("compute_cost_dollars", "Estimated cost of remote compute calls, US dollars.")

    @property
    def after(self) -> datetime:
        """The time from which on ended calls are to be read."""
        return self._latest - OVERLAP

    def count(self, calls: Iterable[EndedCall]) -> None:
        """Count calls that have ended, each once, however often it is given."""
        for call in calls:
            self._latest = max(self._latest, call.ended_at)
            key = (call.id, call.attempts, call.state)
            if not _is_new(self._counted, key, call.ended_at.timestamp(), self._started):
                continue
            function = call.function_name
            self.calls.labels(function, call.state).inc()
            self.seconds.labels(function).inc(call.running_seconds or 0.0)
            self.dollars.labels(function).inc(call.estimated_cost_usd or 0.0)
            if "Timeout" in (call.error_type or ""):
                self.timeouts.labels(function).inc()
            if call.attempts > 1:
                self.restarts.labels(function).inc()
        _forget(self._counted, self._latest)


def _at_end(record: RunRecord) -> float:
    """Return when a finished run ended, in seconds since the epoch."""
    return record.end_time or record.update_timestamp.timestamp()


def _ocr_failures(made: AssetMaterialization | None) -> int:
    named = made.metadata.get(_OCR_FAILURES.get(made.asset_key.path[-1], "")) if made is not None else None
    return named.value if named is not None and isinstance(named.value, int) else 0


def _shown(
    kind: Callable[..., MetricType], registry: CollectorRegistry, name: str, text: str, **labels: Sequence[str]
) -> MetricType:
    """Return a metric that shows every combination of label values from the start: a counter that appears at 1 has no
    increase."""
    metric = kind(f"{PREFIX}{name}", text, labels, registry=registry)
    for values in itertools.product(*labels.values()):
        metric.labels(*values)
    return metric


def _is_new(counted: dict[Any, float], key: object, at: float, started: datetime) -> bool:
    """Return whether something happened since the start and is not yet counted, and note that it is."""
    if key in counted or at < started.timestamp():
        return False
    counted[key] = at
    return True


def _forget(counted: dict[Any, float], now: datetime) -> None:
    oldest = (now - REMEMBERED).timestamp()
    for key in [key for key, at in counted.items() if at < oldest]:
        del counted[key]
