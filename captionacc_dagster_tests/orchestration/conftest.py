"""Queues of this folder's tests."""

import pytest

from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster_tests.orchestration.queue_harness import OpenQueue, queue_opener


@pytest.fixture
def open_queue(postgres_server: EmbeddedPostgres) -> OpenQueue:
    """Open a queue: ``with open_queue(run_limits) as queue``."""
    return queue_opener(postgres_server)
