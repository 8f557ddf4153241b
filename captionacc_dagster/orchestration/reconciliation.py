"""Puts right what a crash, a lost message or an outage left behind. Every step may be repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dagster import DagsterInstance, DagsterRun, RunsFilter
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import CatalogError, CatalogUnavailable, NotFound
from captionacc_dagster.catalog.models import error_details
from captionacc_dagster.orchestration.flows import videos_partitions
from captionacc_dagster.orchestration.limits import ensure_pool_slots
from captionacc_dagster.orchestration.outcomes import record_outcome
from captionacc_dagster.orchestration.priority import VIDEO_TAG
from captionacc_dagster.orchestration.workers import end_runs_without_worker
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.errors import StorageError
from captionacc_dagster.storage.keys import VideoKeys

# A request is launched a moment before its run is seen by everybody, and a run's end a moment before its outcome.
SETTLING = timedelta(seconds=30)
STALE_VERSION = timedelta(minutes=10)
UNSEEN_CALL = timedelta(hours=2)
KEEP_ENDED_VERSION = timedelta(hours=24)
KEEP_DELETED_VIDEO = timedelta(days=7)
KEEP_WEBHOOK_DELIVERY = timedelta(days=7)
KEEP_FLOW_RUN = timedelta(days=90)
KEEP_TEMPORARY = timedelta(days=1)


@dataclass
class Reconciled:
    """What was put right: a line each, and counts for the sensor's page."""

    lines: list[str] = field(default_factory=list)
    left: bool = False

    @property
    def summary(self) -> str:
        """One line."""
        found = f"{len(self.lines)} things put right" if self.lines else "everything is in order"
        return found + (", more to look at" if self.left else "")


def reconcile_all(
    instance: DagsterInstance,
    catalog: Catalog,
    store: ObjectStore,
    now: datetime,
    *,
    pool_slots: Mapping[str, int] | None = None,
    seconds: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
) -> Reconciled:
    """Look for what nobody looks after any more, and put it right, for about that many seconds.

    Raises:
        CatalogUnavailable: the catalog is away; what was done is done, the rest comes at the next call.
    """
    deadline = clock() + seconds
    result = Reconciled()
    for pool, slots in ensure_pool_slots(instance, pool_slots).items():
        result.lines.append(f"pool {pool} has {slots} slots now")
    steps: tuple[Iterator[str], ...] = (
        _dead_runs(instance),
        _lost_requests(instance, catalog, now),
        _forgotten_locks(instance, catalog),
        _interrupted_versions(instance, catalog, store, now),
        _forgotten_videos(instance, catalog, now),
        _forgotten_calls(catalog),
    )
    for step in steps:
        for line in step:
            result.lines.append(line)
            if clock() > deadline:
                result.left = True
                return result
    return result


def clean_up(instance: DagsterInstance, catalog: Catalog, store: ObjectStore, now: datetime) -> list[str]:
    """Remove what is too old to be needed: deleted videos, old deliveries, what interrupted uploads left."""
    lines = []
    for video in catalog.list_deleted_videos(now - KEEP_DELETED_VIDEO):
        keys = VideoKeys(str(video.tenant_id), str(video.id))
        count = store.delete_prefix(keys.client_prefix) + store.delete_prefix(keys.server_prefix)
        instance.delete_dynamic_partition(videos_partitions.name or "", str(video.id))
        catalog.purge_video(video.id)
        lines.append(f"deleted video {video.id} is removed with its {count} objects")
    if forgotten := catalog.purge_webhook_deliveries(now - KEEP_WEBHOOK_DELIVERY):
        lines.append(f"{forgotten} old webhook deliveries are forgotten")
    if forgotten := catalog.purge_flow_runs(now - KEEP_FLOW_RUN):
        lines.append(f"{forgotten} runs of long ago are forgotten; the totals keep them")
    if swept := store.sweep_temporary(KEEP_TEMPORARY):
        lines.append(f"{swept} leftovers of interrupted uploads are removed")
    return lines


def _dead_runs(instance: DagsterInstance) -> Iterator[str]:
    for run in end_runs_without_worker(instance):
        yield f"run {run.run_id}: its process is gone; ended"


