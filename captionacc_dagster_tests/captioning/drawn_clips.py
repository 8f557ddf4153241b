"""Small clips for tests, drawn with Pillow's own font over moving backgrounds and encoded with PyAV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from captionacc_dagster.captioning.layout.model import Track

if TYPE_CHECKING:
    from av.video.stream import VideoStream

Picture = NDArray[np.uint8]
LOSSLESS = {"qp": "0", "preset": "ultrafast"}


def write_clip(
    path: Path,
    pictures: Iterable[Picture],
    rate: Fraction | int = 12,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    pts: Sequence[int] | None = None,
    rotation: int = 0,
    gop: int = 24,
    full_range: bool = False,
) -> Path:
    """Encode RGB pictures. ``pts`` are in units of 1/1000 s; ``rotation`` is the clockwise turn for display."""
    import av

    with av.open(str(path), "w", options=container or {}) as output:
        stream = None
        for number, picture in enumerate(pictures):
            if stream is None:
                settings = {"preset": "superfast", "crf": "23"} if options is None else options
                stream = cast("VideoStream", output.add_stream(codec, rate=rate, options=settings))
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pixel_format
                stream.codec_context.gop_size = gop
                if pts:
                    stream.codec_context.time_base = Fraction(1, 1000)
                if rotation:
                    stream.set_display_rotation(-rotation)
                if full_range:
                    stream.codec_context.color_range = 2
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format=pixel_format, dst_color_range=2 if full_range else 1
            )
            frame.time_base = Fraction(1, 1000) if pts else 1 / Fraction(rate)
            frame.pts = pts[number] if pts else number
            output.mux(stream.encode(frame))
        if stream is not None:
            output.mux(stream.encode())
    return path


def flat(level: int, width: int = 64, height: int = 48) -> Picture:
    """Return a gray picture."""
    return np.full((height, width, 3), level, np.uint8)


@cache
def texture(width: int, height: int, seed: int = 0) -> Picture:
    """Return a busy picture without text: blobs of color at several scales."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((4, 0.5), (16, 0.3), (64, 0.2)):
        coarse = rng.integers(20, 235, (max(2, cells * height // width), cells, 3), np.uint8)
        total += weight * np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return total.astype(np.uint8)


def moving(width: int = 640, height: int = 360, speed: float = 5.0, seed: int = 0) -> Callable[[int], Picture]:
    """Return a background that pans over a texture by ``speed`` pixels a frame."""
    wide = texture(2 * width, 2 * height, seed)

    def picture(at: int) -> Picture:
        x, y = int(at * speed) % width, int(at * speed * 0.4) % height
        return wide[y : y + height, x : x + width].copy()

    return picture


def write_text(
    picture: Picture,
    text: str,
    at: tuple[float, float],
    size: int = 26,
    *,
    anchor: str = "mm",
    fill: str = "white",
    outline: int = 2,
) -> tuple[float, float, float, float]:
    """Letter text into a picture in place; return the relative box of its strokes ``(left, top, right, bottom)``."""
    height, width = picture.shape[:2]
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    place = (at[0] * width, at[1] * height)
    draw.multiline_text(place, text, fill, font, anchor, align="center", stroke_width=outline, stroke_fill="black")
    box = draw.multiline_textbbox(place, text, font, anchor, align="center", stroke_width=outline)
    picture[:] = np.asarray(image)
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def tight_height(track: Track) -> float:
    """Return how high the region is without the room for a second line."""
    if track.room is None:
        return track.region.height
    seen = (min(low for low, _ in track.lines), max(high for _, high in track.lines))
    return track.region.height - (max(seen[0] - track.room[0], 0.0) + max(track.room[1] - seen[1], 0.0))
