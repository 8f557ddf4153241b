"""Render pages from templates, with their headers, static files, and error pages."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from captionacc_dagster.api.auth import NoTenant
from captionacc_dagster.api.browser_session import cookie_name, csrf_token, form_secret, set_form_secret
from captionacc_dagster.api.errors import ApiError
from captionacc_dagster.api.local_access import has_local_user
from captionacc_dagster.api.pages import messages
from captionacc_dagster.api.request_log import current_facts

_FOLDER = Path(__file__).parent
SIGN_IN = "/review/sign-in"
INVITATION = "/review/invitation"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_IMPORT = re.compile(r'^import .* from "\./([\w.]+)";$', re.MULTILINE)
_STATIC_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"static": static_url, "imports_of": imports_of}
    environment.filters |= {"duration": messages.duration, "moment": messages.moment}
    return environment


@cache
def static_files() -> dict[str, tuple[bytes, str, str]]:
    """Return name → bytes, media type, and entity tag of every static file."""
    return {
        path.name: (data, _STATIC_TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:16]}"')
        for path in sorted((_FOLDER / "static").iterdir())
        if path.suffix in _STATIC_TYPES
        for data in [path.read_bytes()]
    }


def static_url(name: str) -> str:
    """Return a static file's address, which changes with its content."""
    return f"/review/static/{name}?v={static_files()[name][2].strip(chr(34))}"


@cache
def imports_of(name: str) -> tuple[str, ...]:
    """Return the addresses of all modules that a script imports, also through others, so that a page asks for them at
    once."""
    found: dict[str, None] = {}
    waiting = [name]
    while waiting:
        for imported in _IMPORT.findall(static_files()[waiting.pop()][0].decode()):
            if imported not in found:
                found[imported] = None
                waiting.append(imported)
    return tuple(f"/review/static/{imported}" for imported in found)


def render(request: Request, template: str, code: int = 200, **values: Any) -> Response:
    """Render a page, and set the form cookie, which identifies the page's changes, if the browser has none."""
    answer = HTMLResponse(status_code=code)
    secret = form_secret(request) or set_form_secret(request, answer)
    values = {"signed_in": False, "local": False, **values, "csrf": csrf_token(secret)}
    body = _templates().get_template(template).render(**values).encode()
    answer.body = body
    answer.headers["Content-Length"] = str(len(body))
    answer.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return answer


def need_session(request: Request) -> None:
    """Send a browser without a session to the sign-in page and back; nobody was refused, so nothing is recorded.

    Raises:
        ApiError: 401, which :class:`PageRoute` turns into a redirect.
    """
    if not request.cookies.get(cookie_name(request)):
        raise ApiError(401, "sign in")


def to_sign_in(request: Request) -> Response:
    """Return a redirect to the sign-in page and back.

    A link on another site opens this page without cookies; the redirect opens it with them.
    """
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
        return render(request, "again.html", target=target)
    back = target if request.method == "GET" else "/review"
    return RedirectResponse(f"{SIGN_IN}?next={quote(back, safe='')}", 303)


class PageRoute(APIRoute):
    """A route that shows errors as pages for people, and sends who has no session or no tenant where to get one."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint, wrapped to show errors as pages."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except NoTenant:
                return RedirectResponse(INVITATION, 303)
            except Exception as error:  # noqa: BLE001 - the application's handlers turn each error into an answer
                return await _error_page(request, error)

        return handle


async def _error_page(request: Request, error: Exception) -> Response:
    handlers = request.app.exception_handlers
    handler = next(handlers[kind] for kind in type(error).__mro__ if kind in handlers)
    answer: Response = await handler(request, error)
    if answer.status_code == 401:
        return to_sign_in(request)
    detail = json.loads(bytes(answer.body))["detail"]
    page = render(
        request,
        "error.html",
        answer.status_code,
        status=answer.status_code,
        detail=detail if isinstance(detail, str) else None,
        request_id=current_facts().request_id,
        local=has_local_user(request.app.state.services.settings),
    )
    if retry_after := answer.headers.get("retry-after"):
        page.headers["Retry-After"] = retry_after
    return page
