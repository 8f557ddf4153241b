"""Labels of consecutive cropped frames: same caption, another one, none, one that begins, one that ends."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from captionacc_dagster.captioning.captions import LABELS, PairResult

_MIN_PROBABILITY = 0.01  # of each label


def label_pairs(tracks: Sequence[Sequence[tuple[int, int, float]]], shown: Sequence[int]) -> list[PairResult]:
    """Label consecutive cropped frames by the captions that they show in any track.

    Args:
        tracks: the captions of each track in order: first native frame, first frame without it, and the confidence
            of its extent (0..1).
        shown: the native frame that each cropped frame shows.
    """
    pairs = []
    for index in range(len(shown) - 1):
        first = [_caption_at(track, shown[index]) for track in tracks]
        second = [_caption_at(track, shown[index + 1]) for track in tracks]
        label = _label(first, second)
        confidence = min(
            (
                track[number][2]
                for track, numbers in zip(tracks, zip(first, second, strict=True), strict=True)
                for number in numbers
                if number is not None
            ),
            default=1.0,
        )
        pairs.append(_result(index, label, 0.5 + 0.5 * confidence if label != "empty_empty" else 1.0))
    return pairs


def _caption_at(track: Sequence[tuple[int, int, float]], frame: int) -> int | None:
    """Return the index of the caption that a native frame shows."""
    number = bisect_right(track, frame, key=lambda span: span[0]) - 1
    return number if number >= 0 and frame < track[number][1] else None


def _label(first: Sequence[int | None], second: Sequence[int | None]) -> str:
    before, after = any(n is not None for n in first), any(n is not None for n in second)
    if not before:
        return "empty_valid" if after else "empty_empty"
    if not after:
        return "valid_empty"
    return "same" if list(first) == list(second) else "different"


def _result(index: int, label: str, confidence: float) -> PairResult:
    top = (1 - _MIN_PROBABILITY * len(LABELS)) * confidence + _MIN_PROBABILITY
    rest = (1 - top) / (len(LABELS) - 1)
    probabilities = dict.fromkeys(LABELS, rest) | {label: top}
    return PairResult(index, index + 1, label, *(probabilities[name] for name in LABELS))
