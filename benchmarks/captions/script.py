"""Turns the events of a track into captions with frames and text."""

from __future__ import annotations

import random
from dataclasses import dataclass

from benchmarks.captions.corpus import Deck
from benchmarks.captions.specs import TrackSpec

EVENTS = {
    "normal": "a sentence after a gap of 0.2 to 1 s",
    "joined": "a sentence without a gap before it",
    "tiny-gap": "a sentence 1 to 3 frames after the one before",
    "short": "0.3 to 0.5 s long",
    "short-joined": "0.3 to 0.5 s long, without a gap before it",
    "neighbors": "two that differ in one character, without a gap",
    "repeat": "the same text twice, 2 to 10 frames between",
    "fade": "fades in and out over 4 to 12 frames",
    "slow-fade": "fades in and out over 14 to 30 frames",
    "crossfade": "fades into another one that fades in at the same time, over 6 to 16 frames",
    "karaoke": "changes color from left to right",
    "long": "6 to 8 s long",
    "tiny": "one to three characters",
    "two-lines": "a sentence broken into two lines",
    "wait": "nothing for 4 to 6 s",
    "cut": "the background is cut in the middle of it",
}


# Characters of a column that fits the picture's height.
_LONGEST_VERTICAL = 9


@dataclass(frozen=True, slots=True)
class Event:
    """One caption of the truth, in native frames, half-open; ``drawn`` includes the fades.

    ``start`` is the first frame drawn at least half opaque, ``end`` the first after it drawn less than half opaque.
    """

    start: int
    end: int
    text: str
    kinds: tuple[str, ...]
    fade_in: int = 0
    fade_out: int = 0
    karaoke: bool = False
    cut: int | None = None

    @property
    def drawn(self) -> tuple[int, int]:
        """The frames on which the caption is drawn at all, half-open."""
        return self.start - self.fade_in // 2, self.end + self.fade_out // 2

    def opacity(self, frame: int) -> float:
        """Return the opacity on a frame, 0..1: linear in the fades, one half at ``start`` and before ``end``."""
        opacity = 1.0
        if self.fade_in:
            opacity = min(opacity, (frame - self.start) / self.fade_in + 0.5)
        if self.fade_out:
            opacity = min(opacity, (self.end - 1 - frame) / self.fade_out + 0.5)
        return max(0.0, opacity)


class _Writer:
    def __init__(self, track: TrackSpec, rate: float, rng: random.Random) -> None:
        self.rate = rate
        self.rng = rng
        self.deck = Deck(track.language, rng, _LONGEST_VERTICAL if track.position in ("left", "right") else 1000)
        self.at = 0
        self.events: list[Event] = []
        self.waiting = 0
        self.at_once = track.starts_at_once

    def frames(self, low: float, high: float) -> int:
        return max(1, round(self.rng.uniform(low, high) * self.rate))

    def reading_time(self, text: str) -> int:
        letters = sum(3 if ord(letter) > 0x2E80 else 1 for letter in text)
        seconds = min(3.4, max(0.7, 0.35 + letters / 24))
        return self.frames(0.85 * seconds, 1.15 * seconds)

    def put(self, gap: int, length: int, text: str, *kinds: str, fade: int = 0, karaoke: bool = False) -> None:
        if self.at_once and not self.events:
            gap, fade = 0, 0
        before = self.events[-1].fade_out if self.events else 0
        if "crossfade" not in kinds and (fade or before):
            gap = max(gap, (fade + before) // 2 + 2)
        start = self.at + gap + self.waiting
        self.waiting = 0
        cut = start + length * 2 // 5 if "cut" in kinds else None
        self.events.append(Event(start, start + length, text, kinds, fade, fade, karaoke, cut))
        self.at = start + length

    def write(self, event: str) -> None:
        usual = self.frames(0.2, 1.0)
        match event:
            case "wait":
                self.waiting += self.frames(4, 6)
            case "neighbors":
                first, second = self.deck.neighbors()
                self.put(usual, self.frames(0.8, 1.6), first, event)
                self.put(0, self.frames(0.8, 1.6), second, event)
            case "repeat":
                text = self.deck.sentence()
                self.put(usual, self.reading_time(text), text, event)
                self.put(self.rng.randint(2, 10), self.reading_time(text), text, event)
            case "short" | "short-joined":
                gap = 0 if event == "short-joined" else usual
                self.put(gap, self.frames(0.3, 0.5 - 0.5 / self.rate), self.deck.short_sentence(), "short")
            case "tiny":
                self.put(usual, self.frames(0.5, 1.2), self.deck.tiny(), event)
            case "long":
                self.put(usual, self.frames(6, 8), self.deck.sentence(), event)
            case "fade":
                text = self.deck.sentence()
                fade = 2 * self.rng.randint(2, 6)
                self.put(usual, self.reading_time(text) + fade, text, event, fade=fade)
            case "slow-fade":
                text = self.deck.sentence()
                fade = 2 * self.rng.randint(7, 15)
                self.put(usual + fade, self.reading_time(text) + fade, text, event, fade=fade)
            case "crossfade":
                text, other = self.deck.sentence(), self.deck.sentence()
                fade = 2 * self.rng.randint(3, 8)
                self.put(usual + fade, self.reading_time(text) + fade, text, "fade", fade=fade)
                self.put(0, self.reading_time(other) + fade, other, event, fade=fade)
            case _:
                text = self.deck.sentence()
                gap = {"joined": 0, "tiny-gap": self.rng.randint(1, 3)}.get(event, usual)
                length = self.frames(1.4, 2.4) if event == "cut" else self.reading_time(text)
                self.put(gap, length, text, event, karaoke=event == "karaoke")


def write_script(track: TrackSpec, rate: float, rng: random.Random) -> list[Event]:
    """Return the captions of a track, in order of time.

    Raises:
        ValueError: an event does not exist.
    """
    words = track.events.split()
    unknown = set(words) - set(EVENTS)
    if unknown:
        raise ValueError(f"unknown events: {sorted(unknown)}")
    if track.shuffle:
        rng.shuffle(words)
    writer = _Writer(track, rate, rng)
    for word in words:
        writer.write(word)
    return writer.events
