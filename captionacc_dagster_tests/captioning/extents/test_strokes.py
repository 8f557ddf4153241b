"""Strokes: how much of them a frame shows, and where two stretches of frames differ."""

from __future__ import annotations

import numpy as np
import pytest

from captionacc_dagster.captioning.extents.strokes import (
    StrokeModel,
    StrokeStyle,
    common_styles,
    compare_styled_strokes,
    high_pass,
    measure_styles,
    own_strokes,
    visibility,
)
from captionacc_dagster_tests.captioning.drawn_clips import write_text

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("shape", [(40, 200), (31, 33), (9, 120), (120, 9), (2, 50)])
def test_the_visibility_of_strokes_is_how_much_of_their_relief_a_frame_has(shape: tuple[int, int]):
    draw = np.random.default_rng(5)
    level = draw.uniform(0, 255, shape).astype(np.float32)
    frames = [draw.integers(0, 256, shape).astype(np.uint8) for _ in range(3)]
    model = StrokeModel(level, (), 30.0)
    stroke_mask = draw.random(shape) < 0.3  # on the edges, too, where surroundings are mirrored
    own = model.relief[stroke_mask].astype(np.float64)
    wanted = [float(high_pass(frame, 30.0)[stroke_mask] @ own / (own @ own)) for frame in frames]
    np.testing.assert_allclose(visibility(frames, model, stroke_mask), wanted, atol=1e-4)
    np.testing.assert_allclose(visibility([level], model, stroke_mask), [1.0], atol=1e-4)


def test_no_strokes_have_no_visibility():
    model = StrokeModel(np.full((20, 50), 90, np.float32), (), 30.0)
    frames = [np.zeros((20, 50), np.uint8)] * 2
    assert visibility(frames, model, np.zeros((20, 50), bool)).tolist() == [0.0, 0.0]
    assert visibility(frames, model, np.ones((20, 50), bool)).tolist() == [0.0, 0.0]  # flat: no relief


LINE = 33.0
WHITE = StrokeStyle(1, 250.0, 36.0)
PLACES = [(6.0, 40.0)]


def written(*texts: tuple[str, float, float, int, str]) -> StrokeModel:
    """Return the strokes of texts ``(text, x, y, size, color)`` on a dark strip."""
    picture = np.full((72, 480, 3), 40, np.uint8)
    for text, x, y, size, color in texts:
        write_text(picture, text, (x, y), size, fill=color, outline=0)
    level = picture[..., 0].astype(np.float32)
    model = StrokeModel(level, (), LINE)
    model.__dict__["stroke_mask"] = level > 90
    return model


def test_a_word_in_another_color_is_kept_on_the_line_and_other_letters_are_not():
    model = written(
        ("Bring me some", 0.35, 0.35, 26, "white"),
        ("milk", 0.7, 0.35, 26, "#808080"),
        ("return 0", 0.6, 0.8, 13, "#808080"),
    )
    own = own_strokes(model, model.stroke_mask, [WHITE], PLACES)
    assert own[6:44].sum() > 0.97 * model.stroke_mask[6:44].sum()
    assert not own[48:].any()
    assert model.stroke_mask[48:].any()


def test_a_second_line_in_small_letters_is_no_text_behind():
    """Letters without ascenders are less than a third as high as the box that the layout found around their line."""
    model = written(
        ("Bring me milk", 0.5, 0.35, 26, "white"),
        ("we saw a man once", 0.5, 0.8, 14, "white"),
        ("def", 0.1, 0.3, 9, "#808080"),
    )
    second = model.stroke_mask[48:].sum()
    own = own_strokes(model, model.stroke_mask, [WHITE], [PLACES[0], (46.0, 72.0)])
    assert own[48:].sum() > 0.9 * second > 0


def test_joined_letters_are_no_smaller_text():
    # As Arabic: a baseline that joins thin letters, with most strokes in three rows of twenty-four.
    picture = np.full((72, 480), 40, np.float32)
    picture[30:33, 40:440] = 250
    for left in range(44, 436, 24):
        picture[14:38, left : left + 3] = 250
    picture[52:60, 300:420:4] = 140  # small text of another color below
    model = StrokeModel(picture, (), LINE)
    model.__dict__["stroke_mask"] = picture > 90
    own = own_strokes(model, model.stroke_mask, [WHITE], PLACES)
    assert own[:44].sum() == model.stroke_mask[:44].sum()
    assert not own[48:].any()


def test_a_heavy_letter_is_no_area():
    picture = np.full((72, 480), 40, np.float32)
    picture[14:38, 100:122] = 250  # as thick as it is high
    picture[14:38, 140:300:8] = picture[14:38, 141:301:8] = picture[14:38, 142:302:8] = 250
    picture[52:60, 300:420:4] = 140
    model = StrokeModel(picture, (), LINE)
    model.__dict__["stroke_mask"] = picture > 90
    own = own_strokes(model, model.stroke_mask, [WHITE], PLACES)
    assert own[14:38, 100:122].mean() > 0.9
    assert not own[48:].any()


