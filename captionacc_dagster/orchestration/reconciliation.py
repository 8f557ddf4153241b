"""Repair what a crash, a lost message, or an outage left behind. Every step is idempotent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import CatalogError, CatalogUnavailable
from captionacc_dagster.catalog.models import ProcessingRequest, error_details
from captionacc_dagster.orchestration.approval import Mode
from captionacc_dagster.orchestration.dagster_internals import NOT_FINISHED_STATUSES
from captionacc_dagster.orchestration.flows import Flow, videos_partitions
from captionacc_dagster.orchestration.limits import ensure_pool_slots
from captionacc_dagster.orchestration.outcomes import record_outcome
from captionacc_dagster.orchestration.run_tags import PROVISIONAL, corrected_tags
from captionacc_dagster.orchestration.tenants import TenantDirectory
from captionacc_dagster.orchestration.transitions import record
from captionacc_dagster.orchestration.workers import (
    CLAIMED_BY,
    PROCESS_GONE,
    end_runs_without_worker,
    is_gone,
    worker_is_gone,
)
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.errors import StorageError
from captionacc_dagster.storage.keys import InvalidKey, VideoKeys
from captionacc_dagster.tags import PARTITION_TAG, TIER_SOURCE_TAG, TIER_TAG, VIDEO_TAG

# A request is launched shortly before its run is visible everywhere, and a run ends shortly before its outcome is
# recorded.
SETTLING = timedelta(seconds=30)
STALE_VERSION = timedelta(minutes=10)
UNSEEN_CALL = timedelta(hours=2)
# Dagster's daemons show a sign of life every 30 s.
DAEMON_SILENT_S = 120.0
KEEP_ENDED_VERSION = timedelta(hours=24)
KEEP_DELETED_VIDEO = timedelta(days=7)
KEEP_WEBHOOK_DELIVERY = timedelta(days=7)
KEEP_TEMPORARY = timedelta(days=1)
RUNS_COMPLETED = 200


@dataclass
class Reconciled:
    """The repairs made: one line each, and counts for the sensor's page."""

    lines: list[str] = field(default_factory=list)
    left: bool = False

    @property
    def summary(self) -> str:
        """One line."""
        found = f"repairs: {len(self.lines)}" if self.lines else "nothing to repair"
        return found + ("; more to check at the next tick" if self.left else "")


def reconcile_all(
    instance: DagsterInstance,
    catalog: Catalog,
    store: ObjectStore,
    now: datetime,
    approval: Mode,
    *,
    compute: str = "local",
    pool_slots: Mapping[str, int] | None = None,
    seconds: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
) -> Reconciled:
    """Find abandoned requests, runs, locks, versions, and calls, and repair them, for about ``seconds``.

    Raises:
        CatalogUnavailable: the catalog cannot be reached; repairs already made stay, the rest follow at the next call.
    """
    deadline = clock() + seconds
    result = Reconciled()
    for pool, slots in ensure_pool_slots(instance, compute, pool_slots).items():
        result.lines.append(f"pool {pool} now has {slots} slots")
    steps: tuple[Iterator[str], ...] = (
        (f"run {run.run_id}: ended, because its process is gone" for run in end_runs_without_worker(instance)),
        complete_tags(instance, TenantDirectory(lambda: catalog), now),
        _lost_requests(instance, catalog, now, approval),
        _forgotten_locks(instance, catalog),
        _interrupted_versions(instance, catalog, store, now),
        _forgotten_videos(instance, catalog, now),
        _forgotten_calls(instance, catalog, store),
    )
    for step in steps:
        for line in step:
            result.lines.append(line)
            if clock() > deadline:
                result.left = True
                return result
    return result


