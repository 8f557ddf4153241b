"""The HTTP API: ``uvicorn captionacc_dagster.api.app:app``, or ``captionacc api``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from anyio.to_thread import run_sync
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from captionacc_dagster import __version__
from captionacc_dagster.api import (
    actions,
    caption_edits,
    comparison,
    events,
    film,
    health,
    invitations,
    metrics,
    uploads,
    videos,
    webhooks,
)
from captionacc_dagster.api.errors import add_error_handlers
from captionacc_dagster.api.metrics import HttpMetrics
from captionacc_dagster.api.middleware import (
    BodyLimitMiddleware,
    ClientLimitMiddleware,
    HostMiddleware,
    RequestMiddleware,
)
from captionacc_dagster.api.pages import media, sessions
from captionacc_dagster.api.pages import videos as pages
from captionacc_dagster.api.services import Services
from captionacc_dagster.settings import Settings, get_settings

_DESCRIPTION = """Videos in, captions out: webhooks that start the processing of a video, actions of people on it, and
the captions that were found.

Errors are `{"detail": …}`; every answer has an `X-Request-ID`. Times are half-open, in milliseconds on the video's
clock. A video, caption, or job of another tenant is 404, as if it did not exist."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Create the application; nothing is opened before the first request that needs it."""
    settings = settings or get_settings()
    services = Services(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_sync(services.close)

    app = FastAPI(
        title="captionacc",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
        docs_url=None,  # pages.videos.show_api, with files of our own
        redoc_url=None,
        # Starlette's redirect to the path without a slash goes to whatever Host says.
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.metrics = HttpMetrics(services)
    for module in (
        health,
        metrics,
        webhooks,
        invitations,
        actions,
        uploads,
        videos,
        film,
        events,
        caption_edits,
        comparison,
        sessions,
        pages,
        media,
    ):
        app.include_router(module.router)
    app.include_router(pages.public)
    app.include_router(pages.missing)
    add_error_handlers(app)
    _describe(app)

    # The middleware added last sees a request first.
    app.add_middleware(BodyLimitMiddleware, max_bytes=settings.max_body_bytes)
    app.add_middleware(ClientLimitMiddleware, services=services)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Range"],
            expose_headers=["ETag", "Content-Range", "Retry-After", "X-Request-ID"],
        )
    app.add_middleware(HostMiddleware, hosts=settings.api_hosts)
    app.add_middleware(RequestMiddleware, count=app.state.metrics.count)
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies)  # pyright: ignore
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


def _describe(app: FastAPI) -> None:
    """Add the webhook's body to the description; FastAPI cannot infer it, because it is read before it is trusted."""

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            body = webhooks.WebhookRequest.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas = schema["components"]["schemas"]
            schemas |= body.pop("$defs", {})
            schemas["WebhookRequest"] = body
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # pyright: ignore[reportAttributeAccessIssue]


@cache
def _default_app() -> FastAPI:
    return create_app()


def __getattr__(name: str) -> FastAPI:
    # Created on first access, so that importing this module reads no settings.
    if name == "app":
        return _default_app()
    raise AttributeError(name)
