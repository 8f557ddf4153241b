"""Describes a clip: picture, encoding, background, distractors, and caption tracks, all from one seed."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Look:
    """How a track is lettered: ``size`` is the font's size as a fraction of the picture's smaller side.

    Styles: ``outlined``, ``plain`` (soft shadow only), ``yellow``, ``box`` (translucent), ``thin`` (light font, a
    little transparent, no outline).
    """

    style: str = "outlined"
    font: str = "liberation-bold"
    size: float = 0.062


@dataclass(frozen=True, slots=True)
class TrackSpec:
    """One track of captions.

    Attributes:
        language: ``en``, ``es``, ``zh`` or ``zh-en`` (Chinese over English, one caption of two lines).
        position: ``bottom``, ``bottom-left``, ``top``, ``left`` or ``right`` (vertical at a side).
        look: lettering.
        events: words of `script.EVENTS`.
        shuffle: whether the seed shuffles the events.
        starts_at_once: the first caption starts on frame 0.
        runs_to_end: the last caption runs to the clip's end.
    """

    language: str
    position: str
    look: Look
    events: str
    shuffle: bool = True
    starts_at_once: bool = False
    runs_to_end: bool = False


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """One clip of the benchmark.

    Attributes:
        name: file name without suffix.
        seed: of everything random in it.
        rate: frames per second; the average for ``vfr``.
        codec: ``h264`` or ``vp9``; ``crf`` is its quality.
        background: word of `backgrounds.BACKGROUNDS`.
        distractors: words of `distractors.DISTRACTORS`.
        tracks: caption tracks; without any, ``seconds`` is the clip's length.
    """

    name: str
    seed: int
    width: int
    height: int
    rate: Fraction
    background: str
    tracks: tuple[TrackSpec, ...]
    distractors: tuple[str, ...] = ()
    vfr: bool = False
    codec: str = "h264"
    crf: int = 23
    seconds: float = 0.0

    @property
    def file_name(self) -> str:
        """Name of the video file."""
        return f"{self.name}.{'webm' if self.codec == 'vp9' else 'mp4'}"
