"""Reads and writes subtitle files: SRT, WebVTT, ASS, and JSON.

What the writers promise:

- All times are rounded down. A player shows a cue on the frames whose time is at least its start and less than its end,
  so rounding down keeps exactly the caption's own frames, and consecutive cues that touch still touch.
- Cues of one track never overlap, and every cue lasts at least one tick of its format.
- WebVTT and ASS place each cue where it appears in the video, and time its words; SRT contains the text alone.
- Text is UTF-8, Unicode NFC, and in logical order. Bidirectional isolates are written only where a player needs them.
"""

from __future__ import annotations

import html
import json
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from captionacc_dagster.captioning.captions import (
    KINDS,
    TICK_SLACK,
    AnyCue,
    CaptionWarning,
    Cue,
    Kind,
    Word,
    sort_cues,
    ticks,
)
from captionacc_dagster.captioning.files.phrases import join_gaps, phrases
from captionacc_dagster.captioning.files.word_json import (
    bbox_from_json,
    bbox_to_json,
    locate_words,
    words_from_json,
    words_to_json,
)
from captionacc_dagster.captioning.geometry import BBox


class SubtitleError(ValueError):
    """A subtitle file cannot be read; the message is one line that names the file, the line, and the reason."""


Format = Literal["srt", "vtt", "ass", "json"]
FORMATS: tuple[Format, ...] = ("srt", "vtt", "ass", "json")


def text_lines(text: str) -> list[str]:
    """Return the lines of a text in NFC, without control characters and blank lines, which no format can contain."""
    lines = (line.translate(_CONTROL).strip() for line in unicodedata.normalize("NFC", text).splitlines())
    return [line for line in lines if line]


# The writers add bidirectional isolates themselves.
_LRI, _RLI, _PDI = "\u2066", "\u2067", "\u2069"
_CONTROL = {**dict.fromkeys((*range(32), 127, 0xFEFF, *range(0x2066, 0x206A))), ord("\t"): " "}


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitleOptions:
    """What subtitle files contain.

    Attributes:
        include: the kinds of text in SRT, WebVTT, and ASS; JSON contains all kinds.
        phrases: whether SRT and WebVTT join single words into phrases; None: only in tracks that are word by word
            (see `is_word_by_word`). ASS and JSON keep the cues as they appear in the video.
        join_gaps_ms: the longest gap between two cues of equal text that are written as one, milliseconds.
        srt_bom: SRT begins with a byte order mark and has CRLF line ends, for players on Windows that need them.
    """

    include: Collection[Kind] = ("caption",)
    phrases: bool | None = None
    join_gaps_ms: float = 0.0
    srt_bom: bool = False


def format_subtitles(
    cues: Iterable[AnyCue],
    kind: Format,
    video: Mapping[str, Any] | None = None,
    warnings: Iterable[CaptionWarning] = (),
    options: SubtitleOptions = SubtitleOptions(),
) -> str:
    """Return the text of a subtitle file, in Unicode NFC.

    Args:
        cues: in any order; only JSON contains those without text.
        kind: one of `FORMATS`.
        video: JSON values that describe the video; ``width`` and ``height`` set the script resolution of ASS.
        warnings: about the video; only JSON contains them.
        options: what SRT, WebVTT, and ASS contain.
    """
    ordered = join_gaps(cues, options.join_gaps_ms)
    facts = dict(video or {})
    if kind == "json":
        return _format_json(ordered, facts, warnings)
    shown = [cue for cue in ordered if cue.kind in options.include and text_lines(cue.text)]
    if kind in ("srt", "vtt") and options.phrases is not False:
        shown = phrases(shown, only_word_by_word=options.phrases is None)
    if kind == "srt":
        text = _format_srt(shown)
        return "\ufeff" + text.replace("\n", "\r\n") if options.srt_bom else text
    width, height = int(facts.get("width") or 1920), int(facts.get("height") or 1080)
    if kind == "vtt":
        return _format_vtt(shown, width, height)
    return _format_ass(shown, width, height)


