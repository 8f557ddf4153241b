"""Captions over pictures that do not move are found by what comes and goes, whatever is behind them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.find import find_layout, read_full_frames
from captionacc_dagster.captioning.layout.fixtures import overlap
from captionacc_dagster.captioning.layout.samples import Sample, strokes
from captionacc_dagster.captioning.layout.still_scenes import SceneDifferences
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.video.reader import probe
from captionacc_dagster_tests.captioning.drawn_clips import write_clip, write_text

pytestmark = pytest.mark.integration

WIDTH, HEIGHT = 640, 360
WORDS = ("Nobody told me about it", "I know", "The train leaves at seven", "Wait for me", "", "Look at the old house")


def busy(seed: int = 0) -> NDArray[np.uint8]:
    """Draw a picture as full of strokes as gravel."""
    rng = np.random.default_rng(seed)
    return np.repeat(
        rng.integers(40, 200, (HEIGHT // 3, WIDTH // 4), np.uint8).repeat(3, 0).repeat(4, 1)[..., None], 3, 2
    )


def samples(words: tuple[str, ...] = WORDS, behind: list[NDArray[np.uint8]] | None = None):
    """Draw samples two seconds apart with a text each; return them and the places of the texts."""
    taken, boxes = [], []
    for number, text in enumerate(words):
        picture = (behind[number] if behind else busy()).copy()
        boxes.append(BBox(*write_text(picture, text, (0.5, 0.9), 24)) if text else None)
        luma = np.ascontiguousarray(picture[..., 0])
        taken.append(Sample(2.0 * number, strokes(luma), strokes(luma), luma, static_scene=True))
    return taken, boxes


def test_lines_that_come_and_go_are_found_where_they_stand():
    taken, boxes = samples()
    differences = SceneDifferences(taken)
    for sample, box in zip(taken, boxes, strict=True):
        lines = differences.lines(sample)
        assert lines is not None
        if box is None:
            assert lines == []
        elif box.width > 0.2:  # a few letters are no line yet
            assert sum(overlap(box, line) for line, _ in lines) > 0.6
            assert all(overlap(line, box) > 0.5 for line, _ in lines)


def test_a_loose_box_is_cut_down_to_its_letters():
    taken, boxes = samples()
    box = boxes[0]
    assert box is not None
    loose = BBox(box.left - 0.1, box.top - 0.08, box.right + 0.1, 1.0)
    tight = SceneDifferences(taken).tightened(taken[0], loose)
    assert tight is not None
    assert overlap(box, tight) > 0.85
    assert tight.height < 1.5 * box.height
    assert SceneDifferences(taken).tightened(taken[0], box) is None


def test_nothing_is_cut_where_nothing_comes_and_goes():
    taken, _ = samples()
    assert SceneDifferences(taken).tightened(taken[0], BBox(0.1, 0.1, 0.5, 0.3)) is None


def test_other_scenes_tell_nothing():
    taken, _ = samples(behind=[busy(seed) for seed in range(len(WORDS))])
    differences = SceneDifferences(taken)
    assert all(differences.lines(sample) is None and differences.picture(sample) is None for sample in taken)


def test_what_comes_and_goes_is_dark_in_its_picture():
    taken, boxes = samples()
    picture, box = SceneDifferences(taken).picture(taken[2]), boxes[2]
    assert picture is not None
    assert box is not None
    top, bottom = int(box.top * HEIGHT), int(box.bottom * HEIGHT)
    left, right = int(box.left * WIDTH), int(box.right * WIDTH)
    assert (picture[top:bottom, left:right] < 128).mean() > 0.15
    assert (picture[: top - 8] > 250).all()


def test_only_the_part_of_a_band_in_which_something_comes_and_goes_is_searched():
    taken, boxes = samples()
    differences = SceneDifferences(taken)
    for sample, box in zip(taken, boxes, strict=True):
        part = differences.changing_part(sample, 0.8, 1.0)
        if box is not None:
            assert part is not None
            assert overlap(box, part) == pytest.approx(1.0)
            assert part.left > 0.2
            assert part.right < 0.8
    assert differences.changing_part(taken[0], 0.2, 0.4) is None
    alone = SceneDifferences(taken[:2])  # too few to compare with
    assert alone.changing_part(taken[0], 0.2, 0.4) == BBox(0.0, 0.2, 1.0, 0.4)


def test_a_sample_is_compared_with_the_nearest_of_its_scene():
    taken, _ = samples()
    assert sorted(SceneDifferences(taken).compared_with(taken[0])) == [
        2.0,
        4.0,
        8.0,
    ]  # 2.4 seconds apart while there are any
    assert SceneDifferences(taken[:2]).compared_with(taken[0]) == ()


def test_captions_lost_in_a_busy_still_picture_are_found(tmp_path: Path):
    behind, boxes, pictures = busy(), [], []
    for at in range(180):
        picture = behind.copy()
        if at % 24 < 20 and (text := (WORDS * 2)[at // 24]):
            boxes.append(write_text(picture, text, (0.5, 0.9), 22, fill="#c8c8c8", outline=1))
        pictures.append(picture)
    facts, engine = probe(write_clip(tmp_path / "clip.mp4", pictures, 12, gop=36)), create_engine()
    (track,) = find_layout(facts, engine, [read for _, read in read_full_frames(facts, engine)]).tracks
    left, top, right, bottom = np.array(boxes).T
    assert (track.name, track.anchor) == ("bottom", "center")
    assert track.region.left <= left.min()
    assert track.region.right >= right.max()
    assert track.region.top <= top.min()
    assert track.region.bottom >= bottom.max()
