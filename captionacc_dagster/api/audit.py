"""Record refusals relevant to security in ``security_audit_log`` and in the log, without secrets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from captionacc_dagster.api.rate_limits import RateLimits
from captionacc_dagster.api.request_log import current_facts
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import CatalogError
from captionacc_dagster.catalog.models import Severity

_log = logging.getLogger(__name__)


class Audit:
    """Records security events of the current request. Never raises: the refusal itself must reach the caller."""

    def __init__(self, open_catalog: Callable[[], Catalog], limits: RateLimits) -> None:
        self._open_catalog = open_catalog
        self._limits = limits

    def record(
        self,
        event: str,
        *,
        severity: Severity = "warning",
        tenant_id: UUID | None = None,
        video_id: UUID | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Record an event, such as ``webhook_bad_secret``, together with the facts of the request.

        Tenant and video are by default the request's. ``details`` never have a secret, a token, or a part of one.
        """
        facts = current_facts()
        facts.refusal = event
        if not self._limits.is_worth_a_row(event, facts.client_ip):
            return
        try:
            self._open_catalog().record_security_event(
                event,
                severity=severity,
                tenant_id=tenant_id or facts.tenant_id,
                user_id=facts.user_id,
                video_id=video_id or facts.video_id,
                client_ip=facts.client_ip,
                request_id=facts.request_id,
                method=facts.method,
                path=_without_nul(facts.path),
                details=dict(details or {}),
            )
        except CatalogError as error:
            _log.warning("the security event %s could not be recorded: %s", event, error)


def _without_nul(text: str) -> str:
    """Return text that Postgres accepts."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
