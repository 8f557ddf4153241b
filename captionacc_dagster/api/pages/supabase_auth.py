"""A client of Supabase Auth's REST interface: get user tokens by email and password, and renew them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import httpx

from captionacc_dagster.settings import Settings

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Tokens:
    """A user token and its refresh token."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)


class SignInRefused(Exception):
    """Supabase refuses to sign in this person; the message is for them."""


class AuthUnavailable(Exception):
    """Supabase Auth cannot be reached or gives an invalid answer."""


def grant_tokens(
    settings: Settings, grant_type: Literal["password", "refresh_token"], credentials: Mapping[str, str]
) -> Tokens:
    """Return tokens for an email and password, or new ones for a refresh token.

    Raises:
        SignInRefused: the credentials are wrong, used, or revoked, or there were too many attempts.
        AuthUnavailable: Supabase Auth does not answer.
    """
    assert settings.supabase_url is not None
    key = settings.supabase_service_role_key.get_secret_value() if settings.supabase_service_role_key else ""
    try:
        answer = httpx.post(
            f"{settings.supabase_url.rstrip('/')}/auth/v1/token",
            params={"grant_type": grant_type},
            json=dict(credentials),
            headers={"apikey": key},
            timeout=_TIMEOUT_S,
            follow_redirects=False,
        )
        if answer.status_code == 429:
            raise SignInRefused("too many attempts to sign in; wait a minute")
        if answer.status_code in (400, 403, 422):
            raise SignInRefused("the email or password is wrong, or the address is not confirmed yet")
        answer.raise_for_status()
        given = answer.json()
        refresh = given.get("refresh_token")
        return Tokens(str(given["access_token"]), refresh if isinstance(refresh, str) else None)
    except (httpx.HTTPError, ValueError, KeyError, AttributeError) as error:
        raise AuthUnavailable("you cannot sign in now: Supabase Auth does not answer") from error
