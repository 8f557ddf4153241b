"""Lines in a script that no engine reads: they are captions, their text is not made up."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from captionacc_dagster.captioning.captions import Caption
from captionacc_dagster.captioning.extents.merging import FoundCaption, is_same_caption
from captionacc_dagster.captioning.extents.reading import Reading, read_caption, settled
from captionacc_dagster.captioning.extents.track_scripts import TrackScripts, unread_warnings
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.ocr.base import Line, LinePicture, Recognition
from captionacc_dagster.captioning.ocr.rapidocr import RapidOcrEngine

LINE = 34.0
WIDTH, ROW = 560, 44

# Strokes of letters that Latin lacks, in a box of 4 by 6; Pillow's own font has no Cyrillic.
LETTERS = {
    "И": ["0006", "0640", "4046"],
    "Ж": ["2026", "0043", "4003", "0646", "0323", "2343", "0623", "4623"],
    "Ш": ["0006", "2026", "4046", "0646"],
    "Д": ["0656", "1016", "1040", "4046", "0607", "5657"],
    "Л": ["1006", "1040", "4046"],
    "Б": ["0006", "0040", "0343", "4346", "0646"],
    "Г": ["0006", "0040"],
    "П": ["0006", "0040", "4046"],
    "Я": ["4046", "0040", "0003", "0343", "2306"],
    "Ю": ["0006", "0313", "1050", "1656", "1016", "5056"],
    "Ц": ["0006", "4046", "0646", "4657"],
    "Э": ["0040", "4046", "1343", "0646"],
    "Ф": ["2026", "0141", "0444", "0104", "4144"],
    "Ч": ["0003", "0343", "4046"],
    "Ы": ["0006", "0333", "3336", "0636", "5056"],
}


def letters_of(text: str) -> NDArray[np.uint8]:
    """Draw a line of text, gray levels 0 to 255 ``(44, 560)``; Latin with Pillow's own font."""
    if text.isascii():
        canvas, font = Image.new("L", (WIDTH, ROW), 0), ImageFont.load_default(28)
        ImageDraw.Draw(canvas).text(((WIDTH - font.getlength(text)) / 2, 6), text, font=font, fill=255)
        return np.asarray(canvas)
    canvas = np.zeros((ROW, WIDTH), np.uint8)
    left = (WIDTH - 22 * len(text)) // 2
    for character in text:
        for x0, y0, x1, y1 in (map(int, stroke) for stroke in LETTERS.get(character, ())):
            start, end = (left + 4 * x0, 10 + 4 * y0), (left + 4 * x1, 10 + 4 * y1)
            cv2.line(canvas, start, end, 255, 3, cv2.LINE_AA)
        left += 12 if character == " " else 24
    return canvas


def caption(*lines: str, seed: int = 0) -> tuple[list[NDArray[np.uint8]], NDArray[np.bool_]]:
    """Return three pictures of a caption with a dark outline over a moving background, and its strokes."""
    letters = np.concatenate([letters_of(line) for line in lines]).astype(float) / 255
    outline = cv2.dilate(letters, np.ones((3, 3)))
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(3):
        noise = cv2.GaussianBlur(rng.uniform(0, 255, letters.shape), (0, 0), 9)
        background = 90 + (noise - noise.mean()) * 6
        picture = background * (1 - outline) + 15 * (outline - letters) + 235 * letters
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    return pictures, letters > 0.5


RUSSIAN = ["ИЖДИ ЛЯГШИ ЮЦЫ", "ГДЯ ПЛЯЖ ЮГИ", "БЛИЖЭ ЦИФЫ ЭЛИ", "ЧИЖИ ДЛЯ ЛЮДИ"]


