"""The sensors against a real catalog and a real instance; the queue daemon is not needed here."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import psycopg
import pytest
from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    SensorDefinition,
    SensorResult,
    build_sensor_context,
)
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.remote_origin import RemoteInstigatorOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorType, SensorInstigatorData
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.sensor import get_elapsed

from captionacc_dagster.catalog.calls import Retries
from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster.catalog.errors import CatalogError, CatalogUnavailable
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, ProcessingRequest, Video
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.orchestration import sensors
from captionacc_dagster.orchestration.dagster_internals import RunsTable, SqlRunStorage
from captionacc_dagster.orchestration.inbox import CLAIM_SECONDS, take_from_inbox
from captionacc_dagster.orchestration.priority import priority_run_tags
from captionacc_dagster.orchestration.reconciliation import clean_up, settle_video
from captionacc_dagster.orchestration.run_coordinator import PriorityAwareRunCoordinator
from captionacc_dagster.orchestration.run_updates import OVERLAP, RunUpdates
from captionacc_dagster.orchestration.tenants import TenantDirectory
from captionacc_dagster.orchestration.workers import register_worker, this_worker, worker_is_gone
from captionacc_dagster.settings import get_settings
from captionacc_dagster.storage.base import Published
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster.tags import (
    AUTO_RETRY_RUN_TAG,
    DAGSTER_PRIORITY_TAG,
    PARENT_RUN_TAG,
    REQUEST_TAG,
    RETRY_NUMBER_TAG,
    TENANT_TAG,
    TIER_SOURCE_TAG,
    VIDEO_TAG,
    WILL_RETRY_TAG,
    WORKER_TAG,
)
from captionacc_dagster_tests.orchestration.instances import postgres_instance
from captionacc_dagster_tests.orchestration.queue_harness import remote_origin
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = pytest.mark.integration

ONCE = Retries(attempts=1)


class Floor:
    """An instance, a catalog and a store, and one evaluation of a sensor on them."""

    def __init__(self, instance: DagsterInstance, catalog: PostgresCatalog, url: str, home: Path) -> None:
        self.instance = instance
        self.catalog = catalog
        self.url = url
        self.store = LocalObjectStore(home / "objects")
        self.cursors: dict[str, str | None] = {}

    def tick(self, definition: SensorDefinition, *, make_runs: bool = True) -> SensorResult:
        """Evaluate once; like the daemon, keep the cursor and make the runs unless told not to."""
        with build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(definition.name),
            resources={"catalog": self.catalog, "store": self.store},
        ) as context:
            result: Any = definition(context)
        assert isinstance(result, SensorResult)
        for added in result.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(added.partitions_def_name, list(added.partition_keys))
        for request in (result.run_requests or []) if make_runs else []:
            self.run(request.job_name or "", request.tags, DagsterRunStatus.QUEUED)
        self.cursors[definition.name] = result.cursor
        return result

    def run(self, job: str, tags: Mapping[str, str], status: DagsterRunStatus) -> DagsterRun:
        return create_run_for_test(
            self.instance,
            job,
            tags=dict(tags),
            status=status,
            remote_job_origin=remote_origin(job),
            asset_graph=AssetGraph.from_assets([]),
        )

    def video(self, name: str = "a.mp4") -> Video:
        return self.catalog.create_video(LOCAL_TENANT_ID, name).video

    def request_of(self, video: Video) -> ProcessingRequest:
        return self.catalog.list_processing_requests(video_id=video.id).items[-1]

    def run_of(self, video: Video) -> DagsterRun:
        runs = self.instance.get_runs()
        return next(run for run in runs if run.tags.get("dagster/partition") == str(video.id))

    def end(self, run: DagsterRun, status: DagsterRunStatus) -> None:
        kind = {
            DagsterRunStatus.SUCCESS: DagsterEventType.RUN_SUCCESS,
            DagsterRunStatus.FAILURE: DagsterEventType.RUN_FAILURE,
            DagsterRunStatus.CANCELED: DagsterEventType.RUN_CANCELED,
        }[status]
        self.instance.report_dagster_event(
            DagsterEvent(kind.value, run.job_name, message="the worker went up in smoke"), run_id=run.run_id
        )

    def sql(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())


@pytest.fixture
def floor(
    postgres_server: EmbeddedPostgres, postgres_catalog: PostgresCatalog, catalog_url: str, tmp_path: Path
) -> Iterator[Floor]:
    with postgres_instance(postgres_server) as instance:
        yield Floor(instance, postgres_catalog, catalog_url, tmp_path)


def test_pending_requests_become_runs_once(floor: Floor) -> None:
    videos = [floor.video(f"{number}.mp4") for number in range(3)]
    first = floor.tick(sensors.new_videos)
    assert len(first.run_requests or []) == 3
    assert set(floor.instance.get_dynamic_partitions("videos")) == {str(video.id) for video in videos}
    run = floor.run_of(videos[0])
    assert run.tags[DAGSTER_PRIORITY_TAG] == "90"
    assert run.tags[REQUEST_TAG] == str(floor.request_of(videos[0]).id)
    assert floor.request_of(videos[0]).state == "pending"

    second = floor.tick(sensors.new_videos)
    assert (second.run_requests or []) == []
    assert second.skip_reason
    assert "3 earlier requests now have their runs" in (second.skip_reason.skip_message or "")
    for video in videos:
        request = floor.request_of(video)
        assert (request.state, request.run_id, request.priority) == ("launched", floor.run_of(video).run_id, 90)
    third = floor.tick(sensors.new_videos)
    assert third.skip_reason
    assert third.skip_reason.skip_message == "no pending video_initial_processing requests"


def test_a_request_whose_run_was_not_made_comes_again_under_the_same_run_key(floor: Floor) -> None:
    video = floor.video()
    first = floor.tick(sensors.new_videos, make_runs=False)
    second = floor.tick(sensors.new_videos)
    keys = [[request.run_key for request in tick.run_requests or []] for tick in (first, second)]
    assert keys[0] == keys[1] == [f"{floor.request_of(video).id}:0"]


def test_a_run_made_by_a_launcher_that_died_is_noted_not_doubled(floor: Floor) -> None:
    video = floor.video()
    request = floor.request_of(video)
    assert floor.catalog.claim_processing_request(request.id, "api:1")
    assert (floor.tick(sensors.new_videos).run_requests or []) == [], "claimed by somebody else"
    tags = {"dagster/partition": str(video.id), REQUEST_TAG: str(request.id), DAGSTER_PRIORITY_TAG: "90"}
    floor.run("video_initial_processing", tags, DagsterRunStatus.FAILURE)
    newest = floor.run("video_initial_processing", tags, DagsterRunStatus.QUEUED)
    floor.sql("update captionacc.processing_requests set claim_expires_at = now() - interval '1 second'")
    assert (floor.tick(sensors.new_videos).run_requests or []) == []
    assert floor.request_of(video).run_id == newest.run_id


def test_at_most_a_hundred_a_tick_and_only_its_own_flow(floor: Floor) -> None:
    for number in range(103):
        floor.video(f"{number}.mp4")
    assert (floor.tick(sensors.approved_layouts).run_requests or []) == []
    assert len(floor.tick(sensors.new_videos, make_runs=False).run_requests or []) == 100


def test_a_catalog_that_is_away_leaves_the_cursor(floor: Floor) -> None:
    floor.video()
    floor.tick(sensors.new_videos)
    before = dict(floor.cursors)
    nowhere = "postgresql://postgres@/none?host=/nowhere"
    floor.catalog = PostgresCatalog(nowhere, retries=ONCE, connect_timeout_s=0.5)
    for definition in (sensors.new_videos, sensors.reconcile):
        with pytest.raises(Exception, match="no connection to the catalog") as failure:
            floor.tick(definition)
        assert _causes(failure.value, CatalogUnavailable)
    assert floor.cursors == before


def _causes(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__
    return False


@pytest.mark.parametrize(
    ("status", "state", "video_status"),
    [
        (DagsterRunStatus.SUCCESS, "succeeded", "processing"),
        (DagsterRunStatus.FAILURE, "failed", "error"),
        (DagsterRunStatus.CANCELED, "cancelled", "error"),
    ],
)
def test_outcomes_reach_the_catalog_once(floor: Floor, status: DagsterRunStatus, state: str, video_status: str) -> None:
    video = floor.video()
    floor.tick(sensors.new_videos)
    run = floor.run_of(video)
    floor.catalog.update_video_status(video.id, "processing")
    floor.end(run, status)
    # Not even noted as launched yet: the run ended before the next tick.
    floor.tick(sensors.run_outcomes)
    request = floor.request_of(video)
    assert (request.state, request.run_id) == (state, run.run_id)
    row = floor.catalog.get_video_metadata(video.id)
    assert row.status == video_status
    if status is not DagsterRunStatus.SUCCESS:
        assert row.layout_status == "error"
        assert row.error_details
        assert row.error_details["run_id"] == run.run_id
        message = {"failed": "the worker went up in smoke", "cancelled": "the run was cancelled"}[state]
        assert row.error_details["message"] == message
    again = floor.tick(sensors.run_outcomes)
    assert again.skip_reason
    assert again.skip_reason.skip_message == "no run has ended"


def test_a_run_that_dagster_ended_itself_says_so_in_words_for_a_person(floor: Floor) -> None:
    video = floor.video()
    floor.tick(sensors.new_videos)
    # As Dagster does when the run's process is killed, or ends while it starts.
    floor.instance.report_run_failed(floor.run_of(video))
    floor.tick(sensors.run_outcomes)
    details = floor.catalog.get_video_metadata(video.id).error_details
    assert details
    assert details["message"] == "the process that worked on it was killed, or the machine ran out of memory"


def test_a_run_that_ended_shortly_before_the_last_tick_is_recorded_too(floor: Floor) -> None:
    first, second = floor.video("a.mp4"), floor.video("b.mp4")
    floor.tick(sensors.new_videos)
    floor.end(floor.run_of(first), DagsterRunStatus.SUCCESS)
    floor.tick(sensors.run_outcomes)
    # Written before the other, and visible only now: its transaction was slower.
    late = floor.run_of(second)
    floor.end(late, DagsterRunStatus.SUCCESS)
    storage = floor.instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    before = json.loads(floor.cursors["run_outcomes"] or "")["after"]
    stamp = datetime.fromisoformat(before) - OVERLAP + timedelta(seconds=10)
    with storage.connect() as connection:
        moved = RunsTable.update().where(RunsTable.c.run_id == late.run_id)
        connection.execute(moved.values(update_timestamp=stamp.replace(tzinfo=None)))
    floor.tick(sensors.run_outcomes)
    assert floor.request_of(second).state == "succeeded"


class RefusingCatalog(PostgresCatalog):
    """A catalog that refuses what one function is asked about one row."""

    refused: UUID
    refuses = "record_outcome"

    def _send(self, function: str, parameters: Mapping[str, Any]) -> Any:
        if function == self.refuses and str(self.refused) in str(parameters):
            raise CatalogError(f"{function} is refused")
        return super()._send(function, parameters)


def test_an_outcome_that_is_refused_blocks_no_other(floor: Floor) -> None:
    first, second = floor.video("a.mp4"), floor.video("b.mp4")
    floor.tick(sensors.new_videos)
    for video in (first, second):
        floor.end(floor.run_of(video), DagsterRunStatus.SUCCESS)
    with RefusingCatalog(floor.url) as refusing:
        refusing.refused = floor.request_of(first).id
        trusting, floor.catalog = floor.catalog, refusing
        tick = floor.tick(sensors.run_outcomes)
        floor.catalog = trusting
    assert tick.skip_reason
    assert tick.skip_reason.skip_message == "1 refused, 1 succeeded"
    assert floor.request_of(first).state == "launched"
    assert floor.request_of(second).state == "succeeded"


def layout_found(floor: Floor) -> Video:
    """A video whose initial processing has ended well, which is not recorded yet."""
    video = floor.video()
    for _ in range(2):
        floor.tick(sensors.new_videos)
    floor.catalog.update_video_status(video.id, "active", layout_status="annotate")
    floor.end(floor.run_of(video), DagsterRunStatus.SUCCESS)
    return video


def is_approved(floor: Floor, video: Video) -> bool:
    requests = floor.catalog.list_processing_requests(video_id=video.id).items
    states = [(request.flow, request.state) for request in requests]
    approval = floor.catalog.get_video_metadata(video.id).layout_approval
    return approval == "automatic" and states == [
        ("video_initial_processing", "succeeded"),
        ("crop_and_infer", "pending"),
    ]


@pytest.mark.parametrize("refuses", ["record_outcome", "get_videos", "get_tenant", "approve_layout"])
def test_a_refused_outcome_keeps_its_automatic_approval(
    floor: Floor, approval_is_automatic: None, refuses: str
) -> None:
    video = layout_found(floor)
    with RefusingCatalog(floor.url) as refusing:
        refusing.refuses = refuses
        refusing.refused = {"record_outcome": floor.request_of(video).id, "get_tenant": LOCAL_TENANT_ID}.get(
            refuses, video.id
        )
        trusting, floor.catalog = floor.catalog, refusing
        floor.tick(sensors.run_outcomes)
        floor.catalog = trusting
    assert not is_approved(floor, video)
    floor.tick(sensors.run_outcomes)
    floor.tick(sensors.reconcile)
    assert is_approved(floor, video)


def test_a_lost_outcome_is_settled_with_its_automatic_approval(floor: Floor) -> None:
    video = layout_found(floor)
    settle_video(floor.instance, floor.catalog, video.id, "always")
    assert is_approved(floor, video)


def test_an_outcome_waits_for_a_row_that_is_locked(floor: Floor, approval_is_automatic: None) -> None:
    video = layout_found(floor)
    patient, impatient = floor.catalog, PostgresCatalog(f"{floor.url}&options=-c%20lock_timeout%3D50", retries=ONCE)
    before = floor.cursors.get(sensors.run_outcomes.name)
    with impatient, psycopg.connect(floor.url) as other:
        other.execute("select 1 from captionacc.processing_requests for update")
        floor.catalog = impatient
        with pytest.raises(Exception, match="lock timeout") as failure:
            floor.tick(sensors.run_outcomes)
        assert _causes(failure.value, CatalogUnavailable)
    floor.catalog = patient
    assert floor.cursors.get(sensors.run_outcomes.name) == before
    floor.tick(sensors.run_outcomes)
    assert is_approved(floor, video)


def test_a_crashed_run_hands_its_request_to_its_retry(floor: Floor) -> None:
    video = floor.video()
    floor.tick(sensors.new_videos)
    run = floor.run_of(video)
    floor.instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "true"})
    floor.end(run, DagsterRunStatus.FAILURE)
    floor.tick(sensors.run_outcomes)
    assert floor.request_of(video).state == "launched"
    retry = floor.run("video_initial_processing", {**run.tags, PARENT_RUN_TAG: run.run_id}, DagsterRunStatus.QUEUED)
    floor.instance.add_run_tags(run.run_id, {AUTO_RETRY_RUN_TAG: retry.run_id})
    floor.tick(sensors.run_outcomes)
    assert (floor.request_of(video).state, floor.request_of(video).run_id) == ("launched", retry.run_id)
    floor.end(retry, DagsterRunStatus.SUCCESS)
    floor.tick(sensors.run_outcomes)
    assert floor.request_of(video).state == "succeeded"


def test_a_failure_waits_until_dagster_has_decided_about_a_retry(
    postgres_server: EmbeddedPostgres, postgres_catalog: PostgresCatalog, catalog_url: str, tmp_path: Path
) -> None:
    retries = {"run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}}
    with postgres_instance(postgres_server, retries) as instance:
        floor = Floor(instance, postgres_catalog, catalog_url, tmp_path)
        video = floor.video()
        floor.tick(sensors.new_videos)
        run = floor.run_of(video)
        # What a process has written that is killed while it reports a failure.
        failure = DagsterEvent(DagsterEventType.RUN_FAILURE.value, run.job_name, message="the process is gone")
        instance.run_storage.handle_run_event(run.run_id, failure, datetime.now(UTC))
        assert WILL_RETRY_TAG not in floor.run_of(video).tags
        floor.tick(sensors.run_outcomes)
        assert floor.request_of(video).state == "launched"
        assert floor.catalog.get_video_metadata(video.id).error_details is None

        instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "false"})
        floor.tick(sensors.run_outcomes)
        assert floor.request_of(video).state == "failed"


def test_a_retry_that_dagster_lost_sight_of_has_its_request(floor: Floor) -> None:
    video = floor.video()
    floor.tick(sensors.new_videos)
    run = floor.run_of(video)
    family = {PARENT_RUN_TAG: run.run_id, RETRY_NUMBER_TAG: "1"}
    retry = floor.run("video_initial_processing", {**run.tags, **family}, DagsterRunStatus.QUEUED)
    # An error after it has made the retry has Dagster say that there is none.
    floor.instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "false"})
    floor.end(run, DagsterRunStatus.FAILURE)
    floor.tick(sensors.run_outcomes)
    assert (floor.request_of(video).state, floor.request_of(video).run_id) == ("launched", retry.run_id)
    assert floor.catalog.get_video_metadata(video.id).error_details is None


def test_an_older_runs_failure_does_not_touch_what_a_newer_run_owns(floor: Floor) -> None:
    video = floor.video()
    floor.tick(sensors.new_videos)
    floor.tick(sensors.new_videos)
    owner = floor.run_of(video)
    stray = floor.run("video_initial_processing", owner.tags, DagsterRunStatus.QUEUED)
    floor.end(stray, DagsterRunStatus.FAILURE)
    floor.tick(sensors.run_outcomes)
    assert (floor.request_of(video).state, floor.request_of(video).run_id) == ("launched", owner.run_id)
    assert floor.catalog.get_video_metadata(video.id).status == "waiting"


def test_reconcile_requeues_a_request_whose_run_is_gone(floor: Floor) -> None:
    video = floor.video()
    floor.tick(sensors.new_videos)
    floor.tick(sensors.new_videos)
    floor.instance.delete_run(floor.run_of(video).run_id)
    floor.sql("update captionacc.processing_requests set launched_at = launched_at - interval '1 hour'")
    floor.tick(sensors.reconcile)
    assert floor.request_of(video).state == "pending"
    again = floor.tick(sensors.new_videos)
    assert [request.run_key for request in again.run_requests or []] == [f"{floor.request_of(video).id}:1"]


def test_reconcile_writes_an_outcome_that_was_missed(floor: Floor) -> None:
    video = floor.video()
    floor.tick(sensors.new_videos)
    floor.tick(sensors.new_videos)
    floor.end(floor.run_of(video), DagsterRunStatus.FAILURE)
    floor.sql("update captionacc.processing_requests set launched_at = launched_at - interval '1 hour'")
    floor.tick(sensors.reconcile)
    assert floor.request_of(video).state == "failed"
    assert floor.catalog.get_video_metadata(video.id).status == "error"


def test_one_video_is_settled_at_once(floor: Floor) -> None:
    video = floor.video()
    for _ in range(2):
        floor.tick(sensors.new_videos)
    queued = floor.run_of(video)
    assert floor.request_of(video).state == "launched"
    settle_video(floor.instance, floor.catalog, video.id, "never")
    assert floor.request_of(video).state == "pending", "no daemon would ever start the run"
    ended = floor.instance.get_run_by_id(queued.run_id)
    assert ended
    assert ended.status is DagsterRunStatus.CANCELED

    host, _, _ = this_worker().partition(":")
    dead, alive = f"command:{host}:4194300:1.00", f"command:{this_worker()}"
    for claimer, released in ((dead, True), (alive, False)):
        assert floor.catalog.claim_processing_request(floor.request_of(video).id, claimer)
        settle_video(floor.instance, floor.catalog, video.id, "never")
        assert (floor.request_of(video).claimed_by is None) is released


@pytest.mark.parametrize("ends", [DagsterRunStatus.CANCELED, DagsterRunStatus.FAILURE])
def test_a_request_that_lost_its_run_gets_another_one(floor: Floor, ends: DagsterRunStatus) -> None:
    """The run it lost has its tag, too, and must not count as the one that it gets."""
    video = floor.video()
    for _ in range(2):
        floor.tick(sensors.new_videos)
    lost = floor.run_of(video)
    if ends is DagsterRunStatus.FAILURE:
        floor.instance.add_run_tags(lost.run_id, {WILL_RETRY_TAG: "true"})
        floor.end(lost, ends)
    settle_video(floor.instance, floor.catalog, video.id, "never")
    assert floor.request_of(video).state == "pending"

    # In whichever order the daemon ticks.
    floor.tick(sensors.run_outcomes)
    assert floor.request_of(video).state == "pending"
    [plan] = floor.tick(sensors.new_videos).run_requests or []
    assert plan.run_key == f"{floor.request_of(video).id}:1"
    floor.tick(sensors.new_videos)
    floor.tick(sensors.run_outcomes)
    request, row = floor.request_of(video), floor.catalog.get_video_metadata(video.id)
    assert (request.state, row.status, row.error_details) == ("launched", "waiting", None)
    assert request.run_id not in (None, lost.run_id)

    # The second run ends before it is known that it was made.
    settle_video(floor.instance, floor.catalog, video.id, "never")
    floor.tick(sensors.new_videos)
    floor.end(floor.run_of(video), DagsterRunStatus.CANCELED)
    floor.tick(sensors.new_videos)
    floor.tick(sensors.run_outcomes)
    assert floor.request_of(video).state == "cancelled"


def test_dagsters_retry_of_a_lost_run_takes_the_request_that_waits(floor: Floor) -> None:
    video = floor.video()
    for _ in range(2):
        floor.tick(sensors.new_videos)
    lost = floor.run_of(video)
    floor.instance.add_run_tags(lost.run_id, {WILL_RETRY_TAG: "true"})
    floor.end(lost, DagsterRunStatus.FAILURE)
    settle_video(floor.instance, floor.catalog, video.id, "never")
    family = {PARENT_RUN_TAG: lost.run_id, RETRY_NUMBER_TAG: "1"}
    retry = floor.run("video_initial_processing", {**lost.tags, **family}, DagsterRunStatus.QUEUED)
    assert not floor.tick(sensors.new_videos).run_requests
    assert floor.request_of(video).run_id == retry.run_id


def test_reconcile_ends_a_run_whose_process_is_gone_and_frees_its_locks(floor: Floor) -> None:
    video = floor.video()
    tags = {"dagster/partition": str(video.id)}
    alive = floor.run("crop_and_infer", tags, DagsterRunStatus.STARTED)
    register_worker(floor.instance, alive, floor.catalog)
    host, _, _ = this_worker().partition(":")
    dead = floor.run("crop_and_infer", {**tags, WORKER_TAG: f"{host}:4194300:1.00"}, DagsterRunStatus.STARTED)
    elsewhere = floor.run("crop_and_infer", {**tags, WORKER_TAG: "another-host:1:1.00"}, DagsterRunStatus.STARTED)
    assert floor.catalog.acquire_server_lock(video.id, "captions", dead.run_id)
    assert floor.catalog.acquire_server_lock(video.id, "layout", alive.run_id)
    floor.tick(sensors.reconcile)
    statuses = [floor.instance.get_run_by_id(run.run_id) for run in (alive, dead, elsewhere)]
    assert [run.status for run in statuses if run] == [
        DagsterRunStatus.STARTED,
        DagsterRunStatus.FAILURE,
        DagsterRunStatus.STARTED,
    ]
    assert [lock.database_name for lock in floor.catalog.list_locks()] == ["layout"]


def test_reconcile_ends_a_run_whose_process_was_killed_before_its_first_step(floor: Floor) -> None:
    """Such a run names no process, or only that of the run which it retries, and would count as running for hours."""
    host, _, _ = this_worker().partition(":")
    named = {WORKER_TAG: f"{host}:4194300:1.00"}
    parent = floor.run("crop_and_infer", named, DagsterRunStatus.FAILURE)
    retry = named | {PARENT_RUN_TAG: parent.run_id}
    runs = [floor.run("crop_and_infer", tags, DagsterRunStatus.QUEUED) for tags in ({}, {}, retry, retry)]
    runs.append(floor.run("somebody_elses_job", {}, DagsterRunStatus.QUEUED))
    now, patience = datetime.now(UTC), timedelta(seconds=floor.instance.run_monitoring_start_timeout_seconds)
    for run, since in zip(runs, (0 * patience, 2 * patience, 0 * patience, 2 * patience, 2 * patience), strict=True):
        started = DagsterEvent(DagsterEventType.RUN_START.value, run.job_name)
        floor.instance.run_storage.handle_run_event(run.run_id, started, now - since)
    floor.tick(sensors.reconcile)
    found = [floor.instance.get_run_by_id(run.run_id) for run in runs]
    assert [run.status.value for run in found if run] == ["STARTED", "FAILURE", "STARTED", "FAILURE", "STARTED"]


def test_reconcile_fails_and_cleans_interrupted_versions(floor: Floor) -> None:
    video = floor.video()
    keys = VideoKeys(str(video.tenant_id), str(video.id))
    dead = floor.run("crop_and_infer", {}, DagsterRunStatus.STARTED)
    version = floor.catalog.next_cropped_frames_version(video.id, dead.run_id)
    chunk, extents = keys.chunk(version, 16, 0), keys.extents_db(version)
    for key in (chunk, extents):
        floor.store.upload_file(key, b"half")
    floor.end(dead, DagsterRunStatus.FAILURE)
    age = "update captionacc.cropped_frames_versions set created_at = created_at - interval '3 days'"
    floor.sql(age)
    floor.tick(sensors.reconcile)
    assert [row.state for row in floor.catalog.list_cropped_frames_versions(video.id)] == ["failed"]
    floor.sql(age.replace("created_at", "ended_at"))
    floor.tick(sensors.reconcile)
    assert floor.store.list_files(keys.client_prefix) == []
    assert not floor.store.file_exists(extents)
    (row,) = floor.catalog.list_cropped_frames_versions(video.id)
    assert row.cleaned_at


def test_one_video_that_cannot_be_removed_keeps_no_other(floor: Floor, tmp_path: Path) -> None:
    stuck, other = floor.video(), floor.video()
    for video in (stuck, other):
        floor.store.upload_file(VideoKeys(str(video.tenant_id), str(video.id)).video, b"a video")
        floor.catalog.delete_video(video.id)
    # Its folder leads elsewhere: nothing there is touched.
    folder = floor.store.root / str(stuck.tenant_id) / "client" / "videos" / str(stuck.id)
    shutil.move(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    floor.sql("update captionacc.videos set deleted_at = deleted_at - interval '8 days', created_at = '2020-01-01'")
    lines = clean_up(floor.instance, floor.catalog, floor.store, datetime.now(UTC))
    assert any(str(stuck.id) in line and "could not be removed yet" in line for line in lines)
    assert f"removed deleted video {other.id} and its 1 objects" in lines
    assert (tmp_path / "elsewhere" / "video.mp4").exists()


def test_reconcile_marks_a_video_that_nothing_works_on(floor: Floor) -> None:
    video = floor.video()
    floor.catalog.finish_processing_request(floor.request_of(video).id, "cancelled")
    floor.catalog.update_video_status(video.id, "processing")
    floor.tick(sensors.reconcile)
    assert floor.catalog.get_video_metadata(video.id).status == "processing", "not before it has settled"
    floor.sql("alter table captionacc.videos disable trigger user")
    floor.sql("update captionacc.videos set updated_at = updated_at - interval '1 hour'")
    floor.tick(sensors.reconcile)
    row = floor.catalog.get_video_metadata(video.id)
    assert row.status == "error"
    assert "interrupted" in str(row.error_details)


def test_reconcile_finds_the_tenant_of_a_run_that_was_queued_without_it(floor: Floor) -> None:
    video = floor.video()
    tags = priority_run_tags("free", datetime.now(UTC)) | {TIER_SOURCE_TAG: "catalog-unavailable"}
    run = floor.run("crop_and_infer", {**tags, VIDEO_TAG: str(video.id)}, DagsterRunStatus.QUEUED)
    floor.tick(sensors.reconcile)
    completed = floor.instance.get_run_by_id(run.run_id)
    assert completed
    assert (completed.tags[TENANT_TAG], completed.tags[TIER_SOURCE_TAG]) == (str(LOCAL_TENANT_ID), "catalog")
    assert completed.tags[DAGSTER_PRIORITY_TAG] == "90"


def test_a_mistyped_tenant_concerns_its_own_run_only(floor: Floor) -> None:
    video = floor.video()
    directory = TenantDirectory(lambda: floor.catalog)
    assert directory.look_up("not a tenant", None) == ("not a tenant", "free", "catalog")
    assert directory.look_up(None, str(video.id)) == (str(LOCAL_TENANT_ID), "enterprise", "catalog")

    # As tagged while that mistake had the catalog count as unavailable.
    tags = priority_run_tags("free", datetime.now(UTC)) | {TIER_SOURCE_TAG: "catalog-unavailable"}
    runs = [
        floor.run("crop_and_infer", {**tags, **named, VIDEO_TAG: str(video.id)}, DagsterRunStatus.QUEUED)
        for named in ({}, {TENANT_TAG: "not a tenant"}, {})
    ]
    floor.tick(sensors.reconcile)
    completed = [floor.instance.get_run_by_id(run.run_id) for run in runs]
    assert [run.tags[TIER_SOURCE_TAG] for run in completed if run] == ["catalog"] * 3
    assert [run.tags[DAGSTER_PRIORITY_TAG] for run in completed if run] == ["90", "50", "90"]


@pytest.fixture
def inbox_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "inbox"
    monkeypatch.setenv("CAPTIONACC_INBOX", str(folder))
    get_settings.cache_clear()
    yield folder
    get_settings.cache_clear()


def test_a_file_in_the_inbox_becomes_a_video(floor: Floor, inbox_folder: Path) -> None:
    assert "there is no folder" in _said(floor)
    inbox_folder.mkdir()
    assert _said(floor) == "the inbox is empty"
    clip = make_clip(inbox_folder / "Clip one.mp4", frames=12)
    (inbox_folder / "notes.mp4").write_text("not a video")
    (inbox_folder / "coming.mp4.part").write_bytes(b"...")
    assert _said(floor) == "took 0 files, 2 waiting"
    with clip.open("ab") as stream:
        stream.write(b"\0")
    assert _said(floor) == "took 1 files, 1 waiting", "the growing one waits"
    assert _said(floor) == "took 1 files, 0 waiting"
    (video,) = floor.catalog.list_videos().items
    assert (video.filename, video.source) == ("Clip one.mp4", "inbox")
    assert floor.store.file_exists(VideoKeys(str(video.tenant_id), str(video.id)).video)
    assert sorted(path.name for path in inbox_folder.rglob("*") if path.is_file()) == [
        "Clip one.mp4",
        "coming.mp4.part",
        "notes.mp4",
        "notes.mp4.reason.txt",
    ]
    assert len(floor.tick(sensors.new_videos).run_requests or []) == 1

    shutil.copy(inbox_folder / "done" / "Clip one.mp4", inbox_folder / "the same again.mp4")
    _said(floor)
    _said(floor)
    assert len(floor.catalog.list_videos().items) == 1
    assert (inbox_folder / "done" / "the same again.mp4").is_file()


def test_a_file_of_the_inbox_stays_claimed_while_it_is_uploaded(floor: Floor, tmp_path: Path) -> None:
    folder, seconds = tmp_path / "inbox", iter(range(0, 10**9, 200))
    folder.mkdir()
    clip = make_clip(folder / "clip.mp4", frames=12)
    claims: list[datetime] = []

    class SlowStore(LocalObjectStore):
        def publish(self, key: str, source: bytes | Path, *arguments: Any, **named: Any) -> Published:
            (video,) = floor.catalog.list_videos().items
            # As if nearly all of the claim's time had passed.
            floor.sql("update captionacc.processing_requests set claim_expires_at = clock_timestamp() + interval '1 s'")
            published = super().publish(key, source, *arguments, **named)
            expires_at = floor.request_of(video).claim_expires_at
            assert expires_at
            claims.append(expires_at)
            return published

    stamp = f"{clip.stat().st_size}:{clip.stat().st_mtime_ns}"
    store = SlowStore(tmp_path / "objects")
    take_from_inbox(
        folder, LOCAL_TENANT_ID, floor.catalog, store, seen={clip.name: stamp}, seconds=1, clock=lambda: next(seconds)
    )
    assert len(claims) == 1
    assert claims[0] > datetime.now(UTC) + timedelta(seconds=CLAIM_SECONDS / 2)
    (request,) = floor.catalog.list_processing_requests().items
    assert (request.state, request.claimed_by) == ("pending", None), "due once the object is there"


def _said(floor: Floor) -> str:
    skip = floor.tick(sensors.inbox).skip_reason
    assert skip
    return skip.skip_message or ""


def test_the_clock_set_back_holds_up_no_repair_and_hides_no_outcome(floor: Floor) -> None:
    lost, ended, forgotten = floor.video(), floor.video(), floor.video()
    floor.catalog.finish_processing_request(floor.request_of(forgotten).id, "cancelled")
    floor.catalog.update_video_status(forgotten.id, "processing")
    for _ in range(2):
        floor.tick(sensors.new_videos)
    floor.instance.delete_run(floor.run_of(lost).run_id)
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    floor.cursors[sensors.run_outcomes.name] = RunUpdates(ahead).cursor
    floor.sql(
        "set session_replication_role = replica; "
        "update captionacc.processing_requests set launched_at = launched_at + interval '1 hour'; "
        "update captionacc.videos set updated_at = updated_at + interval '1 hour'"
    )
    floor.end(floor.run_of(ended), DagsterRunStatus.FAILURE)
    floor.tick(sensors.run_outcomes)
    assert floor.request_of(ended).state == "failed"
    floor.tick(sensors.reconcile)
    assert floor.request_of(lost).state == "pending"
    assert floor.catalog.get_video_metadata(forgotten.id).status == "error"


@pytest.mark.parametrize("hours", [-24, -1, 1, 24])
def test_a_jump_of_the_clock_makes_no_process_look_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    me, dead = this_worker(), this_worker().replace(f":{os.getpid()}:", ":4194300:")
    # Linux tells the time of the boot by the clock as it is now.
    stat = Path("/proc/stat").read_text()
    booted = re.search(r"(?m)^btime (\d+)$", stat)
    assert booted
    moved = stat.replace(booted[0], f"btime {int(booted[1]) + 3600 * hours}")
    (tmp_path / "stat").write_text(moved)
    (tmp_path / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
    created = psutil.Process().create_time()
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    assert psutil.Process().create_time() == pytest.approx(created + 3600 * hours)
    assert not worker_is_gone(me)
    assert worker_is_gone(dead)
    assert worker_is_gone(f"{me}1")


def test_sensors_tick_although_their_last_tick_was_before_the_clock_was_set_back(
    postgres_server: EmbeddedPostgres,
) -> None:
    coordinator = {"module": PriorityAwareRunCoordinator.__module__, "class": PriorityAwareRunCoordinator.__name__}
    with postgres_instance(postgres_server, {"run_coordinator": coordinator}) as instance:
        now = time.time()
        states = []
        for name, last in (("waits", now + 3600), ("ticks", now - 60)):
            origin = RemoteInstigatorOrigin(remote_origin("a").repository_origin, name)
            data = SensorInstigatorData(last, "key", 30, "its cursor", last_tick_start_timestamp=last)
            states.append(InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, data))
            instance.add_instigator_state(states[-1])
        assert instance.run_coordinator
        waits, ticks = (
            instance.get_instigator_state(state.instigator_origin_id, state.selector_id) for state in states
        )
        assert waits
        assert get_elapsed(waits) is None, "it has never ticked, so it ticks now"
        assert isinstance(waits.instigator_data, SensorInstigatorData)
        assert (waits.status, waits.instigator_data.cursor) == (InstigatorStatus.RUNNING, "its cursor")
        assert ticks == states[1]
