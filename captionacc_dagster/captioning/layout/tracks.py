"""Tracks: rows of captions, or of lower thirds, put together where they belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from captionacc_dagster.captioning.captions import Kind
from captionacc_dagster.captioning.layout.contrasts import adjoin
from captionacc_dagster.captioning.layout.kinds import FOLLOWED
from captionacc_dagster.captioning.layout.rows import (
    SIDE_GAP,
    Line,
    Row,
    anchor_of,
    are_centered,
    change_together,
    turn_over_together,
)
from captionacc_dagster.captioning.layout.tuning import TUNING

_MOSTLY_ALONE = 0.5  # of the other texts: when more of them change while a row stays, it is not part of them
_OVERLAPPING = 0.2  # of the smaller height: boxes of successive lines share half of this
_COVERING = 0.4  # of the smaller height: rows that share this much are on top of each other


@dataclass(slots=True)
class FoundTrack:
    """Rows that belong together, in pixels of the sample.

    Attributes:
        rows: the places of its lines, from low to high.
        anchor: what stays when the text changes; None where that varies.
        confidence: how sure it is that the text is of this kind (0..1).
        kind: what its text is.
        is_doubtful: its text is more likely something else, but captions are rather followed than lost.
        covering: rows on top of others: blocks of another number of lines, or lines found with their surroundings.
    """

    rows: list[Row]
    anchor: str | None
    confidence: float
    kind: Kind = "caption"
    is_doubtful: bool = False
    covering: list[Row] = field(default_factory=list)

    @property
    def vertical(self) -> bool:
        """Whether the text runs from top to bottom."""
        return self.rows[0].vertical

    @property
    def all_rows(self) -> list[Row]:
        """All of its rows, also those on top of others."""
        return [*self.rows, *self.covering]

    @property
    def span(self) -> tuple[float, float]:
        """Where its rows begin and end across the text, pixels."""
        return min(row.low for row in self.all_rows), max(row.high for row in self.all_rows)

    @property
    def limits(self) -> tuple[float, float] | None:
        """Between which places along the text its text stays, pixels; None: the whole picture."""
        return next((row.limits for row in self.all_rows if row.limits is not None), None)

    def is_apart_from(self, row: Row) -> bool:
        """Return whether a row is text of another speaker, beside the track along the text."""
        return any(row.is_apart_from(other) for other in self.all_rows)

    def add(self, row: Row) -> None:
        """Add a row."""
        if self.is_covered_by(row):
            self.covering.append(row)
        else:
            self.rows = sorted([*self.rows, row], key=lambda entry: entry.low)

    def is_beside(self, row: Row) -> bool:
        """Return whether a row touches rows of the track: most of these are lines of it that were found in part."""
        return (
            row.vertical == self.vertical
            and not self.is_apart_from(row)
            and any(min(row.high, other.high) - max(row.low, other.low) > 0 for other in self.all_rows)
        )

    def is_covered_by(self, row: Row) -> bool:
        """Return whether a row is on top of rows of the track instead of beside them."""
        return any(
            min(row.high, other.high) - max(row.low, other.low) > _COVERING * min(row.height, other.height)
            for other in self.rows
        )


def find_tracks(rows: Sequence[Row], size: tuple[int, int]) -> list[FoundTrack]:
    """Return the tracks of captions and of lower thirds; rows that touch or overlap are one track.

    Args:
        rows: the rows, with the chances of their kinds.
        size: ``(width, height)`` of the samples, pixels.
    """
    tracks: list[FoundTrack] = []
    weak: list[Row] = []
    for row in sorted(rows, key=lambda entry: (-entry.distinct, -len(entry.lines))):
        kind = row.kind
        if row.is_moving or row.distinct == 0:
            continue
        speaker = next((track for track in tracks if _is_other_speaker(row, track)), None)
        if speaker is not None:
            row.chances = {**row.chances, "caption": max(0.5, row.chances["caption"])}
            row.limits = _limits_beside(row, speaker, size)
            tracks.append(FoundTrack([row], anchor_of([row], size[0]), _confidence(row)))
            continue
        if kind not in FOLLOWED or _is_glimpse(row) or _is_stray(row, tracks):
            weak.append(row)
            continue
        touching = [track for track in tracks if track.kind == kind and _belongs(row, track)]
        home = next((track for track in touching if _is_sure_line(row, track, size)), None)
        if touching and home is None:
            weak.append(row)
        elif home is None:
            anchor = anchor_of([row], size[1] if row.vertical else size[0])
            tracks.append(FoundTrack([row], anchor, _confidence(row), kind))
        else:
            home.add(row)
    if not any(track.kind == "caption" for track in tracks):
        for track in tracks:
            _follow_as_captions(track)
    if not any(track.kind == "caption" for track in tracks):
        tracks += _lone_tracks(weak, size) or _doubtful_tracks(weak, size)
    else:
        # Among many rows of a screen, one of a few texts may look a little more like captions than they do themselves.
        surest = max(track.confidence for track in tracks if track.kind == "caption")
        tracks += _doubtful_tracks(weak, size, surest)
    captions = [track for track in tracks if track.kind == "caption"]
    for track in tracks:
        if track.kind == "lower_third" and any(_are_moved_captions(track, other, size) for other in captions):
            _call_captions(track)
    tracks = _without_rivals(_joined(tracks), size)
    followed = {id(row) for track in tracks for row in track.all_rows}
    for row in weak:
        if id(row) in followed:
            continue
        home = next((track for track in tracks if _completes(row, track, size)), None)
        if home is not None:
            home.add(row)
        elif any(_is_like(row, track, size) for track in tracks if track.kind == "caption"):
            row.chances = {**row.chances, "caption": 0.5}
            tracks.append(FoundTrack([row], anchor_of([row], size[0]), _confidence(row)))
    return _joined(tracks)


def _is_glimpse(row: Row) -> bool:
    """Return whether a row was seen once, not known to be still, and is more likely something else than its kind."""
    return len(row.lines) == 1 and row.lines[0].still < 1 and row.chances[row.kind] < 0.5


def _is_stray(row: Row, tracks: Sequence[FoundTrack]) -> bool:
    """Return whether a row was seen once, and is of another size or look than the captions that were found, several of
    them or surer ones: such text of a screen or a sign may look a little like captions."""
    if len(row.lines) > 1:
        return False
    rows = [other for track in tracks if track.kind == "caption" for other in track.rows]
    if row.chances[row.kind] >= 0.5 and not any(other.distinct >= TUNING.telling_texts for other in rows):
        return False
    return bool(rows) and not any(
        _is_of_the_size(row, other) and (row.looks_like(other) or row.looks_like_beside(other)) for other in rows
    )


def _is_of_the_size(row: Row, other: Row) -> bool:
    smaller, larger = sorted((row.height, other.height))
    return larger <= TUNING.block_height_ratio * smaller


def _follow_as_captions(track: FoundTrack) -> None:
    """Make a track of captions of a lower third that may as well be captions.

    In a short clip with one caption and no other text, little tells the two apart, and captions are rather followed
    than lost.
    """
    row = track.rows[0]
    if 2 * row.chances["caption"] >= row.chances["lower_third"]:
        _call_captions(track)


def _call_captions(track: FoundTrack) -> None:
    """Make a track of captions of a lower third."""
    for line in track.all_rows:
        both = line.chances["caption"] + line.chances["lower_third"]
        line.chances = {**line.chances, "caption": both, "lower_third": 0.0}
    track.kind, track.confidence = "caption", _confidence(track.rows[0])


def _are_moved_captions(track: FoundTrack, captions: FoundTrack, size: tuple[int, int]) -> bool:
    """Return whether a lower third rather contains captions that change their place: it looks like those elsewhere, is
    of their size, turns over as they do or is aligned with them, and is never visible with them, as a name plate would
    be."""
    if track.vertical != captions.vertical:
        return False
    own, usual = (median(line.middle for row in found.rows for line in row.lines) for found in (track, captions))
    turns_over = max(row.distinct for row in track.rows) >= TUNING.telling_texts
    if not turns_over and abs(own - usual) > TUNING.centered * size[0]:
        return False
    visible = {line.sample for row in captions.all_rows for line in row.lines}
    return all(
        any(row.looks_like(other) and _is_of_the_size(row, other) for other in captions.rows)
        and visible.isdisjoint(line.sample for line in row.lines)
        for row in track.rows
    )


def _lone_tracks(rows: Sequence[Row], size: tuple[int, int]) -> list[FoundTrack]:
    """Return the track of titles, or of centered text of a screen, that may as well be captions, where no other text
    comes and goes.

    Titles are told from captions by the captions beside them; blocks of many lines look like text of a screen, which is
    hardly ever centered throughout. The only text of a clip is rather followed than lost.
    """
    lone = sorted((row for row in rows if not row.stays and row.kind != "scene"), key=lambda row: -len(row.lines))
    if any(row.kind == "title" and 2 * row.chances["caption"] < row.chances["title"] for row in lone):
        return []
    if not lone or lone[0].score < TUNING.certain_score:
        return []
    is_of_screen = any(row.kind == "interface" for row in lone)
    if is_of_screen and not are_centered(lone, size):
        return []
    if any(row.vertical or row.kind not in ("title", "interface") for row in lone):
        return []
    track = FoundTrack([lone[0]], anchor_of([lone[0]], size[0]), 0.0)
    for row in lone[1:]:
        if not _belongs(row, track) or not _is_of_the_text(row, track):
            return []
        track.add(row)
    for line in lone:
        kinds: tuple[Kind, ...] = ("caption", "title", "interface") if is_of_screen else ("caption", "title")
        all_of_them = sum(line.chances[kind] for kind in kinds)
        line.chances = {**line.chances, **dict.fromkeys(kinds, 0.0), "caption": all_of_them}
    track.confidence, track.is_doubtful = _confidence(lone[0]), is_of_screen
    return [track]


def _doubtful_tracks(rows: Sequence[Row], size: tuple[int, int], surest: float = 0.0) -> list[FoundTrack]:
    """Return the track of the row that most likely contains captions, where no row certainly does.

    Text of a screen behind captions makes them look like it. Text that turns over in one place as captions do is
    rather followed than lost; its confidence says how doubtful it is. ``surest`` is the confidence of the tracks found.
    """
    possible = [
        row
        for row in rows
        if not row.stays
        and row.distinct >= TUNING.telling_texts
        and row.score >= TUNING.certain_score
        and (
            row.chances["caption"] >= TUNING.weak_chance
            or row.stays_alone > _MOSTLY_ALONE
            or _stands_out(row, rows)
            or (row.changes_around_its_middle and are_centered([row], size))  # text of a screen begins at one place
        )
        and row.kind == "interface"
    ]
    if not possible:
        return []
    row = max(possible, key=lambda entry: entry.chances["caption"])
    if _grown_surer(row.chances["caption"], row) <= surest:
        return []
    anchor = anchor_of([row], size[1] if row.vertical else size[0])
    track = FoundTrack([row], anchor, row.chances["caption"], is_doubtful=True)
    for other in rows:
        if other is not row and other.chances["caption"] >= TUNING.weak_chance and _is_part_of_doubtful(other, track):
            track.add(other)
    for line in track.all_rows:
        line.chances = {**line.chances, "caption": max(line.chances["caption"], line.chances["interface"])}
    return [track]


def _stands_out(row: Row, rows: Sequence[Row]) -> bool:
    """Return whether a row looks unlike several others that are visible with it, except for lines next to it."""
    visible = {line.sample for line in row.lines}
    others = [o for o in rows if o is not row and not visible.isdisjoint(line.sample for line in o.lines)]
    alike = [other for other in others if row.looks_like(other)]
    return len(others) - len(alike) >= TUNING.telling_texts and all(adjoin(row, other) for other in alike)


def _is_part_of_doubtful(row: Row, track: FoundTrack) -> bool:
    """Return whether a row is another line of a track: it looks like it and changes when it does."""
    alike = [other for other in track.all_rows if row.looks_like(other) and change_together(row, other)]
    return bool(alike) and not row.stays and _belongs(row, track)


def _is_like(row: Row, track: FoundTrack, size: tuple[int, int]) -> bool:
    """Return whether a row looks like the captions of a track that moved to another edge of the picture."""
    is_possible = row.chances["caption"] >= TUNING.weak_chance or row.kind == "title"
    if row.vertical or track.vertical or row.stays or not is_possible:
        return False
    if not any(row.looks_like(other) for other in track.rows):
        return False
    smaller, larger = sorted((row.height, median(entry.height for entry in track.rows)))
    place = (row.low + row.high) / 2 / size[1]
    near_edge = min(place, 1 - place) < TUNING.edge_zone
    own, usual = (median(line.middle for row in rows for line in row.lines) for rows in ([row], track.rows))
    aligned = abs(own - usual) <= TUNING.centered * size[0]
    return near_edge and aligned and larger <= TUNING.block_height_ratio * smaller and not track.is_beside(row)


def _confidence(row: Row) -> float:
    """Return how sure it is that a row contains captions: more texts in one place make it surer (0..1)."""
    return _grown_surer(row.chances[row.kind], row)


def _grown_surer(chance: float, row: Row) -> float:
    return chance * (1 - 0.8 * 0.5 ** max(1, row.distinct))


def _is_other_speaker(row: Row, track: FoundTrack) -> bool:
    """Return whether a row contains what another speaker says at the same time, a line above or below the track's and
    beside it: two lines of one caption are over each other."""
    if row.vertical or row.stays or row.limits is not None or track.kind != "caption" or row.distinct < 2:
        return False
    if not _belongs(row, track) or not any(change_together(row, other) for other in track.rows):
        return False
    gaps = [gap for line in row.lines if (gap := _gap_beside(line, track)) is not None]
    return 2 * len(gaps) > len(row.lines) and min(gaps) >= SIDE_GAP * row.height


def _gap_beside(line: Line, track: FoundTrack) -> float | None:
    """Return how far a line is from the lines of a track in its sample along the text, pixels; below 0 they overlap."""
    others = [other for row in track.all_rows for other in row.lines if other.sample == line.sample]
    return min((max(other.start - line.end, line.start - other.end) for other in others), default=None)


def _limits_beside(row: Row, track: FoundTrack, size: tuple[int, int]) -> tuple[float, float]:
    """Return the part of the picture along the text that another speaker's row may take, pixels."""
    visible = {line.sample for line in row.lines}
    others = [line for other in track.all_rows for line in other.lines if line.sample in visible]
    if row.middle < median(line.middle for line in others):
        return 0.0, (max(line.end for line in row.lines) + min(line.start for line in others)) / 2
    return (min(line.start for line in row.lines) + max(line.end for line in others)) / 2, float(size[0])


