"""Which queued run starts first: the highest priority, and among equals the oldest request.

Dagster's queue sorts by ``dagster/priority`` alone and leaves equal runs in the order in which they were queued. That
is not the order of the requests: a run that replaces a lost one, or retries a crashed one, is queued anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from dagster import DagsterRun
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from captionacc_dagster.orchestration.priority import DAGSTER_PRIORITY_TAG, REQUESTED_AT_TAG

_NOT_KNOWN = datetime.max.replace(tzinfo=UTC)


def in_order(runs: Iterable[DagsterRun]) -> list[DagsterRun]:
    """Sort queued runs; those that do not say when they were asked for come last among equals, as they were queued."""
    return sorted(runs, key=lambda run: (-_priority(run), _requested_at(run)))


def order_by_request_time() -> None:
    """Make the queue daemon of this process sort by :func:`in_order`; its class has no setting for it.

    ``dagster-daemon`` makes the daemon by itself, after the coordinator, so the class is where it can be told.
    """

    def priority_sort(self: QueuedRunCoordinatorDaemon, runs: Iterable[DagsterRun]) -> list[DagsterRun]:
        return in_order(runs)

    QueuedRunCoordinatorDaemon._priority_sort = priority_sort


def _priority(run: DagsterRun) -> int:
    try:
        return int(run.tags.get(DAGSTER_PRIORITY_TAG, "0"))
    except ValueError:
        return 0


def _requested_at(run: DagsterRun) -> datetime:
    try:
        moment = datetime.fromisoformat(run.tags[REQUESTED_AT_TAG])
    except (KeyError, ValueError):
        return _NOT_KNOWN
    return moment if moment.tzinfo else _NOT_KNOWN
