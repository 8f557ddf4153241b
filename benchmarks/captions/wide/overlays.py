"""Text over the picture that is no caption: name plates, titles, marks, tickers, clocks, end cards, and credits."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.captions.wide.lettering import Block, Box, Stamp
from benchmarks.captions.wide.looks import Color, Look
from benchmarks.captions.wide.sentences import CREDITS, END_CARDS, HEADLINES, MARKS, NAMES, ROLES, TITLES
from benchmarks.captions.wide.timed import Drawable, TextTruth, TimedBlock
from captionacc_dagster.captioning.captions import Kind

Image = NDArray[np.uint8]

_COLORS: tuple[Color, ...] = (
    (180, 20, 30),
    (16, 50, 110),
    (20, 20, 24),
    (240, 240, 240),
    (10, 110, 90),
    (230, 150, 20),
)


def _letters_on(color: Color) -> Color:
    return (20, 20, 24) if sum(color) > 400 else (255, 255, 255)


class Overlays:
    """Draws what its names say into a clip, each where no caption is.

    Args:
        names: of `OVERLAYS`.
        fonts: font files to draw from.
        frame_size: pixels.
        rate: frames per second.
        length: of the clip, frames.
        captions: the truth of the captions, which are not covered.
        rng: of everything random.
    """

    def __init__(
        self,
        names: Sequence[str],
        fonts: Sequence[str],
        frame_size: tuple[int, int],
        rate: float,
        length: int,
        captions: Sequence[TextTruth],
        rng: random.Random,
    ) -> None:
        self.drawables: list[Drawable] = []
        self.truths: list[TextTruth] = []
        self._fonts = fonts
        self._frame_size = frame_size
        self._rate = rate
        self._length = length
        self._captions = captions
        self._rng = rng
        for name in names:
            OVERLAYS[name](self)

    # --- what all overlays use ---

    def _look(self, size: float, fill: Color = (255, 255, 255), **rest: object) -> Look:
        return replace(Look(self._rng.choice(self._fonts), size, fill), **rest)  # type: ignore[arg-type]

    def _is_free(self, box: Box, start: int, end: int) -> bool:
        edge = 0.03 * min(self._frame_size)
        return not any(
            caption.start < end and start < caption.end
            and box[0] - edge < caption.box[2] and caption.box[0] < box[2] + edge
            and box[1] - edge < caption.box[3] and caption.box[1] < box[3] + edge
            for caption in self._captions
        )  # fmt: skip

    def _put(self, kind: Kind, blocks: Sequence[Block], start: int, end: int, *, fade: int = 0) -> bool:
        """Draw blocks that come and go together; return whether there was room."""
        end = min(end, self._length)
        if end <= start or not all(self._is_free(block.box, start, end) for block in blocks):
            return False
        for block in blocks:
            fade_in, fade_out = (0 if start == 0 else fade), (0 if end == self._length else fade)
            self.drawables.append(TimedBlock(block, start, end, fade_in, fade_out))
            text = "\n".join(" ".join(line) for line in block.text)
            self.truths.append(TextTruth(kind, text, start, end, block.box, fade_in=fade_in, fade_out=fade_out))
        return True

    def _frames(self, low: float, high: float) -> int:
        return max(1, round(self._rng.uniform(low, high) * self._rate))

    def _block(self, text: str, look: Look, place: tuple[float, float], align: str = "center") -> Block:
        return Block([line.split() for line in text.split("\n")], look, self._frame_size, place, align)

    # --- the overlays ---

    def lower_third(self) -> None:
        """A name over a role on colored bars, one to three times, for two to six seconds."""
        color = self._rng.choice(_COLORS)
        bold, light = self._look(0.05, _letters_on(color)), self._look(0.034)
        boxed = self._rng.random() < 0.75
        name_look = (
            replace(bold, box="block", box_color=color, box_opacity=0.9) if boxed else replace(bold, shadow=0.06)
        )
        role_look = replace(light, box="block", box_color=(20, 20, 24), box_opacity=0.75) if boxed else light
        align, x = self._rng.choice((("left", 0.07), ("left", 0.07), ("right", 0.93), ("center", 0.5)))
        at = self._frames(0.2, 2.5)
        for _ in range(self._rng.randint(1, 3)):
            length = self._frames(1.5, 6)
            name, role = self._rng.choice(NAMES), self._rng.choice(ROLES)
            for y in (0.82, 0.74, 0.66, 0.3):
                step = 0.062 * min(self._frame_size) / self._frame_size[1]
                blocks = [
                    self._block(name, name_look, (x, y), align),
                    self._block(role, role_look, (x, y + step), align),
                ]
                if self._put("lower_third", blocks, at, at + length, fade=2 * self._frames(0.05, 0.2)):
                    break
            at += length + self._frames(2, 8)
            if at + self._frames(1, 1) > self._length:
                return

    def title(self) -> None:
        """A large title in the first seconds."""
        look = self._look(self._rng.uniform(0.09, 0.14), outline=self._rng.choice((0.0, 0.06)), shadow=0.05)
        block = self._block(self._rng.choice(TITLES), look, (0.5, self._rng.uniform(0.3, 0.6)))
        start = self._rng.choice((0, self._frames(0.2, 1)))
        self._put("title", [block], start, start + self._frames(1.5, 4), fade=2 * self._frames(0.1, 0.4))

    def mark(self) -> None:
        """A logo or watermark that stays."""
        boxed = self._rng.random() < 0.4
        look = self._look(
            self._rng.uniform(0.028, 0.05), opacity=self._rng.uniform(0.45, 1), box="block" if boxed else "none",
            box_color=self._rng.choice(_COLORS), shadow=self._rng.choice((0.0, 0.05)),
        )  # fmt: skip
        places = [
            (0.97, 0.06, "right"),
            (0.03, 0.06, "left"),
            (0.97, 0.94, "right"),
            (0.03, 0.94, "left"),
            (0.5, 0.97, "center"),
        ]
        self._rng.shuffle(places)
        for x, y, align in places:
            if self._put("fixture", [self._block(self._rng.choice(MARKS), look, (x, y), align)], 0, self._length):
                return

    def headline(self) -> None:
        """A standing headline on a bar, as in news."""
        color = self._rng.choice(_COLORS)
        look = self._look(0.042, _letters_on(color), box="block", box_color=color, box_opacity=1.0, upper=True)
        for y in (0.93, 0.8, 0.07):
            if self._put(
                "fixture", [self._block(self._rng.choice(HEADLINES), look, (0.06, y), "left")], 0, self._length
            ):
                return

    def clock(self) -> None:
        """A running clock or a score, in a corner."""
        look = self._look(0.038, box="block", box_opacity=0.5)
        x, align = self._rng.choice(((0.04, "left"), (0.96, "right")))
        second = self._rng.randint(20_000, 70_000)
        every = self._rng.choice((1, 1, 60))
        blocks: dict[int, Block] = {}

        def text(at: int) -> int:
            return (second + int(at / self._rate)) // every

        def block(value: int) -> Block:
            if value not in blocks:
                shown = value * every
                form = f"{shown // 3600:02d}:{shown // 60 % 60:02d}" + (f":{shown % 60:02d}" if every == 1 else "")
                blocks[value] = self._block(form, look, (x, 0.06), align)
            return blocks[value]

        box = block(text(0)).box
        if self._is_free(box, 0, self._length):
            self.drawables.append(_Drawn(lambda frame, at: block(text(at)).stamp().draw(frame)))
            self.truths.append(TextTruth("fixture", block(text(0)).text[0][0], 0, self._length, box))

    def ticker(self) -> None:
        """News that run along the lower or upper edge."""
        look = self._look(0.04)
        color = self._rng.choice(_COLORS[:3])
        text = "  +++  ".join(self._rng.sample(HEADLINES, 4)).title() + "  +++  "
        block = Block([text.split()], look, (100_000, min(self._frame_size)), (0.01, 0.5), "left")
        stamp = block.stamp()
        height = round(1.5 * block.size)
        top = self._rng.choice((self._frame_size[1] - height, self._frame_size[1] - height, 0))
        box = (0.0, float(top), float(self._frame_size[0]), float(top + height))
        if not self._is_free(box, 0, self._length):
            return
        speed = self._rng.uniform(0.08, 0.2) * self._frame_size[0] / self._rate
        wide = stamp.alpha.shape[1]
        rows = round((stamp.alpha.shape[0] - height) / 2)

        def draw(frame: Image, at: int) -> None:
            frame[top : top + height] = color
            offset = round(at * speed) % wide
            for x in range(-offset, frame.shape[1], wide):
                cut = slice(max(0, rows), max(0, rows) + height)
                Stamp(x, top, stamp.color[cut], stamp.alpha[cut]).draw(frame)

        self.drawables.append(_Drawn(draw))
        self.truths.append(TextTruth("fixture", text.strip(), 0, self._length, box, moves=True))

    def end_card(self) -> None:
        """A card over the last seconds that covers the picture."""
        length = min(self._frames(1.5, 4), self._length // 3)
        start = self._length - length
        if any(caption.end > start for caption in self._captions):
            return
        color = self._rng.choice(_COLORS)
        look = self._look(self._rng.uniform(0.07, 0.11), _letters_on(color))
        small = replace(look, size=0.045)
        lines = self._rng.sample(END_CARDS, 2)
        self.drawables.append(_Drawn(lambda frame, at: frame.__setitem__(slice(None), color) if at >= start else None))
        self._put("title", [self._block(lines[0], look, (0.5, 0.42))], start, self._length)
        self._put("title", [self._block(lines[1], small, (0.5, 0.62))], start, self._length)

    def credits(self) -> None:
        """Credits that roll up over the last third."""
        start = self._length * 2 // 3
        if any(caption.end > start for caption in self._captions):
            return
        look = self._look(0.045, leading=1.5)
        chosen = self._rng.sample(CREDITS, 6)
        text = "\n".join(f"{role}\n{self._rng.choice(NAMES)}" for role in chosen)
        block = self._block(text, look, (0.5, 0.0))
        stamp = block.stamp()
        way = self._frame_size[1] + stamp.alpha.shape[0]
        darkened = self._rng.random() < 0.6

        def draw(frame: Image, at: int) -> None:
            if at < start:
                return
            if darkened:
                frame[:] = frame // 5
            y = self._frame_size[1] - way * (at - start) / max(1, self._length - start)
            stamp.draw(frame, dy=y - stamp.y)

        self.drawables.append(_Drawn(draw))
        box = (block.box[0], 0.0, block.box[2], float(self._frame_size[1]))
        self.truths.append(TextTruth("title", text, start, self._length, box, moves=True))

    def phone(self) -> None:
        """The controls of an app: a status bar, buttons, and a counter."""
        small = self._look(0.034, shadow=0.05)
        width, height = self._frame_size
        upper = 0.03 if height > width else 0.05
        self._put("interface", [self._block("9:41", small, (0.06, upper), "left")], 0, self._length)
        self._put("interface", [self._block("87%", small, (0.94, upper), "right")], 0, self._length)
        for number, label in enumerate(self._rng.sample(("Like", "Share", "Save", "2.4K", "318", "Reply", "Remix"), 3)):
            self._put("interface", [self._block(label, small, (0.95, 0.45 + 0.1 * number), "right")], 0, self._length)


class _Drawn:
    """A drawable from a function."""

    def __init__(self, draw: Callable[[Image, int], object]) -> None:
        self._draw = draw

    def draw(self, frame: Image, at: int) -> None:
        self._draw(frame, at)


OVERLAYS: dict[str, Callable[[Overlays], None]] = {
    "lower_third": Overlays.lower_third,
    "title": Overlays.title,
    "mark": Overlays.mark,
    "headline": Overlays.headline,
    "clock": Overlays.clock,
    "ticker": Overlays.ticker,
    "end_card": Overlays.end_card,
    "credits": Overlays.credits,
    "phone": Overlays.phone,
}
