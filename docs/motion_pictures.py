"""Draw the pictures of docs/moving-captions.md: small clips of each kind, and what the program finds in them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from captionacc_dagster.captioning.captions import Caption, Word

Plane = NDArray[np.uint8]

_WIDTH, _HEIGHT, _RATE, _FRAMES = 640, 360, 24, 132
_SIZE = 28
_FRAME_WIDTH = 232  # of a frame in a picture
_MARGIN = 12
_BAR = 26  # height of a row of the time line
_INK, _LIT, _BARS, _PAPER, _FAINT = (40, 40, 45), (225, 120, 20), (46, 160, 90), (250, 250, 248), (205, 205, 200)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A text on some frames: its center or its left side in the picture, its color, and its size."""

    text: str
    first: int
    end: int
    place: tuple[float, float]
    color: str = "white"
    box: str | None = None
    size: float = 1.0
    anchor: str = "lm"
    opacity: float = 1.0


def _word_by_word() -> list[Drawn]:
    words = ("Every", "morning", "the", "boats", "come", "back")
    return [Drawn(word, 12 + 16 * n, 28 + 16 * n, (320, 300), anchor="mm") for n, word in enumerate(words)]


def _highlight() -> list[Drawn]:
    drawn = []
    for line, start in ((("Nobody", "knows", "for", "sure"), 8), (("Everybody", "counts", "the", "fish"), 72)):
        for number, (word, x) in enumerate(_laid_out(line)):
            lit = range(start + 14 * number, start + 14 * number + 14)
            end = start + 14 * len(line)
            drawn.append(Drawn(word, lit.start, lit.stop, (x, 300), "#e04818"))
            drawn += [Drawn(word, a, b, (x, 300)) for a, b in ((start, lit.start), (lit.stop, end)) if a < b]
    return drawn


def _context() -> list[Drawn]:
    song = ("Down to the river", "We walked all night", "And sang of home")
    drawn = []
    for number, line in enumerate(song):
        start, end = 8 + 40 * number, 48 + 40 * number
        words = _laid_out(line.split())
        for at, (word, x) in enumerate(words):
            lit = start + 10 * at, start + 10 * at + 10
            drawn.append(Drawn(word, *lit, (x, 270), "#ff6020"))
            drawn += [Drawn(word, a, b, (x, 270)) for a, b in ((start, lit[0]), (lit[1], end)) if a < b]
        for other, y in ((number - 1, 232), (number + 1, 308)):
            if 0 <= other < len(song):
                drawn.append(Drawn(song[other], start, end, (320, y), anchor="mm", opacity=0.4))
    return drawn


def _build() -> list[Drawn]:
    drawn = []
    for line, start in ((("The", "boats", "go", "out"), 8), (("every", "single", "morning"), 76)):
        end = start + 60 if start < 50 else 128
        drawn += [Drawn(word, start + 12 * n, end, (x, 300)) for n, (word, x) in enumerate(_laid_out(line))]
    return drawn


def _rollup() -> list[Drawn]:
    lines = (
        "Good evening from the harbour.",
        "The boats are late tonight.",
        "Nobody knows where.",
        "More at ten.",
    )
    moments = [8 + 30 * number for number in range(len(lines))]
    drawn = []
    for line, start in zip(lines, moments, strict=True):
        drawn.append(Drawn(line, start, start + 30, (60, 318)))
        drawn.append(Drawn(line, start + 30, min(start + 60, 128), (60, 282)))
    return [line for line in drawn if line.first < line.end]


KINDS: Mapping[str, tuple[Callable[[], list[Drawn]], tuple[int, int, int]]] = {
    "words": (_word_by_word, (20, 52, 100)),
    "highlight": (_highlight, (15, 43, 120)),
    "context": (_context, (14, 64, 110)),
    "build": (_build, (12, 28, 60)),
    "rollup": (_rollup, (30, 60, 120)),
}


def draw_motion_pictures(folder: Path) -> None:
    """Draw ``motion-KIND.png`` for each kind of captions whose words move."""
    for kind, (draw, shown) in KINDS.items():
        frames = list(_frames(draw()))
        with tempfile.TemporaryDirectory() as work:
            captions = _found(_encoded(Path(work) / f"{kind}.mp4", frames))
        picture = _picture([frames[number] for number in shown], shown, captions)
        picture.quantize(128, Image.Quantize.MAXCOVERAGE).save(folder / f"motion-{kind}.png", optimize=True)


def _laid_out(words: Sequence[str]) -> list[tuple[str, float]]:
    """Return the words of a centered line with their left sides."""
    font = ImageFont.load_default(_SIZE)
    space = font.getlength(" ") + 4
    x = (_WIDTH - sum(map(font.getlength, words)) - space * (len(words) - 1)) / 2
    places = []
    for word in words:
        places.append((word, x))
        x += font.getlength(word) + space
    return places


