"""Backgrounds: moving, cut, faded, and graded shots over the photographs in scikit-image's wheel."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from benchmarks.captions.fonts import load_font

Image = NDArray[np.uint8]

# Read as files, because the functions of skimage.data download what the wheel lacks.
_PHOTOGRAPHS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "hubble_deep_field.jpg",
)
_TEXTURES = ("grass.png", "gravel.png", "brick.png", "ihc.png")


@dataclass(frozen=True, slots=True)
class _Kind:
    """Motion and grading of a background; ``shot_s`` is the length of a shot in seconds, None for a single shot."""

    source: str = "photograph"
    motion: float = 1.0
    zoom: float = 0.0
    shake: float = 0.0
    shot_s: tuple[float, float] | None = (3.0, 7.0)
    crossfade_s: float = 0.0
    gain: float = 1.0
    bias: float = 0.0
    grain: float = 3.0


BACKGROUNDS: dict[str, _Kind] = {
    "pan": _Kind(),
    "zoom": _Kind(motion=0.3, zoom=0.05),
    "collage": _Kind(source="collage", motion=1.5, shot_s=None),
    "texture": _Kind(source="texture", motion=2.0, shot_s=(5.0, 9.0)),
    "noise": _Kind(source="gradient", motion=0.6, grain=26.0, shot_s=None),
    "gradient": _Kind(source="gradient", motion=0.8, grain=1.0, shot_s=None),
    "slides": _Kind(motion=0.0, shot_s=(3.5, 6.0), grain=0.0),
    "still": _Kind(motion=0.0, shot_s=None, grain=2.0),
    "still-collage": _Kind(source="collage", motion=0.0, shot_s=None, grain=0.0),
    "still-texture": _Kind(source="texture", motion=0.0, shot_s=None, grain=2.0),
    "fades": _Kind(crossfade_s=0.6, shot_s=(2.5, 4.5)),
    "cuts": _Kind(shot_s=(0.8, 2.2), motion=1.4),
    "bright": _Kind(gain=0.55, bias=112.0),
    "dark": _Kind(gain=0.4, bias=4.0),
    "low-contrast": _Kind(gain=0.35, bias=70.0),
    "handheld": _Kind(shake=6.0, motion=0.5, shot_s=(4.0, 8.0)),
}


@cache
def photograph(name: str) -> Image:
    from PIL import Image as Pillow

    path = files("skimage") / "data" / name
    with path.open("rb") as stream, Pillow.open(stream) as picture:
        return np.asarray(picture.convert("RGB"))


def cover(picture: Image, width: int, height: int) -> Image:
    """Scale a picture so that it covers a size, and crop it to that size."""
    import cv2

    scale = max(width / picture.shape[1], height / picture.shape[0])
    size = (max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
    scaled = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    x, y = (size[0] - width) // 2, (size[1] - height) // 2
    return np.ascontiguousarray(scaled[y : y + height, x : x + width], np.uint8)


def _canvas(kind: _Kind, width: int, height: int, rng: random.Random) -> Image:
    if kind.source == "gradient":
        corners = np.array([[[rng.randint(10, 245) for _ in range(3)] for _ in range(3)] for _ in range(3)], np.uint8)
        return cover(corners, width, height)
    if kind.source == "collage":
        canvas = np.zeros((height, width, 3), np.uint8)
        cell = max(200, min(width, height) // 3)
        for y in range(0, height, cell):
            for x in range(0, width, cell):
                tile = cover(photograph(rng.choice(_PHOTOGRAPHS + _TEXTURES)), cell, cell)
                canvas[y : y + cell, x : x + cell] = tile[: height - y, : width - x]
        return canvas
    names = _TEXTURES if kind.source == "texture" else _PHOTOGRAPHS
    return cover(photograph(rng.choice(names)), width, height)


def _paint_signs(canvas: Image, rng: random.Random) -> Image:
    """Paint signs into the scene that move with it."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    picture = Pillow.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    height, width = canvas.shape[:2]
    for word in rng.sample(["HOTEL", "EXIT", "CAFE 24H", "NO PARKING", "BUS STOP", "MARKET", "GATE 7"], 3):
        font = load_font("dejavu-bold", round(min(width, height) * rng.uniform(0.04, 0.07)))
        x, y = rng.uniform(0.15, 0.7) * width, rng.uniform(0.15, 0.75) * height
        box = draw.textbbox((x, y), word, font=font)
        edge = font.size // 3
        paint = tuple(rng.randint(20, 160) for _ in range(3))
        draw.rectangle((box[0] - edge, box[1] - edge, box[2] + edge, box[3] + edge), fill=paint)
        draw.text((x, y), word, font=font, fill="white")
    return np.asarray(picture)