def _lost_requests(instance: DagsterInstance, catalog: Catalog, now: datetime) -> Iterator[str]:
    """Requests whose run is gone wait for a new one; those whose run has ended end as it did."""
    cursor: str | None = None
    while True:
        page = catalog.list_processing_requests(
            states=["launched"], launched_before=now - SETTLING, cursor=cursor, limit=200
        )
        runs = _runs_by_id(instance, [request.run_id for request in page.items if request.run_id])
        for request in page.items:
            run_id = request.run_id or ""
            run = runs.get(run_id)
            if run is None:
                reason = error_details(f"run {run_id} is gone")
                if catalog.requeue_processing_request(request.id, run_id, error_details=reason):
                    yield f"request {request.id}: its run {run_id} is gone; waits for a new one"
            elif run.is_finished:
                recorded = record_outcome(catalog, instance, run)
                if recorded not in ("nothing to do", "waits for its retry"):
                    yield f"request {request.id}: {recorded}, as its run {run_id}"
        if (cursor := page.next_cursor) is None:
            return


def _forgotten_locks(instance: DagsterInstance, catalog: Catalog) -> Iterator[str]:
    for lock in catalog.reap_expired_locks():
        yield f"lock {lock.database_name} of video {lock.video_id}: expired, {lock.lock_holder} held it"
    held = [lock for lock in catalog.list_locks() if lock.lock_type == "server"]
    runs = _runs_by_id(instance, [lock.lock_holder for lock in held])
    for lock in held:
        run = runs.get(lock.lock_holder)
        if run is not None and run.is_finished:
            catalog.release_server_lock(lock.video_id, lock.database_name, lock.lock_holder)
            yield f"lock {lock.database_name} of video {lock.video_id}: its run {run.run_id} has ended; freed"


def _interrupted_versions(
    instance: DagsterInstance, catalog: Catalog, store: ObjectStore, now: datetime
) -> Iterator[str]:
    """Versions whose run died are marked failed; what failed and old versions left behind is removed."""
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
                yield f"{name}: interrupted; marked failed"
            continue
        keys = VideoKeys(str(version.tenant_id), str(version.video_id))
        try:
            count = store.delete_prefix(keys.cropped_frames_prefix(version.version))
            store.delete_file(keys.extents_db(version.version))
        except StorageError as error:
            yield f"{name}: its objects could not be removed yet: {error}"
            continue
        catalog.mark_cropped_frames_version_cleaned(version.video_id, version.version)
        yield f"{name} ({version.state}): its {count} objects are removed"


def _forgotten_videos(instance: DagsterInstance, catalog: Catalog, now: datetime) -> Iterator[str]:
    """Videos that count as being processed while nothing works on them."""
    for video in catalog.list_videos(statuses=["processing"], limit=200).items:
        if video.updated_at > now - 4 * SETTLING:
            continue
        open_requests = catalog.list_processing_requests(states=["pending", "launched"], video_id=video.id)
        if open_requests.items or _has_live_run(instance, str(video.id)):
            continue
        details = error_details("the work on this video was interrupted; `captionacc retry` starts it again")
        try:
            catalog.update_video_status(
                video.id, "error", error_details=details, layout_status="error", layout_error_details=details
            )
        except CatalogUnavailable:
            raise
        except (NotFound, CatalogError):
            continue
        yield f"video {video.id}: nothing works on it; marked as failed"


def _forgotten_calls(catalog: Catalog) -> Iterator[str]:
    """Remote calls that nobody waits for cost money until they are ended."""
    if not catalog.list_compute_calls(waiter_unseen_since=datetime.now(UTC) - UNSEEN_CALL, limit=1).items:
        return
    # Modal is an extra: loaded only where its calls are in the ledger.
    from captionacc_dagster.compute import modal_backend

    for call_id in modal_backend.reconcile(catalog, unseen_for=UNSEEN_CALL):
        yield f"remote call {call_id or 'that was never handed over'}: nobody waits for it; cancelled"


def _has_live_run(instance: DagsterInstance, video_id: str) -> bool:
    for tag in (VIDEO_TAG, "dagster/partition"):
        live = RunsFilter(statuses=NOT_FINISHED_STATUSES, tags={tag: video_id})
        if instance.get_runs_count(live):
            return True
    return False


def _runs_by_id(instance: DagsterInstance, run_ids: list[str]) -> dict[str, DagsterRun]:
    if not run_ids:
        return {}
    return {run.run_id: run for run in instance.get_runs(RunsFilter(run_ids=sorted(set(run_ids))))}
