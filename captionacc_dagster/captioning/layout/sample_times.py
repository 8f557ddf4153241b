"""When a video is sampled to find its layout: often enough to see each caption, decoding as little as possible."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Collection, Sequence

from captionacc_dagster.captioning.video.reader import VideoFacts

PARTS = 2  # in which what follows keyframes is looked at, and then the rest
_MOST_SAMPLES = 100  # in a long video; at keyframes up to twice as many, each takes a megabyte
_SPACING_S = 0.8  # between samples, unless the video is long or very short
_UNSEEN_S = 2.0  # before a keyframe, that are not looked at when the rest tells enough
_FEW_KEYFRAMES = 5  # with fewer samples at keyframes all are taken in one go: each time costs decoding anew


def sampling_batches(facts: VideoFacts, known: Collection[float]) -> list[list[float]]:
    """Part the times to sample, the cheap and telling ones first: rising times in each portion.

    First what is reached soon after each second keyframe, then after the others, then the rest in the same order.
    With few keyframes there is one portion. ``known`` are times that were sampled before.
    """
    near = _keyframe_times(facts, known)
    times = sorted([*near, *_times_between(facts, near)])
    if len(near) < _FEW_KEYFRAMES:
        return [times]
    ends = (0.0, *facts.keyframes_s, facts.duration_s)
    shots = [
        (ends[number], ends[number + 1], list(group))
        for number, group in itertools.groupby(
            times, key=lambda time_s: bisect.bisect(facts.keyframes_s, time_s + 1e-6)
        )
    ]
    early: list[list[float]] = []
    late: list[list[float]] = []
    for start, end, group in shots:
        # What is left out is at most half of what lies between two keyframes, and no longer than captions stand.
        last = max((start + end) / 2, end - _UNSEEN_S) + 0.1
        early.append([time_s for time_s in group if time_s <= last or time_s in known])
        late.append([time_s for time_s in group if not (time_s <= last or time_s in known)])
    return [
        [time_s for part in parts[first::PARTS] for time_s in part] for parts in (early, late) for first in range(PARTS)
    ]


def _keyframe_times(facts: VideoFacts, known: Collection[float]) -> list[float]:
    """Choose times that cost little to sample: keyframes, and frames that are known already, which come first."""
    apart = 0.5 * _spacing(facts)
    times: list[float] = []
    for time_s in (*sorted(known), 0.0, *facts.keyframes_s):
        at = bisect.bisect(times, time_s)
        beside = times[max(0, at - 1) : at + 1]
        if time_s < facts.duration_s and all(abs(time_s - other) >= apart for other in beside):
            times.insert(at, time_s)
    return times


def _times_between(facts: VideoFacts, near: Sequence[float]) -> list[float]:
    """Fill the gaps between some times evenly."""
    times: list[float] = []
    for start, end in itertools.pairwise([*near, facts.duration_s]):
        parts = max(1, round((end - start) / _spacing(facts)))
        times += [start + part * (end - start) / parts for part in range(1, parts)]
    return times


def _spacing(facts: VideoFacts) -> float:
    spacing = max(_SPACING_S, facts.duration_s / _MOST_SAMPLES)
    return max(0.3, facts.duration_s / 8) if facts.duration_s < 8 * spacing else spacing
