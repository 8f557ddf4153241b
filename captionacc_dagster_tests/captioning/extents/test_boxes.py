"""The box behind a track's letters: where it is found, and what is not on it."""

from __future__ import annotations

import numpy as np
import pytest

from captionacc_dagster.captioning.extents.boxes import (
    CaptionBox,
    common_boxes,
    find_boxes,
    mark_boxes,
    on_boxes_alone,
    styles_on,
    with_letters_on_boxes,
)
from captionacc_dagster.captioning.extents.strokes import Plane, StrokeModel, StrokeStyle, model_strokes
from captionacc_dagster_tests.captioning.drawn_clips import write_text

pytestmark = pytest.mark.unit

LINE_PX = 28.0
WHITE = StrokeStyle(1, 250, 36)
SLIDE, BOX = 70, 20
LEFT, RIGHT = 225, 415  # columns of the box


def drawn(
    *, box: bool = True, text: str = "over the slide", beside: bool = True, margin: int = 0, slide: int = SLIDE
) -> StrokeModel:
    """Return the strokes of a slide with letters on it, and of a caption in front of it."""
    picture = np.full((44, 640, 3), slide, np.uint8)
    if beside:
        write_text(picture, "market 918 winter 44", (0.3, 0.5), 18, fill="white", outline=0)
    if box:
        picture[margin : len(picture) - margin, LEFT:RIGHT] = BOX
    if text:
        write_text(picture, text, (0.5, 0.5), 24, fill="white", outline=0)
    plane: Plane = np.ascontiguousarray(picture[:, :, 0])
    return model_strokes([plane, plane, plane], LINE_PX)


def test_a_box_is_even_and_ends_beside_its_letters():
    ((box, area),) = find_boxes(drawn())
    assert box.level == pytest.approx(BOX, abs=1)
    assert (box.style.sign, box.style.level) == (1, pytest.approx(255, abs=10))
    columns = np.flatnonzero(area.any(axis=0))
    assert (columns[0], columns[-1]) == (LEFT, RIGHT - 1)


def test_a_box_may_be_lower_than_the_lines_of_the_track_usually_are():
    """A caption whose letters had no descenders was lost: the other boxes of its track were higher."""
    ((box, area),) = find_boxes(drawn(margin=11))
    assert np.flatnonzero(area.any(axis=1)).tolist() == list(range(11, 33))
    assert mark_boxes(drawn(margin=11), [box]).sum() == area.sum()


@pytest.mark.parametrize("text", ["", "over the slide"])
def test_letters_on_a_slide_have_no_box(text: str):
    """It goes on to the edges of the picture."""
    assert find_boxes(drawn(box=False, text=text)) == []


def test_an_even_part_of_the_scene_is_no_box():
    """Its sides are not straight."""
    model = drawn(box=False)
    level = model.level.copy()
    for row in range(len(level)):
        level[row, : LEFT - 3 * row] = level[row, RIGHT + 2 * row :] = 140
    assert find_boxes(StrokeModel(level, (level.astype(np.uint8),) * 3, LINE_PX)) == []


def test_a_wall_behind_a_part_of_a_line_is_no_box():
    """Its sides are straight, and letters in front of it leave notches in them: the other letters were left out."""
    picture = np.full((66, 640, 3), 200, np.uint8)
    picture[:, LEFT:RIGHT] = 116
    write_text(picture, "a line in front of a gray wall, and of the sky", (0.5, 0.7), 24, fill="white", outline=2)
    plane: Plane = np.ascontiguousarray(picture[:, :, 0])
    assert find_boxes(model_strokes([plane, plane, plane], LINE_PX)) == []


def test_a_box_hugs_lines_of_different_length_on_a_white_page():
    """Letters close to its sides leave notches in them, and the next line is longer: no side looked straight."""
    letters = np.zeros((84, 640, 3), np.uint8)
    places = ((0.17, "yes. The"), (0.5, "futon comes here"), (0.83, "with the"))
    for row, text in places:
        write_text(letters, text, (0.5, row), 22, fill="white", outline=0)
    picture = np.full_like(letters, 235)
    sides = []
    for top in (0, 28, 56):
        rows = slice(top, top + 28)
        columns = np.flatnonzero(letters[rows].max(axis=(0, 2)) > 128)
        sides.append(slice(int(columns[0]) - 1, int(columns[-1]) + 2))
        picture[rows, sides[-1]] = letters[rows, sides[-1]]
    plane: Plane = np.ascontiguousarray(picture[:, :, 0])
    ((_, area),) = find_boxes(model_strokes([plane, plane, plane], LINE_PX))
    for row, side in zip((14, 42, 70), sides, strict=True):
        assert np.flatnonzero(area[row]).tolist() == list(range(side.start, side.stop))


def test_a_box_without_letters_is_none():
    assert find_boxes(drawn(text="", beside=False)) == []


