"""Metrics of the whole system, counted in the catalog and in Dagster's storage.

So every API process returns the same numbers, and a restart loses none.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from captionacc_dagster.api.sources import Source
from captionacc_dagster.catalog.models import (
    CatalogMetrics,
    ComputeState,
    DatabaseName,
    RequestState,
    RunOutcome,
    Tier,
    Total,
    VideoStatus,
)
from captionacc_dagster.compute.modal_spec import FUNCTIONS
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.orchestration.queue_figures import QueueFigures, RunState
from captionacc_dagster.orchestration.run_figures import DURATION_BUCKETS_S

PREFIX = "captionacc_"
# Prometheus waits ten seconds by default; a part that has not answered by this time counts as unavailable.
ANSWER_SECONDS = 6.0

_FLOWS = tuple(flow.value for flow in Flow)
_TIERS: tuple[str, ...] = get_args(Tier)
_OUTCOMES: tuple[str, ...] = get_args(RunOutcome)
_OPEN_REQUESTS: tuple[RequestState, ...] = ("pending", "launched")
_OPEN_CALLS: tuple[ComputeState, ...] = ("intent", "spawned", "running")
_CALL_ENDS: tuple[ComputeState, ...] = ("succeeded", "failed", "cancelled", "refused")
_ANY = ()


@dataclass(frozen=True, slots=True)
class Counted:
    """A metric from the catalog's totals.

    Attributes:
        name: name of the total, and of the metric without prefix and suffix.
        kind: a counter, or a histogram over ``DURATION_BUCKETS_S``.
        help: description of the metric.
        labels: label → values that are always shown (as 0 until counted); no values: only counted ones are shown.
    """

    name: str
    kind: Literal["counter", "histogram"]
    help: str
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)


COUNTED: tuple[Counted, ...] = (
    Counted("flow_runs", "counter", "Runs that have ended; restarted: their worker died and a retry took over.",
            {"flow": _FLOWS, "tier": _TIERS, "outcome": _OUTCOMES}),
    Counted("flow_run_duration_seconds", "histogram", "From a run's start to its end.",
            {"flow": _FLOWS, "outcome": ("succeeded", "failed")}),
    Counted("flow_run_queued_seconds", "histogram", "Time a run waited in the queue.",
            {"flow": _FLOWS, "tier": _TIERS}),
    Counted("stage_duration_seconds", "histogram", "Duration of each step of a run.", {"stage": _ANY}),
    Counted("flow_run_errors", "counter", "Runs that failed or were restarted, by the class of the error.",
            {"flow": _FLOWS, "error_type": _ANY}),
    Counted("flow_run_retries", "counter", "Steps and runs that were retried.", {"flow": _FLOWS}),
    Counted("retried_flow_runs", "counter", "Runs with retries, by how they ended.",
            {"flow": _FLOWS, "outcome": _OUTCOMES}),
    Counted("ocr_failures", "counter", "Frames and captions whose text could not be read.", {"flow": _FLOWS}),
    Counted("launches", "counter", "Requests that became runs, by what started them.",
            {"flow": _FLOWS, "launcher": ("sensor", "api", "run")}),
    Counted("compute_calls", "counter", "Remote compute calls that are over.",
            {"function": tuple(FUNCTIONS), "outcome": _CALL_ENDS}),
    Counted("compute_timeouts", "counter", "Remote compute calls that exceeded a time limit.",
            {"function": tuple(FUNCTIONS)}),
    Counted("compute_call_restarts", "counter", "Remote compute calls that were restarted.",
            {"function": tuple(FUNCTIONS)}),
    Counted("compute_call_seconds", "counter", "Seconds that remote compute calls ran.",
            {"function": tuple(FUNCTIONS)}),
    Counted("compute_cost_dollars", "counter", "Estimated cost of remote compute calls, US dollars.",
            {"function": tuple(FUNCTIONS)}),
    Counted("lock_attempts", "counter", "Attempts to lock a video's database; held: another holder had the lock.",
            {"database": get_args(DatabaseName), "outcome": ("acquired", "held")}),
)  # fmt: skip


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
        up = GaugeMetricFamily(f"{PREFIX}up", "Whether a part of the system answers.", labels=["part"])
        for name in answers:
            up.add_metric([name], float(name in given))
        yield up
        now = datetime.now(UTC)
        catalog: CatalogMetrics | None = given.get("catalog")
        queue: QueueFigures | None = given.get("dagster")
        if catalog is not None:
            yield from _of_catalog(catalog)
            yield from _of_totals(catalog.totals)
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
    calls: dict[tuple[str, ...], float] = {(state,): count for state, count in catalog.compute_calls.items()}
    yield _gauge("open_compute_calls", "Remote compute calls in progress.", {"state": _OPEN_CALLS}, calls)


def _of_totals(totals: Iterable[Total]) -> Iterator[Metric]:
    by_metric: dict[str, dict[frozenset[tuple[str, str]], float]] = defaultdict(dict)
    for total in totals:
        by_metric[total.metric][frozenset(total.labels.items())] = total.value
    for counted in COUNTED:
        if counted.kind == "counter":
            yield _counter(counted, by_metric[counted.name])
        else:
            yield _histogram(counted, by_metric[f"{counted.name}_bucket"], by_metric[f"{counted.name}_sum"])


def _series(counted: Counted, seen: Iterable[frozenset[tuple[str, str]]]) -> list[tuple[str, ...]]:
    """Return the label values to show: those always shown, then others that were counted."""
    known = list(itertools.product(*counted.labels.values())) if all(counted.labels.values()) else []
    found = sorted(tuple(dict(labels).get(name, "") for name in counted.labels) for labels in seen)
    return list(dict.fromkeys([*known, *found]))


def _counter(counted: Counted, values: Mapping[frozenset[tuple[str, str]], float]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}{counted.name}", counted.help, labels=list(counted.labels))
    for key in _series(counted, values):
        family.add_metric(key, values.get(frozenset(zip(counted.labels, key, strict=True)), 0.0))
    return family


def _histogram(
    counted: Counted,
    buckets: Mapping[frozenset[tuple[str, str]], float],
    sums: Mapping[frozenset[tuple[str, str]], float],
) -> Metric:
    family = HistogramMetricFamily(f"{PREFIX}{counted.name}", counted.help, labels=list(counted.labels))
    bounds = [*map(str, DURATION_BUCKETS_S), "+Inf"]
    for key in _series(counted, sums):
        labels = frozenset(zip(counted.labels, key, strict=True))
        counts = [buckets.get(labels | {("le", bound)}, 0.0) for bound in bounds]
        cumulative = list(zip(bounds, itertools.accumulate(counts), strict=True))
        family.add_metric(key, buckets=cumulative, sum_value=sums.get(labels, 0.0))
    return family


def _of_queue(queue: QueueFigures, now: datetime) -> Iterator[Metric]:
    waiting: dict[tuple[str, ...], float] = defaultdict(float)
    active: dict[tuple[str, ...], float] = defaultdict(float)
    head: dict[str, int] = {}
    for group in queue.groups:
        if group.state == "queued":
            waiting[group.flow, group.tier.value] += group.count
            head[group.flow] = max(group.priority, head.get(group.flow, group.priority))
        else:
            active[group.flow, group.tier.value, group.state] += group.count
    yield _gauge("queued_runs", "Runs waiting in Dagster's queue.", {"flow": _FLOWS, "tier": _TIERS}, waiting)
    states = tuple(state for state in get_args(RunState) if state != "queued")
    yield _gauge(
        "active_runs", "Runs that left the queue and have not ended.",
        {"flow": _FLOWS, "tier": _TIERS, "state": states}, active,
    )  # fmt: skip
    priority = GaugeMetricFamily(
        f"{PREFIX}queue_head_priority",
        "Highest priority of waiting runs; absent if none wait.",
        labels=["flow"],
    )
    for flow, value in sorted(head.items()):
        priority.add_metric([flow], value)
    yield priority
    beats = GaugeMetricFamily(
        f"{PREFIX}daemon_heartbeat_age_seconds",
        "Age of the last heartbeat of each of Dagster's daemons.",
        labels=["daemon"],
    )
    for name, at in sorted(queue.heartbeats.items()):
        beats.add_metric([name.lower()], max((now - at).total_seconds(), 0.0))
    yield beats


def _oldest(catalog: CatalogMetrics | None, queue: QueueFigures | None, now: datetime) -> Metric:
    family = GaugeMetricFamily(
        f"{PREFIX}oldest_waiting_request_age_seconds",
        "Age of the oldest request waiting for its run to be created (outbox) or to start (queue); 0 if none wait.",
        labels=["place", "flow"],
    )
    waiting: list[tuple[str, str, datetime | None]] = []
    places = []
    if catalog is not None:
        places.append("outbox")
        waiting += [("outbox", r.flow, r.oldest_requested_at) for r in catalog.requests if r.state == "pending"]
    if queue is not None:
        places.append("queue")
        waiting += [("queue", g.flow, g.oldest_requested_at) for g in queue.groups if g.state == "queued"]
    ages: dict[tuple[str, str], float] = dict.fromkeys(itertools.product(places, _FLOWS), 0.0)
    for place, flow, since in waiting:
        if since is not None:
            ages[place, flow] = max(ages.get((place, flow), 0.0), (now - since).total_seconds())
    for key, age in ages.items():
        family.add_metric(key, age)
    return family
