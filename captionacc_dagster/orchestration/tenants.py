"""Which tenant a video belongs to, which tier and limit the tenant has, for processes that only queue runs.

The run coordinator asks from the webserver and the daemon for every run it queues, so answers are kept for a
short time, and a catalog that is away is left alone for a while instead of holding up every submission.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import InvalidValue, NotFound
from captionacc_dagster.orchestration.priority import TenantTier
from captionacc_dagster.resources import open_catalog_briefly

logger = logging.getLogger(__name__)

KEEP_SECONDS = 60.0
LEAVE_ALONE_SECONDS = 15.0
MOST_KEPT = 10_000

Answer = TypeVar("Answer")


class TenantSource(Protocol):
    """Where tenants are known: the catalog."""

    def tenant_of_video(self, video_id: str) -> str | None:
        """Give the tenant's id; None when there is no such video."""
        ...

    def tier_of_tenant(self, tenant_id: str) -> str:
        """Give the tier's name; a tenant nobody knows is ``free``."""
        ...

    def run_limits(self) -> Mapping[str, int]:
        """Give the tenants that have a limit of concurrent runs of their own: tenant id → runs."""
        ...


class TierSource(StrEnum):
    """Where a run's tier comes from, as its tag says it."""

    CATALOG = "catalog"
    UNAVAILABLE = "catalog-unavailable"
    UNKNOWN_VIDEO = "unknown-video"
    NO_VIDEO = "no-video"


class Tenancy(NamedTuple):
    """A run's tenant, tier, and where that is known from."""

    tenant_id: str | None
    tier: TenantTier
    source: TierSource


class TenantDirectory:
    """Looks tenants up, keeps the answers for a minute, and never raises.

    Args:
        open_source: opens the catalog; called when first needed, and again after it has failed.
        clock: seconds that only go forward.
    """

    def __init__(self, open_source: Callable[[], TenantSource], clock: Callable[[], float] = time.monotonic) -> None:
        self._open_source = open_source
        self._clock = clock
        self._source: TenantSource | None = None
        self._kept: dict[tuple[str, str], tuple[float, str | None]] = {}
        self._run_limits: tuple[float, Mapping[str, int]] = (float("-inf"), {})
        self._leave_alone_until = float("-inf")
        self._lock = threading.Lock()

    def look_up(self, tenant_id: str | None, video_id: str | None) -> Tenancy:
        """Give the tenancy of a run of that tenant, or else of that video.

        While the catalog is away the tier is free and the source says so.
        """
        if tenant_id is None and video_id is None:
            return Tenancy(None, TenantTier.FREE, TierSource.NO_VIDEO)
        try:
            if tenant_id is None:
                assert video_id is not None
                tenant_id = self._ask("video", video_id, lambda source: source.tenant_of_video(video_id))
            if tenant_id is None:
                return Tenancy(None, TenantTier.FREE, TierSource.UNKNOWN_VIDEO)
            known = tenant_id
            tier = self._ask("tenant", known, lambda source: source.tier_of_tenant(known))
            return Tenancy(known, TenantTier.from_name(tier or ""), TierSource.CATALOG)
        except Exception as error:  # noqa: BLE001 - whatever the catalog's driver raises, the run is queued
            logger.warning("catalog away, tier taken as free: %s: %s", type(error).__name__, error)
            return Tenancy(tenant_id, TenantTier.FREE, TierSource.UNAVAILABLE)

    def run_limits(self) -> Mapping[str, int]:
        """Give the tenants' own limits of concurrent runs; while the catalog is away, those known last."""
        asked_at, limits = self._run_limits
        now = self._clock()
        if now - asked_at >= KEEP_SECONDS:
            try:
                limits = self._answer(lambda source: source.run_limits())
                self._run_limits = (now, limits)
            except Exception as error:  # noqa: BLE001 - whatever the catalog's driver raises, the queue goes on
                logger.warning("catalog away, limits stay as they were: %s: %s", type(error).__name__, error)
        return limits

    def _ask(self, kind: str, key: str, question: Callable[[TenantSource], str | None]) -> str | None:
        now = self._clock()
        with self._lock:
            kept = self._kept.get((kind, key))
        if kept and now - kept[0] < KEEP_SECONDS:
            return kept[1]
        answer = self._answer(question)
        with self._lock:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            # A video that is not there yet may come the next moment.
            if answer is not None:
                self._kept[(kind, key)] = (now, answer)
        return answer

    def _answer(self, question: Callable[[TenantSource], Answer]) -> Answer:
        with self._lock:
            if self._clock() < self._leave_alone_until:
                raise ConnectionError("the catalog did not answer a moment ago")
        try:
            source = self._source or self._open_source()
            answer = question(source)
        except Exception:
            with self._lock:
                self._source = None
                self._leave_alone_until = self._clock() + LEAVE_ALONE_SECONDS
            raise
        with self._lock:
            self._source = source
        return answer


class CatalogTenants:
    """The catalog as the source of tenants."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def tenant_of_video(self, video_id: str) -> str | None:
        """Give the tenant's id; None for an unknown video or a key that is no video's."""
        try:
            return str(self._catalog.get_video_metadata(video_id).tenant_id)
        except (NotFound, InvalidValue):
            return None

    def tier_of_tenant(self, tenant_id: str) -> str:
        """Give the tier's name."""
        return self._catalog.get_tenant_tier(tenant_id)

    def run_limits(self) -> Mapping[str, int]:
        """Give the tenants that have a limit of their own."""
        return self._catalog.get_tenant_run_limits()


def catalog_directory() -> TenantDirectory:
    """Give a directory over the catalog that the settings name; it is opened when first asked."""
    # Impatient: whoever submits a run waits for the answer, and what is not known now is corrected later.
    return TenantDirectory(lambda: CatalogTenants(open_catalog_briefly()))
