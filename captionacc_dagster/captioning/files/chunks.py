"""Cropped frames as WebM (VP9) for people to look at: three levels that share no frame, 32 frames a chunk."""

from __future__ import annotations

import queue
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.video.pictures import scaled_down

if TYPE_CHECKING:
    import av

FRAMES_PER_CHUNK = 32
LEVELS = (16, 4, 1)
# Encoding costs by the pixel, and nobody needs larger letters to read a caption: pixels
_LINE = 28  # of a line, where its height is known: letters of 20 pixels;
_LONG_SIDE = 576  # of the longer side at most: a 20th of 1080p is still 16 pixels high,
_MOST_PIXELS = 100_000  # and in all: with tracks at the top and at the bottom the crop is nearly the whole picture
_TOGETHER = 8  # frames: an encoder that is woken for each would keep the decoder's pictures out of the caches
_QUEUED = 1  # times as many wait for it
_OPTIONS = {
    "deadline": "realtime",
    "cpu-used": "8",
    "crf": "42",
    "aq-mode": "0",
    "b": "0",
    "row-mt": "0",
    "lag-in-frames": "0",
    "auto-alt-ref": "0",
    "error-resilient": "default",  # no probabilities are carried on: 3 % larger, 3 % cheaper
}

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


def level_of(index: int) -> int:
    """Give the level that holds a cropped frame: 16 every 16th, 4 every 4th that 16 lacks, 1 the rest."""
    return next(level for level in LEVELS if index % level == 0)


class ChunkWriter:
    """Encodes cropped frames in a thread of its own. Use as a context manager.

    Files are ``modulo_{level}/chunk_{first_frame:010d}.webm``; a frame's time stamp in its file is its own
    time in the video. Pictures are scaled down to lines of 28 pixels, 576 pixels of the longer side and 100,000 in all.

    Args:
        folder: where the three level folders are made.
        frame_rate: cropped frames per second.
        line_px: height of the lowest line of text, pixels; 0 where that is not known.
    """

    def __init__(self, folder: Path, frame_rate: float, line_px: float = 0.0) -> None:
        self._folder = folder
        self._line_px = line_px
        self._frame_rate = Fraction(frame_rate).limit_denominator(1000)
        self._gathered: list[tuple[int, Planes]] = []
        self._frames: queue.Queue[list[tuple[int, Planes]] | None] = queue.Queue(_QUEUED)
        self._open: dict[int, _Chunk] = {}
        self._error: BaseException | None = None
        self._worker = threading.Thread(target=self._work, name="chunks", daemon=True)
        self.seconds = 0.0  # CPU seconds spent encoding

    def __enter__(self) -> ChunkWriter:
        for level in LEVELS:
            (self._folder / f"modulo_{level}").mkdir(parents=True, exist_ok=True)
        self._worker.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._frames.put(self._gathered)
        self._frames.put(None)
        self._worker.join()
        if self._error is not None and exc[0] is None:
            raise self._error

    def write(self, index: int, planes: Planes) -> None:
        """Take cropped frame ``index``: its Y, Cb and Cr planes in 4:2:0, uint8, even luma sizes."""
        if self._error is not None:
            raise self._error
        self._gathered.append((index, planes))
        if len(self._gathered) == _TOGETHER:
            self._frames.put(self._gathered)
            self._gathered = []

    def _work(self) -> None:
        try:
            while (gathered := self._frames.get()) is not None:
                for index, planes in gathered:
                    self._encode(index, planes)
            for chunk in self._open.values():
                chunk.close()
        except BaseException as error:  # noqa: BLE001 -- handed over: it is raised where frames are written
            self._error = error
            while self._frames.get() is not None:  # nobody shall wait for room in the queue
                pass
        self.seconds = time.thread_time()

    def _encode(self, index: int, planes: Planes) -> None:
        planes = self._bounded(planes)
        level = level_of(index)
        chunk = self._open.get(level)
        if chunk is None:
            path = self._folder / f"modulo_{level}" / f"chunk_{index:010d}.webm"
            chunk = self._open[level] = _Chunk(path, self._frame_rate, planes[0].shape)
        chunk.write(index, planes)
        if chunk.count == FRAMES_PER_CHUNK:
            chunk.close()
            del self._open[level]

    def _bounded(self, planes: Planes) -> Planes:
        """Scale the planes down as far as they may be; the luma's sides stay even."""
        height, width = planes[0].shape
        scale = min(_LONG_SIDE / max(height, width), (_MOST_PIXELS / (height * width)) ** 0.5)
        if self._line_px:
            scale = min(scale, _LINE / self._line_px)
        if scale >= 1:
            return planes
        across, down = max(1, round(width * scale / 2)), max(1, round(height * scale / 2))
        luma, cb, cr = planes
        half = across, down
        return scaled_down(luma, (2 * across, 2 * down)), scaled_down(cb, half), scaled_down(cr, half)


class _Chunk:
    def __init__(self, path: Path, rate: Fraction, shape: tuple[int, ...]) -> None:
        import av

        self.count = 0
        self._container: Any = av.open(str(path), "w", format="webm")
        self._stream: Any = self._container.add_stream("libvpx-vp9", rate=rate, options=_OPTIONS)
        self._stream.width, self._stream.height = shape[1], shape[0]
        self._stream.pix_fmt = "yuv420p"
        self._time_base = 1 / rate  # the stream's own becomes milliseconds once its header is written
        self._stream.codec_context.time_base = self._time_base
        self._stream.codec_context.thread_count = 1

    def write(self, index: int, planes: Planes) -> None:
        frame = _video_frame(planes)
        frame.pts = index
        frame.time_base = self._time_base
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
        self.count += 1

    def close(self) -> None:
        for packet in self._stream.encode(None):
            self._container.mux(packet)
        self._container.close()


def _video_frame(planes: Planes) -> av.VideoFrame:
    import av

    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, pixels in zip(frame.planes, planes, strict=True):
        target = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        target[: pixels.shape[0], : pixels.shape[1]] = pixels
    return frame
