"""Count Dagster's queued and active runs by flow, tier, and priority, find each video's place, and read heartbeats.

A query each, however long the queue is.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as db
from dagster import DagsterInstance, DagsterRunStatus

from captionacc_dagster.orchestration.dagster_internals import RunsTable, RunTagsTable, SqlRunStorage
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.orchestration.priority import TenantTier
from captionacc_dagster.orchestration.queue_order import current_priority, place_of_tags, requested_at
from captionacc_dagster.tags import (
    AGE_BOOSTING_TAG,
    BASE_PRIORITY_TAG,
    DAGSTER_PRIORITY_TAG,
    FLOW_TAG,
    PARTITION_TAG,
    REQUESTED_AT_TAG,
    TENANT_TAG,
    TIER_TAG,
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
    """Number of unfinished runs with the same state, flow, tier, and base, and the highest of their priorities now."""

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


def queue_figures(instance: DagsterInstance, now: datetime | None = None) -> QueueFigures:
    """Count the unfinished runs; their priorities are those at ``now`` (None: the present).

    Raises:
        sqlalchemy.exc.SQLAlchemyError: Dagster's storage cannot be reached.
    """
    heartbeats = {
        name: datetime.fromtimestamp(beat.timestamp, UTC) for name, beat in instance.get_daemon_heartbeats().items()
    }
    return QueueFigures(tuple(_groups(instance, now or datetime.now(UTC))), heartbeats)


def _groups(instance: DagsterInstance, now: datetime) -> list[RunGroup]:
    wanted = (FLOW_TAG, TIER_TAG, BASE_PRIORITY_TAG, AGE_BOOSTING_TAG, DAGSTER_PRIORITY_TAG, REQUESTED_AT_TAG)
    tags = {key: RunTagsTable.alias() for key in wanted}
    joined: db.FromClause = RunsTable
    for key, table in tags.items():
        joined = joined.outerjoin(table, db.and_(table.c.run_id == RunsTable.c.run_id, table.c.key == key))
    # Only runs without a base are ordered by the tag; for the others it would split the groups.
    by_hand = db.case((tags[BASE_PRIORITY_TAG].c.value.is_(None), tags[DAGSTER_PRIORITY_TAG].c.value))
    # Grouped by text: a person may have entered anything, and a cast would fail on it.
    alike = [RunsTable.c.status, *(tags[key].c.value for key in wanted[:4]), by_hand]
    query = (
        db.select(*alike, db.func.min(tags[REQUESTED_AT_TAG].c.value), db.func.count())
        .select_from(joined)
        .where(RunsTable.c.status.in_(list(_STATES)))
        .group_by(*alike)
    )
    groups = []
    for status, *values, count in _rows(instance, query):
        of_group = {key: value for key, value in zip(wanted, values, strict=True) if value is not None}
        flow = of_group.get(FLOW_TAG, "")
        groups.append(
            RunGroup(
                _STATES[status],
                flow if flow in set(Flow) else "other",
                TenantTier.from_name(of_group.get(TIER_TAG, "")),
                current_priority(of_group, now),
                count,
                requested_at(of_group),
            )
        )
    return groups


def videos_before(instance: DagsterInstance, now: datetime | None = None) -> dict[str, int]:
    """Return video id → number of other videos before it in the queue, for each video with a queued run.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: Dagster's storage cannot be reached.
    """
    wanted = (BASE_PRIORITY_TAG, AGE_BOOSTING_TAG, DAGSTER_PRIORITY_TAG, REQUESTED_AT_TAG, PARTITION_TAG)
    query = (
        db.select(RunsTable.c.id, RunTagsTable.c.key, RunTagsTable.c.value)
        .join(RunTagsTable, RunTagsTable.c.run_id == RunsTable.c.run_id)
        .where(RunsTable.c.status == DagsterRunStatus.QUEUED.value, RunTagsTable.c.key.in_(wanted))
    )
    tags: dict[int, dict[str, str]] = defaultdict(dict)
    for number, key, value in _rows(instance, query):
        tags[number][key] = value
    moment = now or datetime.now(UTC)
    places: dict[str, int] = {}
    for number in sorted(tags, key=lambda number: (place_of_tags(tags[number], moment), number)):
        if (video_id := tags[number].get(PARTITION_TAG)) is not None:
            places.setdefault(video_id, len(places))
    return places


def waiting_tenants(instance: DagsterInstance) -> list[str]:
    """Return the tenants of the queued runs."""
    query = (
        db.select(RunTagsTable.c.value)
        .distinct()
        .join(RunsTable, RunsTable.c.run_id == RunTagsTable.c.run_id)
        .where(RunsTable.c.status == DagsterRunStatus.QUEUED.value, RunTagsTable.c.key == TENANT_TAG)
    )
    return [tenant for (tenant,) in _rows(instance, query)]


def _rows(instance: DagsterInstance, query: db.Executable) -> list[tuple[Any, ...]]:
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    with storage.connect() as connection:
        return [tuple(row) for row in connection.execute(query)]