def test_what_is_beside_the_box_is_painted_over():
    model = drawn()
    area = mark_boxes(model, [CaptionBox(BOX, WHITE)])
    assert not area[:, : LEFT - 1].any()
    assert not area[:, RIGHT + 1 :].any()
    alone = on_boxes_alone(model.frames[0], area, model.stroke_mask & area)
    assert np.ptp(alone[:, : LEFT - 1]) == 0
    assert np.array_equal(alone[:, LEFT + 3 : RIGHT - 3], model.frames[0][:, LEFT + 3 : RIGHT - 3])


def test_a_box_in_another_color_with_like_letters_counts():
    boxes = [CaptionBox(140.0, WHITE)]
    columns = np.flatnonzero(mark_boxes(drawn(), boxes).any(axis=0))
    assert (columns[0], columns[-1]) == (LEFT, RIGHT - 1)
    dark_letters = [CaptionBox(230.0, StrokeStyle(-1, 20, 36))]
    assert not mark_boxes(drawn(), dark_letters).any()


def test_where_no_box_is_nothing_is_marked():
    assert not mark_boxes(drawn(box=False, text=""), [CaptionBox(BOX, WHITE)]).any()


@pytest.mark.parametrize(
    ("boxed", "unboxed", "is_known", "expected"),
    [
        (1, 0, False, False),
        (2, 0, False, True),
        (4, 2, False, True),
        (4, 3, False, False),
        (4, 3, True, True),
        (4, 5, True, False),
    ],
)
def test_a_track_has_a_box_where_most_of_its_lines_have_one(boxed: int, unboxed: int, is_known: bool, expected: bool):
    box = CaptionBox(20, WHITE)
    known = (box,) if is_known else ()
    assert bool(common_boxes([[box]] * boxed, [WHITE] * unboxed, known)) == expected


def test_lines_in_another_color_say_nothing_about_the_box():
    box, dark = CaptionBox(20, WHITE), StrokeStyle(-1, 30, 36)
    assert common_boxes([[box], [box]], [dark] * 9, ()) == (box,)


def test_a_box_that_shines_through_has_several_colors():
    boxes = [CaptionBox(20, WHITE), CaptionBox(21, WHITE), CaptionBox(90, WHITE)]
    assert [box.level for box in common_boxes([[box] for box in boxes], [], ())] == [20, 90]


DARK = StrokeStyle(-1, 30, 36)


def test_boxes_of_another_speaker_have_letters_of_another_color():
    """Every other line of an interview was lost in silence: dark letters on yellow, white ones on blue."""
    yellow, blue = CaptionBox(190, DARK), CaptionBox(110, WHITE)
    assert common_boxes([[yellow], [yellow], [yellow], [blue], [blue]], [], ()) == (yellow, blue)
    assert common_boxes([[yellow], [yellow], [yellow], [blue]], [], ()) == (yellow,)
    behind = [[yellow], [yellow], [yellow], [yellow, blue], [blue]]
    assert common_boxes(behind, [], ()) == (yellow,)


def test_the_letters_that_count_are_those_on_the_box_that_is_shown():
    white_on_dark, dark_on_bright = CaptionBox(BOX, WHITE), CaptionBox(190, DARK)
    assert styles_on(drawn(), [dark_on_bright, white_on_dark]) == (WHITE,)
    assert styles_on(drawn(box=False, text="", beside=False), [dark_on_bright, white_on_dark]) == (DARK,)


def test_what_touches_a_box_in_its_color_is_not_part_of_it():
    model = drawn(margin=9)
    level = model.level.copy()
    level[:9, 260:300] = BOX
    ((_, area),) = find_boxes(StrokeModel(level, (level.astype(np.uint8),) * 3, LINE_PX))
    assert np.flatnonzero(area.any(axis=1)).tolist() == list(range(9, 35))


def test_the_corners_of_a_box_may_be_round():
    import cv2

    level = np.full((44, 640), SLIDE, np.uint8)
    for column in (LEFT + 8, RIGHT - 8):
        cv2.circle(level, (column, 16), 8, BOX, -1, cv2.LINE_AA)
        cv2.circle(level, (column, 30), 8, BOX, -1, cv2.LINE_AA)
    level[16:31, LEFT : RIGHT + 1] = level[8:39, LEFT + 8 : RIGHT - 7] = BOX
    picture = np.repeat(level[:, :, None], 3, axis=2)
    write_text(picture, "over the slide", (0.5, 0.5), 24, fill="white", outline=0)
    plane: Plane = np.ascontiguousarray(picture[:, :, 0])
    assert len(find_boxes(model_strokes([plane, plane, plane], LINE_PX))) == 1


