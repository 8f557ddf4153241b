"""Scores predicted captions against the truth: events found, boundaries in frames, characters read.

A prediction and a true caption can match when their temporal IoU and the similarity of their texts are each at least
0.5. Matching is one to one and finds as many matches as possible.
"""

from __future__ import annotations

import bisect
import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from rapidfuzz.distance import Levenshtein

MIN_TIOU = 0.5
MIN_SIMILARITY = 0.5
STRICT_CER = 0.1
CUT_TOLERANCE_FRAMES = 1
FADE_TOLERANCE_FRAMES = 2
SHORT_S = 0.5

# Half of a subtitle file's millisecond, plus rounding errors of floats.
_TIME_SLACK_S = 0.0006


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueCaption:
    """A caption of the ground truth.

    ``fade_in_frames`` and ``fade_out_frames`` are 0 where the caption is cut in or out. ``track`` is None where the
    truth does not name one.
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
    """A caption that a program found."""

    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    text: str


@dataclass(frozen=True, slots=True)
class Match:
    """A prediction matched to a true caption. Errors are signed, in frames; positive means late."""

    predicted: PredictedCaption
    truth: TrueCaption
    tiou: float

    @property
    def start_error(self) -> int:
        """Frames by which the prediction starts late."""
        return self.predicted.start_frame - self.truth.start_frame

    @property
    def end_error(self) -> int:
        """Frames by which the prediction ends late."""
        return self.predicted.end_frame - self.truth.end_frame

    @property
    def cer(self) -> float:
        """Character error rate of the normalized text."""
        return cer(self.predicted.text, self.truth.text)

    @property
    def timed(self) -> bool:
        """Whether both boundaries are within the strict tolerance."""
        start = FADE_TOLERANCE_FRAMES if self.truth.fade_in_frames else CUT_TOLERANCE_FRAMES
        end = FADE_TOLERANCE_FRAMES if self.truth.fade_out_frames else CUT_TOLERANCE_FRAMES
        return abs(self.start_error) <= start and abs(self.end_error) <= end

    @property
    def strict(self) -> bool:
        """Whether both boundaries and the text are right."""
        return self.timed and self.cer <= STRICT_CER


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one comparison, each list in order of time.

    Attributes:
        matches: true captions that were found.
        missed: true captions that were not found.
        phantoms: predictions that match no true caption.
        merged: predictions that cover two true captions, with these two.
        split: true captions with the two or more predictions inside each.
        neighbors: pairs of consecutive true captions that differ in one character.
        merged_neighbors: the neighbors that one prediction covers.
        notes: assumptions made for lack of data.
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
        """The scores of this comparison."""
        return summarize([self])


@dataclass(frozen=True, slots=True)
class BoundaryErrors:
    """Absolute boundary errors in frames over ``count`` boundaries; NaN if there are none."""

    count: int
    median: float
    p95: float
    worst: float

    @classmethod
    def of(cls, errors: Iterable[int]) -> BoundaryErrors:
        """Return the summary of signed errors; the percentile is the nearest rank."""
        ordered = sorted(abs(error) for error in errors)
        if not ordered:
            return cls(0, math.nan, math.nan, math.nan)
        return cls(len(ordered), median(ordered), ordered[math.ceil(0.95 * len(ordered)) - 1], ordered[-1])


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores over one or more comparisons. With nothing to count, F1 and recall are 1 and CER is 0.

    ``cer_*`` ignore white space, character width, case, and punctuation. ``cer_raw_*`` only treat line breaks as
    spaces. ``*_all`` count the characters of missed captions and phantoms as errors.
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
        """F1 of captions whose boundaries and text are right."""
        return _f1(self.strict_matches, self.truths, self.predictions)

    @property
    def short_recall(self) -> float:
        """Fraction of the captions of at most `SHORT_S` that were found."""
        return self.shorts_found / self.shorts if self.shorts else 1.0

    @property
    def phantoms_per_hundred(self) -> float:
        """Phantoms per 100 true captions; infinite if there are phantoms but no captions."""
        if self.truths:
            return 100 * self.phantoms / self.truths
        return math.inf if self.phantoms else 0.0


def _f1(matches: int, truths: int, predictions: int) -> float:
    return 2 * matches / (truths + predictions) if truths + predictions else 1.0


# --- text ---


def normalize(text: str) -> str:
    """Return text with width (NFKC) and case folded, without white space and punctuation.

    Text that consists of punctuation alone keeps it, so that a caption like ``"?!"`` is not empty.
    """
    folded = "".join(unicodedata.normalize("NFKC", text).casefold().split())
    letters = "".join(letter for letter in folded if unicodedata.category(letter)[0] not in "PC")
    return letters or folded


def plain(text: str) -> str:
    """Return text with each run of white space, line breaks included, as one space."""
    return " ".join(text.split())


def cer(predicted: str, truth: str) -> float:
    """Return the character error rate of normalized text; for an empty truth, the number of characters predicted."""
    left, right = normalize(predicted), normalize(truth)
    return Levenshtein.distance(left, right) / max(1, len(right))


def similarity(left: str, right: str) -> float:
    """Return 1 minus the edit distance of the normalized texts over the length of the longer one: 0..1."""
    return Levenshtein.normalized_similarity(left, right, processor=normalize)


# --- matching ---


def temporal_iou(left: TrueCaption | PredictedCaption, right: TrueCaption | PredictedCaption) -> float:
    """Return the intersection over union of two captions' time intervals."""
    overlap = _overlap(left, right)
    union = (left.end_s - left.start_s) + (right.end_s - right.start_s) - overlap
    return overlap / union if union > 0 else 0.0


