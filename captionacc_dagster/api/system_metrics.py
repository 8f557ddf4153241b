"""Gauges of the whole system, read from the catalog and from Dagster's storage at each scrape."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from datetime import UTC, datetime
from typing import Any, get_args

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from captionacc_dagster.api.history_metrics import PREFIX
from captionacc_dagster.api.sources import Source
from captionacc_dagster.catalog.models import (
    CatalogMetrics,
    ComputeState,
    RequestState,
    Tier,
    VideoStatus,
)
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.orchestration.queue_figures import QueueFigures, RunState

# Prometheus waits ten seconds by default; a part that has not answered by this time counts as unavailable.
ANSWER_SECONDS = 6.0

_FLOWS = tuple(flow.value for flow in Flow)
_TIERS: tuple[str, ...] = get_args(Tier)
_OPEN_REQUESTS: tuple[RequestState, ...] = ("pending", "launched")
_OPEN_CALLS: tuple[ComputeState, ...] = ("intent", "spawned", "running")


class SystemCollector(Collector):
    """Queries the parts at each scrape; an unavailable part is shown as down and its metrics are missing."""

    def __init__(
        self,
        catalog: Callable[[], CatalogMetrics],
        queue: Callable[[], QueueFigures],
        others: Mapping[str, Callable[[], None]],
    ) -> None:
        self._catalog = Source("catalog", catalog)
        self._queue = Source("dagster", queue)
        self._others = [Source(name, ask) for name, ask in others.items()]

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registering queries no part."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Query all parts at once, wait a bounded time, and yield the available metrics."""
        parts: list[Source[Any]] = [self._catalog, self._queue, *self._others]
        answers = {part.name: part.answer() for part in parts}
        done, _ = wait(answers.values(), timeout=ANSWER_SECONDS)
        given = {
            name: answer.result()
            for name, answer in answers.items()
            if answer in done and answer.exception() is None
        }  # fmt: skip
        up = {(name,): float(name in given) for name in answers}
        yield _gauge("up", "Whether a part of the system answers.", {"part": ()}, up)
        now = datetime.now(UTC)
        catalog: CatalogMetrics | None = given.get("catalog")
        queue: QueueFigures | None = given.get("dagster")
        if catalog is not None:
            yield from _of_catalog(catalog)
        if queue is not None:
            yield from _of_queue(queue, now)
        yield _oldest(catalog, queue, now)


def _gauge(
    name: str, text: str, labels: Mapping[str, Sequence[str]], values: Mapping[tuple[str, ...], float]
) -> Metric:
    """Return a gauge with every combination of known label values, 0 where there is no value."""
    family = GaugeMetricFamily(f"{PREFIX}{name}", text, labels=list(labels))
    for key in dict.fromkeys([*itertools.product(*labels.values()), *values]):
        family.add_metric(key, values.get(key, 0.0))
    return family


def _of_catalog(catalog: CatalogMetrics) -> Iterator[Metric]:
    statuses: dict[tuple[str, ...], float] = {(status,): count for status, count in catalog.videos.items()}
    yield _gauge("videos", "Videos by status.", {"status": get_args(VideoStatus)}, statuses)
    requests: dict[tuple[str, ...], float] = {
        (count.flow, count.tier, count.state): count.count for count in catalog.requests
    }
    yield _gauge(
        "open_requests", "Requests whose run has not ended; pending: without a run yet.",
        {"flow": _FLOWS, "tier": _TIERS, "state": _OPEN_REQUESTS}, requests,
    )  # fmt: skip
    locks = {("held",): float(catalog.locks.held), ("expired",): float(catalog.locks.expired)}
    yield _gauge("locks", "Locks of videos' databases; expired: left behind.", {"state": ("held", "expired")}, locks)
    attempts = CounterMetricFamily(
        f"{PREFIX}lock_attempts",
        "Attempts to lock a video's database; held: another holder had the lock.",
        labels=["database", "outcome"],
    )
    for attempt in catalog.lock_attempts:
        attempts.add_metric([attempt.database, attempt.outcome], attempt.count)
    yield attempts
    calls: dict[tuple[str, ...], float] = {(state,): count for state, count in catalog.compute_calls.items()}
    yield _gauge("open_compute_calls", "Remote compute calls in progress.", {"state": _OPEN_CALLS}, calls)


def _of_queue(queue: QueueFigures, now: datetime) -> Iterator[Metric]:
    waiting: dict[tuple[str, ...], float] = defaultdict(float)
    active: dict[tuple[str, ...], float] = defaultdict(float)
    head: dict[tuple[str, ...], float] = {}
    for group in queue.groups:
        if group.state == "queued":
            waiting[group.flow, group.tier.value] += group.count
            head[group.flow,] = max(group.priority, head.get((group.flow,), group.priority))
        else:
            active[group.flow, group.tier.value, group.state] += group.count
    yield _gauge("queued_runs", "Runs waiting in Dagster's queue.", {"flow": _FLOWS, "tier": _TIERS}, waiting)
    states = tuple(state for state in get_args(RunState) if state != "queued")
    yield _gauge(
        "active_runs", "Runs that left the queue and have not ended.",
        {"flow": _FLOWS, "tier": _TIERS, "state": states}, active,
    )  # fmt: skip
    yield _gauge("queue_head_priority", "Highest priority of waiting runs; absent if none wait.", {"flow": ()}, head)
    ages = {(name.lower(),): max((now - at).total_seconds(), 0.0) for name, at in sorted(queue.heartbeats.items())}
    text = "Age of the last heartbeat of each of Dagster's daemons."
    yield _gauge("daemon_heartbeat_age_seconds", text, {"daemon": ()}, ages)


def _oldest(catalog: CatalogMetrics | None, queue: QueueFigures | None, now: datetime) -> Metric:
    waiting: list[tuple[str, str, datetime | None]] = []
    places: list[str] = []
    if catalog is not None:
        places.append("outbox")
        waiting += [("outbox", r.flow, r.oldest_requested_at) for r in catalog.requests if r.state == "pending"]
    if queue is not None:
        places.append("queue")
        waiting += [("queue", g.flow, g.oldest_requested_at) for g in queue.groups if g.state == "queued"]
    ages: dict[tuple[str, ...], float] = defaultdict(float)
    for place, flow, since in waiting:
        if since is not None:
            ages[place, flow] = max(ages[place, flow], (now - since).total_seconds())
    text = "Age of the oldest request waiting for its run to be created (outbox) or to start (queue); 0 if none wait."
    return _gauge("oldest_waiting_request_age_seconds", text, {"place": places, "flow": _FLOWS}, ages)
