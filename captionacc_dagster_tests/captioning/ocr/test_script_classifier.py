"""The script of a line is told from its picture, and that of a track from several lines."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest

from captionacc_dagster.captioning.ocr.script_classifier import ScriptGuess, classify_script, combined_guess
from captionacc_dagster_tests.captioning.ocr.script_lines import LINES, draw_line

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("code", "script", "font", "index", "captions"), LINES, ids=[line[0] for line in LINES])
def test_the_script_of_a_track_is_told(code: str, script: str, font: str, index: int, captions: tuple[str]):
    sizes = (20, 40)
    guesses = classify_script([draw_line(text, font, index, size).image for text in captions for size in sizes])
    guess = combined_guess(guesses)
    assert guess.script == script, guesses
    assert guess.probability > 0.5
    assert (guess.lang == "vi") == (code == "vi")


def test_a_mask_is_told_as_its_picture():
    lines = [draw_line(text, "NotoSansDevanagari-Bold.ttf") for text in LINES[6][4]]
    masks = [(255 * np.asarray(line.mask)).astype(np.uint8) for line in lines]
    assert combined_guess(classify_script(masks)).script == "Deva"


def test_colors_make_no_difference():
    picture = draw_line("Мы уезжаем завтра утром", "NotoSans-Bold.ttf").image
    gray, colored = classify_script([picture, np.repeat(picture[..., None], 3, axis=2)])
    assert gray.probabilities == pytest.approx(colored.probabilities, abs=0.02)


def test_a_picture_without_text_is_told():
    noise = np.random.default_rng(3).integers(90, 110, (12, 60), dtype=np.uint8)
    import cv2

    smooth = np.asarray(cv2.resize(noise, (400, 48), interpolation=cv2.INTER_CUBIC), np.uint8)
    assert classify_script([smooth])[0].script == "Zxxx"
    assert classify_script([]) == []


def test_lines_without_text_do_not_outvote_those_with_some():
    def guess(script: str, at: int) -> ScriptGuess:
        spread = [0.01] * 13
        spread[at] = 0.88
        return ScriptGuess(script, 0.88, None, tuple(spread))

    together = combined_guess([guess("Zxxx", 12), guess("Zxxx", 12), guess("Hang", 6)])
    assert together.script == "Hang"
    assert together.lang == "ko"
    assert combined_guess([guess("Zxxx", 12)]).script == "Zxxx"
    with pytest.raises(ValueError, match="no line was classified"):
        combined_guess([])


def test_the_model_is_small():
    model = files("captionacc_dagster.captioning") / "models" / "script_classifier.onnx"
    assert len(model.read_bytes()) <= 1_000_000
