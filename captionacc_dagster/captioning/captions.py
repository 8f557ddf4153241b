"""The models of captions: as the engine finds them, as subtitle files contain them, and a video's timeline."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from captionacc_dagster.captioning.geometry import BBox

# How the caption of a cropped frame relates to that of the next one.
LABELS = ("same", "different", "empty_empty", "empty_valid", "valid_empty")

# A frame's time computed in floats can be this many ticks below the tick it belongs to.
TICK_SLACK = 1e-6

# Called with (stage, units done, units in all); the total is 0 while it is unknown.
Progress = Callable[[str, int, int], None]


# What a text in the picture is. Subtitles contain only captions unless more kinds are requested.
Kind = Literal["caption", "context", "lower_third", "title", "fixture", "interface", "scene"]

KINDS: tuple[Kind, ...] = get_args(Kind)

# Of the picture, where one of several people speaks at once, or of a track, where a caption is above another one; what
# is there is a track of its own.
Side = Literal["left", "middle", "right", "upper"]

# Stable codes, for programs; the message of a warning says what was seen and what to do.
WarningCode = Literal[
    "no_text_seen",
    "text_left_out",
    "script_unread",
    "letters_confused",
    "lines_apart",
    "low_confidence",
    "duration_mismatch",
    "frames_missing",
    "timestamps_repaired",
]


@dataclass(frozen=True, slots=True)
class CaptionWarning:
    """What the user of a video should know, in one plain sentence.

    Attributes:
        code: stable, for programs.
        message: for people: what was seen and what to do.
        start_s, end_s: the part of the video concerned, seconds; None for the whole video.
    """

    code: WarningCode
    message: str
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word of a caption whose words appear or are highlighted one after another.

    Attributes:
        text: the word.
        start_s, end_s: half-open time in which the word is visible, seconds.
        bbox: its place in the frame.
        highlight_start_s, highlight_end_s: half-open time in which the word is highlighted, seconds; None if it
            never is.
    """

    text: str
    start_s: float
    end_s: float
    bbox: BBox
    highlight_start_s: float | None = None
    highlight_end_s: float | None = None

    @property
    def onset_s(self) -> float:
        """When the word is first highlighted, or else first visible, seconds."""
        return self.start_s if self.highlight_start_s is None else self.highlight_start_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """One text event as the engine found it.

    Attributes:
        start_s, end_s: half-open time on the video's own clock, seconds.
        start_frame, end_frame: half-open range of native frames that show the caption.
        text: lines joined by ``"\\n"``.
        confidence: of the text, 0..1.
        bbox: its place in the frame.
        track: name of its track in the layout.
        extent_confidence: of its start and end, 0..1.
        kind: what the text is.
        lang: language (BCP 47); None if unknown.
        script: writing system (ISO 15924); None if unknown.
        unread: no available engine reads the script of at least one line; ``text`` contains the lines that were read.
        words: words with their own times; empty if all words appear and disappear together.
    """

    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    text: str
    confidence: float
    bbox: BBox
    track: str = "bottom"
    extent_confidence: float = 1.0
    kind: Kind = "caption"
    lang: str | None = None
    script: str | None = None
    unread: bool = False
    words: tuple[Word, ...] = ()

    @property
    def start_ms(self) -> int:
        """Start in whole milliseconds, rounded down as in the files."""
        return ticks(self, 1000)[0]

    @property
    def end_ms(self) -> int:
        """End in whole milliseconds, rounded down as in the files."""
        return ticks(self, 1000)[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """One text event of a subtitle file: the fields of `Caption`, None or the default where the file has no value."""

    start_s: float
    end_s: float
    text: str
    start_frame: int | None = None
    end_frame: int | None = None
    confidence: float | None = None
    bbox: BBox | None = None
    track: str | None = None
    kind: Kind = "caption"
    lang: str | None = None
    script: str | None = None
    unread: bool = False
    words: tuple[Word, ...] = ()


def side_track(track: str, side: Side | None) -> str:
    """Return the name of the track of what is said on one side of a track; None: of the track itself."""
    return track if side is None else f"{track}-{side}"


def is_side_of(name: str, track: str) -> bool:
    """Return whether a name is that of one side of a track."""
    return any(name == side_track(track, side) for side in get_args(Side))


AnyCue = Cue | Caption
T = TypeVar("T", Cue, Caption, Cue | Caption)


def sort_cues(cues: Iterable[T]) -> list[T]:
    """Return cues ordered by start, then end, then from top to bottom."""
    return sorted(cues, key=lambda cue: (cue.start_s, cue.end_s, cue.bbox.top if cue.bbox else 1.0))


def ticks(cue: AnyCue, per_second: int) -> tuple[int, int]:
    """Return start and end in whole ticks, rounded down; a cue lasts at least one tick."""
    start = max(0, math.floor(cue.start_s * per_second + TICK_SLACK))
    return start, max(start + 1, math.floor(cue.end_s * per_second + TICK_SLACK))


@dataclass(frozen=True, slots=True)
class PairResult:
    """The label of two consecutive cropped frames, and the probabilities of all five `LABELS`, which sum to 1."""

    frame1_index: int
    frame2_index: int
    label: str
    prob_same: float
    prob_different: float
    prob_empty_empty: float
    prob_empty_valid: float
    prob_valid_empty: float

    @property
    def confidence(self) -> float:
        """Probability of the label."""
        return max(
            self.prob_same,
            self.prob_different,
            self.prob_empty_empty,
            self.prob_empty_valid,
            self.prob_valid_empty,
        )


@dataclass(frozen=True, slots=True)
class Timeline:
    """The result of one pass over a video.

    Attributes:
        captions: in order of time, then from top to bottom.
        pairs: labels of consecutive cropped frames.
        cropped_frame_count: frames sampled at the given rate.
        native_frame_count: frames decoded; 0 if the layout has no track.
        ocr_recognitions: lines recognized, repeats included.
        seconds: CPU seconds by stage: decode, analysis, ocr, encode.
        warnings: what the user should know about the video.
        cuts_s: times of the frames with which shots begin, seconds, without the first of the video.
    """

    captions: tuple[Caption, ...]
    pairs: tuple[PairResult, ...]
    cropped_frame_count: int
    native_frame_count: int
    ocr_recognitions: int
    seconds: dict[str, float]
    warnings: tuple[CaptionWarning, ...] = ()
    cuts_s: tuple[float, ...] = ()

    @property
    def cuts_ms(self) -> list[int]:
        """The cuts in whole milliseconds, rounded down as captions are."""
        return [math.floor(cut * 1000 + TICK_SLACK) for cut in self.cuts_s]


def clock(seconds: float) -> str:
    """Return a time as ``m:ss.mmm``, or ``h:mm:ss.mmm`` from one hour on."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 1000:02d}.{rest % 1000:03d}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"