def test_captions_on_a_box_are_found_over_a_scene_of_its_color():
    """The sides of a black box are not seen at night, but its letters have nothing around them but black."""
    model = drawn(beside=False)
    rows, columns = np.indices(model.level.shape)
    beyond = (columns < LEFT) | (columns >= RIGHT)
    level = np.where(beyond & ((rows + columns) // 30 % 2 == 0), 140, np.where(beyond, BOX, model.level))
    night = StrokeModel(level.astype(np.float32), (level.astype(np.uint8),) * 3, LINE_PX)
    assert find_boxes(night) == []
    area = mark_boxes(night, [CaptionBox(BOX, WHITE)])
    letters = model.stroke_mask & (model.level > 200)
    assert (area & letters).sum() == letters.sum()
    assert not area[:, : LEFT - 20].any()
    assert not mark_boxes(drawn(box=False, beside=False), [CaptionBox(BOX, WHITE)]).any()


def test_a_line_of_few_words_below_a_long_one_is_on_its_box():
    picture = np.full((68, 640, 3), SLIDE, np.uint8)
    picture[2:36, LEFT:RIGHT] = picture[36:66, 290:350] = BOX
    write_text(picture, "over the slide", (0.5, 0.28), 24, fill="white", outline=0)
    write_text(picture, "out", (0.5, 0.75), 24, fill="white", outline=0)
    plane: Plane = np.ascontiguousarray(picture[:, :, 0])
    ((_, area),) = find_boxes(model_strokes([plane, plane, plane], LINE_PX))
    assert np.flatnonzero(area.any(axis=1)).tolist() == list(range(2, 66))


@pytest.mark.filterwarnings("error")
def test_an_area_of_nothing_but_letters_is_no_box():
    """NumPy warned of an empty mean on the terminal of whoever processed a screen recording."""
    model = drawn()
    model.__dict__["stroke_mask"] = np.ones(model.level.shape, bool)
    assert find_boxes(model) == []


def test_a_box_that_shines_through_ends_in_straight_sides():
    """White letters on a dark translucent box were lost over clouds: the box has all their colors, only darker."""
    rng = np.random.default_rng(1)
    scene = np.kron(rng.uniform(90, 240, (6, 40)), np.ones((8, 16)))[:44]
    scene[:, LEFT:RIGHT] *= 0.4
    picture = np.repeat(scene[:, :, None], 3, axis=2).astype(np.uint8)
    write_text(picture, "over the slide", (0.5, 0.5), 24, fill="white", outline=0)
    plane: Plane = np.ascontiguousarray(picture[:, :, 0])
    model = model_strokes([plane, plane, plane], LINE_PX)
    assert find_boxes(model) == []
    columns = np.flatnonzero(mark_boxes(model, [CaptionBox(BOX, WHITE)]).any(axis=0))
    assert (columns[0], columns[-1]) == (pytest.approx(LEFT, abs=3), pytest.approx(RIGHT - 1, abs=3))
    bare = model.level.copy()
    bare[:, :LEFT] *= 0.4
    bare[:, RIGHT:] *= 0.4
    assert not mark_boxes(StrokeModel(bare, (bare.astype(np.uint8),) * 3, LINE_PX), [CaptionBox(BOX, WHITE)]).any()


def test_a_box_that_shows_its_level_in_part_has_all_of_its_line():
    """Over a dark scene that shone through, the first words of a line were left out without a warning."""
    model = drawn(text="a line that is longer than the dark part", beside=False)
    marked = mark_boxes(model, [CaptionBox(BOX, WHITE)])
    columns = np.flatnonzero((model.stroke_mask & ~marked).any(axis=0))
    assert columns.size == 0


def test_letters_on_a_box_that_the_mask_lacks_are_found_by_their_color():
    """Words on white boxes in front of code were merged with the next ones, or lost."""
    whole = drawn(beside=True)
    ((box, area),) = find_boxes(whole)
    lacking = StrokeModel(whole.level, whole.frames, LINE_PX)
    lacking.__dict__["stroke_mask"] = whole.stroke_mask & ~area
    found = with_letters_on_boxes(lacking, [box]).stroke_mask
    assert 2 * (found & whole.stroke_mask)[area].sum() >= whole.stroke_mask[area].sum()  # their edges are blends
    assert not (found & area & ~whole.stroke_mask & (np.abs(whole.level - BOX) < 18)).any()  # and nothing of the box
    assert np.array_equal(found & ~area, whole.stroke_mask & ~area)  # what is beside the box stays as it is
    assert with_letters_on_boxes(whole, [box]) is whole
    assert with_letters_on_boxes(lacking, []) is lacking


def test_what_is_thicker_than_a_stroke_on_a_box_is_no_letter():
    whole = drawn(text="")
    level = whole.level.copy()
    level[14:30, LEFT + 40 : LEFT + 80] = 255
    blob = StrokeModel(level, (level.astype(np.uint8),) * 3, LINE_PX)
    ((box, _),) = find_boxes(drawn())
    assert not with_letters_on_boxes(blob, [box]).stroke_mask[14:30, LEFT + 40 : LEFT + 80].any()
