"""Draws videos with captions and everything that is mistaken for them, as the samples that a layout search takes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from benchmarks.captions.corpus import Deck
from captionacc_dagster.captioning.captions import Kind
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.samples import THUMBNAIL_SIDE, Sample, sample_from, shrunk
from captionacc_dagster.captioning.video.reader import VideoFacts
from training.glyph_mask.backdrops import backdrop

BUSY_SEED = 100_000
_SIDE = 640  # pixels: longer side of the drawn pictures
_PAIR_S = 0.24  # seconds between the two pictures of a sample
_FOLDERS = ("/usr/share/fonts",)
_MONOSPACED = ("Mono", "Code", "Courier")
_CJK = ("NotoSansCJK", "NotoSerifCJK", "wqy-")
_UNUSABLE = ("Emoji", "Symbol", "Math", "Music", "Hairline", "Thin", "Ornament", "Dingbat", "Barcode")
_LATIN = ("lato", "liberation", "open-sans", "dejavu", "Roboto", "inter", "croscore", "firacode", "urw", "comfortaa")


@dataclass(slots=True)
class Item:
    """A text in the picture from ``start_s`` to ``end_s``: its lines, and what it is.

    ``place`` is where its anchor is, relative; ``motion`` how far it moves, relative, per second.
    """

    kind: Kind
    text: str
    start_s: float
    end_s: float
    font: ImageFont.FreeTypeFont
    place: tuple[float, float]
    anchor: str = "md"
    align: str = "center"
    fill: str = "white"
    stroke: int = 2
    box: str | None = None
    box_alpha: float = 1.0
    alpha: float = 1.0
    motion: tuple[float, float] = (0.0, 0.0)

    def draw(self, picture: Image.Image, time_s: float) -> list[BBox]:
        """Draw it if it is there at a time; return the boxes of its lines."""
        if not self.start_s <= time_s < self.end_s:
            return []
        width, height = picture.size
        draw = ImageDraw.Draw(picture)
        elapsed = time_s - self.start_s
        x = (self.place[0] + self.motion[0] * elapsed) * width
        y = (self.place[1] + self.motion[1] * elapsed) * height
        lines = self.text.split("\n")
        pitch = self.font.size * 1.22
        top = y - pitch * len(lines) if self.anchor[1] == "d" else y - pitch * len(lines) / 2
        if self.anchor[1] == "a":
            top = y
        boxes = []
        layer = picture.copy() if self.alpha < 1 else picture
        draw = ImageDraw.Draw(layer)
        for number, line in enumerate(lines):
            at = (x, top + pitch * (number + 0.5))
            left, up, right, down = draw.textbbox(at, line, self.font, self.anchor[0] + "m", stroke_width=self.stroke)
            if self.box is not None:
                pad = 0.25 * self.font.size
                self._draw_box(layer, (int(left - pad), int(up - pad), int(right + pad), int(down + pad)))
            draw.text(
                at, line, self.fill, self.font, self.anchor[0] + "m", stroke_width=self.stroke, stroke_fill="black"
            )
            if right > 0 and left < width and down > 0 and up < height and right > left:
                boxes.append(BBox(left / width, up / height, right / width, down / height))
        if layer is not picture:
            picture.paste(Image.blend(picture, layer, self.alpha))
        return boxes

    def _draw_box(self, picture: Image.Image, area: tuple[int, int, int, int]) -> None:
        shade = ImageColor.getcolor(self.box or "black", "L")
        if self.box_alpha >= 1:
            ImageDraw.Draw(picture).rectangle(area, fill=shade)
        else:
            behind = picture.crop(area)
            picture.paste(Image.blend(behind, Image.new("L", behind.size, shade), self.box_alpha), area[:2])


@dataclass(slots=True)
class Scene:
    """A drawn video: facts as if it were a file, its backgrounds, and its texts."""

    facts: VideoFacts
    background: Callable[[float], NDArray[np.uint8]]
    items: list[Item] = field(default_factory=list)

    def picture(self, time_s: float) -> NDArray[np.uint8]:
        """Return the picture at a time, ``(h, w)`` uint8."""
        picture = Image.fromarray(self.background(time_s))
        for item in self.items:
            item.draw(picture, time_s)
        return np.asarray(picture)

    def texts(self, time_s: float) -> list[tuple[Kind, BBox]]:
        """Return the kind and the box of each line that is visible at a time, those drawn last first."""
        blank = Image.new("L", (self.facts.width, self.facts.height))
        return [(item.kind, box) for item in reversed(self.items) for box in item.draw(blank, time_s)]


class DrawnSampler:
    """Takes samples of a drawn video as `Sampler` does of a file."""

    def __init__(self, scene: Scene) -> None:
        self.facts = scene.facts
        self._scene = scene

    def samples(self, times: Sequence[float]) -> Iterator[Sample]:
        """Yield samples at rising times, seconds."""
        for time_s in times:
            later_s, scale = time_s + _PAIR_S, THUMBNAIL_SIDE / _SIDE
            later = shrunk(self._scene.picture(later_s), scale) if later_s < self.facts.duration_s else None
            picture = self._scene.picture(time_s)
            yield sample_from(time_s, picture, shrunk(picture, scale), later)


@cache
def _font_files() -> dict[str, list[Path]]:
    paths = [p for folder in _FOLDERS for p in sorted(Path(folder).rglob("*.[to]t[fc]"))]
    paths = [path for path in paths if not any(word in path.name for word in _UNUSABLE)]
    latin = [path for path in paths if any(part in str(path) for part in _LATIN)]
    return {
        "mono": [path for path in latin if any(word in path.name for word in _MONOSPACED)],
        "latin": [path for path in latin if not any(word in path.name for word in _MONOSPACED)],
        "cjk": [path for path in paths if any(word in path.name for word in _CJK)],
    }


def _font(rng: random.Random, group: str, size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(rng.choice(_font_files()[group])), max(8, round(size)))


def draw_scene(seed: int) -> Scene:
    """Return a drawn video; the same seed gives the same one. From `BUSY_SEED` on, most have text behind the text."""
    return _Maker(random.Random(seed), is_busy=seed >= BUSY_SEED).make()


_LOOKS = (44, 16, 10, 7, 12, 11)  # how often captions have each look


class _Maker:
    """Makes one scene."""

    def __init__(self, rng: random.Random, *, is_busy: bool) -> None:
        self.rng = rng
        self.is_busy = is_busy
        aspect = rng.choices((16 / 9, 9 / 16, 1.0, 4 / 3, 21 / 9), (50, 28, 8, 8, 6))[0]
        self.width = _SIDE if aspect >= 1 else round(_SIDE * aspect)
        self.height = round(_SIDE / aspect) if aspect >= 1 else _SIDE
        self.side = min(self.width, self.height)
        self.duration = float(np.exp(rng.uniform(np.log(2.0), np.log(45.0))))
        self.language = rng.choices(("en", "es", "zh"), (55, 25, 20))[0]
        self.group = "cjk" if self.language == "zh" else "latin"
        self.deck = Deck(self.language, rng)
        self.latin = Deck(rng.choice(("en", "es")), rng)
        self.items: list[Item] = []

    def make(self) -> Scene:
        rng = self.rng
        background = self._background()
        behind: list[Callable[[], None]] = [self._editor, self._slides, self._signs, self._credits, self._screen]
        weights = (15, 20, 1, 1, 70) if self.is_busy else (12, 18, 12, 4, 24)
        if rng.random() < (0.95 if self.is_busy else 0.55):
            rng.choices(behind, weights)[0]()
        front = [
            self._logo,
            self._watermark,
            self._clock,
            self._headline,
            self._lower_thirds,
            self._title,
            self._ticker,
            self._score,
            self._end_card,
        ]
        count = rng.choice((0, 0, 0, 1) if self.is_busy else (0, 1, 1, 2, 2, 3))
        chosen = rng.choices(front, (16, 12, 8, 10, 34, 10, 4, 6, 6), k=count)
        over = {self._lower_thirds, self._title, self._end_card}
        for paint in chosen:
            if paint not in over:
                paint()
        if rng.random() < 0.85:
            rng.choices((self._captions, self._lyrics, self._rolled), (82, 11, 7))[0]()
        for paint in chosen:
            if paint in over:
                paint()
        gop = rng.choice((2.0, 4.0, 8.0, 1000.0))
        keyframes = tuple(float(t) for t in np.arange(0, self.duration, gop))
        facts = VideoFacts(
            Path("drawn"),
            self.width,
            self.height,
            self.duration,
            25.0,
            int(25 * self.duration),
            "h264",
            0,
            0,
            "yuv420p",
            keyframes_s=keyframes,
        )
        return Scene(facts, background, self.items)

    def _background(self) -> Callable[[float], NDArray[np.uint8]]:
        rng = self.rng
        static = rng.random() < 0.3
        sketched = rng.random() < 0.08
        shot_s = rng.choice((1.5, 3.0, 6.0, 1000.0))
        speed = 0.0 if static else rng.uniform(10, 120)
        wide = (round(self.height * 1.5), round(self.width * 1.5))
        shots: dict[int, NDArray[np.uint8]] = {}
        seed = rng.getrandbits(30)
        jitter = np.random.default_rng(seed)

        def picture(time_s: float) -> NDArray[np.uint8]:
            number = int(time_s / shot_s)
            if number not in shots:
                made = random.Random(seed + number % 7)
                drawn = _line_drawing(*wide, made) if sketched else backdrop(*wide, 24.0, made, scene_text=False)
                shots[number] = np.clip(drawn, 0, 255).astype(np.uint8)
            y = int(abs((time_s * speed * 0.4) % (0.8 * self.height) - 0.4 * self.height))
            x = int(abs((time_s * speed) % self.width - 0.5 * self.width))
            view = shots[number][y : y + self.height, x : x + self.width]
            noise = jitter.integers(-3, 4, view.shape, dtype=np.int16) if not static else 0
            return np.clip(view.astype(np.int16) + noise, 0, 255).astype(np.uint8)

        return picture

    # Captions

    def _captions(self) -> None:
        rng = self.rng
        size = self.side * float(np.exp(rng.uniform(np.log(0.032), np.log(0.13))))
        font = _font(rng, self.group, size)
        spot = rng.choices(("bottom", "top", "middle", "low"), (66, 7, 14, 13))[0]
        y = {
            "bottom": rng.uniform(0.88, 0.985),
            "top": rng.uniform(0.03, 0.12),
            "middle": rng.uniform(0.4, 0.6),
            "low": rng.uniform(0.65, 0.85),
        }[spot]
        vertical = {"bottom": "d", "top": "a", "middle": "m", "low": rng.choice("dm")}[spot]
        side = rng.choices(("m", "l", "r"), (88, 9, 3))[0]
        x = {"m": 0.5 + rng.choice((0, 0, 0, 0.01)), "l": rng.uniform(0.04, 0.15), "r": rng.uniform(0.85, 0.96)}[side]
        look = rng.choices(("outline", "dark box", "light box", "colored box", "plain", "yellow"), _LOOKS)[0]
        fill = {"yellow": "#ffff66", "light box": rng.choice(("black", "#202020", "#901818", "#183880"))}
        box = {
            "dark box": rng.choice(("black", "#202020", "#303848")),
            "light box": rng.choice(("white", "white", "#f0f0e8", "#f8e040", "#c8e8f0")),
            "colored box": rng.choice(("#c02020", "#2040c0", "#208040", "#8020a0", "#e06010")),
        }
        style = {
            "fill": fill.get(look, rng.choice(("white", "white", "#e8e8e8"))),
            "stroke": max(1, round(size * rng.uniform(0.04, 0.1))) if look in ("outline", "yellow") else 0,
            "box": box.get(look),
            "box_alpha": rng.choice((1.0, 1.0, 0.75, 0.6)) if look == "dark box" else 1.0,
            "align": "center",
        }
        mode = rng.choices(("sentences", "words", "phrases"), (70, 12, 18))[0]
        most = rng.choices((1, 2, 3), (45, 40, 15))[0]
        capitals = rng.random() < 0.15
        gapless = rng.random() < 0.4
        speakers = spot == "bottom" and rng.random() < 0.1
        moves = rng.choices(("never", "to the other edge", "from side to side"), (84, 10, 6))[0]
        now = 0.0 if rng.random() < 0.4 else rng.uniform(0, 0.4 * self.duration)
        few = rng.random() < 0.25
        shown = 0
        while now < self.duration - 0.2 and not (few and shown >= rng.choice((1, 2, 3))):
            if mode == "sentences":
                stay = rng.uniform(1.0, 6.0)
            else:
                stay = rng.uniform(0.2, 0.8) if mode == "words" else rng.uniform(0.5, 1.6)
            if few and rng.random() < 0.5:
                stay = rng.uniform(0.4, 1.0) * self.duration
            text = self._wrapped(mode, font, most)
            if capitals:
                text = text.upper()
            pieces = [(x, text)]
            if speakers and rng.random() < 0.5:
                pieces = [(0.26, self._words(3)), (0.74, self._words(3))]
            level, edge, part = y, vertical, side
            if moves == "to the other edge" and rng.random() < 0.3:
                level, edge = (rng.uniform(0.03, 0.1), "a") if y > 0.5 else (rng.uniform(0.9, 0.97), "d")
            elif moves == "from side to side" and len(pieces) == 1:
                part = rng.choice("lmr")
                pieces = [({"l": 0.05, "m": 0.5, "r": 0.95}[part], text)]
            for at, piece in pieces:
                self.items.append(
                    Item(
                        "caption",
                        piece,
                        now,
                        min(self.duration, now + stay),
                        font,
                        (at, level),
                        anchor=("m" if len(pieces) > 1 else part) + edge,
                        **style,
                    )
                )
            shown += 1
            now += stay + (0.0 if gapless else rng.choice((0.05, 0.3, 0.8, 2.0, 4.0)))

    def _words(self, most: int) -> str:
        if self.language == "zh":
            return self.deck.short_sentence()[: 2 * most]
        return " ".join(self.deck.sentence().split()[: self.rng.randint(1, most)])

    def _wrapped(self, mode: str, font: ImageFont.FreeTypeFont, most: int) -> str:
        if mode == "words":
            return self._words(1)
        text = self._words(4) if mode == "phrases" else self.deck.sentence()
        room = 0.92 * self.width
        chunks = list(text) if self.language == "zh" else text.split()
        joint = "" if self.language == "zh" else " "
        lines = [""]
        target = max(0.25 * room, min(room, font.getlength(text) / self.rng.randint(1, most) * 1.15))
        for chunk in chunks:
            longer = (lines[-1] + joint + chunk).strip()
            if lines[-1] and font.getlength(longer) > target:
                lines.append(chunk)
            else:
                lines[-1] = longer
        return "\n".join(lines[:most])

    def _rolled(self) -> None:
        """Lines that roll up as on live television: the lowest is new, and moves up by one when the next one comes."""
        rng = self.rng
        size = self.side * float(np.exp(rng.uniform(np.log(0.035), np.log(0.09))))
        font = _font(rng, self.group if self.group == "cjk" or rng.random() < 0.5 else "mono", size)
        rows = rng.choice((2, 2, 3))
        pitch = rng.uniform(1.2, 1.5) * size / self.height
        side, x = rng.choice((("l", rng.uniform(0.05, 0.25)), ("m", 0.5)))
        y = rng.choice((rng.uniform(0.88, 0.95), 0.05 + rows * pitch))
        box = rng.choice(("black", "black", None))
        look = {"fill": "white", "box": box, "stroke": 0 if box else max(1, round(0.07 * size))}
        said = [self._wrapped("sentences", font, 1) for _ in range(12)]
        now = rng.choice((0.0, rng.uniform(0, 0.2 * self.duration)))
        for number in itertools.count():
            if now >= self.duration - 0.2:
                break
            end = min(self.duration + 1, now + rng.uniform(0.8, 3.5))
            for up in range(min(rows, number + 1)):
                line = said[(number - up) % len(said)]
                self.items.append(Item("caption", line, now, end, font, (x, y - up * pitch), side + "m", **look))
            now = end

    def _lyrics(self) -> None:
        """The line that is sung, lit, between the lines before and after it, dimmed; all move up by one at a time."""
        rng = self.rng
        size = self.side * float(np.exp(rng.uniform(np.log(0.04), np.log(0.12))))
        font = _font(rng, self.group, size)
        dimmed = font.font_variant(size=max(8, round(size * rng.choice((1.0, 1.0, 0.9, 0.8, 1.1)))))
        above, below = rng.choice(((1, 1), (1, 1), (0, 1), (1, 0), (2, 2), (1, 2), (0, 2)))
        pitch = rng.uniform(1.25, 2.2) * size / self.height
        y = rng.uniform(0.1 + above * pitch, max(0.11 + above * pitch, 0.95 - below * pitch))
        side = rng.choices(("m", "l"), (75, 25))[0]
        x = 0.5 if side == "m" else rng.uniform(0.04, 0.12)
        level = rng.randint(60, 170)
        colors = ("white", f"#{level:02x}{level:02x}{level:02x}")
        stroke = rng.choice((0, 0, max(1, round(0.06 * size))))
        song = [self._wrapped("sentences", font, 1) for _ in range(12)]
        now = rng.choice((0.0, 0.0, rng.uniform(0, 0.2 * self.duration)))
        for number in itertools.count():
            if now >= self.duration - 0.2:
                break
            end = min(self.duration + 1, now + rng.uniform(1.2, 5.0))
            for off in range(-above, below + 1):
                if number + off >= 0:
                    line = song[(number + off) % len(song)]
                    face, color = (font, colors[0]) if off == 0 else (dimmed, colors[1])
                    at = (x, y + off * pitch)
                    self.items.append(Item("caption", line, now, end, face, at, side + "m", fill=color, stroke=stroke))
            now = end

    # Everything else

    def _name(self, words: int = 2) -> str:
        picked = [word.strip(".,!?¿¡;:").capitalize() for word in self.latin.sentence().split() if len(word) > 2]
        return " ".join((picked or ["Channel"])[:words])

    def _always(self, kind: Kind, text: str, size: float, place: tuple[float, float], **more: object) -> None:
        font = more.pop("font", None) or _font(self.rng, "latin", size)
        self.items.append(Item(kind, text, 0.0, self.duration + 1, font, place, **more))  # type: ignore[arg-type]

    def _logo(self) -> None:
        rng = self.rng
        place = (rng.choice((rng.uniform(0.06, 0.14), rng.uniform(0.86, 0.94))), rng.choice((0.05, 0.09, 0.92, 0.95)))
        text = rng.choice((self._name(1), self._name(1).upper(), f"TV {rng.randint(1, 9)}", "HD", "LIVE", "NEWS 24"))
        self._always(
            "fixture",
            text,
            self.side * rng.uniform(0.03, 0.08),
            place,
            anchor="mm",
            stroke=rng.choice((0, 1)),
            alpha=rng.choice((1.0, 0.7, 0.5)),
        )

    def _watermark(self) -> None:
        rng = self.rng
        place = rng.choice(((0.5, rng.uniform(0.05, 0.95)), (0.85, 0.93), (0.15, 0.93), (0.85, 0.06), (0.5, 0.5)))
        text = rng.choice(
            ("@" + self._name(1).lower(), self._name(1).lower() + ".com", "www." + self._name(1).lower() + ".org")
        )
        self._always(
            "fixture",
            text,
            self.side * rng.uniform(0.025, 0.06),
            place,
            anchor="mm",
            stroke=rng.choice((0, 1)),
            alpha=rng.choice((1.0, 0.6, 0.4)),
        )

    def _clock(self) -> None:
        rng = self.rng
        place = (rng.choice((0.1, 0.9, 0.5)), rng.choice((0.05, 0.94)))
        font = _font(rng, "latin", self.side * rng.uniform(0.03, 0.06))
        start, step = rng.randint(0, 3000), rng.choice((1.0, 1.0, 0.1))
        count = min(400, int(self.duration / step) + 1)
        for number in range(count):
            seconds = start + number * step
            text = f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}" + (f".{number % 10}" if step < 1 else "")
            self.items.append(Item("fixture", text, number * step, (number + 1) * step, font, place, "mm", stroke=1))

    def _headline(self) -> None:
        """Banner of a news program, which stays or changes rarely; sometimes with a smaller line below."""
        rng = self.rng
        y = rng.choice((rng.uniform(0.78, 0.95), rng.uniform(0.05, 0.15)))
        font = _font(rng, self.group, self.side * rng.uniform(0.04, 0.07))
        side = rng.choice("lm")
        x = rng.uniform(0.05, 0.12) if side == "l" else 0.5
        stay = rng.choice((self.duration + 1, self.duration + 1, rng.uniform(10, 30)))
        box = rng.choice(("#902020", "#203080", "#e8e8e8", "black", None))
        fill = "#202020" if box == "#e8e8e8" else "white"
        now = 0.0
        while now < self.duration:
            text = self._words(7)
            self.items.append(
                Item(
                    "fixture",
                    text,
                    now,
                    now + stay,
                    font,
                    (x, y),
                    side + "m",
                    fill=fill,
                    stroke=0 if box else 1,
                    box=box,
                )
            )
            now += stay

    def _lower_thirds(self) -> None:
        rng = self.rng
        size = self.side * rng.uniform(0.04, 0.1)
        name, role = _font(rng, "latin", size), _font(rng, "latin", size * rng.uniform(0.45, 0.9))
        side = rng.choices("lmr", (50, 35, 15))[0]
        x = {"l": rng.uniform(0.05, 0.14), "m": 0.5, "r": rng.uniform(0.86, 0.95)}[side]
        y = rng.uniform(0.66, 0.93)
        box = rng.choice((None, None, "#203080", "#802020", "white"))
        fill = "#202020" if box == "white" else "white"
        upper = rng.random() < 0.4
        now = rng.uniform(0, 0.5 * self.duration)
        for _ in range(rng.choices((1, 2, 3, 4), (45, 27, 18, 10))[0]):
            end = now + rng.uniform(2.0, 6.0)
            text = self._name(2).upper() if upper else self._name(2)
            at = (x, y)
            if rng.random() < 0.12:  # a place at one side and a date at the other
                other = (1 - x if x != 0.5 else 0.85, y)
                date = f"{self._name(1)} {rng.randint(1990, 2030)}"
                self.items.append(Item("lower_third", date, now, end, name, other, "mm", fill=fill, stroke=0, box=box))
                at = (min(x, 0.2), y)
            self.items.append(
                Item(
                    "lower_third",
                    text,
                    now,
                    end,
                    name,
                    at,
                    side + "m",
                    fill=fill,
                    stroke=0 if box else rng.choice((0, 1)),
                    box=box,
                )
            )
            if rng.random() < 0.6:
                below = (x, y + 1.25 * size / self.height)
                self.items.append(
                    Item(
                        "lower_third",
                        self._name(4),
                        now,
                        end,
                        role,
                        below,
                        side + "m",
                        fill=fill,
                        stroke=0 if box else rng.choice((0, 1)),
                        box=box,
                    )
                )
            now = end + rng.uniform(1.0, 12.0)

    def _title(self) -> None:
        rng = self.rng
        font = _font(rng, "latin", self.side * rng.uniform(0.08, 0.18))
        text = "\n".join(self._name(2) for _ in range(rng.choice((1, 1, 2))))
        start = rng.choice((0.0, rng.uniform(0, 0.5 * self.duration)))
        self.items.append(
            Item(
                "title",
                text,
                start,
                start + rng.uniform(1.5, 4.0),
                font,
                (0.5, rng.uniform(0.25, 0.6)),
                "mm",
                stroke=rng.choice((0, 2)),
                box=rng.choice((None, None, "black")),
            )
        )

    def _end_card(self) -> None:
        rng = self.rng
        start = max(0.5 * self.duration, self.duration - rng.uniform(2, 6))
        y = rng.uniform(0.15, 0.3)
        for _ in range(rng.randint(2, 6)):
            font = _font(rng, "latin", self.side * rng.uniform(0.035, 0.1))
            self.items.append(
                Item("title", self._name(rng.randint(1, 4)), start, self.duration + 1, font, (0.5, y), "ma")
            )
            y += 1.7 * font.size / self.height

    def _credits(self) -> None:
        """Pages of names, two columns or one, or a roll."""
        rng = self.rng
        font = _font(rng, "latin", self.side * rng.uniform(0.03, 0.055))
        rolls = rng.random() < 0.4
        count = rng.randint(4, 12)
        stay = self.duration + 1 if rolls else rng.uniform(2, 5)
        now = rng.choice((0.0, 0.5 * self.duration))
        while now < self.duration:
            for number in range(count * (3 if rolls else 1)):
                y = 0.12 + number * 1.6 * font.size / self.height
                motion = (0.0, -rng.choice((0.08, 0.08))) if rolls else (0.0, 0.0)
                self.items.append(Item("title", self._name(3), now, now + stay, font, (0.5, y), "mm", motion=motion))
            now += stay

    def _ticker(self) -> None:
        rng = self.rng
        text = " +++ ".join(self.latin.sentence() for _ in range(4))
        self._always(
            "fixture",
            text,
            self.side * rng.uniform(0.035, 0.06),
            (rng.uniform(0.02, 0.5), rng.uniform(0.9, 0.97)),
            anchor="lm",
            motion=(-rng.uniform(0.03, 0.15), 0.0),
            stroke=1,
        )

    def _score(self) -> None:
        rng = self.rng
        y, x = rng.choice((0.06, 0.93)), rng.choice((0.14, 0.5, 0.86))
        teams = f"{self._name(1)[:3].upper()} {{}} - {{}} {self._name(1)[:3].upper()}"
        font = _font(rng, "latin", self.side * rng.uniform(0.03, 0.06))
        now, goals = 0.0, [0, 0]
        while now < self.duration:
            end = now + rng.uniform(5, 40)
            self.items.append(Item("fixture", teams.format(*goals), now, end, font, (x, y), "mm", stroke=1))
            goals[rng.randint(0, 1)] += 1
            now = end

    def _signs(self) -> None:
        rng = self.rng
        for _ in range(rng.randint(1, 4)):
            font = _font(rng, "latin", self.side * rng.uniform(0.04, 0.12))
            start = rng.uniform(0, 0.7 * self.duration)
            motion = rng.choice(((0.0, 0.0), (rng.uniform(-0.2, 0.2), rng.uniform(-0.08, 0.08))))
            self.items.append(
                Item(
                    "scene",
                    self._name(rng.randint(1, 2)).upper(),
                    start,
                    start + rng.uniform(1, 12),
                    font,
                    (rng.uniform(0.15, 0.85), rng.uniform(0.15, 0.85)),
                    "mm",
                    stroke=0,
                    box=rng.choice(("#205020", "#601818", None)),
                    motion=motion,
                )
            )

    def _editor(self) -> None:
        """Code that is typed line after line, or a terminal."""
        rng = self.rng
        font = _font(rng, "mono", self.side * rng.uniform(0.025, 0.05))
        left, top = rng.uniform(0.02, 0.15), rng.uniform(0.05, 0.45)
        bottom = rng.uniform(top + 0.25, 0.98)
        pitch = rng.uniform(1.25, 1.6) * font.size / self.height
        self._panel(top, bottom)
        rows = int((bottom - top) / pitch)
        now, number = 0.0, 0
        started = rng.randint(0, rows)
        while number < rows:
            indent = rng.choice((0, 0, 2, 4))
            words = self.latin.sentence().lower().split()
            forms = (
                "_".join(words[:2]) + " = " + "_".join(words[2:4]) + "()",
                "def " + words[0] + "(" + ", ".join(words[1:3]) + "):",
                "import " + words[0],
                "# " + " ".join(words[:5]),
                f"print('{words[0]}')",
                "$ pip install " + words[0],
            )
            line = " " * indent + rng.choice(forms)
            at = (left, top + pitch * number)
            fill = rng.choice(("#e0e0e0", "#80c0ff", "#c080ff", "#80d080"))
            if number < started:
                self.items.append(Item("interface", line, 0.0, self.duration + 1, font, at, "la", fill=fill, stroke=0))
            else:
                steps = rng.choice((1, 3, 5))
                for step in range(1, steps + 1):
                    end = now + rng.uniform(0.2, 1.5)
                    until = self.duration + 1 if step == steps else end
                    text = line[: max(indent + 2, len(line) * step // steps)]
                    self.items.append(Item("interface", text, now, until, font, at, "la", fill=fill, stroke=0))
                    now = end
                now += rng.uniform(0, 3)
            number += 1
            if now > self.duration:
                break

    def _screen(self) -> None:
        """A screen full of text that is scrolled: code, a page, or a chat."""
        rng = self.rng
        size = self.side * rng.uniform(0.028, 0.055)
        light = rng.random() < 0.5
        paint = rng.choice((self._code_plane, self._page_plane, self._chat_plane))
        whole = rng.random() < 0.7
        top = 0.0 if whole else rng.uniform(0.1, 0.5)
        bottom = 1.0 if whole else rng.uniform(min(0.95, top + 0.4), 1.0)
        font = _font(rng, "mono" if paint == self._code_plane else self.group, size)
        plane = _Plane("interface", "", 0.0, self.duration + 1, font, (top, bottom))
        plane.box = rng.choice(("white", "#f4f4ee", "#e4ddd4") if light else ("#1e1e28", "#101418", "#202838"))
        colors = ("#202020", "#404858", "#205080") if light else ("#e0e0e0", "#80c0ff", "#c080ff", "#80d080")
        pitch = paint(plane, font, size, colors, light)
        mode = rng.choice(("smooth", "steps", "jerks", "pages", "still"))
        every = rng.uniform(0.3, 3.0)
        jump = pitch * (rng.uniform(5, 15) if mode == "pages" else rng.randint(1, 4))
        speed = pitch * rng.uniform(0.3, 3.0)

        def scrolled(time_s: float) -> float:
            whole_steps, part = divmod(time_s, every)
            if mode == "smooth":
                return speed * time_s
            if mode == "still":
                return 0.0
            return jump * (whole_steps + (min(1.0, part / 0.3) - 1 if mode == "jerks" else 0))

        plane.scrolled = scrolled
        self.items.append(plane)

    def _code_plane(
        self, plane: _Plane, font: ImageFont.FreeTypeFont, size: float, colors: Sequence[str], light: bool
    ) -> float:
        rng, pitch = self.rng, size * _pitch(self.rng)
        numbers = rng.random() < 0.6
        left = 0.02 * self.width + (3 * size if numbers else 0)
        for number in range(120):
            if numbers:
                gray = "#a0a0a0" if light else "#606878"
                plane.lines.append((left - 3 * size, number * pitch, str(number + 1), font, gray))
            if rng.random() > 0.12:
                words = self.latin.sentence().lower().split()
                line = rng.choice(
                    ("{0}_{1} = {2}()", "def {0}({1}):", "return {0} + {1}", "# {0} {1} {2}", "{0}.{1}('{2}')")
                )
                text = " " * rng.choice((0, 0, 4, 8)) + line.format(*(words * 3)[:3])
                plane.lines.append((left, number * pitch, text, font, rng.choice(colors)))
        return pitch

    def _page_plane(
        self, plane: _Plane, font: ImageFont.FreeTypeFont, size: float, colors: Sequence[str], light: bool
    ) -> float:
        del light
        rng, pitch = self.rng, size * _pitch(self.rng)
        head = font.font_variant(size=round(1.6 * size))
        left, y = 0.07 * self.width, 0.0
        for _ in range(30):
            if rng.random() < 0.3:
                plane.lines.append((left, y, self._name(3), head, colors[0]))
                y += 1.7 * pitch
            for _ in range(rng.randint(1, 6)):
                text = ""
                while font.getlength(text) < rng.choice((0.5, 0.75, 0.75)) * self.width:
                    text += self._words(4) + ("" if self.group == "cjk" else " ")
                plane.lines.append((left, y, text, font, colors[0]))
                y += pitch
            y += pitch
        return pitch

    def _chat_plane(
        self, plane: _Plane, font: ImageFont.FreeTypeFont, size: float, colors: Sequence[str], light: bool
    ) -> float:
        rng, pitch = self.rng, size * 1.3
        shades = ("white", "#d8f4c4") if light else ("#303848", "#28508c")
        y = 0.0
        for _ in range(50):
            lines = [self._words(6) for _ in range(rng.choice((1, 1, 2, 3)))]
            across = max(font.getlength(line) for line in lines)
            mine = rng.random() < 0.5
            x = self.width - across - size if mine else size
            plane.boxes.append(
                (
                    x - 0.5 * size,
                    y - 0.3 * size,
                    x + across + 0.5 * size,
                    y + pitch * len(lines) + 0.2 * size,
                    shades[mine],
                )
            )
            for line in lines:
                plane.lines.append((x, y, line, font, colors[0]))
                y += pitch
            y += 0.9 * size
        return 2 * pitch

    def _slides(self) -> None:
        """Slides: a heading and points, or a few centered lines, that change as a whole."""
        rng = self.rng
        centered = rng.random() < 0.5
        top = rng.choice((rng.uniform(0.06, 0.62), rng.uniform(0.45, 0.75)))
        head = _font(rng, "latin", self.side * rng.uniform(0.04, 0.08))
        body = _font(rng, self.group, self.side * rng.uniform(0.03, 0.055))
        bottom = min(0.97, top + rng.uniform(0.15, 0.7))
        self._panel(top - 0.03, bottom, light=rng.random() < 0.6)
        fill = "#202020" if self.items[-1].box in ("white", "#f0f0e8") else "white"
        now = 0.0
        while now < self.duration:
            stay = rng.uniform(0.8, 12)
            y = top
            for number in range(rng.randint(1, 7)):
                font = head if number == 0 else body
                if y > bottom:
                    break
                x, anchor = (0.5, "ma") if centered else (0.08, "la")
                text = self._name(3) if number == 0 else self._words(7)
                self.items.append(Item("interface", text, now, now + stay, font, (x, y), anchor, fill=fill, stroke=0))
                y += 1.5 * font.size / self.height
            now += stay

    def _panel(self, top: float, bottom: float, *, light: bool = False) -> None:
        """A plain area, drawn as a box of spaces without a text of its own."""
        color = self.rng.choice(("white", "#f0f0e8")) if light else self.rng.choice(("#1e1e28", "#101418"))
        font = ImageFont.truetype(str(_font_files()["latin"][0]), 8)
        self.items.append(_Panel("interface", "", 0.0, self.duration + 1, font, (top, bottom), box=color))


def _line_drawing(height: int, width: int, rng: random.Random) -> NDArray[np.uint8]:
    """Return a drawing in dark lines on a light page, ``(height, width)`` gray levels."""
    picture = Image.new("L", (width, height), rng.randint(225, 255))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.randint(4, 20)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        reach, line = rng.uniform(0.03, 0.2) * height, rng.randint(1, max(2, height // 120))
        color = rng.randint(0, 80)
        if rng.random() < 0.4:
            draw.ellipse((x, y, x + reach, y + reach * rng.uniform(0.6, 1.4)), outline=color, width=line)
        else:
            bends = [(x + rng.uniform(-reach, reach), y + rng.uniform(-reach, reach)) for _ in range(rng.randint(2, 5))]
            draw.line(bends, fill=color, width=line)
    return np.asarray(picture)


def _pitch(rng: random.Random) -> float:
    """Return a distance from line to line, in font sizes."""
    return rng.uniform(1.25, 1.7)


@dataclass(slots=True)
class _Plane(Item):
    """A plain area with a text that is scrolled in it.

    Lines are ``(x, y, text, font, color)``, boxes behind them ``(left, top, right, bottom, color)``, in pixels from the
    start of the text; ``scrolled`` says how many pixels of it have left the area at the top at a time.
    """

    lines: list[tuple[float, float, str, ImageFont.FreeTypeFont, str]] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float, str]] = field(default_factory=list)
    scrolled: Callable[[float], float] = field(default=lambda time_s: 0.0 * time_s)

    def draw(self, picture: Image.Image, time_s: float) -> list[BBox]:
        width, height = picture.size
        top, bottom = round(self.place[0] * height), round(self.place[1] * height)
        area = Image.new("L", (width, bottom - top), ImageColor.getcolor(self.box or "black", "L"))
        draw, gone, found = ImageDraw.Draw(area), self.scrolled(time_s), []
        for left, up, right, down, color in self.boxes:
            if down - gone > 0 and up - gone < area.height:
                draw.rounded_rectangle((left, up - gone, right, down - gone), 6, fill=color)
        for x, y, text, font, color in self.lines:
            if y - gone < -2 * font.size or y - gone > area.height:
                continue
            draw.text((x, y - gone), text, color, font)
            left, up, right, down = draw.textbbox((x, y - gone), text, font)
            up, down = max(0, up), min(area.height, down)
            if right > left and down > up:
                found.append(BBox(left / width, (top + up) / height, min(1.0, right / width), (top + down) / height))
        picture.paste(area, (0, top))
        return found


class _Panel(Item):
    def draw(self, picture: Image.Image, time_s: float) -> list[BBox]:
        width, height = picture.size
        area = (0, self.place[0] * height, width, self.place[1] * height)
        ImageDraw.Draw(picture).rectangle(area, fill=self.box)
        return []
