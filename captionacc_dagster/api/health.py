"""``/health``: the process is alive. ``/ready``: which of its parts answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import anyio
from anyio import CapacityLimiter
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from captionacc_dagster import __version__
from captionacc_dagster.api.services import ServicesDependency

router = APIRouter(tags=["health"])
_log = logging.getLogger(__name__)

ANSWER_SECONDS = 4.0


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"
    version: str = __version__


class Readiness(BaseModel):
    """Which parts answer."""

    status: Literal["ready", "not ready"]
    catalog: bool
    storage: bool
    dagster: bool
    reasons: dict[str, str] = Field(description="For each part that does not answer, the reason.")


@router.get("/health", summary="Is the process alive?")
async def health() -> Health:
    """Answer 200 while the process is alive, even if other parts are unavailable."""
    return Health()


@router.get(
    "/ready",
    summary="Do all parts answer?",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "At least one part does not answer."}},
)
async def ready(services: ServicesDependency) -> JSONResponse:
    """Check whether catalog, storage, and Dagster with our code location answer, for at most four seconds each."""
    # Separate threads: those of the endpoints may all be waiting for an unavailable part.
    threads = CapacityLimiter(3)
    reasons: dict[str, str] = {}

    async def look(name: str, check: Callable[[], None]) -> None:
        reasons[name] = "no answer in time"
        with anyio.move_on_after(ANSWER_SECONDS):
            try:
                await anyio.to_thread.run_sync(check, limiter=threads, abandon_on_cancel=True)
                del reasons[name]
            except Exception as error:  # noqa: BLE001 - any error means that this part does not answer
                _log.warning("%s does not answer: %s", name, error)
                # The message may contain host names, and this page is public.
                reasons[name] = type(error).__name__

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look, "catalog", lambda: services.catalog.ping())
        tasks.start_soon(look, "storage", lambda: services.store.check())
        tasks.start_soon(look, "dagster", lambda: services.dagster.ask_code_location())
    answer = Readiness(
        status="not ready" if reasons else "ready",
        catalog="catalog" not in reasons,
        storage="storage" not in reasons,
        dagster="dagster" not in reasons,
        reasons=reasons,
    )
    return JSONResponse(answer.model_dump(), 503 if reasons else 200)
