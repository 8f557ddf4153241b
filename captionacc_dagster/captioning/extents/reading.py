"""Read a caption: fuse its frames, cut out its lines, and choose among what the recognizer reads in them."""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.ellipsis import may_be_ellipsis, read_ellipsis, with_last_ellipsis
from captionacc_dagster.captioning.extents.glyph_mask import mean_level
from captionacc_dagster.captioning.extents.lines import Anchor, split_lines, split_texts
from captionacc_dagster.captioning.extents.lost_words import with_lost_words
from captionacc_dagster.captioning.extents.pause_spaces import with_pauses
from captionacc_dagster.captioning.extents.reading_tuning import TUNING
from captionacc_dagster.captioning.extents.strokes import Mask, Plane, min_stroke_px, min_text_px
from captionacc_dagster.captioning.extents.track_scripts import (
    LineReading,
    SeenLine,
    TrackScripts,
    script_of_text,
    uncovered_share,
)
from captionacc_dagster.captioning.extents.tuning import TUNING as EXTENTS
from captionacc_dagster.captioning.extents.words import Box, ReadLine, locate_read_words
from captionacc_dagster.captioning.ocr.base import LinePicture, OcrEngine, Recognition
from captionacc_dagster.captioning.ocr.letters import span_of_letters
from captionacc_dagster.captioning.ocr.script_classifier import DARKEST, classify_script
from captionacc_dagster.captioning.ocr.tuning import TUNING as OCR

if TYPE_CHECKING:
    from opencc import OpenCC

# Keeps the logarithm of the doubt finite; a recognizer's confidence has about three digits.
LEAST_DOUBT = 1e-3
_FEW_CHARACTERS = 2  # a line of one or two must be read twice alike: texture often looks like one
# From the recognizer's confidence to how often it is right, a logistic curve over the log of the doubt: fitted by
# benchmarks/captions/calibration.py to 277 readings of the default engine (docs/benchmark.md).
CALIBRATION_OFFSET = -2.77  # log odds
CALIBRATION_SLOPE = 1.25  # log odds per e-fold of doubt
_SINGLE_LETTER = re.compile("[A-Za-z0-9]")
_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_LOOKALIKES = str.maketrans({"o": "0", "i": "1", "l": "1", "|": "1", "，": ",", "。": ".", "：": ":"})


@dataclass(frozen=True, slots=True)
class Reading:
    """The text of a caption as read.

    Attributes:
        text: its lines that were read, joined by ``"\\n"``, in NFC.
        confidence: the recognizer's, 0..1.
        recognitions: how many line images were recognized for it.
        script: of the text or, if there are any, of the lines that no engine reads (ISO 15924); None: not known.
        lang: of the text (BCP 47), if its letters reveal it; None: not known.
        is_unread: a line of it is text in a script that the engine does not read.
        waiting: its lines, if the script of one of them depends on the other captions of the track.
        lines: those of ``text`` with the places of their words; empty for columns.
        seen: the lines of ``text``, to read letters that the default recognizer confuses; empty: not needed.
    """

    text: str
    confidence: float
    recognitions: int
    script: str | None = None
    lang: str | None = None
    is_unread: bool = False
    waiting: tuple[SeenLine | LineReading, ...] = ()
    lines: tuple[ReadLine, ...] = ()
    seen: tuple[SeenLine, ...] = ()

    @property
    def lines_as_read(self) -> tuple[ReadLine, ...]:
        """Its lines as they are in the text, which may have marks that they were read without."""
        texts = self.text.split("\n")
        if len(self.lines) != len(texts):
            return self.lines
        return tuple(replace(line, text=text) for line, text in zip(self.lines, texts, strict=True))

    @property
    def likely_text(self) -> str:
        """Its text; while lines of it wait, what the default recognizer surely read, if it read all of them as a
        whole."""
        if not self.waiting:
            return self.text
        reads = [line.default if isinstance(line, SeenLine) and line.is_whole else None for line in self.waiting]
        sure = [read.text for read in reads if read is not None and read.confidence >= OCR.sure]
        return "\n".join(sure) if len(sure) == len(reads) else self.text

    @property
    def may_be_caption(self) -> bool:
        """Whether there is text, read or not, or may be."""
        return bool(self.text) or self.is_unread or bool(self.waiting)


