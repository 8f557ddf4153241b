"""Which process works on a run, so that a run whose process is gone is found within seconds.

Dagster's run monitoring knows this only of launchers that can be asked; runs started from the command line, or by a
code server that was killed together with its workers, would otherwise count as running until their time is up.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import psutil
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.orchestration.priority import BASE_PRIORITY_TAG
from captionacc_dagster.orchestration.run_tags import queue_tags
from captionacc_dagster.orchestration.tenants import CatalogTenants, TenantDirectory

WORKER_TAG = "captionacc/worker"
_WORKING = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def this_worker() -> str:
    """Name this process: host, process id, and the moment it was started, for ids are used again."""
    process = psutil.Process()
    return f"{socket.gethostname()}:{os.getpid()}:{process.create_time():.2f}"


def register_worker(instance: DagsterInstance, run: DagsterRun, catalog: Catalog) -> None:
    """Write into the run's tags that this process works on it.

    A run that never was in the queue (``dagster asset materialize``, ``captionacc process``) gets the tags of its
    tenant here, so that it is found and counted as every other.
    """
    # The run as it was when the process began knows nothing of what an earlier stage wrote.
    run = instance.get_run_by_id(run.run_id) or run
    worker = this_worker()
    tags = {} if run.tags.get(WORKER_TAG) == worker else {WORKER_TAG: worker}
    if BASE_PRIORITY_TAG not in run.tags:
        tags |= queue_tags(run, TenantDirectory(lambda: CatalogTenants(catalog)), datetime.now(UTC))
    if tags:
        instance.add_run_tags(run.run_id, tags)


def is_gone(run: DagsterRun) -> bool:
    """Say whether the process that worked on the run is known to be gone; another host's is never known to be."""
    host, _, rest = run.tags.get(WORKER_TAG, "").partition(":")
    number, _, started = rest.partition(":")
    if host != socket.gethostname() or not number.isdecimal():
        return False
    try:
        process = psutil.Process(int(number))
        return process.status() == psutil.STATUS_ZOMBIE or f"{process.create_time():.2f}" != started
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def runs_without_worker(instance: DagsterInstance, limit: int = 500) -> Iterator[DagsterRun]:
    """Give the runs that count as running although their process is gone."""
    for run in instance.get_runs(RunsFilter(statuses=_WORKING), limit=limit):
        if is_gone(run):
            # It may have ended in the moment between.
            current = instance.get_run_by_id(run.run_id)
            if current is not None and current.status in _WORKING:
                yield current


def end_runs_without_worker(instance: DagsterInstance, limit: int = 500) -> list[DagsterRun]:
    """End those runs: cancelled where that was asked for, failed otherwise, so that Dagster may retry them."""
    ended = []
    for run in runs_without_worker(instance, limit):
        if run.status is DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "The process that worked on the run is gone.")
        else:
            instance.report_run_failed(run, "The process that worked on the run is gone.")
        ended.append(run)
    return ended
