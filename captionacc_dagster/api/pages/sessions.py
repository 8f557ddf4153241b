"""Sign in with Supabase's email and password, with a token, or by being at the machine; join a tenant; sign out."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from captionacc_dagster.api.auth import NoTenant, UserDependency, get_caller, identify
from captionacc_dagster.api.browser_session import (
    CSRF_HEADER,
    begin_session,
    check_csrf,
    cookie_name,
    end_session,
    form_secret,
    refresh_token,
    set_form_secret,
)
from captionacc_dagster.api.errors import ApiError, unavailable
from captionacc_dagster.api.invitations import redeem
from captionacc_dagster.api.local_access import has_local_user, is_the_local_user, local_token
from captionacc_dagster.api.pages.rendering import INVITATION, SIGN_IN, PageRoute, need_session, render
from captionacc_dagster.api.pages.supabase_auth import AuthUnavailable, SignInRefused, Tokens, grant_tokens
from captionacc_dagster.api.services import Services, ServicesDependency
from captionacc_dagster.api.tokens import InvalidToken, KeysUnavailable

router = APIRouter(prefix="/review", route_class=PageRoute, include_in_schema=False)

_LONGEST_FORM = 16_384
_LONGEST_CODE = 100
# Browsers limit a cookie to 4,096 bytes, including its name and attributes.
_LONGEST_TOKEN = 3_800
_NO_LINK = (
    "This link does not sign you in here. It works in a browser on the machine that runs captionacc, with the key of "
    "its home as it is now."
)


@router.get("/sign-in")
def show_sign_in(
    services: ServicesDependency,
    request: Request,
    next: str = "/review",
    cookies: int = 0,
    key: Annotated[str | None, Query(max_length=128)] = None,
) -> Response:
    """Show the sign-in form; the local user with this home's key and a renewable session are admitted at once."""
    target = _own_path(next)
    # A link of long ago does not end the session that this browser has.
    keys = [kept for kept in (key, refresh_token(request)) if kept]
    valid = [kept for kept in keys if _is_local(services, request, kept)]
    if valid:
        if form_secret(request) is None:
            if cookies:
                raise ApiError(400, "this page needs cookies; allow them for this address")
            # A second request, from our own page, shows whether the browser keeps cookies.
            again = f"{SIGN_IN}?cookies=1&key={valid[0]}&next={quote(target, safe='')}"
            return render(request, "again.html", target=again)
        answer = render(request, "again.html", target=target)
        begin_session(request, answer, _new_local_token(services), valid[0])
        return answer
    refresh = refresh_token(request)
    if refresh is not None and (tokens := _renewed(services, refresh)) is not None:
        answer = render(request, "again.html", target=target)
        begin_session(request, answer, tokens.access, tokens.refresh)
        return answer
    if key and has_local_user(services.settings):
        return _form(services, request, target, status=401, problem=_NO_LINK)
    return _form(services, request, target)


@router.post("/sign-in")
async def do_sign_in(services: ServicesDependency, request: Request) -> Response:
    """Start a session from email and password, or from a token."""
    form = await _read_form(request)
    return await run_in_threadpool(_sign_in, services, request, form)


def _sign_in(services: Services, request: Request, form: dict[str, str]) -> Response:
    check_csrf(request, form.get("csrf"))
    target = _own_path(form.get("next", ""))
    try:
        if form.get("access_token", "").strip():
            tokens = Tokens("".join(form["access_token"].split()), None)
        else:
            tokens = _by_password(services, form)
        if len(tokens.access) > _LONGEST_TOKEN:
            raise SignInRefused("this token is too long for a cookie")
        services.tokens.verify(tokens.access)
    except (SignInRefused, InvalidToken) as error:
        services.refused("bad_sign_in")
        return _form(services, request, target, status=401, problem=str(error), email=form.get("email", ""))
    except (AuthUnavailable, KeysUnavailable) as error:
        raise unavailable(str(error)) from error
    answer = RedirectResponse(target, 303)
    begin_session(request, answer, tokens.access, tokens.refresh)
    # Invalidates the form secret of whoever used this browser before.
    set_form_secret(request, answer)
    return answer