def settle_video(instance: DagsterInstance, catalog: Catalog, video_id: UUID, approval: Mode) -> list[str]:
    """End what processes that are gone left of one video, at once: runs, requests, locks; return a line for each.

    What lives is not touched.
    """
    lines = []
    requests = catalog.list_processing_requests(states=["pending", "launched"], video_id=video_id).items
    runs = _runs_by_id(instance, [request.run_id for request in requests if request.run_id])
    for request in requests:
        if request.state == "pending":
            kind, _, worker = (request.claimed_by or "").partition(":")
            if kind == CLAIMED_BY and worker_is_gone(worker):
                catalog.release_processing_request(request.id, request.claimed_by or "")
                lines.append(f"request {request.id}: released, because the process that claimed it is gone")
            continue
        run = runs.get(request.run_id or "")
        if run is not None and not run.is_finished and is_gone(instance, run):
            instance.report_run_failed(run, PROCESS_GONE)
            lines.append(f"run {run.run_id}: ended, because its process is gone")
            run = instance.get_run_by_id(run.run_id)
        if run is not None and run.status is DagsterRunStatus.QUEUED and not _daemon_is_alive(instance):
            instance.report_run_canceled(run, "No daemon takes it from the queue; its request waits again.")
            lines.append(f"run {run.run_id}: taken from the queue, because no daemon starts it")
            catalog.requeue_processing_request(request.id, run.run_id)
            continue
        lines += _settle_request(instance, catalog, request, run, approval)
        if run is not None and run.is_finished and catalog.get_processing_request(request.id).state == "launched":
            # Dagster would retry the run some day; whoever asks for it now need not wait for that.
            catalog.requeue_processing_request(request.id, run.run_id)
            lines.append(f"request {request.id}: requeued, because its run {run.run_id} has ended")
    return lines + list(_forgotten_locks(instance, catalog, video_id))


def clean_up(instance: DagsterInstance, catalog: Catalog, store: ObjectStore, now: datetime) -> list[str]:
    """Remove what is no longer needed: deleted videos, old deliveries, and remains of interrupted uploads."""
    lines = []
    for video in catalog.list_deleted_videos(now - KEEP_DELETED_VIDEO):
        keys = VideoKeys(str(video.tenant_id), str(video.id))
        try:
            count = store.delete_prefix(keys.client_prefix) + store.delete_prefix(keys.server_prefix)
        except (StorageError, InvalidKey) as error:
            # One video must not keep those of other tenants.
            lines.append(f"deleted video {video.id}: objects could not be removed yet: {error}")
            continue
        instance.delete_dynamic_partition(videos_partitions.name or "", str(video.id))
        catalog.purge_video(video.id)
        lines.append(f"removed deleted video {video.id} and its {count} objects")
    if forgotten := catalog.purge_webhook_deliveries(now - KEEP_WEBHOOK_DELIVERY):
        lines.append(f"removed {forgotten} old webhook deliveries")
    if swept := store.sweep_temporary(KEEP_TEMPORARY):
        lines.append(f"removed {swept} remains of interrupted uploads")
    return lines


def complete_tags(instance: DagsterInstance, directory: TenantDirectory, now: datetime) -> Iterator[str]:
    """Complete the tags of runs that were queued before their tenant was known."""
    for source in PROVISIONAL:
        waiting = RunsFilter(statuses=[DagsterRunStatus.QUEUED], tags={TIER_SOURCE_TAG: source.value})
        for run in instance.get_runs(waiting, limit=RUNS_COMPLETED):
            tags = corrected_tags(run, directory, now)
            if tags is not None:
                instance.add_run_tags(run.run_id, tags)
                yield f"run {run.run_id}: its tenant is known now; tier {tags[TIER_TAG]}"


def _lost_requests(instance: DagsterInstance, catalog: Catalog, now: datetime, approval: Mode) -> Iterator[str]:
    """Requeue requests whose run is gone; end requests whose run has ended."""
    cursor: str | None = None
    while True:
        page = catalog.list_processing_requests(states=["launched"], cursor=cursor, limit=200)
        runs = _runs_by_id(instance, [request.run_id for request in page.items if request.run_id])
        for request in page.items:
            run = runs.get(request.run_id or "")
            if run is None and request.launched_at is not None and _is_recent(request.launched_at, now, SETTLING):
                continue
            yield from _settle_request(instance, catalog, request, run, approval)
        if (cursor := page.next_cursor) is None:
            return


def _settle_request(
    instance: DagsterInstance, catalog: Catalog, request: ProcessingRequest, run: DagsterRun | None, approval: Mode
) -> Iterator[str]:
    """Requeue a launched request whose run is gone; end one whose run has ended."""
    run_id = request.run_id or ""
    if run is None:
        reason = error_details(f"run {run_id} is gone")
        if catalog.requeue_processing_request(request.id, run_id, error_details=reason):
            yield f"request {request.id}: requeued, because its run {run_id} is gone"
    elif run.is_finished:
        recorded = record_outcome(catalog, instance, run, approval)
        if recorded not in ("nothing to do", "waits for its retry"):
            yield f"request {request.id}: {recorded}, like its run {run_id}"


