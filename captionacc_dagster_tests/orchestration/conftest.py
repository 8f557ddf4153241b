"""Queues on both of Dagster's storages."""

import pytest

from captionacc_dagster_tests.orchestration.queue_harness import OpenQueue, postgres_queue, sqlite_queue


@pytest.fixture(params=["sqlite", "postgres"])
def open_queue(request: pytest.FixtureRequest) -> OpenQueue:
    """Open a queue on SQLite and on Postgres: ``with open_queue(run_limits) as queue``."""
    return sqlite_queue if request.param == "sqlite" else postgres_queue(request.getfixturevalue("postgres_server"))
