"""What must hold of a video's stored results: pure rules that name the frame, caption or key that is wrong."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from captionacc_dagster.captioning.captions import Caption, Cue, PairResult
from captionacc_dagster.captioning.extents.labels import label_pairs
from captionacc_dagster.captioning.files.captions_database import StoredCaption
from captionacc_dagster.captioning.files.chunks import FRAMES_PER_CHUNK, LEVELS, level_of
from captionacc_dagster.captioning.files.subtitles import FORMATS, Format, SubtitleError, parse_subtitles, text_lines
from captionacc_dagster.storage.keys import InvalidKey, check_owned

Severity = Literal["warn", "error"]
Fact = str | int | float | bool

# The contract of the compute functions: frames are int(duration * rate), within 10 %.
FRAMES_TOLERANCE = 0.1
# More unread than this, and what was read says little about the video.
MOST_UNREAD = 0.5
# Netflix, Timed Text Style Guide, general requirements: an event stands from 5/6 of a second to 7 seconds.
SHORTEST_S, LONGEST_S = 5 / 6, 7.0
# Netflix, Timed Text Style Guides of the languages, programmes for adults: characters per second. Latin and other
# alphabets 17 to 20 (the higher is taken: a caption's language is not known), Chinese 9, Korean 12, Japanese 4.
ALPHABET_CPS, HAN_CPS, HANGUL_CPS, JAPANESE_CPS = 20.0, 9.0, 12.0, 4.0
# Authors of burned-in captions stray from the guides. Beyond this factor an extent cut short or two captions taken
# for one is likelier.
STYLE_SLACK = 1.5
# Where the engine demands a second look even at one or two characters (ReadingTuning.confident_in_few).
DOUBTFUL_TEXT = 0.75


@dataclass(frozen=True)
class Verdict:
    """What a rule found: it is kept when nothing is wrong.

    Attributes:
        wrong: one line for each frame, caption or key that is wrong.
        severity: what that means: ``warn`` a person should look, ``error`` it is not as it must be.
        facts: the numbers that were compared.
    """

    wrong: tuple[str, ...] = ()
    severity: Severity = "error"
    facts: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    @property
    def summary(self) -> str:
        """The first things that are wrong, in one line; empty when nothing is."""
        shown = "; ".join(self.wrong[:3])
        return shown if len(self.wrong) <= 3 else f"{shown}; and {len(self.wrong) - 3} more"


def keys_belong_to_tenant(tenant_id: str, expected: Mapping[str, str], recorded: Mapping[str, str | None]) -> Verdict:
    """Recorded keys begin with the tenant's id and are the ones this video's objects have.

    Args:
        tenant_id: whose video it is.
        expected: by what it is, the key the video's ids give.
        recorded: by the same names, what the catalog and Dagster's records say; None is wrong.
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
            wrong.append(f"{what}: the recorded key {key} is not {expected[what]}")
    return Verdict(tuple(wrong), facts={"keys": len(recorded)})


def objects_as_recorded(recorded: Mapping[str, Fact], found: Mapping[str, Fact]) -> Verdict:
    """What the store holds now is what was recorded of it: the number of objects, bytes, SHA-256.

    Args:
        recorded: when it was made; may say more than is compared.
        found: now, by the same names.
    """
    wrong = [
        f"{name}: recorded {recorded.get(name, 'nothing')}, stored {value}"
        for name, value in found.items()
        if recorded.get(name) != value
    ]
    return Verdict(tuple(wrong), facts=dict(found))


def frames_match_duration(count: int, duration_s: float, rate: float) -> Verdict:
    """There are ``int(duration * rate)`` frames, within 10 % and never less than one off; at least one."""
    expected = max(1, int(duration_s * rate + 1e-9))
    facts = {"frames": count, "expected": expected, "duration_seconds": duration_s, "frames_per_second": rate}
    if abs(count - expected) <= max(1.0, expected * FRAMES_TOLERANCE):
        return Verdict(facts=facts)
    return Verdict(
        (f"{count} frames, but {duration_s:.1f} s at {rate:g} a second give {expected}: is the file complete?",),
        "warn",
        facts,
    )


