"""Synthetic scenes: captions that appear, change, and disappear over moving pictures, encoded with H.264.

A scene gives several windows: sets of frames as the engine looks at them, with the strokes that stood in them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from training.glyph_mask.backdrops import Gray, backdrop
from training.glyph_mask.letters import change_one, draw_text, font_for, made_up_text

HEIGHT, WIDTH = 64, 256
FRAMES = 20
WINDOWS_PER_SCENE = 3
MAD_SCALE = 8  # mean deviations are stored in eighths of a level
_LEAST_TRAVEL = 2.5  # scene text and tickers that move less than this in a window cannot be told from captions
_LEAST_RELIEF = 4.0  # strokes that stand out less than this cannot be seen

Planes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Layer:
    """A caption as drawn: coverage of strokes, of what is under them, and its opacity on each frame."""

    fill: Gray
    under: Gray
    opacity: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Style:
    """The look of a scene's captions; levels are luma, sizes native pixels."""

    size: int
    level: float
    second_level: float | None
    alpha: float
    outline: int
    under_level: float
    shadow: float
    box: float
    column: bool


@dataclass(frozen=True, slots=True)
class _Motion:
    """The backdrop's position and scale on each frame, and its cuts."""

    path: NDArray[np.float32]
    scale: NDArray[np.float32]
    cut: int | None


def _style(size: int, behind: float, rng: random.Random) -> _Style:
    look = rng.random()
    column = rng.random() < 0.05
    outline, shadow, box = 0, 0.0, 0.0
    alpha = 1.0
    if look < 0.4:
        outline = max(1, round(size * rng.uniform(0.04, 0.1)))
    elif look < 0.58:
        shadow = rng.uniform(0.02, 0.1)
    elif look < 0.73:
        box = rng.uniform(0.3, 0.95)
    else:
        alpha = rng.uniform(0.55, 1.0)
    level = rng.choice((255.0, 255.0, 255.0, 236.0, 222.0, rng.uniform(90, 255)))
    under = 0.0 if rng.random() < 0.9 else rng.uniform(0, 120)
    if rng.random() < 0.1 or (not outline and not box and abs(level - behind) < 40):
        level = rng.uniform(0, 60) if behind > 110 else 255.0
        under = 255.0 if level < 90 else under
    second = rng.choice((190.0, 150.0, 110.0)) if rng.random() < 0.1 else None
    return _Style(size, level, second, alpha, outline, under, shadow, box, column)


def _letter(text: str, style: _Style, font: str, at: tuple[int, int], shape: tuple[int, int]) -> tuple[Gray, Gray]:
    """Draw a caption of one or more lines (or a column) into a picture of a shape."""
    fill, under = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    top, left = at
    for line in text.split("\n"):
        for number, piece in enumerate(line if style.column else [line]):
            strokes, whole = draw_text(piece, font, style.size, style.outline)
            y = top + (number * round(style.size * 1.12) if style.column else 0)
            for target, mask in ((fill, strokes), (under, whole if style.outline else strokes)):
                _paste(target, mask, y, left)
        top += round(style.size * 1.22)
    if style.shadow:
        under = np.minimum(1, 1.3 * np.asarray(cv2.GaussianBlur(under, (0, 0), 0.3 + style.size * style.shadow)))
        under = under.astype(np.float32) * np.float32(0.7)
    elif style.box:
        rows, columns = np.flatnonzero(fill.any(axis=1)), np.flatnonzero(fill.any(axis=0))
        under = np.zeros(shape, np.float32)
        if len(rows) and len(columns):
            edge = style.size // 4
            under[max(0, rows[0] - edge) : rows[-1] + edge + 1, max(0, columns[0] - edge) : columns[-1] + edge + 1] = (
                style.box
            )
    elif not style.outline:
        under = np.zeros(shape, np.float32)
    return fill, under


