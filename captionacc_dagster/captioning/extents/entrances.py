"""Follows captions that slide, bounce, or grow when they appear or disappear, by the strokes that they have at rest.

The strokes are searched in the frame before the caption rests (or after it did), near their place; then in the frame
before that, near the place where they were found, until they are lost.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.segmentation import NumberedPlane
from captionacc_dagster.captioning.extents.strokes import Mask, StrokeModel, high_pass
from captionacc_dagster.captioning.extents.tuning import TUNING

_FEW_SIZES = 16  # that are tried at the size of the frame
_SIZES_AROUND = 1.5  # steps of the sizes that are tried at half that: what is near the best one
_FEW_PLACES = 25  # at which summing by place is faster than a correlation

Relief = NDArray[np.float32]
Area = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Motion:
    """How a caption moves before and after it is at rest.

    Attributes:
        before, after: the frames, the nearest to rest first, and its pose in them, where it is at least half visible.
        size: the longer side of its box, pixels.
    """

    before: list[tuple[int, Pose]]
    after: list[tuple[int, Pose]]
    size: int

    @classmethod
    def of(
        cls,
        model: StrokeModel,
        stroke_mask: Mask,
        before: Sequence[NumberedPlane],
        after: Sequence[NumberedPlane],
        picture: Area,
        still_frames: int,
    ) -> Motion:
        """Follow a caption from rest.

        Args:
            model: of frames that show it at rest.
            stroke_mask: bool ``(height, width)``, its strokes.
            before, after: the ROIs before it rests and after it did, the nearest first.
            picture: the whole picture in pixels of the ROI.
            still_frames: for so many frames a moving caption does not stay away from its place.
        """
        letters = Lettering.of(model, stroke_mask)
        way_in, way_out = (_follow(letters, frames, picture, still_frames) for frames in (before, after))
        return cls(way_in, way_out, letters.size)

    def start(self, rest: int) -> int:
        """Return where a caption appears that rests from a frame on."""
        return self.before[-1][0] if self.before else rest

    def end(self, rest: int) -> int:
        """Return where a caption ends that rests up to a frame."""
        return self.after[-1][0] + 1 if self.after else rest

    def enters_through(self, start: int, end: int) -> bool:
        """Return whether the caption is seen to move in most frames of a stretch before it rests."""
        inside = [pose for number, pose in self.before if start <= number < end]
        moves = sum(not one.is_near(other, TUNING.edge_px / 2, self.size) for one, other in itertools.pairwise(inside))
        return 2 * len(inside) >= end - start and moves > 0 and 2 * moves >= len(inside) - 1


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a caption is in a frame.

    Attributes:
        x, y: its center, pixels of the ROI.
        scale: 1 at rest.
        likeness: correlation with the caption at rest, -1..1.
        contrast: 1 at rest.
    """

    x: float
    y: float
    scale: float
    likeness: float = 1.0
    contrast: float = 1.0

    def is_near(self, other: Pose, distance: float, size: float) -> bool:
        """Return whether two poses differ by at most a distance, pixels, also at the ends of a box this long."""
        apart = max(abs(self.x - other.x), abs(self.y - other.y))
        return apart + abs(self.scale - other.scale) * size / 2 <= distance


