"""A caption and what describes one: as found, as a subtitle file knows it, and a video's whole timeline."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

from captionacc_dagster.captioning.geometry import BBox

LABELS = ("same", "different", "empty_empty", "empty_valid", "valid_empty")

# A frame's time computed in floats may lie this far below the tick it belongs to.
_TICK_SLACK = 1e-6


# What a text in the picture is. Only captions go into subtitles unless more is asked for.
Kind = Literal["caption", "lower_third", "title", "fixture", "interface", "scene"]

# The stable codes of warnings; the sentence that goes with one names what was seen and what to do.
WarningCode = Literal[
    "no_text_seen",
    "text_left_out",
    "script_unread",
    "low_confidence",
    "duration_mismatch",
    "frames_missing",
    "timestamps_repaired",
]


@dataclass(frozen=True, slots=True)
class CaptionWarning:
    """Something about a video that its user should know, in one plain sentence.

    Attributes:
        code: stable, for programs.
        message: for people: what was seen and what to do.
        start_s, end_s: the part of the video it is about, seconds; None: all of it.
    """

    code: WarningCode
    message: str
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word of a caption whose words appear, or light up, one after another.

    Attributes:
        text: the word.
        start_s, end_s: when it is in the picture, half-open.
        bbox: where it is.
        highlight_start_s, highlight_end_s: when it is the highlighted one; None where words are not highlighted.
    """

    text: str
    start_s: float
    end_s: float
    bbox: BBox
    highlight_start_s: float | None = None
    highlight_end_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """One text event as the engine found it.

    Attributes:
        start_s: first moment, seconds from the video's first frame.
        end_s: first moment after it (half-open).
        start_frame: first native frame that shows it.
        end_frame: first native frame that no longer does.
        text: lines joined by ``"\\n"``.
        confidence: of the text, 0..1.
        bbox: where it stands in the picture.
        track: name of its track in the layout.
        extent_confidence: of its beginning and end, 0..1.
        kind: what the text is.
        lang: its language (BCP 47), None where it is not known.
        script: its writing system (ISO 15924), None where it is not known.
        unread: a line of it is in a script that no engine at hand reads; ``text`` has the lines that were read.
        words: its words with their times, empty where they do not move.
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
        """First moment in whole milliseconds, rounded as in the files."""
        return ticks(self, 1000)[0]

    @property
    def end_ms(self) -> int:
        """First moment after it in whole milliseconds, rounded as in the files."""
        return ticks(self, 1000)[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """One text event as a subtitle file knows it: as `Caption`, with None for what the file does not say."""

    start_s: float
    end_s: float
    text: str
    start_frame: int | None = None
    end_frame: int | None = None
    confidence: float | None = None
    bbox: BBox | None = None
    track: str | None = None


AnyCue = Cue | Caption
T = TypeVar("T", Cue, Caption, Cue | Caption)


def sort_cues(cues: Iterable[T]) -> list[T]:
    """Order cues by start, then end, then from top to bottom."""
    return sorted(cues, key=lambda cue: (cue.start_s, cue.end_s, cue.bbox.top if cue.bbox else 1.0))


def ticks(cue: AnyCue, per_second: int) -> tuple[int, int]:
    """Give start and end in whole ticks, rounded down; a cue keeps at least one tick."""
    start = max(0, math.floor(cue.start_s * per_second + _TICK_SLACK))
    return start, max(start + 1, math.floor(cue.end_s * per_second + _TICK_SLACK))


@dataclass(frozen=True, slots=True)
class PairResult:
    """The label of two consecutive cropped frames and the probabilities of all five, which add up to 1."""

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
    """All that one pass over a video found.

    Attributes:
        captions: in order of time, then from top to bottom.
        pairs: labels of consecutive cropped frames.
        cropped_frame_count: frames sampled at the given rate.
        native_frame_count: frames decoded: none where the layout has no track.
        ocr_recognitions: lines that were recognized, repeats counted.
        seconds: CPU seconds by stage: decode, analysis, ocr, encode.
        warnings: what the user should know of the video.
    """

    captions: tuple[Caption, ...]
    pairs: tuple[PairResult, ...]
    cropped_frame_count: int
    native_frame_count: int
    ocr_recognitions: int
    seconds: dict[str, float]
    warnings: tuple[CaptionWarning, ...] = ()
