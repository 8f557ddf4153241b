"""The catalog: what is known of the videos. One interface; :mod:`postgres` and :mod:`supabase` reach it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from captionacc_dagster.catalog.ledgers import LedgerMethods
from captionacc_dagster.catalog.locks import LockMethods
from captionacc_dagster.catalog.requests import RequestMethods
from captionacc_dagster.catalog.videos import VideoMethods


class Catalog(VideoMethods, RequestMethods, LockMethods, LedgerMethods):
    """Everything that is known of tenants, users, videos, requests, locks and calls.

    Each method is one atomic SQL function of ``supabase/migrations``, safe to call again when its answer was
    lost; while the catalog cannot be reached it is retried, then ``CatalogUnavailable`` is raised. Errors are
    those of :mod:`captionacc_dagster.catalog.errors`. Thread-safe; connections open at first use.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
