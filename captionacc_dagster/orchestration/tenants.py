"""Look up a video's tenant and the tenant's tier and limits, for processes that only queue runs.

The run coordinator asks, in the webserver and the daemon, for every run it queues. So answers are cached for a short
time, and an unavailable catalog is not asked again for a while instead of delaying every submission.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from captionacc_dagster.backends import open_catalog_briefly
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import InvalidValue, NotFound
from captionacc_dagster.orchestration.priority import TenantTier

logger = logging.getLogger(__name__)

KEEP_SECONDS = 60.0
LEAVE_ALONE_SECONDS = 15.0
MOST_KEPT = 10_000

Answer = TypeVar("Answer")


class KnownVideo(NamedTuple):
    """A video's tenant and file name."""

    tenant_id: str
    name: str


class TierSource(StrEnum):
    """Where a run's tier comes from, as written in its tag."""

    CATALOG = "catalog"
    UNAVAILABLE = "catalog-unavailable"
    UNKNOWN_VIDEO = "unknown-video"
    NO_VIDEO = "no-video"


class Tenancy(NamedTuple):
    """A run's tenant and tier, and where they come from."""

    tenant_id: str | None
    tier: TenantTier
    source: TierSource


class TenantDirectory:
    """Looks up tenants, caches the answers for a minute, and never raises.

    Args:
        open_catalog: called when first needed, and again after a failure.
        clock: monotonic time in seconds.
    """

    def __init__(self, open_catalog: Callable[[], Catalog], clock: Callable[[], float] = time.monotonic) -> None:
        self._open_catalog = open_catalog
        self._clock = clock
        self._catalog: Catalog | None = None
        self._kept: dict[tuple[str, str], tuple[float, Any]] = {}
        self._run_limits: tuple[float, Mapping[str, int]] = (float("-inf"), {})
        self._leave_alone_until = float("-inf")
        self._lock = threading.Lock()

    def look_up(self, tenant_id: str | None, video_id: str | None) -> Tenancy:
        """Return the tenancy of a run, by its tenant or else by its video.

        While the catalog is unavailable, the tier is free and the source says so.
        """
        if tenant_id is None and video_id is None:
            return Tenancy(None, TenantTier.FREE, TierSource.NO_VIDEO)
        try:
            if tenant_id is None:
                video = self._find(video_id or "")
                if video is None:
                    return Tenancy(None, TenantTier.FREE, TierSource.UNKNOWN_VIDEO)
                tenant_id = video.tenant_id
            known = tenant_id
            tier = self._ask("tenant", known, lambda catalog: catalog.get_tenant_tier(known))
            return Tenancy(known, TenantTier.from_name(tier or ""), TierSource.CATALOG)
        except Exception as error:  # noqa: BLE001 - whatever the catalog's driver raises, the run is queued
            logger.warning("the catalog is unavailable; assuming the free tier: %s: %s", type(error).__name__, error)
            return Tenancy(tenant_id, TenantTier.FREE, TierSource.UNAVAILABLE)

    def name_of_video(self, video_id: str) -> str | None:
        """Return a video's file name; None for an unknown video, and while the catalog is unavailable."""
        try:
            video = self._find(video_id)
            return video.name if video is not None else None
        except Exception as error:  # noqa: BLE001 - whatever the catalog's driver raises, the run is queued
            logger.warning("the catalog is unavailable; a run has no name: %s: %s", type(error).__name__, error)
            return None

    def run_limits(self) -> Mapping[str, int]:
        """Return the tenants' own limits of concurrent runs; while the catalog is unavailable, the last known ones."""
        asked_at, limits = self._run_limits
        now = self._clock()
        if now - asked_at >= KEEP_SECONDS:
            try:
                limits = self._answer(lambda catalog: catalog.get_tenant_run_limits())
                self._run_limits = (now, limits)
            except Exception as error:  # noqa: BLE001 - whatever the catalog's driver raises, the queue goes on
                logger.warning("the catalog is unavailable; limits do not change: %s: %s", type(error).__name__, error)
        return limits

    def _find(self, video_id: str) -> KnownVideo | None:
        def find(catalog: Catalog) -> KnownVideo | None:
            try:
                video = catalog.get_video_metadata(video_id)
            except (NotFound, InvalidValue):  # no such video, or the key is no video's id
                return None
            return KnownVideo(str(video.tenant_id), video.filename)

        return self._ask("video", video_id, find)

    def _ask(self, kind: str, key: str, question: Callable[[Catalog], Answer | None]) -> Answer | None:
        now = self._clock()
        with self._lock:
            kept = self._kept.get((kind, key))
        if kept and now - kept[0] < KEEP_SECONDS:
            return kept[1]
        answer = self._answer(question)
        with self._lock:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            # A missing video may be created at any moment, so None is not cached.
            if answer is not None:
                self._kept[(kind, key)] = (now, answer)
        return answer

    def _answer(self, question: Callable[[Catalog], Answer]) -> Answer:
        with self._lock:
            if self._clock() < self._leave_alone_until:
                raise ConnectionError("the catalog did not answer recently")
        try:
            catalog = self._catalog or self._open_catalog()
            answer = question(catalog)
        except Exception:
            with self._lock:
                self._catalog = None
                self._leave_alone_until = self._clock() + LEAVE_ALONE_SECONDS
            raise
        with self._lock:
            self._catalog = catalog
        return answer


def catalog_directory() -> TenantDirectory:
    """Return a directory over the catalog of the settings; the catalog is opened on the first lookup."""
    # Short timeouts: the submitter of a run waits for the answer, and an unknown tenant is corrected later.
    return TenantDirectory(open_catalog_briefly)
