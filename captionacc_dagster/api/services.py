"""The services used by the endpoints, opened on first use, so that the API starts even if they are unavailable."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated

import psycopg
from dagster import DagsterInstance
from fastapi import Depends, Request

from captionacc_dagster.api.audit import Audit
from captionacc_dagster.api.dagster_client import DagsterClient, DagsterUnavailable
from captionacc_dagster.api.launcher import Launcher
from captionacc_dagster.api.local_access import LOCAL_ISSUER, local_secret
from captionacc_dagster.api.native_frames import NativeFrames
from captionacc_dagster.api.playable_films import PlayableFilms
from captionacc_dagster.api.rate_limits import RateLimits
from captionacc_dagster.api.request_log import current_facts
from captionacc_dagster.api.sources import Source
from captionacc_dagster.api.tokens import PublishedKeys, TokenVerifier
from captionacc_dagster.backends import open_catalog, open_store
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.calls import Retries
from captionacc_dagster.catalog.errors import CatalogUnavailable
from captionacc_dagster.orchestration.instance import open_instance
from captionacc_dagster.orchestration.queue_figures import videos_before
from captionacc_dagster.settings import Settings
from captionacc_dagster.storage.base import ObjectStore

# Short timeouts, because a caller is waiting and can try again.
CATALOG_RETRIES = Retries(attempts=2, base_s=0.1, cap_s=0.2)
CATALOG_TIMEOUT_S = 3.0
PLACES_WAIT_S = 0.5


class Services:
    """Catalog, store, Dagster, authentication, and rate limits."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # Set when the server is told to stop: answers that would go on end.
        self.stopping = threading.Event()
        self.limits = RateLimits(settings)
        self.audit = Audit(lambda: self.catalog, self.limits)
        self.dagster = DagsterClient(settings.dagster_url)
        self.launcher = Launcher(lambda: self.catalog, self.dagster)
        self.frames = NativeFrames(lambda: self.store)
        self.films = PlayableFilms(lambda: self.store, lambda: self.catalog, self.frames)
        self._places = Source("the queue", self._look_for_places)
        self._opening = threading.Lock()
        self._catalog: Catalog | None = None
        self._instance: DagsterInstance | None = None

    @property
    def catalog(self) -> Catalog:
        """The catalog.

        Raises:
            CatalogUnavailable: it cannot be opened now.
        """
        if self._catalog is not None:
            return self._catalog
        with self._opening:
            if self._catalog is None:
                try:
                    self._catalog = open_catalog(
                        self.settings, retries=CATALOG_RETRIES, connect_timeout_s=CATALOG_TIMEOUT_S
                    )
                except (psycopg.Error, OSError) as error:
                    raise CatalogUnavailable(f"the catalog cannot be opened: {type(error).__name__}") from error
            return self._catalog

    @cached_property
    def store(self) -> ObjectStore:
        """The object store."""
        return open_store(self.settings)

    @property
    def instance(self) -> DagsterInstance:
        """Dagster's storage, read only for the queue, which the webserver does not offer in its order.

        Raises:
            DagsterUnavailable: ``DAGSTER_HOME`` is not set, and this is not the embedded system.
        """
        with self._opening:
            if self._instance is None:
                if "DAGSTER_HOME" not in os.environ and self.settings.catalog_kind != "embedded":
                    raise DagsterUnavailable("DAGSTER_HOME is not set, so the queue cannot be read")
                self._instance = open_instance(self.settings)
            return self._instance

    def places(self) -> Mapping[str, int]:
        """Return video id → number of videos before it in the queue, some seconds old.

        Empty while Dagster's storage is unavailable: a page is shown without the places rather than later.
        """
        try:
            return self._places.answer().result(PLACES_WAIT_S)
        except Exception:  # noqa: BLE001 - the source has logged it; the page is useful without the places
            return {}

    def _look_for_places(self) -> Mapping[str, int]:
        try:
            return videos_before(self.instance)
        except DagsterUnavailable:  # not configured here: nothing to log every few seconds
            return {}

    @cached_property
    def tokens(self) -> TokenVerifier:
        """The verifier of user tokens."""
        return _token_verifier(self.settings)

    def refused(self, event: str) -> None:
        """Record refused credentials, and count them against the client.

        Raises:
            ApiError: 429 if this client was refused too often.
        """
        self.audit.record(event)
        self.limits.count_failure(current_facts().client_ip)

    def close(self) -> None:
        """Close every connection."""
        self.films.close()
        self.dagster.close()
        if self._instance is not None:
            self._instance.dispose()
        if self._catalog is not None:
            self._catalog.close()


def _token_verifier(settings: Settings) -> TokenVerifier:
    secret = settings.supabase_jwt_secret.get_secret_value() if settings.supabase_jwt_secret else None
    auth = f"{settings.supabase_url.rstrip('/')}/auth/v1" if settings.supabase_url else None
    keys_url = settings.supabase_jwks_url or (f"{auth}/.well-known/jwks.json" if auth else None)
    issuer = settings.jwt_issuer or auth
    if secret is None and keys_url is None and settings.catalog_kind == "embedded":
        secret, issuer = local_secret(settings), issuer or LOCAL_ISSUER
    keys = PublishedKeys(keys_url) if keys_url else None
    return TokenVerifier(secret=secret, keys=keys, audience=settings.jwt_audience, issuer=issuer)


def get_services(request: Request) -> Services:
    """Return the services of the application that serves the request."""
    return request.app.state.services


ServicesDependency = Annotated[Services, Depends(get_services)]
