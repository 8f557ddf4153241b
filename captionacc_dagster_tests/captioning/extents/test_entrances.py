"""Captions that move into their place and out of it are followed to where they are half visible."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from captionacc_dagster.captioning.extents.entrances import Lettering, Motion, Pose
from captionacc_dagster.captioning.extents.strokes import Plane, high_pass, model_strokes
from captionacc_dagster_tests.captioning.drawn_clips import texture, write_text

pytestmark = pytest.mark.unit

HEIGHT, WIDTH, LINE_PX, REST = 90, 420, 30.0, 40
TEXT = "MARKET DAY"
STILL = 3  # frames
SCENE = texture(2 * WIDTH, HEIGHT, 3)
PICTURE = (0.0, 0.0, float(WIDTH), float(HEIGHT))
Draw = Callable[[Plane, int], Plane]  # the text on a frame, so many frames before it rests


def scene(frame: int) -> Plane:
    """Return a background that pans."""
    return SCENE[:, 2 * frame : 2 * frame + WIDTH].copy()


def lettered(frame: int, *, text: str = TEXT, right: float = 0.0, down: float = 0.0, scale: float = 1.0) -> Plane:
    """Return a frame with a text away from its place, or of another size."""
    picture = scene(frame)
    at = (0.5 + right / WIDTH, 0.5 + down / HEIGHT)
    write_text(picture, text, at, round(22 * scale))
    return picture[..., 0].copy()


def empty(frame: int) -> Plane:
    return scene(frame)[..., 0].copy()


def entrance(moving: list[Plane], *, picture: tuple[float, float, float, float] = PICTURE) -> Motion:
    """Return how a caption moves that is on some frames just before it rests, and on none before those."""
    at_rest = [lettered(REST + n) for n in range(6)]
    model = model_strokes(at_rest, LINE_PX)
    first = REST - len(moving)
    rois = [(n, empty(n)) for n in range(first - 6, first)] + [(first + n, roi) for n, roi in enumerate(moving)]
    return Motion.of(model, model.stroke_mask, rois[::-1], [], picture, STILL)


@pytest.mark.parametrize("way", ["up", "aside", "down"])
@pytest.mark.parametrize("speed", [3, 9])
def test_a_caption_that_slides_in_starts_with_its_first_frame(way: str, speed: int):
    right, down = {"up": (0, 1), "aside": (-3, 0), "down": (0, -1)}[way]
    away = range(min(5, 24 // speed) * speed, 0, -speed)
    first = REST - len(away)
    moving = [lettered(first + n, right=right * shift, down=down * shift) for n, shift in enumerate(away)]
    assert entrance(moving).start(REST) == first


@pytest.mark.parametrize("sizes", [(0.7, 0.85, 1.05, 1.1), (0.6, 0.7, 0.8, 0.9), (1.5, 1.3, 1.1)])
def test_a_caption_that_pops_up_starts_with_its_first_frame(sizes: tuple[float, ...]):
    first = REST - len(sizes)
    moving = [lettered(first + n, scale=scale) for n, scale in enumerate(sizes)]
    assert entrance(moving).start(REST) == first


def test_a_caption_that_slides_out_ends_with_its_last_frame():
    model = model_strokes([lettered(REST - n) for n in range(1, 7)], LINE_PX)
    moving = [(REST + n, lettered(REST + n, down=4 * (n + 1))) for n in range(5)]
    gone = [(REST + n, empty(REST + n)) for n in range(5, 12)]
    motion = Motion.of(model, model.stroke_mask, [], [*moving, *gone], PICTURE, STILL)
    assert motion.end(REST) == REST + 5


def test_a_caption_starts_when_half_of_its_letters_are_in_the_picture():
    away = (240, 200, 160, 120, 80, 40)
    first = REST - len(away)
    moving = [lettered(first + n, right=-shift) for n, shift in enumerate(away)]
    assert entrance(moving).start(REST) == REST - 5  # 210 pixels from the edge its center leaves the picture
    beyond = (-float(WIDTH), 0.0, 2.0 * WIDTH, float(HEIGHT))  # the ROI is a part of the picture
    assert entrance(moving, picture=beyond).start(REST) == first


def test_a_caption_that_fades_while_it_moves_starts_where_it_is_half_visible():
    first = REST - 5
    moving = []
    for n, opacity in enumerate((0.15, 0.35, 0.55, 0.75, 0.95)):
        full = lettered(first + n, down=15 - 3 * n).astype(np.float32)
        moving.append(np.rint(empty(first + n) * (1 - opacity) + full * opacity).astype(np.uint8))
    assert entrance(moving).start(REST) == REST - 3


def test_a_caption_at_rest_does_not_move():
    blurred = [np.asarray(cv2.GaussianBlur(lettered(REST - 2 + n), (3, 3), 0), np.uint8) for n in range(2)]
    for moving in ([], blurred, [lettered(REST - 2 + n, right=1) for n in range(2)]):
        assert entrance(moving).start(REST) == REST


@pytest.mark.parametrize("text", ["DAY", "MACKEREL BAY", "NOBODY CAME", "It is a day"])
def test_other_letters_are_not_the_caption_in_motion(text: str):
    assert entrance([lettered(REST - 4 + n, text=text, down=4 * (4 - n)) for n in range(4)]).before == []


@pytest.mark.parametrize("frames", [1, 2, 8])
def test_the_same_text_at_another_place_is_not_a_caption_that_moves(frames: int):
    assert entrance([lettered(REST - frames + n, right=12, down=10) for n in range(frames)]).before == []


@pytest.mark.parametrize("left", [0.0, -200.0])
def test_a_search_of_few_places_finds_what_a_wide_one_finds(left: float):
    model = model_strokes([lettered(REST + n) for n in range(6)], LINE_PX)
    letters = Lettering.of(model, model.stroke_mask)
    near = Pose(letters.rest.x + left, letters.rest.y, 1.0)
    relief = high_pass(lettered(REST - 1, right=left), LINE_PX)
    few, many = (letters.find(relief, near, 1.0, (reach, reach)) for reach in (1.0, 4.0))
    assert few is not None
    assert many is not None
    assert (few.x, few.y) == (many.x, many.y)
    assert (few.likeness, few.contrast) == pytest.approx((many.likeness, many.contrast), abs=1e-4)
    assert few.likeness > 0.8


def test_a_single_letter_is_not_followed():
    at_rest = [lettered(REST + n, text="I") for n in range(6)]
    model = model_strokes(at_rest, LINE_PX)
    before = [(n, lettered(n, text="HILL", right=3 * (REST - n))) for n in range(REST - 1, REST - 6, -1)]
    assert Motion.of(model, model.stroke_mask, before, [], PICTURE, STILL).before == []


def test_what_is_read_while_a_caption_moves_in_is_part_of_its_entrance():
    moving = [lettered(REST - 5 + n, down=15 - 3 * n) for n in range(5)]
    motion = entrance(moving)
    assert motion.enters_through(REST - 5, REST)
    assert motion.enters_through(REST - 3, REST)
    assert not motion.enters_through(REST - 20, REST)
    assert not entrance([]).enters_through(REST - 3, REST)
