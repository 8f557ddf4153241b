"""The picture under the text: photographs in motion, code in an editor, slides and charts, plain colors."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.captions.backgrounds import Shot, cover
from benchmarks.captions.wide.looks import Color, font
from benchmarks.captions.wide.photographs import picture
from benchmarks.captions.wide.sentences import BULLETS, CHARTS, CODE, SIGNS, TITLES
from benchmarks.captions.wide.timed import TextTruth

Image = NDArray[np.uint8]

SCENES = ("pan", "still", "cuts", "fades", "handheld", "zoom", "dim", "bright", "editor", "typing", "slides", "plain")


class Scene(Protocol):
    """A picture for every frame, and the text that is part of it."""

    truths: list[TextTruth]

    def frame(self, at: int) -> Image:
        """Return frame ``at`` as RGB ``(h, w, 3)`` uint8, free to be drawn on."""
        ...


def make_scene(
    name: str,
    size: tuple[int, int],
    rate: float,
    length: int,
    photographs: Sequence[str],
    fonts: Sequence[str],
    mono: Sequence[str],
    signs: bool,
    rng: random.Random,
) -> Scene:
    """Make one of `SCENES`.

    Args:
        name: of the scene.
        size: ``(width, height)``, pixels.
        rate: frames per second.
        length: frames.
        photographs: names for `photographs.picture`.
        fonts, mono: font files; fixed-width ones for code.
        signs: paint signs into photographs.
        rng: of everything random.
    """
    if name in ("editor", "typing"):
        return EditorScene(size, rate, length, mono, name == "typing", rng)
    if name == "slides":
        return SlideScene(size, rate, length, photographs, fonts, rng)
    if name == "plain":
        return PlainScene(size, rng)
    return PhotographScene(name, size, rate, length, photographs, fonts, signs, rng)


class PhotographScene:
    """Shots over crops of photographs: moving, cut, faded, graded, with film grain."""

    def __init__(
        self,
        name: str,
        size: tuple[int, int],
        rate: float,
        length: int,
        photographs: Sequence[str],
        fonts: Sequence[str],
        signs: bool,
        rng: random.Random,
    ) -> None:
        self.truths: list[TextTruth] = []
        self._size = size
        self._photographs = photographs
        self._signs = rng.sample(SIGNS, 2) if signs else []
        self._sign_font = rng.choice(list(fonts))
        self._pixels_per_frame = min(size) * 0.09 / rate
        self._motion = {"still": 0.0, "cuts": 1.4, "handheld": 0.5}.get(name, rng.uniform(0.2, 1.5))
        self._shake = 5.0 * min(size) / 720 if name == "handheld" else 0.0
        self._zoom = 0.05 if name == "zoom" else 0.0
        self._crossfade = round(rng.uniform(0.3, 1.0) * rate) if name == "fades" else 0
        gains = {"dim": (0.45, 4.0), "bright": (0.55, 112.0)}
        self._gain, self._bias = gains.get(name, (rng.uniform(0.75, 1.1), rng.uniform(-10, 25)))
        shot_s = {"still": (90.0, 99.0), "cuts": (0.8, 2.2)}.get(name, (2.5, 8.0))
        starts, at = [0], 0
        while (at := at + max(2, round(rng.uniform(*shot_s) * rate))) < length:
            starts.append(at)
        self._starts = starts
        self._seeds = [rng.random() for _ in starts]
        self._shots: dict[int, Shot] = {}
        self._sign_boxes: dict[str, tuple[float, float, float, float]] = {}  # in the canvas of the newest shot
        grain = np.random.default_rng(rng.getrandbits(32))
        strength = rng.choice((0.0, 1.5, 3.0, 6.0))
        height, width = size[1], size[0]
        self._grain = [
            np.clip(128 + grain.normal(0, strength, (height, width, 1)), 0, 255).astype(np.uint8).repeat(3, 2)
            for _ in range(3 if strength else 0)
        ]
        for number in range(len(starts) if self._signs else 0):
            end = starts[number + 1] if number + 1 < len(starts) else length
            self.truths += self._signs_of(number, end)

    def _signs_of(self, number: int, end: int) -> list[TextTruth]:
        """Return where the signs of a shot pass through the picture."""
        shot, (width, height) = self._shot(number), self._size
        found = []
        for text, (left, top, right, bottom) in self._sign_boxes.items():
            corners = []
            for at in np.linspace(shot.start, max(shot.start, end - 1), 7).astype(int):
                x, y, scale = shot.window(int(at), width, height)
                corners += [((u - x - width / 2) * scale + width / 2, (v - y - height / 2) * scale + height / 2)
                            for u, v in ((left, top), (right, bottom))]  # fmt: skip
            across, down = zip(*corners, strict=True)
            box = (
                max(0.0, min(across)),
                max(0.0, min(down)),
                min(float(width), max(across)),
                min(float(height), max(down)),
            )
            if box[0] < box[2] and box[1] < box[3]:
                found.append(TextTruth("scene", text, shot.start, end, box, moves=bool(self._motion or self._shake)))
        return found

    def _shot(self, number: int) -> Shot:
        if number not in self._shots:
            rng = random.Random(self._seeds[number])
            width, height = self._size
            source = picture(rng.choice(list(self._photographs)))
            part = rng.uniform(0.45, 1.0)
            tall, wide = round(source.shape[0] * part), round(source.shape[1] * part)
            y, x = rng.randint(0, source.shape[0] - tall), rng.randint(0, source.shape[1] - wide)
            canvas = cover(source[y : y + tall, x : x + wide], round(width * 1.25), round(height * 1.25))
            if rng.random() < 0.5:
                canvas = np.ascontiguousarray(canvas[:, ::-1])
            if self._signs:
                canvas, self._sign_boxes = _with_signs(canvas, self._signs, self._sign_font, min(self._size), rng)
            graded = np.clip(canvas.astype(np.float32) * self._gain + self._bias, 0, 255).astype(np.uint8)
            speed = self._motion * self._pixels_per_frame
            velocity = (speed * rng.uniform(0.4, 1) * rng.choice((-1, 1)), speed * rng.uniform(-0.5, 0.5))
            steps = np.random.default_rng(rng.getrandbits(32)).normal(0, self._shake, (97, 2))
            smooth = np.stack([np.convolve(np.tile(axis, 3), np.ones(7) / 7, "same")[97:194] for axis in steps.T], 1)
            zoom = self._zoom * rng.choice((0.6, 1.0)) * self._pixels_per_frame / 10
            shot = Shot(graded, self._starts[number], velocity, zoom, smooth)
            self._shots = {at: kept for at, kept in self._shots.items() if at >= number - 1} | {number: shot}
        return self._shots[number]

    def frame(self, at: int) -> Image:
        import cv2

        number = max(index for index, start in enumerate(self._starts) if start <= at)
        shown = self._shot(number).frame(at, *self._size)
        into = at - self._starts[number]
        if self._crossfade and number > 0 and into < self._crossfade:
            before = self._shot(number - 1).frame(at, *self._size)
            weight = (into + 1) / (self._crossfade + 1)
            shown = np.asarray(cv2.addWeighted(shown, weight, before, 1 - weight, 0), np.uint8)
        if self._grain:
            shown = np.asarray(cv2.addWeighted(shown, 1.0, self._grain[at % 3], 1.0, -128.0), np.uint8)
        return shown


def _with_signs(
    canvas: Image, words: Sequence[str], file: str, unit: int, rng: random.Random
) -> tuple[Image, dict[str, tuple[float, float, float, float]]]:
    """Paint signs into a photograph, so that they move with it; return it and the boxes of the words."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    painted = Pillow.fromarray(canvas)
    draw = ImageDraw.Draw(painted)
    boxes = {}
    for word in words:
        face = font(file, round(unit * rng.uniform(0.04, 0.09)))
        x, y = rng.uniform(0.15, 0.7) * canvas.shape[1], rng.uniform(0.15, 0.7) * canvas.shape[0]
        box = boxes[word] = draw.textbbox((x, y), word, font=face)
        edge = face.size // 3
        paint = tuple(rng.randint(20, 160) for _ in range(3))
        draw.rectangle((box[0] - edge, box[1] - edge, box[2] + edge, box[3] + edge), fill=paint)
        draw.text((x, y), word, font=face, fill="white")
    return np.asarray(painted), boxes


