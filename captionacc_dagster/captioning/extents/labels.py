"""Labels of consecutive cropped frames: same caption, another one, none, one that begins, one that ends."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from captionacc_dagster.captioning.captions import LABELS, PairResult

_FLOOR = 0.01  # probability left to each of the labels that were not found


def label_pairs(tracks: Sequence[Sequence[tuple[int, int, float]]], shown: Sequence[int]) -> list[PairResult]:
    """Label consecutive cropped frames by the captions that stand on them in any track.

    Args:
        tracks: for each track its captions in order: first native frame, first frame without it, and how sure the
            extent is (0..1).
        shown: the native frame that each cropped frame shows.
    """
    pairs = []
    for index in range(len(shown) - 1):
        first = [_standing(track, shown[index]) for track in tracks]
        second = [_standing(track, shown[index + 1]) for track in tracks]
        label = _label(first, second)
        sure = min(
            (
                track[number][2]
                for track, numbers in zip(tracks, zip(first, second, strict=True), strict=True)
                for number in numbers
                if number is not None
            ),
            default=1.0,
        )
        pairs.append(_result(index, label, 0.5 + 0.5 * sure if label != "empty_empty" else 1.0))
    return pairs


def _standing(track: Sequence[tuple[int, int, float]], frame: int) -> int | None:
    number = bisect_right(track, frame, key=lambda span: span[0]) - 1
    return number if number >= 0 and frame < track[number][1] else None


def _label(first: Sequence[int | None], second: Sequence[int | None]) -> str:
    before, after = any(n is not None for n in first), any(n is not None for n in second)
    if not before:
        return "empty_valid" if after else "empty_empty"
    if not after:
        return "valid_empty"
    return "same" if list(first) == list(second) else "different"


def _result(index: int, label: str, sure: float) -> PairResult:
    top = (1 - _FLOOR * len(LABELS)) * sure + _FLOOR
    rest = (1 - top) / (len(LABELS) - 1)
    chance = dict.fromkeys(LABELS, rest) | {label: top}
    return PairResult(index, index + 1, label, *(chance[name] for name in LABELS))
