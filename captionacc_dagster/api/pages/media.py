"""The pictures of the pages: full frames, and cropped frames from WebM chunks, single or many in one picture.

A reel is a picture with a grid of 32 cropped frames, row by row. A browser draws its tiles one after the other, so it
shows exactly the stored frames, forward, backward, or one at a time, which seeking in videos does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from captionacc_dagster.api.auth import ReadableVideoDependency
from captionacc_dagster.api.conditional import stored_tag, tagged_answer
from captionacc_dagster.api.errors import ApiError
from captionacc_dagster.api.services import Services, ServicesDependency
from captionacc_dagster.captioning.files.chunk_frames import read_cropped_frames
from captionacc_dagster.catalog.errors import NotFound
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.orchestration.subtitle_files import video_keys
from captionacc_dagster.storage.errors import ObjectNotFound

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

router = APIRouter(prefix="/review/videos/{video_id}", include_in_schema=False)

REEL_FRAMES = 32
REEL_COLUMNS = 4
# Phones refuse to decode larger pictures.
_LARGEST_REEL = 6_000_000
_REEL_QUALITY = 78
_STRIP_QUALITY = 80
# A version's frames never change.
_FOR_EVER = "private, max-age=604800, immutable"

FullFrame = Annotated[int, Path(ge=0, le=999_999)]
Version = Annotated[int, Path(ge=1, le=999_999_999)]
CroppedFrame = Annotated[int, Path(ge=0, le=99_999_999)]


@router.get("/full-frames/{index}.jpg")
def read_full_frame(
    request: Request, services: ServicesDependency, video: ReadableVideoDependency, index: FullFrame
) -> Response:
    """Return one full frame of the video."""
    key = video_keys(video).full_frame(index)
    tag = stored_tag(services.store.stat(key))
    return tagged_answer(request, tag, lambda: services.store.download_to_bytes(key), "image/jpeg")


@router.get("/cropped-frames/{version}/{index}.jpg")
def read_cropped_frame(
    services: ServicesDependency, video: ReadableVideoDependency, version: Version, index: CroppedFrame
) -> Response:
    """Return one cropped frame."""
    found = _cropped_frames(services, video, version, [index])
    if index not in found:
        raise ApiError(404, "no such frame")
    return Response(_jpeg(found[index], _STRIP_QUALITY), media_type="image/jpeg", headers={"Cache-Control": _FOR_EVER})


@router.get("/reels/{version}/{number}.jpg")
def read_reel(
    services: ServicesDependency, video: ReadableVideoDependency, version: Version, number: CroppedFrame
) -> Response:
    """Return 32 cropped frames from ``32 * number`` on as one picture, four per row; missing ones are gray."""
    first = number * REEL_FRAMES
    found = _cropped_frames(services, video, version, range(first, first + REEL_FRAMES))
    if not found:
        raise ApiError(404, "no such frames")
    tiles = [found.get(index) for index in range(first, first + REEL_FRAMES)]
    return Response(_jpeg(_grid(tiles), _REEL_QUALITY), media_type="image/jpeg", headers={"Cache-Control": _FOR_EVER})


def _cropped_frames(
    services: Services, video: Video, version: int, indices: range | list[int]
) -> dict[int, NDArray[np.uint8]]:
    keys = video_keys(video)

    def load(level: int, first: int) -> bytes | None:
        try:
            return services.store.download_to_bytes(keys.chunk(version, level, first))
        except ObjectNotFound:
            return None

    try:
        frame_rate = services.catalog.get_cropped_frame_rate(video.id, version)
        return read_cropped_frames(indices, load, frame_rate)
    except (ValueError, NotFound) as error:
        raise ApiError(404, str(error)) from error


def _grid(tiles: list[NDArray[np.uint8] | None]) -> NDArray[np.uint8]:
    import cv2
    import numpy as np

    shape = next(tile.shape for tile in tiles if tile is not None)
    rows = REEL_FRAMES // REEL_COLUMNS
    scale = min(1.0, (_LARGEST_REEL / (shape[0] * shape[1] * REEL_FRAMES)) ** 0.5)
    height, width = max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
    grid = np.full((rows * height, REEL_COLUMNS * width, 3), 96, np.uint8)
    for place, tile in enumerate(tiles):
        if tile is None:
            continue
        if tile.shape[:2] != (height, width):
            tile = np.asarray(cv2.resize(tile, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        y, x = place // REEL_COLUMNS * height, place % REEL_COLUMNS * width
        grid[y : y + height, x : x + width] = tile
    return grid


def _jpeg(picture: NDArray[np.uint8], quality: int) -> bytes:
    import cv2

    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