def _frames(drawn: Sequence[Drawn]) -> Iterator[Plane]:
    """Yield the frames of a clip: texts over slowly moving waves."""
    y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    for number in range(_FRAMES):
        waves = np.sin(x / 61 + number / 19) + np.sin(y / 37 - number / 23) + np.sin((x + y) / 97 + number / 31)
        scene = np.stack([60 + 12 * waves, 92 + 16 * waves, 118 + 20 * waves], axis=2)
        image = Image.fromarray(scene.astype(np.uint8))
        for text in drawn:
            if text.first <= number < text.end:
                image = _lettered(image, text)
        yield np.asarray(image)


def _lettered(image: Image.Image, text: Drawn) -> Image.Image:
    lettered = image.copy()
    draw, font = ImageDraw.Draw(lettered), ImageFont.load_default(_SIZE * text.size)
    if text.box is not None:
        left, top, right, bottom = draw.textbbox(text.place, text.text, font, text.anchor)
        draw.rounded_rectangle((left - 5, top - 6, right + 5, bottom + 6), 6, text.box)
    draw.text(text.place, text.text, text.color, font, text.anchor, stroke_width=2, stroke_fill="black")
    return Image.blend(image, lettered, text.opacity)


def _encoded(path: Path, frames: Sequence[Plane]) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def _found(path: Path) -> list[Caption]:
    from captionacc_dagster.captioning.extents.find import find_captions
    from captionacc_dagster.captioning.layout.find import find_layout, read_full_frames
    from captionacc_dagster.captioning.ocr.engines import create_engine
    from captionacc_dagster.captioning.video.reader import probe

    facts, engine = probe(path), create_engine()
    layout = find_layout(facts, engine, [ocr for _, ocr in read_full_frames(facts, engine)])
    return list(find_captions(facts, layout, engine).captions)


def _picture(frames: Sequence[Plane], numbers: Sequence[int], captions: Sequence[Caption]) -> Image.Image:
    """Draw some frames, and below them each caption with its words along the time line."""
    high = round(_FRAME_WIDTH * _HEIGHT / _WIDTH)
    rows = _rows(captions)
    count = max(rows.values(), default=0) + 1
    size = len(frames) * (_FRAME_WIDTH + _MARGIN) + _MARGIN, high + 3 * _MARGIN + (count + 1) * _BAR + 24
    sheet = Image.new("RGB", size, _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    top = high + 2 * _MARGIN + 20
    scale = (size[0] - 2 * _MARGIN) * _RATE / _FRAMES

    def at(seconds: float) -> float:
        return _MARGIN + seconds * scale

    for column, (frame, number) in enumerate(zip(frames, numbers, strict=True)):
        left = _MARGIN + column * (_FRAME_WIDTH + _MARGIN)
        sheet.paste(Image.fromarray(frame).resize((_FRAME_WIDTH, high), Image.Resampling.LANCZOS), (left, _MARGIN))
        draw.text((left, high + _MARGIN + 3), f"{number / _RATE:.2f} s", _INK, font)
        draw.line((at(number / _RATE), top, at(number / _RATE), top + count * _BAR), _FAINT, 1)
    for number, caption in enumerate(captions):
        y = top + rows[number] * _BAR
        draw.rounded_rectangle((at(caption.start_s), y, at(caption.end_s) - 2, y + _BAR - 5), 3, _color(caption))
        for word in caption.words or ():
            _draw_word(draw, word, at, y, font)
        if not caption.words:
            draw.text((at(caption.start_s) + 5, y + 2), caption.text.replace("\n", " "), _PAPER, font)
    axis = top + count * _BAR + 4
    draw.line((at(0), axis, at(_FRAMES / _RATE), axis), _INK, 1)
    for second in range(int(_FRAMES / _RATE) + 1):
        draw.line((at(second), axis, at(second), axis + 5), _INK, 1)
        draw.text((at(second), axis + 6), f"{second} s", _INK, font, "ma" if second else "la")
    return sheet


def _color(caption: Caption) -> tuple[int, int, int]:
    return _BARS if caption.kind == "caption" else (150, 150, 150)


def _draw_word(
    draw: ImageDraw.ImageDraw,
    word: Word,
    at: Callable[[float], float],
    y: float,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Draw a word where it appears, or where it is highlighted."""
    x = at(word.onset_s)
    if word.highlight_start_s is not None and word.highlight_end_s is not None:
        draw.rectangle((x, y, at(word.highlight_end_s) - 3, y + _BAR - 5), _LIT)
    draw.line((x, y, x, y + _BAR - 6), _PAPER, 1)
    draw.text((x + 4, y + 2), word.text, _PAPER, font)


def _rows(captions: Sequence[Caption]) -> dict[int, int]:
    """Return the row of each caption on the time line: the first one that is free."""
    ends: list[float] = []
    rows = {}
    for number, caption in enumerate(captions):
        row = next((row for row, end in enumerate(ends) if end <= caption.start_s + 1e-6), len(ends))
        ends[row : row + 1] = [caption.end_s]
        rows[number] = row
    return rows