def _belongs(row: Row, track: FoundTrack) -> bool:
    """Return whether a row is another line of a track, or lies on top of it.

    Lines of one track are of one size, or change at the same times as two languages do.
    """
    if row.vertical != track.vertical or track.is_apart_from(row):
        return False
    for other in track.all_rows:
        smaller, larger = sorted((row.height, other.height))
        if max(other.low - row.high, row.low - other.high) > smaller:
            continue
        # A box on captions is found with them or without: then two heights of one row are on top of each other.
        on_top = min(row.high, other.high) - max(row.low, other.low) > TUNING.same_place * smaller
        is_one = larger <= 1.5 * TUNING.block_height_ratio * smaller and (on_top or change_together(row, other))
        if larger <= TUNING.block_height_ratio * smaller or is_one:
            return True
    return False


def _is_sure_line(row: Row, track: FoundTrack, size: tuple[int, int]) -> bool:
    """Return whether a row has enough texts of its own, or is aligned with the track: else it may be a passing sign."""
    if not _is_of_the_text(row, track):
        return False
    along = size[1] if row.vertical else size[0]
    if row.distinct >= TUNING.telling_texts or track.anchor is None:
        return True
    own, usual = (_anchor_place(rows, track.anchor) for rows in ([row], track.rows))
    return abs(own - usual) <= max(TUNING.centered * along, TUNING.track_reach * row.height)


