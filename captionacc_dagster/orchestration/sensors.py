"""The sensors: turn rows and files into runs, and outcomes of runs into rows. All run by default."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from dagster import (
    DagsterInstance,
    DefaultSensorStatus,
    ResourceParam,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import CatalogError, CatalogUnavailable
from captionacc_dagster.orchestration.flows import Flow, videos_partitions
from captionacc_dagster.orchestration.inbox import take_from_inbox
from captionacc_dagster.orchestration.outcomes import FINISHED, adopt_request, record_outcome
from captionacc_dagster.orchestration.reconciliation import clean_up, reconcile_all
from captionacc_dagster.orchestration.requests import plan_run
from captionacc_dagster.orchestration.run_updates import RunUpdates
from captionacc_dagster.settings import get_settings
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.tags import PARTITION_TAG, REQUEST_TAG

REQUESTS_PER_TICK = 100
TICK_SECONDS = 10.0
# Longer than one tick and the creation of its runs take, so that no other process claims them meanwhile.
CLAIM_SECONDS = 300.0
OUTCOMES_PER_TICK = 100
CLEAN_UP_EVERY = timedelta(hours=1)


def _request_sensor(name: str, flow: Flow, description: str) -> SensorDefinition:
    @sensor(
        name=name,
        job_name=flow.value,
        minimum_interval_seconds=5,
        default_status=DefaultSensorStatus.RUNNING,
        description=description,
    )
    def launch(context: SensorEvaluationContext, catalog: ResourceParam[Catalog]) -> SensorResult:
        return _launch_requests(context, catalog, flow, f"sensor:{name}")

    return launch


new_videos = _request_sensor(
    "new_videos",
    Flow.VIDEO_INITIAL_PROCESSING,
    "Starts the initial processing of every uploaded video that has not been started yet.",
)
approved_layouts = _request_sensor(
    "approved_layouts",
    Flow.CROP_AND_INFER,
    "Starts the search for captions in every video whose layout was approved.",
)
ocr_requests = _request_sensor(
    "ocr_requests", Flow.CAPTION_OCR, "Starts the reading of captions that a person wants read again."
)


def _launch_requests(context: SensorEvaluationContext, catalog: Catalog, flow: Flow, claimer: str) -> SensorResult:
    noted = _note_last_tick(context.instance, catalog, claimer, json.loads(context.cursor or "[]"))
    claimed = catalog.claim_processing_requests(
        claimer, limit=REQUESTS_PER_TICK, lease_s=CLAIM_SECONDS, flows=[flow.value]
    )
    videos = catalog.get_videos({request.video_id for request in claimed}) if claimed else {}
    plans: list[RunRequest] = []
    for request in claimed:
        # Whoever claimed it before may have created its run, and died before recording it.
        if _has_its_run(context.instance, catalog, str(request.id)):
            noted += 1
        else:
            video = videos.get(request.video_id)
            plans.append(plan_run(request, video and video.filename))
    if not plans:
        seen = f"; {noted} earlier requests now have their runs" if noted else ""
        return SensorResult(skip_reason=f"no pending {flow} requests{seen}", cursor="[]")
    context.log.info("creating runs for %d requests of %s", len(plans), flow)
    return SensorResult(
        run_requests=plans,
        dynamic_partitions_requests=[
            videos_partitions.build_add_request(sorted({plan.tags[PARTITION_TAG] for plan in plans}))
        ],
        cursor=json.dumps([plan.tags[REQUEST_TAG] for plan in plans]),
    )


def _note_last_tick(instance: DagsterInstance, catalog: Catalog, claimer: str, request_ids: Iterable[str]) -> int:
    """Record in the outbox the runs that Dagster created for the last tick's requests; release the other requests."""
    noted = 0
    for request_id in request_ids:
        if _has_its_run(instance, catalog, request_id):
            noted += 1
        else:
            catalog.release_processing_request(request_id, claimer)
    return noted


