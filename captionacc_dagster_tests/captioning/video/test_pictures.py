"""Pixels of a part of a decoded picture are those of the whole picture."""

from __future__ import annotations

import av
import numpy as np
import pytest

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.video.pictures import Picture, pixel_rectangle

pytestmark = pytest.mark.unit

WIDTH, HEIGHT = 62, 38
COLORS = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
PART = BBox(0.2, 0.5, 0.7, 0.9)
PACKED = ("rgb24", "bgr24", "rgb0", "rgba", "bgr0", "bgra", "0rgb", "argb", "0bgr", "abgr")


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("pixel_format", [*PACKED, "gbrp", "gbrap", "rgb48le", "gbrp10le"])
def test_a_part_of_an_rgb_picture_is_read_by_itself(pixel_format: str, rotation: int):
    frame = av.VideoFrame.from_ndarray(COLORS, format="rgb24").reformat(format=pixel_format)
    displayed = np.rot90(COLORS, -(rotation // 90))
    height, width = displayed.shape[:2]
    x0, y0, x1, y1 = pixel_rectangle(PART, width, height)
    expected = displayed[y0:y1, x0:x1].astype(int)
    picture = Picture(frame, rotation, (width, height))
    assert np.abs(picture.rgb(PART).astype(int) - expected).max() <= (0 if frame.format.name in PACKED else 2)
    gray = np.asarray(frame.reformat(format="gray").to_ndarray(), np.uint8)
    whole = np.rot90(gray, -(rotation // 90))[y0:y1, x0:x1].astype(int)
    luma = picture.luma(PART)
    assert luma.flags.c_contiguous
    assert np.abs(luma.astype(int) - whole).max() <= 2
    is_converted_whole = {"_gray", "_rgb"} & vars(picture).keys()
    assert bool(is_converted_whole) == (pixel_format in ("rgb48le", "gbrp10le"))