def test_where_no_strokes_are_in_the_texts_style_all_count():
    model = written(("return 0", 0.6, 0.8, 13, "#808080"))
    assert (own_strokes(model, model.stroke_mask, [WHITE], PLACES) == model.stroke_mask).all()


@pytest.mark.parametrize(
    ("after", "differs"),
    [
        ((("Bring me milk", 0.5, 0.35, 26, "white"),), False),
        ((("Bring me milk", 0.5, 0.35, 26, "white"), ("return 0", 0.6, 0.8, 13, "#808080")), False),
        ((("Bring me silk", 0.5, 0.35, 26, "white"),), True),
        ((("Bring me milk!", 0.5, 0.35, 26, "white"),), True),
    ],
)
def test_only_strokes_in_the_texts_style_say_whether_it_changed(
    after: tuple[tuple[str, float, float, int, str]], differs: bool
):
    before = written(("Bring me milk", 0.5, 0.35, 26, "white"), ("def f(x):", 0.3, 0.8, 13, "#808080"))
    change = compare_styled_strokes(before, written(*after), [WHITE], LINE)
    assert change is not None
    assert change.is_change == differs


def test_few_strokes_in_a_style_say_nothing():
    faint = written(("def f(x):", 0.3, 0.8, 13, "#808080"))
    assert compare_styled_strokes(faint, faint, [WHITE], LINE) is None


@pytest.mark.parametrize(
    ("colors", "is_uneven"), [(["#f0f0f0"] * 4, False), (["#ffffff", "#c0c0c0", "#909090", "#707070"], True)]
)
def test_strokes_of_many_levels_have_no_level_that_tells_them_from_the_picture(colors: list[str], is_uneven: bool):
    """A bright picture behind such letters was taken for an area in their style, and the letters on it for its edge."""
    words = zip(("Bring", "me", "some", "milk"), (0.15, 0.32, 0.5, 0.7), colors, strict=True)
    model = written(*((word, x, 0.5, 26, color) for word, x, color in words))
    styles = measure_styles(model, np.ones(model.level.shape, bool))
    assert [style.is_uneven for style in styles[:1]] == [is_uneven]


@pytest.mark.parametrize(("white_share", "sign"), [(0.25, 1), (0.1, -1)])
def test_bright_strokes_are_the_text_unless_they_are_few(white_share: float, sign: int):
    """An outline of white letters has three times as many pixels; glare beside dark letters has far fewer."""
    model = StrokeModel(np.full((60, 300), 128, np.float32), (), LINE)
    strokes = np.zeros(model.level.shape, bool)
    strokes[20:40, 10:290:5] = True
    columns = np.flatnonzero(strokes.any(axis=0))
    white = columns[: round(white_share * len(columns))]
    model.level[:, columns] = np.where(strokes[:, columns], 10.0, 128.0)
    model.level[20:40, white] = 246.0
    model.__dict__["stroke_mask"] = strokes
    assert measure_styles(model, np.ones(strokes.shape, bool))[0].sign == sign


@pytest.mark.parametrize(("share", "count"), [(0.08, 1), (0.2, 2)])
def test_a_second_color_is_more_than_a_few_strokes(share: float, count: int):
    model = StrokeModel(np.full((60, 400), 60, np.float32), (), LINE)
    strokes = np.zeros(model.level.shape, bool)
    strokes[20:40, 10:390:5] = True
    columns = np.flatnonzero(strokes.any(axis=0))
    model.level[strokes] = 180.0
    model.level[20:40, columns[: round(share * len(columns))]] = 245.0  # the half that contrasts most counts
    model.__dict__["stroke_mask"] = strokes
    assert len(measure_styles(model, np.ones(strokes.shape, bool))) == count


@pytest.mark.parametrize("is_highlighted", [False, True])
def test_thin_strokes_of_one_color_have_the_level_of_their_middles(is_highlighted: bool):
    """Most of their pixels are edges: no level told letters of a caption from those of a terminal behind it.

    With a highlighted word on a box of its own, what is not at their level is text, too.
    """
    import cv2

    picture = np.full((48, 320, 3), 40, np.uint8)
    write_text(picture, "Bring me some milk", (0.5, 0.5), 20, fill="white", outline=0)
    level = cv2.resize(picture[..., 0], (480, 72), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    level = np.asarray(cv2.GaussianBlur(level, (0, 0), 0.8), np.float32)
    mask = level > 90
    if is_highlighted:
        level[:, 300:] = 250 - level[:, 300:] / 2
    model = StrokeModel(level, (), LINE)
    model.__dict__["stroke_mask"] = mask
    measured = measure_styles(model, np.ones(level.shape, bool))
    (style,) = common_styles(measured)
    assert style.is_uneven == is_highlighted
    assert style.level > 180
    # The pixels of a single text among others are uneven because of what is behind them.
    even = StrokeStyle(1, measured[0].level, 40)
    assert common_styles([*measured, even, even])[0].level == measured[0].level
