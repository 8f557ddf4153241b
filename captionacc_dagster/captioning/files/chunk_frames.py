"""Reads cropped frames from WebM chunks: which chunk contains a frame, and the pictures of a set of frames."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.files.chunks import FRAMES_PER_CHUNK, level_of


def chunk_of(index: int) -> tuple[int, int]:
    """Return ``(level, first_frame)`` of the chunk that contains a cropped frame, as `ChunkWriter` names it."""
    level = level_of(index)
    if level == 16:
        place = index // 16
        return level, place // FRAMES_PER_CHUNK * FRAMES_PER_CHUNK * 16
    # The fourth of every four frames of this level belongs to the level above.
    place = index // (4 * level) * 3 + index // level % 4 - 1
    first = place // FRAMES_PER_CHUNK * FRAMES_PER_CHUNK
    return level, (first // 3) * 4 * level + (first % 3 + 1) * level


def read_chunk(data: bytes, frame_rate: float) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield every frame of a chunk file with its index, ``(height, width, 3)`` BGR uint8.

    Raises:
        ValueError: the bytes are not a chunk file.
    """
    import av
    from av.error import FFmpegError

    try:
        with av.open(io.BytesIO(data), "r", format="webm") as container:
            for frame in container.decode(video=0):
                yield round((frame.time or 0.0) * frame_rate), np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    except FFmpegError as error:
        raise ValueError(f"a chunk of cropped frames cannot be read: {error.strerror}") from error


def read_cropped_frames(
    indices: Iterable[int], load: Callable[[int, int], bytes | None], frame_rate: float
) -> dict[int, NDArray[np.uint8]]:
    """Return the existing cropped frames of these indices, each ``(height, width, 3)`` BGR uint8.

    Args:
        indices: of cropped frames.
        load: returns the bytes of the chunk ``(level, first_frame)``, or None if it does not exist.
        frame_rate: cropped frames per second.

    Raises:
        ValueError: a chunk cannot be read.
    """
    wanted: dict[tuple[int, int], set[int]] = {}
    for index in indices:
        wanted.setdefault(chunk_of(index), set()).add(index)
    found: dict[int, NDArray[np.uint8]] = {}
    for chunk, members in wanted.items():
        if (data := load(*chunk)) is None:
            continue
        last = max(members)
        for index, picture in read_chunk(data, frame_rate):
            if index in members:
                found[index] = picture
            if index >= last:
                break
    return found
