"""The video itself: its bytes by range, a film of it that every browser plays, and its native frames by number."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from captionacc_dagster.api.auth import ReadableVideoDependency, VideoDependency
from captionacc_dagster.api.conditional import Content, ranged_answer, stored_tag
from captionacc_dagster.api.errors import ApiError, responses
from captionacc_dagster.api.native_frames import Part
from captionacc_dagster.api.services import ServicesDependency
from captionacc_dagster.api.views import FilmView, FrameGridView, ShotsView
from captionacc_dagster.orchestration.subtitle_files import video_keys
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.errors import ObjectNotFound

router = APIRouter(prefix="/videos/{video_id}", tags=["videos"])

_READ = responses(401, 403, 404, 422, 429, 503)
_FILE: dict[int | str, dict[str, Any]] = {
    **responses(401, 403, 404, 416, 422, 429, 503),
    200: {"description": "The file.", "content": {"video/*": {}}},
    206: {"description": "A part of the file (`Range`)."},
    304: {"description": "Unchanged (`If-None-Match`)."},
}
_CHUNK_BYTES = 1 << 20
# A video's file never changes.
_FOR_A_WEEK = "private, max-age=604800"

FrameNumber = Annotated[int, Path(ge=0, le=99_999_999)]


@router.get("/frames", summary="Read the frame grid", responses=_READ)
def read_frame_grid(services: ServicesDependency, video: ReadableVideoDependency, answer: Response) -> FrameGridView:
    """Return when each native frame of the video begins, in whole milliseconds."""
    grid = services.frames.grid(video)
    answer.headers["Cache-Control"] = _FOR_A_WEEK
    step, times = grid.steady_step_ms, grid.times_ms
    steps = None if step is not None else [after - before for before, after in itertools.pairwise(times)]
    return FrameGridView(
        count=grid.count, first_ms=grid.times_us[0] / 1000 if grid.count else 0.0, step_ms=step, steps_ms=steps
    )


@router.get(
    "/frames/{number}",
    summary="Read a native frame",
    response_class=Response,
    responses={**_READ, 200: {"description": "The frame.", "content": {"image/jpeg": {}}}},
)
def read_frame(
    services: ServicesDependency,
    video: ReadableVideoDependency,
    number: FrameNumber,
    part: Annotated[Part, Query(description="The whole picture, or only the caption region.")] = "picture",
) -> Response:
    """Return one native frame of the video as JPEG; frames count from 0."""
    try:
        picture = services.frames.picture(video, number, part)
    except IndexError as error:
        raise ApiError(404, str(error)) from error
    return Response(picture, media_type="image/jpeg", headers={"Cache-Control": _FOR_A_WEEK})


@router.get(
    "/waveform",
    summary="Read the waveform",
    response_class=Response,
    responses={**_READ, 200: {"description": "Peaks.", "content": {"application/octet-stream": {}}}},
)
def read_waveform(services: ServicesDependency, video: ReadableVideoDependency) -> Response:
    """Return the loudest sample of each fiftieth of a second, one byte each; empty for a video without sound."""
    waveform = services.frames.waveform(video)
    return Response(waveform, media_type="application/octet-stream", headers={"Cache-Control": _FOR_A_WEEK})


@router.get("/shots", summary="Read the shots", responses=_READ)
def read_shots(services: ServicesDependency, video: ReadableVideoDependency) -> ShotsView:
    """Return when the camera cuts, as seen when the captions were found."""
    try:
        return ShotsView(cuts_ms=json.loads(services.store.download_to_bytes(video_keys(video).shots)))
    except ObjectNotFound:
        return ShotsView(cuts_ms=None)


@router.get("/media", summary="Read the video file", response_class=Response, responses=_FILE)
def read_media(request: Request, services: ServicesDependency, video: ReadableVideoDependency) -> Response:
    """Return the uploaded file, or the part that `Range` names, as players ask for it."""
    return _file(request, services.store, video_keys(video).video, "the video's file is not there")


@router.post("/film", summary="Prepare a film that every browser plays", responses=_READ)
def prepare_film(services: ServicesDependency, video: VideoDependency) -> FilmView:
    """Make a small film (H.264, at most 480p, with sound) of a video that a browser cannot play; return its state.

    It is made once, in the background; call this again every few seconds until it is ready.
    """
    return services.films.prepare(video)


@router.get("/film", summary="Read the film that every browser plays", response_class=Response, responses=_FILE)
def read_film(request: Request, services: ServicesDependency, video: ReadableVideoDependency) -> Response:
    """Return the small film, or the part that `Range` names; 404 until it was prepared."""
    return _file(request, services.store, video_keys(video).film, "the video has no film yet")


def _file(request: Request, store: ObjectStore, key: str, absent: str) -> Response:
    try:
        info = store.stat(key)
    except ObjectNotFound:
        raise ApiError(404, absent) from None

    def open_file() -> Content:
        head = store.read_range(key, 0, 16) if info.size else b""
        return Content(info.size, lambda start, stop: _bytes(store, key, start, stop), _media_type(head))

    return ranged_answer(request, stored_tag(info), open_file)


def _bytes(store: ObjectStore, key: str, start: int, stop: int) -> Iterator[bytes]:
    for at in range(start, stop, _CHUNK_BYTES):
        yield store.read_range(key, at, min(stop, at + _CHUNK_BYTES))


def _media_type(head: bytes) -> str:
    """Return the media type by a file's first bytes; the key always ends with ``.mp4``."""
    if head[4:8] == b"ftyp":
        return "video/mp4"
    return "video/webm" if head[:4] == b"\x1aE\xdf\xa3" else "application/octet-stream"
