"""Scores predicted captions against the truth: events found, boundaries in frames, characters read.

A prediction and a true caption may match when their times overlap by half (tIoU >= 0.5) and their texts are alike by
half. Matching is one to one and finds as many matches as there can be.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

MIN_TIOU = 0.5
MIN_SIMILARITY = 0.5
STRICT_CER = 0.1
CUT_TOLERANCE_FRAMES = 1
FADE_TOLERANCE_FRAMES = 2
SHORT_S = 0.5

# A subtitle file counts in milliseconds: half of one, and what floats lose.
_TIME_SLACK_S = 0.0006


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueCaption:
    """A caption of the truth.

    ``fade_in_frames`` and ``fade_out_frames`` are 0 where it is cut in or out; ``track`` is None when the truth does
    not say.
    """

    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    text: str
    track: str | None = None
    fade_in_frames: int = 0
    fade_out_frames: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedCaption:
    """A caption to be judged."""

    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    text: str


@dataclass(frozen=True, slots=True)
class Match:
    """A prediction that found a true caption; errors are signed, in frames, late is positive."""

    predicted: PredictedCaption
    truth: TrueCaption
    tiou: float

    @property
    def start_error(self) -> int:
        """Frames by which the prediction begins late."""
        return self.predicted.start_frame - self.truth.start_frame

    @property
    def end_error(self) -> int:
        """Frames by which the prediction ends late."""
        return self.predicted.end_frame - self.truth.end_frame

    @property
    def cer(self) -> float:
        """Character error rate of this caption, normalized."""
        return cer(self.predicted.text, self.truth.text)

    @property
    def timed(self) -> bool:
        """Whether both ends lie within the strict tolerance."""
        start = FADE_TOLERANCE_FRAMES if self.truth.fade_in_frames else CUT_TOLERANCE_FRAMES
        end = FADE_TOLERANCE_FRAMES if self.truth.fade_out_frames else CUT_TOLERANCE_FRAMES
        return abs(self.start_error) <= start and abs(self.end_error) <= end

    @property
    def strict(self) -> bool:
        """Whether both ends and the text are right."""
        return self.timed and self.cer <= STRICT_CER


@dataclass(frozen=True, slots=True)
class Report:
    """What a comparison found, each list in order of time.

    Attributes:
        matches: true captions that were found.
        missed: true captions that were not.
        phantoms: predictions that are no caption.
        merged: a prediction that covers two true captions, with these two.
        split: a true caption with the two or more predictions that lie in it.
        neighbors: pairs of true captions that follow each other and differ in one character.
        merged_neighbors: those of them that one prediction covers.
        notes: what had to be assumed.
    """

    matches: tuple[Match, ...]
    missed: tuple[TrueCaption, ...]
    phantoms: tuple[PredictedCaption, ...]
    merged: tuple[tuple[PredictedCaption, TrueCaption, TrueCaption], ...]
    split: tuple[tuple[TrueCaption, tuple[PredictedCaption, ...]], ...]
    neighbors: tuple[tuple[TrueCaption, TrueCaption], ...]
    merged_neighbors: tuple[tuple[TrueCaption, TrueCaption], ...]
    notes: tuple[str, ...] = ()

    @property
    def scores(self) -> Scores:
        """The figures of this comparison."""
        return summarize([self])


@dataclass(frozen=True, slots=True)
class BoundaryErrors:
    """Absolute boundary errors in frames over ``count`` boundaries; NaN when there are none."""

    count: int
    median: float
    p95: float
    worst: float

    @classmethod
    def of(cls, errors: Iterable[int]) -> BoundaryErrors:
        """Summarize signed errors; the percentile is the nearest rank."""
        ordered = sorted(abs(error) for error in errors)
        if not ordered:
            return cls(0, math.nan, math.nan, math.nan)
        return cls(len(ordered), median(ordered), ordered[math.ceil(0.95 * len(ordered)) - 1], ordered[-1])


@dataclass(frozen=True, slots=True)
class Scores:
    """Figures over one or more comparisons. Rates without anything to count are 1 for F1 and recall, 0 for CER.

    ``cer_*`` are normalized (white space, full and half width, case and punctuation apart), ``cer_raw_*`` are not,
    except that line breaks count as spaces. ``*_all`` adds the characters of missed captions and phantoms as errors.
    """

    truths: int
    predictions: int
    matches: int
    strict_matches: int
    cuts: BoundaryErrors
    fades: BoundaryErrors
    cer_matched: float
    cer_all: float
    cer_raw_matched: float
    cer_raw_all: float
    missed: int
    phantoms: int
    merged: int
    split: int
    shorts: int
    shorts_found: int
    neighbors: int
    neighbors_merged: int

    @property
    def f1(self) -> float:
        """Events F1."""
        return _f1(self.matches, self.truths, self.predictions)

    @property
    def strict_f1(self) -> float:
        """F1 of captions whose both ends and text are right."""
        return _f1(self.strict_matches, self.truths, self.predictions)

    @property
    def short_recall(self) -> float:
        """Share of the captions of `SHORT_S` and less that were found."""
        return self.shorts_found / self.shorts if self.shorts else 1.0

    @property
    def phantoms_per_hundred(self) -> float:
        """Phantoms for 100 true captions; infinite when there are phantoms and no captions."""
        if self.truths:
            return 100 * self.phantoms / self.truths
        return math.inf if self.phantoms else 0.0


def _f1(matches: int, truths: int, predictions: int) -> float:
    return 2 * matches / (truths + predictions) if truths + predictions else 1.0


# --- text ---


def normalize(text: str) -> str:
    """Fold full and half width (NFKC) and case, and drop white space and punctuation.

    Text of punctuation alone keeps it, so that a caption like ``"?!"`` still is one.
    """
    folded = "".join(unicodedata.normalize("NFKC", text).casefold().split())
    letters = "".join(letter for letter in folded if unicodedata.category(letter)[0] not in "PC")
    return letters or folded


def plain(text: str) -> str:
    """Give text as it stands, with line breaks and runs of white space as one space."""
    return " ".join(text.split())


def edit_distance(left: str, right: str) -> int:
    """Levenshtein distance in characters."""
    if len(left) < len(right):
        left, right = right, left
    row = list(range(len(right) + 1))
    for at, letter in enumerate(left, 1):
        diagonal, row[0] = row[0], at
        for to, other in enumerate(right, 1):
            cost = min(row[to] + 1, row[to - 1] + 1, diagonal + (letter != other))
            diagonal, row[to] = row[to], cost
    return row[-1]


def cer(predicted: str, truth: str) -> float:
    """Normalized character error rate of one text; of an empty truth, the number of characters predicted."""
    left, right = normalize(predicted), normalize(truth)
    return edit_distance(left, right) / max(1, len(right))


def similarity(left: str, right: str) -> float:
    """Likeness of two texts, 0..1: one less the normalized edit distance over the longer length."""
    left, right = normalize(left), normalize(right)
    longest = max(len(left), len(right))
    return 1.0 if longest == 0 else 1.0 - edit_distance(left, right) / longest


# --- matching ---


def temporal_iou(left: TrueCaption | PredictedCaption, right: TrueCaption | PredictedCaption) -> float:
    """Overlap in time over the time of both together."""
    overlap = _overlap(left, right)
    union = (left.end_s - left.start_s) + (right.end_s - right.start_s) - overlap
    return overlap / union if union > 0 else 0.0


def _overlap(left: TrueCaption | PredictedCaption, right: TrueCaption | PredictedCaption) -> float:
    return max(0.0, min(left.end_s, right.end_s) - max(left.start_s, right.start_s))


def _match(predicted: Sequence[PredictedCaption], truth: Sequence[TrueCaption]) -> list[Match]:
    """Match one to one: as many as can be, and of those ways the one with the best overlap and similarity."""
    edges: dict[tuple[int, int], float] = {}
    tious: dict[tuple[int, int], float] = {}
    for row, guess in enumerate(predicted):
        for column, caption in enumerate(truth):
            if _overlap(guess, caption) <= 0:
                continue
            tiou = temporal_iou(guess, caption)
            if tiou >= MIN_TIOU - 1e-9 and (alike := similarity(guess.text, caption.text)) >= MIN_SIMILARITY:
                edges[row, column] = tiou + alike
                tious[row, column] = tiou
    pairs = [pair for group in _components(edges) for pair in _assign(group)]
    matches = [Match(predicted[row], truth[column], tious[row, column]) for row, column in pairs]
    return sorted(matches, key=lambda match: (match.truth.start_s, match.truth.end_s))


def _components(edges: dict[tuple[int, int], float]) -> list[dict[tuple[int, int], float]]:
    """Split a bipartite graph into its connected parts."""
    groups: list[tuple[set[int], set[int], dict[tuple[int, int], float]]] = []
    for (row, column), weight in edges.items():
        rows, columns, together = {row}, {column}, {(row, column): weight}
        rest = []
        for group in groups:
            if row in group[0] or column in group[1]:
                rows |= group[0]
                columns |= group[1]
                together |= group[2]
            else:
                rest.append(group)
        groups = [*rest, (rows, columns, together)]
    return [group[2] for group in groups]


def _assign(edges: dict[tuple[int, int], float]) -> list[tuple[int, int]]:
    """Maximum matching of greatest weight: the Hungarian method (Kuhn 1955) on a square matrix of costs."""
    rows = sorted({row for row, _ in edges})
    columns = sorted({column for _, column in edges})
    size = max(len(rows), len(columns))
    # An edge outweighs any gain in quality, so that the number of matches comes first.
    bonus = 2.0 * size + 1.0
    costs = [[0.0] * size for _ in range(size)]
    for (row, column), weight in edges.items():
        costs[rows.index(row)][columns.index(column)] = -(bonus + weight)
    chosen = _hungarian(costs)
    pairs = [(rows[at], columns[to]) for at, to in enumerate(chosen) if at < len(rows) and to < len(columns)]
    return [pair for pair in pairs if pair in edges]


def _hungarian(costs: list[list[float]]) -> list[int]:
    """Give for each row the column of the cheapest perfect assignment of a square matrix, in O(n^3)."""
    size = len(costs)
    row_price, column_price = [0.0] * (size + 1), [0.0] * (size + 1)
    taken_by, way = [0] * (size + 1), [0] * (size + 1)
    for row in range(1, size + 1):
        taken_by[0] = row
        column = 0
        slack, used = [math.inf] * (size + 1), [False] * (size + 1)
        while taken_by[column]:
            used[column] = True
            current, delta, nearest = taken_by[column], math.inf, 0
            for to in range(1, size + 1):
                if used[to]:
                    continue
                reduced = costs[current - 1][to - 1] - row_price[current] - column_price[to]
                if reduced < slack[to]:
                    slack[to], way[to] = reduced, column
                if slack[to] < delta:
                    delta, nearest = slack[to], to
            for to in range(size + 1):
                if used[to]:
                    row_price[taken_by[to]] += delta
                    column_price[to] -= delta
                else:
                    slack[to] -= delta
            column = nearest
        while column:
            taken_by[column] = taken_by[way[column]]
            column = way[column]
    chosen = [0] * size
    for column in range(1, size + 1):
        chosen[taken_by[column] - 1] = column - 1
    return chosen


# --- scoring ---


def score(predicted: Sequence[PredictedCaption], truth: Sequence[TrueCaption], notes: Sequence[str] = ()) -> Report:
    """Compare predicted captions with the truth."""
    predicted = sorted(predicted, key=lambda caption: (caption.start_s, caption.end_s))
    truth = sorted(truth, key=lambda caption: (caption.start_s, caption.end_s))
    matches = _match(predicted, truth)
    found = {id(match.truth) for match in matches}
    used = {id(match.predicted) for match in matches}
    merged = _merged(predicted, truth, found)
    neighbors = _neighbors(truth)
    merged_pairs = {(id(first), id(second)) for _, first, second in merged}
    return Report(
        tuple(matches),
        tuple(caption for caption in truth if id(caption) not in found),
        tuple(guess for guess in predicted if id(guess) not in used),
        tuple(merged),
        tuple(_split(predicted, truth)),
        tuple(neighbors),
        tuple(pair for pair in neighbors if (id(pair[0]), id(pair[1])) in merged_pairs),
        tuple(notes),
    )


def _followers(truth: Sequence[TrueCaption]) -> list[tuple[TrueCaption, TrueCaption]]:
    """Pair each true caption with the one that follows it on its track."""
    pairs = []
    for at, first in enumerate(truth):
        for second in truth[at + 1 :]:
            if second.track == first.track and second.start_s >= first.end_s - _TIME_SLACK_S:
                pairs.append((first, second))
                break
    return pairs


def _neighbors(truth: Sequence[TrueCaption]) -> list[tuple[TrueCaption, TrueCaption]]:
    return [
        (first, second)
        for first, second in _followers(truth)
        if second.start_frame - first.end_frame <= 1 and edit_distance(plain(first.text), plain(second.text)) == 1
    ]


def _merged(
    predicted: Sequence[PredictedCaption], truth: Sequence[TrueCaption], found: set[int]
) -> list[tuple[PredictedCaption, TrueCaption, TrueCaption]]:
    merged = []
    for first, second in _followers(truth):
        if id(first) in found and id(second) in found:
            continue
        for guess in predicted:
            covers = all(
                _overlap(guess, caption) >= 0.5 * (caption.end_s - caption.start_s) for caption in (first, second)
            )
            texts = (first.text, second.text, f"{first.text}\n{second.text}")
            if covers and max(similarity(guess.text, text) for text in texts) >= MIN_SIMILARITY:
                merged.append((guess, first, second))
                break
    return merged


def _split(
    predicted: Sequence[PredictedCaption], truth: Sequence[TrueCaption]
) -> list[tuple[TrueCaption, tuple[PredictedCaption, ...]]]:
    split = []
    for caption in truth:
        parts = tuple(
            guess
            for guess in predicted
            if _overlap(guess, caption) > 0.5 * (guess.end_s - guess.start_s)
            and similarity(guess.text, caption.text) >= MIN_SIMILARITY
        )
        if len(parts) > 1:
            split.append((caption, parts))
    return split


def summarize(reports: Sequence[Report]) -> Scores:
    """Give the figures over several comparisons taken together."""
    matches = [match for report in reports for match in report.matches]
    missed = [caption for report in reports for caption in report.missed]
    phantoms = [guess for report in reports for guess in report.phantoms]
    cuts: list[int] = []
    fades: list[int] = []
    for match in matches:
        (fades if match.truth.fade_in_frames else cuts).append(match.start_error)
        (fades if match.truth.fade_out_frames else cuts).append(match.end_error)
    shorts_found = sum(_is_short(match.truth) for match in matches)
    cer_matched, cer_all = _error_rates(matches, missed, phantoms, normalize)
    raw_matched, raw_all = _error_rates(matches, missed, phantoms, plain)
    return Scores(
        truths=len(matches) + len(missed),
        predictions=len(matches) + len(phantoms),
        matches=len(matches),
        strict_matches=sum(match.strict for match in matches),
        cuts=BoundaryErrors.of(cuts),
        fades=BoundaryErrors.of(fades),
        cer_matched=cer_matched,
        cer_all=cer_all,
        cer_raw_matched=raw_matched,
        cer_raw_all=raw_all,
        missed=len(missed),
        phantoms=len(phantoms),
        merged=sum(len(report.merged) for report in reports),
        split=sum(len(report.split) for report in reports),
        shorts=shorts_found + sum(map(_is_short, missed)),
        shorts_found=shorts_found,
        neighbors=sum(len(report.neighbors) for report in reports),
        neighbors_merged=sum(len(report.merged_neighbors) for report in reports),
    )


def _is_short(caption: TrueCaption) -> bool:
    return caption.end_s - caption.start_s <= SHORT_S + _TIME_SLACK_S


def _error_rates(
    matches: Sequence[Match],
    missed: Sequence[TrueCaption],
    phantoms: Sequence[PredictedCaption],
    form: Callable[[str], str],
) -> tuple[float, float]:
    """Give the character error rate over the matches, and with missed captions and phantoms as errors."""
    edits = sum(edit_distance(form(match.predicted.text), form(match.truth.text)) for match in matches)
    length = sum(len(form(match.truth.text)) for match in matches)
    lost = sum(len(form(caption.text)) for caption in missed)
    extra = sum(len(form(guess.text)) for guess in phantoms)
    return edits / max(1, length), (edits + lost + extra) / max(1, length + lost)