def _by_password(services: Services, form: dict[str, str]) -> Tokens:
    if not services.settings.supabase_url:
        raise SignInRefused("enter a token")
    if not form.get("email") or not form.get("password"):
        raise SignInRefused("enter your email and password")
    return grant_tokens(services.settings, "password", {"email": form["email"], "password": form["password"]})


@router.get("/invitation", dependencies=[Depends(need_session)])
def show_invitation(services: ServicesDependency, user_id: UserDependency, request: Request) -> Response:
    """Ask who belongs to no tenant yet for an invitation code; who does is shown the videos."""
    try:
        get_caller(services, user_id)
    except NoTenant:
        return render(request, "invitation.html", signed_in=True, problem=None)
    return RedirectResponse("/review", 303)


@router.post("/invitation")
async def take_invitation(services: ServicesDependency, request: Request) -> Response:
    """Redeem an invitation code, and show the videos of the tenant that it is for."""
    form = await _read_form(request)
    return await run_in_threadpool(_take_invitation, services, request, form)


def _take_invitation(services: Services, request: Request, form: dict[str, str]) -> Response:
    check_csrf(request, form.get("csrf"))
    user_id = identify(services, request.cookies.get(cookie_name(request)))
    try:
        redeem(services, user_id, form.get("code", "")[:_LONGEST_CODE])
    except ApiError as error:
        if error.status not in (404, 409):
            raise
        return render(request, "invitation.html", code=error.status, signed_in=True, problem=error.detail)
    return RedirectResponse("/review", 303)


@router.post("/session")
def renew_session(services: ServicesDependency, request: Request) -> Response:
    """Renew the session of a page that stays open longer than a token is valid; 401 if it has ended."""
    check_csrf(request, request.headers.get(CSRF_HEADER))
    refresh = refresh_token(request)
    if _is_local(services, request, refresh):
        tokens: Tokens | None = Tokens(_new_local_token(services), refresh)
    else:
        tokens = None if refresh is None else _renewed(services, refresh)
    if tokens is None:
        return JSONResponse({"detail": "the session has ended; sign in again"}, 401)
    answer = Response(status_code=204)
    begin_session(request, answer, tokens.access, tokens.refresh)
    return answer


@router.post("/sign-out")
async def sign_out(services: ServicesDependency, request: Request) -> Response:
    """End the session in this browser."""
    form = await _read_form(request)
    check_csrf(request, form.get("csrf"))
    answer = RedirectResponse(SIGN_IN, 303)
    end_session(request, answer)
    return answer


def _is_local(services: Services, request: Request, key: str | None) -> bool:
    client = request.client.host if request.client else ""
    return is_the_local_user(services.settings, key, client, request.url.hostname or "", request.headers)


def _new_local_token(services: Services) -> str:
    services.catalog.ping()  # its local user is there once it answers
    return local_token(services.settings)


def _renewed(services: Services, refresh: str) -> Tokens | None:
    if not services.settings.supabase_url:
        return None
    try:
        tokens = grant_tokens(services.settings, "refresh_token", {"refresh_token": refresh})
        services.tokens.verify(tokens.access)
    except (SignInRefused, InvalidToken):
        return None
    except (AuthUnavailable, KeysUnavailable) as error:
        raise unavailable(str(error)) from error
    return tokens if len(tokens.access) <= _LONGEST_TOKEN else None


def _form(
    services: Services, request: Request, target: str, *, status: int = 200, problem: str | None = None, email: str = ""
) -> Response:
    return render(
        request,
        "sign_in.html",
        code=status,
        target=target,
        problem=problem,
        email=email,
        by_password=bool(services.settings.supabase_url),
        has_local_user=has_local_user(services.settings),
    )


def _own_path(target: str) -> str:
    """Return the target if it is a path of these pages, otherwise the start page, so that nobody is sent elsewhere."""
    parts = urlsplit(target)
    own = not parts.scheme and not parts.netloc and (parts.path == "/review" or parts.path.startswith("/review/"))
    if (
        not own
        or "\\" in target
        or target.startswith("//")
        or parts.path.startswith((SIGN_IN, INVITATION, "/review/sign-out"))
    ):
        return "/review"
    return target


async def _read_form(request: Request) -> dict[str, str]:
    body = await request.body()
    if len(body) > _LONGEST_FORM:
        raise ApiError(413, "this form is too large")
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        raise ApiError(400, "this form cannot be read") from None
    return {name: values[-1] for name, values in fields.items()}
