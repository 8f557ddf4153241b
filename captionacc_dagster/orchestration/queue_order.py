"""The order of queued runs: highest priority at this moment first, and among equals the oldest request.

A run's priority rises while it waits. It is computed from the run's own tags whenever the queue is sorted, so nothing
needs to be written while a run waits; the tag ``dagster/priority`` shows the priority at submission.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from dagster import DagsterRun

from captionacc_dagster.orchestration.priority import BASE_PRIORITY, TenantTier, priority_of_tags, submitted_priority
from captionacc_dagster.tags import DAGSTER_PRIORITY_TAG, REQUESTED_AT_TAG

_NOT_KNOWN = datetime.max.replace(tzinfo=UTC)


def in_order(runs: Iterable[DagsterRun], now: datetime | None = None) -> list[DagsterRun]:
    """Return queued runs in order at a time (None: the present); those without a request time come last among equals,
    as they were queued."""
    moment = now or datetime.now(UTC)
    return sorted(runs, key=lambda run: place_of_tags(run.tags, moment))


def place_of_tags(tags: Mapping[str, str], now: datetime) -> tuple[int, datetime]:
    """Return what queued runs are sorted by: the lowest comes first."""
    return -current_priority(tags, now), requested_at(tags) or _NOT_KNOWN


def current_priority(tags: Mapping[str, str], now: datetime) -> int:
    """Return the priority at a time of a queued run with these tags.

    A run that could not be tagged counts as free; one with only a ``dagster/priority`` has that.
    """
    priority = priority_of_tags(tags, now)
    if priority is not None:
        return priority
    return (submitted_priority(tags) or 0) if DAGSTER_PRIORITY_TAG in tags else BASE_PRIORITY[TenantTier.FREE]


def requested_at(tags: Mapping[str, str]) -> datetime | None:
    """Return when the run with these tags was asked for; None if they do not say it with a timezone."""
    try:
        moment = datetime.fromisoformat(tags[REQUESTED_AT_TAG])
    except (KeyError, ValueError):
        return None
    return moment if moment.tzinfo else None
