"""A video of any length is followed with the same few pictures in memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from captionacc_dagster.captioning.extents.segmentation import TrackSegmenter
from captionacc_dagster.captioning.files.chunks import ChunkWriter

RATE = 25
LINE_PX = 30.0


def rois(count: int) -> Iterator[np.ndarray]:
    """Pictures of a roi in which a bar of another place is shown for two seconds, and nothing for one."""
    rng = np.random.default_rng(5)
    for number in range(count):
        roi = rng.integers(90, 96, (40, 160), np.uint8)
        if number % (3 * RATE) < 2 * RATE:
            left = 10 + number // (3 * RATE) % 10 * 12
            roi[12:28, left : left + 4] = 240
        yield roi


def most_alive(pictures: Iterator[np.ndarray], take: Callable[[np.ndarray], object], every: int) -> list[int]:
    """Hand pictures over one by one; give how many of them are still held, at every so many."""
    seen: list[weakref.ref[np.ndarray]] = []
    held: list[int] = []
    for number, picture in enumerate(pictures, 1):
        seen.append(weakref.ref(picture))
        take(picture)
        if number % every == 0:
            del picture
            gc.collect()
            seen = [reference for reference in seen if reference() is not None]
            held.append(len(seen))
    return held


@pytest.mark.unit
def test_a_segmenter_holds_no_more_pictures_after_minutes_than_after_seconds():
    segmenter = TrackSegmenter(LINE_PX, RATE)
    held = most_alive(rois(60 * RATE), segmenter.push, 5 * RATE)
    assert max(held[-3:]) <= max(held[:3]) + RATE
    assert max(held) < 6 * RATE


@pytest.mark.unit
def test_a_writer_of_chunks_holds_few_pictures_however_slow_it_encodes(tmp_path: Path):
    noise = np.random.default_rng(5)
    planes = (noise.integers(0, 255, (64, 256), np.uint8) for _ in range(120))
    chroma = np.full((32, 128), 128, np.uint8)
    with ChunkWriter(tmp_path, 10.0) as writer:
        numbers = iter(range(120))
        held = most_alive(planes, lambda luma: writer.write(next(numbers), (luma, chroma, chroma)), 20)
    assert max(held) <= 32
    assert len(list(tmp_path.rglob("*.webm"))) >= 5