def _paste(target: Gray, mask: Gray, top: int, left: int) -> None:
    """Take the maximum of a mask and a picture at a place, clipped to the picture."""
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(target.shape[0], top + mask.shape[0]), min(target.shape[1], left + mask.shape[1])
    if y1 > y0 and x1 > x0:
        part = target[y0:y1, x0:x1]
        np.maximum(part, mask[y0 - top : y1 - top, x0 - left : x1 - left], out=part)


def _times(kind: str, rng: random.Random) -> list[NDArray[np.float32]]:
    """Return the opacity over the frames of each caption of a scene; the change is somewhere in the middle."""
    at = rng.randint(5, FRAMES - 5)
    frames = np.arange(FRAMES, dtype=np.float32)
    before, after = (frames < at).astype(np.float32), (frames >= at).astype(np.float32)
    if kind == "whole":
        return [np.ones(FRAMES, np.float32)]
    if kind in ("neighbors", "other"):
        return [before, after]
    if kind == "gap":
        return [before, (frames >= at + rng.randint(1, 5)).astype(np.float32)]
    if kind == "fade":
        fade = rng.randint(3, 10)
        rising = np.clip((frames - at) / fade + 0.5, 0, 1).astype(np.float32)
        return [rising if rng.random() < 0.5 else 1 - rising]
    return [before if rng.random() < 0.5 else after]


_KINDS = (("none", 14), ("whole", 38), ("neighbors", 12), ("other", 12), ("gap", 7), ("fade", 8), ("half", 9))


