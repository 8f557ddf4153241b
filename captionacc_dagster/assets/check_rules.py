"""Rules that a video's stored results must satisfy. They are pure and name each frame, caption, or key that fails."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from captionacc_dagster.captioning.captions import Caption, Cue, PairResult
from captionacc_dagster.captioning.extents.labels import label_pairs
from captionacc_dagster.captioning.files.captions_database import StoredCaption
from captionacc_dagster.captioning.files.subtitles import FORMATS, Format, SubtitleError, parse_subtitles, text_lines
from captionacc_dagster.captioning.layout.model import Detection
from captionacc_dagster.storage.keys import InvalidKey, check_owned

Severity = Literal["warn", "error"]
Fact = str | int | float | bool

# The contract of the compute functions: frames are int(duration * rate), within 10 %.
FRAMES_TOLERANCE = 0.1
# With more failures than this share, what was read says little about the video.
MOST_UNREAD = 0.5
# Netflix, Timed Text Style Guide, general requirements: an event lasts from 5/6 of a second to 7 seconds.
SHORTEST_S, LONGEST_S = 5 / 6, 7.0
# Netflix, Timed Text Style Guides by language, programs for adults: characters per second. Latin and other
# alphabets 17 to 20 (the higher, because the language is unknown), Chinese 9, Korean 12, Japanese 4.
ALPHABET_CPS, HAN_CPS, HANGUL_CPS, JAPANESE_CPS = 20.0, 9.0, 12.0, 4.0
# Authors of burned-in captions stray from the guides. Beyond this factor, a truncated extent or two merged captions
# are the likelier explanation.
STYLE_SLACK = 1.5
# The confidence below which the engine itself reads one or two characters again (ReadingTuning.confident_in_few).
DOUBTFUL_TEXT = 0.75
# How long a caption may fade before its start and after its end, when its text is half visible, milliseconds.
FADE_MS = 500


@dataclass(frozen=True)
class Verdict:
    """The result of a rule; it passes when nothing is wrong.

    Attributes:
        wrong: one line for each frame, caption, or key that fails.
        severity: ``warn``: a person should check it; ``error``: the result is unusable.
        facts: the numbers that were compared.
    """

    wrong: tuple[str, ...] = ()
    severity: Severity = "error"
    facts: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    @property
    def summary(self) -> str:
        """The first three failures in one line; empty when there are none."""
        shown = "; ".join(self.wrong[:3])
        return shown if len(self.wrong) <= 3 else f"{shown}; and {len(self.wrong) - 3} more"


def keys_belong_to_tenant(tenant_id: str, expected: Mapping[str, str], recorded: Mapping[str, str | None]) -> Verdict:
    """Passes when every recorded key begins with the tenant's id and is the key of this video's object.

    Args:
        tenant_id: the video's tenant.
        expected: name → the key that follows from the video's ids.
        recorded: name → the key in the catalog or in Dagster's records; None fails.
    """
    wrong = []
    for what, key in recorded.items():
        if key is None:
            wrong.append(f"{what}: no key is recorded")
            continue
        try:
            check_owned(key, tenant_id)
        except InvalidKey as error:
            wrong.append(f"{what}: {error}")
            continue
        if key != expected[what]:
            wrong.append(f"{what}: the recorded key is {key}, expected {expected[what]}")
    return Verdict(tuple(wrong), facts={"keys": len(recorded)})


def objects_as_recorded(recorded: Mapping[str, Fact], found: Mapping[str, Fact]) -> Verdict:
    """Passes when the store still contains what was recorded: number of objects, bytes, SHA-256.

    Args:
        recorded: values from when it was made; may contain more than is compared.
        found: the present values, by the same names.
    """
    wrong = [
        f"{name}: recorded {recorded.get(name, 'nothing')}, stored {value}"
        for name, value in found.items()
        if recorded.get(name) != value
    ]
    return Verdict(tuple(wrong), facts=dict(found))


def frames_match_duration(count: int, duration_s: float, rate: float) -> Verdict:
    """Passes when there are ``int(duration * rate)`` frames, at least one, with a tolerance of 10 % or one frame."""
    expected = max(1, int(duration_s * rate + 1e-9))
    facts = {"frames": count, "expected": expected, "duration_seconds": duration_s, "frames_per_second": rate}
    if abs(count - expected) <= max(1.0, expected * FRAMES_TOLERANCE):
        return Verdict(facts=facts)
    return Verdict(
        (f"{count} frames; {duration_s:.1f} s at {rate:g} per second should give {expected}. Is the file complete?",),
        "warn",
        facts,
    )


def every_frame_is_there(stored: Sequence[int], read: Sequence[int]) -> Verdict:
    """Passes when frames are numbered from 0 without a gap and every stored frame has an OCR row."""
    expected = set(range(max([*stored, *read], default=-1) + 1))
    wrong = [f"frame {index}: not stored" for index in sorted(expected - set(stored))]
    wrong += [f"frame {index}: no OCR row" for index in sorted(expected - set(read))]
    if not expected:
        wrong.append("there are no frames")
    return Verdict(tuple(wrong), facts={"pictures": len(stored), "read": len(read)})


def every_chunk_is_there(stored: Iterable[str], frame_count: int) -> Verdict:
    """Passes when the chunks of all three levels, and no other objects, are stored.

    Args:
        stored: names under the version's prefix, ``modulo_{level}/chunk_{first_frame:010d}.webm``.
        frame_count: number of cropped frames.
    """
    from captionacc_dagster.captioning.files.chunks import FRAMES_PER_CHUNK, LEVELS, level_of

    expected = {
        f"modulo_{level}/chunk_{first:010d}.webm"
        for level in LEVELS
        for first in [index for index in range(frame_count) if level_of(index) == level][::FRAMES_PER_CHUNK]
    }
    found = set(stored)
    wrong = [f"{name}: missing" for name in sorted(expected - found)]
    wrong += [f"{name}: unexpected object" for name in sorted(found - expected)]
    return Verdict(tuple(wrong), facts={"chunks": len(found), "frames": frame_count})


def all_read(things: str, failures: Mapping[str, str], total: int) -> Verdict:
    """Passes when everything could be read. Some failures are a warning; more than half are an error.

    Args:
        things: plural noun for what was read.
        failures: name of each item that could not be read → reason.
        total: number of items.
    """
    facts = {"failed": len(failures), "total": total, "failure_rate": len(failures) / total if total else 0.0}
    if not failures:
        return Verdict(facts=facts)
    wrong = [f"{name}: {reason}" for name, reason in failures.items()]
    most = len(failures) > total * MOST_UNREAD
    head = f"OCR failed on {len(failures)} of {total} {things}"
    return Verdict((head, *wrong), "error" if most else "warn", facts)


def boxes_agree(ocr_boxes: int, layout_boxes: int, recorded: int | None) -> Verdict:
    """Passes when OCR, layout, and catalog agree on the number of text boxes."""
    facts = {"ocr_db": ocr_boxes, "layout_db": layout_boxes, "catalog": -1 if recorded is None else recorded}
    if ocr_boxes == layout_boxes == recorded:
        return Verdict(facts=facts)
    return Verdict(
        (f"text boxes: {ocr_boxes} in raw-ocr.db, {layout_boxes} in layout.db, {recorded} in the catalog",),
        facts=facts,
    )


def layout_is_confident(confidence: float, wanted: float, has_captions: bool) -> Verdict:
    """Passes when the layout's confidence reaches the tenant's minimum for automatic approval."""
    facts = {"confidence": confidence, "wanted": wanted, "has_captions": has_captions}
    if confidence >= wanted:
        return Verdict(facts=facts)
    what = "where captions appear" if has_captions else "that there are no captions"
    return Verdict((f"confidence {confidence:.2f} about {what}; the tenant requires {wanted:.2f}",), "warn", facts)


def extents_in_order(captions: Sequence[Caption], duration_s: float, frame_rate: float) -> Verdict:
    """Passes when captions begin before they end, lie inside the video, and never overlap within a track.

    Args:
        captions: in the order they are stored.
        duration_s: duration of the video.
        frame_rate: native frames per second; a caption may end one frame after the last picture.
    """
    wrong = []
    last: dict[str, tuple[int, Caption]] = {}
    for number, caption in enumerate(captions, start=1):
        name = f"caption {number} ({_span(caption)})"
        if caption.end_s <= caption.start_s or caption.end_frame <= caption.start_frame:
            wrong.append(f"{name}: ends before it begins")
        if caption.start_s < 0 or caption.end_s > duration_s + 1 / frame_rate + 0.001:
            wrong.append(f"{name}: lies outside the video of {duration_s:.3f} s")
        if caption.track in last:
            earlier, before = last[caption.track]
            if caption.start_s < before.start_s:
                wrong.append(f"{name}: is stored after caption {earlier}, which begins later")
            elif caption.start_s < before.end_s - 1e-6:
                track = f"track {caption.track}" if caption.track else "an unnamed track"
                wrong.append(f"{name}: overlaps caption {earlier} in {track}")
        last[caption.track] = (number, caption)
    return Verdict(tuple(wrong), facts={"captions": len(captions), "tracks": len(last)})


def labels_agree(
    pairs: Sequence[PairResult],
    recorded: Mapping[str, int],
    spans: Mapping[str, Sequence[tuple[int, int]]],
    frame_count: int,
) -> Verdict:
    """Passes when the labels are complete, match the recorded counts, and agree with the extents.

    Args:
        pairs: labels of consecutive cropped frames.
        recorded: label → recorded count.
        spans: track → cropped frames ``[start, end)`` of its captions, in order.
        frame_count: number of cropped frames.
    """
    counts = dict.fromkeys(recorded, 0)
    for pair in pairs:
        counts[pair.label] = counts.get(pair.label, 0) + 1
    wrong = [
        f"label {label}: recorded {recorded.get(label, 0)} times, stored {count} times"
        for label, count in counts.items()
        if recorded.get(label, 0) != count
    ]
    if [(pair.frame1_index, pair.frame2_index) for pair in pairs] != list(pairwise(range(frame_count))):
        wrong.append(f"{len(pairs)} pairs of {frame_count} cropped frames: some are missing or out of order")
    facts: dict[str, Fact] = {"pairs": len(pairs), **counts}
    if wrong:
        return Verdict(tuple(wrong), facts=facts)
    tracks = [[(start, end, 1.0) for start, end in track] for track in spans.values()]
    wrong = [
        f"frames {pair.frame1_index} and {pair.frame2_index}: labeled {pair.label}, but the extents imply {meant.label}"
        for pair, meant in zip(pairs, label_pairs(tracks, range(frame_count)), strict=True)
        if pair.label != meant.label
    ]
    return Verdict(tuple(wrong), "warn", facts | {"disagreeing": len(wrong)})


def lengths_plausible(captions: Sequence[Caption]) -> Verdict:
    """Passes when captions last from 5/6 of a second to 7 seconds (Netflix), with 50 % tolerance."""
    wrong = []
    for number, caption in enumerate(captions, start=1):
        length = caption.end_s - caption.start_s
        if not SHORTEST_S / STYLE_SLACK <= length <= LONGEST_S * STYLE_SLACK:
            wrong.append(f"caption {number} ({_span(caption)}): lasts {length:.2f} s")
    lengths = [caption.end_s - caption.start_s for caption in captions]
    facts = {"shortest_seconds": min(lengths), "longest_seconds": max(lengths)} if lengths else {}
    return Verdict(tuple(wrong), "warn", {"captions": len(captions), **facts})


def reading_speed_plausible(captions: Sequence[Caption]) -> Verdict:
    """Passes when captions last long enough to be read: :func:`reading_seconds`, less a third as tolerance."""
    wrong = []
    fastest = 0.0
    for number, caption in enumerate(captions, start=1):
        length, wanted = caption.end_s - caption.start_s, reading_seconds(caption.text)
        ratio = wanted / length if length > 0 else 0.0
        fastest = max(fastest, ratio)
        if ratio > STYLE_SLACK:
            wrong.append(
                f"caption {number} ({_span(caption)}): {len(caption.text)} characters in {length:.2f} s, "
                f"reading it takes {wanted:.2f} s"
            )
    return Verdict(tuple(wrong), "warn", {"captions": len(captions), "fastest_times_the_guide": fastest})


def reading_seconds(text: str) -> float:
    """Return the seconds it takes to read a text at Netflix's characters per second for each script.

    Han characters count as Japanese in a text that contains kana. Spaces and punctuation count; line breaks do not.
    """
    japanese = any(_script(character) == "kana" for character in text)
    speeds = {"han": JAPANESE_CPS if japanese else HAN_CPS, "kana": JAPANESE_CPS, "hangul": HANGUL_CPS}
    return sum(1 / speeds.get(_script(character), ALPHABET_CPS) for character in text if character != "\n")


def _script(character: str) -> str:
    if ord(character) < 0x1100:
        return "alphabet"
    name = unicodedata.name(character, "")
    if name.startswith("CJK UNIFIED"):
        return "han"
    if name.startswith(("HIRAGANA", "KATAKANA")):
        return "kana"
    return "hangul" if name.startswith("HANGUL") else "alphabet"


def text_is_confident(captions: Sequence[Caption]) -> Verdict:
    """Passes when no text was read with low confidence; text that a person typed counts as certain."""
    wrong = tuple(
        f"caption {number} ({_span(caption)}): {caption.text!r:.60} has confidence {caption.confidence:.2f}"
        for number, caption in enumerate(captions, start=1)
        if caption.confidence < DOUBTFUL_TEXT
    )
    sure = [caption.confidence for caption in captions]
    facts = {"lowest": min(sure), "mean": sum(sure) / len(sure)} if sure else {}
    return Verdict(wrong, "warn", {"captions": len(captions), "wanted": DOUBTFUL_TEXT, **facts})


def confident_as_a_whole(captions: Sequence[Caption]) -> Verdict:
    """Passes when at most half of the captions have a low confidence."""
    doubtful = sum(caption.confidence < DOUBTFUL_TEXT for caption in captions)
    facts: dict[str, Fact] = {"captions": len(captions), "doubtful": doubtful}
    if doubtful <= MOST_UNREAD * len(captions):
        return Verdict(facts=facts)
    wrong = f"{doubtful} of {len(captions)} captions have a confidence below {DOUBTFUL_TEXT}; check the layout"
    return Verdict((wrong,), "warn", facts)


def no_text_twice(captions: Sequence[Caption]) -> Verdict:
    """Passes when no text appears in two captions at the same time.

    Args:
        captions: in order of time.
    """
    wrong = []
    shown: list[tuple[int, Caption]] = []
    for number, caption in enumerate(captions, start=1):
        shown = [(earlier, other) for earlier, other in shown if other.end_s > caption.start_s]
        text = "".join(caption.text.split()).casefold()
        wrong += [
            f"captions {earlier} and {number} ({_span(caption)}): both are {caption.text!r:.60}"
            for earlier, other in shown
            if text and text == "".join(other.text.split()).casefold()
        ]
        shown.append((number, caption))
    return Verdict(tuple(wrong), "warn", {"captions": len(captions)})


def seen_text_is_covered(
    seen: Sequence[Detection], rows: Sequence[StoredCaption], region: tuple[float, float, float, float] | None
) -> Verdict:
    """Passes when a caption covers all text that the layout saw in the caption region.

    Args:
        seen: text in samples of the whole frame.
        rows: all rows of the captions database, including deleted ones, which a person has judged.
        region: left, top, right, bottom of the caption region in 0..1; None: there is none.
    """
    inside = [] if region is None else [found for found in seen if _is_likely_caption(found, region)]
    wrong = tuple(
        f"{found.timestamp_s:.3f} s: {found.text!r:.60} is in no caption"
        for found in inside
        if not any(_covers(row, found) for row in rows)
    )
    return Verdict(wrong, "warn", {"texts": len(inside)})


def _is_likely_caption(found: Detection, region: tuple[float, float, float, float]) -> bool:
    middle_x, middle_y = (found.bbox.left + found.bbox.right) / 2, (found.bbox.top + found.bbox.bottom) / 2
    inside = region[0] <= middle_x <= region[2] and region[1] <= middle_y <= region[3]
    return inside and found.confidence >= DOUBTFUL_TEXT and len(found.text.strip()) > 1


def _covers(row: StoredCaption, found: Detection) -> bool:
    at_ms, box = found.timestamp_s * 1000, row.bbox
    return (
        row.start_ms - FADE_MS <= at_ms <= row.end_ms + FADE_MS
        and box.left < found.bbox.right
        and found.bbox.left < box.right
        and box.top < found.bbox.bottom
        and found.bbox.top < box.bottom
    )


def nothing_to_report(messages: Sequence[str]) -> Verdict:
    """Passes when processing reported nothing that the user should know."""
    return Verdict(tuple(messages), "warn", {"warnings": len(messages)})


def captions_all_read(rows: Sequence[StoredCaption]) -> Verdict:
    """Passes when every caption that was not typed by a person could be read; see :func:`all_read`."""
    machine = [row for row in rows if row.text is None and row.caption_ocr_status in ("completed", "error")]
    failures = {
        f"caption {row.id}": row.caption_ocr_error or "no reason recorded"
        for row in machine
        if row.caption_ocr_status == "error"
    }
    return all_read("captions", failures, len(machine))


def subtitles_equal_captions(texts: Mapping[Format, str], meant: Mapping[Format, str]) -> Verdict:
    """Passes when each subtitle file parses and contains the captions of the database.

    Args:
        texts: format → stored text; a missing format fails.
        meant: format → the text that the database gives.
    """
    wrong = []
    for kind in FORMATS:
        if kind not in texts:
            wrong.append(f"captions.{kind}: not stored")
            continue
        try:
            cues = parse_subtitles(texts[kind], kind, f"captions.{kind}")
        except SubtitleError as error:
            wrong.append(str(error))
            continue
        wanted = parse_subtitles(meant[kind], kind)
        if len(cues) != len(wanted):
            wrong.append(f"captions.{kind}: {len(cues)} captions, the database has {len(wanted)}")
            continue
        wrong += [
            f"captions.{kind}: caption {number} is {_said(cue)}, in the database {_said(other)}"
            for number, (cue, other) in enumerate(zip(cues, wanted, strict=True), start=1)
            if _said(cue) != _said(other)
        ]
    return Verdict(tuple(wrong), facts={"files": len(texts)})


def _said(cue: Cue) -> str:
    return f"{cue.start_s:.3f}-{cue.end_s:.3f} s {' / '.join(text_lines(cue.text))!r}"


def _span(caption: Caption) -> str:
    return f"{caption.start_s:.3f}-{caption.end_s:.3f} s"
