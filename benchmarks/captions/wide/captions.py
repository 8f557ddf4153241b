"""Writes the captions of a wide clip: when they come and go, and how their words move."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.captions.wide.lettering import Block, WordState, broken
from benchmarks.captions.wide.looks import Look
from benchmarks.captions.wide.sentences import Sentences, join_words
from benchmarks.captions.wide.timed import Drawable, TextTruth, TimedBlock, WordTruth

MODES = {
    "lines": "a sentence in one to three lines",
    "single": "one or two captions that stay for most of the clip",
    "block": "a block of four to six lines",
    "wandering": "sentences at changing places: bottom, top, middle, left, right",
    "speakers": "two speakers, left and right, at times both at once",
    "words": "one word at a time, from two frames on",
    "phrases": "two or three words at a time",
    "karaoke": "a color runs through the line",
    "highlight": "the spoken word has another color, a box, or another size",
    "context": "a highlighted line between the dimmed lines before and after it",
    "build": "words appear one after another",
    "rollup": "two or three rows: the lower becomes the upper",
}
MOTIONS = ("words", "phrases", "karaoke", "highlight", "context", "build", "rollup")

PLACES = {
    "bottom": (0.5, 0.88, "center"),
    "low": (0.5, 0.76, "center"),
    "top": (0.5, 0.1, "center"),
    "middle": (0.5, 0.5, "center"),
    "bottom-left": (0.06, 0.86, "left"),
    "bottom-right": (0.94, 0.86, "right"),
    "left": (0.25, 0.5, "center"),
    "right": (0.75, 0.5, "center"),
    "top-left": (0.06, 0.12, "left"),
}
_SIDES = ("left", "right", "bottom-left", "bottom-right", "top-left")


@dataclass(frozen=True, slots=True)
class CaptionSpec:
    """One track of captions.

    Attributes:
        mode: one of `MODES`.
        language: one of `sentences.LANGUAGES`.
        look: lettering.
        place: one of `PLACES`; ``wandering`` and ``speakers`` choose their own.
        lines: the most lines of a caption.
        joined: the part of the captions that follow the one before without a gap.
        fades: the part that fades.
        entrance: ``cut``, ``pop``, or ``slide``.
        most: the most captions.
        pace: multiplies the reading time.
    """

    mode: str
    language: str
    look: Look
    place: str = "bottom"
    lines: int = 2
    joined: float = 0.4
    fades: float = 0.0
    entrance: str = "cut"
    most: int = 20
    pace: float = 1.0


class CaptionWriter:
    """Writes one track of captions into a clip of some length.

    After construction ``drawables`` draws the captions and ``truths`` describes them, in order of time.
    """

    def __init__(
        self, spec: CaptionSpec, frame_size: tuple[int, int], rate: float, length: int, rng: random.Random
    ) -> None:
        self.drawables: list[Drawable] = []
        self.truths: list[TextTruth] = []
        self._spec = spec
        self._frame_size = frame_size
        self._rate = rate
        self._length = length
        self._rng = rng
        self._sentences = Sentences(spec.language, rng)
        self._gap = 0.0 if spec.language == "zh" else 1.0
        self._at = 0 if rng.random() < 0.25 else self._frames(0.1, min(1.5, 0.2 * length / rate))
        getattr(self, f"_write_{_WRITERS[spec.mode]}")()

    # --- what all modes use ---

    def _frames(self, low: float, high: float) -> int:
        return max(1, round(self._rng.uniform(low, max(low, high)) * self._rate))

    def _reading_time(self, text: str) -> int:
        letters = sum(3 if ord(letter) > 0x2E80 else 1 for letter in text)
        seconds = self._spec.pace * min(6.0, max(0.7, 0.4 + letters / 20))
        return self._frames(0.8 * seconds, 1.25 * seconds)

    def _pause(self) -> int:
        """Return a gap: none, a few frames, up to a second, or, rarely, several seconds."""
        roll = self._rng.random()
        if roll < self._spec.joined:
            return 0
        if roll < self._spec.joined + 0.1:
            return self._rng.randint(1, 4)
        return self._frames(2, 5) if roll > 0.95 else self._frames(0.15, 1.2)

    def _block(self, lines: Sequence[Sequence[str]], place: str, look: Look | None = None) -> Block:
        x, y, align = PLACES[place]
        return Block(lines, look or self._spec.look, self._frame_size, (x, y), align, self._gap)

    def _broken(self, words: Sequence[str], place: str, most: int) -> list[list[str]]:
        look = self._spec.look
        widest = (0.42 if place in _SIDES else 0.84) * self._frame_size[0]
        size = max(8, round(look.size * min(self._frame_size)))
        shown = [word.upper() for word in words] if look.upper else words
        lines = broken(shown, look.font, size, widest, most, self._gap)
        return lines if sum(map(len, lines)) else [[shown[0][:8]]]

    def _text(self, block: Block) -> str:
        return "\n".join(join_words(line, self._spec.language) for line in block.text)

    def _put(
        self,
        block: Block,
        start: int,
        end: int,
        place: str,
        *,
        states: Callable[[int], Mapping[int, WordState]] | None = None,
        words: tuple[WordTruth, ...] = (),
        fade: int = 0,
    ) -> None:
        end = min(end, self._length)
        if end <= start:
            return
        fade_in, fade_out = (0 if start == 0 else fade), (0 if end == self._length else fade)
        quick = min(self._frames(0.1, 0.25), (end - start) // 2)
        drawn = TimedBlock(block, start, end, fade_in, fade_out, self._spec.entrance, quick)
        if states is not None:
            drawn.states = states
        self.drawables.append(drawn)
        self.truths.append(
            TextTruth(
                "caption", self._text(block), start, end, block.box, self._spec.mode, place, fade_in, fade_out,
                words=words,
            )
        )  # fmt: skip

    def _next(self, length: int, fade: int) -> int | None:
        """Return where the next caption starts; None when the clip is full."""
        before = self.truths[-1].fade_out if self.truths else 0
        pause = self._pause() if self.truths else 0
        start = self._at + (max(pause, (fade + before) // 2 + 2) if fade or before else pause)
        least = max(2, min(length // 2, round(0.3 * self._rate)))
        if len(self.truths) >= self._spec.most or start + least > self._length:
            return None
        self._at = start + length
        return start

    def _fade(self) -> int:
        return 2 * max(1, self._frames(0.06, 0.3)) if self._rng.random() < self._spec.fades else 0

    # --- the modes ---

    def _write_sentences(self) -> None:
        spec = self._spec
        place = spec.place
        while True:
            if spec.mode == "wandering":
                place = self._rng.choice(("bottom", "bottom", "top", "middle", "left", "right", "bottom-left"))
            words = self._sentences.words()
            if spec.mode == "block":
                words += self._sentences.words() + self._sentences.words()
            block = self._block(self._broken(words, place, spec.lines), place)
            length = self._reading_time(self._text(block))
            if spec.mode == "single":
                length = round(self._rng.uniform(0.55, 1.05) * self._length)
            fade = self._fade()
            start = self._next(length + fade, fade)
            if start is None:
                return
            self._put(block, start, self._at, place, fade=fade)

    def _write_speakers(self) -> None:
        left, right = self._rng.choice((("bottom-left", "bottom-right"), ("left", "right"), ("left", "bottom-right")))
        while True:
            for place in (left, right):
                block = self._block(self._broken(self._sentences.words(), place, 3), place)
                length = self._reading_time(self._text(block))
                start = self._next(length, 0)
                if start is None:
                    return
                self._put(block, start, self._at, place)
                if self._rng.random() < 0.35:  # the other speaker begins before this one ends
                    self._at = start + length // 2

    def _write_words(self) -> None:
        count = {"words": (1, 1), "phrases": (2, 3)}[self._spec.mode]
        place = self._spec.place
        while True:
            words = self._sentences.words()
            while words:
                taken = self._rng.randint(*count)
                shown, words = words[:taken], words[taken:]
                block = self._block(self._broken(shown, place, 2), place)
                length = self._frames(0.12, 0.45) if self._rng.random() < 0.8 else self._rng.randint(2, 5)
                length *= len(shown)
                start = self._at + (self._frames(0.1, 0.5) if self._rng.random() < 0.12 else 0)
                if len(self.truths) >= 5 * self._spec.most or start + 2 > self._length:
                    return
                self._at = start + length
                self._put(block, start, self._at, place)

    def _spoken(self, block: Block, start: int, end: int) -> list[tuple[int, int]]:
        """Divide a caption's time among its words by their length."""
        letters = [len(word) + 1 for line in block.text for word in line]
        edges = [start]
        for number in range(len(letters)):
            edges.append(start + round((end - start) * sum(letters[: number + 1]) / sum(letters)))
        return list(pairwise(edges))

    def _write_lit(self) -> None:
        """Karaoke, highlight, context, and build-up."""
        spec = self._spec
        style = self._rng.choice(("color", "box", "size", "color+size"))
        before: Block | None = None
        while True:
            block = self._block(self._broken(self._sentences.words(), spec.place, spec.lines), spec.place)
            length = self._reading_time(self._text(block))
            start = self._next(length, 0)
            if start is None:
                return
            end = min(self._at, self._length)
            tail = self._rng.choice((0, 0, length // 4))
            spans = self._spoken(block, start, max(start + 1, self._at - tail))
            states, words = self._lit(block, spans, start, end, style)
            self._put(block, start, end, spec.place, states=states, words=words)
            if spec.mode == "context":
                self._put_context(block, before, start, end)
            before = block

    def _lit(
        self, block: Block, spans: list[tuple[int, int]], start: int, end: int, style: str
    ) -> tuple[Callable[[int], Mapping[int, WordState]], tuple[WordTruth, ...]]:
        mode = self._spec.mode
        texts = [word for line in block.text for word in line]

        def states(at: int) -> Mapping[int, WordState]:
            found: dict[int, WordState] = {}
            for number, (first, last) in enumerate(spans):
                if mode == "build":
                    found[number] = WordState(shown=at >= first)
                elif mode == "karaoke" and at >= first:
                    done = round(16 * (at + 1 - first) / max(1, last - first)) / 16
                    found[number] = WordState(accent=min(1.0, done))
                elif mode in ("highlight", "context") and first <= at < last:
                    scale = 1.15 if "size" in style else 1.0
                    found[number] = WordState(accent=1.0 if style != "size" else 0.0, boxed=style == "box", scale=scale)
            return found

        rows = zip(texts, block.boxes, spans, strict=True)
        if mode == "build":
            words = [WordTruth(text, first, end, box) for text, box, (first, _) in rows if first < end]
        else:
            words = [
                WordTruth(text, start, end, box, (first, min(last, end)))
                for text, box, (first, last) in rows
                if first < end
            ]
        return states, tuple(words)

    def _put_context(self, block: Block, before: Block | None, start: int, end: int) -> None:
        """Draw the dimmed line before and the dimmed next line; they are no captions."""
        spec = self._spec
        x, y, align = PLACES[spec.place]
        step = 1.7 * spec.look.size * min(self._frame_size) * max(1, spec.lines) / self._frame_size[1]
        upcoming = self._broken(self._sentences.words(), spec.place, 1)
        for lines, dy in ((before.text if before else None, -step), (upcoming, step)):
            if not lines or not 0.05 < y + dy < 0.95:
                continue
            dimmed = Block(lines[:1], spec.look, self._frame_size, (x, y + dy), align, self._gap)
            faint = {number: WordState(dimmed=True) for number in range(len(dimmed.boxes))}
            self.drawables.append(TimedBlock(dimmed, start, end, states=lambda at, faint=faint: faint))
            self.truths.append(TextTruth("interface", self._text(dimmed), start, end, dimmed.box))

    def _write_rollup(self) -> None:
        spec = self._spec
        rows = self._rng.choice((2, 2, 3))
        leading = spec.look.leading * spec.look.size * min(self._frame_size) / self._frame_size[1]
        _, y, _ = PLACES[spec.place]
        lines: list[tuple[list[str], int]] = []
        at = self._at
        while at + 2 < self._length and len(lines) < spec.most:
            for line in self._broken(self._sentences.words(), spec.place, 2):
                if at + 2 < self._length:
                    lines.append((line, at))
                    at += self._reading_time(join_words(line, spec.language))
        moments = [start for _, start in lines] + [self._length] * (rows + 1)
        for number, (line, start) in enumerate(lines):
            leaves = moments[number + rows] if number + rows < len(lines) else self._length
            first: Block | None = None
            for row in range(rows):
                begins, ends = moments[number + row], min(moments[number + row + 1], leaves)
                if begins >= ends:
                    continue
                block = Block([line], spec.look, self._frame_size, (0.1, y - row * leading), "left", self._gap)
                self.drawables.append(TimedBlock(block, begins, ends))
                first = first or block
            if first is not None:
                self.truths.append(
                    TextTruth("caption", self._text(first), start, leaves, first.box, spec.mode, spec.place, moves=True)
                )


_WRITERS = {
    "lines": "sentences", "single": "sentences", "block": "sentences", "wandering": "sentences", "speakers": "speakers",
    "words": "words", "phrases": "words", "karaoke": "lit", "highlight": "lit", "context": "lit", "build": "lit",
    "rollup": "rollup",
}  # fmt: skip
