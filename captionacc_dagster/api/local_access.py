"""The way in on one's own machine: a secret under ``CAPTIONACC_HOME`` and a token for the one local user."""

from __future__ import annotations

import os
import secrets
import time
from uuid import UUID

import jwt
import psycopg

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


def local_token(settings: Settings, catalog: Catalog, *, hours: float = 24.0) -> str:
    """Give a token for the local tenant's owner, made in the embedded catalog when it is not there.

    Raises:
        ValueError: the catalog is not the embedded one; its users come from Supabase.
        CatalogError: the catalog is away.
    """
    if settings.catalog_kind != "embedded" or settings.supabase_jwt_secret or settings.supabase_jwks_url:
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