@dataclass(frozen=True)
class Lettering:
    """The strokes of a caption at rest and what is right beside them.

    Attributes:
        relief: of the caption, 0 away from its strokes, float32 ``(height, width)``.
        near: 1 where its strokes or their surroundings are, float32.
        rest: its pose.
        line_px: height of a line, pixels.
    """

    relief: Relief
    near: Relief
    rest: Pose
    line_px: float

    @classmethod
    def of(cls, model: StrokeModel, stroke_mask: Mask) -> Lettering:
        """Return the lettering of frames that show a caption at rest, with its strokes, bool ``(height, width)``."""
        import cv2

        side = 2 * TUNING.edge_px + 1
        near = cv2.dilate(stroke_mask.view(np.uint8), np.ones((side, side), np.uint8))
        rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        rest = Pose(float(columns[0] + columns[-1] + 1) / 2, float(rows[0] + rows[-1] + 1) / 2, 1.0)
        mask = near[part].astype(np.float32)
        return cls(model.relief[part] * mask, mask, rest, model.line_px)

    @cached_property
    def half(self) -> Lettering:
        """The lettering at half the size."""
        rest = Pose(self.rest.x / 2, self.rest.y / 2, 1.0)
        return Lettering(_halved(self.relief), _halved(self.near), rest, self.line_px / 2)

    @property
    def least_likeness(self) -> float:
        """What is less like it is something else: a short word, not a longer text, resembles parts of other words."""
        return TUNING.nearly_all if self.width < TUNING.short_text * self.line_px else TUNING.faded

    @property
    def variance(self) -> float:
        """Of the relief where its strokes and their surroundings are, times the number of these pixels."""
        return float((self.relief**2).sum() - self.relief.sum() ** 2 / max(1.0, float(self.near.sum())))

    @property
    def height(self) -> int:
        """At rest, pixels."""
        return self.near.shape[0]

    @property
    def width(self) -> int:
        """At rest, pixels."""
        return self.near.shape[1]

    @property
    def size(self) -> int:
        """The longer side of its box at rest, pixels."""
        return max(self.near.shape)

    @cached_property
    def _marked(self) -> tuple[NDArray[np.intp], NDArray[np.intp], Relief]:
        """Rows and columns of its strokes and their surroundings, and its relief there."""
        rows, columns = np.nonzero(self.near)
        return rows, columns, self.relief[rows, columns]

    def _sums_at_places(self, part: Relief) -> tuple[Relief, Relief, Relief]:
        """Return the sums, the sums of squares, and those of products with the relief of a part of a frame where the
        strokes and their surroundings would be, for each place in it.

        For a few places that takes a quarter of the time of a correlation, which works for all of them at once.
        """
        rows, columns, own = self._marked
        across = part.shape[1]
        down, right = part.shape[0] - self.height + 1, across - self.width + 1
        places = (np.arange(down)[:, None] * across + np.arange(right)).ravel()
        values = part.ravel().take(places[:, None] + (rows * across + columns))
        shape = down, right
        return (
            values.sum(axis=1).reshape(shape),
            np.einsum("ij,ij->i", values, values).reshape(shape),
            (values @ own).reshape(shape),
        )

    def find(
        self, relief: Relief, near: Pose, scale: float, reach: tuple[float, float], *, keep_inside: bool = False
    ) -> Pose | None:
        """Return the place where a frame is most like the caption at a scale; None if that is outside the frame.

        Args:
            relief: of the frame, float32 ``(height, width)``.
            near: the center is searched around that of this pose.
            scale: of the caption.
            reach: how far to search, pixels across and down.
            keep_inside: not to search where a part of it is outside the frame, if it fits; that takes half of the time.
        """
        import cv2

        target, mask = self.relief, self.near
        if scale != 1:
            size = max(3, round(self.width * scale)), max(3, round(self.height * scale))
            target = np.asarray(cv2.resize(target, size, interpolation=cv2.INTER_LINEAR), np.float32)
            mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR), np.float32)
        height, width = mask.shape
        rows, columns = relief.shape
        left, across = _window(near.x - width / 2, reach[0], width, columns, keep_inside)
        top, down = _window(near.y - height / 2, reach[1], height, rows, keep_inside)
        part, inside = _padded_part(relief, left, top, across, down)
        if part is None:
            return None

        def weigh(other: Relief) -> NDArray[np.floating] | float:
            """Return the sum of what is inside the frame, for each place."""
            return float(other.sum()) if inside is None else _sums_inside(other, inside, part.shape)

        count, own, power = np.maximum(weigh(mask), 1.0), weigh(target), weigh(target * target)
        own_variance = np.maximum(power - own * own / count, 1.0)
        if scale == 1 and (across - width + 1) * (down - height + 1) <= _FEW_PLACES:
            mean, square, product = self._sums_at_places(part)
        else:
            mean, square, product = _correlate(part, mask), _correlate(part * part, mask), _correlate(part, target)
        variance = np.maximum(square - mean * mean / count, 1.0)
        covariance = product - own * mean / count
        likeness = np.where(
            count >= TUNING.fading_share * float(mask.sum()), covariance / np.sqrt(variance * own_variance), -1.0
        )
        _, best, _, (x, y) = cv2.minMaxLoc(likeness)
        contrast = float((covariance / own_variance)[y, x])
        return Pose(left + x + width / 2, top + y + height / 2, scale, best, contrast)


def _correlate(one: Relief, other: Relief) -> Relief:
    """Return the sum of the products of a picture with a smaller one, for each place of that in it."""
    import cv2

    return np.asarray(cv2.matchTemplate(one, other, cv2.TM_CCORR), np.float32)


