"""``/metrics`` for Prometheus: metrics of the system and of this process's HTTP requests, and access to them.

``prometheus-fastapi-instrumentator`` would bring its own names and labels, takes each method that a client makes up as
a new series, and matches every route once more; a metric function against that is as long as the middleware here.
"""

from __future__ import annotations

import logging
from typing import Annotated

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from pydantic import SecretStr
from starlette.types import Scope

from captionacc_dagster import __version__
from captionacc_dagster.api.auth import is_one_of, refuse
from captionacc_dagster.api.errors import ApiError, responses
from captionacc_dagster.api.history_metrics import PREFIX, CallCounters, RunCounters
from captionacc_dagster.api.local_access import local_key
from captionacc_dagster.api.services import Services, ServicesDependency
from captionacc_dagster.api.system_metrics import SystemCollector
from captionacc_dagster.catalog.models import CatalogMetrics
from captionacc_dagster.orchestration.queue_figures import QueueFigures, queue_figures

router = APIRouter(tags=["health"])
_log = logging.getLogger(__name__)

WEBHOOK_PATH = "/webhooks/supabase/videos"
WEBHOOK_OUTCOMES = {
    200: "ignored",
    202: "accepted",
    400: "malformed",
    401: "unauthorized",
    409: "replayed",
    413: "too_large",
    429: "rate_limited",
    503: "delayed",
}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# The webhook's goal is one second for 95 %; a scrape may take six.
_LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_token = HTTPBearer(scheme_name="metricsToken", description="The token of Prometheus.", auto_error=False)


class HttpMetrics:
    """HTTP metrics of this process, and the registry of all metrics."""

    def __init__(self, services: Services) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        # Would add one series each, with no more information than the start time of the process.
        disable_created_metrics()
        self.requests = Counter(
            f"{PREFIX}http_requests", "Requests answered by this process.", ["method", "route", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            f"{PREFIX}http_request_duration_seconds", "Time this process took to answer.", ["method", "route"],
            buckets=_LATENCY_BUCKETS_S, registry=self.registry,
        )  # fmt: skip
        self.webhooks = Counter(f"{PREFIX}webhooks", "Webhooks by outcome.", ["outcome"], registry=self.registry)
        for outcome in (*WEBHOOK_OUTCOMES.values(), "failed"):
            self.webhooks.labels(outcome)
        Gauge(f"{PREFIX}build_info", "The running version.", ["version"], registry=self.registry).labels(
            __version__
        ).set(1)
        ProcessCollector(registry=self.registry)

        def catalog() -> CatalogMetrics:
            found = services.catalog.get_metrics(calls.after)
            calls.count(found.ended_calls)
            return found

        def dagster() -> QueueFigures:
            runs.read(services.instance)
            return queue_figures(services.instance)

        # Registered first, because it counts what the others show.
        self.registry.register(
            SystemCollector(
                catalog,
                dagster,
                {"webserver": lambda: services.dagster.ping(), "storage": lambda: services.store.check()},
            )
        )
        runs, calls = RunCounters(self.registry), CallCounters(self.registry)
        # Separate threads: those of the endpoints may all be waiting for an unavailable part.
        self.threads = CapacityLimiter(2)

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count an answered request; labels are routes, not paths, of which there are as many as videos."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", "other")
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(method, route).observe(seconds)
        if scope["path"] == WEBHOOK_PATH and method == "POST":
            self.webhooks.labels(WEBHOOK_OUTCOMES.get(status, "failed")).inc()


MetricsToken = Annotated[HTTPAuthorizationCredentials | None, Depends(_token)]


def check_reader(services: ServicesDependency, given: MetricsToken) -> None:
    """Admit callers with a token: a configured one or, if none is and everything is embedded, this home's own.

    Raises:
        ApiError: 401, 403, or 429 if this client was refused too often.
    """
    tokens = services.settings.metrics_token
    if not tokens and services.settings.catalog_kind == "embedded":
        tokens = [SecretStr(local_key(services.settings, "metrics"))]
    if not tokens:
        services.audit.record("metrics_refused")
        raise ApiError(403, "metrics need a token: set CAPTIONACC_METRICS_TOKEN")
    if given is None or not is_one_of(given.credentials, tokens):
        refuse(services, "metrics_bad_token", "Unauthorized: the metrics token is required")


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    dependencies=[Depends(check_reader)],
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The metrics, as text."},
        **responses(401, 403, 429),
    },
)
async def metrics(request: Request) -> Response:
    """Return all metrics in Prometheus's text format, or in OpenMetrics if requested; see docs/metrics.md.

    An unavailable part has `captionacc_up{part=…} 0`; its metrics are then missing, not zero.
    """
    http: HttpMetrics = request.app.state.metrics
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    body = await run_sync(encode, http.registry, limiter=http.threads)
    return Response(body, media_type=content_type)