NOTHING = Reading("", 0.0, 0)


def fold(text: str) -> str:
    """Return text without what recognizers confuse: width, case, 0/O, 1/l/I, traditional/simplified, white space."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    folded = _to_simplified(folded).translate(_LOOKALIKES)
    return "".join(character for character in folded if not character.isspace())


def _to_simplified(text: str) -> str:
    return text if text.isascii() else _simplifier().convert(text)


@functools.cache
def _simplifier() -> OpenCC:
    from opencc import OpenCC

    return OpenCC("t2s")


def calibrated(confidence: float) -> float:
    """Return the probability, 0..1, that every character of a reading is right, from the recognizer's confidence.

    A logistic curve over the logarithm of the doubt (Platt scaling); it rises with ``confidence``.
    """
    doubt = min(1.0, max(LEAST_DOUBT, 1 - confidence))
    return 1 / (1 + math.exp(CALIBRATION_SLOPE * math.log(doubt) - CALIBRATION_OFFSET))


def read_caption(
    engine: OcrEngine,
    pictures: Sequence[Plane],
    stroke_mask: Mask,
    line_px: float,
    *,
    vertical: bool = False,
    seams: Sequence[float] = (),
    anchor: Anchor | None = None,
    scripts: TrackScripts | None = None,
) -> Reading:
    """Return what the caption that some frames share says.

    Args:
        engine: reads line images.
        pictures: luma of the track's ROI in frames of the caption, uint8 ``(height, width)``.
        stroke_mask: the caption's strokes, bool, at any scale.
        line_px: height of a line, pixels of ``stroke_mask``.
        vertical: its lines are columns.
        seams: where two lines may meet, pixels of ``stroke_mask``.
        anchor: where the text of the track is, pixels of ``stroke_mask``.
        scripts: of the track, which this line adds to; None: every line is in a script of the default recognizer.
    """
    found = split_lines(stroke_mask, line_px, vertical=vertical, seams=seams, anchor=anchor)
    # A speck beside a line is cut out with letters of that line, which any recognizer may read.
    found = [box for box in found if _strokes_in(stroke_mask, box) >= min_stroke_px(line_px)]
    if not found or not pictures:
        return NOTHING
    scale = _scale(stroke_mask, pictures[0])
    renderings = _renderings(pictures)
    if not vertical:
        found = [_with_whole_letters(box, renderings[0], stroke_mask, line_px, scale) for box in found]
    boxes = [_padded(box, line_px, scale, pictures[0].shape) for box in found]
    masks = [_part(stroke_mask, box, scale) for box in boxes]
    readings: list[list[Recognition]] = [[] for _ in boxes]
    read_lumas: list[list[Plane]] = [[] for _ in boxes]
    recognitions = 0
    for fused in renderings:
        todo = [number for number, read in enumerate(readings) if _is_doubtful(read)]
        if not todo:
            break
        lumas = {number: _cut(fused, boxes[number]) for number in todo}
        known = {number: _known_reading(lumas[number], read_lumas[number], readings[number]) for number in todo}
        new = [number for number in todo if known[number] is None]
        lines = [LinePicture(_stretched(lumas[number]), masks[number]) for number in new]
        recognitions += len(lines)
        known |= dict(zip(new, engine.recognize(lines) if lines else [], strict=True))
        for number, recognition in known.items():
            assert recognition is not None
            readings[number].append(recognition)
            read_lumas[number].append(lumas[number])
    if not vertical:
        recognitions += _read_widened(engine, boxes, renderings[0], masks, readings)
    along = 1 if vertical else 0
    widths = [(box[2 + along] - box[along]) / (line_px * scale[along]) - 2 * TUNING.margin_along for box in boxes]
    chosen = [_chosen(read, width) for read, width in zip(readings, widths, strict=True)]
    if not vertical:
        texts = [
            _of_each_speaker(engine, *read, renderings[0], stroke_mask, line_px)
            for read in zip(chosen, found, strict=True)
        ]
        if len(texts) < sum(map(len, texts)):
            recognitions += sum(len(parts) for parts in texts if len(parts) > 1)
            chosen, found = [line for parts in texts for line, _ in parts], [box for parts in texts for _, box in parts]
            boxes = [_padded(box, line_px, scale, pictures[0].shape) for box in found]
            masks = [_part(stroke_mask, box, scale) for box in boxes]
            widths = [(x1 - x0) / (line_px * scale[0]) - 2 * TUNING.margin_along for x0, _, x1, _ in boxes]
        for number, line in enumerate(chosen):
            if line is not None:
                x0, y0, x1, y1 = boxes[number]
                image = _stretched(renderings[0][y0:y1, x0:x1])
                chosen[number], tries = with_lost_words(engine, image, masks[number], line, line_px)
                recognitions += tries
    uncovered = [
        uncovered_share(mask, line, line_px) if line is not None else 0.0
        for mask, line in zip(masks, chosen, strict=True)
    ]
    for number, line in enumerate(chosen):
        if line is not None and _strokes_in(stroke_mask, found[number]) < min_text_px(line.text, line_px):
            chosen[number] = None  # it shows in a few of the frames only, as where a fade begins
        elif len(found) > 1 and (line is None or _is_speck(line, found[number], line_px)):
            chosen[number] = None  # a line of its own beside a line of text is more than dots
        elif line is None or may_be_ellipsis(line.text):
            mask = stroke_mask.T if vertical else stroke_mask
            chosen[number] = read_ellipsis(mask, found[number], line_px, vertical=vertical) or line
        elif not vertical:
            (x0, y0, x1, y1), (left, _, right, _) = found[number], boxes[number]
            strokes, extent = stroke_mask[y0:y1, x0:x1], (left / scale[0] - x0, right / scale[0] - x0)
            chosen[number] = with_last_ellipsis(with_pauses(line, strokes, extent), strokes, extent, line_px)

    def placed(reading: Reading, lines: Sequence[LineReading]) -> Reading:
        """Return a reading with the places of its lines and words."""
        if vertical:
            return reading
        extents = [(left / scale[0], right / scale[0]) for left, _, right, _ in boxes]
        return replace(reading, lines=_placed_lines([line.read for line in lines], found, extents, stroke_mask))

    if scripts is None or vertical:
        read = [_as_read(line) for line in chosen]
        return placed(_joined(read, recognitions), read)
    images = [_stretched(renderings[0][y0:y1, x0:x1]) for x0, y0, x1, y1 in boxes]
    seen = []
    for number, guess in enumerate(classify_script(images)):
        line, whole = chosen[number], uncovered[number] <= EXTENTS.trace_area
        is_whole = whole and (line is None or widths[number] <= _widest(line.text))
        read_whole = line if line is not None and line.confidence >= OCR.sure and is_whole else None
        picture = LinePicture(images[number], masks[number])
        seen.append(SeenLine(scripts.add(guess, read_whole), picture, line, whole))
    lines = [_as_read(line.default) if scripts.is_settled(line) else line for line in seen]
    known = _known(lines, scripts, engine)
    reading = placed(_joined(known, recognitions + _readings_of(lines)), known)
    if _readings_wait(lines):
        return replace(reading, waiting=tuple(lines))
    return replace(reading, seen=tuple(line for line, read in zip(seen, known, strict=True) if _has_text(read)))


def settled(reading: Reading, scripts: TrackScripts, engine: OcrEngine) -> Reading:
    """Return a reading with its lines in the scripts that the whole track says they are in."""
    if not reading.waiting:
        return reading
    known = _known(reading.waiting, scripts, engine, is_final=True)
    final = _joined(known, reading.recognitions + _readings_of(reading.waiting))
    told = zip(reading.waiting, known, strict=True)
    seen = [line for line, read in told if isinstance(line, SeenLine) and _has_text(read)]
    final = replace(final, seen=tuple(seen))
    return replace(final, lines=reading.lines) if final.text == reading.text else final


def _known(
    lines: Sequence[SeenLine | LineReading], scripts: TrackScripts, engine: OcrEngine, *, is_final: bool = False
) -> list[LineReading]:
    """Return what the lines of a caption say, each in its script by what is known so far."""
    return [scripts.resolve(line, engine, is_final=is_final) if isinstance(line, SeenLine) else line for line in lines]


def _readings_of(lines: Sequence[SeenLine | LineReading]) -> int:
    """Return how many times the lines were read by engines of other scripts."""
    return sum(len(line.readings) for line in lines if isinstance(line, SeenLine))


def _readings_wait(lines: Sequence[SeenLine | LineReading]) -> bool:
    return any(isinstance(line, SeenLine) for line in lines)


def _of_each_speaker(
    engine: OcrEngine, line: Recognition | None, box: Box, picture: Plane, stroke_mask: Mask, line_px: float
) -> list[tuple[Recognition | None, Box]]:
    """Return a line as the texts of the speakers who share it, with their boxes; as it is if it is one text, or if one
    of the texts does not read well by itself.

    Args:
        engine: reads line images.
        line: what was read in it as a whole; None: nothing.
        box: of the line, pixels of ``stroke_mask``.
        picture: what the frames share.
        stroke_mask, line_px: as of `read_caption`.
    """
    if line is None:
        return [(line, box)]
    scale = _scale(stroke_mask, picture)
    x0, y0, x1, y1 = box
    left, _, right, _ = _padded(box, line_px, scale, picture.shape)
    spans = split_texts(stroke_mask[y0:y1, x0:x1], line, (left / scale[0] - x0, right / scale[0] - x0), line_px)
    if len(spans) < 2:
        return [(line, box)]
    parts = [(x0 + start, y0, x0 + end, y1) for start, end in spans]
    padded = [_padded(part, line_px, scale, picture.shape) for part in parts]
    images = [LinePicture(_stretched(_cut(picture, part)), _part(stroke_mask, part, scale)) for part in padded]
    read = engine.recognize(images)
    if "".join("".join(part.text.split()) for part in read) == "".join(line.text.split()):
        # The whole line tells best where spaces are.
        read = [_within(line, (left, right), (part[0], part[2])) for part in padded]
    elif not all(part.text.strip() and part.confidence >= OCR.sure for part in read):
        return [(line, box)]
    return list(zip(read, parts, strict=True))


def _within(line: Recognition, extent: tuple[float, float], part: tuple[float, float]) -> Recognition:
    """Return what was read in a part of a line; from where to where both images reach, pixels of the picture."""
    places = [extent[0] + place * (extent[1] - extent[0]) for place in line.positions]
    inside = [number for number, place in enumerate(places) if part[0] <= place < part[1]]
    text = "".join(line.text[number] for number in inside)
    start = len(text) - len(text.lstrip())
    kept = inside[start : start + len(text.strip())]
    return Recognition(
        text.strip(),
        line.confidence,
        tuple(line.characters[number] for number in kept) if line.characters else (),
        tuple((places[number] - part[0]) / (part[1] - part[0]) for number in kept),
    )


def _as_read(line: Recognition | None) -> LineReading:
    return LineReading(line, script_of_text(line.text) if line is not None else None)


def _placed_lines(
    lines: Sequence[Recognition | None],
    boxes: Sequence[tuple[int, int, int, int]],
    extents: Sequence[tuple[float, float]],
    stroke_mask: Mask,
) -> tuple[ReadLine, ...]:
    """Return the lines that were read with the places of their words.

    Args:
        lines: what was read; None: nothing.
        boxes: of the lines, pixels of ``stroke_mask``.
        extents: from where to where the image of each line reached, pixels of ``stroke_mask``.
        stroke_mask: of the caption.
    """
    placed = []
    for line, box, (left, right) in zip(lines, boxes, extents, strict=True):
        if line is None or not line.text.strip():
            continue
        text = _plain_text(line.text)
        positions = [left + place * (right - left) for place in line.positions]
        before = len(line.text) - len(line.text.lstrip())
        positions = positions[before : before + len(text)]
        placed.append(ReadLine(text, box, locate_read_words(text, positions, box, stroke_mask)))
    return tuple(placed)


def _strokes_in(stroke_mask: Mask, box: tuple[int, int, int, int]) -> int:
    x0, y0, x1, y1 = box
    return int(stroke_mask[y0:y1, x0:x1].sum())


def _scale(stroke_mask: Mask, picture: Plane) -> tuple[float, float]:
    """Return how many pixels of a picture are one of the stroke mask, across and down.

    The sides of the mask are whole pixels: by the height alone, the end of a long line would be several pixels off.
    """
    return picture.shape[1] / stroke_mask.shape[1], picture.shape[0] / stroke_mask.shape[0]


def _part(stroke_mask: Mask, box: tuple[int, int, int, int], scale: tuple[float, float]) -> Mask:
    """Return the strokes in a box, which is in pixels of the full picture."""
    x0, y0, x1, y1 = (round(edge / side) for edge, side in zip(box, scale * 2, strict=True))
    return stroke_mask[y0:y1, x0:x1]


def _with_whole_letters(box: Box, picture: Plane, stroke_mask: Mask, line_px: float, scale: tuple[float, float]) -> Box:
    """Return a line's box with the letters at its ends that the mask lacks and its margins would cut through.

    Args:
        box: of the line, pixels of ``stroke_mask``.
        picture: what the frames share.
        stroke_mask, line_px: as of `read_caption`.
        scale: of `_scale`.
    """
    x0, y0, x1, y1 = box
    start, top, end, bottom = _padded(box, line_px, scale, picture.shape)
    rows = slice(round(top / scale[1]), max(round(top / scale[1]) + 1, round(bottom / scale[1])))
    strokes = np.zeros((rows.stop - rows.start, stroke_mask.shape[1]), np.float32)
    own = stroke_mask[rows, x0:x1]
    strokes[: len(own), x0:x1] = own
    first, last = span_of_letters(
        picture[top:bottom].astype(np.float32),
        strokes,
        start,
        end,
        margin_px=TUNING.margin_along * line_px * scale[0],
        least_px=OCR.least_letter * line_px * scale[1],
    )
    side = TUNING.margin_along * line_px
    left = x0 if first == start else min(x0, max(0, round(first / scale[0] + side)))
    right = x1 if last == end else max(x1, min(stroke_mask.shape[1], round(last / scale[0] - side)))
    return left, y0, right, y1


def _plain_text(text: str) -> str:
    """Return the text of a line in NFC, with the usual punctuation instead of full-width marks if it is Latin."""
    text = unicodedata.normalize("NFC", text.strip())
    return text.translate(_HALF_WIDTH) if script_of_text(text) == "Latn" else text


def _widest(text: str) -> float:
    """Return how wide a text can be, line heights: capitals and ideographs up to 1, other letters up to 0.7."""
    return sum(1.0 if character.isupper() or character >= "\u2e80" else 0.7 for character in text)


def _joined(lines: Sequence[LineReading], recognitions: int) -> Reading:
    """Return the reading of a caption from those of its lines."""
    kept = [(line, line.read) for line in lines if line.read is not None and _has_text(line)]
    text = "\n".join(_plain_text(read.text) for _, read in kept)
    letters = sum(len(read.text) for _, read in kept)
    confidence = sum(read.confidence * len(read.text) for _, read in kept) / max(1, letters)
    unread = [line for line in lines if line.is_unread]
    told = [*unread, *(line for line, _ in kept)]
    script = next((line.script for line in told if line.script is not None), None)
    lang = next((line.lang for line in told if line.lang is not None), None)
    return Reading(text, confidence, recognitions, script, lang, bool(unread))


def _has_text(line: LineReading) -> bool:
    return line.read is not None and bool(line.read.text.strip())


def _read_widened(
    engine: OcrEngine,
    boxes: Sequence[tuple[int, int, int, int]],
    fused: Plane,
    masks: Sequence[NDArray[np.float32] | Mask],
    readings: list[list[Recognition]],
) -> int:
    """Read short words that were read alike, but not surely, again, twice as wide; return how many were read.

    In condensed type, several letters fall on one step of the recognizer, which then is sure of none of them.
    """
    import cv2

    unsure = [number for number, read in enumerate(readings) if _is_unsure_of_few(read)]
    lines = []
    for number in unsure:
        wide = cv2.resize(_stretched(_cut(fused, boxes[number])), None, fx=2, fy=1, interpolation=cv2.INTER_CUBIC)
        lines.append(LinePicture(np.asarray(wide, np.uint8), masks[number]))
    for number, read in zip(unsure, engine.recognize(lines) if lines else [], strict=True):
        if fold(read.text) == fold(max(readings[number], key=_worth).text):
            readings[number].append(read)
    return len(unsure)


def _is_unsure_of_few(read: Sequence[Recognition]) -> bool:
    """Return whether a few characters were read alike in each rendering, but surely in none."""
    texts = {fold(line.text) for line in read}
    is_short = all(0 < len(text) <= _FEW_CHARACTERS for text in texts)
    return len(texts) == 1 < len(read) and is_short and max(map(_worth, read)) < OCR.sure


def _is_doubtful(read: Sequence[Recognition]) -> bool:
    """Return whether a line should be read again in another rendering."""
    if not read:
        return True
    best = max(map(_worth, read))
    if len(read) == 1:
        is_short = 0 < len(read[0].text.strip()) <= _FEW_CHARACTERS
        return TUNING.plausible / 2 <= best < OCR.sure or is_short
    return len(read) == 2 and TUNING.plausible <= best < OCR.sure


def _chosen(read: Sequence[Recognition], width: float) -> Recognition | None:
    """Return the best reading of a line, ``width`` line heights wide; None if the line is no text."""
    best = max(read, key=_worth)
    text = best.text.strip()
    if not text or best.confidence < TUNING.plausible:
        return None
    if best.confidence < OCR.certain:
        if width > TUNING.widest_character * len(text) + 0.5:
            return None
        if _SINGLE_LETTER.fullmatch(text):
            return None  # an edge of the picture, far more often than a caption
    if len(text) <= _FEW_CHARACTERS and len(read) > 1:
        # Texture is read as a different character each time.
        alike = sum(fold(line.text) == fold(best.text) for line in read)
        if alike < 2 or best.confidence < OCR.doubtful:
            return None
    return best


def _is_speck(line: Recognition, box: tuple[int, int, int, int], line_px: float) -> bool:
    """Return whether a line of one letter is too small for a letter in both directions."""
    x0, y0, x1, y1 = box
    size = max(x1 - x0, y1 - y0)
    return _SINGLE_LETTER.fullmatch(line.text.strip()) is not None and size <= TUNING.speck_width * line_px


def _worth(recognition: Recognition) -> float:
    return recognition.confidence if recognition.text.strip() else 0.0


def _renderings(pictures: Sequence[Plane]) -> list[Plane]:
    """Return pictures of what the frames share, the most promising first: their mean, then single frames."""
    if len(pictures) < 3:
        return [pictures[0], pictures[-1]]
    return [mean_level(pictures).astype(np.uint8), pictures[len(pictures) // 2], pictures[-1]]


def _cut(picture: Plane, box: tuple[int, int, int, int]) -> Plane:
    x0, y0, x1, y1 = box
    return picture[y0:y1, x0:x1]


def _known_reading(luma: Plane, lumas: Sequence[Plane], readings: Sequence[Recognition]) -> Recognition | None:
    """Return the reading of a rendering of the same line that looks the same, as of a still scene; None if none does.

    It looks the same if it differs by less than half a gray level on average, as by rounding: of 100 pairs, all 87 that
    differed by less than 0.8 were read alike, and 7 of the others were not.

    Args:
        luma: the rendering.
        lumas, readings: of the line so far.
    """
    import cv2

    for other, reading in zip(lumas, readings, strict=True):
        if 2 * cv2.norm(luma, other, cv2.NORM_L1) <= luma.size:
            return reading
    return None


def _stretched(luma: Plane) -> NDArray[np.uint8]:
    """Return a line image with its contrast stretched to 0..255, except for the few darkest and brightest pixels."""
    import cv2

    passed = np.bincount(luma.ravel(), minlength=256).cumsum()
    ends = np.array([DARKEST, 1 - DARKEST]) * (luma.size - 1)
    low, high = np.searchsorted(passed, ends, side="right")
    table = np.clip((np.arange(256) - low) * (255 / max(1, high - low)), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(luma, table), np.uint8)


def _padded(
    box: tuple[int, int, int, int], line_px: float, scale: tuple[float, float], shape: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Return a line's box with margins at the line's own height, in pixels of the pictures, ``(x0, y0, x1, y1)``."""
    x0, y0, x1, y1 = box
    height = y1 - y0
    # Without ascenders, or with faint ones, a line's strokes are lower than the line.
    room = TUNING.own_height * height if height > TUNING.lowest_letters * line_px else line_px
    middle, half = (y0 + y1) / 2, max(height / 2 + TUNING.accent * line_px, min(line_px, room) / 2)
    side = TUNING.margin_along * line_px
    return (
        max(0, round((x0 - side) * scale[0])),
        max(0, round((middle - half) * scale[1])),
        min(shape[1], round((x1 + side) * scale[0])),
        min(shape[0], round((middle + half) * scale[1])),
    )
