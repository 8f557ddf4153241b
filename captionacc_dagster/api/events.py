"""What changes about a video, as server-sent events, so that a second person sees the first one's edits."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from captionacc_dagster.api.auth import VideoDependency
from captionacc_dagster.api.errors import ApiError, responses
from captionacc_dagster.api.services import Services, ServicesDependency
from captionacc_dagster.api.videos import captions_tag
from captionacc_dagster.catalog.models import Video

router = APIRouter(prefix="/videos/{video_id}", tags=["videos"])

_LOOK_S = 1.0
# Browsers open a new stream by themselves; a short one ends with the server, and with the person's access.
_LONGEST_S = 55.0


@router.get(
    "/events",
    summary="Follow a video",
    response_class=Response,
    responses={
        **responses(401, 403, 404, 422, 429, 503),
        200: {
            "description": "Events named `captions`.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
    },
)
async def follow_video(request: Request, services: ServicesDependency, video: VideoDependency) -> Response:
    """Send an event `captions` with the captions' `ETag` at once, and when it changes; the stream ends in a minute."""
    return StreamingResponse(_events(request, services, video), media_type="text/event-stream")


async def _events(request: Request, services: Services, video: Video) -> AsyncIterator[str]:
    until, known = time.monotonic() + _LONGEST_S, None
    yield "retry: 1000\n\n"
    while time.monotonic() < until and not services.stopping.is_set() and not await request.is_disconnected():
        tag = await run_in_threadpool(_tag, services, video)
        if tag != known:
            known = tag
            yield f"event: captions\ndata: {json.dumps({'tag': tag})}\n\n"
        await asyncio.sleep(_LOOK_S)


def _tag(services: Services, video: Video) -> str | None:
    with suppress(ApiError):  # no captions yet
        return captions_tag(services, video)