@dataclass(slots=True)
class Shot:
    """One shot: a moving window over a canvas that is larger than the frame."""

    canvas: Image
    start: int
    velocity: tuple[float, float]
    zoom: float
    shake: NDArray[np.float64]

    def window(self, at: int, width: int, height: int) -> tuple[float, float, float]:
        """Return left and top of the window in the canvas, pixels, and the scale about its center."""
        elapsed = at - self.start
        room_x, room_y = self.canvas.shape[1] - width, self.canvas.shape[0] - height
        shake = self.shake[at % len(self.shake)]
        x = _bounce(room_x / 2 + self.velocity[0] * elapsed, room_x) + shake[0]
        y = _bounce(room_y / 2 + self.velocity[1] * elapsed, room_y) + shake[1]
        return float(x), float(y), 1.0 + self.zoom * elapsed

    def frame(self, at: int, width: int, height: int) -> Image:
        """Return what the window shows on frame ``at``, RGB ``(height, width, 3)`` uint8."""
        import cv2

        x, y, scale = self.window(at, width, height)
        still = self.velocity == (0.0, 0.0) and not self.shake[at % len(self.shake)].any()
        if scale == 1.0 and still:
            left, top = int(x), int(y)
            return self.canvas[top : top + height, left : left + width].copy()
        center_x, center_y = x + width / 2, y + height / 2
        matrix = np.array([[1 / scale, 0, center_x - width / 2 / scale], [0, 1 / scale, center_y - height / 2 / scale]])
        moved = cv2.warpAffine(
            self.canvas,
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        return np.asarray(moved, np.uint8)


def _bounce(position: float, room: float) -> float:
    """Reflect a position at the ends of 0..room."""
    if room <= 0:
        return 0.0
    position %= 2 * room
    return 2 * room - position if position > room else position


class Background:
    """The picture under the captions, frame by frame.

    Args:
        word: one of `BACKGROUNDS`.
        width: pixels.
        height: pixels.
        rate: frames per second.
        length: frames.
        cuts: frames at which a new shot begins, besides those of its own.
        signs: paint signs into the scene.
        rng: of everything random in it.
    """

    def __init__(
        self,
        word: str,
        width: int,
        height: int,
        rate: float,
        length: int,
        cuts: Iterable[int],
        signs: bool,
        rng: random.Random,
    ) -> None:
        self.kind = BACKGROUNDS[word]
        self.width, self.height = width, height
        self.crossfade = round(self.kind.crossfade_s * rate)
        starts = {0, *cuts}
        if self.kind.shot_s is not None:
            at = 0
            while (at := at + round(rng.uniform(*self.kind.shot_s) * rate)) < length:
                starts.add(at)
        self.starts = sorted(starts)
        self._seeds = [rng.random() for _ in self.starts]
        self._signs = signs
        self._pixels_per_frame = min(width, height) * 0.09 / rate
        self._shots: dict[int, Shot] = {}
        grain = np.random.default_rng(rng.getrandbits(32))
        self._grain = [
            np.clip(128 + grain.normal(0, self.kind.grain, (height, width, 1)), 0, 255).astype(np.uint8).repeat(3, 2)
            for _ in range(4 if self.kind.grain else 0)
        ]

    def _shot(self, number: int) -> Shot:
        shot = self._shots.get(number)
        if shot is None:
            rng = random.Random(self._seeds[number])
            kind = self.kind
            canvas = _canvas(kind, round(self.width * 1.3), round(self.height * 1.3), rng)
            if self._signs:
                canvas = _paint_signs(canvas, rng)
            graded = np.clip(canvas.astype(np.float32) * kind.gain + kind.bias, 0, 255).astype(np.uint8)
            speed = kind.motion * self._pixels_per_frame
            velocity = (speed * rng.uniform(0.4, 1) * rng.choice((-1, 1)), speed * rng.uniform(-0.5, 0.5))
            steps = np.random.default_rng(rng.getrandbits(32)).normal(0, kind.shake, (97, 2))
            smooth = np.stack([np.convolve(np.tile(axis, 3), np.ones(7) / 7, "same")[97:194] for axis in steps.T], 1)
            zoom = kind.zoom * rng.choice((0.6, 1.0)) * self._pixels_per_frame / 10
            shot = Shot(graded, self.starts[number], velocity, zoom, smooth)
            self._shots = {at: kept for at, kept in self._shots.items() if at >= number - 1} | {number: shot}
        return shot

    def frame(self, at: int) -> Image:
        """Return frame ``at`` as RGB ``(h, w, 3)`` uint8; the caller may draw on it."""
        import cv2

        number = max(index for index, start in enumerate(self.starts) if start <= at)
        picture = self._shot(number).frame(at, self.width, self.height)
        into = at - self.starts[number]
        if self.crossfade and number > 0 and into < self.crossfade:
            before = self._shot(number - 1).frame(at, self.width, self.height)
            weight = (into + 1) / (self.crossfade + 1)
            picture = np.asarray(cv2.addWeighted(picture, weight, before, 1 - weight, 0), np.uint8)
        if self._grain:
            picture = np.asarray(cv2.addWeighted(picture, 1.0, self._grain[at * 7 % 4], 1.0, -128.0), np.uint8)
        return picture