def every_frame_is_there(stored: Sequence[int], read: Sequence[int]) -> Verdict:
    """Frames are numbered from 0 without a gap, and those that are stored are those that were read by OCR."""
    expected = set(range(max([*stored, *read], default=-1) + 1))
    wrong = [f"frame {index}: no picture is stored" for index in sorted(expected - set(stored))]
    wrong += [f"frame {index}: OCR has no row of it" for index in sorted(expected - set(read))]
    if not expected:
        wrong.append("no frame at all")
    return Verdict(tuple(wrong), facts={"pictures": len(stored), "read": len(read)})


def every_chunk_is_there(stored: Iterable[str], frame_count: int) -> Verdict:
    """The chunks of all three levels are stored, and no other object is.

    Args:
        stored: names under the version's prefix, ``modulo_{level}/chunk_{first_frame:010d}.webm``.
        frame_count: cropped frames.
    """
    expected = {
        f"modulo_{level}/chunk_{first:010d}.webm"
        for level in LEVELS
        for first in [index for index in range(frame_count) if level_of(index) == level][::FRAMES_PER_CHUNK]
    }
    found = set(stored)
    wrong = [f"{name}: is missing" for name in sorted(expected - found)]
    wrong += [f"{name}: does not belong here" for name in sorted(found - expected)]
    return Verdict(tuple(wrong), facts={"chunks": len(found), "frames": frame_count})


def all_read(things: str, failures: Mapping[str, str], total: int) -> Verdict:
    """Everything could be read. Some failures are a warning, more than half an error.

    Args:
        things: what was read, in the plural.
        failures: what could not be read, and why.
        total: how many there were.
    """
    facts = {"failed": len(failures), "total": total, "failure_rate": len(failures) / total if total else 0.0}
    if not failures:
        return Verdict(facts=facts)
    wrong = [f"{name}: {reason}" for name, reason in failures.items()]
    most = len(failures) > total * MOST_UNREAD
    head = f"OCR failed on {len(failures)} of {total} {things}"
    return Verdict((head, *wrong), "error" if most else "warn", facts)


def boxes_agree(ocr_boxes: int, layout_boxes: int, recorded: int | None) -> Verdict:
    """OCR, layout and catalog know the same number of text boxes."""
    facts = {"ocr_db": ocr_boxes, "layout_db": layout_boxes, "catalog": -1 if recorded is None else recorded}
    if ocr_boxes == layout_boxes == recorded:
        return Verdict(facts=facts)
    return Verdict(
        (f"text boxes: {ocr_boxes} in raw-ocr.db, {layout_boxes} in layout.db, {recorded} in the catalog",),
        facts=facts,
    )


def layout_is_confident(confidence: float, wanted: float, has_captions: bool) -> Verdict:
    """The layout is at least as sure as the tenant asks for layouts that nobody looks at."""
    facts = {"confidence": confidence, "wanted": wanted, "has_captions": has_captions}
    if confidence >= wanted:
        return Verdict(facts=facts)
    what = "where captions stand" if has_captions else "that there are no captions"
    return Verdict((f"confidence {confidence:.2f} of {what}; the tenant asks for {wanted:.2f}",), "warn", facts)


def extents_in_order(captions: Sequence[Caption], duration_s: float, frame_rate: float) -> Verdict:
    """Captions begin before they end, stand inside the video, and never two at once in one track.

    Args:
        captions: in the order they are stored.
        duration_s: of the video.
        frame_rate: native frames per second; a caption may end one frame after the last picture.
    """
    wrong = []
    last: dict[str, tuple[int, Caption]] = {}
    for number, caption in enumerate(captions, start=1):
        name = f"caption {number} ({_span(caption)})"
        if caption.end_s <= caption.start_s or caption.end_frame <= caption.start_frame:
            wrong.append(f"{name}: ends before it begins")
        if caption.start_s < 0 or caption.end_s > duration_s + 1 / frame_rate + 0.001:
            wrong.append(f"{name}: reaches out of the video of {duration_s:.3f} s")
        if caption.track in last:
            earlier, before = last[caption.track]
            if caption.start_s < before.start_s:
                wrong.append(f"{name}: stands after caption {earlier}, which begins later")
            elif caption.start_s < before.end_s - 1e-6:
                wrong.append(f"{name}: overlaps caption {earlier} in track {caption.track or 'of no name'}")
        last[caption.track] = (number, caption)
    return Verdict(tuple(wrong), facts={"captions": len(captions), "tracks": len(last)})