def _is_of_the_text(row: Row, track: FoundTrack) -> bool:
    """Return whether a row looks like rows of a track or turns over with one, or is visible at other times only:
    letters behind captions do nothing of this."""
    visible = {line.sample for line in row.lines}
    return any(
        row.looks_like(other) or row.looks_like_beside(other) or turn_over_together(row, other)
        for other in track.all_rows
    ) or (visible.isdisjoint(line.sample for other in track.all_rows for line in other.lines))


def _anchor_place(rows: Sequence[Row], anchor: str) -> float:
    """Return where the anchored side of rows usually is along the text, pixels."""
    lines = [line for row in rows for line in row.lines]
    return median({"left": line.start, "right": line.end}.get(anchor, line.middle) for line in lines)


def _without_rivals(tracks: Sequence[FoundTrack], size: tuple[int, int]) -> list[FoundTrack]:
    """Return the tracks without those that cannot be captions because better ones are.

    Text close to captions that is of another size and changes at other times is a lower third, however much it looks
    like captions by itself.
    """
    kept: list[FoundTrack] = []
    for track in sorted(tracks, key=lambda entry: (entry.kind != "caption", -entry.confidence)):
        if track.kind == "caption" and any(_are_rivals(track, other) for other in kept if other.kind == "caption"):
            for row in track.all_rows:
                lost, other = row.chances["caption"], row.chances["lower_third"]
                row.chances = {**row.chances, "caption": 0.0, "lower_third": lost + other}
            track.kind = track.rows[0].kind
        home = next((other for other in kept if other.kind == "caption" and _is_part_of(track, other, size)), None)
        if home is not None and track.kind in FOLLOWED:
            for row in track.all_rows:
                home.add(row)
        elif track.kind in FOLLOWED and not any(_shares_place(track, other) for other in kept):
            kept.append(track)
    return kept


