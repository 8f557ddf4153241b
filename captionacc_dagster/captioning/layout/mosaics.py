"""Parts of many pictures packed into one, so that the text detector searches few pixels that cannot contain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.samples import Sample, shrunk
from captionacc_dagster.captioning.ocr.base import LineBox, line_box
from captionacc_dagster.captioning.video.pictures import pixel_rectangle

_MOST_PIXELS = 640 * 512  # of a mosaic: the detector takes longer per pixel in a larger one
_GAP = 8  # black pixels between tiles


@dataclass(frozen=True, slots=True)
class Cutout:
    """A part of a sample to search: a box of ``picture``, ``(h, w)`` uint8 gray, which shows the sample."""

    sample: Sample
    picture: NDArray[np.uint8]
    box: BBox


@dataclass(frozen=True, slots=True)
class _Tile:
    """Where a cutout is in a mosaic: its upper left corner and its pixels ``(h, w)``."""

    sample: Sample
    box: BBox
    x: int
    y: int
    pixels: NDArray[np.uint8]


@dataclass(slots=True)
class Mosaic:
    """Tiles side by side in shelves that are at most ``width`` pixels wide."""

    width: int
    tiles: list[_Tile] = field(default_factory=list)
    _x: int = 0  # where the next tile goes
    _y: int = 0
    _shelf_height: int = 0

    def put(self, cutout: Cutout, pixels: NDArray[np.uint8]) -> bool:
        """Add a cutout scaled to ``pixels``; return False where there is no room for it."""
        height, width = pixels.shape
        x, y, shelf_height = self._x, self._y, max(self._shelf_height, height)
        if x + width > self.width:
            x, y, shelf_height = 0, self._y + self._shelf_height + _GAP, height
        if self.tiles and (y + shelf_height) * self.width > _MOST_PIXELS:
            return False
        self.tiles.append(_Tile(cutout.sample, cutout.box, x, y, pixels))
        self._x, self._y, self._shelf_height = x + width + _GAP, y, shelf_height
        return True

    def image(self) -> NDArray[np.uint8]:
        """Return the picture of all tiles, ``(h, w)`` uint8 gray."""
        width = max(tile.x + tile.pixels.shape[1] for tile in self.tiles)
        image = np.zeros((self._y + self._shelf_height + _GAP, width), np.uint8)
        for tile in self.tiles:
            image[tile.y : tile.y + tile.pixels.shape[0], tile.x : tile.x + tile.pixels.shape[1]] = tile.pixels
        return image

    def locate(self, line: LineBox, shape: tuple[int, ...]) -> tuple[Sample, LineBox] | None:
        """Return the sample and the box there of a line found in the picture of the given shape; None in a gap."""
        down, across = shape[:2]
        left, top, right, bottom = (v * size for v, size in zip(line.bbox.as_tuple(), (across, down) * 2, strict=True))
        for tile in self.tiles:
            height, width = tile.pixels.shape
            if tile.x <= (left + right) / 2 < tile.x + width and tile.y <= (top + bottom) / 2 < tile.y + height:
                x0, x1 = np.clip(((left - tile.x) / width, (right - tile.x) / width), 0.0, 1.0)
                y0, y1 = np.clip(((top - tile.y) / height, (bottom - tile.y) / height), 0.0, 1.0)
                box = tile.box
                bbox = BBox(
                    float(box.left + x0 * box.width),
                    float(box.top + y0 * box.height),
                    float(box.left + max(x1, x0 + 1e-6) * box.width),
                    float(box.top + max(y1, y0 + 1e-6) * box.height),
                )
                return tile.sample, line_box(bbox, line.score)
        return None


def mosaics(cutouts: Sequence[Cutout], side: int) -> Iterator[Mosaic]:
    """Pack cutouts of pictures whose longer side is scaled to ``side`` pixels, the tallest first."""
    scaled = sorted((_scaled(cutout, side) for cutout in cutouts), key=lambda entry: -entry[1].shape[0])
    if not scaled:
        return
    widest = max(side, *(pixels.shape[1] for _, pixels in scaled))
    mosaic = Mosaic(widest)
    for cutout, pixels in scaled:
        if not mosaic.put(cutout, pixels):
            yield mosaic
            mosaic = Mosaic(widest)
            mosaic.put(cutout, pixels)
    yield mosaic


def _scaled(cutout: Cutout, side: int) -> tuple[Cutout, NDArray[np.uint8]]:
    """Scale a picture and cut the box out of it; the returned cutout has the box of the whole pixels."""
    picture = shrunk(cutout.picture, side / max(cutout.picture.shape))
    height, width = picture.shape
    x0, y0, x1, y1 = pixel_rectangle(cutout.box, width, height)
    box = BBox(x0 / width, y0 / height, x1 / width, y1 / height)
    return Cutout(cutout.sample, cutout.picture, box), picture[y0:y1, x0:x1]
