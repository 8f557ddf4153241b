"""Letters text word by word, so that words can appear, light up, and change size one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.captions.wide.looks import Look, font

Image = NDArray[np.uint8]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Stamp:
    """Lettered text: premultiplied colors ``(h, w, 3)`` and coverage ``(h, w, 1)``, float32, at ``(x, y)`` pixels."""

    x: int
    y: int
    color: NDArray[np.float32]
    alpha: NDArray[np.float32]

    def draw(self, frame: Image, opacity: float = 1.0, dx: float = 0.0, dy: float = 0.0, scale: float = 1.0) -> None:
        """Blend onto an RGB frame in place, moved by pixels and scaled about its center; what lies outside is cut."""
        color, alpha = self.color, self.alpha
        x, y = self.x + dx, self.y + dy
        if scale != 1.0:
            import cv2

            height, width = alpha.shape[:2]
            size = max(1, round(width * scale)), max(1, round(height * scale))
            color = cv2.resize(color, size, interpolation=cv2.INTER_LINEAR)
            alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_LINEAR)[..., None]
            x, y = x + (width - size[0]) / 2, y + (height - size[1]) / 2
        left, top = round(x), round(y)
        height, width = alpha.shape[:2]
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(frame.shape[1], left + width), min(frame.shape[0], top + height)
        if x0 >= x1 or y0 >= y1 or opacity <= 0:
            return
        inside = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
        under = frame[y0:y1, x0:x1]
        blended = under * (1 - alpha[inside] * np.float32(opacity)) + color[inside] * np.float32(opacity)
        under[:] = np.rint(np.clip(blended, 0, 255)).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class WordState:
    """How a word is drawn: hidden, in the accent color, dimmed, on a box of its own, or larger."""

    shown: bool = True
    accent: float = 0.0  # the part, from the left, that has the accent color
    dimmed: bool = False
    boxed: bool = False
    scale: float = 1.0


PLAIN = WordState()


class Block:
    """Lines of words at a place in the picture.

    Args:
        lines: words of each line.
        look: lettering.
        frame_size: ``(width, height)`` of the picture, pixels.
        place: of the block, as fractions of the picture: its left side, its center, or its right side, by ``align``,
            and the center of its height.
        align: ``left``, ``center``, or ``right``: what lines of different length have in common.
        gap: between words; 1 for a space, 0 for none (Chinese).
    """

    def __init__(
        self,
        lines: Sequence[Sequence[str]],
        look: Look,
        frame_size: tuple[int, int],
        place: tuple[float, float],
        align: str = "center",
        gap: float = 1.0,
    ) -> None:
        self.look = look
        self.size = max(8, round(look.size * min(frame_size)))
        self._font = font(look.font, self.size)
        self._lines = [[word.upper() if look.upper else word for word in line] for line in lines]
        space = gap * self._font.getlength(" ")
        widths = [sum(map(self._font.getlength, line)) + space * (len(line) - 1) for line in self._lines]
        leading = look.leading * self.size
        height = leading * (len(lines) - 1) + self.size
        width = max(widths, default=0.0)
        # The block stays inside the picture.
        edge = 0.02 * min(frame_size)
        left = place[0] * frame_size[0] - {"left": 0.0, "right": width}.get(align, width / 2)
        left = min(max(left, edge), max(edge, frame_size[0] - width - edge))
        top = min(max(place[1] * frame_size[1] - height / 2, edge), max(edge, frame_size[1] - height - edge))
        self._places: list[tuple[str, float, float]] = []
        self._bars: list[Box] = []
        for number, (line, wide) in enumerate(zip(self._lines, widths, strict=True)):
            x = left + {"left": 0.0, "right": width - wide}.get(align, (width - wide) / 2)
            y = top + number * leading
            self._bars.append((x, y, x + wide, y + self.size))
            for word in line:
                self._places.append((word, x, y))
                x += self._font.getlength(word) + space
        self.boxes = [self._ink(*place) for place in self._places]
        self._margin = round(self.size * 0.6)
        self._origin = round(left) - self._margin, round(top) - self._margin
        self._extent = round(width) + 2 * self._margin, round(height) + 2 * self._margin
        self._render = lru_cache(maxsize=4)(self._rendered)

    @property
    def box(self) -> Box:
        """Box of all letters in the picture, pixels."""
        lefts, tops, rights, bottoms = zip(*self.boxes, strict=True)
        return min(lefts), min(tops), max(rights), max(bottoms)

    @property
    def text(self) -> list[list[str]]:
        """The words as they are lettered, line by line."""
        return self._lines

    def _ink(self, word: str, x: float, y: float) -> Box:
        left, top, right, bottom = self._font.getbbox(word, anchor="ls")
        baseline = y + 0.82 * self.size
        return x + left, baseline + top, x + right, baseline + bottom

    def stamp(self, states: Mapping[int, WordState] | None = None) -> Stamp:
        """Return the block with the states of some words, by their number; the others are plain."""
        states = states or {}
        return self._render(tuple(states.get(number, PLAIN) for number in range(len(self._places))))

    def _rendered(self, states: tuple[WordState, ...]) -> Stamp:
        from PIL import Image as Pillow

        look = self.look
        layer = Pillow.new("RGBA", self._extent)
        if look.box != "none":
            layer.alpha_composite(self._boxes(states))
        letters = Pillow.new("RGBA", self._extent)
        for (word, x, y), state in zip(self._places, states, strict=True):
            if state.shown:
                self._letter(letters, word, x - self._origin[0], y - self._origin[1], state)
        if look.shadow:
            layer.alpha_composite(_shadow(letters, look.shadow * self.size))
        if look.opacity < 1:
            letters.putalpha(letters.getchannel("A").point([round(look.opacity * level) for level in range(256)]))
        layer.alpha_composite(letters)
        pixels = np.asarray(layer, np.float32)
        alpha = np.multiply(pixels[..., 3:], 1 / 255, dtype=np.float32)
        return Stamp(*self._origin, np.multiply(pixels[..., :3], alpha, dtype=np.float32), alpha)

    def _letter(self, layer: Any, word: str, x: float, y: float, state: WordState) -> None:
        from PIL import Image as Pillow
        from PIL import ImageDraw

        look = self.look
        face = self._font if state.scale == 1 else font(look.font, max(6, round(self.size * state.scale)))
        baseline = y + 0.82 * self.size
        x -= (face.getlength(word) - self._font.getlength(word)) / 2
        stroke = round(look.outline * self.size)
        draw = ImageDraw.Draw(layer)
        if state.boxed:
            edge = 0.15 * self.size
            wide = face.getlength(word)
            draw.rounded_rectangle(
                (x - edge, y - edge / 2, x + wide + edge, y + self.size + edge / 2), edge, (*look.accent, 255)
            )
        opacity = 110 if state.dimmed else 255

        def letter(target: Any, color: tuple[int, int, int]) -> None:
            ImageDraw.Draw(target).text(
                (x, baseline), word, font=face, fill=(*color, opacity), anchor="ls",
                stroke_width=stroke, stroke_fill=(*look.outline_color, opacity),
            )  # fmt: skip

        if 0 < state.accent < 1:
            plain, lit = Pillow.new("RGBA", layer.size), Pillow.new("RGBA", layer.size)
            letter(plain, look.fill)
            letter(lit, look.accent)
            edge = round(x + state.accent * face.getlength(word))
            plain.paste(lit.crop((0, 0, edge, layer.height)), (0, 0))
            layer.alpha_composite(plain)
        else:
            letter(layer, look.accent if state.accent and not state.boxed else look.fill)

    def _boxes(self, states: tuple[WordState, ...]) -> Any:
        from PIL import Image as Pillow
        from PIL import ImageDraw

        layer = Pillow.new("RGBA", self._extent)
        if not any(state.shown for state in states):
            return layer
        draw = ImageDraw.Draw(layer)
        color = (*self.look.box_color, round(255 * self.look.box_opacity))
        edge = 0.3 * self.size
        bars = self._bars
        if self.look.box == "block":
            lefts, tops, rights, bottoms = zip(*bars, strict=True)
            bars = [(min(lefts), min(tops), max(rights), max(bottoms))]
        for left, top, right, bottom in bars:
            place = (
                left - edge - self._origin[0], top - edge / 2 - self._origin[1],
                right + edge - self._origin[0], bottom + edge / 2 - self._origin[1],
            )  # fmt: skip
            draw.rounded_rectangle(place, 0.3 * self.size if self.look.box == "round" else 0, color)
        return layer


def _shadow(letters: Any, offset: float) -> Any:
    from PIL import Image as Pillow
    from PIL import ImageChops, ImageFilter

    alpha = letters.getchannel("A").filter(ImageFilter.GaussianBlur(max(0.6, offset / 2)))
    shadow = Pillow.new("RGBA", letters.size)
    shadow.putalpha(
        ImageChops.offset(alpha, round(offset), round(offset)).point([level * 3 // 4 for level in range(256)])
    )
    return shadow


def broken(words: Sequence[str], face: str, size: int, widest: float, most: int, gap: float = 1.0) -> list[list[str]]:
    """Break words into at most ``most`` lines no wider than ``widest`` pixels; words that do not fit are left out."""
    loaded = font(face, size)
    space = gap * loaded.getlength(" ")
    lines: list[list[str]] = [[]]
    used = 0.0
    for word in words:
        width = loaded.getlength(word)
        if lines[-1] and used + space + width > widest:
            if len(lines) == most:
                break
            lines.append([])
            used = 0.0
        if width > widest:
            continue
        used += width + (space if lines[-1] else 0.0)
        lines[-1].append(word)
    return [line for line in lines if line]
