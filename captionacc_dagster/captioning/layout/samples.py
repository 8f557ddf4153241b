"""Sparse samples of a video, the lines of text found in them, and what the pixels of a line do over time.

A sample is a frame and another one about a quarter of a second later. Burned-in text is still between the two; text
that belongs to the scene, or that scrolls, moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.tuning import TUNING
from captionacc_dagster.captioning.ocr.base import LineBox
from captionacc_dagster.captioning.video.pictures import pixel_rectangle
from captionacc_dagster.captioning.video.reader import NativeFrame

THUMBNAIL_SIDE = 640  # pixels: longer side of the stroke pictures that are compared over time
PICTURE_SIDE = 960  # pixels: longer side, at most, of the pictures that are searched for lines
_SURROUNDINGS = 15  # pixels of a thumbnail: side of the square that a pixel is compared with
_SEARCH_RANGE = 24  # pixels of a thumbnail: how far text is followed between the two pictures of a sample
_LONGEST_PATCH = 160  # pixels of a thumbnail: the middle part of a long line that is followed
_MOVED = 1.3  # pixels of a thumbnail: a larger displacement than that of rounding
_FEATURELESS = 2.0  # gray levels: standard deviation of a patch that has nothing to follow
_FEATURELESS_SCENE = 0.25  # gray levels squared: variance of a scene whose motion would not be visible
_LINE_CELLS = (6, 9)  # cells of a fortieth of the shorter side: height of a block of two lines, from and to


@dataclass(slots=True)
class Sample:
    """A frame of the video and one a little later, as pictures of their strokes, and the lines found in it.

    Attributes:
        time_s: time of the first frame, seconds.
        strokes: ``(h, w)`` uint8, 128 where the picture is like its surroundings.
        later: the same of the later frame; None at the end of the video.
        luma: ``(h, w)`` uint8, searched for lines (as many are found in it as in colors).
        static_scene: nothing but text moves between the two, so that a still line proves nothing.
        searched: the whole picture was searched.
        fine: its lines were found in a larger picture, which gives tighter boxes.
        lines: the lines found so far.
        followed: results of `stillness`.
    """

    time_s: float
    strokes: NDArray[np.uint8]
    later: NDArray[np.uint8] | None
    luma: NDArray[np.uint8]
    static_scene: bool = False
    searched: bool = False
    fine: bool = False
    lines: list[LineBox] = field(default_factory=list)
    followed: dict[BBox, float] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class SampleDetection:
    """A line of text in a sample.

    Attributes:
        sample: number of the sample.
        time_s: time of the sample, seconds.
        bbox: the line's box.
        score: of the detector, 0..1.
        still: 1 still, 0 moving, 0.5 unknown.
        fine: the box is tight.
    """

    sample: int
    time_s: float
    bbox: BBox
    score: float
    still: float
    fine: bool = False


def sample_of(
    frame: NativeFrame, later: NativeFrame | None, thumbnail_size: tuple[int, int], picture_size: tuple[int, int]
) -> Sample:
    """Return the sample of a frame and a later one; sizes are ``(width, height)`` in pixels."""
    second = None if later is None else later.scaled_luma(*thumbnail_size)
    return sample_from(frame.time_s, frame.scaled_luma(*picture_size), frame.scaled_luma(*thumbnail_size), second)


def sample_from(
    time_s: float, picture: NDArray[np.uint8], thumbnail: NDArray[np.uint8], later: NDArray[np.uint8] | None
) -> Sample:
    """Return a sample of pictures ``(h, w)`` uint8: a large one to search, thumbnails of it and of a later one."""
    first, second = strokes(thumbnail), None if later is None else strokes(later)
    static_scene = second is None or _is_static_scene(first, second)
    return Sample(time_s, first, second, picture, static_scene)


def shrunk(luma: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Return a picture ``(h, w)`` uint8 reduced by area averaging; a scale of 1 or more leaves it as it is."""
    import cv2

    if scale >= 1:
        return luma
    height, width = luma.shape
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)


def detections_in(samples: Sequence[Sample]) -> list[SampleDetection]:
    """Return every line of every sample with its stillness, without textures taken for text."""
    return [
        SampleDetection(number, sample.time_s, line.bbox, line.score, stillness(sample, line.bbox), sample.fine)
        for number, sample in enumerate(samples)
        for line in sample.lines
        if min(line.bbox.width * sample.strokes.shape[1], line.bbox.height * sample.strokes.shape[0])
        <= TUNING.thickest_line * min(sample.strokes.shape)
    ]


def stillness(sample: Sample, bbox: BBox) -> float:
    """Return whether the strokes in a box are still (1), move (0), or cannot be followed (0.5)."""
    if bbox not in sample.followed:
        sample.followed[bbox] = _followed(sample, bbox)
    return sample.followed[bbox]


def _followed(sample: Sample, bbox: BBox) -> float:
    import cv2

    if sample.later is None:
        return 0.5
    height, width = sample.strokes.shape
    x0, y0, x1, y1 = pixel_rectangle(bbox, width, height)
    # The middle of a long line is enough, and leaves room to follow one that crosses the whole picture.
    x0, x1 = _middle_part(x0, x1, width)
    y0, y1 = _middle_part(y0, y1, height)
    patch = sample.strokes[y0:y1, x0:x1]
    if patch.std() < _FEATURELESS:
        return 0.5
    top, left = max(0, y0 - _SEARCH_RANGE), max(0, x0 - _SEARCH_RANGE)
    around = sample.later[top : min(height, y1 + _SEARCH_RANGE), left : min(width, x1 + _SEARCH_RANGE)]
    _, best, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(around, patch, cv2.TM_CCOEFF_NORMED))
    moved = float(np.hypot(x + left - x0, y + top - y0)) > _MOVED
    if best < (TUNING.moved_correlation if moved else TUNING.same_strokes_correlation):
        return 0.5
    if moved:
        return 0.0
    return 0.5 if sample.static_scene else 1.0


