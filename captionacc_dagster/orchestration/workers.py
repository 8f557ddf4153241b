"""Record which process works on a run, so that a run whose process is gone is found within seconds.

Dagster's run monitoring only covers launchers that can be queried. Without this, runs started from the command line, or
by a code server that was killed together with its workers, would count as running until they time out.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.orchestration.flows import flow_of_run
from captionacc_dagster.orchestration.run_tags import queue_tags
from captionacc_dagster.orchestration.tenants import TenantDirectory
from captionacc_dagster.tags import BASE_PRIORITY_TAG, PARENT_RUN_TAG, WORKER_TAG

# Commands claim requests as "command:" and the name of their process.
CLAIMED_BY = "command"
# Shown for a run whose process has died; the machine may also have been restarted.
PROCESS_GONE = "the process that worked on it was killed, or the machine ran out of memory"
_WORKING = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
# A connection that a run keeps is renewed after an hour; its statements take as long as they take.
_KEPT_FOR_S = 3600
_MORE_CONNECTIONS = 8
_NO_TIMEOUT_MS = 0


def this_worker() -> str:
    """Return a name for this process: host, process id, and birth, because process ids are reused."""
    return f"{socket.gethostname()}:{os.getpid()}:{_birth(psutil.Process())}"


def keep_connections(instance: DagsterInstance) -> None:
    """Keep the connections of an instance in a process that executes runs: Dagster would open hundreds for one video.

    What Dagster offers for its webserver is this: the instance's storage keeps a pool.
    """
    instance.optimize_for_webserver(_NO_TIMEOUT_MS, pool_recycle=_KEPT_FOR_S, max_overflow=_MORE_CONNECTIONS)


def register_worker(instance: DagsterInstance, run: DagsterRun, catalog: Catalog) -> None:
    """Record in the run's tags that this process works on it, and let it keep its connections.

    A run that was never queued (``dagster asset materialize``, ``captionacc process``) also gets its tenant's tags
    here, so that it is found and counted like every other.
    """
    keep_connections(instance)
    # The run object from the start of the process lacks tags that an earlier stage wrote.
    run = instance.get_run_by_id(run.run_id) or run
    worker = this_worker()
    tags = {} if run.tags.get(WORKER_TAG) == worker else {WORKER_TAG: worker}
    if BASE_PRIORITY_TAG not in run.tags:
        tags |= queue_tags(run, TenantDirectory(lambda: catalog), datetime.now(UTC))
    if tags:
        instance.add_run_tags(run.run_id, tags)


def is_gone(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Return whether the process of the run is known to be gone; for another host's process it is never known."""
    return worker_is_gone(_worker_of(instance, run))


def _worker_of(instance: DagsterInstance, run: DagsterRun) -> str:
    """Return the name of the process that works on a run, nothing before it has begun.

    Dagster copies the tags of a run to its retry, also the name of the process that was killed.
    """
    worker = run.tags.get(WORKER_TAG, "")
    parent = instance.get_run_by_id(run.tags[PARENT_RUN_TAG]) if PARENT_RUN_TAG in run.tags else None
    return "" if parent is not None and parent.tags.get(WORKER_TAG) == worker else worker


def worker_is_gone(worker: str) -> bool:
    """Return whether the process with this name (:func:`this_worker`) is known to be gone."""
    host, _, rest = worker.partition(":")
    number, _, birth = rest.partition(":")
    if host != socket.gethostname() or not number.isdecimal():
        return False
    try:
        process = psutil.Process(int(number))
        return process.status() == psutil.STATUS_ZOMBIE or _birth(process) != birth
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def _birth(process: psutil.Process) -> str:
    """Return what no other process with this id has, and what does not change when the clock is set."""
    if not psutil.LINUX:
        return f"{process.create_time():.2f}"
    # Linux counts from the boot. psutil adds the time of the boot, which moves with the clock.
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").partition("-")[0]
    return f"{boot}+{process.create_time() - psutil.boot_time():.2f}"


def end_runs_without_worker(instance: DagsterInstance, limit: int = 500) -> Iterator[DagsterRun]:
    """End runs whose process is gone, and yield them: as cancelled if that was requested, otherwise as failed."""
    for record in instance.get_run_records(RunsFilter(statuses=_WORKING), limit=limit):
        if not is_gone(instance, record.dagster_run) and not _never_worked(instance, record):
            continue
        # It may have ended, or begun to work, since it was listed.
        run = instance.get_run_by_id(record.dagster_run.run_id)
        if run is None or run.status not in _WORKING or run.tags != record.dagster_run.tags:
            continue
        if run.status is DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, PROCESS_GONE)
        else:
            instance.report_run_failed(run, PROCESS_GONE)
        yield run


def _never_worked(instance: DagsterInstance, record: RunRecord) -> bool:
    """Return whether the process of one of our runs was killed between the start of the run and of its first step,
    which names the process: nothing else would end that run for hours."""
    if record.start_time is None or flow_of_run(record.dagster_run) is None:
        return False
    is_late = time.time() - record.start_time > instance.run_monitoring_start_timeout_seconds
    return is_late and not _worker_of(instance, record.dagster_run)