def _captions(style: _Style, shape: tuple[int, int], rng: random.Random) -> list[_Layer]:
    kind = rng.choices([kind for kind, _ in _KINDS], [weight for _, weight in _KINDS])[0]
    if kind == "none":
        return []
    text = made_up_text(rng)
    if rng.random() < 0.3:
        text += "\n" + made_up_text(rng)
    font = font_for(text, rng)
    at = (rng.randint(-style.size // 3, max(1, shape[0] - style.size)), rng.randint(-style.size * 3, shape[1] // 2))
    layers = []
    for opacity in _times(kind, rng):
        layers.append(_Layer(*_letter(text, style, font, at, shape), opacity))
        if kind == "neighbors":
            text = change_one(text, rng) if "\n" not in text else text[::-1]
        else:
            text = made_up_text(rng, cjk=any(ord(letter) > 0x2E80 for letter in text))
            font = font_for(text, rng) if font not in ("noto-sc", "noto-sc-bold", "zenhei", "microhei") else font
    return layers


def _motion(rng: random.Random) -> _Motion:
    frames = np.arange(FRAMES, dtype=np.float32)
    draw = np.random.default_rng(rng.getrandbits(32))
    path, scale = np.zeros((FRAMES, 2), np.float32), np.ones(FRAMES, np.float32)
    kind = rng.random()
    if kind > 0.24:
        speed = 10 ** rng.uniform(-0.9, 1.15)
        angle = rng.choice((0.0, np.pi, rng.uniform(0, 2 * np.pi)))
        path = frames[:, None] * np.array([np.cos(angle), np.sin(angle)], np.float32) * np.float32(speed)
    if kind > 0.82:
        path = path + np.cumsum(draw.normal(0, rng.uniform(0.3, 2), (FRAMES, 2)), axis=0).astype(np.float32)
    if 0.7 < kind < 0.82:
        scale = 1 + frames * np.float32(rng.uniform(-0.008, 0.008))
    path = np.clip(path - path[FRAMES // 2], -110, 110)
    return _Motion(
        path.astype(np.float32), scale.astype(np.float32), rng.randint(3, 16) if rng.random() < 0.14 else None
    )


def _shots(
    motion: _Motion, shape: tuple[int, int], letter_px: float, scene_text: bool, rng: random.Random
) -> list[Gray]:
    """Return the backdrop of each frame."""
    margin = int(np.abs(motion.path).max()) + 8
    size = (shape[0] + 2 * margin, shape[1] + 2 * margin)
    canvas = backdrop(*size, letter_px, rng, scene_text=scene_text)
    other = backdrop(*size, letter_px, rng, scene_text=scene_text) if motion.cut is not None else canvas
    shots = []
    for number, ((x, y), scale) in enumerate(zip(motion.path, motion.scale, strict=True)):
        picture = canvas if motion.cut is None or number < motion.cut else other
        middle_x, middle_y = size[1] / 2, size[0] / 2
        matrix = np.array(
            [
                [scale, 0, middle_x + x - scale * shape[1] / 2],
                [0, scale, middle_y + y - scale * shape[0] / 2],
            ],
            np.float32,
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        shots.append(
            np.asarray(
                cv2.warpAffine(picture, matrix, shape[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT), np.float32
            )
        )
    return shots


def _ticker(shape: tuple[int, int], size: int, rng: random.Random) -> tuple[Gray, int, float]:
    """Return a long line of moving text, its top, and its speed in native pixels per frame."""
    text = "  +++  ".join(made_up_text(rng, cjk=False) for _ in range(6))
    mask = draw_text(text, font_for(text, rng), round(size * rng.uniform(0.6, 1)), 0)[0]
    wanted = shape[1] + 400
    mask = np.tile(mask, (1, wanted // mask.shape[1] + 1))[: shape[0], :wanted]
    return mask, rng.randint(0, shape[0] - mask.shape[0]), rng.uniform(1.0, 8.0)


def _through_codec(frames: list[Gray], crf: int, preset: str) -> list[Planes]:
    """Encode luma with H.264 and decode it again."""
    import av
    from av.codec.context import CodecContext

    height, width = frames[0].shape
    encoder = CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"  # type: ignore[attr-defined]
    encoder.time_base = Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {"crf": str(crf), "preset": preset}
    decoder = CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoded: list[Planes] = []
    chroma = np.full((height // 2, width), 128, np.uint8)

    def take(packets: list[av.Packet | None]) -> None:
        for packet in packets:
            for frame in decoder.decode(packet):  # type: ignore[attr-defined]
                plane = frame.planes[0]
                rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
                decoded.append(rows[:height, :width].copy())

    for number, picture in enumerate(frames):
        luma = np.clip(16.5 + picture * np.float32(219 / 255), 0, 255).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(np.concatenate([luma, chroma]), format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        take(list(encoder.encode(frame)))  # type: ignore[attr-defined]
    take(list(encoder.encode(None)))  # type: ignore[attr-defined]
    take([None])
    return decoded


def make_scene(seed: int) -> list[Planes]:
    """Generate the windows of one scene.

    Returns:
        Windows, each uint8 ``(6, HEIGHT, WIDTH)``: mean, mean deviation times `MAD_SCALE`, lowest and highest luma
        over the window's frames, coverage by standing strokes and weight in the loss (0 or 255).
    """
    rng = random.Random(seed)
    enlarged = 2 ** rng.uniform(0, 1.15)
    shape = (2 * round(HEIGHT * enlarged / 2), 2 * round(WIDTH * enlarged / 2))
    size = round(rng.uniform(17, 33) * enlarged)
    motion = _motion(rng)
    moves = float(np.median(np.abs(np.diff(motion.path, axis=0)).max(axis=1))) >= 0.5
    scene_text = moves and rng.random() < 0.25
    shots = _shots(motion, shape, size, scene_text, rng)
    style = _style(size, float(shots[0].mean()), rng)
    layers = _captions(style, shape, rng)
    ticker = _ticker(shape, size, rng) if rng.random() < (0.35 if not layers else 0.04) else None
    grain = rng.choice((0.0, 1.0, 3.0, rng.uniform(3, 26)))
    frames = _compose(shots, layers, style, ticker, grain, rng)
    decoded = _through_codec(frames, rng.randint(16, 36), rng.choice(("ultrafast", "veryfast", "veryfast")))
    rois = [np.asarray(cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)) for frame in decoded]
    fills = [
        np.asarray(cv2.resize(layer.fill, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.float32)
        for layer in layers
    ]
    speed = ticker[2] / enlarged if ticker else np.inf
    if scene_text:
        speed = min(speed, float(np.median(np.linalg.norm(np.diff(motion.path, axis=0), axis=1))) / enlarged)
    windows = []
    for _ in range(WINDOWS_PER_SCENE):
        chosen = _choose(rng)
        if speed * (chosen[-1] - chosen[0]) >= _LEAST_TRAVEL:
            windows.append(_window(rois, fills, layers, chosen))
    return windows


def _choose(rng: random.Random) -> list[int]:
    """Choose the frames of a window: few or many, close together or far apart."""
    count = rng.choice((2, 3, 4, 5, 7, 9))
    step = rng.choice((1, 1, 2, 3)) if count <= 5 else rng.choice((1, 2))
    start = rng.randint(0, FRAMES - 1 - step * (count - 1))
    return [start + step * number for number in range(count)]


def _compose(
    shots: list[Gray],
    layers: list[_Layer],
    style: _Style,
    ticker: tuple[Gray, int, float] | None,
    grain: float,
    rng: random.Random,
) -> list[Gray]:
    """Draw a ticker, static shapes, and captions over the backdrops."""
    draw = np.random.default_rng(rng.getrandbits(32))
    height, width = shots[0].shape
    still = None
    if rng.random() < 0.1:
        top, left = rng.randint(-10, height // 2), rng.randint(-20, width // 2)
        still = (top, left, top + rng.randint(8, height), left + rng.randint(30, width), rng.uniform(0.3, 1))
    paint = rng.uniform(0, 255)
    frames = []
    for number, shot in enumerate(shots):
        frame = shot + draw.normal(0, grain, shot.shape).astype(np.float32) if grain else shot
        if still is not None:
            part = frame[max(0, still[0]) : still[2], max(0, still[1]) : still[3]]
            part += (np.float32(paint) - part) * np.float32(still[4])
        if ticker is not None:
            mask, top, speed = ticker
            band = frame[top : top + mask.shape[0]]
            band *= np.float32(0.2)
            start = int(number * speed)
            band += (255 - band) * mask[:, start : start + width]
        for layer in layers:
            opacity = layer.opacity[number]
            if opacity > 0:
                frame = frame + (np.float32(style.under_level) - frame) * layer.under * opacity
                level: float | NDArray[np.float32] = style.level
                if style.second_level is not None:
                    level = np.full(width, style.level, np.float32)
                    level[: int(width * number / len(shots))] = style.second_level
                frame = frame + (level - frame) * layer.fill * np.float32(opacity * style.alpha)
        frames.append(np.clip(frame, 0, 255).astype(np.float32))
    return frames


def _window(rois: list[Planes], fills: list[Gray], layers: list[_Layer], chosen: list[int]) -> Planes:
    frames = np.stack([rois[number] for number in chosen])
    mean = frames.mean(axis=0, dtype=np.float32)
    deviation = np.abs(frames - mean).mean(axis=0, dtype=np.float32)
    covered = np.zeros(mean.shape, np.float32)
    stood = np.zeros(mean.shape, np.float32)
    for fill, layer in zip(fills, layers, strict=True):
        covered = np.maximum(covered, fill)
        stood += fill * layer.opacity[chosen].mean()
    # What stood for nine tenths of the window counts in full, what stood for half of it not at all.
    share = np.clip((stood / np.maximum(covered, 1e-3) - 0.5) / 0.4, 0, 1)
    target = covered * share
    relief = np.abs(mean - np.asarray(cv2.blur(mean, (21, 21))))
    weight = (target < 0.2) | (relief >= _LEAST_RELIEF)
    return np.stack(
        [
            np.rint(mean),
            np.clip(np.rint(deviation * MAD_SCALE), 0, 255),
            frames.min(axis=0),
            frames.max(axis=0),
            np.rint(target * 255),
            weight * 255.0,
        ]
    ).astype(np.uint8)
