"""Samples are taken densely, those that cost little to decode first."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from captionacc_dagster.captioning.layout.sampler import sampling_batches
from captionacc_dagster.captioning.video.reader import VideoFacts

pytestmark = pytest.mark.unit


def facts(duration_s: float, gop_s: float) -> VideoFacts:
    keyframes = tuple(number * gop_s for number in range(int(duration_s / gop_s) + 1) if number * gop_s < duration_s)
    return VideoFacts(
        Path("clip.mp4"), 1280, 720, duration_s, 25.0, int(25 * duration_s), "h264", 10**6, 0, "yuv420p", 0,
        keyframes_s=keyframes,
    )  # fmt: skip


@pytest.mark.parametrize(("duration_s", "gop_s"), [(30.0, 5.0), (24.0, 3.0), (60.0, 10.0), (30.0, 1.0)])
def test_each_time_is_in_one_portion_and_none_is_far_from_the_next(duration_s: float, gop_s: float):
    portions = sampling_batches(facts(duration_s, gop_s), [])
    times = sorted(time_s for portion in portions for time_s in portion)
    assert len(times) == len(set(times))
    assert all(portion == sorted(portion) for portion in portions)
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) <= 1.25


@pytest.mark.parametrize("gop_s", [3.0, 5.0, 10.0])
def test_the_first_portions_leave_out_no_more_than_the_end_before_a_keyframe(gop_s: float):
    portions = sampling_batches(facts(60.0, gop_s), [])
    early = sorted(time_s for portion in portions[:2] for time_s in portion)
    assert max(later - earlier for earlier, later in itertools.pairwise(early)) <= 3.0
    for start in (number * gop_s for number in range(int(60 / gop_s) - 1)):
        inside = [time_s - start for time_s in early if start <= time_s < start + gop_s - 1e-6]
        assert inside[0] == pytest.approx(0)
        assert max(inside) <= max(gop_s / 2, gop_s - 2.0) + 0.11


def test_known_times_are_among_the_first():
    portions = sampling_batches(facts(60.0, 5.0), [14.4, 29.2])
    assert {14.4, 29.2} <= {time_s for portion in portions[:2] for time_s in portion}


def test_with_few_keyframes_there_is_one_portion():
    (times,) = sampling_batches(facts(25.0, 10.0), [])
    assert times[0] == 0
    assert len(times) >= 25
