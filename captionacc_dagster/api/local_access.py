"""The way in on one's own machine: a secret under ``CAPTIONACC_HOME`` and a token for the one local user."""

from __future__ import annotations

import ipaddress
import os
import secrets
import time
from uuid import UUID

import jwt
import psycopg
from starlette.datastructures import Headers

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.settings import Settings

LOCAL_USER_ID = UUID("00000000-0000-4000-8000-000000000002")
LOCAL_ISSUER = "captionacc"


def local_secret(settings: Settings) -> str:
    """Give the secret of this home's user tokens, made when it is not there; only its owner can read the file."""
    path = settings.home / "api" / "jwt-secret"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        # Whoever made it may still be writing.
        for _ in range(50):
            if secret := path.read_text(encoding="ascii").strip():
                return secret
            time.sleep(0.02)
        path.unlink()
        return local_secret(settings)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        secret = secrets.token_urlsafe(48)
        stream.write(secret)
    return secret


def has_local_user(settings: Settings) -> bool:
    """Say whether users are this machine's own one, and not Supabase's."""
    from_supabase = settings.supabase_jwt_secret or settings.supabase_jwks_url or settings.supabase_url
    return settings.catalog_kind == "embedded" and not from_supabase


def is_at_the_machine(settings: Settings, client: str, host: str, headers: Headers) -> bool:
    """Say whether a browser runs on this machine, so that its person is the local user.

    The name in the address must be the machine's own too: a page elsewhere can point a name of its own here. What
    came through a proxy is not believed, for it may come from anywhere.

    Args:
        settings: with users of Supabase, or with trusted proxies, nobody is.
        client: the address that the request came from.
        host: the host in the address that the browser opened.
        headers: of the request.
    """
    if not has_local_user(settings) or settings.trusted_proxies:
        return False
    return is_from_this_machine(client, host, headers)


def is_from_this_machine(client: str, host: str, headers: Headers) -> bool:
    """Say whether a request was made on this machine, under a name of the machine's own, and through no proxy."""
    if any(name in headers for name in ("forwarded", "x-forwarded-for", "x-forwarded-host", "via")):
        return False
    return _is_loopback(client) and (host == "localhost" or _is_loopback(host))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def local_token(settings: Settings, catalog: Catalog, *, hours: float = 24.0) -> str:
    """Give a token for the local tenant's owner, made in the embedded catalog when it is not there.

    Raises:
        ValueError: the catalog is not the embedded one; its users come from Supabase.
        CatalogError: the catalog is away.
    """
    if not has_local_user(settings):
        raise ValueError("users and their tokens come from Supabase here, not from captionacc")
    with psycopg.connect(EmbeddedPostgres(settings.home).url(), autocommit=True) as connection:
        connection.execute("insert into auth.users (id) values (%s) on conflict do nothing", (LOCAL_USER_ID,))
    catalog.set_user_profile(LOCAL_USER_ID, LOCAL_TENANT_ID, role="owner", approval_status="approved")
    now = int(time.time())
    claims = {
        "sub": str(LOCAL_USER_ID),
        "aud": settings.jwt_audience,
        "iss": settings.jwt_issuer or LOCAL_ISSUER,
        "role": "authenticated",
        "iat": now,
        "exp": now + int(hours * 3600),
    }
    return jwt.encode(claims, local_secret(settings), algorithm="HS256")