def _overlap(left: TrueCaption | PredictedCaption, right: TrueCaption | PredictedCaption) -> float:
    return max(0.0, min(left.end_s, right.end_s) - max(left.start_s, right.start_s))


class _ByTime:
    """Finds which of many captions can overlap a given one, without comparing it with all of them.

    Args:
        captions: in order of start.
    """

    def __init__(self, captions: Sequence[TrueCaption] | Sequence[PredictedCaption]) -> None:
        self._starts = [caption.start_s for caption in captions]
        self._longest = max((caption.end_s - caption.start_s for caption in captions), default=0.0)

    def near(self, caption: TrueCaption | PredictedCaption) -> range:
        """Return the indices of the captions that start late and early enough to overlap ``caption``."""
        first = bisect.bisect_left(self._starts, caption.start_s - self._longest)
        return range(first, bisect.bisect_left(self._starts, caption.end_s))


def _match(predicted: Sequence[PredictedCaption], truth: Sequence[TrueCaption]) -> list[Match]:
    """Return the matching with the most pairs; among those, the one with the greatest overlap plus similarity."""
    by_time = _ByTime(truth)
    weights: dict[tuple[int, int], float] = {}
    for row, guess in enumerate(predicted):
        for column in by_time.near(guess):
            tiou = temporal_iou(guess, truth[column])
            if tiou >= MIN_TIOU - 1e-9 and (alike := similarity(guess.text, truth[column].text)) >= MIN_SIMILARITY:
                weights[row, column] = tiou + alike
    matches = [
        Match(predicted[row], truth[column], temporal_iou(predicted[row], truth[column]))
        for row, column in _assign(weights)
    ]
    return sorted(matches, key=lambda match: (match.truth.start_s, match.truth.end_s))


def _assign(weights: dict[tuple[int, int], float]) -> list[tuple[int, int]]:
    """Return the (row, column) pairs of the maximum-cardinality matching of greatest total weight.

    NetworkX (2 MB, pure Python) does this in one call. SciPy's ``linear_sum_assignment`` is faster on dense matrices,
    but its 35 MB wheel is too large for this one command, and captions that compete for a match are few.
    """
    import networkx as nx

    graph = nx.Graph()
    graph.add_weighted_edges_from((("row", row), ("column", column), w) for (row, column), w in weights.items())
    pairs = []
    for component in nx.connected_components(graph):
        for edge in nx.max_weight_matching(graph.subgraph(component), maxcardinality=True):
            (_, row), (_, column) = sorted(edge, reverse=True)
            pairs.append((row, column))
    return pairs


# --- scoring ---


def score(predicted: Sequence[PredictedCaption], truth: Sequence[TrueCaption], notes: Sequence[str] = ()) -> Report:
    """Return the comparison of predicted captions with the truth; both can be in any order."""
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
    """Return each true caption with the next one on its track."""
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
        if second.start_frame - first.end_frame <= 1
        and Levenshtein.distance(plain(first.text), plain(second.text)) == 1
    ]


def _merged(
    predicted: Sequence[PredictedCaption], truth: Sequence[TrueCaption], found: set[int]
) -> list[tuple[PredictedCaption, TrueCaption, TrueCaption]]:
    merged = []
    by_time = _ByTime(predicted)
    for first, second in _followers(truth):
        if id(first) in found and id(second) in found:
            continue
        for guess in (predicted[index] for index in by_time.near(first)):
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
    by_time = _ByTime(predicted)
    for caption in truth:
        parts = tuple(
            guess
            for guess in (predicted[index] for index in by_time.near(caption))
            if _overlap(guess, caption) > 0.5 * (guess.end_s - guess.start_s)
            and similarity(guess.text, caption.text) >= MIN_SIMILARITY
        )
        if len(parts) > 1:
            split.append((caption, parts))
    return split


def summarize(reports: Sequence[Report]) -> Scores:
    """Return the scores over all captions of several comparisons."""
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
    """Return the character error rate over the matches, and with missed captions and phantoms counted as errors."""
    edits = sum(Levenshtein.distance(form(match.predicted.text), form(match.truth.text)) for match in matches)
    length = sum(len(form(match.truth.text)) for match in matches)
    lost = sum(len(form(caption.text)) for caption in missed)
    extra = sum(len(form(guess.text)) for guess in phantoms)
    return edits / max(1, length), (edits + lost + extra) / max(1, length + lost)
