"""Caption tracks: rows whose text changes in one place, put together where they belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from captionacc_dagster.captioning.layout.rows import Row, anchor_of
from captionacc_dagster.captioning.layout.tuning import TUNING

_COVERING = 0.4  # of the smaller height: rows that share this much are on top of each other


@dataclass(slots=True)
class FoundTrack:
    """Rows that belong together, from low to high, in pixels of the sample."""

    rows: list[Row]
    anchor: str
    confidence: float

    @property
    def vertical(self) -> bool:
        """Whether the text runs from top to bottom."""
        return self.rows[0].vertical

    def add(self, row: Row) -> None:
        """Add a row."""
        self.rows = sorted([*self.rows, row], key=lambda entry: entry.low)

    def is_beside(self, row: Row) -> bool:
        """Return whether a row touches rows of the track: most of these are lines of it that were found in part."""
        return row.vertical == self.vertical and any(
            min(row.high, other.high) - max(row.low, other.low) > 0 for other in self.rows
        )

    def is_covered_by(self, row: Row) -> bool:
        """Return whether a row is on top of rows of the track instead of beside them."""
        return any(
            min(row.high, other.high) - max(row.low, other.low) > _COVERING * min(row.height, other.height)
            for other in self.rows
        )


def find_tracks(rows: Sequence[Row], size: tuple[int, int], duration_s: float) -> list[FoundTrack]:
    """Return the rows in which captions follow one another, those that belong together as one track.

    Args:
        rows: the rows.
        size: ``(width, height)`` of the samples, pixels.
        duration_s: of the video, seconds.
    """
    strong: list[tuple[Row, str, float]] = []
    weak: list[Row] = []
    for row in rows:
        along = size[1] if row.vertical else size[0]
        anchor = anchor_of([row], along)
        confidence = _row_confidence(row, anchor, size, duration_s)
        if confidence >= 0.5 and anchor is not None:
            strong.append((row, anchor, confidence))
        elif confidence > 0:
            weak.append(row)
    tracks: list[FoundTrack] = []
    for row, anchor, confidence in sorted(strong, key=lambda entry: -entry[2]):
        if any(row.vertical == track.vertical and track.is_covered_by(row) for track in tracks):
            continue  # the same text, found together with its surroundings
        home = next((track for track in tracks if _adjoins(row, track)), None)
        if home is None:
            tracks.append(FoundTrack([row], anchor, confidence))
        else:
            home.add(row)
    for row in weak:
        home = next((track for track in tracks if _completes(row, track, size)), None)
        if home is not None:
            home.add(row)
    return tracks


def _row_confidence(row: Row, anchor: str | None, size: tuple[int, int], duration_s: float) -> float:
    """Return how sure it is that a row contains captions, by how often its text changes in one place (0..1)."""
    moving = sum(line.still == 0 for line in row.lines)
    still = sum(line.still == 1 for line in row.lines)
    if row.distinct == 0 or moving > 0.5 * still + 0.15 * len(row.lines):
        return 0.0
    if anchor is None:
        return 0.3
    along = size[1] if row.vertical else size[0]
    middle = median(line.middle for line in row.lines) / along
    in_the_middle = not row.vertical and anchor == "center" and abs(middle - 0.5) < TUNING.centered
    if row.distinct >= 2:
        seen_still = still >= 2 or (still >= 1 and in_the_middle)
        confidence = 0.55 + 0.06 * row.distinct + 0.15 * in_the_middle + 0.1 * seen_still
        # Over a static scene nothing proves that text is still; text that changes often there belongs to no scene.
        often = moving == 0 and row.distinct >= TUNING.frequent_changes
        return min(0.99, confidence) if seen_still or in_the_middle or often else min(0.45, confidence)
    # A single text may be a sign; in the middle and near an edge, it is a caption.
    place = (row.low + row.high) / 2 / (size[0] if row.vertical else size[1])
    if in_the_middle and (place > 0.7 or place < 0.25):
        return 0.6 if duration_s < 15 or still >= 2 else 0.5 if still else 0.4
    return 0.2


def _adjoins(row: Row, track: FoundTrack, leading: float | None = None, height_ratio: float | None = None) -> bool:
    leading = TUNING.leading if leading is None else leading
    height_ratio = TUNING.track_height_ratio if height_ratio is None else height_ratio
    if row.vertical != track.vertical:
        return False
    for other in track.rows:
        gap = max(other.low - row.high, row.low - other.high)
        smaller, larger = sorted((row.height, other.height))
        if gap <= leading * smaller and larger <= height_ratio * smaller:
            return True
    return False


def _completes(row: Row, track: FoundTrack, size: tuple[int, int]) -> bool:
    """Return whether a row that would not be a caption by itself is another line of a track."""
    near = _adjoins(row, track, TUNING.weak_leading, TUNING.weak_height_ratio)
    along = size[1] if row.vertical else size[0]
    return near and not track.is_covered_by(row) and anchor_of([*track.rows, row], along) == track.anchor
