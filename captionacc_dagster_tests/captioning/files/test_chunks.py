"""WebM chunks: three levels that share no frame, VP9, frames at their own times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from captionacc_dagster.captioning.files.chunks import ChunkWriter, level_of
from captionacc_dagster.captioning.video.pictures import scaled_down

pytestmark = pytest.mark.integration


def planes(level: int, width: int = 96, height: int = 32):
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    return np.full((height, width), level, np.uint8), chroma, chroma


def frames_of(path: Path) -> list[tuple[float, int]]:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec.canonical_name == "vp9"
        assert stream.codec_context.pix_fmt == "yuv420p"
        return [
            (float(frame.pts * frame.time_base), round(float(frame.to_ndarray(format="gray").mean())))
            for frame in container.decode(stream)
            if frame.pts is not None and frame.time_base is not None
        ]


def test_the_levels_hold_every_frame_once(tmp_path: Path):
    with ChunkWriter(tmp_path, 10.0) as writer:
        for index in range(100):
            writer.write(index, planes(40 + index))
    found: dict[int, int] = {}
    for level in (16, 4, 1):
        for path in sorted((tmp_path / f"modulo_{level}").iterdir()):
            frames = frames_of(path)
            assert len(frames) <= 32
            indices = [round(time_s * 10) for time_s, _ in frames]
            assert path.name == f"chunk_{indices[0]:010d}.webm"
            assert all(level_of(index) == level for index in indices)
            for index, (_, gray) in zip(indices, frames, strict=True):
                assert index not in found
                found[index] = gray
    assert sorted(found) == list(range(100))
    assert all(found[index] < found[index + 20] for index in range(80))
    assert len(list((tmp_path / "modulo_1").iterdir())) == 3


@pytest.mark.parametrize(
    ("size", "coded"),
    [
        ((1024, 80), (576, 44)),
        ((1536, 122), (576, 46)),
        ((90, 1000), (52, 576)),
        ((576, 40), (576, 40)),
        ((1280, 640), (448, 224)),
    ],
)
def test_large_pictures_are_scaled_to_even_sizes(tmp_path: Path, size: tuple[int, int], coded: tuple[int, int]):
    import av

    with ChunkWriter(tmp_path, 10.0) as writer:
        for index in range(40):
            writer.write(index, planes(100, *size))
    chunks = sorted(tmp_path.rglob("*.webm"))
    assert len(chunks) == 3
    for path in chunks:
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
            frame = packets[0].decode()[0]
        assert packets[0].is_keyframe
        assert (frame.width, frame.height) == coded


@pytest.mark.parametrize(
    ("line_px", "coded"), [(0.0, (400, 96)), (20.0, (400, 96)), (56.0, (200, 48)), (84.0, (134, 32))]
)
def test_films_are_no_larger_than_reading_asks_for(tmp_path: Path, line_px: float, coded: tuple[int, int]):
    import av

    with ChunkWriter(tmp_path, 10.0, line_px) as writer:
        writer.write(0, planes(100, 400, 96))
    with av.open(str(tmp_path / "modulo_16" / "chunk_0000000000.webm")) as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height) == coded


def test_scaling_down_leaves_no_pixel_out():
    picture = np.zeros((60, 200), np.uint8)
    picture[:, ::3] = 255  # lines that are a third of the picture, wherever they fall
    small = scaled_down(picture, (56, 17))
    assert small.shape == (17, 56)
    assert np.abs(small.astype(float) - 85).max() < 30
    assert np.array_equal(scaled_down(picture, (200, 60)), picture)


@pytest.mark.parametrize(("index", "level"), [(0, 16), (16, 16), (4, 4), (8, 4), (1, 1), (18, 1), (32, 16)])
def test_each_frame_has_its_level(index: int, level: int):
    assert level_of(index) == level


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path):
    with pytest.raises(FileNotFoundError), ChunkWriter(tmp_path, 10.0) as writer:
        (tmp_path / "modulo_16").rmdir()
        for index in range(40):
            writer.write(index, planes(index))
