"""A person's session in a browser: their token in a cookie that no script can read, and the guard of its changes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import Response

from captionacc_dagster.api.errors import ApiError

CSRF_HEADER = "X-CSRF-Token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_REFRESH_PATH = "/review"
_REMEMBERED_S = 30 * 86_400  # the token in the cookie ends by itself, mostly after an hour


def cookie_name(request: Request, kind: str = "session") -> str:
    """Give a cookie's name; it says the port, for browsers share cookies between the ports of one host."""
    port = request.url.port
    return f"captionacc_{kind}" if port is None else f"captionacc_{kind}_{port}"


def csrf_token(secret: str) -> str:
    """Give what a page must send along with a change: only who was given the page knows it."""
    return hmac.new(secret.encode(), b"captionacc csrf", hashlib.sha256).hexdigest()


def form_secret(request: Request) -> str | None:
    """Give what this browser's pages are known by: a random cookie that no script and no other site can read."""
    return request.cookies.get(cookie_name(request, "form")) or None


def check_csrf(request: Request, given: str | None) -> None:
    """Refuse a change that no page of ours asked for.

    Raises:
        ApiError: 403 when it comes from another origin, or without the page's own token.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.url.netloc:
        raise ApiError(403, "this change was asked for by a page of another site")
    secret = form_secret(request)
    expected = csrf_token(secret) if secret is not None else ""
    if not given or not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
        raise ApiError(403, f"a change in a browser's session needs the page's token ({CSRF_HEADER}); reload the page")


def session_token(request: Request) -> str | None:
    """Give the user token of the browser's session, or None.

    Raises:
        ApiError: 403 for a change that no page of ours asked for.
    """
    token = request.cookies.get(cookie_name(request))
    if not token:
        return None
    if request.method not in _SAFE:
        check_csrf(request, request.headers.get(CSRF_HEADER))
    return token


def refresh_token(request: Request) -> str | None:
    """Give what a new user token is got with from Supabase, or None; only the pages are sent it."""
    return request.cookies.get(cookie_name(request, "refresh")) or None


def set_form_secret(request: Request, answer: Response) -> str:
    """Give the browser what its pages are known by, and give it."""
    secret = secrets.token_urlsafe(32)
    _set(request, answer, "form", secret, _REMEMBERED_S, "/")
    return secret


def begin_session(request: Request, answer: Response, token: str, refresh: str | None = None) -> None:
    """Give the browser a session: the user token, and what it is renewed with when there is such a thing."""
    _set(request, answer, "session", token, _REMEMBERED_S, "/")
    if refresh is not None:
        _set(request, answer, "refresh", refresh, _REMEMBERED_S, _REFRESH_PATH)


def end_session(request: Request, answer: Response) -> None:
    """Take the session away from the browser."""
    for kind, path in (("session", "/"), ("refresh", _REFRESH_PATH)):
        answer.delete_cookie(
            cookie_name(request, kind), path=path, secure=_is_secure(request), httponly=True, samesite="strict"
        )


def _set(request: Request, answer: Response, kind: str, value: str, seconds: int, path: str) -> None:
    answer.set_cookie(
        cookie_name(request, kind),
        value,
        max_age=max(1, seconds),
        path=path,
        secure=_is_secure(request),
        httponly=True,
        samesite="strict",
    )


def _is_secure(request: Request) -> bool:
    return request.url.scheme == "https"