class PlainScene:
    """One color, or a gradient between two, that does not change."""

    def __init__(self, size: tuple[int, int], rng: random.Random) -> None:
        self.truths: list[TextTruth] = []
        first, second = (np.array([rng.randint(0, 255) for _ in range(3)], np.float32) for _ in range(2))
        if rng.random() < 0.4:
            second = first
        slope = np.linspace(0, 1, size[1], dtype=np.float32)[:, None, None]
        column = first + (second - first) * slope
        self._picture = np.repeat(column, size[0], axis=1).astype(np.uint8)

    def frame(self, at: int) -> Image:
        del at
        return self._picture.copy()


_THEMES: tuple[tuple[Color, Color, tuple[Color, ...]], ...] = (
    (
        (30, 30, 30),
        (110, 110, 118),
        ((212, 212, 212), (86, 156, 214), (206, 145, 120), (106, 153, 85), (220, 220, 170)),
    ),
    (
        (40, 42, 54),
        (98, 114, 164),
        ((248, 248, 242), (255, 121, 198), (241, 250, 140), (80, 250, 123), (139, 233, 253)),
    ),
    ((253, 253, 253), (150, 150, 150), ((36, 41, 46), (0, 92, 197), (3, 47, 98), (106, 115, 125), (111, 66, 193))),
)


