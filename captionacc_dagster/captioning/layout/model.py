"""Where captions appear: a layout, its tracks, and the lines of text read in full frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from captionacc_dagster.captioning.captions import CaptionWarning, Kind
from captionacc_dagster.captioning.geometry import BBox, CropRegion


@dataclass(frozen=True, slots=True)
class Detection:
    """A line of text in a sampled frame; ``box_index`` numbers the lines of the frame."""

    frame_index: int
    box_index: int
    timestamp_s: float
    text: str
    confidence: float
    bbox: BBox


@dataclass(frozen=True, slots=True)
class FrameOcr:
    """What was read in a sampled frame, or why nothing could be (``error``, one line)."""

    frame_index: int
    timestamp_s: float
    detections: tuple[Detection, ...]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """A place where captions follow one another.

    Attributes:
        name: ``bottom``, ``top``, ``left`` ...; unique in its layout.
        region: the tight box of all its lines, with room for longer ones than were seen, and for a second line.
        line_height: height of a line as a fraction of the frame's height (of a vertical track: width of a
            column as a fraction of the frame's width).
        vertical: the text runs from top to bottom.
        anchor: what stays when the text changes: ``left``, ``center``, ``right``, or ``mixed`` where that varies.
        anchor_position: where that is along the text, as a fraction of the frame; None where it is not known. The
            middle of the region need not be there: the frame's edges cut the region.
        confidence: how sure it is that captions appear here (0..1).
        lines: top and bottom of each line's place that was seen (vertical: left and right of each column), in order.
        room: top and bottom of the place kept for a second line where few texts, all of one line, were seen.
        texts_seen: different captions seen in the samples.
        avoid: boxes ``(left, top, right, bottom)`` of text inside the region that is no caption (a logo, a
            clock beside the captions).
        kind: what the text of the track is.
        lang: its language (BCP 47), None where it is not known.
        script: its writing system (ISO 15924), None where it is not known.
    """

    name: str
    region: BBox
    line_height: float
    vertical: bool
    anchor: str
    confidence: float
    lines: tuple[tuple[float, float], ...] = ()
    room: tuple[float, float] | None = None
    texts_seen: int = 0
    avoid: tuple[tuple[float, float, float, float], ...] = ()
    kind: Kind = "caption"
    lang: str | None = None
    script: str | None = None
    anchor_position: float | None = None

    @property
    def places(self) -> tuple[tuple[float, float], ...]:
        """Where lines may appear: those seen, and the room for one more, in order."""
        return tuple(sorted(self.lines if self.room is None else (*self.lines, self.room)))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A place with text that is not followed as captions, and what it was taken for."""

    bbox: BBox
    kind: Kind
    text: str = ""
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Where captions appear. ``crop_region`` is the union of the tracks, ``None`` without captions.

    ``labels`` says, for a full frame's detection by ``(frame_index, box_index)``, ``"in"`` (a caption) or
    ``"out"`` and how sure that is; ``evidence`` are the detections that the search made by itself. ``left_out``
    are the places whose text was not taken for captions, and ``warnings`` what the user should know of the video.
    """

    frame_width: int
    frame_height: int
    tracks: tuple[Track, ...]
    crop_region: CropRegion | None
    anchor_type: str
    anchor_position: float
    vertical_center: float
    confidence: float
    labels: Mapping[tuple[int, int], tuple[str, float]] = field(default_factory=dict)
    evidence: tuple[Detection, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[CaptionWarning, ...] = ()

    def label(self, detection: Detection) -> tuple[str, float]:
        """Return ``("in" | "out", confidence)`` for a full frame's detection."""
        return self.labels[(detection.frame_index, detection.box_index)]
