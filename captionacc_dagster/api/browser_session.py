"""Browser sessions: the user token in a cookie that scripts cannot read, and protection against CSRF."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import Response

from captionacc_dagster.api.errors import ApiError

CSRF_HEADER = "X-CSRF-Token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_REFRESH_PATH = "/review"
_REMEMBERED_S = 30 * 86_400  # the token in the cookie expires earlier, usually after an hour


def cookie_name(request: Request, kind: str = "session") -> str:
    """Return a cookie's name; it contains the port, because browsers share cookies between ports of a host."""
    port = request.url.port
    return f"captionacc_{kind}" if port is None else f"captionacc_{kind}_{port}"


def csrf_token(secret: str) -> str:
    """Return the token that a page sends with each change; only a browser that received the page knows it."""
    return hmac.new(secret.encode(), b"captionacc csrf", hashlib.sha256).hexdigest()


def form_secret(request: Request) -> str | None:
    """Return the secret of this browser's pages: a random cookie that no script and no other site can read."""
    return request.cookies.get(cookie_name(request, "form")) or None


def check_csrf(request: Request, given: str | None) -> None:
    """Raise for a change that was not requested by one of these pages.

    Raises:
        ApiError: 403 if it comes from another origin, or lacks the page's token.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.url.netloc:
        raise ApiError(403, "this change was requested by a page of another site")
    secret = form_secret(request)
    expected = csrf_token(secret) if secret is not None else ""
    if not given or not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
        raise ApiError(403, f"a change in a browser session needs the page's token ({CSRF_HEADER}); reload the page")


def session_token(request: Request) -> str | None:
    """Return the user token of the browser's session, or None.

    Raises:
        ApiError: 403 for a change that was not requested by one of these pages.
    """
    token = request.cookies.get(cookie_name(request))
    if not token:
        return None
    if request.method not in _SAFE:
        check_csrf(request, request.headers.get(CSRF_HEADER))
    return token


def refresh_token(request: Request) -> str | None:
    """Return Supabase's refresh token for a new user token, or None; it is only sent to the pages."""
    return request.cookies.get(cookie_name(request, "refresh")) or None


def set_form_secret(request: Request, answer: Response) -> str:
    """Set the secret of this browser's pages and return it."""
    secret = secrets.token_urlsafe(32)
    _set(request, answer, "form", secret, "/")
    return secret


def begin_session(request: Request, answer: Response, token: str, refresh: str | None = None) -> None:
    """Start a session in the browser, with the user token and, if given, its refresh token."""
    _set(request, answer, "session", token, "/")
    if refresh is not None:
        _set(request, answer, "refresh", refresh, _REFRESH_PATH)


def end_session(request: Request, answer: Response) -> None:
    """End the session in the browser."""
    for kind, path in (("session", "/"), ("refresh", _REFRESH_PATH)):
        answer.delete_cookie(cookie_name(request, kind), path, **_protection(request))


def _set(request: Request, answer: Response, kind: str, value: str, path: str) -> None:
    answer.set_cookie(cookie_name(request, kind), value, _REMEMBERED_S, path=path, **_protection(request))


def _protection(request: Request) -> dict[str, Any]:
    return {"secure": request.url.scheme == "https", "httponly": True, "samesite": "strict"}
