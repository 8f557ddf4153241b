"""Queued runs grow older: writes their priorities anew, so that the queue's order is the formula's of this moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from captionacc_dagster.orchestration.priority import (
    BASE_PRIORITY_TAG,
    DAGSTER_PRIORITY_TAG,
    runs_to_retag,
)
from captionacc_dagster.orchestration.run_tags import corrected_tags, is_provisional, queue_tags
from captionacc_dagster.orchestration.tenants import TenantDirectory

QUEUED = RunsFilter(statuses=[DagsterRunStatus.QUEUED])


@dataclass(frozen=True)
class AgingOutcome:
    """What one pass found: runs in the queue, runs written, and runs left for the next pass."""

    queued: int
    retagged: int
    left: int


def age_queued_runs(
    instance: DagsterInstance,
    directory: TenantDirectory,
    now: datetime,
    *,
    limit: int = 1000,
    seconds: float = 10.0,
    page_size: int = 500,
    clock: Callable[[], float] = time.monotonic,
) -> AgingOutcome:
    """Write the priorities of the queued runs that have changed since they were last written, oldest first.

    Runs that were queued while the catalog was away get their tenant and tier now. One pass writes at most
    ``limit`` runs and stops after ``seconds``.
    """
    runs = list(_queued_runs(instance, page_size))
    changes: dict[str, dict[str, str]] = {}
    for run in runs:
        if is_provisional(run):
            changes[run.run_id] = corrected_tags(run, directory, now) or {}
        elif BASE_PRIORITY_TAG not in run.tags:
            changes[run.run_id] = queue_tags(run, directory, now)
    # What is known by now first; then all others by age.
    pending = [(run_id, tags) for run_id, tags in changes.items() if tags]
    aged = runs_to_retag(((run.run_id, run.tags) for run in runs if not changes.get(run.run_id)), now)
    pending += [(retag.run_id, {DAGSTER_PRIORITY_TAG: str(retag.priority)}) for retag in aged]

    deadline = clock() + seconds
    written = looked_at = 0
    for run_id, tags in pending[:limit]:
        if clock() > deadline:
            break
        looked_at += 1
        written += _retag(instance, run_id, tags)
    return AgingOutcome(len(runs), written, len(pending) - looked_at)


def _retag(instance: DagsterInstance, run_id: str, tags: dict[str, str]) -> bool:
    # A run that has left the queue meanwhile is not touched: its launcher writes tags of its own just then.
    run = instance.get_run_by_id(run_id)
    if run is None or run.status != DagsterRunStatus.QUEUED:
        return False
    instance.add_run_tags(run_id, tags)
    return True


def _queued_runs(instance: DagsterInstance, page_size: int) -> Iterator[DagsterRun]:
    cursor: str | None = None
    while True:
        page = instance.get_runs(QUEUED, cursor=cursor, limit=page_size, ascending=True)
        yield from page
        if len(page) < page_size:
            return
        cursor = page[-1].run_id
