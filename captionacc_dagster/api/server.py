"""Serve the API in this process until it is stopped; started requests are finished first."""

from __future__ import annotations

from types import FrameType

import uvicorn
from fastapi import FastAPI

from captionacc_dagster.api.app import create_app
from captionacc_dagster.api.connections import ConnectionLimits, bounded_protocol
from captionacc_dagster.api.request_log import log_as_json
from captionacc_dagster.settings import Settings

FINISH_SECONDS = 30


def server_config(
    settings: Settings, *, host: str, port: int, limits: ConnectionLimits | None = None
) -> uvicorn.Config:
    """Return how the API is served on this address."""
    limits = limits or ConnectionLimits(per_client=settings.max_connections_per_client)
    return uvicorn.Config(
        create_app(settings),
        host=host,
        port=port,
        http=bounded_protocol(limits, settings.trusted_proxies),
        # The application itself logs requests, without the query, and handles trusted proxies.
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=limits.idle_s,
        timeout_graceful_shutdown=FINISH_SECONDS,
    )


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Serve HTTP on this address until SIGINT or SIGTERM."""
    log_as_json()
    _Server(server_config(settings, host=host, port=port)).run()


class _Server(uvicorn.Server):
    """A server that tells the application when it is to stop."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        app = self.config.app
        assert isinstance(app, FastAPI)
        app.state.services.stopping.set()
        super().handle_exit(sig, frame)
