"""Where the region of a track is in the picture, and where the track's text is in its ROIs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from captionacc_dagster.captioning.extents.lines import Anchor
from captionacc_dagster.captioning.extents.strokes import Mask
from captionacc_dagster.captioning.extents.words import Box
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.model import Track

Shape = tuple[int, ...]  # (height, width) of a ROI, pixels


@dataclass(frozen=True, slots=True)
class TrackRoi:
    """The region of a track.

    Attributes:
        track: the track.
        region: its region, in whole pixels of the picture.
        line_px: height of a line in its ROIs, pixels.
    """

    track: Track
    region: BBox
    line_px: float

    def places(self, shape: Shape) -> list[tuple[float, float]]:
        """Return top and bottom of the track's lines in a ROI (vertical: left and right), pixels."""
        vertical, region = self.track.vertical, self.region
        start, extent = (region.left, region.width) if vertical else (region.top, region.height)
        size = shape[1] if vertical else shape[0]
        return [((low - start) / extent * size, (high - start) / extent * size) for low, high in self.track.places]

    def seams(self, shape: Shape) -> list[float]:
        """Return where the track's lines meet in a ROI, pixels."""
        return [(upper[1] + lower[0]) / 2 for upper, lower in itertools.pairwise(self.places(shape))]

    def anchor(self, shape: Shape) -> Anchor | None:
        """Return where the track's text is anchored in a ROI, pixels; None where a person drew the region."""
        if not self.track.lines or self.track.anchor == "mixed":
            return None
        size = shape[0] if self.track.vertical else shape[1]
        if self.track.anchor_position is not None:
            start, extent = (
                (self.region.top, self.region.height) if self.track.vertical else (self.region.left, self.region.width)
            )
            return Anchor(self.track.anchor, (self.track.anchor_position - start) / extent * size)
        margin = 0.5 * self.line_px  # that the layout leaves beside the anchored side
        position = {"left": margin, "right": size - margin}.get(self.track.anchor, size / 2)
        return Anchor(self.track.anchor, position)

    def middle(self, shape: Shape) -> Anchor:
        """Return the middle of the picture, in a ROI."""
        return Anchor("center", (0.5 - self.region.left) / self.region.width * shape[1])

    def picture(self, shape: Shape) -> tuple[float, float, float, float]:
        """Return left, top, right, and bottom of the whole picture in pixels of a ROI."""
        region, (height, width) = self.region, shape
        left, top = -region.left / region.width * width, -region.top / region.height * height
        return left, top, left + width / region.width, top + height / region.height

    def drop_avoided(self, strokes: Mask) -> Mask:
        """Drop strokes in boxes of other text inside the region."""
        if not self.track.avoid:
            return strokes
        avoided = np.zeros(strokes.shape, bool)
        for box in self.track.avoid:
            avoided |= self.mark(BBox(*box), strokes.shape)
        return strokes & ~avoided

    def mark(self, box: BBox, shape: Shape) -> Mask:
        """Mark a box of the picture in a ROI."""
        region, (height, width) = self.region, shape
        top, bottom = (box.top - region.top) / region.height, (box.bottom - region.top) / region.height
        left, right = (box.left - region.left) / region.width, (box.right - region.left) / region.width
        inside = np.zeros(shape, bool)
        inside[
            max(0, int(top * height)) : max(0, int(np.ceil(bottom * height))),
            max(0, int(left * width)) : max(0, int(np.ceil(right * width))),
        ] = True
        return inside

    def bbox(self, strokes: Mask) -> BBox:
        """Return the bounding box of strokes in the picture."""
        rows, columns = np.flatnonzero(strokes.any(axis=1)), np.flatnonzero(strokes.any(axis=0))
        box = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        return self.place_in_picture(box, strokes.shape)

    def place_in_picture(self, box: Box, shape: Shape) -> BBox:
        """Return the place of a box of a ROI, pixels, in the picture."""
        region, (height, width) = self.region, shape
        x0, y0, x1, y1 = box
        return BBox(
            region.left + region.width * x0 / width,
            region.top + region.height * y0 / height,
            region.left + region.width * x1 / width,
            region.top + region.height * y1 / height,
        )
