"""The queue daemon as a process of its own, killed and started again: what waits goes on in the same order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter

from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster.orchestration.priority import priority_run_tags
from captionacc_dagster_tests.orchestration.instances import postgres_instance
from captionacc_dagster_tests.orchestration.queue_harness import KnownTenants, Queue, dagster_config

pytestmark = [pytest.mark.recovery]

PATIENCE_S = 150.0


@contextmanager
def daemon(home: Path, catalog_url: str) -> Iterator[None]:
    """Run ``dagster-daemon``; at the end it is killed, as by the machine's end."""
    environment = {**os.environ, "DAGSTER_HOME": str(home), "DATABASE_URL": catalog_url}
    command = [sys.executable, "-m", "dagster._daemon", "run", "--empty-workspace"]
    with (home / "daemon.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def started(instance: DagsterInstance) -> list[str]:
    """The runs that were started and have not ended, in the order of their start."""
    runs = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTING]))
    moments = {
        run.run_id: record.timestamp
        for run in runs
        for record in instance.all_logs(run.run_id, of_type=DagsterEventType.PIPELINE_STARTING)
    }
    return sorted(moments, key=lambda run_id: moments[run_id])


def wait_for_starts(instance: DagsterInstance, count: int, home: Path) -> list[str]:
    deadline = time.monotonic() + PATIENCE_S
    while len(runs := started(instance)) < count:
        assert time.monotonic() < deadline, (home / "daemon.log").read_text()[-3000:]
        time.sleep(0.2)
    return runs


def test_the_order_is_the_same_after_the_daemon_was_killed(
    postgres_server: EmbeddedPostgres, catalog_url: str, tmp_path: Path
) -> None:
    limits = {"max_concurrent_runs": 3, "tag_concurrency_limits": [], "dequeue_interval_seconds": 1}
    config = dagster_config(limits)
    with postgres_instance(postgres_server, config) as instance:
        storage = instance.get_ref().to_dict()["run_storage_data"]
        url = yaml.safe_load(storage.config_yaml)["postgres_url"]
        (tmp_path / "dagster.yaml").write_text(
            yaml.safe_dump(config | {"storage": {"postgres": {"postgres_url": url}}})
        )
        queue = Queue(instance, KnownTenants())
        now = datetime.now(UTC)
        waits = {
            "free": ("free", 0),
            "free 30 h": ("free", 30),
            "premium": ("premium", 1),
            "free 21 h": ("free", 21),
            "enterprise": ("enterprise", 0),
            "premium 3 h": ("premium", 3),
        }
        # Tagged as at the request; what they have gained since is computed when the queue is sorted.
        entries = []
        for tier, hours in waits.values():
            asked = now - timedelta(hours=hours, minutes=1)
            entries.append(("caption_ocr", priority_run_tags(tier, asked, tenant_id="t", now=asked)))
        names = dict(zip((run.run_id for run in queue.put_all(entries)), waits, strict=True))

        with daemon(tmp_path, catalog_url):
            first = wait_for_starts(instance, 3, tmp_path)
        assert [names[run_id] for run_id in first] == ["enterprise", "premium 3 h", "premium"]
        for run_id in first:
            queue.finish(run_id)
        with daemon(tmp_path, catalog_url):
            second = wait_for_starts(instance, 3, tmp_path)
        assert [names[run_id] for run_id in second] == ["free 30 h", "free 21 h", "free"]
