"""Look up a video's tenant and the tenant's tier and limits, for processes that only queue runs.

The run coordinator asks, in the webserver and the daemon, for every run it queues. So answers are cached for a short
time, and an unavailable catalog is not asked again for a while instead of delaying every submission.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from captionacc_dagster.backends import open_catalog_briefly
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import CatalogUnavailable, InvalidValue, NotFound
from captionacc_dagster.orchestration.priority import TenantTier

logger = logging.getLogger(__name__)

KEEP_SECONDS = 60.0
LEAVE_ALONE_SECONDS = 15.0
MOST_KEPT = 10_000

Answer = TypeVar("Answer")


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

    The catalog is opened when it is first needed, and again after a failure; ``clock`` is monotonic.
    """

    def __init__(self, open_catalog: Callable[[], Catalog], clock: Callable[[], float] = time.monotonic) -> None:
        self._open_catalog = open_catalog
        self._clock = clock
        self._catalog: Catalog | None = None
        self._kept: dict[tuple[str, str], tuple[float, Any]] = {}
        self._run_limits: Mapping[str, int] = {}
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
                tenant_id, _ = self._find(video_id or "") or (None, None)
                if tenant_id is None:
                    return Tenancy(None, TenantTier.FREE, TierSource.UNKNOWN_VIDEO)
            known = tenant_id
            tier = self._ask("tenant", known, lambda catalog: catalog.get_tenant_tier(known))
            return Tenancy(known, TenantTier.from_name(tier or ""), TierSource.CATALOG)
        except CatalogUnavailable:
            return Tenancy(tenant_id, TenantTier.FREE, TierSource.UNAVAILABLE)

    def name_of_video(self, video_id: str) -> str | None:
        """Return a video's file name; None for an unknown video, and while the catalog is unavailable."""
        with suppress(CatalogUnavailable):
            _, name = self._find(video_id) or (None, None)
            return name

    def run_limits(self) -> Mapping[str, int]:
        """Return the tenants' own limits of concurrent runs; while the catalog is unavailable, the last known ones."""
        with suppress(CatalogUnavailable):
            self._run_limits = self._ask("run limits", "", lambda catalog: catalog.get_tenant_run_limits()) or {}
        return self._run_limits

    def _find(self, video_id: str) -> tuple[str, str] | None:
        """Return a video's tenant and file name."""

        def find(catalog: Catalog) -> tuple[str, str]:
            video = catalog.get_video_metadata(video_id)
            return str(video.tenant_id), video.filename

        return self._ask("video", video_id, find)

    def _ask(self, kind: str, key: str, question: Callable[[Catalog], Answer | None]) -> Answer | None:
        with self._lock:
            now, catalog = self._clock(), self._catalog
            kept_at, kept = self._kept.get((kind, key), (float("-inf"), None))
            if now - kept_at < KEEP_SECONDS:
                return kept
            if now < self._leave_alone_until:
                raise CatalogUnavailable("the catalog did not answer recently")
        try:
            catalog = catalog or self._open_catalog()
            answer = question(catalog)
        except (NotFound, InvalidValue):  # there is no such video, or a tag is not an id at all
            answer = None
        except Exception as error:
            logger.warning(
                "the catalog is unavailable; runs are queued as free, without names, and limits do not change: %s: %s",
                type(error).__name__,
                error,
            )
            with self._lock:
                self._catalog, self._leave_alone_until = None, self._clock() + LEAVE_ALONE_SECONDS
            raise CatalogUnavailable("the catalog does not answer") from error
        with self._lock:
            self._catalog = catalog
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            # A missing video may be created at any moment, so None is not cached.
            if answer is not None:
                self._kept[(kind, key)] = (now, answer)
        return answer


def catalog_directory() -> TenantDirectory:
    """Return a directory over the catalog of the settings; the catalog is opened on the first lookup."""
    # Short timeouts: the submitter of a run waits for the answer, and an unknown tenant is corrected later.
    return TenantDirectory(open_catalog_briefly)