def _halved(relief: Relief) -> Relief:
    """Return a picture at half the size."""
    import cv2

    height, width = relief.shape
    size = max(1, width // 2), max(1, height // 2)
    return np.asarray(cv2.resize(relief, size, interpolation=cv2.INTER_AREA), np.float32)


def _window(place: float, reach: float, size: int, whole: int, keep_inside: bool) -> tuple[int, int]:
    """Return start and extent of the part of a frame in which something of a size is searched around a place."""
    start = round(place - reach)
    end = start + size + round(2 * reach) + 1
    if keep_inside and min(end, whole) - max(start, 0) >= size:
        start, end = max(start, 0), min(end, whole)
    return start, end - start


def _padded_part(
    relief: Relief, left: int, top: int, across: int, down: int
) -> tuple[Relief | None, tuple[slice, slice] | None]:
    """Return a part of a frame, with zeros outside of it, and its rows and columns that are inside: None if all are.

    The part is None if no pixel of it is inside.
    """
    rows, columns = relief.shape
    y0, y1, x0, x1 = max(0, top), min(rows, top + down), max(0, left), min(columns, left + across)
    if y0 >= y1 or x0 >= x1:
        return None, None
    if (y1 - y0, x1 - x0) == (down, across):
        return relief[y0:y1, x0:x1], None
    part, inside = np.zeros((down, across), np.float32), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    part[inside] = relief[y0:y1, x0:x1]
    return part, inside


def _sums_inside(other: Relief, inside: tuple[slice, slice], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the sum of what of a picture is inside a rectangle of a larger one, for each place of it in that one.

    Args:
        other: the picture.
        inside: the rectangle.
        shape: of the larger picture.
    """
    import cv2

    def ends(within: slice, size: int, whole: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return where what is inside begins and ends in the picture along one side, for each place."""
        places = np.arange(whole - size + 1)
        first = np.clip(within.start - places, 0, size)
        return first, np.maximum(np.clip(within.stop - places, 0, size), first)

    up_to = np.asarray(cv2.integral(other), np.float64)
    (top, bottom), (left, right) = map(ends, inside, other.shape, shape)
    return (
        up_to[np.ix_(bottom, right)]
        - up_to[np.ix_(top, right)]
        - up_to[np.ix_(bottom, left)]
        + up_to[np.ix_(top, left)]
    )


def _poses(letters: Lettering, frames: Sequence[NumberedPlane]) -> Iterator[tuple[int, Pose]]:
    """Yield the pose of a caption in successive frames until it is lost."""
    line_px, most = letters.line_px, math.log(TUNING.most_growth)
    pose, reach, growth = letters.rest, _first_reach(letters), most
    for number, roi in frames:
        relief = high_pass(roi, line_px)
        found = letters.find(relief, pose, pose.scale, (TUNING.edge_px / 2, TUNING.edge_px / 2))
        if found is None or found.likeness < TUNING.built_share:
            if pose.is_near(letters.rest, TUNING.edge_px / 2, letters.size) and not _is_somewhere(letters, relief):
                return
            found = letters.find(relief, pose, pose.scale, (reach, min(reach, letters.height + line_px)))
            found = _resized(letters, relief, pose, found, 0.0, growth)
            if growth < most and (found is None or found.likeness < letters.least_likeness):
                found = _resized(letters, relief, pose, found, growth, most)  # it grows faster than before
        if found is None or found.likeness < letters.least_likeness:
            return
        reach = 2 * max(abs(found.x - pose.x), abs(found.y - pose.y)) + 2 * TUNING.word_gap * line_px
        growth = min(most, 2 * abs(math.log(found.scale / pose.scale)) + 4 * _scale_step(letters, pose))
        pose = found
        yield number, pose


def _first_reach(letters: Lettering) -> float:
    """Return how far from rest a caption may be in the frame beside, pixels."""
    return max(1.5 * letters.line_px, letters.width / 2)


def _is_somewhere(letters: Lettering, relief: Relief) -> bool:
    """Return whether a caption may be in the frame beside those in which it is at its place, searched at half the size.

    Most captions are not: this takes a tenth of the time of a search at full size.
    """
    small, relief = letters.half, _halved(relief)
    if not _may_be_half_visible(small, relief):
        return False
    reach = _first_reach(small)
    found = small.find(relief, small.rest, 1.0, (reach, min(reach, small.height + small.line_px)))
    found = _best_size(small, relief, small.rest, found, _sizes(small, small.rest, 0.0, math.log(TUNING.most_growth)))
    return found is not None and found.likeness >= TUNING.built_share * letters.least_likeness


def _may_be_half_visible(letters: Lettering, relief: Relief) -> bool:
    """Return whether a caption may be in a frame with half of its contrast, at any place and in any size searched.

    Where it is, its part of the frame has a quarter of its variance: more than most pictures have without it.
    """
    import cv2

    window = math.ceil(letters.width * TUNING.most_growth), math.ceil(letters.height * TUNING.most_growth)
    power = cv2.boxFilter(relief * relief, -1, window, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return float(np.max(power)) >= (0.5 / TUNING.most_growth) ** 2 * letters.variance


def _scale_step(letters: Lettering, pose: Pose) -> float:
    """Return the logarithm of the ratio of two sizes in which the caption is still found."""
    return max(0.01, TUNING.edge_px / (letters.size * pose.scale))


def _resized(
    letters: Lettering, relief: Relief, pose: Pose, found: Pose | None, least: float, most: float
) -> Pose | None:
    """Return the pose in a frame in the size in which the caption is most like itself at rest.

    Where many sizes are to be tried, they are at half the size of the frame first, and then those near the best one:
    that takes half of the time.

    Args:
        letters: the caption.
        relief: of the frame.
        pose: in the frame beside.
        found: the best pose so far.
        least, most: the logarithms of the ratios of sizes between which others are tried.
    """
    sizes = _sizes(letters, pose, least, most)
    if len(sizes) > _FEW_SIZES:
        small, near = letters.half, Pose(pose.x / 2, pose.y / 2, pose.scale)
        rough = _best_size(small, _halved(relief), near, None, _sizes(small, near, least, most))
        if rough is None:
            return found
        reach = _SIZES_AROUND * _scale_step(small, near)
        sizes = [size for size in sizes if abs(math.log(size / rough.scale)) <= reach]
    return _best_size(letters, relief, pose, found, sizes)


def _best_size(
    letters: Lettering, relief: Relief, pose: Pose, found: Pose | None, sizes: Sequence[float]
) -> Pose | None:
    """Return the pose in a frame in the one of some sizes in which the caption is most like itself at rest, or
    ``found`` if that is more like it; arguments as of `_resized`."""
    for scale in sizes:
        other = letters.find(
            relief, pose, scale, (TUNING.edge_px + 1, TUNING.word_gap * letters.line_px), keep_inside=True
        )
        if other is not None and (found is None or other.likeness > found.likeness):
            found = other
    return found


def _sizes(letters: Lettering, pose: Pose, least: float, most: float) -> list[float]:
    """Return the sizes that are tried, in which a caption in any size between is found; arguments as of `_resized`."""
    step = _scale_step(letters, pose)
    numbers = range(int(least / step) + 1, int(most / step) + 1)
    return [pose.scale * math.exp(number * step) for n in numbers for number in (n, -n)]


def _follow(
    letters: Lettering, frames: Sequence[NumberedPlane], picture: Area, still_frames: int
) -> list[tuple[int, Pose]]:
    """Return the poses of a moving caption up to the frame farthest from rest in which it is half visible.

    It is half visible with half of its letters in the picture and half of its contrast. What stays away from its place
    for a while is another caption with the same text.

    Args:
        letters: the caption at rest.
        frames: the ROIs before it rests, or after it did, the nearest to rest first.
        picture: the whole picture in pixels of the ROI.
        still_frames: for so many frames a moving caption does not stay away from its place.

    Returns:
        The frames with the poses in them, the nearest to rest first; empty where the caption does not move.
    """
    if letters.width < letters.line_px:
        return []  # a single letter is found anywhere
    path: list[tuple[int, Pose]] = []
    last, still, moves, count = letters.rest, 0, 0, 0
    for number, pose in _poses(letters, frames):
        path.append((number, pose))
        is_away = not pose.is_near(letters.rest, TUNING.edge_px / 2, letters.size)
        if pose.is_near(last, TUNING.edge_px / 2, letters.size):
            still += 1
        else:
            last, still, moves = pose, 0, moves + is_away
        if still >= still_frames and (is_away or not moves):
            return []
        if not is_away:
            continue
        if moves > 1 and _share_inside(letters, pose, picture) >= 0.5 and pose.contrast >= 0.5:
            count = len(path)
    return path[:count]


def _share_inside(letters: Lettering, pose: Pose, picture: Area) -> float:
    """Return the share of a caption's box that is in the picture."""
    width, height = letters.width * pose.scale, letters.height * pose.scale
    across = min(picture[2], pose.x + width / 2) - max(picture[0], pose.x - width / 2)
    down = min(picture[3], pose.y + height / 2) - max(picture[1], pose.y - height / 2)
    return max(0.0, across) * max(0.0, down) / (width * height)
