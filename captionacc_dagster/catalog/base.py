"""The catalog's interface, implemented by :mod:`postgres` and :mod:`supabase`."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from captionacc_dagster.catalog.invitations import InvitationMethods
from captionacc_dagster.catalog.ledgers import LedgerMethods
from captionacc_dagster.catalog.locks import LockMethods
from captionacc_dagster.catalog.requests import RequestMethods
from captionacc_dagster.catalog.videos import VideoMethods


class Catalog(VideoMethods, InvitationMethods, RequestMethods, LockMethods, LedgerMethods):
    """Tenants, users, invitations, videos, requests, locks, and compute calls.

    Each method calls one atomic SQL function of ``supabase/migrations``, which is safe to call again if its answer was
    lost. While the catalog cannot be reached, calls are retried, then raise ``CatalogUnavailable``. Other errors are
    those of :mod:`captionacc_dagster.catalog.errors`. Thread-safe; connections open on first use.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
