"""Lines of text sighted in sparse samples of a video, and what their pixels do over time.

A sample is a frame and another about a quarter of a second later: what is burned in stands still between the
two, what belongs to the scene or scrolls does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.ocr.base import LineBox
from captionacc_dagster.captioning.video.pictures import pixel_rectangle
from captionacc_dagster.captioning.video.reader import NativeFrame

THUMB_SIDE = 640  # pixels of the longer side of the luma pictures that are compared over time
PICTURE_SIDE = 960  # pixels of the longer side of those in which lines are searched, at most
_THICKEST = 0.22  # of the picture's shorter side: no line of text is thicker
_REACH = 24  # thumb pixels that text may move between the two pictures and be followed
_STROKE = 20  # gray levels by which a stroke differs from its surroundings
_CORE = 160  # thumb pixels of a long line that are followed
_SCENE_STANDS = 0.5  # correlation from which on the scene does not move
_SURROUND = 15  # thumb pixels to each side that count as surroundings, together
_FLAT = 0.25  # variance below which the scene has nothing that could be seen to move
_FAINT = 2.0  # standard deviation below which there are no strokes to follow
_FOLLOWED = 0.45  # correlation from which on the same strokes are found again at their place,
_FOLLOWED_AWAY = 0.6  # and elsewhere
_TWO_LINES = (6, 9)  # cells of a fortieth of the picture's shorter side: from and to which two lines are high
_MOVED = 1.3  # thumb pixels from which on it counts as moved


@dataclass(slots=True)
class Sample:
    """A frame of the video and one a little later, as pictures of their strokes, and the lines found in it.

    ``strokes`` and ``later`` are ``(h, w)`` uint8, 128 where the picture is like its surroundings; ``luma``
    is ``(h, w)`` uint8, in which lines are searched (as many are found there as in colors).
    ``scene_stands``: nothing moves between the two, so that standing still says nothing; ``searched``: the whole
    picture was searched; ``fine``: its lines were found in a larger picture, which gives tighter boxes;
    ``followed``: what is known of `stillness`.
    """

    time_s: float
    strokes: NDArray[np.uint8]
    later: NDArray[np.uint8] | None
    luma: NDArray[np.uint8]
    scene_stands: bool = False
    searched: bool = False
    fine: bool = False
    lines: list[LineBox] = field(default_factory=list)
    followed: dict[BBox, float] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class SampleDetection:
    """A line of text in a sample.

    ``still``: 1 stands still, 0 moves, 0.5 cannot be told. ``sample`` is the sample's number. ``fine``: its box is
    tight.
    """

    sample: int
    time_s: float
    bbox: BBox
    score: float
    still: float
    fine: bool = False


def sample_of(
    frame: NativeFrame, later: NativeFrame | None, thumb_size: tuple[int, int], picture_size: tuple[int, int]
) -> Sample:
    """Make a sample of a frame and a later one; sizes are ``(width, height)``."""
    second = None if later is None else strokes(later.scaled_luma(*thumb_size))
    first = strokes(frame.scaled_luma(*thumb_size))
    stands = second is None or _scene_stands(first, second)
    return Sample(frame.time_s, first, second, frame.scaled_luma(*picture_size), stands)


def shrunk(luma: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Scale a picture ``(h, w)`` uint8 by area; it is not enlarged."""
    import cv2

    if scale >= 1:
        return luma
    height, width = luma.shape
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)


def detections_in(samples: Sequence[Sample]) -> list[SampleDetection]:
    """List every line of every sample with whether it stands still; textures taken for text are left out."""
    return [
        SampleDetection(number, sample.time_s, line.bbox, line.score, stillness(sample, line.bbox), sample.fine)
        for number, sample in enumerate(samples)
        for line in sample.lines
        if min(line.bbox.width * sample.strokes.shape[1], line.bbox.height * sample.strokes.shape[0])
        <= _THICKEST * min(sample.strokes.shape)
    ]


def stillness(sample: Sample, bbox: BBox) -> float:
    """Tell whether the strokes in a box stand still (1), move (0), or cannot be followed (0.5)."""
    if bbox not in sample.followed:
        sample.followed[bbox] = _followed(sample, bbox)
    return sample.followed[bbox]


def _followed(sample: Sample, bbox: BBox) -> float:
    import cv2

    if sample.later is None:
        return 0.5
    height, width = sample.strokes.shape
    x0, y0, x1, y1 = pixel_rectangle(bbox, width, height)
    # The middle of a long line is enough, and leaves room to follow one that runs across the whole picture.
    x0, x1 = _core(x0, x1, width)
    y0, y1 = _core(y0, y1, height)
    patch = sample.strokes[y0:y1, x0:x1]
    if patch.std() < _FAINT:
        return 0.5
    top, left = max(0, y0 - _REACH), max(0, x0 - _REACH)
    around = sample.later[top : min(height, y1 + _REACH), left : min(width, x1 + _REACH)]
    _, best, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(around, patch, cv2.TM_CCOEFF_NORMED))
    moved = float(np.hypot(x + left - x0, y + top - y0)) > _MOVED
    if best < (_FOLLOWED_AWAY if moved else _FOLLOWED):
        return 0.5
    if moved:
        return 0.0
    return 0.5 if sample.scene_stands else 1.0


