"""Dagster's storage as the webserver uses it: connections are kept, and what does not change is asked for once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from dagster import DagsterRun, DagsterRunStatus, RunsFilter
from sqlalchemy import event

from captionacc_dagster.orchestration.instance import WebserverPostgresStorage
from captionacc_dagster_tests.conftest import MakeDatabase

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
