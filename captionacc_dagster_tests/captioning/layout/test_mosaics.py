"""Parts of pictures are laid out without overlap, and what is found in them is brought back to its place."""

from __future__ import annotations

import numpy as np
import pytest

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.mosaics import Cutout, Mosaic, mosaics
from captionacc_dagster.captioning.layout.samples import Sample
from captionacc_dagster.captioning.ocr.base import line_box

pytestmark = pytest.mark.unit

HEIGHT, WIDTH = 360, 640


def part(time_s: float, box: BBox, marked: BBox, height: int = HEIGHT, width: int = WIDTH) -> Cutout:
    """Return a gray part of a picture with a white rectangle in it."""
    picture = np.full((height, width), 90, np.uint8)
    picture[
        int(marked.top * height) : int(marked.bottom * height), int(marked.left * width) : int(marked.right * width)
    ] = 255
    return Cutout(Sample(time_s, picture, None, picture), picture, box)


def marks(mosaic: Mosaic) -> dict[float, BBox]:
    """Find the white rectangle of each part in the image, and bring it home: boxes by the time of their sample."""
    import cv2

    image = mosaic.image()
    height, width = image.shape[:2]
    _, _, stats, _ = cv2.connectedComponentsWithStats((image > 200).astype(np.uint8))
    found = {}
    for x, y, across, down, _ in stats[1:].tolist():
        line = line_box(BBox(x / width, y / height, (x + across) / width, (y + down) / height), 0.9)
        home = mosaic.locate(line, image.shape)
        assert home is not None
        found[home[0].time_s] = home[1].bbox
    return found


@pytest.mark.parametrize("side", [640, 512, 384])
def test_what_is_found_in_a_part_is_brought_back_to_its_sample(side: int):
    places = {
        float(n): BBox(0.3, 0.8 + 0.01 * n, 0.3 + 0.05 * (n + 1), 0.87 + 0.01 * n) for n in range(6)
    }  # wider and wider ones, so that some are side by side
    parts = [part(n, BBox(0.25, 0.75, place.right + 0.05, 0.95), place) for n, place in places.items()]
    (mosaic,) = mosaics(parts, side)
    found = marks(mosaic)
    assert found.keys() == places.keys()
    for time_s, place in places.items():
        assert found[time_s].as_tuple() == pytest.approx(place.as_tuple(), abs=1.5 / (side * HEIGHT / WIDTH))
    assert mosaic.image().shape[0] * side < sum(0.2 * HEIGHT * side for _ in parts)  # less than one above the other


def test_many_parts_make_several_mosaics_of_bounded_size():
    whole = BBox(0.0, 0.7, 1.0, 1.0)
    parts = [part(float(n), whole, BBox(0.4, 0.8, 0.6, 0.9)) for n in range(12)]
    images = list(mosaics(parts, WIDTH))
    assert len(images) == 3
    assert all(mosaic.image().size <= 1.1 * 640 * 512 for mosaic in images)
    assert [time_s for mosaic in images for time_s in sorted(marks(mosaic))] == [float(n) for n in range(12)]


def test_a_line_between_the_parts_belongs_to_none():
    parts = [part(float(n), BBox(0.0, 0.8, 1.0, 1.0), BBox(0.4, 0.85, 0.6, 0.9)) for n in range(2)]
    (mosaic,) = mosaics(parts, WIDTH)
    shape = mosaic.image().shape
    assert mosaic.locate(line_box(BBox(0.1, 73 / shape[0], 0.9, 79 / shape[0]), 0.9), shape) is None


def test_no_parts_make_no_mosaic():
    assert list(mosaics([], WIDTH)) == []
