"""Breaks captions into lines, letters them in a look, and blends them into frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.captions.fonts import load_font
from benchmarks.captions.specs import Look, TrackSpec

if TYPE_CHECKING:
    from PIL import ImageFont

Color = tuple[int, int, int]

_FILL: dict[str, Color] = {"yellow": (255, 226, 48), "thin": (236, 236, 236)}
_HIGHLIGHT: Color = (80, 220, 255)
_SMALLER_SECOND_LINE = 0.72


@dataclass(frozen=True, slots=True)
class Patch:
    """A lettered caption: straight colors and coverage over a rectangle of the frame.

    Attributes:
        x, y: top left corner in the frame, pixels.
        color: (h, w, 3) float32, 0..255.
        alpha: (h, w) float32, 0..1.
        highlighted: as ``color``, in the color that karaoke sweeps in.
        letters: (left, top, right, bottom) of the glyphs with their outline, pixels of the frame.
    """

    x: int
    y: int
    color: NDArray[np.float32]
    alpha: NDArray[np.float32]
    highlighted: NDArray[np.float32]
    letters: tuple[int, int, int, int]

    def blend(self, frame: NDArray[np.uint8], opacity: float, sung: float = 0.0) -> None:
        """Draw onto an RGB frame in place; the left part ``sung`` (0..1) of the letters is highlighted."""
        height, width = self.alpha.shape
        under = frame[self.y : self.y + height, self.x : self.x + width]
        color = self.color
        if sung > 0.0:
            edge = round((self.letters[0] - self.x) + sung * (self.letters[2] - self.letters[0]))
            color = np.concatenate([self.highlighted[:, :edge], self.color[:, edge:]], axis=1)
        alpha = (self.alpha * opacity)[..., None]
        under[:] = np.rint(under + (color - under) * alpha).astype(np.uint8)


def is_vertical(track: TrackSpec) -> bool:
    """Whether the track's text runs from top to bottom."""
    return track.position in ("left", "right")


class Letterer:
    """Letters the captions of one track.

    Args:
        track: language, position and look.
        width: of the frame, pixels.
        height: of the frame, pixels.
        widest: the width of the longest line, as a fraction of the frame's width.
        lift: distance of the lowest line from the frame's lower edge, as a fraction of its height.
    """

    def __init__(self, track: TrackSpec, width: int, height: int, widest: float, lift: float) -> None:
        self.track = track
        self.look: Look = track.look
        self.width, self.height = width, height
        self.widest = widest * width
        self.lift = lift
        self.size = round(self.look.size * min(width, height))
        self.stroke = max(1, round(self.size / 14)) if self.look.style in ("outlined", "yellow") else 0

    def break_lines(self, text: str, two_lines: bool) -> str:
        """Break a sentence into two lines of similar length if it is too wide or if two are wanted."""
        if is_vertical(self.track) or "\n" in text:
            return text
        font = load_font(self.look.font, self.size)
        if not two_lines and font.getlength(text) <= self.widest:
            return text
        chinese = any(ord(letter) > 0x2E80 for letter in text)
        places = range(2, len(text) - 1) if chinese else [at for at, c in enumerate(text) if c == " "]
        pairs = [(text[:at].rstrip(), text[at:].lstrip()) for at in places]
        pairs = [pair for pair in pairs if pair[1][0] not in "，。？！：、…”" and pair[0][-1] not in "“"]
        if not pairs:
            return text
        return "\n".join(min(pairs, key=lambda pair: max(map(font.getlength, pair))))

    def letter(self, text: str) -> Patch:
        """Return a caption, with its line breaks, as lettered pixels."""
        from PIL import Image, ImageDraw, ImageFilter

        placed = self._place(text)
        fill = _FILL.get(self.look.style, (255, 255, 255))
        layers = {}
        for name, color in (("color", fill), ("highlighted", _HIGHLIGHT)):
            layer = Image.new("RGBA", (self.width, self.height))
            draw = ImageDraw.Draw(layer)
            for piece, font, x, y in placed:
                draw.text((x, y), piece, font=font, fill=(*color, 255), stroke_width=self.stroke, stroke_fill="black")
            layers[name] = layer
        box = layers["color"].getbbox()
        if box is None:
            raise ValueError(f"nothing to draw in {text!r}")
        margin = self.size // 2
        frame = (0, 0, self.width, self.height)
        outer = (
            max(frame[0], box[0] - margin),
            max(frame[1], box[1] - margin),
            min(frame[2], box[2] + margin),
            min(frame[3], box[3] + margin),
        )
        pixels = {name: np.asarray(layer.crop(outer), np.float32) for name, layer in layers.items()}
        alpha = pixels["color"][..., 3] / np.float32(255)
        under = np.zeros(alpha.shape, np.float32)
        if self.look.style == "thin":
            alpha = alpha * np.float32(0.82)
        elif self.look.style == "plain":
            shadow = layers["color"].getchannel("A").filter(ImageFilter.GaussianBlur(self.size / 18)).crop(outer)
            under = np.asarray(shadow, np.float32) * np.float32(0.55 / 255)
        elif self.look.style == "box":
            inset = margin // 2
            under[inset : alpha.shape[0] - inset, inset : alpha.shape[1] - inset] = 0.55
        # The shadow or box under the glyphs is black, so it only darkens the straight color.
        whole = (alpha + under * (1 - alpha)).astype(np.float32)
        share = np.divide(alpha, whole, out=np.zeros(alpha.shape, np.float32), where=whole > 0)[..., None]
        return Patch(
            outer[0], outer[1], pixels["color"][..., :3] * share, whole, pixels["highlighted"][..., :3] * share, box
        )

    def _place(self, text: str) -> list[tuple[str, ImageFont.FreeTypeFont, float, float]]:
        """Return each piece of text with its font and the position of the pen."""
        if is_vertical(self.track):
            return self._place_vertical(text)
        sizes = [self.size] * (text.count("\n") + 1)
        if self.track.language == "zh-en":
            sizes = [self.size, round(self.size * _SMALLER_SECOND_LINE)]
        lines = [
            (line, load_font(self.look.font, size), size) for line, size in zip(text.split("\n"), sizes, strict=True)
        ]
        step = 1.22
        total = sum(size * step for *_, size in lines)
        y = 0.055 * self.height if self.track.position == "top" else self.height * (1 - self.lift) - total
        placed = []
        for line, font, size in lines:
            length = font.getlength(line)
            x = 0.06 * self.width if self.track.position == "bottom-left" else (self.width - length) / 2
            placed.append((line, font, round(x), round(y)))
            y += size * step
        return placed

    def _place_vertical(self, text: str) -> list[tuple[str, ImageFont.FreeTypeFont, float, float]]:
        font = load_font(self.look.font, self.size)
        step = self.size * 1.12
        center = self.width * (0.07 if self.track.position == "left" else 0.93)
        top = 0.12 * self.height
        return [
            (letter, font, round(center - font.getlength(letter) / 2), round(top + number * step))
            for number, letter in enumerate(text)
        ]
