"""Writes cropped frames as WebM (VP9) for people to view: three levels that share no frame, 32 frames per chunk."""

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
# Encoding time grows with the number of pixels, so pictures are no larger than a caption needs to be readable.
_MAX_LINE_PX = 28  # height of a line, pixels, if known: letters of 20 pixels
_MAX_SIDE_PX = 576  # longer side, pixels: a line of 1/20 of a 1080p frame is still 16 pixels high
_MAX_PIXELS = 100_000  # whole picture: with tracks at the top and bottom, the crop is nearly the whole frame
_BATCH_FRAMES = 8  # waking the encoder for every frame would evict the decoder's pictures from the CPU caches
_QUEUED_BATCHES = 1
_OPTIONS = {
    "deadline": "realtime",
    "cpu-used": "8",
    "crf": "42",
    "aq-mode": "0",
    "b": "0",
    "row-mt": "0",
    "lag-in-frames": "0",
    "auto-alt-ref": "0",
    "error-resilient": "default",  # no probabilities carried between frames: 3 % larger files, 3 % less CPU time
}

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


def level_of(index: int) -> int:
    """Return the level of a cropped frame: 16 for every 16th, 4 for the other 4ths, 1 for the rest."""
    return next(level for level in LEVELS if index % level == 0)


class ChunkWriter:
    """Encodes cropped frames in its own thread. Use as a context manager.

    Files are ``modulo_{level}/chunk_{first_frame:010d}.webm``; a frame's timestamp in its file is its time in the
    video. Pictures are scaled down to at most 28 pixels per line, 576 pixels on the longer side, and 100,000 pixels.

    Args:
        folder: parent of the three level folders, which are created.
        frame_rate: cropped frames per second.
        line_px: height of the lowest line of text, pixels; 0 if unknown.
    """

    def __init__(self, folder: Path, frame_rate: float, line_px: float = 0.0) -> None:
        self._folder = folder
        self._line_px = line_px
        self._frame_rate = Fraction(frame_rate).limit_denominator(1000)
        self._batch: list[tuple[int, Planes]] = []
        self._frames: queue.Queue[list[tuple[int, Planes]] | None] = queue.Queue(_QUEUED_BATCHES)
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
        self._frames.put(self._batch)
        self._frames.put(None)
        self._worker.join()
        if self._error is not None and exc[0] is None:
            raise self._error

    def write(self, index: int, planes: Planes) -> None:
        """Queue cropped frame ``index``: its Y, Cb, and Cr planes, 4:2:0 uint8 with even luma sizes.

        Raises:
            Exception: encoding an earlier frame failed.
        """
        if self._error is not None:
            raise self._error
        self._batch.append((index, planes))
        if len(self._batch) == _BATCH_FRAMES:
            self._frames.put(self._batch)
            self._batch = []

    def _work(self) -> None:
        try:
            while (batch := self._frames.get()) is not None:
                for index, planes in batch:
                    self._encode(index, planes)
            for chunk in self._open.values():
                chunk.close()
        except BaseException as error:  # noqa: BLE001 -- raised again in write() or __exit__()
            self._error = error
            while self._frames.get() is not None:  # so that write() never blocks on a full queue
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
        """Return the planes scaled down to the size limits; the luma sides stay even."""
        height, width = planes[0].shape
        scale = min(_MAX_SIDE_PX / max(height, width), (_MAX_PIXELS / (height * width)) ** 0.5)
        if self._line_px:
            scale = min(scale, _MAX_LINE_PX / self._line_px)
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
        self._time_base = 1 / rate  # WebM changes the stream's own to milliseconds when it writes the header
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
