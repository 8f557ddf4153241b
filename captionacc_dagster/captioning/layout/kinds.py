"""What the text of a row is: a caption, a lower third, a title, a fixture, an interface, or part of the scene.

A small network decides from measurements of the row and of the rows around it. ``training/layout_kinds`` draws the
videos that it learns from, and prints its score on videos it never saw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, partial
from importlib.resources import files
from statistics import mean, median

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.captions import Kind
from captionacc_dagster.captioning.layout.contrasts import RowContrasts, adjoin, look_of_line
from captionacc_dagster.captioning.layout.rows import Look, Row, anchor_of, change_together
from captionacc_dagster.captioning.layout.samples import Sample
from captionacc_dagster.captioning.layout.tuning import TUNING

# Of a row of text, in the order in which the classifier names them; the lines of one caption may be context besides.
KINDS: tuple[Kind, ...] = ("caption", "lower_third", "title", "fixture", "interface", "scene")
FEATURES = (
    "texts",
    "lines",
    "presence",
    "longest_stay",
    "longest_stay_share",
    "median_stay",
    "duration",
    "moving",
    "still",
    "offset",
    "offset_size",
    "center_spread",
    "start_spread",
    "end_spread",
    "place",
    "edge_distance",
    "line_height",
    "letters",
    "longest_letters",
    "length_variation",
    "length",
    "longest",
    "score",
    "crowd",
    "aligned_rows",
    "adjoining_texts",
    "adjoining_presence",
    "share_of_most_texts",
    "height_to_busiest",
    "below_busiest",
    "stays",
    "contrast",
    "ring",
    "synchrony",
    "growth",
    "shape",
    "first_seen",
    "last_seen",
    "rows",
    "dark_contrast",
    "step",
    "relative_contrast",
    "contrast_beside",
    "relative_height",
    "changes_alone",
    "stays_alone",
)
FOLLOWED: tuple[Kind, ...] = ("caption", "lower_third")
_MODEL = "layout_kinds.npz"
_SPREAD_LIMIT = 5.0  # line heights: text that is spread wider is anchored nowhere


def row_features(
    rows: Sequence[Row], samples: Sequence[Sample], size: tuple[int, int], duration_s: float
) -> NDArray[np.float32]:
    """Return the measurements of each row, ``(rows, len(FEATURES))``.

    Args:
        rows: all rows of the video.
        samples: the samples that the rows' lines are numbered by.
        size: ``(width, height)`` of the samples, pixels.
        duration_s: of the video, seconds.
    """
    return _features(rows, RowContrasts(rows, samples, size), samples, size, duration_s)


def _features(
    rows: Sequence[Row], contrasts: RowContrasts, samples: Sequence[Sample], size: tuple[int, int], duration_s: float
) -> NDArray[np.float32]:
    if not rows:
        return np.zeros((0, len(FEATURES)), np.float32)
    busiest = max(rows, key=lambda row: (row.distinct, len(row.lines)))
    in_sample = [0] * len(samples)
    for row in rows:
        for number in {line.sample for line in row.lines}:
            in_sample[number] += 1
    return np.array(
        [
            [
                *_measured(row, rows, busiest, in_sample, contrasts.looks[number], size, duration_s),
                *_compared(contrasts, number),
            ]
            for number, row in enumerate(rows)
        ],
        np.float32,
    )


def _compared(contrasts: RowContrasts, number: int) -> list[float]:
    """Return what tells a row from the other rows."""
    look = contrasts.looks[number]
    return [
        look.dark,
        look.step,
        contrasts.contrast(number),
        contrasts.contrast_beside(number),
        contrasts.size(number),
        *contrasts.changes_alone(number),
    ]


def _measured(
    row: Row,
    rows: Sequence[Row],
    busiest: Row,
    in_sample: Sequence[int],
    look: Look,
    size: tuple[int, int],
    duration_s: float,
) -> list[float]:
    along, across = (size[1], size[0]) if row.vertical else size
    height = max(1.0, row.height)
    stays = [text.last_s - text.first_s for text in row.texts] or [0.0]
    lengths = [line.length for line in row.lines]
    starts, ends = [line.start for line in row.lines], [line.end for line in row.lines]
    middles = [line.middle for line in row.lines]
    middle = median(middles) / along
    place = (row.low + row.high) / 2 / across
    adjoining = [other for other in rows if other is not row and adjoin(row, other)]
    aligned = sum(
        other is not row and other.vertical == row.vertical and _are_aligned(row, other, height) for other in rows
    )
    count = len(row.lines)
    return [
        math.log1p(row.distinct),
        math.log1p(count),
        min(1.0, (sum(stays) + 0.5 * len(row.texts)) / duration_s),
        math.log(max(stays) + 0.3),
        max(stays) / duration_s,
        math.log(median(stays) + 0.3),
        math.log(duration_s),
        sum(line.still == 0 for line in row.lines) / count,
        sum(line.still == 1 for line in row.lines) / count,
        middle - 0.5,
        abs(middle - 0.5),
        _spread(middles, height),
        _spread(starts, height),
        _spread(ends, height),
        place,
        min(place, 1 - place),
        math.log(height / min(size)),
        math.log(max(1.0, median(lengths)) / height + 0.1),
        math.log(max(1.0, *lengths) / height + 0.1),
        float(np.std(lengths)) / max(1.0, mean(lengths)),
        median(lengths) / along,
        max(lengths) / along,
        mean(line.score for line in row.lines),
        math.log1p(mean(in_sample[line.sample] - 1 for line in row.lines)),
        math.log1p(aligned),
        math.log1p(max((other.distinct for other in adjoining), default=0)),
        max((len(other.lines) for other in adjoining), default=0) / count if adjoining else 0.0,
        row.distinct / max(1, busiest.distinct),
        math.log(height / max(1.0, busiest.height)),
        place - (busiest.low + busiest.high) / 2 / across if busiest.vertical == row.vertical else 0.0,
        float(row.stays),
        look.bright,
        look.ring,
        _synchrony(row, adjoining),
        _growth(row, height),
        math.log(size[0] / size[1]),
        min(line.time_s for line in row.lines) / duration_s,
        max(line.time_s for line in row.lines) / duration_s,
        math.log1p(len(rows)),
    ]


def _spread(places: Sequence[float], height: float) -> float:
    """Return how far places are apart, line heights (median distance from the median)."""
    usual = median(places)
    return min(_SPREAD_LIMIT, median(abs(place - usual) for place in places) / height)


def _are_aligned(row: Row, other: Row, height: float) -> bool:
    """Return whether two rows of similar height start at the same place."""
    start, other_start = median(line.start for line in row.lines), median(line.start for line in other.lines)
    return abs(start - other_start) <= height and 0.6 <= other.height / height <= 1.6


def _synchrony(row: Row, adjoining: Sequence[Row]) -> float:
    """Return the share of a row's texts that begin in the same sample as a text of an adjoining row."""
    begins = {text.first_s for other in adjoining for text in other.texts}
    return mean(text.first_s in begins for text in row.texts) if row.texts and begins else 0.0


