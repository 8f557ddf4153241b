"""Access on one's own machine: a secret under ``CAPTIONACC_HOME``, keys from it, and a token for the local user.

Whoever can read the home has the keys. Where a request comes from proves nothing: a proxy on the machine that adds no
header looks like a browser on the machine.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import time
from typing import Literal

import jwt
from starlette.datastructures import Headers

from captionacc_dagster.catalog.models import LOCAL_USER_ID
from captionacc_dagster.settings import Settings

LOCAL_ISSUER = "captionacc"


def local_secret(settings: Settings) -> str:
    """Return the secret of this home's user tokens, created if missing; only its owner can read the file."""
    path = settings.home / "api" / "jwt-secret"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        # Another process may still be writing it.
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


def local_key(settings: Settings, purpose: Literal["sign-in", "metrics"]) -> str:
    """Return this home's key for one purpose."""
    return hmac.new(local_secret(settings).encode(), f"captionacc {purpose}".encode(), hashlib.sha256).hexdigest()


def sign_in_link(settings: Settings, url: str) -> str:
    """Return the link that signs a browser on this machine in as the local user; without one, the page's address."""
    if not has_local_user(settings):
        return f"{url}/review"
    return f"{url}/review/sign-in?key={local_key(settings, 'sign-in')}"


def has_local_user(settings: Settings) -> bool:
    """Return whether the only user is the local one, rather than Supabase's users."""
    from_supabase = settings.supabase_jwt_secret or settings.supabase_jwks_url or settings.supabase_url
    return settings.catalog_kind == "embedded" and not from_supabase


def is_the_local_user(settings: Settings, key: str | None, client: str, host: str, headers: Headers) -> bool:
    """Return whether the person of a browser is the local user: it has this home's key and runs on this machine.

    The host in the address must be this machine's too, because a page elsewhere can point its own name here. Requests
    that a proxy marks do not count, because the key would have crossed a network.

    Args:
        settings: with Supabase users or trusted proxies, the answer is always False.
        key: the key of the link or of the browser's cookie.
        client: the address that the request came from.
        host: the host in the address that the browser opened.
        headers: headers of the request.
    """
    if not has_local_user(settings) or settings.trusted_proxies:
        return False
    if not key or not hmac.compare_digest(local_key(settings, "sign-in").encode(), key.encode("utf-8", "replace")):
        return False
    if any(name in headers for name in ("forwarded", "x-forwarded-for", "x-forwarded-host", "via")):
        return False
    return _is_loopback(client) and (host == "localhost" or _is_loopback(host))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def local_token(settings: Settings, *, hours: float = 24.0) -> str:
    """Return a token for the local tenant's owner, whom the embedded catalog creates when it is opened.

    Raises:
        ValueError: the catalog is not the embedded one; its users come from Supabase.
    """
    if not has_local_user(settings):
        raise ValueError("with this catalog, users and their tokens come from Supabase, not from captionacc")
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
