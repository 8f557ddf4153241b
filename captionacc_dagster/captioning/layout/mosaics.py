"""Parts of many pictures laid out as one, so that a detector looks at few pixels in vain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.samples import Sample, shrunk
from captionacc_dagster.captioning.ocr.base import LineBox, line_box
from captionacc_dagster.captioning.video.pictures import pixel_rectangle

_PIXELS = 640 * 512  # of a mosaic at most: the detector takes longer for each pixel of a larger one
_RULE = 8  # black pixels between the parts


@dataclass(frozen=True, slots=True)
class Cutout:
    """What to search of a sample: a box of a picture ``(h, w)`` uint8, in grays, that shows it."""

    sample: Sample
    picture: NDArray[np.uint8]
    box: BBox


@dataclass(frozen=True, slots=True)
class _Tile:
    """Where a part of a sample stands in a mosaic: its left upper corner and its pixels ``(h, w)``."""

    sample: Sample
    box: BBox
    x: int
    y: int
    pixels: NDArray[np.uint8]


@dataclass(slots=True)
class Mosaic:
    """Parts side by side in rows that are ``width`` pixels wide at most."""

    width: int
    tiles: list[_Tile] = field(default_factory=list)
    _x: int = 0  # where the next part is put
    _y: int = 0
    _height: int = 0  # of this row

    def put(self, part: Cutout, pixels: NDArray[np.uint8]) -> bool:
        """Put a part scaled to ``pixels`` behind the others; tells whether there was room for it."""
        height, width = pixels.shape
        x, y, row = self._x, self._y, max(self._height, height)
        if x + width > self.width:
            x, y, row = 0, self._y + self._height + _RULE, height
        if self.tiles and (y + row) * self.width > _PIXELS:
            return False
        self.tiles.append(_Tile(part.sample, part.box, x, y, pixels))
        self._x, self._y, self._height = x + width + _RULE, y, row
        return True

    def image(self) -> NDArray[np.uint8]:
        """Draw it, ``(h, w)`` uint8 in grays."""
        width = max(tile.x + tile.pixels.shape[1] for tile in self.tiles)
        image = np.zeros((self._y + self._height + _RULE, width), np.uint8)
        for tile in self.tiles:
            image[tile.y : tile.y + tile.pixels.shape[0], tile.x : tile.x + tile.pixels.shape[1]] = tile.pixels
        return image

    def home(self, line: LineBox, shape: tuple[int, ...]) -> tuple[Sample, LineBox] | None:
        """Bring a line found in the image, whose shape is given, back to its sample; ``None`` for one on a rule."""
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


def mosaics(parts: Sequence[Cutout], side: int) -> Iterator[Mosaic]:
    """Lay out parts of pictures whose longer side is scaled to ``side`` pixels, the highest parts first."""
    cut = sorted((_cut(part, side) for part in parts), key=lambda entry: -entry[1].shape[0])
    if not cut:
        return
    widest = max(side, *(pixels.shape[1] for _, pixels in cut))
    mosaic = Mosaic(widest)
    for part, pixels in cut:
        if not mosaic.put(part, pixels):
            yield mosaic
            mosaic = Mosaic(widest)
            mosaic.put(part, pixels)
    yield mosaic


def _cut(part: Cutout, side: int) -> tuple[Cutout, NDArray[np.uint8]]:
    """Scale a picture and cut a part out; gives the part with the box of the whole pixels that were cut."""
    picture = shrunk(part.picture, side / max(part.picture.shape))
    height, width = picture.shape
    x0, y0, x1, y1 = pixel_rectangle(part.box, width, height)
    box = BBox(x0 / width, y0 / height, x1 / width, y1 / height)
    return Cutout(part.sample, part.picture, box), picture[y0:y1, x0:x1]
