"""Synthetic lines of text and their pixels. No text of the benchmark's corpus is used."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.captions.fonts import load_font

Mask = NDArray[np.float32]

_LATIN_FONTS = (
    "aileron", "dejavu", "dejavu-bold", "dejavu-light", "dejavu-serif", "liberation", "liberation-bold",
    "liberation-narrow", "liberation-italic", "open-sans", "open-sans-light",
)  # fmt: skip
_CJK_FONTS = ("noto-sc", "noto-sc-bold", "noto-serif-sc", "zenhei", "microhei")
_COMMON = "eeeeeeeeeeeetttttttttaaaaaaaaooooooooiiiiiiinnnnnnnsssssshhhhhhrrrrrrddddllllcccuuummwwffggyyppbbvkjxqz"
_ACCENTED = "áéíóúñüçàèìòùâêîôûäößåøÁÉÑÖ¿¡"
_SYMBOLS = ("…", "?", "!", "—", "-", "?!", "...", "♪", "一", "。", "，", "“”", "(?)", "I", "l", "1", ":", "'")


@cache
def _ideographs() -> str:
    """The 3755 most common simplified characters: the first level of GB 2312."""
    rows = range(0xB0, 0xD8)
    codes = (bytes((row, cell)) for row in rows for cell in range(0xA1, 0xFF))
    return "".join(code.decode("gb2312", "ignore") for code in codes)


def _word(rng: random.Random) -> str:
    letters = [rng.choice(_COMMON if rng.random() < 0.96 else _ACCENTED) for _ in range(rng.randint(1, 9))]
    word = "".join(letters)
    return rng.choice((word, word, word, word.capitalize(), word.upper(), str(rng.randint(0, 2030))))


def made_up_text(rng: random.Random, *, cjk: bool | None = None) -> str:
    """Generate a line of text, Latin or Chinese, or a punctuation mark alone."""
    if rng.random() < 0.12:
        return rng.choice(_SYMBOLS)
    if cjk if cjk is not None else rng.random() < 0.4:
        line = "".join(rng.choice(_ideographs()) for _ in range(rng.randint(1, 12)))
        return line + rng.choice(("", "", "，", "。", "？", "！", "…", "："))
    words = [_word(rng) for _ in range(rng.randint(1, 7))]
    return " ".join(words) + rng.choice(("", ",", ".", "?", "!", "...", "…"))


def font_for(text: str, rng: random.Random) -> str:
    """Pick a font that has all of a text's characters."""
    return rng.choice(_CJK_FONTS if any(ord(letter) > 0x2E80 or letter == "♪" for letter in text) else _LATIN_FONTS)


def change_one(text: str, rng: random.Random) -> str:
    """Change one character of a text, the change that is hardest to detect."""
    at = rng.randrange(len(text))
    letter = rng.choice(_ideographs()) if ord(text[at]) > 0x2E80 else rng.choice(_COMMON + "?!.,")
    return text[:at] + letter + text[at + 1 :]


def draw_text(text: str, font: str, size: int, outline: int) -> tuple[Mask, Mask]:
    """Draw a line of text: coverage of its strokes and of its strokes with their outline, float32 ``(h, w)`` 0..1."""
    from PIL import Image, ImageDraw

    face = load_font(font, max(6, size))
    left, top, right, bottom = face.getbbox(text, stroke_width=outline)
    shape = (max(1, int(right - left) + 3), max(1, int(bottom - top) + 3))
    masks = []
    for stroke in (0, outline):
        layer = Image.new("L", shape)
        ImageDraw.Draw(layer).text((1 - left, 1 - top), text, font=face, fill=255, stroke_width=stroke)
        masks.append(np.asarray(layer, np.float32) / np.float32(255))
    return masks[0], masks[1]
