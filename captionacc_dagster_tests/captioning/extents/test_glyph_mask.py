"""The learned glyph mask sees the strokes of captions that do not move, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from captionacc_dagster.captioning.extents.glyph_mask import channels, statistics, stroke_map

pytestmark = pytest.mark.unit

LINE_PX = 28
SIZE = (72, 360)
Plane = NDArray[np.uint8]


def letters(text: str, left: int = 40, top: int = 20) -> NDArray[np.float32]:
    """Coverage of a strip by the strokes of a text, float32 0..1."""
    layer = Image.new("L", (SIZE[1], SIZE[0]))
    ImageDraw.Draw(layer).text((left, top), text, font=ImageFont.load_default(26), fill=255)
    return np.asarray(layer, np.float32) / np.float32(255)


def texture(seed: int, width: int = 600) -> NDArray[np.float32]:
    """Leaves of all sizes, dark to bright, float32."""
    draw = np.random.default_rng(seed)
    canvas = Image.new("L", (width, SIZE[0]), 90)
    pen = ImageDraw.Draw(canvas)
    for _ in range(220):
        x, y, size = draw.uniform(0, width), draw.uniform(0, SIZE[0]), draw.uniform(4, 40)
        pen.ellipse((x, y, x + size, y + size * draw.uniform(0.3, 1)), fill=int(draw.uniform(20, 190)))
    return np.asarray(canvas, np.float32)


def moving(speed: float, strokes: NDArray[np.float32] | None = None, seed: int = 1, count: int = 7) -> list[Plane]:
    """Frames of a texture that moves, with white strokes that do not."""
    canvas = texture(seed)
    frames = []
    for number in range(count):
        shift = round(number * speed)
        frame = canvas[:, shift : shift + SIZE[1]].copy()
        if strokes is not None:
            frame += (235 - frame) * strokes
        frames.append(frame.astype(np.uint8))
    return frames


def score(found: NDArray[np.float32], strokes: NDArray[np.float32]) -> tuple[float, float]:
    """Precision and recall of the pixels, a pixel beside a stroke being neither right nor wrong."""
    guess, truth = found > 0.5, strokes > 0.5
    judged = guess & (truth | (strokes < 0.02))
    return float((guess & truth).sum() / max(1, judged.sum())), float(guess[truth].mean())


@pytest.mark.parametrize(
    ("text", "speed"),
    [
        ("Where did you go?", 0.0),
        ("Where did you go?", 1.0),
        ("Where did you go?", 6.0),
        ("Él llegó ayer", 0.0),
        ("Él llegó ayer", 6.0),
        ("?!", 1.0),
        ("…", 6.0),
    ],
)
def test_finds_the_strokes_of_a_caption(text: str, speed: float) -> None:
    strokes = letters(text)
    precision, recall = score(stroke_map(moving(speed, strokes), LINE_PX), strokes)
    assert recall > 0.7
    assert precision > 0.6


@pytest.mark.parametrize("speed", [0.0, 1.0, 6.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_finds_nothing_in_a_texture(speed: float, seed: int) -> None:
    assert (stroke_map(moving(speed, seed=seed), LINE_PX) > 0.5).mean() < 0.004


def test_finds_nothing_in_a_ticker() -> None:
    frames = []
    for number, frame in enumerate(moving(1.0)):
        band = letters("News at nine: rain in the north", left=60 - 5 * number)
        frames.append((frame * 0.3 + (235 - frame * 0.3) * band).astype(np.uint8))
    assert (stroke_map(frames, LINE_PX) > 0.5).mean() < 0.004


def test_leaves_out_what_stood_for_less_than_half() -> None:
    first, second = letters("Here"), letters("There", left=200)
    frames = [*moving(2.0, first, count=5), *moving(2.0, second, count=2)]
    found = stroke_map(frames, LINE_PX)
    assert found[second > 0.5].mean() < 0.2
    assert found[first > 0.5].mean() > 0.35 + found[second > 0.5].mean()


def test_looks_at_larger_text_at_the_size_it_knows() -> None:
    strokes = letters("Where did you go?")
    frames = [np.repeat(np.repeat(frame, 2, axis=0), 2, axis=1) for frame in moving(4.0, strokes)]
    found = stroke_map(frames, 2 * LINE_PX)
    assert found.shape == frames[0].shape
    assert found[::2, ::2][strokes > 0.5].mean() > 0.6


def test_takes_rois_of_any_size() -> None:
    frames = [frame[:71, :357] for frame in moving(3.0, letters("Where did you go?"))]
    found = stroke_map(frames, LINE_PX)
    assert found.shape == (71, 357)
    assert found.dtype == np.float32
    assert 0.0 <= float(found.min()) <= float(found.max()) <= 1.0


@pytest.mark.parametrize("shape", [(65, 511), (36, 600), (3, 7), (1, 5), (5, 1)])
def test_what_the_network_sees_is_written_at_every_size(shape: tuple[int, int]):
    draw = np.random.default_rng(2)
    mean, deviation, low, high = statistics([draw.integers(0, 256, shape).astype(np.uint8) for _ in range(4)])
    seen = channels(mean, deviation, low, high)
    assert seen.shape == (5, -(-shape[0] // 4) * 4, -(-shape[1] // 4) * 4)
    wanted = [(mean - 128) / 64, np.clip(deviation / 12, 0, 4), np.clip((high - mean) / 24, 0, 4)]
    inner = seen[:, : shape[0], : shape[1]]
    np.testing.assert_allclose(inner[[0, 2, 3]], wanted, atol=1e-5)
    np.testing.assert_allclose(inner[4], np.clip((mean - low) / 24, 0, 4), atol=1e-5)
    assert np.abs(inner[1]).max() <= 4
    assert np.array_equal(seen[:, -1, -1], inner[:, -1, -1])
