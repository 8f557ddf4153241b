"""Supabase Auth over its REST interface: a user token for e-mail and password, and a new one when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from captionacc_dagster.settings import Settings

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Tokens:
    """A user token, and what the next one is got with."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)


class SignInRefused(Exception):
    """Supabase does not let this person in; the message is for them."""


class AuthUnavailable(Exception):
    """Supabase Auth cannot be reached, or does not answer as it should."""


def sign_in(settings: Settings, email: str, password: str) -> Tokens:
    """Exchange e-mail and password for tokens.

    Raises:
        SignInRefused: they are not right, or too many tried.
        AuthUnavailable: nobody answers.
    """
    return _grant(settings, "password", {"email": email, "password": password})


def renew(settings: Settings, refresh: str) -> Tokens:
    """Exchange a refresh token for new tokens.

    Raises:
        SignInRefused: it has been used or taken back.
        AuthUnavailable: nobody answers.
    """
    return _grant(settings, "refresh_token", {"refresh_token": refresh})


def _grant(settings: Settings, kind: str, body: Mapping[str, str]) -> Tokens:
    assert settings.supabase_url is not None
    key = settings.supabase_service_role_key.get_secret_value() if settings.supabase_service_role_key else ""
    try:
        answer = httpx.post(
            f"{settings.supabase_url.rstrip('/')}/auth/v1/token",
            params={"grant_type": kind},
            json=dict(body),
            headers={"apikey": key},
            timeout=_TIMEOUT_S,
            follow_redirects=False,
        )
        if answer.status_code == 429:
            raise SignInRefused("too many tried to sign in; wait a minute")
        if answer.status_code in (400, 403, 422):
            raise SignInRefused("e-mail or password are not right, or the address is not confirmed yet")
        answer.raise_for_status()
        given = answer.json()
        refresh = given.get("refresh_token")
        return Tokens(str(given["access_token"]), refresh if isinstance(refresh, str) else None)
    except (httpx.HTTPError, ValueError, KeyError, AttributeError) as error:
        raise AuthUnavailable("signing in is not possible now: Supabase Auth does not answer") from error