def write_subtitles(
    path: Path,
    cues: Iterable[AnyCue],
    video: Mapping[str, Any] | None = None,
    warnings: Iterable[CaptionWarning] = (),
    options: SubtitleOptions = SubtitleOptions(),
) -> None:
    """Write a subtitle file in the format of its suffix: UTF-8, without BOM and with LF unless ``options.srt_bom``.

    Raises:
        SubtitleError: the suffix is not one of `FORMATS`.
    """
    text = format_subtitles(cues, _format_of(path), video, warnings, options)
    path.write_text(text, encoding="utf-8", newline="")


def read_subtitles(path: Path) -> list[Cue]:
    """Return the cues of a subtitle file of any of `FORMATS`, in order of time and without formatting tags.

    The file can be UTF-8 with or without BOM or UTF-16 with BOM, with any line ends.

    Raises:
        SubtitleError: not a subtitle file; the message names the file, the line, and the reason.
    """
    return parse_subtitles(_read_text(path), _format_of(path), path.name)


def parse_subtitles(text: str, kind: Format, name: str = "subtitles") -> list[Cue]:
    """Return the cues in the text of a subtitle file; ``name`` is the file's name in messages.

    Raises:
        SubtitleError: not a subtitle file.
    """
    if kind == "json":
        return sort_cues(_parse_json(text, name))
    parse: Callable[[list[str], str], Iterator[Cue]]
    parse = {"srt": _parse_srt, "vtt": _parse_vtt, "ass": _parse_ass}[kind]
    lines = re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff"))
    return sort_cues(parse(lines, name))


def _format_of(path: Path) -> Format:
    for kind in FORMATS:
        if path.suffix.lower() == f".{kind}":
            return kind
    if path.suffix.lower() == ".ssa":
        return "ass"
    raise SubtitleError(f"{path.name}: unknown subtitle format, expected one of {', '.join(FORMATS)}")


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SubtitleError(f"{path.name}: {error.strerror or error}") from error
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SubtitleError(f"{path.name}:{line}: not UTF-8 text") from error


# The parsers below replace pysubs2's, which lose text without an error: a cue whose time cannot be read becomes text of
# the cue before it, a last line of digits is taken for a cue number, WebVTT comments and entities become text, and the
# Format line of ASS is ignored. pysubs2 also reports no lines. The tests use it as an independent reader.


