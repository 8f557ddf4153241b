"""What a caption says: its frames are fused into one picture, its lines cut out by their stroke_mask, and read."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.glyph_mask import mean_level
from captionacc_dagster.captioning.extents.marks import ellipsis, may_be_dots, with_inverted_marks
from captionacc_dagster.captioning.extents.strokes import Mask, Plane
from captionacc_dagster.captioning.ocr.base import OcrEngine, Recognition

SURE = 0.9  # a reading from here on is not read again
SURE_OF_FEW = 0.75
_DARKEST = 0.005  # of a line's pixels are left out of its range of levels, and as many of the brightest
_FEW = 2  # a line of so few characters must be read twice alike
HOPEFUL = 0.3  # below this it is not worth another look
CERTAIN = 0.95  # then even a line with much room for its characters is one
_WIDEST_CHARACTER = 1.5  # line heights
# Of the curve from what the recognizer says to how often it is right: fitted by benchmarks/captions/calibration.py to
# 277 readings of the default engine (docs/benchmark.md).
OFFSET = -2.77
SLOPE = 1.25
LEAST_DOUBT = 1e-3
PLAUSIBLE = 0.6  # below this a reading is no text
_ALIKE = str.maketrans({"o": "0", "i": "1", "l": "1", "|": "1", "，": ",", "。": ".", "：": ":"})
# Characters that recognizers mix up between the scripts; simplified on the right.
_SIMPLIFIED = str.maketrans(
    "決淨凈裡裏後來個們這說時對為會過還樣點開關門間問見現話語請讓認識誰謝遠進運頭東車馬長書電買賣錢愛國學當聽覺麼無與從動氣處實發經給幾機應條業樂",
    "决净净里里后来个们这说时对为会过还样点开关门间问见现话语请让认识谁谢远进运头东车马长书电买卖钱爱国学当听觉么无与从动气处实发经给几机应条业乐",
)


@dataclass(frozen=True, slots=True)
class Anchor:
    """What stays in its place when the text of a track changes.

    Attributes:
        side: ``left``, ``center`` or ``right``.
        position: where that side of the text is, pixels.
    """

    side: str
    position: float

    def distance(self, start: float, end: float) -> float:
        """Give how far a text from ``start`` to ``end`` is off, pixels."""
        at = {"left": start, "right": end}.get(self.side, (start + end) / 2)
        return abs(at - self.position)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: lines joined by ``"\\n"``, the confidence (0..1), and how many lines were recognized."""

    text: str
    confidence: float
    recognitions: int


NOTHING = Reading("", 0.0, 0)