def _shares_place(track: FoundTrack, other: FoundTrack) -> bool:
    """Return whether two tracks overlap across the text: what is there can be read in one of them only."""
    (low, high), (other_low, other_high) = track.span, other.span
    is_over = track.vertical == other.vertical and min(high, other_high) - max(low, other_low) > 0
    return is_over and not any(other.is_apart_from(row) for row in track.all_rows)


def _is_part_of(track: FoundTrack, other: FoundTrack, size: tuple[int, int]) -> bool:
    """Return whether the rows of a track are lines of another one: of one size, aligned, and visible only with it."""
    visible = {line.sample for row in other.all_rows for line in row.lines}
    return all(
        _belongs(row, other)
        and (other.is_covered_by(row) or _is_sure_line(row, other, size))
        and all(line.sample in visible for line in row.lines)
        for row in track.rows
    )


def _are_rivals(track: FoundTrack, other: FoundTrack) -> bool:
    (low, high), (other_low, other_high) = track.span, other.span
    gap = max(other_low - high, low - other_high)
    height = max(row.height for row in (*track.rows, *other.rows))
    is_close = track.vertical == other.vertical and gap <= TUNING.second_line_reach * height
    if not is_close or any(other.is_apart_from(row) for row in track.all_rows):
        return False
    # The lines of a song, dimmed and lit, are of several looks and sizes, but turn over as a whole.
    return not any(turn_over_together(row, line) for row in track.rows for line in other.rows)


