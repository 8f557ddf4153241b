"""Captions over each other: lines of a track that come and go at times of their own, as of a second speaker, of
another language, or of a sign above a subtitle.

The lines of one caption come and go together, or it builds up line by line and goes as a whole. A line of which both
the beginning and the end are its own is a caption of its own.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from captionacc_dagster.captioning.captions import CaptionWarning
from captionacc_dagster.captioning.extents.merging import FoundCaption, Shown, TimedWord
from captionacc_dagster.captioning.extents.reading import fold
from captionacc_dagster.captioning.extents.step_changes import alike, overlap_across, overlap_along, union_box
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.extents.words import Box, ReadLine
from captionacc_dagster.captioning.geometry import BBox

_TOGETHER = 2  # ticks: lines whose times differ by no more come and go together
_REPEATED = 2  # captions of a video of which a line comes or goes alone: once may be an accident


@dataclass(slots=True, eq=False)
class _LineEvent:
    """A line from when it comes until it goes, in ticks, half-open, as the stretches that show it read it."""

    start: int
    end: int
    seen: list[tuple[Shown, ReadLine]] = field(default_factory=list)

    def show(self, shown: Shown, line: ReadLine) -> None:
        """Add a stretch that shows it."""
        self.end = max(self.end, shown.end)
        self.seen.append((shown, line))

    @property
    def line(self) -> ReadLine:
        """The line as it was read for the longest."""
        lasted = Counter[str]()
        for shown, line in self.seen:
            lasted[line.text] += shown.end - shown.start
        text = max(lasted, key=lambda text: lasted[text])
        return next(line for _, line in self.seen if line.text == text)

    @property
    def top(self) -> int:
        """Where it is, pixels from the top of the ROI."""
        return self.seen[0][1].box[1]

    @property
    def is_written(self) -> bool:
        """Whether it is written letter by letter or word by word."""
        lengths = [len(fold(line.text)) for _, line in self.seen]
        return min(lengths) < TUNING.alike_text * max(lengths)

    def is_in_place_of(self, line: ReadLine) -> bool:
        """Return whether it was last seen where a line is."""
        box = self.seen[-1][1].box
        return overlap_across(box, line.box) > 0.5 and overlap_along(box, line.box) > 0.5

    def shows(self, line: ReadLine) -> bool:
        """Return whether a line is this one, its beginning while it is written, or the whole of it."""
        if not self.is_in_place_of(line):
            return False
        last = self.seen[-1][1].text
        shorter, longer = sorted((fold(last), fold(line.text)), key=len)
        is_begun = bool(shorter) and alike(shorter, longer[: len(shorter)]) >= TUNING.alike_text
        return is_begun or alike(last, line.text) >= TUNING.alike_text

    def differences(self, other: _LineEvent) -> tuple[int, int]:
        """Return by how much two lines differ in when they come and when they go, in ticks."""
        return abs(self.start - other.start), abs(self.end - other.end)

    def overlaps(self, other: _LineEvent) -> bool:
        """Return whether two lines are visible at once."""
        return min(self.end, other.end) > max(self.start, other.start)


@dataclass(slots=True, eq=False)
class _Scene:
    """Captions of a track between which some line always stays.

    Attributes:
        captions: numbers of the captions.
        events: their lines, in the order in which they come.
    """

    captions: list[int] = field(default_factory=list)
    events: list[_LineEvent] = field(default_factory=list)

    @property
    def start(self) -> int:
        """Where it begins, in ticks."""
        return self.events[0].start

    def is_apart(self, least: int, together: int = _TOGETHER) -> bool:
        """Return whether two of its lines are visible at once and neither begin nor end together.

        Args:
            least: by how much their times differ in all, in ticks.
            together: by how much those of lines that begin or end together do at most.
        """
        return any(
            min(differences) > together and sum(differences) > least
            for differences in (one.differences(other) for one, other in self._overlapping())
        )

    def is_alone(self, brief: int, fade: int) -> bool:
        """Return whether one of two lines comes or goes alone, other than in a caption that builds up or fades.

        Args:
            brief: by how much the upper one comes later at least, in ticks.
            fade: by how much one goes earlier at least.
        """
        if len(self.events) != 2 or not self.events[0].overlaps(self.events[1]):
            return False
        upper, lower = sorted(self.events, key=lambda event: event.top)
        starts, ends = upper.differences(lower)
        is_added_above = upper.start - lower.start > brief and ends <= _TOGETHER
        return is_added_above or (starts <= _TOGETHER and ends > fade)

    def _overlapping(self) -> Iterator[tuple[_LineEvent, _LineEvent]]:
        for number, event in enumerate(self.events):
            for other in itertools.islice(self.events, number + 1, None):
                if other.start >= event.end:
                    break
                yield event, other

    def groups(self) -> list[list[_LineEvent]]:
        """Return its lines grouped by caption: those that come and go together."""
        groups: list[list[_LineEvent]] = []
        for event in self.events:
            home = next((group for group in groups if max(group[0].differences(event)) <= _TOGETHER), None)
            if home is None:
                groups.append([event])
            else:
                home.append(event)
        return groups

    def without_misreadings(self) -> _Scene:
        """Return the scene with what was read in the place of a line while it was visible as a part of that."""
        events: list[_LineEvent] = []
        for event in sorted(self.events, key=lambda event: event.start - event.end):
            line = event.seen[0][1]
            home = next((one for one in events if one.overlaps(event) and one.is_in_place_of(line)), None)
            if home is None:
                events.append(event)
            else:
                home.seen += event.seen
        return _Scene(self.captions, sorted(events, key=lambda event: (event.start, event.top)))


def part_overlapping(
    found: Sequence[FoundCaption], brief: int, fade: int, place: Callable[[Box], BBox]
) -> tuple[list[FoundCaption], list[int]]:
    """Return the captions of a track with those over each other parted, in order of time; and where those begin, in
    ticks, that may be over each other.

    A line of which only one end is its own may be an accident, or be repeated by the next caption: it is a caption of
    its own only where that happens more than once. Otherwise captions remain what is visible at a time.

    Args:
        found: the captions, each with what its stretches show.
        brief: the shortest time that is no accident, in ticks.
        fade: the longest one, in ticks: within it, lines of one caption may follow each other.
        place: returns the place of a box of their lines in the picture.
    """
    scenes = _scenes(found)
    apart = [scene for scene in scenes if scene.is_apart(fade)]
    alone = [scene for scene in scenes if scene not in apart and scene.is_alone(brief, fade)]
    unclear: list[_Scene] = []
    if len(apart) + len(alone) >= _REPEATED:
        others = [scene for scene in scenes if scene not in apart and scene not in alone]
        apart += [*alone, *(scene for scene in others if scene.is_apart(brief, 0))]
    else:
        unclear = alone
    replaced = {number for scene in apart for number in scene.captions}
    result = [caption for number, caption in enumerate(found) if number not in replaced]
    for scene in apart:
        result += _parted(scene, found, place)
    return sorted(result, key=lambda caption: caption.start), [scene.start for scene in unclear]


def _scenes(found: Sequence[FoundCaption]) -> list[_Scene]:
    """Return the scenes of lines that do not all come and go together."""
    scenes = [_Scene()]
    known: dict[str, _LineEvent] = {}  # of a scene: a line that is not seen for a while is the same one afterwards
    staying: list[_LineEvent] = []
    for number, caption in enumerate(found):
        for place, shown in enumerate(_stretches(caption)):
            staying = [event for event in staying if event.end == shown.start]
            if place == 0 and not any(event.shows(line) for event in staying for line in shown.lines):
                scenes.append(_Scene())
                staying, known = [], {}
            for line in shown.lines:
                event = next((event for event in staying if event.shows(line)), known.get(fold(line.text)))
                if event is None and place > 0:  # it is of the same caption, so that it says the same
                    event = next((event for event in staying if event.is_in_place_of(line)), None)
                if event is None or not event.is_in_place_of(line):
                    event = _LineEvent(shown.start, shown.end)
                    scenes[-1].events.append(event)
                event.show(shown, line)
                known[fold(line.text)] = event
                staying.append(event)
        if scenes[-1].events:
            scenes[-1].captions.append(number)
    whole = (scene.without_misreadings() for scene in scenes)
    return [scene for scene in whole if len(scene.groups()) > 1 and not any(event.is_written for event in scene.events)]


def _stretches(caption: FoundCaption) -> list[Shown]:
    """Return what the stretches of a caption show, with its own times; no lines where they are not followed."""
    is_whole = caption.side is None and not (caption.rolls or caption.context or caption.growth)
    if not is_whole or not caption.shown or caption.reading.is_unread:
        return [Shown(caption.start, caption.end, (), 0.0)]
    shown = list(caption.shown)
    if len(shown) == 1:  # it may have been read again since
        shown = [replace(shown[0], lines=caption.reading.lines_as_read, confidence=caption.reading.confidence)]
    shown[0], shown[-1] = replace(shown[0], start=caption.start), replace(shown[-1], end=caption.end)
    return shown


def _parted(scene: _Scene, found: Sequence[FoundCaption], place: Callable[[Box], BBox]) -> list[FoundCaption]:
    """Return the captions over each other of a scene. One that is above another is of the upper side of the track."""
    groups = scene.groups()
    first = [(group, group[0].top) for group in groups]
    return [
        replace(
            _caption(scene, group, found, place),
            side="upper" if any(low > top and other[0].overlaps(group[0]) for other, low in first) else None,
        )
        for group, top in first
    ]


def _caption(
    scene: _Scene, events: Sequence[_LineEvent], found: Sequence[FoundCaption], place: Callable[[Box], BBox]
) -> FoundCaption:
    """Return the caption of some lines of a scene."""
    lines = tuple(sorted((event.line for event in events), key=lambda line: line.box[1]))
    start, end = min(event.start for event in events), max(event.end for event in events)
    of = [found[number] for number in scene.captions if found[number].start < end and found[number].end > start]
    longest = max(of, key=lambda caption: min(caption.end, end) - max(caption.start, start))
    text = "\n".join(line.text for line in lines)
    confidence = max(shown.confidence for event in events for shown, _ in event.seen)
    bbox = place(union_box(line.box for line in lines))
    return replace(
        longest,
        start=start,
        end=end,
        reading=replace(longest.reading, text=text, lines=lines, confidence=confidence),
        bbox=bbox,
        extent_confidence=min(caption.extent_confidence for caption in of),
        words=_words_in(bbox, of[0]) if len(of) == 1 else (),
        shown=(),
    )


def _words_in(bbox: BBox, caption: FoundCaption) -> tuple[TimedWord, ...]:
    """Return the words of a caption in the place of one of its parts, if they light up one after another."""
    words = tuple(word for word in caption.words if bbox.top <= (word.bbox.top + word.bbox.bottom) / 2 <= bbox.bottom)
    return words if any(word.highlight for word in words) else ()


def overlap_warnings(times_s: Sequence[float]) -> tuple[CaptionWarning, ...]:
    """Return a warning of the captions of which a line comes or goes alone, by when they begin, seconds."""
    if not times_s:
        return ()
    first_s = min(times_s)
    where = f"In the caption at {first_s:.1f} s"
    if len(times_s) > 1:
        where = f"In {len(times_s)} captions, the first at {first_s:.1f} s"
    message = f"{where}, a line appears or disappears alone; check whether it is a caption of its own."
    return (CaptionWarning("lines_apart", message, first_s),)
