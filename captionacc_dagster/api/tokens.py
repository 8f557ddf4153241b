"""Verify Supabase user tokens with a shared secret or the project's published keys.

Not with ``jwt.PyJWKClient``: it downloads without a limit of size or time, fetches again for each unknown id, accepts
private and weak keys, and forgets what it knew when a download fails; with all of that replaced, nothing of it is left.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

_log = logging.getLogger(__name__)

# Only these are accepted, and for a published key only the one of its type.
ASYMMETRIC: Final = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"})
LEEWAY_S = 10
_LONGEST_TOKEN = 8192
_MOST_KEYS = 50
_LARGEST_KEYS = 256 * 1024  # bytes
_LEAST_RSA_BITS = 2048


class InvalidToken(Exception):
    """A token is not valid; the message gives the reason without any part of the token."""


class KeysUnavailable(Exception):
    """The published keys cannot be fetched and none are known."""


class PublishedKeys:
    """The project's keys by id (JWKS), cached for ten minutes and fetched again for an unknown id.

    Args:
        url: URL of the keys.
        keep_s: how long they are cached, seconds.
        refetch_s: minimum seconds between fetches for unknown ids, so that callers cannot trigger fetches at will.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        keep_s: float = 600.0,
        refetch_s: float = 30.0,
        timeout_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._keep_s = keep_s
        self._refetch_s = refetch_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: Mapping[str, PyJWK] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")

    def find(self, key_id: str) -> PyJWK | None:
        """Return the key with this id; None if it is not published.

        Raises:
            KeysUnavailable: the keys were never fetched and cannot be fetched now.
        """
        known = self._keys.get(key_id)
        if known is not None and self._clock() - self._fetched_at <= self._keep_s:
            return known
        with self._lock:
            now = self._clock()
            known = self._keys.get(key_id)
            expired = now - self._fetched_at > self._keep_s
            if (known is None or expired) and now - self._tried_at > self._refetch_s:
                self._tried_at = now
                self._fetch(now)
                known = self._keys.get(key_id)
            if self._fetched_at == float("-inf"):
                raise KeysUnavailable("the keys of user tokens cannot be fetched")
            return known

    def _fetch(self, now: float) -> None:
        try:
            published = json.loads(self._download())["keys"]
            if not isinstance(published, list):
                raise TypeError("keys is not a list")
            usable = [(entry, _usable(entry)) for entry in published[:_MOST_KEYS]]
            keys = {entry["kid"]: key for entry, key in usable if key is not None}
        except (httpx.HTTPError, ValueError, KeyError, TypeError, RecursionError) as error:
            # Known keys remain valid: a new token may have to wait, but existing ones must not fail.
            _log.warning("the keys of user tokens could not be fetched: %s", type(error).__name__)
            return
        self._keys = keys
        self._fetched_at = now

    def _download(self) -> bytes:
        """Return the document, if all of it arrives in time and it is no larger than any set of keys."""
        deadline = time.monotonic() + self._timeout_s
        content = bytearray()
        with httpx.stream("GET", self._url, timeout=self._timeout_s, follow_redirects=False) as answer:
            answer.raise_for_status()
            for part in answer.iter_bytes():
                content += part
                if len(content) > _LARGEST_KEYS or time.monotonic() > deadline:
                    raise ValueError("the keys are too large or arrive too slowly")
        return bytes(content)


def _usable(entry: Any) -> PyJWK | None:
    """Return an entry as a public signing key; None for anything else, especially shared secrets and weak keys."""
    if not isinstance(entry, Mapping):
        return None
    if entry.get("kty") == "oct" or entry.get("use", "sig") != "sig" or not isinstance(entry.get("kid"), str):
        return None
    if "d" in entry:  # a private key: whoever reads the document can sign with it
        return None
    try:
        key = PyJWK(dict(entry))
        strong = not isinstance(key.key, RSAPublicKey) or key.key.key_size >= _LEAST_RSA_BITS
    except (PyJWTError, ValueError, TypeError, KeyError, ArithmeticError):
        return None
    return key if strong and key.algorithm_name in ASYMMETRIC else None


class TokenVerifier:
    """Verifies user tokens.

    Args:
        secret: secret of HS256 tokens; None: such tokens are refused.
        keys: keys of asymmetric tokens; None: such tokens are refused.
        audience: required value in ``aud``.
        issuer: required ``iss``; None: not checked.
    """

    def __init__(self, *, secret: str | None, keys: PublishedKeys | None, audience: str, issuer: str | None) -> None:
        self._secret = secret
        self._keys = keys
        self._audience = audience
        self._issuer = issuer

    def verify(self, token: str) -> UUID:
        """Return the id of the user named in a token.

        Raises:
            InvalidToken: it is malformed, forged, expired, not valid yet, or for another audience.
            KeysUnavailable: the keys cannot be fetched.
        """
        if len(token) > _LONGEST_TOKEN:
            raise InvalidToken("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
        except (PyJWTError, ValueError, RecursionError):
            raise InvalidToken("the token is malformed") from None
        key, algorithm = self._key_of(header)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "sub", "aud"], "verify_iat": False},
            )
        except (PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise InvalidToken(f"the token is not valid: {type(error).__name__}") from None
        if claims.get("role", "authenticated") != "authenticated":
            raise InvalidToken("the token is not a user token")
        try:
            return UUID(claims["sub"])
        except (ValueError, AttributeError, TypeError):
            raise InvalidToken("the token names no user") from None

    def _key_of(self, header: Mapping[str, Any]) -> tuple[Any, str]:
        """Return key and algorithm; the token's header only selects among the accepted ones."""
        algorithm = header.get("alg")
        if algorithm == "HS256" and self._secret is not None:
            return self._secret, "HS256"
        key_id = header.get("kid")
        if self._keys is None or not isinstance(algorithm, str) or not isinstance(key_id, str):
            raise InvalidToken("the token's algorithm is not accepted")
        if algorithm not in ASYMMETRIC:
            raise InvalidToken("the token's algorithm is not accepted")
        found = self._keys.find(key_id)
        if found is None:
            raise InvalidToken("the token's key is not known")
        if found.algorithm_name != algorithm:
            raise InvalidToken("the token's algorithm does not match its key")
        return found.key, found.algorithm_name
