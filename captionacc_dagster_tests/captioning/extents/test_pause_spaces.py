"""A gap between ideographs that is wider than their pitch explains is a space."""

from __future__ import annotations

import numpy as np
import pytest

from captionacc_dagster.captioning.extents.pause_spaces import with_pauses
from captionacc_dagster.captioning.ocr.base import Recognition

pytestmark = pytest.mark.unit

EM, HEIGHT, LEFT = 22, 24, 10


def line_of(text: str, *, narrow: str = "", space: int = 6) -> tuple[Recognition, np.ndarray, tuple[float, float]]:
    """Return the reading of a line without its spaces, the strokes of the line, and the extent of its image."""
    strokes = np.zeros((HEIGHT, 2 * LEFT + EM * len(text)), bool)
    at, places = LEFT, []
    for character in text:
        if character == " ":
            at += space
            continue
        inset = 6 if character in narrow else 1
        strokes[1:-1, at + inset : at + EM - inset : 3] = True  # vertical strokes
        strokes[HEIGHT // 2, at + inset : at + EM - inset] = True
        places.append(at + EM / 2)
        at += EM
    read = text.replace(" ", "")
    width = strokes.shape[1]
    positions = tuple(round(place / width * 100) / 100 for place in places)  # as coarse as a recognizer's
    return Recognition(read, 0.99, (0.99,) * len(read), positions), strokes, (0.0, float(width))


@pytest.mark.parametrize("text", ["我又多两票 你看", "明天 也许后天 我就回来", "好了 走吧", "あした またね"])
def test_a_wide_gap_becomes_a_space(text: str):
    found = with_pauses(*line_of(text))
    assert found.text == text
    assert len(found.characters) == len(found.positions) == len(text)
    assert list(found.positions) == sorted(found.positions)


@pytest.mark.parametrize("text", ["我们必须离开", "你先坐下慢慢说", "一二三四五"])
def test_an_even_line_has_no_space(text: str):
    assert with_pauses(*line_of(text)).text == text


def test_narrow_characters_leave_gaps_but_keep_the_pitch():
    assert with_pauses(*line_of("四日晚上了日子", narrow="四日了")).text == "四日晚上了日子"


def test_a_speck_in_a_gap_does_not_fill_it():
    line, strokes, extent = line_of("你先坐下 慢慢说")
    gap = LEFT + 4 * EM + 3
    strokes[5:7, gap : gap + 2] = True
    assert with_pauses(line, strokes, extent).text == "你先坐下 慢慢说"


def test_strokes_that_are_missing_are_no_gap():
    line, strokes, extent = line_of("去问问飞行员天气")
    strokes[:, LEFT + 3 * EM - 9 : LEFT + 3 * EM] = False
    strokes[:, LEFT + 3 * EM : LEFT + 3 * EM + 4] = False
    assert with_pauses(line, strokes, extent).text == "去问问飞行员天气"


@pytest.mark.parametrize("text", ["No way", "三，四 五六七", "我OK你", "好"])
def test_other_characters_are_left_alone(text: str):
    line, strokes, extent = line_of(text.replace(" ", ""), space=12)
    assert with_pauses(line, strokes, extent).text == text.replace(" ", "")


def test_a_reading_without_positions_is_kept():
    line, strokes, extent = line_of("我又多两票 你看")
    bare = Recognition(line.text, 0.9)
    assert with_pauses(bare, strokes, extent) is bare


@pytest.mark.parametrize(
    ("text", "spans", "steps"),
    [
        pytest.param(
            "他们说森林里闹鬼",
            [(0, 22), (25, 45), (50, 69), (69, 90), (99, 122), (122, 146), (146, 166), (170, 191)],
            [11, 24, 22, 24, 30, 24, 24, 24],
            id="the right part of a character is missing, which seems nearer to the one before",
        ),
        pytest.param(
            "我欠你一个道歉",
            [(0, 38), (38, 61), (64, 87), (94, 118), (118, 141), (141, 160), (163, 187)],
            [27, 23, 29, 29, 23, 23, 23],
            id="another step is as wide",
        ),
        pytest.param(
            "五月十四日晚上你在哪里",
            [(6, 31), (35, 51), (58, 79), (83, 103), *((at, at + 24) for at in range(110, 254, 24)), (255, 274)],
            [21, 24, 24, 24, 30, 24, 24, 24, 24, 24, 24],
            id="a narrow character leaves a gap",
        ),
    ],
)
def test_a_step_that_the_strokes_explain_is_no_space(text: str, spans: list[tuple[int, int]], steps: list[int]):
    strokes = np.zeros((HEIGHT, spans[-1][1] + 1), bool)
    for left, right in spans:
        strokes[1:-1, left:right] = True
    width = strokes.shape[1]
    line = Recognition(text, 0.99, (0.99,) * len(text), tuple((np.cumsum(steps) / width).tolist()))
    assert with_pauses(line, strokes, (0.0, float(width))).text == text