def _middle_part(start: int, end: int, size: int) -> tuple[int, int]:
    longest = min(_LONGEST_PATCH, size - 3 * _SEARCH_RANGE)
    if size < 4 * _SEARCH_RANGE or end - start <= longest:  # a small picture leaves no room to choose
        return start, end
    half = (longest + 1) // 2
    middle = min(max((start + end) // 2, half + _SEARCH_RANGE), size - half - _SEARCH_RANGE)
    return middle - longest // 2, middle + longest // 2


def normalized_correlation(one: NDArray[np.uint8], other: NDArray[np.uint8], bbox: BBox) -> float:
    """Return the correlation of the strokes that two pictures have in a box: -1..1, near 1 for the same text."""
    import cv2

    height, width = one.shape
    x0, y0, x1, y1 = pixel_rectangle(bbox, width, height)
    first, second = one[y0:y1, x0:x1], other[y0:y1, x0:x1]
    blank = np.full_like(first, 128)
    # OpenCV sums squares of bytes fast; the product of the two follows from the norms of each and of their difference.
    energies = [cv2.norm(picture, blank, cv2.NORM_L2SQR) for picture in (first, second)]
    energy = (energies[0] * energies[1]) ** 0.5
    return (sum(energies) - cv2.norm(first, second, cv2.NORM_L2SQR)) / (2 * energy) if energy > 1.0 else 0.0


def strokes(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the difference of each pixel from its surroundings, ``(h, w)`` uint8 around 128."""
    import cv2

    surroundings = cv2.blur(luma, (_SURROUNDINGS, _SURROUNDINGS))
    return np.asarray(cv2.addWeighted(luma, 1.0, surroundings, -1.0, 128.0), np.uint8)


def still_lines(sample: Sample, others: Sequence[Sample]) -> list[tuple[BBox, float]]:
    """Return what looks like a line of text by its pixels alone: still strokes in a thin band that most of the
    other samples lack.

    Each is a box and the share of the picture that its strokes fill: reason enough to search the sample there.
    """
    mask = _still_strokes(sample)
    if mask is None:
        return []
    shared = np.zeros(mask.shape, np.uint8)
    strong = _strong(sample.strokes)
    for other in others:
        shared += strong & _alike(sample.strokes, other.strokes)
    return lines_in(mask & (2 * shared <= len(others)))


def lines_in(mask: NDArray[np.bool_]) -> list[tuple[BBox, float]]:
    """Return what looks like lines of text in a mask of strokes ``(h, w)``: for each its box, and the share of the
    picture that its strokes fill."""
    import cv2

    height, width = mask.shape
    cell = max(6, min(mask.shape) // 40)
    rows, columns = height // cell, width // cell
    if not (rows and columns):
        return []
    whole = mask[: rows * cell, : columns * cell].astype(np.float32)
    cells = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)  # the mean of each cell
    # Strokes that follow one another along the line count, single ones in the background do not.
    active = (cv2.blur(cells, (5, 1)) > TUNING.row_fill).astype(np.uint8)
    count, labeled, stats, _ = cv2.connectedComponentsWithStats(active, connectivity=4)
    found = []
    for number in range(1, count):
        x, y, across, down, _ = (int(value) for value in stats[number])
        inside = cells[labeled == number]
        shortest = max(6, 1.5 * down if down < _LINE_CELLS[0] else down)
        if across < shortest or down > _LINE_CELLS[1] or len(inside) < 0.5 * across * down:
            continue
        box = BBox(x * cell / width, y * cell / height, (x + across) * cell / width, (y + down) * cell / height)
        found.append((box, float(inside.sum()) * cell * cell / mask.size))
    return found


def still_share(sample: Sample, bbox: BBox) -> float:
    """Return the share of a box that still strokes fill, 0..1."""
    mask = _still_strokes(sample)
    if mask is None:
        return 0.0
    x0, y0, x1, y1 = pixel_rectangle(bbox, mask.shape[1], mask.shape[0])
    return float(mask[y0:y1, x0:x1].mean())


def _still_strokes(sample: Sample) -> NDArray[np.bool_] | None:
    """Return the strokes that both pictures of a sample show, ``(h, w)`` bool."""
    return None if sample.later is None else _strokes_in_both(sample.strokes, sample.later)


def _is_static_scene(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Return whether the scene behind the text is static, from two pictures without their common strokes."""
    import cv2

    # Text shows as far as the blur reaches that its surroundings were measured with.
    text = _strokes_in_both(one, other)[::2, ::2].astype(np.uint8)
    behind = cv2.dilate(text, np.ones((_SURROUNDINGS // 2 + 1, _SURROUNDINGS // 2 + 1), np.uint8)) == 0
    first, second = (cv2.blur(picture, (3, 3))[::2, ::2][behind].astype(np.float32) - 128 for picture in (one, other))
    energy = float(np.sqrt((first @ first) * (second @ second)))
    return energy < _FEATURELESS_SCENE * len(first) or float(first @ second) >= TUNING.same_strokes_correlation * energy


def _strokes_in_both(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return _strong(one) & _alike(one, other)


def _strong(strokes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    import cv2

    return np.asarray(cv2.absdiff(strokes, np.full_like(strokes, 128)) >= TUNING.stroke_contrast, np.bool_)


def _alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    import cv2

    return np.asarray(cv2.absdiff(one, other) <= TUNING.stroke_contrast // 2, np.bool_)