def _clock(milliseconds: int, separator: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{separator}{rest:03d}"


# --- writing direction ---


def _direction(text: str) -> str:
    """Return the base direction of a text, ``"L"`` or ``"R"``: that of its first letter."""
    for letter in text:
        found = unicodedata.bidirectional(letter)
        if found in ("L", "R", "AL"):
            return "L" if found == "L" else "R"
    return "L"


def _needs_base(line: str, base: str) -> bool:
    """Return whether a player that assumes the direction ``base`` shows a line in the wrong order.

    It does unless every part of the line has the line's own direction, apart from spaces between words.
    """
    direction = _direction(line)
    if direction == base:
        return False
    own = ("L",) if direction == "L" else ("R", "AL")
    return any(unicodedata.bidirectional(letter) not in (*own, "NSM") for letter in line.replace(" ", ""))


def _isolated(line: str, base: str) -> str:
    """Return a line in isolates of its own direction, if a player that assumes the direction ``base`` needs them."""
    if not _needs_base(line, base):
        return line
    return (_RLI if _direction(line) == "R" else _LRI) + line + _PDI


# --- places ---


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a cue appears.

    Attributes:
        row, column: 0, 1, or 2 from the top left: the edge of the text that stays when the text changes.
        x: that edge from the left, a fraction of the frame's width.
        middle: the middle of the text from the top, a fraction of the frame's height.
        top: the upper edge of the text from the top, a fraction of the frame's height.
        bbox: around all cues of the same place.
        vertical: the text runs from top to bottom.
    """

    row: int
    column: int
    x: float
    middle: float
    top: float
    bbox: BBox
    vertical: bool


# Boxes of text with ascenders, descenders, or other letters differ by this fraction of the frame at the same place.
_SAME_EDGE = 0.05
# Edges that differ by this much more than the steadiest one are as good as that one.
_AS_STEADY = 0.02
# A center this close to the middle of the frame is the middle.
_NEAR_MIDDLE = 0.08
# Captions whose lower edge is below this fraction of the frame are where players put subtitles by default.
_BOTTOM_EDGE = 0.8


class _Group:
    """Cues of one track that share an edge in each direction, such as their left and their lower edges."""

    def __init__(self, cue: AnyCue, bbox: BBox) -> None:
        self.cues = [cue]
        self.bbox = bbox
        self._lows = self._highs = _edges(bbox)

    def spreads(self) -> list[float]:
        """Return by how much each edge differs among the cues: left, center, right, top, middle, bottom."""
        return [high - low for low, high in zip(self._lows, self._highs, strict=True)]

    def add(self, cue: AnyCue, bbox: BBox) -> bool:
        """Add a cue and return True if it shares edges with the others, else return False."""
        lows = tuple(map(min, self._lows, _edges(bbox)))
        highs = tuple(map(max, self._highs, _edges(bbox)))
        spreads = [high - low for low, high in zip(lows, highs, strict=True)]
        if min(spreads[:3]) > _SAME_EDGE or min(spreads[3:]) > _SAME_EDGE:
            return False
        self.cues.append(cue)
        self.bbox, self._lows, self._highs = self.bbox.union(bbox), lows, highs
        return True


def _edges(box: BBox) -> tuple[float, ...]:
    return (
        *(box.left, (box.left + box.right) / 2, box.right),
        *(box.top, (box.top + box.bottom) / 2, box.bottom),
    )


def _places(cues: Sequence[AnyCue], width: int, height: int) -> dict[AnyCue, _Place]:
    """Return the place of each cue that has a box.

    Cues of a track that share edges share a place, so that they do not jump with the length of their text.
    """
    groups: dict[str | None, list[_Group]] = {}
    for cue in cues:
        if cue.bbox is not None:
            of_track = groups.setdefault(cue.track, [])
            if not any(group.add(cue, cue.bbox) for group in of_track):
                of_track.append(_Group(cue, cue.bbox))
    return {
        cue: place
        for of_track in groups.values()
        for group in of_track
        for cue, place in _places_of_group(group, width, height)
    }


def _longest_line(cue: AnyCue) -> int:
    return max(map(len, text_lines(cue.text)))


def _places_of_group(group: _Group, width: int, height: int) -> Iterator[tuple[AnyCue, _Place]]:
    spreads, whole = group.spreads(), group.bbox
    center, middle = (whole.left + whole.right) / 2, (whole.top + whole.bottom) / 2
    longest = max(group.cues, key=_longest_line)
    box = longest.bbox or whole
    if _longest_line(longest) > 1 and box.height * height > 1.5 * box.width * width:
        place = _Place(1, 0 if center < 0.4 else 2 if center > 0.6 else 1, center, middle, whole.top, whole, True)
        yield from ((cue, place) for cue in group.cues)
        return
    left, centered, right = (spread <= min(spreads[:3]) + _AS_STEADY for spread in spreads[:3])
    if centered and abs(center - 0.5) < _NEAR_MIDDLE:
        column, x = 1, 0.5
    elif centered and not left and not right:
        column, x = 1, center
    elif left and (center <= 0.5 or not right):
        column, x = 0, whole.left
    elif right:
        column, x = 2, whole.right
    else:
        column, x = 1, center
    row = 0 if middle < 0.4 else 1 if middle < 0.6 else 2
    for cue in group.cues:
        own = cue.bbox or whole
        top = whole.top if spreads[3] <= _AS_STEADY else own.top
        yield cue, _Place(row, column, x, (own.top + own.bottom) / 2, top, whole, False)


def _timed(cues: Iterable[AnyCue], per_second: int) -> list[tuple[AnyCue, int, int]]:
    """Return cues in order of time with start and end in ticks, at least one tick long and without overlap in a track.

    A cue ends where the next one of its track starts. Cues without a track, as read from a file, can overlap.
    """
    timed: list[tuple[AnyCue, int, int]] = []
    last: dict[str, int] = {}  # the index of each track's last cue
    for cue in sort_cues(cues):
        start, end = ticks(cue, per_second)
        if cue.track is not None and cue.track in last:
            index = last[cue.track]
            before, before_start, before_end = timed[index]
            before_end = min(before_end, max(start, before_start + 1))
            timed[index] = before, before_start, before_end
            start = max(start, before_end)
            end = max(end, start + 1)
        if cue.track is not None:
            last[cue.track] = len(timed)
        timed.append((cue, start, end))
    return timed


# --- SRT ---


def _format_srt(cues: Sequence[AnyCue]) -> str:
    blocks = []
    for number, (cue, start_ms, end_ms) in enumerate(_timed(cues, 1000), 1):
        start, end = _clock(start_ms, ","), _clock(end_ms, ",")
        # Players that render SRT with libass assume left to right for every line.
        lines = [_isolated(line, "L") for line in text_lines(cue.text)]
        blocks.append(f"{number}\n{start} --> {end}\n" + "\n".join(lines) + "\n")
    return "\n".join(blocks)


# The patterns of this module take time linear in the text, whatever a file contains (tests: test_patterns.py).
_STAMP = r"(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_ASS_STAMP = re.compile(_STAMP)
_TIMING = re.compile(rf"{_STAMP}\s*-->\s*{_STAMP}(?:\s.*)?")
_SRT_TAGS = re.compile(r"</?(?:i|b|u|s)>|</?font[^<>]*>|\{\\[^{}]*\}", re.IGNORECASE)


def _timing(line: str, name: str, number: int) -> tuple[float, float]:
    found = _TIMING.fullmatch(line.strip())
    if found is None:
        raise SubtitleError(f"{name}:{number}: expected a time like 00:00:01,000 --> 00:00:02,000, got {line!r}")
    parts = found.groups()
    start, end = (_seconds(parts[at : at + 4]) for at in (0, 4))
    if end < start:
        raise SubtitleError(f"{name}:{number}: ends before it starts: {line.strip()!r}")
    return start, end


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = parts
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return (whole * 1000 + int((fraction or "0").ljust(3, "0"))) / 1000


def _parse_srt(lines: list[str], name: str) -> Iterator[Cue]:
    heads = list(_srt_heads(lines))
    for at, line in enumerate(lines[: heads[0][0]] if heads else lines):
        if line.strip():
            raise SubtitleError(f"{name}:{at + 1}: expected a numbered cue, got {line[:60]!r}")
    for (_, timing), (end, _) in zip(heads, [*heads[1:], (len(lines), 0)], strict=False):
        start_s, end_s = _timing(lines[timing], name, timing + 1)
        text = "\n".join(text_lines(_SRT_TAGS.sub("", "\n".join(lines[timing + 1 : end]))))
        yield Cue(start_s=start_s, end_s=end_s, text=text)


def _srt_heads(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Yield ``(first line, line of the time)`` of each cue, counted from 0; a cue follows a blank line."""
    for at, line in enumerate(lines):
        if at > 0 and lines[at - 1].strip():
            continue
        if "-->" in line:
            yield at, at
        elif line.strip().isdigit() and at + 1 < len(lines) and "-->" in lines[at + 1]:
            yield at, at + 1


# --- words ---


def _located_words(cue: AnyCue, lines: Sequence[str], per_second: int) -> list[tuple[int, Word, int]]:
    """Return ``(index in the joined lines, word, onset in ticks)`` of words that appear one after another.

    Onsets never decrease. The list is empty if the text does not consist of the words, or they appear together.
    """
    words = [replace(word, text=" ".join(text_lines(word.text))) for word in cue.words]
    places = locate_words("\n".join(lines), words)
    onsets: list[int] = []
    for word in words:
        onset = math.floor(word.onset_s * per_second + TICK_SLACK)
        onsets.append(max(onset, onsets[-1] if onsets else 0))
    if not places or onsets[0] == onsets[-1]:
        return []
    return list(zip(places, words, onsets, strict=True))


# --- WebVTT ---


def _format_vtt(cues: Sequence[AnyCue], width: int, height: int) -> str:
    places = _places(cues, width, height)
    blocks = ["WEBVTT\n"]
    for cue, start_ms, end_ms in _timed(cues, 1000):
        start, end = _clock(start_ms, "."), _clock(end_ms, ".")
        lines = text_lines(cue.text)
        # A browser takes the base direction of all lines from the first one.
        base = _direction("".join(lines))
        settings = _vtt_settings(places[cue], base) if cue in places else ""
        blocks.append(f"{start} --> {end}{settings}\n{_vtt_text(cue, lines, base, start_ms, end_ms)}\n")
    return "\n".join(blocks)


def _vtt_text(cue: AnyCue, lines: Sequence[str], base: str, start: int, end: int) -> str:
    """Return the text of a cue, with a timestamp before each word that appears after the cue starts."""
    words = _located_words(cue, lines, 1000)
    if not words:
        return "\n".join(html.escape(_isolated(line, base), quote=False) for line in lines)
    text, parts, at, last = "\n".join(lines), [], 0, start
    for place, word, onset in words:
        parts.append(html.escape(text[at:place], quote=False))
        if last < onset < end:
            parts.append(f"<{_clock(onset, '.')}>")
            last = onset
        parts.append(html.escape(word.text, quote=False))
        at = place + len(word.text)
    return "".join(parts)


def _vtt_settings(place: _Place, base: str) -> str:
    if place.vertical:
        line, position = 100 * (1 - place.bbox.right), 100 * place.bbox.top
        return f" vertical:rl line:{line:.0f}% position:{position:.0f}% align:start"
    settings = ""
    # Browsers count lines from the upper edge of the text, whatever the alignment of the line. Without a line, they put
    # two speakers who talk at once above each other.
    beside = place.column != 1 or abs(place.x - 0.5) >= _NEAR_MIDDLE
    if beside or place.row != 2 or place.bbox.bottom < _BOTTOM_EDGE:
        settings += f" line:{100 * place.top:.0f}%"
    # In right-to-left text, start and end are the other sides.
    if place.column == 0:
        settings += f" position:{100 * place.x:.0f}% align:{'start' if base == 'L' else 'left'}"
    elif place.column == 2:
        settings += f" position:{100 * place.x:.0f}% align:{'end' if base == 'L' else 'right'}"
    elif beside:
        settings += f" position:{100 * place.x:.0f}%"
    return settings


_VTT_TAG = re.compile(r"<[^>]*(>|\Z)")


def _parse_vtt(lines: list[str], name: str) -> Iterator[Cue]:
    if not re.match(r"WEBVTT(?:[ \t]|$)", lines[0]):
        raise SubtitleError(f"{name}:1: a WebVTT file begins with WEBVTT, got {lines[0][:60]!r}")
    at = 1
    while at < len(lines):
        block = at
        while at < len(lines) and lines[at].strip():
            at += 1
        yield from _vtt_block(lines, block, at, name)
        at += 1


def _vtt_block(lines: list[str], begin: int, end: int, name: str) -> Iterator[Cue]:
    if begin == end or begin == 1 or re.match(r"(?:NOTE|STYLE|REGION)(?:\s|$)", lines[begin]):
        return
    timing = begin if "-->" in lines[begin] else begin + 1
    if timing >= end:
        raise SubtitleError(f"{name}:{begin + 1}: expected a cue, got {lines[begin][:60]!r}")
    start_s, end_s = _timing(lines[timing], name, timing + 1)
    tagged = "\n".join(lines[timing + 1 : end])
    text = html.unescape(_VTT_TAG.sub(lambda found: "" if found[1] else found[0], tagged))
    yield Cue(start_s=start_s, end_s=end_s, text="\n".join(text_lines(text)))


# --- ASS ---

_ASS_HEAD = """[Script Info]
ScriptType: v4.00+
PlayResX: {width}
PlayResY: {height}
WrapStyle: 2
ScaledBorderAndShadow: yes

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, \
Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, \
MarginR, MarginV, Encoding
Style: Default,Arial,{look},0,0,0,0,100,100,0,0,1,{outline},0,2,{margin},{margin},{margin},1
Style: Vertical,@Noto Sans CJK SC,{look},0,0,0,0,100,100,0,270,1,{outline},0,5,{margin},{margin},{margin},1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def _format_ass(cues: Sequence[AnyCue], width: int, height: int) -> str:
    places = _places(cues, width, height)
    size = max(8, round(min(width, height) * 0.06))
    # White text with a black outline; karaoke words are gray before their time.
    look = f"{size},&H00FFFFFF,&H00A0A0A0,&H00000000,&H80000000"
    head = _ASS_HEAD.format(
        width=width, height=height, look=look, outline=max(1, size // 20), margin=round(height * 0.04)
    )
    return head + "".join(_ass_event(*cue, places.get(cue[0]), width, height) for cue in _timed(cues, 100))


def _ass_event(cue: AnyCue, start: int, end: int, place: _Place | None, width: int, height: int) -> str:
    lines = text_lines(cue.text)
    style, margins, overrides = "Default", (0, 0, 0), ""
    if place is not None and place.vertical:
        style = "Vertical"
        overrides = rf"\an5\pos({round(place.x * width)},{round(place.middle * height)})"
    elif place is not None:
        alignment, box = (7, 4, 1)[place.row] + place.column, place.bbox
        overrides = "" if alignment == 2 else rf"\an{alignment}"
        if place.row == 1 or (place.column == 1 and abs(place.x - 0.5) >= _NEAR_MIDDLE):
            # Margins cannot express these places.
            y = (box.top, place.middle, box.bottom)[place.row]
            overrides = rf"\an{alignment}\pos({round(place.x * width)},{round(y * height)})"
        else:
            upright = (box.top, 0.0, 1 - box.bottom)[place.row]
            left, right = (box.left if place.column == 0 else 0.0, 1 - box.right if place.column == 2 else 0.0)
            margins = (round(left * width), round(right * width), round(upright * height))
    if any(_needs_base(line, "L") for line in lines):
        # libass assumes left to right; this encoding makes it take each line's direction from its text.
        overrides += r"\fe-1"
    text = (f"{{{overrides}}}" if overrides else "") + _ass_text(cue, lines, start, end)
    fields = [0, _ass_clock(start), _ass_clock(end), style, "", *margins, "", text]
    return f"Dialogue: {','.join(map(str, fields))}\n"


def _ass_text(cue: AnyCue, lines: Sequence[str], start: int, end: int) -> str:
    """Return the text of an event, with the karaoke time of each word that appears or lights up by itself."""
    words = _located_words(cue, lines, 100)
    if not words:
        return r"\N".join(map(_ass_escape, lines))
    text, parts, at = "\n".join(lines), [], 0
    times = [min(max(onset, start), end) for _, _, onset in words] + [end]
    if times[0] > start:
        parts.append(rf"{{\k{times[0] - start}}}")
    for (place, word, _), time, until in zip(words, times, times[1:], strict=False):
        parts.append(text[at:place].replace("\n", r"\N"))
        parts.append(rf"{{\k{until - time}}}" + _ass_escape(word.text))
        at = place + len(word.text)
    return "".join(parts)


def _ass_clock(centiseconds: int) -> str:
    seconds, rest = divmod(centiseconds, 100)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:02d}"


def _ass_escape(line: str) -> str:
    # ASS has no escape for a backslash; a word joiner after it keeps renderers from seeing \N, \n, or \h.
    return line.replace("\\", "\\\u2060").replace("{", r"\{").replace("}", r"\}")


_ASS_ESCAPES = {"\\\u2060": "\\", r"\{": "{", r"\}": "}", r"\N": "\n", r"\n": "\n", r"\h": " "}
_ASS_ESCAPE = re.compile(r"\\[\u2060{}Nnh]")
_ASS_TOKEN = re.compile(rf"{_ASS_ESCAPE.pattern}|\{{[^}}]*(\}}|\Z)")
_ASS_DRAWING = re.compile(r"\{[^{}]*\\p[1-9]")


def _ass_unescape(text: str) -> str:
    """Return a text without override blocks; a brace that nothing closes is text."""

    def plain(found: re.Match[str]) -> str:
        if found[0][0] == "\\":
            return _ASS_ESCAPES[found[0]]
        return "" if found[1] else _ASS_ESCAPE.sub(lambda escape: _ASS_ESCAPES[escape[0]], found[0])

    return _ASS_TOKEN.sub(plain, text)


def _parse_ass(lines: list[str], name: str) -> Iterator[Cue]:
    section, columns, seen = "", ["start", "end", "text"], False
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].lower()
            seen = seen or section == "events"
        elif section == "events" and line.lower().startswith("format:"):
            columns = [column.strip().lower() for column in line[7:].split(",")]
            if not {"start", "end", "text"} <= set(columns):
                raise SubtitleError(f"{name}:{number}: the events' Format lacks Start, End or Text")
        elif section == "events" and line.lower().startswith("dialogue:"):
            cue = _ass_dialogue(line[9:], columns, name, number)
            if cue is not None:
                yield cue
    if not seen and any(line.strip() for line in lines):
        raise SubtitleError(f"{name}:1: no [Events] section, not an ASS file")


def _ass_dialogue(line: str, columns: list[str], name: str, number: int) -> Cue | None:
    values = dict(zip(columns, line.split(",", len(columns) - 1), strict=False))
    if len(values) < len(columns):
        raise SubtitleError(f"{name}:{number}: a Dialogue needs {len(columns)} fields, got {len(values)}")
    times = []
    for field in ("start", "end"):
        found = _ASS_STAMP.fullmatch(values[field].strip())
        if found is None:
            raise SubtitleError(f"{name}:{number}: expected a time like 0:00:01.00, got {values[field].strip()!r}")
        times.append(_seconds(found.groups()))
    if times[1] < times[0]:
        raise SubtitleError(f"{name}:{number}: ends before it starts")
    if _ASS_DRAWING.search(values["text"]):
        return None  # a vector drawing, not text
    return Cue(start_s=times[0], end_s=times[1], text="\n".join(text_lines(_ass_unescape(values["text"]))))


def _format_json(cues: Sequence[AnyCue], video: Mapping[str, Any], warnings: Iterable[CaptionWarning]) -> str:
    content = {
        "video": video,
        "captions": [_json_caption(cue) for cue in cues],
        "warnings": [asdict(warning) for warning in warnings],
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def _json_caption(cue: AnyCue) -> dict[str, Any]:
    return {
        "start_s": round(cue.start_s, 6),
        "end_s": round(cue.end_s, 6),
        "start_frame": cue.start_frame,
        "end_frame": cue.end_frame,
        "text": unicodedata.normalize("NFC", cue.text),
        "track": cue.track,
        "kind": cue.kind,
        "lang": cue.lang,
        "script": cue.script,
        "confidence": None if cue.confidence is None else round(cue.confidence, 4),
        "bbox": None if cue.bbox is None else bbox_to_json(cue.bbox),
        "words": words_to_json(cue.words),
        "unread": cue.unread,
    }


def _parse_json(text: str, name: str) -> Iterator[Cue]:
    try:
        content = json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise SubtitleError(f"{name}:{error.lineno}: not JSON: {error.msg}") from error
    rows = content.get("captions") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise SubtitleError(f'{name}: expected {{"captions": [...]}} or a list of captions')
    for number, row in enumerate(rows):
        try:
            yield _cue_of(row)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise SubtitleError(f"{name}: captions[{number}] {reason}") from error


def _cue_of(row: Any) -> Cue:
    if not isinstance(row, dict):
        raise TypeError(f"is not an object: {row!r}")
    start_s, end_s = float(row["start_s"]), float(row["end_s"])
    if not (math.isfinite(start_s) and math.isfinite(end_s) and 0 <= start_s <= end_s):
        raise ValueError(f"has no valid times: {start_s} to {end_s}")
    if not isinstance(row["text"], str):
        raise TypeError("has a text that is not a string")
    kind = row.get("kind", "caption")
    if kind not in KINDS:
        raise ValueError(f"has an unknown kind {kind!r}, expected one of {', '.join(KINDS)}")
    box = row.get("bbox")
    return Cue(
        start_s=start_s,
        end_s=end_s,
        text=row["text"],
        bbox=None if box is None else bbox_from_json(box),
        kind=kind,
        unread=bool(row.get("unread", False)),
        words=words_from_json(row.get("words", [])),
        **{key: row.get(key) for key in ("start_frame", "end_frame", "confidence", "track", "lang", "script")},
    )
