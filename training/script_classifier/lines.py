"""Draw lines of captions as the classifier sees them: in many looks, over pictures, compressed, small and large."""

from __future__ import annotations

import random
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.ocr.script_classifier import INPUT_HEIGHT, line_input
from training.glyph_mask.backdrops import backdrop
from training.script_classifier.fonts import pick_font
from training.script_classifier.texts import CLASSES, made_up_line

Gray = NDArray[np.float32]
WIDTH = 256  # pixels of a training window


@lru_cache(maxsize=400)
def _font(file: str, index: int, size: int):  # noqa: ANN202
    from PIL import ImageFont

    return ImageFont.truetype(file, size, index=index, layout_engine=ImageFont.Layout.RAQM)


def _masks(text: str, font: tuple[str, int], size: int, outline: int) -> tuple[Gray, Gray, tuple[int, int]] | None:
    """Return the strokes, the strokes with their outline (0..1), and the rows between which the letters are."""
    from PIL import Image, ImageDraw

    try:
        loaded = _font(*font, size)
        left, top, right, bottom = loaded.getbbox(text, stroke_width=outline)
    except (OSError, ValueError):
        return None
    if not (4 < right - left < 60 * size and bottom - top > 3):
        return None
    shape, at = (round(right - left) + 2, round(bottom - top) + 2), (1 - left, 1 - top)
    drawn = []
    for stroke in (0, outline):
        picture = Image.new("L", shape)
        ImageDraw.Draw(picture).text(at, text, fill=255, font=loaded, stroke_width=stroke)
        drawn.append(np.asarray(picture, np.float32) / 255)
    rows = np.flatnonzero(drawn[0].max(axis=1) > 0.3)
    if not len(rows):
        return None
    return drawn[0], drawn[1], (int(rows[0]), int(rows[-1]) + 1)


def _texture(rng: random.Random) -> NDArray[np.uint8]:
    height = rng.randint(16, 60)
    picture = backdrop(height, round(height * rng.uniform(1.5, 16)), height, rng, scene_text=False)
    return np.clip(picture, 0, 255).astype(np.uint8)


def draw_line(script: str, seed: int, *, held_out: bool) -> NDArray[np.uint8]:
    """Return a picture of one line of a class, uint8 ``(height, width)``, cut out as the reader cuts lines."""
    rng = random.Random(seed)
    if script == "Zxxx":
        return _texture(rng)
    while True:
        text, key = made_up_line(script, rng)
        size = round(np.exp(rng.uniform(np.log(14), np.log(72))))
        outlined = rng.random() < 0.55
        outline = max(1, round(size * rng.uniform(0.03, 0.1))) if outlined else 0
        drawn = _masks(text, pick_font(key, held_out, rng), size, outline)
        if drawn is not None:
            break
    strokes, around, (first, last) = drawn
    side, above, below = (round(size * rng.uniform(0.0, 0.5)) for _ in range(3))
    height, width = strokes.shape[0] + above + below, strokes.shape[1] + 2 * side
    strokes, around = (np.pad(mask, ((above, below), (side, side))) for mask in (strokes, around))
    if rng.random() < 0.12:  # a mask instead of a picture
        picture = 255 * strokes
    else:
        behind = backdrop(height, width, size, rng, scene_text=False)
        light = rng.random() < 0.85
        level = rng.uniform(190, 255) if light else rng.uniform(0, 60)
        if rng.random() < 0.3:  # the frames of a moving background were averaged
            behind = np.asarray(cv2.GaussianBlur(behind, (0, 0), size * rng.uniform(0.1, 0.6)), np.float32)
        look = rng.random()
        if not outlined and look < 0.4:
            box = rng.uniform(0, 60) if light else rng.uniform(190, 255)
            behind = behind + (box - behind) * np.float32(rng.uniform(0.4, 1.0))
        elif not outlined:
            behind = 0.75 * behind if light else 90 + 0.6 * behind
            if rng.random() < 0.6:  # a soft shadow
                shift = np.float32([[1, 0, max(1, size // 14)], [0, 1, max(1, size // 14)]])
                shadow = cv2.GaussianBlur(cv2.warpAffine(strokes, shift, (width, height)), (0, 0), 0.05 * size + 0.3)
                behind = behind * (1 - np.float32(rng.uniform(0.4, 0.95)) * shadow)
        edge = rng.uniform(0, 40) if light else rng.uniform(200, 255)
        picture = behind + (edge - behind) * around
        picture = picture + (level - picture) * strokes * np.float32(rng.uniform(0.7, 1.0))
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 0.06 * size if size > 16 else 0.6))
    picture = np.clip(picture + np.random.default_rng(seed).normal(0, rng.uniform(0, 6), picture.shape), 0, 255)
    coded = picture.astype(np.uint8)
    if rng.random() < 0.6:
        quality = [cv2.IMWRITE_JPEG_QUALITY, rng.randint(25, 90)]
        coded = np.asarray(cv2.imdecode(cv2.imencode(".jpg", coded, quality)[1], cv2.IMREAD_GRAYSCALE), np.uint8)
    # Cut as the reader does: to the letters, with some room, not always all of them.
    room = [round(size * rng.uniform(-0.04, 0.25)) for _ in range(2)]
    top, bottom = max(0, above + first - room[0]), min(height, above + last + room[1])
    return coded[top:bottom]


def window(picture: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Return what the network sees of a line in training: uint8 ``(32, 256)``, part of a long line, edges repeated."""
    line = line_input(picture)
    rng = random.Random(seed)
    missing = WIDTH - line.shape[1]
    if missing > 0:
        left = rng.randint(0, missing)
        return np.pad(line, ((0, 0), (left, missing - left)), mode="edge")
    start = rng.randint(0, -missing)
    return line[:, start : start + WIDTH]


def make_windows(count: int, first_seed: int, *, held_out: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return ``count`` windows ``(count, 32, 256)`` uint8 and their classes."""
    windows = np.empty((count, INPUT_HEIGHT, WIDTH), np.uint8)
    labels = np.empty(count, np.int64)
    for number in range(count):
        seed = first_seed + number
        labels[number] = seed % len(CLASSES)
        windows[number] = window(draw_line(CLASSES[labels[number]], seed, held_out=held_out), seed)
    return windows, labels
