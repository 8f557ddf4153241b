"""Recompute the priority of queued runs as they wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as db
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._serdes import deserialize_value, serialize_value

from captionacc_dagster.orchestration.priority import (
    BASE_PRIORITY_TAG,
    DAGSTER_PRIORITY_TAG,
    Retag,
    runs_to_retag,
)
from captionacc_dagster.orchestration.run_tags import corrected_tags, is_provisional, queue_tags
from captionacc_dagster.orchestration.tenants import TenantDirectory

BATCH = 200
QUEUED = RunsFilter(statuses=[DagsterRunStatus.QUEUED])


@dataclass(frozen=True)
class AgingOutcome:
    """Result of one pass: runs in the queue, runs updated, and runs left for the next pass."""

    queued: int
    retagged: int
    left: int


def age_queued_runs(
    instance: DagsterInstance,
    directory: TenantDirectory,
    now: datetime,
    *,
    limit: int = 5000,
    seconds: float = 10.0,
    page_size: int = 500,
    clock: Callable[[], float] = time.monotonic,
) -> AgingOutcome:
    """Update the priorities of the queued runs whose priority has changed, oldest first.

    Runs that were queued while the catalog was unavailable get their tenant and tier now. One pass updates at most
    ``limit`` runs and stops after ``seconds``.
    """
    runs = list(_queued_runs(instance, page_size))
    changes: dict[str, dict[str, str]] = {}
    for run in runs:
        if is_provisional(run):
            changes[run.run_id] = corrected_tags(run, directory, now) or {}
        elif BASE_PRIORITY_TAG not in run.tags:
            changes[run.run_id] = queue_tags(run, directory, now)
    deadline = clock() + seconds
    written = visited = 0
    # Runs whose tenant has become known come first, then the others by age, one connection per batch.
    known = [(run_id, tags) for run_id, tags in changes.items() if tags]
    for run_id, tags in known[:limit]:
        if clock() > deadline:
            break
        instance.add_run_tags(run_id, tags)
        written += 1
        visited += 1
    aged = runs_to_retag(((run.run_id, run.tags) for run in runs if not changes.get(run.run_id)), now)
    for batch in _batches(aged[: max(limit - len(known), 0)], BATCH):
        if clock() > deadline:
            break
        visited += len(batch)
        written += write_priorities(instance, {retag.run_id: str(retag.priority) for retag in batch})
    return AgingOutcome(len(runs), written, len(known) + len(aged) - visited)


def write_priorities(instance: DagsterInstance, priorities: Mapping[str, str]) -> int:
    """Update ``dagster/priority`` of runs that are still queued, and return how many were updated.

    A run that changes at the same moment (the daemon that launches it writes tags too) is left alone. Dagster's own
    ``add_run_tags`` could undo the other change, and opens several connections per run.
    """
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    written = 0
    with storage.connect() as connection:
        query = db.select(RunsTable.c.run_id, RunsTable.c.run_body).where(
            RunsTable.c.run_id.in_(list(priorities)), RunsTable.c.status == DagsterRunStatus.QUEUED.value
        )
        for run_id, body in connection.execute(query).fetchall():
            run = deserialize_value(body, DagsterRun)
            aged = run.with_tags({**run.tags, DAGSTER_PRIORITY_TAG: priorities[run_id]})
            changed = connection.execute(
                RunsTable.update()
                .where(
                    RunsTable.c.run_id == run_id,
                    RunsTable.c.status == DagsterRunStatus.QUEUED.value,
                    RunsTable.c.run_body == body,
                )
                .values(run_body=serialize_value(aged))
            )
            if not changed.rowcount:
                continue
            connection.execute(
                RunTagsTable.update()
                .where(RunTagsTable.c.run_id == run_id, RunTagsTable.c.key == DAGSTER_PRIORITY_TAG)
                .values(value=priorities[run_id])
            )
            written += 1
    return written


def _batches(retags: Sequence[Retag], size: int) -> Iterator[Sequence[Retag]]:
    for start in range(0, len(retags), size):
        yield retags[start : start + size]


def _queued_runs(instance: DagsterInstance, page_size: int) -> Iterator[DagsterRun]:
    cursor: str | None = None
    while True:
        page = instance.get_runs(QUEUED, cursor=cursor, limit=page_size, ascending=True)
        yield from page
        if len(page) < page_size:
            return
        cursor = page[-1].run_id
