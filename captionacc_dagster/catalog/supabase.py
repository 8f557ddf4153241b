"""The catalog in Supabase, through supabase-py and PostgREST."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.calls import Retries
from captionacc_dagster.catalog.errors import CatalogUnavailable, InvalidValue, from_code
from captionacc_dagster.catalog.models import Account

if TYPE_CHECKING:
    from supabase import Client


def _as_json(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidValue(f"this number cannot be stored: {value}")
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {name: _as_json(item) for name, item in value.items()}
    return value


class SupabaseCatalog(Catalog):
    """The catalog over HTTP.

    Args:
        url: URL of the project.
        service_key: secret (service role) key of the project; stays in this process and is never logged.
        schema: exposed schema of the migrations.
        timeout_s: timeout of one request.
        connections: maximum number of connections.
        retries: how calls are retried while the project cannot be reached.
    """

    def __init__(
        self,
        url: str,
        service_key: str,
        schema: str = "captionacc",
        *,
        timeout_s: float = 30.0,
        connections: int = 10,
        retries: Retries | None = None,
    ) -> None:
        super().__init__(retries)
        self._url = url.rstrip("/")
        self._key = service_key
        self._schema = schema
        self._timeout_s = timeout_s
        self._connections = connections
        self._opening = threading.Lock()
        self._client: Client | None = None
        self._http: httpx.Client | None = None
        self._client_pid = 0
        self._last = threading.local()

    def __repr__(self) -> str:
        return f"SupabaseCatalog(host={urlsplit(self._url).hostname}, schema={self._schema})"

    def _note_status(self, response: httpx.Response) -> None:
        self._last.status = response.status_code

    def _opened(self) -> Client:
        # A forked child must not use its parent's connections.
        with self._opening:
            if self._client is None or self._client_pid != os.getpid():
                from supabase import ClientOptions, SupabaseException, create_client

                # HTTP/1.1: the synchronous HTTP/2 client breaks when threads share it.
                self._http = httpx.Client(
                    http2=False,
                    timeout=httpx.Timeout(self._timeout_s, connect=min(10.0, self._timeout_s)),
                    limits=httpx.Limits(max_connections=self._connections, max_keepalive_connections=self._connections),
                    event_hooks={"response": [self._note_status]},
                    follow_redirects=False,
                )
                options = ClientOptions(
                    schema=self._schema,
                    auto_refresh_token=False,
                    persist_session=False,
                    postgrest_client_retry=False,
                    httpx_client=self._http,
                )
                try:
                    self._client = create_client(self._url, self._key, options)
                except SupabaseException as error:
                    raise InvalidValue(f"Supabase: {error.message}") from None
                self._client_pid = os.getpid()
            return self._client

    def _send(self, function: str, parameters: Mapping[str, Any]) -> Any:
        from postgrest.exceptions import APIError

        client = self._opened()
        self._last.status = None
        try:
            return client.rpc(function, _as_json(dict(parameters))).execute().data
        except APIError as error:
            status = self._last.status
            # A gateway's page or a refused key has no code, so the HTTP status is used.
            code = error.code or (None if status is None else str(status))
            raise from_code(error.message or f"HTTP {status}", code, error.hint) from error
        except httpx.TransportError as error:
            raise CatalogUnavailable(f"Supabase cannot be reached: {error or type(error).__name__}") from error

    def invite_account(self, email: str) -> tuple[Account, str]:
        """Have Supabase Auth make an account for an e-mail address and send the invitation.

        Raises:
            CatalogError: Supabase Auth refuses, or cannot be reached.
        """
        from supabase_auth.errors import AuthApiError, AuthError

        try:
            user = self._opened().auth.admin.invite_user_by_email(email).user
        except AuthApiError as error:
            # The answer to an earlier try was lost, or somebody signed up meanwhile.
            if error.code == "email_exists" and (account := self.find_account(email)) is not None:
                return account, ""
            raise from_code(f"Supabase Auth: {error.message}", str(error.status)) from error
        except AuthError as error:
            raise CatalogUnavailable(f"Supabase Auth does not answer: {error.message}") from error
        except httpx.TransportError as error:
            raise CatalogUnavailable(f"Supabase cannot be reached: {error or type(error).__name__}") from error
        return Account(id=UUID(user.id), email=email), "Supabase has sent the invitation"

    def close(self) -> None:
        """Close every connection; the next call opens new ones."""
        with self._opening:
            http, self._http, self._client = self._http, None, None
            if http is not None and self._client_pid == os.getpid():
                http.close()
