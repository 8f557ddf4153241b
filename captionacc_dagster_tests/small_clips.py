"""Small videos for tests of everything around the engine: a few seconds, a caption or two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, RATE = 480, 270, 25
CAPTIONS = ((10, 40, "Good evening."), (50, 90, "This is the news."))


def make_clip(
    path: Path,
    captions: Sequence[tuple[int, int, str]] = CAPTIONS,
    *,
    frames: int = 100,
    seed: int = 1,
    audio_only: bool = False,
    sound: bool = False,
    codec: str = "libx264",
    sound_codec: str = "aac",
    scale: int = 1,
) -> Path:
    """Write a clip: captions ``(first frame, frame after the last, text)`` over a moving texture.

    With ``sound``, a tone is heard in every other second, beginning with silence. ``scale`` enlarges the picture: 8 is
    4K.
    """
    with av.open(str(path), "w") as container:
        if audio_only:
            stream = container.add_stream("aac", rate=44100)
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
            tone.sample_rate = 44100
            container.mux(stream.encode(tone))
        else:
            options = {"preset": "ultrafast", "crf": "20"} if codec == "libx264" else {"q": "4"}
            stream: Any = container.add_stream(codec, rate=RATE, options=options)
            stream.width, stream.height, stream.pix_fmt = WIDTH * scale, HEIGHT * scale, "yuv420p"
            if sound:
                _add_tone(container, frames / RATE, sound_codec)
            for picture in _pictures(captions, frames, seed, scale):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def _add_tone(container: OutputContainer, seconds: float, codec: str) -> None:
    rate, block = 44_100, {"ac3": 1536}.get(codec, 1024)
    stream: Any = container.add_stream(codec, rate=rate, layout="mono")
    times = np.arange(int(seconds * rate) // block * block) / rate
    wave = (0.5 * np.sin(2 * np.pi * 440 * times) * (times.astype(int) % 2)).astype(np.float32)
    for place in range(0, len(wave), block):
        part = av.AudioFrame.from_ndarray(wave[None, place : place + block], format="fltp", layout="mono")
        part.sample_rate, part.pts = rate, place
        container.mux(stream.encode(part))
    container.mux(stream.encode())


def _pictures(captions: Sequence[tuple[int, int, str]], frames: int, seed: int, scale: int):
    width, height = WIDTH * scale, HEIGHT * scale
    texture = np.random.default_rng(seed).integers(40, 120, (34, 80, 3), np.uint8)
    scenery = np.asarray(Image.fromarray(texture).resize((width * 2, height), Image.Resampling.BICUBIC))
    font = ImageFont.load_default(size=22 * scale)
    for number in range(frames):
        image = Image.fromarray(scenery[:, number * 3 * scale % width :][:, :width])
        for start, end, text in captions:
            if start <= number < end:
                ImageDraw.Draw(image).text(
                    (width // 2, height - 34 * scale),
                    text,
                    font=font,
                    anchor="mm",
                    stroke_width=2 * scale,
                    stroke_fill="black",
                )
        yield np.asarray(image)