def _has_its_run(instance: DagsterInstance, catalog: Catalog, request_id: str) -> bool:
    """Return whether the run of a request exists, and record it in the outbox."""
    # One query per request: Dagster's storage is slow for a list of tag values.
    runs = instance.get_runs(RunsFilter(tags={REQUEST_TAG: request_id}))
    return any(adopt_request(catalog, run) for run in runs)


@sensor(
    minimum_interval_seconds=10,
    default_status=DefaultSensorStatus.RUNNING,
    description="Takes videos from the inbox folder; files that cannot be played are set aside with the reason.",
)
def inbox(
    context: SensorEvaluationContext, catalog: ResourceParam[Catalog], store: ResourceParam[ObjectStore]
) -> SensorResult | SkipReason:
    """Turn each file in the inbox into a video; a file is complete when two ticks find it unchanged."""
    settings, seen = get_settings(), json.loads(context.cursor or "{}")
    lines, waiting, summary = take_from_inbox(
        settings.inbox_dir, settings.tenant_id, catalog, store, seen=seen, seconds=TICK_SECONDS
    )
    for line in lines:
        context.log.info(line)
    return SensorResult(skip_reason=summary, cursor=json.dumps(waiting))


@sensor(
    minimum_interval_seconds=5,
    default_status=DefaultSensorStatus.RUNNING,
    description="Records how runs ended in the catalog: request, statuses, and error.",
)
def run_outcomes(context: SensorEvaluationContext, catalog: ResourceParam[Catalog]) -> SensorResult:
    """Record the runs that ended since shortly before the last tick, in the order in which they ended.

    Not a ``run_status_sensor``: that moves its cursor past a run whose handler failed, so that an outcome would be lost
    whenever the catalog is unavailable.
    """
    now = datetime.now(UTC)
    updates = RunUpdates.starting(now - timedelta(days=1), context.cursor)
    if updates.is_ahead(now):
        updates = RunUpdates.starting(now - timedelta(days=1))
    deadline = now + timedelta(seconds=TICK_SECONDS)
    counts: dict[str, int] = {}
    for record in updates.read(context.instance, FINISHED, OUTCOMES_PER_TICK):
        run = record.dagster_run
        if datetime.now(UTC) > deadline:
            break
        try:
            recorded: str = record_outcome(catalog, context.instance, run, get_settings().auto_approve_layout)
        except CatalogUnavailable:
            raise
        except CatalogError as error:
            # One failure must not block all others; reconcile checks its request again.
            context.log.error("the outcome of run %s could not be recorded: %s", run.run_id, error)
            recorded = "refused"
        counts[recorded] = counts.get(recorded, 0) + 1
    text = ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "no run has ended"
    return SensorResult(skip_reason=text, cursor=updates.cursor)


@sensor(
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Finds abandoned requests, runs, locks, versions, and calls, and repairs them.",
)
def reconcile(
    context: SensorEvaluationContext, catalog: ResourceParam[Catalog], store: ResourceParam[ObjectStore]
) -> SensorResult:
    """Repair what a crash left behind; once an hour also remove what is no longer needed."""
    now = datetime.now(UTC)
    settings = get_settings()
    report = reconcile_all(
        context.instance,
        catalog,
        store,
        now,
        settings.auto_approve_layout,
        compute=settings.compute,
        pool_slots=settings.pool_slots,
        seconds=TICK_SECONDS,
    )
    cleaned_at = context.cursor
    if cleaned_at is None or abs(now - datetime.fromisoformat(cleaned_at)) > CLEAN_UP_EVERY:
        report.lines += clean_up(context.instance, catalog, store, now)
        cleaned_at = now.isoformat()
    for line in report.lines:
        context.log.info(line)
    return SensorResult(skip_reason=report.summary, cursor=cleaned_at)


SENSORS = [new_videos, approved_layouts, ocr_requests, inbox, run_outcomes, reconcile]
