"""Lines of many scripts, drawn with the fonts of Debian's packages."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.ocr.base import LinePicture
from captionacc_dagster_tests.machine import missing

FONT_PACKAGES = "fonts-noto-core fonts-noto-cjk fonts-thai-tlwg"
# Code, script, font file, its index in a collection, and two captions.
LINES = (
    ("ru", "Cyrl", "NotoSans-Bold.ttf", 0, ("Закрой дверь, пожалуйста", "Мы уезжаем завтра утром")),
    ("uk", "Cyrl", "NotoSans-Bold.ttf", 0, ("Ніхто не знає, де він живе", "Поясни мені це ще раз")),
    ("el", "Grek", "NotoSans-Bold.ttf", 0, ("Φεύγουμε αύριο το πρωί", "Κανείς δεν ξέρει πού μένει")),
    ("ko", "Hang", "NotoSansCJK-Bold.ttc", 1, ("우리는 내일 아침에 떠나요", "다시 한번 설명해 주세요")),
    ("ar", "Arab", "NotoNaskhArabic-Bold.ttf", 0, ("سنرحل غدا في الصباح", "لا أحد يعرف أين يسكن")),
    ("he", "Hebr", "NotoSansHebrew-Bold.ttf", 0, ("אנחנו נוסעים מחר בבוקר", "תסביר לי את זה שוב")),
    ("hi", "Deva", "NotoSansDevanagari-Bold.ttf", 0, ("हम कल सुबह जाएंगे", "रात भर बारिश होती रही")),
    ("th", "Thai", "NotoSansThai-Bold.ttf", 0, ("ขอบคุณที่มา", "อธิบายให้ฟังอีกครั้ง")),
    ("vi", "Latn", "NotoSans-Bold.ttf", 0, ("Tôi không biết phải làm gì nữa", "Trời mưa suốt cả đêm")),
    ("tr", "Latn", "NotoSans-Bold.ttf", 0, ("Nerede yaşadığını kimse bilmiyor", "Bütün gece yağmur yağdı")),
)


@cache
def font_path(file: str) -> Path:
    """Return the path of an installed font file; the test ends without it."""
    found = next(Path("/usr/share/fonts").rglob(file), None)
    if found is None:
        missing(f"the font {file}", f"apt-get install {FONT_PACKAGES}")
    return found


def draw_line(text: str, file: str, index: int = 0, size: int = 40, *, box: bool = False) -> LinePicture:
    """Return a white line with a dark outline over a gray texture, and the mask of its strokes.

    With ``box`` the mask has the sides of a box at its left and right border.
    """
    from PIL import Image, ImageDraw, ImageFont, features

    if not features.check("raqm"):
        missing(
            "a Pillow with libraqm, which shapes Arabic, Hindi, and Thai", "pip install pillow (the wheels have it)"
        )
    font = ImageFont.truetype(str(font_path(file)), size, index=index, layout_engine=ImageFont.Layout.RAQM)
    left, top, right, bottom = font.getbbox(text, stroke_width=3)
    shape = round(right - left) + size // 2, round(bottom - top) + size // 4
    at = size / 4 - left, size / 8 - top
    texture = np.random.default_rng(len(text)).integers(60, 140, (shape[1] // 4 + 1, shape[0] // 4 + 1), dtype=np.uint8)
    picture = Image.fromarray(texture).resize(shape)
    ImageDraw.Draw(picture).text(at, text, fill=245, font=font, stroke_width=3, stroke_fill=10)
    strokes = Image.new("L", shape)
    ImageDraw.Draw(strokes).text(at, text, fill=255, font=font)
    mask: NDArray[np.float32] = (np.asarray(strokes) / 255).astype(np.float32)
    if box:
        mask[:, :3] = mask[:, -3:] = 0.4
    return LinePicture(np.asarray(picture, np.uint8), mask)