def _core(start: int, end: int, size: int) -> tuple[int, int]:
    longest = min(_CORE, size - 3 * _REACH)
    if size < 4 * _REACH or end - start <= longest:  # a small picture leaves no room to choose
        return start, end
    middle = min(max((start + end) // 2, (longest + 1) // 2 + _REACH), size - (longest + 1) // 2 - _REACH)
    return middle - longest // 2, middle + longest // 2


def normalized_correlation(one: NDArray[np.uint8], other: NDArray[np.uint8], bbox: BBox) -> float:
    """Correlate the strokes that two pictures have in a box: -1..1, near 1 for the same text."""
    import cv2

    height, width = one.shape
    x0, y0, x1, y1 = pixel_rectangle(bbox, width, height)
    first, second = one[y0:y1, x0:x1], other[y0:y1, x0:x1]
    none = np.full_like(first, 128)
    # Sums of squares of bytes are quick: what the two share follows from each and from their difference.
    energies = [cv2.norm(picture, none, cv2.NORM_L2SQR) for picture in (first, second)]
    energy = (energies[0] * energies[1]) ** 0.5
    return (sum(energies) - cv2.norm(first, second, cv2.NORM_L2SQR)) / (2 * energy) if energy > 1.0 else 0.0


def strokes(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give what differs from its surroundings, ``(h, w)`` uint8 around 128: strokes stay, shading goes."""
    import cv2

    return np.asarray(cv2.addWeighted(luma, 1.0, cv2.blur(luma, (_SURROUND, _SURROUND)), -1.0, 128.0), np.uint8)


def standing_lines(sample: Sample, others: Sequence[Sample]) -> list[tuple[BBox, float]]:
    """Find what looks like a line of text by its pixels alone: strokes that stand still, in a thin band,
    and that are not there in most other samples.

    Gives boxes and the share of the picture that the strokes of each fill: reason enough to search a sample.
    """
    mask = _standing(sample)
    if mask is None:
        return []
    shared = np.zeros(mask.shape, np.uint8)
    strong = _strong(sample.strokes)
    for other in others:
        shared += strong & _alike(sample.strokes, other.strokes)
    return lines_in(mask & (2 * shared <= len(others)))


def lines_in(mask: NDArray[np.bool_]) -> list[tuple[BBox, float]]:
    """Find what looks like lines of text among strokes ``(h, w)``: the box of each, and the share of the picture
    that its strokes fill."""
    import cv2

    height, width = mask.shape
    cell = max(6, min(mask.shape) // 40)
    rows, columns = height // cell, width // cell
    if not (rows and columns):
        return []
    whole = mask[: rows * cell, : columns * cell].astype(np.float32)
    cells = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)  # the mean of each cell
    # Strokes that follow one another along the line count, single ones in the background do not.
    active = (cv2.blur(cells, (5, 1)) > 0.22).astype(np.uint8)
    count, labeled, stats, _ = cv2.connectedComponentsWithStats(active, connectivity=4)
    found = []
    for number in range(1, count):
        x, y, across, down, _ = (int(value) for value in stats[number])
        inside = cells[labeled == number]
        shortest = max(6, 1.5 * down if down < _TWO_LINES[0] else down)
        if across < shortest or down > _TWO_LINES[1] or len(inside) < 0.5 * across * down:
            continue
        box = BBox(x * cell / width, y * cell / height, (x + across) * cell / width, (y + down) * cell / height)
        found.append((box, float(inside.sum()) * cell * cell / mask.size))
    return found


def standing_share(sample: Sample, bbox: BBox) -> float:
    """Give the share of a box that standing strokes fill, 0..1."""
    mask = _standing(sample)
    if mask is None:
        return 0.0
    x0, y0, x1, y1 = pixel_rectangle(bbox, mask.shape[1], mask.shape[0])
    return float(mask[y0:y1, x0:x1].mean())


def _standing(sample: Sample) -> NDArray[np.bool_] | None:
    """Give the strokes that are in both pictures of a sample, ``(h, w)`` bool."""
    return None if sample.later is None else _standing_at(sample.strokes, sample.later)


def _scene_stands(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Tell whether what is behind the text stands still: correlate two pictures without their standing strokes."""
    import cv2

    # Text shows as far as the blur reaches that its surroundings were measured with.
    standing = _standing_at(one, other)[::2, ::2].astype(np.uint8)
    behind = cv2.dilate(standing, np.ones((_SURROUND // 2 + 1, _SURROUND // 2 + 1), np.uint8)) == 0
    first, second = (cv2.blur(picture, (3, 3))[::2, ::2][behind].astype(np.float32) - 128 for picture in (one, other))
    energy = float(np.sqrt((first @ first) * (second @ second)))
    return energy < _FLAT * len(first) or float(first @ second) >= _SCENE_STANDS * energy


def _standing_at(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return _strong(one) & _alike(one, other)


def _strong(strokes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    import cv2

    return np.asarray(cv2.absdiff(strokes, np.full_like(strokes, 128)) >= _STROKE, np.bool_)


def _alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    import cv2

    return np.asarray(cv2.absdiff(one, other) <= _STROKE // 2, np.bool_)
