"""Text that is no caption: logos, watermarks, tickers, clocks, scoreboards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.captions.fonts import load_font

Image = NDArray[np.uint8]

_NEWS = (
    "Markets close higher after a quiet session  +++  Heavy rain expected in the north on Thursday  +++  "
    "City council votes on the new tram line  +++  Local team wins 3-1 away from home  +++  "
)


@dataclass(frozen=True, slots=True)
class _Stage:
    """The picture a distractor is drawn on: its size in pixels and frames per second."""

    width: int
    height: int
    rate: float

    @property
    def unit(self) -> int:
        return min(self.width, self.height)


def _stamp(
    text: str, font: str, size: int, color: tuple[int, int, int], box: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return lettered text, color ``(h, w, 3)`` and alpha ``(h, w)``; ``box`` is the opacity of a dark box, 0..255."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    face = load_font(font, size)
    left, top, right, bottom = face.getbbox(text)
    edge = size // 3
    layer = Pillow.new("RGBA", (int(right - left) + 2 * edge, int(bottom - top) + 2 * edge), (20, 24, 60, box))
    letters = Pillow.new("RGBA", layer.size)
    ImageDraw.Draw(letters).text((edge - left, edge - top), text, font=face, fill=(*color, 255))
    pixels = np.asarray(Pillow.alpha_composite(layer, letters), np.float32)
    return pixels[..., :3], pixels[..., 3] / np.float32(255)


def _blend(frame: Image, color: NDArray[np.float32], alpha: NDArray[np.float32], x: int, y: int) -> None:
    height, width = alpha.shape
    under = frame[y : y + height, x : x + width]
    alpha = alpha[: under.shape[0], : under.shape[1], None]
    color = color[: under.shape[0], : under.shape[1]]
    under[:] = np.rint(under + (color - under) * alpha).astype(np.uint8)


Draw = Callable[[Image, int], None]


def _logo(stage: _Stage) -> Draw:
    color, alpha = _stamp("KANAL 5", "dejavu-bold", round(stage.unit * 0.045), (255, 255, 255), 150)
    x, y = round(stage.width * 0.97) - alpha.shape[1], round(stage.height * 0.05)
    return lambda frame, _: _blend(frame, color, alpha * 0.85, x, y)


def _watermark(stage: _Stage) -> Draw:
    color, alpha = _stamp("@nightowl", "liberation-bold", round(stage.unit * 0.036), (255, 255, 255), 0)
    x, y = round(stage.width * 0.985) - alpha.shape[1], round(stage.height * 0.875)
    return lambda frame, _: _blend(frame, color, alpha * 0.6, x, y)


def _clock(stage: _Stage) -> Draw:
    size = round(stage.unit * 0.04)

    def draw(frame: Image, at: int) -> None:
        second = 45_270 + int(at / stage.rate)
        text = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        _blend(
            frame,
            *_stamp(text, "dejavu", size, (255, 255, 255), 110),
            round(stage.width * 0.03),
            round(stage.height * 0.04),
        )

    return draw


def _score(stage: _Stage) -> Draw:
    size = round(stage.unit * 0.038)

    def draw(frame: Image, at: int) -> None:
        goals = int(at / stage.rate / 9)
        text = f"RIVER {goals} - 1 LAKE"
        _blend(
            frame,
            *_stamp(text, "liberation-bold", size, (255, 240, 120), 200),
            round(stage.width * 0.05),
            round(stage.height * 0.05),
        )

    return draw


def _ticker(stage: _Stage) -> Draw:
    size = round(stage.unit * 0.042)
    color, alpha = _stamp(_NEWS * 2, "liberation-bold", size, (255, 255, 255), 215)
    half = alpha.shape[1] // 2
    speed = stage.unit * 0.14 / stage.rate
    y = stage.height - alpha.shape[0]

    def draw(frame: Image, at: int) -> None:
        offset = int(at * speed) % half
        columns = np.arange(offset, offset + stage.width) % alpha.shape[1]
        _blend(frame, color[:, columns], alpha[:, columns], 0, y)

    return draw


DISTRACTORS: dict[str, Callable[[_Stage], Draw]] = {
    "logo": _logo,
    "watermark": _watermark,
    "clock": _clock,
    "score": _score,
    "ticker": _ticker,
}


def make_distractors(words: tuple[str, ...], width: int, height: int, rate: float) -> list[Draw]:
    """Return the functions that draw a clip's distractors onto frame n; the background draws ``signs``."""
    stage = _Stage(width, height, rate)
    return [DISTRACTORS[word](stage) for word in words if word != "signs"]