def _forgotten_locks(instance: DagsterInstance, catalog: Catalog, video_id: UUID | None = None) -> Iterator[str]:
    for lock in catalog.reap_expired_locks() if video_id is None else ():
        yield f"lock {lock.database_name} of video {lock.video_id}: expired; it was held by {lock.lock_holder}"
    held = [lock for lock in catalog.list_locks(video_id) if lock.lock_type == "server"]
    runs = _runs_by_id(instance, [lock.lock_holder for lock in held])
    for lock in held:
        run = runs.get(lock.lock_holder)
        if run is not None and run.is_finished:
            catalog.release_server_lock(lock.video_id, lock.database_name, lock.lock_holder)
            yield f"lock {lock.database_name} of video {lock.video_id}: freed, because its run {run.run_id} has ended"


def _interrupted_versions(
    instance: DagsterInstance, catalog: Catalog, store: ObjectStore, now: datetime
) -> Iterator[str]:
    """Mark versions whose run died as failed, and remove the objects of failed and old versions."""
    versions = catalog.list_stale_cropped_frames_versions(
        ended_before=now - KEEP_ENDED_VERSION, started_before=now - STALE_VERSION
    )
    runs = _runs_by_id(instance, [version.run_id for version in versions])
    for version in versions:
        name = f"version {version.version} of video {version.video_id}"
        if version.state == "processing":
            run = runs.get(version.run_id)
            if run is None or run.is_finished:
                reason = error_details("its run ended before it was complete", run_id=version.run_id)
                catalog.fail_cropped_frames_version(version.video_id, version.version, reason)
                yield f"{name}: marked as failed, because its run was interrupted"
            continue
        keys = VideoKeys(str(version.tenant_id), str(version.video_id))
        try:
            count = store.delete_prefix(keys.cropped_frames_prefix(version.version))
            store.delete_file(keys.extents_db(version.version))
        except (StorageError, InvalidKey) as error:
            yield f"{name}: objects could not be removed yet: {error}"
            continue
        catalog.mark_cropped_frames_version_cleaned(version.video_id, version.version)
        yield f"{name} ({version.state}): removed {count} objects"


def _forgotten_videos(instance: DagsterInstance, catalog: Catalog, now: datetime) -> Iterator[str]:
    """Mark videos as failed that count as being processed although no run works on them."""
    for video in catalog.list_videos(statuses=["processing"], limit=200).items:
        if _is_recent(video.updated_at, now, 4 * SETTLING):
            continue
        open_requests = catalog.list_processing_requests(states=["pending", "launched"], video_id=video.id)
        if open_requests.items or _has_live_run(instance, str(video.id)):
            continue
        details = error_details("processing was interrupted; `captionacc retry` starts it again")
        try:
            record(catalog, video.id, Flow.VIDEO_INITIAL_PROCESSING, "layout", "failed", details=details)
        except CatalogUnavailable:
            raise
        except CatalogError:
            continue
        yield f"video {video.id}: marked as failed, because no run works on it"


def _forgotten_calls(instance: DagsterInstance, catalog: Catalog, store: ObjectStore) -> Iterator[str]:
    """Cancel remote calls that no run waits for; they cost money until they end."""
    if not catalog.list_compute_calls(waiter_unseen_since=datetime.now(UTC) - UNSEEN_CALL, limit=1).items:
        return
    # Modal is an optional package, so it is imported only if the ledger contains calls.
    from captionacc_dagster.compute import modal_backend

    def is_running(run_id: str) -> bool:
        run = instance.get_run_by_id(run_id)
        return run is not None and not run.is_finished

    for call_id in modal_backend.reconcile(catalog, store, unseen_for=UNSEEN_CALL, is_running=is_running):
        yield f"remote call {call_id or 'that was never submitted'}: cancelled, because no run waits for it"


def _daemon_is_alive(instance: DagsterInstance) -> bool:
    """Return whether a daemon, on any machine, has shown a sign of life recently."""
    beats = instance.get_daemon_heartbeats().values()
    return any(abs(time.time() - beat.timestamp) < DAEMON_SILENT_S for beat in beats)


def _is_recent(moment: datetime, now: datetime, within: timedelta) -> bool:
    """Return whether a time is close to now; one far in the future is from before the clock was set back."""
    return abs(now - moment) < within


def _has_live_run(instance: DagsterInstance, video_id: str) -> bool:
    for tag in (VIDEO_TAG, PARTITION_TAG):
        live = RunsFilter(statuses=NOT_FINISHED_STATUSES, tags={tag: video_id})
        if instance.get_runs_count(live):
            return True
    return False


def _runs_by_id(instance: DagsterInstance, run_ids: list[str]) -> dict[str, DagsterRun]:
    if not run_ids:
        return {}
    return {run.run_id: run for run in instance.get_runs(RunsFilter(run_ids=sorted(set(run_ids))))}
