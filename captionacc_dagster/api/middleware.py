"""Middleware for every request: an id, a log line, headers, and limits of rate and size."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from uuid import uuid4

import anyio
from anyio.to_thread import run_sync
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from captionacc_dagster.api.errors import ApiError
from captionacc_dagster.api.request_log import RequestFacts, current, current_facts
from captionacc_dagster.api.services import Services

_log = logging.getLogger("captionacc_dagster.api.requests")
# The largest part of an upload, and the time in which it arrives; other bodies have the limit of the settings.
PART_BYTES = 4 << 20
PART_SECONDS = 120.0
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
# A body of the largest size arrives within this time even over a slow line.
BODY_SECONDS = 30.0

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class RequestMiddleware:
    """Assigns each request an id and a log line, sets the headers of each answer, and counts it.

    Args:
        app: what answers.
        count: called with each request, the status of its answer, and the seconds that it took, also for requests that
            are refused before they reach an endpoint.
    """

    def __init__(self, app: ASGIApp, count: Callable[[Scope, int, float], None]) -> None:
        self.app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        client = scope.get("client")
        facts = RequestFacts(
            request_id=given if _REQUEST_ID.fullmatch(given) else uuid4().hex,
            method=scope["method"],
            path=scope["path"][:300],
            client_ip=client[0] if client else "unknown",
        )
        current.set(facts)
        began = time.perf_counter()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = facts.request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - began
            self._count(scope, status, seconds)
            fields = {
                "method": facts.method,
                "path": facts.path,
                "status": status,
                "milliseconds": round(seconds * 1000, 1),
                "client_ip": facts.client_ip,
                "refusal": facts.refusal,
            }
            _log.info("%s %s %s", facts.method, json.dumps(facts.path), status, extra={"fields": fields})


class HostMiddleware:
    """Refuses requests without exactly one well-formed Host, and under a name that is not ours.

    Addresses are parsed from this header later: ``127.0.0.1:80@evil.test`` must not reach that code.
    """

    def __init__(self, app: ASGIApp, hosts: list[str]) -> None:
        self.app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and not self._is_ours(Headers(scope=scope).getlist("host")):
            await _refuse(scope, receive, send, ApiError(400, "the Host header is not one of this service"))
            return
        await self.app(scope, receive, send)

    def _is_ours(self, given: list[str]) -> bool:
        if len(given) != 1 or (found := _HOST.fullmatch(given[0])) is None:
            return False
        return not self._hosts or found["name"].lower() in self._hosts


class ClientLimitMiddleware:
    """Refuses clients above the rate limit before the request is read; ``/health`` is always answered."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] != "/health":
            try:
                await self._services.limits.admit("client", current_facts().client_ip)
            except ApiError as error:
                await run_sync(lambda: self._services.audit.record("rate_limited", details={"limit": "client"}))
                await _refuse(scope, receive, send, error)
                return
        await self.app(scope, receive, send)


class BodyLimitMiddleware:
    """Refuses bodies above the limit, by their announced length or while they arrive, and those that do not arrive."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self._max_bytes = max_bytes
        self._seconds = BODY_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_part = scope["method"] == "PUT" and scope["path"].endswith("/media")
        most = max(PART_BYTES, self._max_bytes) if is_part else self._max_bytes
        seconds = PART_SECONDS if is_part else self._seconds
        too_slow = ApiError(408, f"the body did not arrive within {seconds:g} s", {"Connection": "close"})
        too_large = ApiError(413, f"the body is larger than {most} bytes", {"Connection": "close"})
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            await _refuse(scope, receive, send, too_large)
            return
        seen = 0
        started = complete = False
        deadline = anyio.current_time() + seconds

        async def counted() -> Message:
            nonlocal seen, complete
            if complete:
                return await receive()
            try:
                with anyio.fail_after(deadline - anyio.current_time()):
                    message = await receive()
            except TimeoutError:
                raise _BodyRefused(too_slow) from None
            seen += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if seen > most:
                raise _BodyRefused(too_large)
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except _BodyRefused as refused:
            if not started:
                await _refuse(scope, receive, send, refused.error)


class _BodyRefused(BaseException):
    """A BaseException, so that endpoints do not handle it."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.detail)
        self.error = error


async def _refuse(scope: Scope, receive: Receive, send: Send, error: ApiError) -> None:
    await JSONResponse({"detail": error.detail}, error.status, error.headers)(scope, receive, send)