@pytest.mark.integration
class TestReadingPictures:
    def test_a_line_in_another_script_is_a_caption_without_text(self):
        scripts, engine = TrackScripts(), RapidOcrEngine(threads=1)
        readings = [read_caption(engine, *caption(text), LINE, scripts=scripts) for text in RUSSIAN]
        known = [settled(reading, scripts, engine) for reading in readings]
        assert [(reading.text, reading.is_unread, reading.script) for reading in known] == [("", True, "Cyrl")] * 4

    def test_each_line_is_its_own_script(self):
        scripts, engine = TrackScripts(), RapidOcrEngine(threads=1)
        lines = [caption(text, "Nobody saw the train leave") for text in RUSSIAN]
        readings = [read_caption(engine, *shown, LINE, seams=[44.0], scripts=scripts) for shown in lines]
        known = [settled(reading, scripts, engine) for reading in readings]
        assert {(reading.text, reading.is_unread, reading.script) for reading in known} == {
            ("Nobody saw the train leave", True, "Cyrl")
        }

    def test_a_latin_line_is_read_as_ever(self):
        scripts, engine = TrackScripts(), RapidOcrEngine(threads=1)
        reading = read_caption(engine, *caption("Nobody saw the train leave"), LINE, scripts=scripts)
        assert (reading.text, reading.is_unread, reading.script) == ("Nobody saw the train leave", False, "Latn")
        assert reading.waiting == ()

    def test_texture_is_no_caption(self):
        scripts, engine = TrackScripts(), RapidOcrEngine(threads=1)
        for seed in range(8):
            noise = cv2.GaussianBlur(np.random.default_rng(seed).uniform(0, 255, (ROW, WIDTH)), (0, 0), 2)
            picture = ((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)
            reading = read_caption(engine, [picture] * 3, picture > 170, LINE, scripts=scripts)
            assert not settled(reading, scripts, engine).is_unread

    def test_an_engine_that_has_the_script_reads_the_line_from_its_strokes(self):
        class Cyrillic(RapidOcrEngine):
            seen: Sequence[Line] = ()

            def reads(self, script: str, *, lang: str | None = None) -> bool:
                return script == "Cyrl" or super().reads(script, lang=lang)

            def recognize(
                self, lines: Sequence[Line], *, script: str | None = None, lang: str | None = None
            ) -> list[Recognition]:
                if script != "Cyrl":
                    return super().recognize(lines, script=script, lang=lang)
                self.seen = lines
                return [Recognition("и\u0306", 0.8)] * len(lines)

        engine, scripts = Cyrillic(threads=1), TrackScripts()
        readings = [read_caption(engine, *caption(text), LINE, scripts=scripts) for text in RUSSIAN]
        reading = settled(readings[-1], scripts, engine)
        assert (reading.text, reading.is_unread, reading.script) == ("й", False, "Cyrl")  # in NFC
        (line,) = engine.seen
        assert isinstance(line, LinePicture)
        assert line.mask is not None
        assert line.mask.any()


@pytest.mark.unit
class TestMerging:
    @staticmethod
    def unread(start: int, end: int, stroke_px: int, text: str = "") -> FoundCaption:
        reading = Reading(text, 0.9 if text else 0.0, 1, "Arab", is_unread=True)
        return FoundCaption(start, end, reading, BBox(0.2, 0.8, 0.8, 0.9), 0.9, stroke_px)

    def test_unread_neighbors_are_two_captions(self):
        assert not is_same_caption(self.unread(0, 40, 900), self.unread(40, 80, 850), 15)
        assert not is_same_caption(self.unread(0, 40, 900, "Yes"), self.unread(40, 80, 850, "Yes"), 15)

    def test_the_fade_of_an_unread_caption_is_the_caption(self):
        assert is_same_caption(self.unread(0, 10, 90), self.unread(10, 80, 850), 15)


def test_unread_captions_are_a_warning_for_each_script():
    def caption(script: str, unread: bool, lang: str | None = None) -> Caption:
        place = BBox(0.1, 0.8, 0.9, 0.9)
        return Caption(
            start_s=0,
            end_s=1,
            start_frame=0,
            end_frame=25,
            text="",
            confidence=0,
            bbox=place,
            lang=lang,
            script=script,
            unread=unread,
        )

    found = [caption("Thai", True), caption("Thai", True), caption("Latn", False), caption("Zzzz", True)]
    assert [(warning.code, warning.message) for warning in unread_warnings(found)] == [
        (
            "script_unread",
            "2 captions in Thai could not be read; run `captionacc languages add th`, then process the video again.",
        ),
        (
            "script_unread",
            "1 caption in another script could not be read; see `captionacc languages`, then process the video again.",
        ),
    ]
    assert unread_warnings([caption("Latn", False)]) == ()
    (vietnamese,) = unread_warnings([caption("Latn", True, "vi")])
    assert vietnamese.message.startswith("1 caption in Vietnamese could not be read; run `captionacc languages add vi`")
