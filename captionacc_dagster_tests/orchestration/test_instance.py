"""Dagster's storage in processes that create or execute runs: few connections, few statements, nothing lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from dagster import (
    AssetCheckKey,
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunsFilter,
    build_resources,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.test_utils import instance_for_test
from dagster._core.utils import make_new_run_id
from sqlalchemy import event

from captionacc_dagster.assets.checks import LAYOUT_CHECKS, RAW_VIDEO_CHECKS
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.compute.base import ComputeBackend
from captionacc_dagster.definitions import defs
from captionacc_dagster.orchestration.flows import FLOW_ASSETS, Flow
from captionacc_dagster.orchestration.instance import WebserverPostgresStorage
from captionacc_dagster.orchestration.run_coordinator import PriorityAwareRunCoordinator
from captionacc_dagster.orchestration.workers import keep_connections, register_worker
from captionacc_dagster.resources import ComputeResource, StoreResource
from captionacc_dagster.tags import PARTITION_TAG
from captionacc_dagster_tests.conftest import MakeDatabase

VIDEO = "00000000-0000-4000-8000-000000000001"

pytestmark = pytest.mark.integration


@pytest.fixture
def storage(make_database: MakeDatabase) -> WebserverPostgresStorage:
    url = make_database().replace("postgresql://", "postgresql+psycopg2://", 1)
    storage = WebserverPostgresStorage.from_config_value(None, {"postgres_url": url})
    storage.run_storage.optimize_for_webserver(5000, -1, 20)
    storage.event_log_storage.optimize_for_webserver(5000, -1, 20)
    return storage


def test_processes_that_start_together_on_an_empty_database_take_turns(make_database: MakeDatabase) -> None:
    url = make_database()
    lock = "hashtextextended('captionacc_dagster_storage', 0)"
    waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    tables = "select count(*) from pg_tables where schemaname = 'public'"
    with ThreadPoolExecutor(3) as processes, psycopg.connect(url, autocommit=True) as other:
        other.execute(f"select pg_advisory_lock({lock})")
        target = url.replace("postgresql://", "postgresql+psycopg2://", 1)
        opening = [processes.submit(WebserverPostgresStorage, target) for _ in range(3)]
        while other.execute(waiting).fetchone() != (3,):
            assert not any(storage.done() for storage in opening)
        assert other.execute(tables).fetchone() == (0,)
        other.execute(f"select pg_advisory_unlock({lock})")

        assert [storage.result().run_storage.get_runs_count() for storage in opening] == [0] * 3


def test_it_opens_few_connections_for_many_runs_at_once(storage: WebserverPostgresStorage) -> None:
    opened: list[object] = []
    for part in (storage.run_storage, storage.event_log_storage):
        event.listen(part._engine, "connect", lambda connection, _: opened.append(connection))  # pyright: ignore

    def work(number: int) -> None:
        run = storage.run_storage.add_run(DagsterRun(job_name="j", status=DagsterRunStatus.NOT_STARTED))
        storage.event_log_storage.add_dynamic_partitions("videos", [str(number)])
        assert storage.run_storage.get_run_records(RunsFilter(run_ids=[run.run_id]))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(40)))

    assert len(opened) <= 16
    assert len(storage.event_log_storage.get_dynamic_partitions("videos")) == 40


def test_the_shape_of_tables_is_looked_up_once(storage: WebserverPostgresStorage) -> None:
    asked: list[str] = []
    for part in (storage.run_storage, storage.event_log_storage):
        event.listen(part._engine, "before_cursor_execute", lambda *call: asked.append(call[2]))  # pyright: ignore

    for _ in range(5):
        storage.run_storage.get_run_records(RunsFilter(run_ids=["00000000-0000-4000-8000-000000000001"]))
        assert not storage.event_log_storage.has_dynamic_partition("videos", "a")

    assert len([statement for statement in asked if "pg_attribute" in statement]) == 1
    assert len([statement for statement in asked if "pg_class" in statement and "pg_attribute" not in statement]) == 1


@pytest.fixture
def instance(make_database: MakeDatabase) -> Iterator[DagsterInstance]:
    url = make_database().replace("postgresql://", "postgresql+psycopg2://", 1)
    kind = WebserverPostgresStorage
    storage = {"module": kind.__module__, "class": kind.__name__, "config": {"postgres_url": url}}
    with instance_for_test(overrides={"storage": {"custom": storage}}) as instance:
        yield instance


def test_what_a_run_plans_is_written_at_once_as_dagster_writes_it_one_by_one(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = defs.resolve_job_def(Flow.VIDEO_INITIAL_PROCESSING.value)
    boxes_agree = AssetCheckKey(AssetKey("layout_db"), "boxes_agree")
    instance.add_dynamic_partitions("videos", [VIDEO])
    keep_connections(instance)
    written: list[str] = []
    event.listen(instance.event_log_storage._engine, "before_cursor_execute", lambda *call: written.append(call[2]))  # pyright: ignore

    def planned() -> tuple[list[tuple[object, ...]], int]:
        """What a new run plans, and the number of statements that wrote it."""
        written.clear()
        run = instance.create_run_for_job(job, tags={PARTITION_TAG: VIDEO})
        statements = len([statement for statement in written if statement.startswith("INSERT INTO")])
        [check] = instance.event_log_storage.get_asset_check_execution_history(boxes_agree, limit=1)
        assert (check.run_id, check.status, check.partition) == (
            run.run_id,
            AssetCheckExecutionRecordStatus.PLANNED,
            None,
        )
        assert check.event in [record.event_log_entry for record in instance.get_records_for_run(run.run_id).records]
        assert instance.get_asset_records([AssetKey("layout_db")])[0].asset_entry.last_run_id == run.run_id
        entries = [record.event_log_entry for record in instance.get_records_for_run(run.run_id).records]
        return [(entry.dagster_event_type, entry.step_key, entry.message) for entry in entries], statements

    at_once, few = planned()
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "0")
    one_by_one, many = planned()

    assert at_once == one_by_one
    kinds = [kind for kind, _, _ in at_once]
    assert kinds.count(DagsterEventType.ASSET_MATERIALIZATION_PLANNED) == len(FLOW_ASSETS[Flow(job.name)])
    assert kinds.count(DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED) == len(RAW_VIDEO_CHECKS + LAYOUT_CHECKS)
    assert few == 2 + len(FLOW_ASSETS[Flow(job.name)])
    assert many == 2 * len(kinds)


def _work(instance: DagsterInstance, catalog: PostgresCatalog) -> None:
    register_worker(instance, instance.add_run(DagsterRun(job_name="j", run_id=make_new_run_id())), catalog)


def _queue(instance: DagsterInstance, catalog: PostgresCatalog) -> None:
    PriorityAwareRunCoordinator().register_instance(instance)


@pytest.mark.parametrize("begin", [_work, _queue])
def test_a_process_that_works_on_runs_or_queues_them_keeps_its_connections(
    instance: DagsterInstance, postgres_catalog: PostgresCatalog, begin: Callable[..., None]
) -> None:
    begin(instance, postgres_catalog)
    opened: list[object] = []
    engines = [storage._engine for storage in (instance.run_storage, instance.event_log_storage)]  # pyright: ignore
    for engine in engines:
        event.listen(engine, "connect", lambda connection, _: opened.append(connection))
    for _ in range(5):
        keep_connections(instance)  # as each step of a run does
        instance.add_dynamic_partitions("videos", [VIDEO])
        assert not instance.get_runs(RunsFilter(run_ids=[VIDEO]))
    assert len(opened) <= 2

    opened.clear()
    with psycopg.connect(engines[0].url.render_as_string(False).replace("+psycopg2", ""), autocommit=True) as other:
        other.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    assert instance.has_dynamic_partition("videos", VIDEO)
    assert not instance.get_runs(RunsFilter(run_ids=[VIDEO]))
    assert len(opened) == 2, "what Postgres closed is replaced"


@pytest.mark.parametrize("key", ["episode-1.mp4", "11111111-2222-4333-8444-555555555555"])
def test_a_partition_that_is_no_video_does_not_keep_compute_from_opening(
    postgres_catalog: PostgresCatalog, key: str
) -> None:
    run = DagsterRun(job_name="crop_and_infer", tags={PARTITION_TAG: key})
    compute = ComputeResource(catalog=postgres_catalog, store=StoreResource(), compute="local")
    with build_resources({"compute": compute}, dagster_run=run) as built:
        assert isinstance(built.compute, ComputeBackend)
