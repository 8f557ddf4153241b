"""Synthetic backgrounds for captions: pictures with hard edges, textures, and scene text, in luma.

Only photographs that the benchmark does not use are taken, so that its figures stay honest.
"""

from __future__ import annotations

import random
from functools import cache
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray

from training.glyph_mask.letters import draw_text, font_for, made_up_text

Gray = NDArray[np.float32]

_PHOTOGRAPHS = ("camera.png", "coins.png", "moon.png", "cell.png", "retina.jpg", "microaneurysms.png", "horse.png")


@cache
def _photograph(name: str) -> Gray:
    from PIL import Image

    with (files("skimage") / "data" / name).open("rb") as stream, Image.open(stream) as picture:
        return np.asarray(picture.convert("L"), np.float32)


def _of_photograph(height: int, width: int, rng: random.Random) -> Gray:
    picture = _photograph(rng.choice(_PHOTOGRAPHS))
    least = max(height / picture.shape[0], width / picture.shape[1])
    scale = least * rng.uniform(1.0, 2.5)
    scaled = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    top = rng.randint(0, max(0, scaled.shape[0] - height))
    left = rng.randint(0, max(0, scaled.shape[1] - width))
    picture = scaled[top : top + height, left : left + width]
    return np.asarray(cv2.resize(picture, (width, height)) if picture.shape != (height, width) else picture, np.float32)


def _of_noise(height: int, width: int, rng: random.Random) -> Gray:
    """Fractal noise: octaves of smoothed white noise, rougher or softer."""
    draw = np.random.default_rng(rng.getrandbits(32))
    roughness = rng.uniform(0.35, 0.9)
    picture = np.zeros((height, width), np.float32)
    weight, cell = 1.0, max(height, width)
    stretch = rng.choice((1.0, 1.0, 3.0))
    while cell >= 1.5:
        size = (max(2, int(width / cell / stretch) + 2), max(2, int(height / cell) + 2))
        octave = draw.standard_normal((size[1], size[0])).astype(np.float32)
        picture += weight * np.asarray(cv2.resize(octave, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
        weight, cell = weight * roughness, cell / 2
    return 128 + picture * np.float32(60 / max(float(picture.std()), 1e-3))


def _of_leaves(height: int, width: int, rng: random.Random) -> Gray:
    """Shapes of all sizes over one another: the edges of natural pictures ("dead leaves")."""
    picture = np.full((height, width), rng.uniform(20, 230), np.float32)
    draw = np.random.default_rng(rng.getrandbits(32))
    smallest = rng.uniform(3, 14)
    for _ in range(rng.randint(25, 150)):
        radius = min(smallest / max(draw.random(), 0.02) ** 0.7, height)
        center = (int(draw.uniform(0, width)), int(draw.uniform(0, height)))
        level = float(draw.uniform(0, 255))
        kind = rng.random()
        if kind < 0.4:
            axes = (max(1, int(radius)), max(1, int(radius * draw.uniform(0.2, 1))))
            cv2.ellipse(picture, center, axes, float(draw.uniform(0, 180)), 0, 360, level, -1, cv2.LINE_AA)
        elif kind < 0.7:
            corners = draw.uniform(-radius, radius, (rng.randint(3, 5), 2)) + center
            cv2.fillPoly(picture, [corners.astype(np.int32)], level, cv2.LINE_AA)
        else:
            end = (np.array(center) + draw.uniform(-4, 4, 2) * radius).astype(int).tolist()
            cv2.line(picture, center, end, level, rng.randint(1, 6), cv2.LINE_AA)
    if rng.random() < 0.6:
        picture += (_of_noise(height, width, rng) - 128) * np.float32(rng.uniform(0.05, 0.5))
    return picture


def _of_gradient(height: int, width: int, rng: random.Random) -> Gray:
    corners = np.array([[rng.uniform(10, 245) for _ in range(3)] for _ in range(3)], np.float32)
    return np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _of_grid(height: int, width: int, rng: random.Random) -> Gray:
    """Draw repeating patterns: bricks, blinds, fences."""
    across, down = rng.uniform(5, 60), rng.uniform(5, 40)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    tilt = rng.uniform(-0.4, 0.4)
    x, y = x + tilt * y, y - tilt * x
    joint = rng.uniform(1, 4)
    lines = np.zeros((height, width), bool)
    if rng.random() < 0.8:
        lines |= (y % down) < joint
    if rng.random() < 0.8:
        lines |= ((x + across / 2 * (np.floor(y / down) % 2)) % across) < joint
    low, high = rng.uniform(0, 255), rng.uniform(0, 255)
    picture = np.where(lines, np.float32(low), np.float32(high)).astype(np.float32)
    return picture + (_of_noise(height, width, rng) - 128) * np.float32(rng.uniform(0, 0.3))


_SOURCES = ((_of_photograph, 22), (_of_leaves, 38), (_of_noise, 16), (_of_gradient, 12), (_of_grid, 12))


def backdrop(height: int, width: int, letter_px: float, rng: random.Random, *, scene_text: bool) -> Gray:
    """Draw a picture, float32 ``(height, width)`` luma; ``scene_text`` paints signs about as large as captions."""
    make = rng.choices([make for make, _ in _SOURCES], [weight for _, weight in _SOURCES])[0]
    picture = make(height, width, rng)
    if rng.random() < 0.35:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.6, 4)), np.float32)
    grade = rng.random()
    if grade < 0.45:
        gain = rng.uniform(0.15, 0.9)
        picture = picture * np.float32(gain) + np.float32(rng.uniform(0, 255 * (1 - gain)))
    picture = np.clip(picture, 0, 255)
    if scene_text:
        for _ in range(rng.randint(1, 4)):
            text = made_up_text(rng)
            mask = draw_text(text, font_for(text, rng), round(letter_px * rng.uniform(0.5, 1.3)), 0)[0]
            mask = mask[:height, :width]
            top = rng.randint(0, height - mask.shape[0])
            left = rng.randint(0, width - mask.shape[1])
            under = picture[top : top + mask.shape[0], left : left + mask.shape[1]]
            under += (np.float32(rng.choice((240, 255, 20, rng.uniform(0, 255)))) - under) * mask
    return picture
