"""Ledgers of remote compute calls, webhook deliveries, and security events, and the catalog's counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from captionacc_dagster.catalog.calls import CatalogCalls, Id, Page, as_uuid, optional_uuid, page_of, read_cursor
from captionacc_dagster.catalog.models import (
    CatalogMetrics,
    ComputeCall,
    ComputeEnd,
    ComputeState,
    SecurityEvent,
    Severity,
)


class LedgerMethods(CatalogCalls):
    """Methods for compute calls, webhook deliveries, security events, and metrics."""

    def record_compute_call(
        self,
        call_key: str,
        video_id: Id,
        *,
        app_name: str,
        function_name: str,
        code_version: str,
        arguments: Mapping[str, Any],
        environment: str = "",
        request_id: Id | None = None,
        run_id: str | None = None,
        estimated_minutes: float = 0.0,
    ) -> ComputeCall:
        """Return the call with this key, created in state ``intent`` if it does not exist.

        If the tenant's minutes of this month do not suffice, it is created as ``refused`` with the reason in
        ``error_details``; a refused call is checked again each time it is requested.

        Raises:
            NotFound: there is no such video.
        """
        return self._one(
            ComputeCall,
            "record_compute_call",
            f"compute call {call_key}",
            p_call_key=call_key,
            p_video_id=as_uuid(video_id, "video id"),
            p_app_name=app_name,
            p_environment=environment,
            p_function_name=function_name,
            p_code_version=code_version,
            p_input=dict(arguments),
            p_request_id=optional_uuid(request_id, "request id"),
            p_run_id=run_id,
            p_estimated_minutes=estimated_minutes,
        )

    def find_compute_call(self, call_key: str) -> ComputeCall | None:
        """Return the call with this key, or None."""
        return self._first(ComputeCall, "find_compute_call", p_call_key=call_key)

    def spawn_compute_call(
        self, call_id: Id, external_call_id: str, *, dashboard_url: str | None = None
    ) -> ComputeCall:
        """Record the remote id of a call in state ``intent``; a call that has an id keeps it.

        Raises:
            NotFound: there is no such call.
        """
        return self._one(
            ComputeCall,
            "spawn_compute_call",
            f"compute call {call_id}",
            p_call_id=as_uuid(call_id, "call id"),
            p_external_call_id=external_call_id,
            p_dashboard_url=dashboard_url,
        )

    def claim_compute_spawn(self, call_id: Id, spawner: str, lease_s: float) -> bool:
        """Return whether this caller may make a call in state ``intent``, for ``lease_s`` seconds; 0 gives it up."""
        return self._call(
            "claim_compute_spawn",
            p_call_id=as_uuid(call_id, "call id"),
            p_spawner=spawner,
            p_lease_seconds=lease_s,
        )

    def request_compute_cancel(self, call_id: Id, error_details: Mapping[str, Any]) -> ComputeCall:
        """Record that an open call is to end, although that is not certain yet.

        Raises:
            NotFound: there is no such call.
        """
        return self._one(
            ComputeCall,
            "request_compute_cancel",
            f"compute call {call_id}",
            p_call_id=as_uuid(call_id, "call id"),
            p_error_details=dict(error_details),
        )

    def touch_compute_call(self, call_id: Id, *, running: bool = False) -> bool:
        """Record that a run still waits for the call, and whether it is running; return False if it has ended."""
        return self._call("touch_compute_call", p_call_id=as_uuid(call_id, "call id"), p_running=running)

    def respawn_compute_call(self, call_id: Id, *, attempt: int, reason: str) -> ComputeCall:
        """Reset the call to ``intent`` if ``attempt`` is still its attempt, and begin the next attempt.

        Raises:
            NotFound: there is no such call.
        """
        return self._one(
            ComputeCall,
            "respawn_compute_call",
            f"compute call {call_id}",
            p_call_id=as_uuid(call_id, "call id"),
            p_attempt=attempt,
            p_reason=reason,
        )

    def end_compute_call(
        self,
        call_id: Id,
        state: ComputeEnd,
        *,
        result: Mapping[str, Any] | None = None,
        error_details: Mapping[str, Any] | None = None,
        queued_s: float | None = None,
        running_s: float | None = None,
        estimated_cost_usd: float | None = None,
    ) -> ComputeCall:
        """Record how the call ended; the first end stays.

        Raises:
            NotFound: there is no such call.
        """
        return self._one(
            ComputeCall,
            "end_compute_call",
            f"compute call {call_id}",
            p_call_id=as_uuid(call_id, "call id"),
            p_state=state,
            p_result=None if result is None else dict(result),
            p_error_details=None if error_details is None else dict(error_details),
            p_queued_seconds=queued_s,
            p_running_seconds=running_s,
            p_estimated_cost_usd=estimated_cost_usd,
        )

    def list_compute_calls(
        self,
        *,
        states: Iterable[ComputeState] | None = None,
        video_id: Id | None = None,
        waiter_unseen_since: datetime | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[ComputeCall]:
        """Return a page of calls, oldest first; with ``waiter_unseen_since``, those without a waiter or to end."""
        after_at, after_id = read_cursor(cursor)
        count = min(max(limit, 1), 500)
        rows = self._rows(
            ComputeCall,
            "list_compute_calls",
            p_states=None if states is None else list(states),
            p_video_id=optional_uuid(video_id, "video id"),
            p_waiter_unseen_since=waiter_unseen_since,
            p_after_created_at=after_at,
            p_after_id=after_id,
            p_limit=count + 1,
        )
        return page_of([(call.created_at, call.id, call) for call in rows], count)

    def accept_webhook_delivery(
        self, delivery_id: str, source: str, *, video_id: Id | None = None, tenant_id: Id | None = None
    ) -> bool:
        """Record a delivery; return True for the first delivery with this id, False for every replay."""
        return self._call(
            "accept_webhook_delivery",
            p_delivery_id=delivery_id,
            p_receipt=uuid4(),
            p_source=source,
            p_video_id=optional_uuid(video_id, "video id"),
            p_tenant_id=optional_uuid(tenant_id, "tenant id"),
        )

    def purge_webhook_deliveries(self, received_before: datetime) -> int:
        """Remove deliveries that are too old to be replayed; return how many."""
        return self._call("purge_webhook_deliveries", p_received_before=received_before)

    def record_security_event(
        self,
        event: str,
        *,
        severity: Severity = "warning",
        tenant_id: Id | None = None,
        user_id: Id | None = None,
        video_id: Id | None = None,
        client_ip: str | None = None,
        request_id: str | None = None,
        method: str | None = None,
        path: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Append to the security log; never pass a secret or a token."""
        self._call(
            "record_security_event",
            p_event_id=uuid4(),
            p_event=event,
            p_severity=severity,
            p_tenant_id=optional_uuid(tenant_id, "tenant id"),
            p_user_id=optional_uuid(user_id, "user id"),
            p_video_id=optional_uuid(video_id, "video id"),
            p_client_ip=client_ip,
            p_request_id=request_id,
            p_method=method,
            p_path=path,
            p_details=dict(details or {}),
        )

    def list_security_events(
        self,
        *,
        tenant_id: Id | None = None,
        event: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[SecurityEvent]:
        """Return a page of the security log, newest first (``limit`` at most 500)."""
        before_at, before_id = read_cursor(cursor)
        count = min(max(limit, 1), 500)
        rows = self._rows(
            SecurityEvent,
            "list_security_events",
            p_tenant_id=optional_uuid(tenant_id, "tenant id"),
            p_event=event,
            p_before_created_at=before_at,
            p_before_id=before_id,
            p_limit=count + 1,
        )
        return page_of([(entry.created_at, entry.id, entry) for entry in rows], count)

    def get_metrics(self, calls_ended_after: datetime | None = None) -> CatalogMetrics:
        """Return the numbers of videos, open requests, locks, and open calls, and what happened to others.

        ``calls_ended_after`` also returns the calls that ended after a time (at most 1000).
        """
        return CatalogMetrics.model_validate(self._call("catalog_metrics", p_calls_ended_after=calls_ended_after))

    def ping(self) -> None:
        """Verify, without retries, that the catalog answers.

        Raises:
            CatalogUnavailable: it does not answer.
        """
        self._send("schema_version", {})