class EditorScene:
    """Code in an editor: it scrolls, jumps, or is being typed.

    The truth has one text for the panel, for what is seen of it moves.
    """

    def __init__(
        self, size: tuple[int, int], rate: float, length: int, fonts: Sequence[str], typing: bool, rng: random.Random
    ) -> None:
        from PIL import Image as Pillow
        from PIL import ImageDraw

        width, height = size
        self._size = size
        self._rate = rate
        self._typing = typing
        ground, faint, colors = rng.choice(_THEMES)
        self._ground = ground
        self._face = font(rng.choice(list(fonts)), max(9, round(min(size) * rng.uniform(0.026, 0.045))))
        self._step = round(self._face.size * 1.5)
        first = rng.randint(0, len(CODE) - 1)
        self._lines = [CODE[(first + number) % len(CODE)] for number in range(3 * len(CODE))]
        self._left = round(3.2 * self._face.size)
        self._top = round(1.8 * self._face.size)
        tall = self._step * len(self._lines) + height
        canvas = Pillow.new("RGB", (width, tall), ground)
        draw = ImageDraw.Draw(canvas)
        for number, line in enumerate(self._lines):
            y = number * self._step
            draw.text((round(0.6 * self._face.size), y), f"{number + 1:3d}", font=self._face, fill=faint)
            x = float(self._left)
            indent = len(line) - len(line.lstrip())
            x += self._face.getlength(" " * indent)
            for word in line.split():
                draw.text((x, y), word, font=self._face, fill=rng.choice(colors))
                x += self._face.getlength(word + " ")
        self._canvas = np.asarray(canvas)
        bar = Pillow.new("RGB", (width, self._top), tuple(max(0, level - 14) for level in ground))
        name = rng.choice(("main.py", "app.tsx  index.css", "lib.rs", "query.sql  schema.sql"))
        ImageDraw.Draw(bar).text((self._left, round(0.2 * self._face.size)), name, font=self._face, fill=colors[0])
        self._bar = np.asarray(bar)
        self._speed = rng.uniform(0.5, 3.0) * self._step / rate  # pixels a frame, while it scrolls
        self._pauses = [(rng.uniform(0.4, 2.5) * rate, rng.uniform(0.5, 2.0) * rate) for _ in range(40)]
        self._letters_a_frame = rng.uniform(6, 18) / rate
        self._visible = max(3, round(0.5 * height / self._step))
        text = "\n".join(line.strip() for line in CODE if line)  # all of it may scroll into view
        self.truths = [
            TextTruth("interface", name, 0, length, (0.0, 0.0, float(width), float(self._top))),
            TextTruth("interface", text, 0, length, (0.0, float(self._top), float(width), float(height)), moves=True),
        ]

    def frame(self, at: int) -> Image:
        frame = np.empty((self._size[1], self._size[0], 3), np.uint8)
        body = self._size[1] - self._top
        offset = self._typed_offset(at) if self._typing else self._scrolled(at)
        offset = min(offset, self._canvas.shape[0] - body)
        frame[: self._top] = self._bar
        frame[self._top :] = self._canvas[offset : offset + body]
        if self._typing:
            self._hide_untyped(frame, at, offset)
        return frame

    def _scrolled(self, at: int) -> int:
        """Return the pixels that are scrolled away: the editor rests, scrolls, and rests again."""
        moved, time = 0.0, 0.0
        for rest, motion in self._pauses:
            time += rest
            if at <= time:
                break
            moved += min(at - time, motion) * self._speed
            time += motion
        return round(moved)

    def _typed(self, at: int) -> tuple[int, int]:
        """Return the line that is being typed and how many of its letters are there."""
        letters = self._visible * 12 + at * self._letters_a_frame
        for number, line in enumerate(self._lines):
            if letters < len(line) + 1:
                return number, int(letters)
            letters -= len(line) + 1
        return len(self._lines) - 1, 0

    def _typed_offset(self, at: int) -> int:
        return max(0, self._typed(at)[0] - self._visible) * self._step

    def _hide_untyped(self, frame: Image, at: int, offset: int) -> None:
        line, letters = self._typed(at)
        y = self._top + line * self._step - offset
        x = self._left + round(self._face.getlength(self._lines[line][:letters]))
        frame[max(0, y) : y + self._step, x:] = self._ground
        frame[max(0, y + self._step) :] = self._ground
        if int(at / self._rate * 2) % 2 == 0:
            frame[max(0, y) : y + self._face.size, x : x + max(1, self._face.size // 8)] = 200


class SlideScene:
    """A talk's slides: a title with bullets, a chart, or a photograph; bullets may appear one by one."""

    def __init__(
        self,
        size: tuple[int, int],
        rate: float,
        length: int,
        photographs: Sequence[str],
        fonts: Sequence[str],
        rng: random.Random,
    ) -> None:
        self.truths: list[TextTruth] = []
        self._size = size
        self._pictures: list[tuple[int, Image]] = []
        self._font = rng.choice(list(fonts))
        self._ground: Color = rng.choice(
            ((250, 250, 250), (255, 252, 240), (24, 28, 48), (16, 70, 90), (235, 240, 250))
        )
        self._ink: Color = (30, 32, 40) if sum(self._ground) > 400 else (245, 245, 245)
        at = 0
        while at < length:
            end = min(length, at + max(2, round(rng.uniform(2.5, 9) * rate)))
            match rng.choice(("bullets", "bullets", "chart", "photograph")):
                case "bullets":
                    self._put_bullets(at, end, rng)
                case "chart":
                    self._put_chart(at, end, rng)
                case _:
                    shown = cover(picture(rng.choice(list(photographs))), *size)
                    self._pictures.append((at, shown))
            at = end

    def frame(self, at: int) -> Image:
        shown = self._pictures[0][1]
        for start, other in self._pictures:
            if start <= at:
                shown = other
        return shown.copy()

    def _slide(self) -> tuple[Any, Any]:
        from PIL import Image as Pillow
        from PIL import ImageDraw

        slide = Pillow.new("RGB", self._size, self._ground)
        return slide, ImageDraw.Draw(slide)

    def _write(self, draw: Any, text: str, place: tuple[float, float], size: float, start: int, end: int) -> None:
        face = font(self._font, max(9, round(size * min(self._size))))
        x, y = place[0] * self._size[0], place[1] * self._size[1]
        while len(text) > 4 and face.getlength(text) > self._size[0] - x:
            text = text[:-1].rstrip()
        draw.text((x, y), text, font=face, fill=self._ink)
        self.truths.append(TextTruth("interface", text, start, end, draw.textbbox((x, y), text, font=face)))

    def _put_bullets(self, start: int, end: int, rng: random.Random) -> None:
        slide, draw = self._slide()
        self._write(draw, rng.choice(TITLES), (0.08, 0.1), 0.075, start, end)
        lines = rng.sample(BULLETS, rng.randint(2, 5))
        building = rng.random() < 0.5
        step = max(1, (end - start) // (len(lines) + 1))
        for number, line in enumerate(lines):
            begins = start + (number * step if building else 0)
            if building:
                self._pictures.append((begins, np.asarray(slide)))
            self._write(draw, f"- {line}", (0.1, 0.28 + 0.11 * number), 0.045, begins, end)
            if building:
                self._pictures[-1] = (begins, np.asarray(slide))
        if not building:
            self._pictures.append((start, np.asarray(slide)))

    def _put_chart(self, start: int, end: int, rng: random.Random) -> None:
        slide, draw = self._slide()
        width, height = self._size
        self._write(draw, rng.choice(CHARTS), (0.08, 0.06), 0.06, start, end)
        left, right, top, bottom = 0.14 * width, 0.92 * width, 0.2 * height, 0.78 * height
        draw.line((left, top, left, bottom, right, bottom), fill=self._ink, width=max(1, min(self._size) // 300))
        count = rng.randint(3, 7)
        values = [rng.uniform(0.15, 1) for _ in range(count)]
        step = (right - left) / count
        colors = [tuple(rng.randint(40, 220) for _ in range(3)) for _ in range(count)]
        for number, value in enumerate(values):
            x, y = left + (number + 0.2) * step, bottom - value * (bottom - top)
            draw.rectangle((x, y, x + 0.6 * step, bottom), fill=colors[number])
            self._write(draw, f"Q{number + 1}", (x / width, 0.8), 0.038, start, end)
            self._write(draw, f"{value * 100:.0f}", (x / width, y / height - 0.06), 0.034, start, end)
        for number in range(4):
            at = (bottom - (bottom - top) * number / 3) / height
            self._write(draw, str(number * 25), (0.07, at - 0.02), 0.034, start, end)
        self._pictures.append((start, np.asarray(slide)))