def _growth(row: Row, height: float) -> float:
    """Return the share of a row's texts that begin where the one before began, and are longer: text being typed."""
    pairs = list(zip(row.texts, row.texts[1:], strict=False))
    grown = [abs(one.start - other.start) < 0.5 * height and other.length > one.length for one, other in pairs]
    return mean(grown) if grown else 0.0


def blocks_of(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows in blocks: rows that adjoin, are of one height, look alike, are visible at the same times, and
    change together.

    The lines of a caption, of a name plate, or of a slide are of one kind; text behind a caption changes at other
    times or looks different.
    """
    blocks: list[list[Row]] = []
    for row in sorted(rows, key=lambda entry: -len(entry.lines)):
        alike = [block for block in blocks if all(row.looks_like(other) for other in block)]
        home = next((block for block in alike if any(_are_of_a_block(row, other) for other in block)), None)
        if home is None:
            blocks.append([row])
        else:
            home.append(row)
    return blocks


def _are_of_a_block(row: Row, other: Row) -> bool:
    if (
        row.stays != other.stays
        or row.is_moving != other.is_moving
        or not adjoin(row, other)
        or not row.looks_like(other)
    ):
        return False
    if not row.stays and not change_together(row, other):
        return False
    smaller, larger = sorted((row.height, other.height))
    if larger > TUNING.block_height_ratio * smaller:
        return False
    here, there = ({line.sample for line in entry.lines} for entry in (row, other))
    return len(here & there) >= TUNING.block_synchrony * len(here | there)


def judge_rows(rows: Sequence[Row], samples: Sequence[Sample], size: tuple[int, int], duration_s: float) -> None:
    """Set the look and the chances of each row: those of its block, in which rows with more lines count more."""
    contrasts = RowContrasts(rows, samples, size)
    for number, row in enumerate(rows):
        row.look, (_, row.stays_alone) = contrasts.looks[number], contrasts.changes_alone(number)
        row.look_of = partial(look_of_line, row, samples=samples, size=size)
    chances = kind_classifier().probabilities(_features(rows, contrasts, samples, size, duration_s))
    own = {
        id(row): _column_chances(row, size) if row.vertical else chance
        for row, chance in zip(rows, chances, strict=True)
    }
    for row in rows:
        if (whole := next((other for other in rows if _is_found_around(row, other)), None)) is not None:
            caption = KINDS.index("caption")
            own[id(row)] = min(own[id(row)], own[id(whole)], key=lambda chance: chance[caption])
    for row in rows:
        if _changes_in_place(row, samples, size) and not any(_is_beside_like(row, other) for other in rows):
            own[id(row)] = _word_chances(row, own[id(row)])
    for block in blocks_of(rows):
        weights = [len(row.lines) ** 0.5 for row in block]
        shared = np.average([own[id(row)] for row in block], axis=0, weights=weights)
        for row in block:
            row.chances = dict(zip(KINDS, map(float, shared), strict=True))
    screen = [row for row in rows if row.kind == "interface"]
    for row in rows:
        page = next((other for other in screen if row.kind in FOLLOWED and _turns_over_with(row, other)), None)
        row.chances = row.chances if page is None else page.chances
    for row in rows:
        like = next((other for other in screen if row.kind == "lower_third" and _is_of_screen(row, other)), None)
        row.chances = row.chances if like is None else like.chances


def _is_found_around(row: Row, other: Row) -> bool:
    """Return whether a row is on top of one with more texts, or more lines of one that stays: in a few samples, the
    detector found that text with what is around it, and the row is no surer to be captions."""
    if other is row or other.vertical != row.vertical or len(other.lines) <= len(row.lines):
        return False
    if other.distinct <= row.distinct and not other.stays:
        return False
    shared = min(row.high, other.high) - max(row.low, other.low)
    return shared > TUNING.same_place * min(row.height, other.height) and row.looks_like(other)


def _is_of_screen(row: Row, other: Row) -> bool:
    """Return whether a row is set like another one, which is part of a screen: it is too, however far below."""
    return row.looks_like(other) and _are_aligned(row, other, row.height) and other.vertical == row.vertical


def _turns_over_with(row: Row, other: Row) -> bool:
    """Return whether each text of a row that is not centered begins with one of another row, as the title of each page
    does with its text."""
    begins, others = ({text.first_s for text in entry.texts} for entry in (row, other))
    return len(begins) >= TUNING.telling_texts and begins == others and not row.changes_around_its_middle


def _changes_in_place(row: Row, samples: Sequence[Sample], size: tuple[int, int]) -> bool:
    """Return whether a row shows centered text at one place that is replaced within most samples, as captions of one
    word are.

    The network has seen captions that stay. Text of a moving scene is found elsewhere in the next sample, and in a
    static scene nothing tells whether text is replaced.
    """
    if row.vertical or row.stays or row.distinct < TUNING.telling_texts:
        return False
    middles = [(line.low + line.high) / 2 for line in row.lines]
    replaced = sum(line.still == 0.5 and not samples[line.sample].static_scene for line in row.lines)
    return (
        all(line.still > 0 for line in row.lines)
        and 2 * replaced > len(row.lines)
        and mean(abs(middle - median(middles)) for middle in middles) <= TUNING.row_offset / 3 * row.height
        and anchor_of([row], size[0]) == "center"
    )


def _is_beside_like(row: Row, other: Row) -> bool:
    """Return whether another row that does not stay looks like a row and is visible with it: both scroll by."""
    if other is row or other.stays or not row.looks_like(other):
        return False
    return not {line.sample for line in row.lines}.isdisjoint(line.sample for line in other.lines)


def _word_chances(row: Row, chances: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the chances of a row whose text is replaced in place, ``(len(KINDS),)``: each text halves the doubt that
    it contains captions."""
    caption = KINDS.index("caption")
    others = np.where(np.arange(len(KINDS)) == caption, 0.0, chances)
    doubt = min(1 - float(chances[caption]), 0.5**row.distinct)
    doubtful = others * (doubt / max(1e-9, float(others.sum())))
    doubtful[caption] = 1 - doubt
    return np.asarray(doubtful, np.float32)


def _column_chances(row: Row, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the chances of a column, ``(len(KINDS),)``: the more texts follow one another in it, the more likely it
    is that they are captions.

    The network has seen no vertical text: hardly anything but captions is written so and changes in one place.
    """
    still = sum(line.still == 1 for line in row.lines)
    proven = (still >= 2 or row.distinct >= TUNING.settled_texts) and anchor_of([row], size[1]) is not None
    caption = 1 - 0.5**row.distinct if proven and row.distinct >= 2 else 0.2
    chances = {"caption": caption, "scene": 1 - caption}
    return np.array([chances.get(kind, 0.0) for kind in KINDS], np.float32)


class KindClassifier:
    """The mean of a few small networks of two hidden layers of rectified linear units.

    The first axis of the weights and biases counts the networks.
    """

    def __init__(self, weights: dict[str, NDArray[np.float32]]) -> None:
        self.weights = weights

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each of `KINDS` for rows of features, ``(rows, len(KINDS))``."""
        weights = self.weights
        hidden = (features - weights["mean"]) / weights["scale"]
        for number in (1, 2):
            hidden = np.maximum(0.0, hidden @ weights[f"w{number}"] + weights[f"b{number}"][:, None])
        scores = hidden @ weights["w3"] + weights["b3"][:, None]
        scores = np.exp(scores - scores.max(axis=2, keepdims=True))
        return np.asarray((scores / scores.sum(axis=2, keepdims=True)).mean(axis=0), np.float32)


@cache
def kind_classifier() -> KindClassifier:
    """Return the classifier that comes with the package."""
    path = files("captionacc_dagster.captioning") / "models" / _MODEL
    with path.open("rb") as stream, np.load(stream) as archive:
        return KindClassifier({name: archive[name] for name in archive.files})
