"""Rate limits per client and per tenant, counted in this process, in Redis, or in Postgres."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from typing import Any, Literal
from uuid import UUID

from anyio.to_thread import run_sync
from limits import RateLimitItem, parse
from limits.errors import StorageError
from limits.storage import MemoryStorage, Storage, storage_from_string
from limits.strategies import MovingWindowRateLimiter

from captionacc_dagster.api import rate_limit_postgres as _registers_postgres  # noqa: F401
from captionacc_dagster.api.errors import ApiError
from captionacc_dagster.settings import Settings

_log = logging.getLogger(__name__)

REDIS_TIMEOUT_S = 1.0


def client_key(address: str) -> str:
    """Return the key of a client: its address, or for IPv6 its network, all of which one client owns."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if parsed.version == 6:
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _open_storage(uri: str) -> Storage:
    options: dict[str, Any] = {}
    if uri.startswith("redis"):
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # A hanging Redis must not delay every request; one retry covers connections that it has closed.
        timeouts = {"socket_timeout": REDIS_TIMEOUT_S, "socket_connect_timeout": REDIS_TIMEOUT_S}
        options = {**timeouts, "retry": Retry(NoBackoff(), 1)}
    return storage_from_string(uri, wrap_exceptions=True, **options)  # pyright: ignore[reportReturnType]


class RateLimits:
    """Moving windows by client and by tenant. While their store is unavailable, all requests are admitted."""

    def __init__(self, settings: Settings) -> None:
        self._storage = _open_storage(settings.rate_limit_storage)
        self._limiter = MovingWindowRateLimiter(self._storage)
        self._client = parse(settings.rate_limit_client)
        self._webhooks = parse(settings.rate_limit_webhooks)
        self._tenant = parse(settings.rate_limit_tenant)
        self._failures = parse(settings.rate_limit_failures)

    async def admit(self, kind: Literal["client", "webhook"], address: str) -> None:
        """Count a request of this client, or a webhook of it with a valid secret.

        Raises:
            ApiError: 429 with ``Retry-After``.
        """
        item = self._client if kind == "client" else self._webhooks
        if isinstance(self._storage, MemoryStorage):
            self._hit(item, kind, client_key(address))
        else:
            await run_sync(self._hit, item, kind, client_key(address))

    def admit_tenant(self, tenant_id: UUID) -> None:
        """Count a request of this tenant's users.

        Raises:
            ApiError: 429 with ``Retry-After``.
        """
        self._hit(self._tenant, "tenant", str(tenant_id))

    def count_failure(self, address: str) -> None:
        """Count refused credentials of this client, so that credentials cannot be guessed.

        Raises:
            ApiError: 429 with ``Retry-After``; valid credentials are still admitted.
        """
        self._hit(self._failures, "failure", client_key(address))

    def is_worth_a_row(self, event: str, address: str) -> bool:
        """Return whether to record an event of this client; a flood of events must not fill the log."""
        try:
            return self._limiter.hit(self._failures, "audit", event, client_key(address))
        except StorageError:
            return True

    def _hit(self, item: RateLimitItem, *identifiers: str) -> None:
        try:
            if self._limiter.hit(item, *identifiers):
                return
            reset = self._limiter.get_window_stats(item, *identifiers).reset_time
        except StorageError as error:
            _log.warning("requests are not counted: %s", type(error.storage_error).__name__)
            return
        wait_s = max(1, math.ceil(reset - time.time()))
        raise ApiError(429, f"too many requests; try again in {wait_s} s", {"Retry-After": str(wait_s)})
