"""Serve the API in this process until it is stopped; started requests are finished first."""

from __future__ import annotations

import uvicorn

from captionacc_dagster.api.app import create_app
from captionacc_dagster.api.request_log import log_as_json
from captionacc_dagster.settings import Settings

FINISH_SECONDS = 30


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Serve HTTP on this address until SIGINT or SIGTERM."""
    log_as_json()
    uvicorn.run(
        create_app(settings),
        host=host,
        port=port,
        # The application itself logs requests, without the query, and handles trusted proxies.
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=FINISH_SECONDS,
    )
