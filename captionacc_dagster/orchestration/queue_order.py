"""The order of queued runs: highest priority first, and among equals the oldest request.

Dagster's queue sorts by ``dagster/priority`` alone and leaves equal runs in the order in which they were queued. That
differs from the order of the requests: a run that replaces a lost or crashed one is queued again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from dagster import DagsterRun
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from captionacc_dagster.orchestration.priority import DAGSTER_PRIORITY_TAG, REQUESTED_AT_TAG

_NOT_KNOWN = datetime.max.replace(tzinfo=UTC)


def in_order(runs: Iterable[DagsterRun]) -> list[DagsterRun]:
    """Return queued runs in order; runs without a request time come last among equals, in queue order."""
    return sorted(runs, key=lambda run: (-_priority(run), _requested_at(run)))


def order_by_request_time() -> None:
    """Make this process's queue daemon sort by :func:`in_order`; its class has no setting for the order.

    ``dagster-daemon`` creates the daemon itself, after the coordinator, so the class must be patched.
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