def _joined(tracks: Sequence[FoundTrack]) -> list[FoundTrack]:
    """Join tracks of one kind that rows which were added later made touch each other."""
    joined: list[FoundTrack] = []
    for track in tracks:
        home = next(
            (
                other
                for other in joined
                if other.kind == track.kind and any(_belongs(row, other) for row in track.all_rows)
            ),
            None,
        )
        if home is None:
            joined.append(track)
        else:
            for row in track.all_rows:
                home.add(row)
            home.confidence = max(home.confidence, track.confidence)
    return joined


def _overlap_share(row: Row, other: Row) -> float:
    return (min(row.high, other.high) - max(row.low, other.low)) / max(1.0, min(row.height, other.height))


def _adjoins(row: Row, track: FoundTrack) -> bool:
    """Return whether a row is less than half a line from a row of a track that is of its height."""
    for other in track.rows:
        gap = max(other.low - row.high, row.low - other.high)
        smaller, larger = sorted((row.height, other.height))
        if 2 * gap <= smaller and larger <= TUNING.block_height_ratio * smaller:
            return True
    return False


def _completes(row: Row, track: FoundTrack, size: tuple[int, int]) -> bool:
    """Return whether a row that would not be a caption by itself is another line of a track."""
    if row.vertical != track.vertical or row.stays or row.chances[track.kind] < TUNING.weak_chance:
        return False
    near = _belongs(row, track) and _adjoins(row, track)
    if not _is_of_the_text(row, track) or any(_overlap_share(row, other) > _OVERLAPPING for other in track.rows):
        return False
    along = size[1] if row.vertical else size[0]
    return near and not track.is_covered_by(row) and anchor_of([*track.rows, row], along) == track.anchor