def labels_agree(
    pairs: Sequence[PairResult],
    recorded: Mapping[str, int],
    spans: Mapping[str, Sequence[tuple[int, int]]],
    frame_count: int,
) -> Verdict:
    """The labels are complete, as many of each as recorded, and say what the extents say.

    Args:
        pairs: of consecutive cropped frames.
        recorded: how often each label was given.
        spans: of each track the cropped frames ``[start, end)`` of its captions, in order.
        frame_count: cropped frames.
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
        f"frames {pair.frame1_index} and {pair.frame2_index}: labeled {pair.label}, the extents say {meant.label}"
        for pair, meant in zip(pairs, label_pairs(tracks, range(frame_count)), strict=True)
        if pair.label != meant.label
    ]
    return Verdict(tuple(wrong), "warn", facts | {"disagreeing": len(wrong)})


def lengths_plausible(captions: Sequence[Caption]) -> Verdict:
    """Captions stand 5/6 of a second to 7 seconds (Netflix), with half as much again for authors who stray."""
    wrong = []
    for number, caption in enumerate(captions, start=1):
        length = caption.end_s - caption.start_s
        if not SHORTEST_S / STYLE_SLACK <= length <= LONGEST_S * STYLE_SLACK:
            wrong.append(f"caption {number} ({_span(caption)}): stands {length:.2f} s")
    lengths = [caption.end_s - caption.start_s for caption in captions]
    facts = {"shortest_seconds": min(lengths), "longest_seconds": max(lengths)} if lengths else {}
    return Verdict(tuple(wrong), "warn", {"captions": len(captions), **facts})


def reading_speed_plausible(captions: Sequence[Caption]) -> Verdict:
    """Captions stand as long as it takes to read them: :func:`reading_seconds`, less a third for strays."""
    wrong = []
    fastest = 0.0
    for number, caption in enumerate(captions, start=1):
        length, wanted = caption.end_s - caption.start_s, reading_seconds(caption.text)
        ratio = wanted / length if length > 0 else 0.0
        fastest = max(fastest, ratio)
        if ratio > STYLE_SLACK:
            wrong.append(
                f"caption {number} ({_span(caption)}): {len(caption.text)} characters in {length:.2f} s, "
                f"reading takes {wanted:.2f} s"
            )
    return Verdict(tuple(wrong), "warn", {"captions": len(captions), "fastest_times_the_guide": fastest})


def reading_seconds(text: str) -> float:
    """Give the seconds that reading takes at Netflix's characters per second of each script.

    Han characters count as Japanese where kana stand beside them. Spaces and punctuation count, line breaks do not.
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
    """Every text was read with some certainty; what a person typed counts as certain."""
    wrong = tuple(
        f"caption {number} ({_span(caption)}): {caption.text!r:.60} with confidence {caption.confidence:.2f}"
        for number, caption in enumerate(captions, start=1)
        if caption.confidence < DOUBTFUL_TEXT
    )
    sure = [caption.confidence for caption in captions]
    facts = {"lowest": min(sure), "mean": sum(sure) / len(sure)} if sure else {}
    return Verdict(wrong, "warn", {"captions": len(captions), "wanted": DOUBTFUL_TEXT, **facts})


def captions_all_read(rows: Sequence[StoredCaption]) -> Verdict:
    """Every caption that people have not typed themselves could be read; see :func:`all_read`."""
    machine = [row for row in rows if row.text is None and row.caption_ocr_status in ("completed", "error")]
    failures = {
        f"caption {row.id}": row.caption_ocr_error or "no reason is given"
        for row in machine
        if row.caption_ocr_status == "error"
    }
    return all_read("captions", failures, len(machine))


def subtitles_equal_captions(texts: Mapping[Format, str], meant: Mapping[Format, str]) -> Verdict:
    """Each subtitle file parses again, to the captions of the database.

    Args:
        texts: as stored, by format; one that is not there is wrong.
        meant: what the database gives, in every format.
    """
    wrong = []
    for kind in FORMATS:
        if kind not in texts:
            wrong.append(f"captions.{kind}: is not stored")
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
