"""How a row of text differs from the picture around it and from the other rows: its look, its size, when it changes.

Captions over an editor, slides, or a chat turn over when the text behind them does not, and stay when that changes;
they are larger or stand out more. In lyrics, one line stands out from those above and below, and all change at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, median

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.rows import Line, Look, Row, box_of, mean_look
from captionacc_dagster.captioning.layout.samples import Sample
from captionacc_dagster.captioning.video.pictures import pixel_rectangle

_FAINTEST = 0.03  # contrast (0..1) of strokes that are hardly visible: ratios of less say nothing
_NEAR = 2.0  # heights: rows this close are lines of one song text, for example


def look_of(row: Row, samples: Sequence[Sample], size: tuple[int, int]) -> Look:
    """Return how a row looks, from up to five of its lines; ``size`` is that of the samples, pixels."""
    return mean_look([look_of_line(row, line, samples, size) for line in row.lines[:: max(1, len(row.lines) // 4)][:5]])


def look_of_line(row: Row, line: Line, samples: Sequence[Sample], size: tuple[int, int]) -> Look:
    """Return how one line of a row looks."""
    sample = samples[line.sample]
    box = box_of(row.vertical, line.start, line.end, line.low, line.high, size)
    faint, strong = np.percentile(_cut(sample.strokes, box).astype(np.int16), (3, 97))
    margins = [_band(sample, box, edge, -0.1, 0.08) for edge in (0, 1)]
    beyond = [_band(sample, box, edge, -0.6, -0.3) for edge in (0, 1)]
    uneven = min(1.0, mean(float(margin.std()) for margin in margins) / 64)
    steps = [abs(float(one.mean()) - float(other.mean())) for one, other in zip(margins, beyond, strict=True)]
    return Look(float(strong) / 127 - 1, 1 - float(faint) / 128, uneven, min(1.0, max(steps) / 128))


def _band(sample: Sample, box: BBox, edge: int, start: float, end: float) -> NDArray[np.uint8]:
    """Return the picture along the upper (0) or lower (1) edge of a box, between two distances from it into the box in
    heights of it, kept inside the picture."""
    height = box.height
    low, high = (
        (box.top + start * height, box.top + end * height)
        if edge == 0
        else (box.bottom - end * height, box.bottom - start * height)
    )
    low = min(max(0.0, low), 1 - 0.05 * height)
    return _cut(sample.luma, BBox(box.left, low, box.right, min(1.0, max(high, low + 0.05 * height))))


def _cut(picture: NDArray[np.uint8], box: BBox) -> NDArray[np.uint8]:
    x0, y0, x1, y1 = pixel_rectangle(box, picture.shape[1], picture.shape[0])
    return picture[y0:y1, x0:x1]


class RowContrasts:
    """Compares each row with the rows that are visible at the same times."""

    def __init__(self, rows: Sequence[Row], samples: Sequence[Sample], size: tuple[int, int]) -> None:
        self._rows = rows
        self.looks = [look_of(row, samples, size) for row in rows]
        order = sorted(range(len(samples)), key=lambda number: samples[number].time_s)
        self._texts = np.stack([_texts_seen(row, order) for row in rows]) if rows else np.zeros((0, 0), np.int64)

    def contrast(self, number: int) -> float:
        """Return the contrast of a row relative to the other rows (logarithm of the ratio to their median)."""
        others = [self.looks[other].contrast for other in self._visible_with(number)]
        return _log_ratio(self.looks[number].contrast, median(others)) if others else 0.0

    def contrast_beside(self, number: int) -> float:
        """Return the strongest contrast of the rows near a row, relative to its own (logarithm)."""
        row, others = self._rows[number], self._visible_with(number)
        beside = [self.looks[other].contrast for other in others if adjoin(row, self._rows[other], _NEAR)]
        return _log_ratio(max(beside), self.looks[number].contrast) if beside else 0.0

    def size(self, number: int) -> float:
        """Return the height of a row relative to the other rows (logarithm of the ratio to their median)."""
        others = [self._rows[other].height for other in self._visible_with(number)]
        return math.log(max(1.0, self._rows[number].height) / max(1.0, median(others))) if others else 0.0

    def changes_alone(self, number: int) -> tuple[float, float]:
        """Return the share of the other rows' texts that stay when the row's text changes, and the share of them that
        change when it stays, both 0..1."""
        texts = self._texts
        common = (texts >= 0) & (texts[number] >= 0)
        common[number] = False
        at = np.arange(texts.shape[1])
        seen = np.maximum.accumulate(np.where(common, at, -1), axis=1)
        before = np.concatenate([np.full((len(texts), 1), -1), seen[:, :-1]], axis=1)
        other, now = np.nonzero(common & (before >= 0))
        then = before[other, now]
        own_stays = texts[number, now] == texts[number, then]
        other_stays = texts[other, now] == texts[other, then]
        alone = float(other_stays[~own_stays].mean()) if (~own_stays).any() else 0.0
        kept = float((~other_stays[own_stays]).mean()) if own_stays.any() else 0.0
        return alone, kept

    def _visible_with(self, number: int) -> list[int]:
        """Return the other rows that have a line in a sample in which a row has one."""
        together = ((self._texts >= 0) & (self._texts[number] >= 0)).any(axis=1)
        together[number] = False
        return [int(other) for other in np.flatnonzero(together)]


def adjoin(row: Row, other: Row, reach: float = 1.0) -> bool:
    """Return whether two rows are at most a line apart, or ``reach`` heights of the lower one."""
    gap = max(other.low - row.high, row.low - other.high)
    return other.vertical == row.vertical and gap <= reach * min(row.height, other.height)


def _texts_seen(row: Row, order: Sequence[int]) -> NDArray[np.int64]:
    """Return which text of a row each sample shows, in order of time: a number, -1 without a line.

    Text that moves is another one in every sample.
    """
    place = {sample: at for at, sample in enumerate(order)}
    seen = np.full(len(order), -1, np.int64)
    for line in row.lines:
        within = (n for n, text in enumerate(row.texts) if text.first_s <= line.time_s <= text.last_s)
        number = next(within, None) if line.still > 0 else None
        seen[place[line.sample]] = len(row.texts) + place[line.sample] if number is None else number
    return seen


def _log_ratio(one: float, other: float) -> float:
    return math.log((max(0.0, one) + _FAINTEST) / (max(0.0, other) + _FAINTEST))
