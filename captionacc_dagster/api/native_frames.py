"""Native frames of videos by number, and the waveform of their sound; kept for the next look."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.orchestration.subtitle_files import video_keys
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.errors import ObjectNotFound

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from captionacc_dagster.captioning.video.frame_grid import FrameGrid

Part = Literal["picture", "captions"]

# Frames before and after the wanted one that are kept from the same decoding: a step of ten and its neighbor.
_REACH = 11
_WIDEST = 1280  # pixels of a picture's longer side; a screen shows no more of it
_QUALITY = 85
_MOST_GRIDS = 16
_MOST_BYTES = 64 << 20
# Decodings at once; each takes a core for up to a second.
_DECODINGS = 2

_FrameName = tuple[str, Part, int]


class NativeFrames:
    """The frames of all videos; thread-safe."""

    def __init__(self, store: Callable[[], ObjectStore]) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._decoding = threading.BoundedSemaphore(_DECODINGS)
        self._stored_grid = lru_cache(_MOST_GRIDS)(self._read_grid)
        self._pictures: OrderedDict[_FrameName, bytes] = OrderedDict()
        self._bytes = 0

    def known_grid(self, video: Video) -> FrameGrid | None:
        """Return the frame grid of a video if it was made before."""
        try:
            return self._stored_grid(video_keys(video).frame_grid, Path(video.filename))
        except (ObjectNotFound, ValueError):
            return None

    def _read_grid(self, key: str, path: Path) -> FrameGrid:
        from captionacc_dagster.captioning.video.frame_grid import FrameGrid

        return FrameGrid.unpack(self._store().download_to_bytes(key), path)

    def grid(self, video: Video) -> FrameGrid:
        """Return the frame grid of a video; made, and stored, if it is missing.

        Raises:
            ObjectNotFound: the video's file is missing.
            VideoError: it is no video.
        """
        from captionacc_dagster.captioning.video.frame_grid import read_frame_grid
        from captionacc_dagster.captioning.video.reader import probe

        if (known := self.known_grid(video)) is not None:
            return known
        keys = video_keys(video)
        with (
            self._decoding,
            TemporaryDirectory(prefix="captionacc-api-") as folder,
            self._store().open_local(keys.video, folder) as path,
        ):
            grid = read_frame_grid(probe(path))
        self._store().publish(keys.frame_grid, grid.pack())
        return grid

    def waveform(self, video: Video) -> bytes:
        """Return the waveform of a video's sound; made, and stored, if it is missing.

        Raises:
            ObjectNotFound, VideoError: the video's file is missing, or cannot be read.
        """
        from captionacc_dagster.captioning.video.waveform import read_waveform

        keys, store = video_keys(video), self._store()
        try:
            return store.download_to_bytes(keys.waveform)
        except ObjectNotFound:
            facts = self.grid(video).facts
        with self._decoding, store.open_ranges(keys.video) as file:
            waveform = read_waveform(facts, file)
        store.publish(keys.waveform, waveform)
        return waveform

    def picture(self, video: Video, number: int, part: Part) -> bytes:
        """Return a native frame, counted from 0, as JPEG: the whole picture, or the video's caption region.

        Raises:
            IndexError: there is no such frame.
            ObjectNotFound, VideoError: the video's file is missing, or cannot be read.
        """
        region = video.crop_region if part == "captions" else None
        group = f"{video.id}:{region}"
        if (found := self._kept((group, part, number))) is not None:
            return found
        grid = self.grid(video)
        with self._decoding:
            # Another request may have decoded it meanwhile.
            if (found := self._kept((group, part, number))) is not None:
                return found
            bbox = BBox(*region) if region is not None else BBox(0.0, 0.0, 1.0, 1.0)
            with self._store().open_ranges(video_keys(video).video) as file:
                for at, frame in grid.frames_around(number, _REACH, file):
                    picture = _jpeg(frame.rgb(bbox))
                    self._keep((group, part, at), picture)
                    if at == number:
                        found = picture
        if found is None:
            raise IndexError(f"frame {number} cannot be decoded")
        return found

    def _kept(self, name: _FrameName) -> bytes | None:
        with self._lock:
            if name in self._pictures:
                self._pictures.move_to_end(name)
            return self._pictures.get(name)

    def _keep(self, name: _FrameName, picture: bytes) -> None:
        with self._lock:
            self._bytes += len(picture) - len(self._pictures.pop(name, b""))
            self._pictures[name] = picture
            while self._bytes > _MOST_BYTES:
                self._bytes -= len(self._pictures.popitem(last=False)[1])


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    import cv2

    height, width = picture.shape[:2]
    scale = _WIDEST / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # pyright: ignore[reportAssignmentType]
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
