"""The history of a video: its events in the catalog and in Dagster's runs, in order of time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, RunsFilter

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.models import HistoryEvent, Json
from captionacc_dagster.tags import DAGSTER_PRIORITY_TAG, PARTITION_TAG

RUNS_TOLD = 20
_TOLD = {
    DagsterEventType.RUN_ENQUEUED: "in the queue",
    DagsterEventType.RUN_START: "run started",
    DagsterEventType.STEP_START: "stage started",
    DagsterEventType.STEP_UP_FOR_RETRY: "stage will be retried",
    DagsterEventType.STEP_SUCCESS: "stage done",
    DagsterEventType.STEP_FAILURE: "stage failed",
    DagsterEventType.RUN_FAILURE: "run failed",
    DagsterEventType.RUN_CANCELED: "run cancelled",
    DagsterEventType.RUN_SUCCESS: "run done",
}


def video_history(catalog: Catalog, instance: DagsterInstance, video_id: UUID) -> list[HistoryEvent]:
    """Return all events of a video, oldest first, with those of its latest 20 runs."""
    events = catalog.get_video_history(video_id)
    runs = instance.get_runs(RunsFilter(tags={PARTITION_TAG: str(video_id)}), limit=RUNS_TOLD)
    for run in runs:
        events += _run_history(instance, run)
    return sorted(events, key=lambda event: event.at)


def _run_history(instance: DagsterInstance, run: DagsterRun) -> Iterator[HistoryEvent]:
    for entry in instance.all_logs(run.run_id, of_type=set(_TOLD)):
        event = entry.dagster_event
        if event is None or event.event_type not in _TOLD:
            continue
        yield HistoryEvent(
            at=datetime.fromtimestamp(entry.timestamp, UTC),
            event=_TOLD[event.event_type],
            details=_details(event, run),
        )


def _details(event: DagsterEvent, run: DagsterRun) -> Json:
    details: Json = {"run_id": run.run_id}
    kind = event.event_type
    if event.step_key is not None:
        details = {"stage": event.step_key}
    if kind is DagsterEventType.RUN_ENQUEUED:
        details["priority"] = run.tags.get(DAGSTER_PRIORITY_TAG)
    elif kind is DagsterEventType.STEP_SUCCESS:
        details["seconds"] = round((event.step_success_data.duration_ms or 0) / 1000, 1)
    elif kind is DagsterEventType.STEP_FAILURE:
        error = event.step_failure_data.error
        details["error"] = error.message.strip().splitlines()[0] if error and error.message.strip() else None
    elif kind is DagsterEventType.RUN_FAILURE:
        details["reason"] = event.message
    return details
