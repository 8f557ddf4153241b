"""Stroke changes are measured everywhere in an ROI of any size."""

from __future__ import annotations

import numpy as np
import pytest

from captionacc_dagster.captioning.extents.stroke_meter import StrokeMeter
from captionacc_dagster.captioning.extents.strokes import Plane, StrokeStyle

pytestmark = pytest.mark.unit

HOLD = 4


def most_change(shape: tuple[int, int], line_px: float, letter: tuple[slice, slice]) -> float:
    """Return the largest change measured in an ROI in which a letter appears."""
    empty = np.full(shape, 90, np.uint8)
    lettered: Plane = empty.copy()
    lettered[letter] = 230
    meter = StrokeMeter(line_px, HOLD)
    changes = [meter.update(roi) for roi in [empty] * 8 + [lettered] * 8]
    return max(change for change in changes if change is not None)


def all_changes(meter: StrokeMeter, rois: list[Plane]) -> list[float]:
    """Return the change at each frame."""
    changes = [change for change in map(meter.update, rois) if change is not None]
    return [*changes, *(change for change, _ in meter.flush())]


@pytest.mark.parametrize("extent", [*range(1780, 1811, 3), 1799, 1000, 958, 639])
@pytest.mark.parametrize("line_px", [36.0, 26.0])
@pytest.mark.parametrize("vertical", [False, True])
def test_letters_at_both_ends_of_a_roi_are_seen(extent: int, line_px: float, vertical: bool):
    size = round(line_px / 2)
    for start in (4, extent - 4 - size // 3):
        along, across = slice(start, start + size // 3), slice(12, 12 + size)
        letter = (along, across) if vertical else (across, along)
        shape = (extent, 54) if vertical else (54, extent)
        assert most_change(shape, line_px, letter) > 0.1


@pytest.mark.parametrize("shape", [(1, 200), (200, 1), (3, 5), (7, 23)])
def test_a_flat_roi_that_grows_bright_has_no_strokes_however_small_it_is(shape: tuple[int, int]):
    assert most_change(shape, 36.0, (slice(None), slice(None))) == 0.0


@pytest.mark.parametrize("noise", [0, 60], ids=["quiet", "noisy"])
def test_what_comes_and_goes_is_measured_at_its_own_frame(noise: int):
    draw = np.random.default_rng(4)
    empty = np.full((54, 400), 90, np.uint8)
    lettered = empty.copy()
    lettered[12:30, 200:206] = 230
    rois = [roi.copy() for roi in [*[empty] * 10, *[lettered] * 12, *[empty] * 10]]
    for roi in rois:  # at one end of the strip something changes in each frame
        roi[:, :40] = draw.integers(90, 91 + noise, (54, 40))
    meter = StrokeMeter(36.0, HOLD)
    changes = all_changes(meter, rois)
    assert len(changes) == len(rois)
    strong = [number for number, change in enumerate(changes) if change > 0.2]
    assert strong == [10, 22]


def test_strokes_that_appeared_unnoticed_are_known_when_they_disappear():
    empty = np.full((54, 400), 90, np.uint8)
    lettered = empty.copy()
    lettered[12:30, 40:46] = 230  # comes at once
    both = lettered.copy()
    both[12:30, 200:206] = 230  # comes by and by
    between = [np.where(both != lettered, level, lettered).astype(np.uint8) for level in range(100, 230, 10)]
    meter = StrokeMeter(36.0, HOLD)
    rois = [*[empty] * 8, *[lettered] * 8, *between, *[both] * 8, *[lettered] * 8]
    changes = all_changes(meter, rois)
    assert [number for number, change in enumerate(changes) if change > 0.2] == [8, 24 + len(between)]


def test_what_the_start_and_the_end_of_a_video_cut_off_comes_and_goes():
    empty = np.full((54, 400), 90, np.uint8)
    lettered = empty.copy()
    lettered[12:30, 200:206] = 230
    changes = all_changes(StrokeMeter(36.0, HOLD), [*[lettered] * 2, *[empty] * 10, *[lettered] * 2])
    assert [number for number, change in enumerate(changes) if change > 0.2] == [2, 12]


def test_letters_as_bright_as_the_page_come_and_go_with_their_box():
    """Their level never changes: only what surrounds them does."""
    page = np.full((54, 400), 253, np.uint8)
    boxed = page.copy()
    boxed[6:40, 180:240] = 90
    boxed[12:30, 200:206] = 254
    meter = StrokeMeter(36.0, HOLD)
    meter.styles = (StrokeStyle(1, 254.0, 12.0),)
    changes = [change for change in map(meter.update, [page] * 10 + [boxed] * 12 + [page] * 10) if change is not None]
    assert [number for number, change in enumerate(changes) if change > 0.2] == [10, 22]
