"""Cropped frames come back from their chunks as they were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from captionacc_dagster.captioning.files.chunk_frames import chunk_of, read_chunk, read_cropped_frames
from captionacc_dagster.captioning.files.chunks import ChunkWriter

pytestmark = pytest.mark.unit

FRAMES, RATE = 1200, 10.0


@pytest.fixture(scope="module")
def chunks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chunks of frames whose gray is their index: 16 + index % 200."""
    folder = tmp_path_factory.mktemp("chunks")
    chroma = np.full((8, 16), 128, np.uint8)
    with ChunkWriter(folder, RATE) as writer:
        for index in range(FRAMES):
            writer.write(index, (np.full((16, 32), 16 + index % 200, np.uint8), chroma, chroma))
    return folder


def test_every_frame_is_in_the_chunk_that_is_named(chunks: Path) -> None:
    held = {
        index: (int(path.parent.name.removeprefix("modulo_")), int(path.stem.removeprefix("chunk_")))
        for path in chunks.rglob("*.webm")
        for index, _ in read_chunk(path.read_bytes(), RATE)
    }

    assert held == {index: chunk_of(index) for index in range(FRAMES)}


def test_a_range_of_frames_comes_back_in_the_right_order(chunks: Path) -> None:
    def load(level: int, first: int) -> bytes | None:
        path = chunks / f"modulo_{level}" / f"chunk_{first:010d}.webm"
        return path.read_bytes() if path.is_file() else None

    found = read_cropped_frames(range(500, 560), load, RATE)

    assert sorted(found) == list(range(500, 560))
    for index, picture in found.items():
        # Full range from limited range; encoding is lossy.
        expected = (index % 200) * 255 / 219
        assert abs(float(picture.mean()) - expected) < 3, index
    assert read_cropped_frames([FRAMES + 7], load, RATE) == {}


def test_what_is_no_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_cropped_frames([0], lambda *_: b"no webm", RATE)