def fold(text: str) -> str:
    """Fold what recognizers mix up: width, case, O and 0, l and I and 1, script variants, white space."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    folded = folded.translate(_SIMPLIFIED).translate(_ALIKE)
    return "".join(character for character in folded if not character.isspace())


def common_length(one: str, other: str) -> int:
    """Give how many characters two texts have in common, in the same order (their longest common subsequence)."""
    lengths = [0] * (len(other) + 1)
    for character in one:
        before = lengths.copy()
        for place, compared in enumerate(other, 1):
            lengths[place] = before[place - 1] + 1 if character == compared else max(before[place], lengths[place - 1])
    return lengths[-1]


def calibrated(confidence: float) -> float:
    """Give how likely every character of a reading is right, 0..1, from what the recognizer says of it.

    A logistic curve over the logarithm of the doubt (Platt scaling); it rises with ``confidence``.
    """
    doubt = min(1.0, max(LEAST_DOUBT, 1 - confidence))
    return 1 / (1 + math.exp(SLOPE * math.log(doubt) - OFFSET))


def split_lines(
    stroke_mask: Mask,
    line_px: float,
    *,
    vertical: bool = False,
    seams: Sequence[float] = (),
    anchor: Anchor | None = None,
) -> list[tuple[int, int, int, int]]:
    """Find the lines of some ink: ``(x0, y0, x1, y1)`` in pixels, half-open, in reading order.

    Args:
        ink: bool ``(height, width)``.
        line_px: height of a line (width of a column).
        vertical: lines are columns, read from right to left.
        seams: rows (columns) near which two lines may meet, pixels.
        anchor: where the text stands in its line; what is far from it is left out.
    """
    if vertical:
        boxes = split_lines(stroke_mask.T, line_px, seams=seams, anchor=anchor)
        return [(y0, x0, y1, x1) for x0, y0, x1, y1 in reversed(boxes)]
    profile = stroke_mask.sum(axis=1)
    for seam in seams:
        profile = _opened(profile, seam, line_px)
    bands = _bands(profile, line_px)
    boxes = []
    for top, bottom in bands:
        extent = _extent(stroke_mask[top:bottom].sum(axis=0), line_px, anchor)
        if extent is not None:
            boxes.append((extent[0], top, extent[1], bottom))
    return boxes


def _extent(profile: NDArray[np.int_], line_px: float, anchor: Anchor | None) -> tuple[int, int] | None:
    """Give from where to where a line runs, without what stands far away from the rest of it."""
    columns = np.flatnonzero(profile)
    if not columns.size:
        return None
    parts = np.split(columns, np.flatnonzero(np.diff(columns) > 0.55 * line_px) + 1)
    if anchor is None:
        return int(columns[0]), int(columns[-1]) + 1
    stroke_mask = np.array([profile[part].sum() for part in parts], float)
    best, extent = -np.inf, None
    for first in range(len(parts)):
        for last in range(first, len(parts)):
            start, end = int(parts[first][0]), int(parts[last][-1]) + 1
            off = anchor.distance(start, end)
            worth = stroke_mask[first : last + 1].sum() / stroke_mask.sum() - off / (2 * line_px + 0.5 * (end - start))
            if off <= max(1.2 * line_px, 0.15 * (end - start)) and worth > best:
                best, extent = worth, (start, end)
    return _without_specks(profile, extent, line_px, anchor) if extent else None


def _without_specks(
    profile: NDArray[np.int_], extent: tuple[int, int], line_px: float, anchor: Anchor
) -> tuple[int, int]:
    """Leave out specks at the ends of a line if it stands better without them."""
    start, end = extent
    columns = start + np.flatnonzero(profile[start:end])
    parts = np.split(columns, np.flatnonzero(np.diff(columns) > 0.2 * line_px) + 1)
    little = 0.03 * float(profile[start:end].sum())
    for part, rest in ((parts[0], parts[1:]), (parts[-1], parts[:-1])):
        if not rest or len(part) > 0.45 * line_px or profile[part].sum() > little:
            continue
        without = (int(rest[0][0]), int(rest[-1][-1]) + 1)
        if anchor.distance(*without) + 0.1 * line_px < anchor.distance(start, end):
            return without
    return extent


def _opened(profile: NDArray[np.int_], seam: float, line_px: float) -> NDArray[np.int_]:
    """Clear the row between two lines that meet near a seam, if there is ink of both and little between them."""
    low, high = max(1, round(seam - 0.25 * line_px)), min(len(profile) - 1, round(seam + 0.25 * line_px) + 1)
    if low >= high:
        return profile
    row = low + int(np.argmin(profile[low:high]))
    reach = round(0.8 * line_px)
    sides = min(profile[max(0, row - reach) : row].max(initial=0), profile[row + 1 : row + reach].max(initial=0))
    if profile[row] > 0.5 * sides:
        return profile
    opened = profile.copy()
    opened[row] = -1
    return opened


def _bands(profile: NDArray[np.int_], line_px: float) -> list[tuple[int, int]]:
    """Part rows with ink into bands of about one line each."""
    rows = np.flatnonzero(profile > 0)  # a row below 0 parts two lines
    if not rows.size:
        return []
    bands = [[int(rows[0]), int(rows[0]) + 1]]
    for row in rows[1:].tolist():
        if row - bands[-1][1] <= 0.12 * line_px and not (profile[bands[-1][1] : row] < 0).any():
            bands[-1][1] = row + 1
        else:
            bands.append([row, row + 1])
    parted: list[tuple[int, int]] = []
    for top, bottom in bands:
        parted.extend(_part(profile, top, bottom, line_px))
    return _gathered(parted, np.flatnonzero(profile < 0), line_px)


def _part(profile: NDArray[np.int_], top: int, bottom: int, line_px: float) -> list[tuple[int, int]]:
    """Part a band of several lines where the least ink is between them."""
    count = round((bottom - top) / (1.15 * line_px))
    if bottom - top < 1.5 * line_px or count < 2:
        return [(top, bottom)]
    middle = top + (bottom - top) / count
    low, high = round(middle - 0.3 * line_px), round(middle + 0.3 * line_px)
    cut = low + int(np.argmin(profile[low:high]))
    return [(top, cut), *_part(profile, cut, bottom, line_px)]


def _gathered(bands: list[tuple[int, int]], partings: NDArray[np.int_], line_px: float) -> list[tuple[int, int]]:
    """Join what is too low to be a line (accents, dots) with the line next to it."""
    joined: list[tuple[int, int]] = []
    for top, bottom in bands:
        parted = bool(joined) and bool(((partings >= joined[-1][1]) & (partings <= top)).any())
        if joined and not parted and bottom - joined[-1][0] <= 1.2 * line_px:
            joined[-1] = (joined[-1][0], bottom)
        else:
            joined.append((top, bottom))
    return joined


def read_caption(
    engine: OcrEngine,
    pictures: Sequence[Plane],
    stroke_mask: Mask,
    line_px: float,
    *,
    vertical: bool = False,
    seams: Sequence[float] = (),
    anchor: Anchor | None = None,
) -> Reading:
    """Read the caption that some frames share.

    Args:
        engine: reads line pictures.
        pictures: luma strips of the caption's frames at full size, uint8 ``(height, width)``.
        ink: the caption's own stroke_mask, at any scale.
        line_px: height of a line at the scale of ``ink``.
        vertical: its lines are columns.
        seams: where two lines may meet, pixels at the scale of ``ink``.
        anchor: where the text stands in its line, at that scale.
    """
    found = split_lines(stroke_mask, line_px, vertical=vertical, seams=seams, anchor=anchor)
    if not found or not pictures:
        return NOTHING
    scale = pictures[0].shape[0] / stroke_mask.shape[0]
    boxes = [_padded(box, line_px, scale, pictures[0].shape) for box in found]
    fusions = _fusions(pictures)
    readings: list[list[Recognition]] = [[] for _ in boxes]
    recognitions = 0
    for fused in fusions:
        todo = [number for number, read in enumerate(readings) if _is_doubtful(read)]
        if not todo:
            break
        lines = [_line_picture(fused[y0:y1, x0:x1]) for x0, y0, x1, y1 in (boxes[number] for number in todo)]
        recognitions += len(lines)
        for number, recognition in zip(todo, engine.recognize(lines), strict=True):
            readings[number].append(recognition)
    line_full = line_px * scale
    widths = [((y1 - y0) if vertical else (x1 - x0)) / line_full - 0.5 for x0, y0, x1, y1 in boxes]
    chosen = [_chosen(read, width) for read, width in zip(readings, widths, strict=True)]
    for number, line in enumerate(chosen):
        if line is None or may_be_dots(line.text):
            chosen[number] = (
                ellipsis(stroke_mask.T if vertical else stroke_mask, found[number], line_px, vertical=vertical) or line
            )
    if not vertical and any(line is not None and "!" in line.text for line in chosen):
        for number, line in enumerate(chosen):
            if line is not None:
                x0, _, x1, _ = boxes[number]
                chosen[number] = with_inverted_marks(
                    line, stroke_mask, found[number], (x0 / scale, x1 / scale), line_px
                )
    kept = [line for line in chosen if line is not None]
    if not kept:
        return Reading("", 0.0, recognitions)
    letters = sum(len(line.text) for line in kept)
    confidence = sum(line.confidence * len(line.text) for line in kept) / letters
    return Reading("\n".join(line.text.strip() for line in kept), confidence, recognitions)


def _is_doubtful(read: Sequence[Recognition]) -> bool:
    """Say whether a line should be read again."""
    if not read:
        return True
    best = max(map(_worth, read))
    if len(read) == 1:
        return HOPEFUL <= best < SURE or 0 < len(read[0].text.strip()) <= _FEW
    return len(read) == 2 and PLAUSIBLE <= best < SURE


def _chosen(read: Sequence[Recognition], width: float) -> Recognition | None:
    """Choose among the readings of a line as wide as ``width`` line heights; None when it is no text."""
    best = max(read, key=_worth)
    if not best.text.strip() or best.confidence < PLAUSIBLE:
        return None
    if width > _WIDEST_CHARACTER * len(best.text.strip()) + 0.5 and best.confidence < CERTAIN:
        return None
    if re.fullmatch(r"[A-Za-z0-9]", best.text.strip()) and best.confidence < CERTAIN:
        return None  # an edge of the picture, far more often than a caption
    if len(best.text.strip()) <= _FEW and len(read) > 1:
        # Texture is read as this or that character, each time another one.
        alike = sum(fold(line.text) == fold(best.text) for line in read)
        if alike < 2 or best.confidence < SURE_OF_FEW:
            return None
    return best


def _worth(recognition: Recognition) -> float:
    return recognition.confidence if recognition.text.strip() else 0.0


def _fusions(pictures: Sequence[Plane]) -> list[Plane]:
    """Fuse frames in different ways, the most promising first: their mean, then single frames."""
    if len(pictures) < 3:
        return [pictures[0], pictures[-1]]
    return [mean_level(pictures).astype(np.uint8), pictures[len(pictures) // 2], pictures[-1]]


def _line_picture(luma: Plane) -> NDArray[np.uint8]:
    """Stretch the contrast of a line to the whole range, but for the darkest and the brightest of its pixels."""
    import cv2

    passed = np.bincount(luma.ravel(), minlength=256).cumsum()
    low, high = np.searchsorted(passed, np.array([_DARKEST, 1 - _DARKEST]) * (luma.size - 1), side="right")
    table = np.clip((np.arange(256) - low) * (255 / max(1, high - low)), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(luma, table), np.uint8)


def _padded(
    box: tuple[int, int, int, int], line_px: float, scale: float, shape: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Give a box some room, at least a line's height, at full size."""
    x0, y0, x1, y1 = box
    middle, half = (y0 + y1) / 2, max((y1 - y0) / 2 + 0.12 * line_px, 0.5 * line_px)
    side = 0.25 * line_px
    return (
        max(0, round((x0 - side) * scale)),
        max(0, round((middle - half) * scale)),
        min(shape[1], round((x1 + side) * scale)),
        min(shape[0], round((middle + half) * scale)),
    )
