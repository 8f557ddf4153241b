"""Count Dagster's queued and active runs by flow, tier, and priority, and read its daemons' heartbeats.

Two queries, however long the queue is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as db
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.orchestration.priority import (
    DAGSTER_PRIORITY_TAG,
    FLOW_TAG,
    REQUESTED_AT_TAG,
    TIER_TAG,
    TenantTier,
)

RunState = Literal["queued", "starting", "running", "suspended", "canceling"]

_STATES: dict[str, RunState] = {
    DagsterRunStatus.QUEUED.value: "queued",
    DagsterRunStatus.NOT_STARTED.value: "starting",
    DagsterRunStatus.STARTING.value: "starting",
    DagsterRunStatus.STARTED.value: "running",
    DagsterRunStatus.SUSPENDED.value: "suspended",
    DagsterRunStatus.CANCELING.value: "canceling",
}


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Number of unfinished runs with the same state, flow, tier, and priority."""

    state: RunState
    flow: str
    tier: TenantTier
    priority: int
    count: int
    oldest_requested_at: datetime | None


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """The queue at one moment, and the last heartbeat of each of Dagster's daemons."""

    groups: tuple[RunGroup, ...]
    heartbeats: dict[str, datetime]


def queue_figures(instance: DagsterInstance) -> QueueFigures:
    """Count the unfinished runs.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: Dagster's storage cannot be reached.
    """
    heartbeats = {
        name: datetime.fromtimestamp(beat.timestamp, UTC) for name, beat in instance.get_daemon_heartbeats().items()
    }
    return QueueFigures(tuple(_groups(instance)), heartbeats)


def _groups(instance: DagsterInstance) -> list[RunGroup]:
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    tags = {key: RunTagsTable.alias() for key in (FLOW_TAG, TIER_TAG, DAGSTER_PRIORITY_TAG, REQUESTED_AT_TAG)}
    joined: db.FromClause = RunsTable
    for key, table in tags.items():
        joined = joined.outerjoin(table, db.and_(table.c.run_id == RunsTable.c.run_id, table.c.key == key))
    # Grouped by priority as text: a person may have entered anything, and a cast would fail on it.
    alike = [
        RunsTable.c.status, tags[FLOW_TAG].c.value, tags[TIER_TAG].c.value, tags[DAGSTER_PRIORITY_TAG].c.value,
    ]  # fmt: skip
    query = (
        db.select(*alike, db.func.count(), db.func.min(tags[REQUESTED_AT_TAG].c.value))
        .select_from(joined)
        .where(RunsTable.c.status.in_(list(_STATES)))
        .group_by(*alike)
    )
    with storage.connect() as connection:
        rows = connection.execute(query).fetchall()
    return [
        RunGroup(
            _STATES[status],
            flow if flow in set(Flow) else "other",
            TenantTier.from_name(tier or ""),
            _whole_number(priority),
            count,
            _moment(oldest),
        )
        for status, flow, tier, priority, count, oldest in map(tuple, rows)
    ]


def _whole_number(text: str | None) -> int:
    # As in Dagster's queue: anything that is not a number counts as 0.
    try:
        return int(text or 0)
    except ValueError:
        return 0


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
