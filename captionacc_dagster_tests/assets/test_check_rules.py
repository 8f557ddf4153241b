"""Each rule of the asset checks on data that keeps it and on data that breaks it; what is wrong is named."""

from __future__ import annotations

import pytest

from captionacc_dagster.assets import check_rules as rules
from captionacc_dagster.assets.check_rules import Verdict
from captionacc_dagster.captioning.captions import Caption, PairResult
from captionacc_dagster.captioning.extents.labels import label_pairs
from captionacc_dagster.captioning.files.captions_database import StoredCaption
from captionacc_dagster.captioning.files.subtitles import FORMATS, Format, format_subtitles
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.model import Detection
from captionacc_dagster_tests.assets.made_captions import caption

pytestmark = pytest.mark.unit

TENANT, OTHER = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000009"


def row(number: int, text: str | None = None, status: str = "completed", error: str | None = None) -> StoredCaption:
    values = dict.fromkeys(StoredCaption.__dataclass_fields__)
    values |= {"id": number, "start_ms": 0, "end_ms": 1000, "text": text, "caption_ocr": "Good evening.", "track": ""}
    values |= {"caption_ocr_status": status, "caption_ocr_error": error, "caption_frame_extents_state": "predicted"}
    return StoredCaption(**values)  # pyright: ignore[reportArgumentType]


def broken(verdict: Verdict, severity: str, *named: str) -> None:
    """The rule is broken with this severity, and the summary names these."""
    assert not verdict.passed
    assert verdict.severity == severity
    assert [word for word in named if word not in " | ".join(verdict.wrong)] == []


def test_keys_belong_to_the_tenant() -> None:
    key = f"{TENANT}/client/videos/{OTHER}/video.mp4"
    assert rules.keys_belong_to_tenant(TENANT, {"video": key}, {"video": key}).passed
    foreign = key.replace(TENANT, OTHER, 1)
    broken(rules.keys_belong_to_tenant(TENANT, {"video": key}, {"video": foreign}), "error", "video", foreign)
    elsewhere = key.replace("video.mp4", "other.mp4")
    broken(rules.keys_belong_to_tenant(TENANT, {"video": key}, {"video": elsewhere}), "error", elsewhere)
    broken(rules.keys_belong_to_tenant(TENANT, {"video": key}, {"video": "../etc/passwd"}), "error", "video")
    broken(rules.keys_belong_to_tenant(TENANT, {"video": key}, {"video": None}), "error", "no key")


def test_objects_are_as_recorded() -> None:
    recorded = {"size_bytes": 10, "sha256": "ab", "codec": "h264"}
    assert rules.objects_as_recorded(recorded, {"size_bytes": 10, "sha256": "ab"}).passed
    broken(rules.objects_as_recorded(recorded, {"size_bytes": 9, "sha256": "ab"}), "error", "size_bytes", "10", "9")
    broken(rules.objects_as_recorded(recorded, {"size_bytes": 10, "sha256": "cd"}), "error", "sha256", "ab", "cd")
    broken(rules.objects_as_recorded({}, {"objects": 3}), "error", "recorded nothing, stored 3")


@pytest.mark.parametrize(("count", "duration", "rate"), [(1, 2.4, 0.1), (6, 60, 0.1), (7, 60, 0.1), (545, 60, 10)])
def test_frames_match_duration(count: int, duration: float, rate: float) -> None:
    assert rules.frames_match_duration(count, duration, rate).passed


@pytest.mark.parametrize(("count", "duration", "rate"), [(30, 600, 0.1), (0, 60, 0.1), (500, 60, 10)])
def test_frames_do_not_match_duration(count: int, duration: float, rate: float) -> None:
    broken(rules.frames_match_duration(count, duration, rate), "warn", f"{count} frames")


def test_every_frame_is_there() -> None:
    assert rules.every_frame_is_there([0, 1, 2], [0, 1, 2]).passed
    broken(rules.every_frame_is_there([0, 2], [0, 1, 2]), "error", "frame 1: not stored")
    broken(rules.every_frame_is_there([0, 1, 2, 3], [0, 1, 3]), "error", "frame 2: no OCR row")
    broken(rules.every_frame_is_there([], []), "error", "there are no frames")


def test_every_chunk_is_there() -> None:
    names = {f"modulo_1/chunk_{first:010d}.webm" for first in (1, 43)}
    names |= {f"modulo_4/chunk_{4:010d}.webm", f"modulo_16/chunk_{0:010d}.webm"}
    assert rules.every_chunk_is_there(names, 60).passed
    assert rules.every_chunk_is_there([], 0).passed
    broken(rules.every_chunk_is_there(names - {"modulo_1/chunk_0000000043.webm"}, 60), "error", "chunk_0000000043.webm")
    broken(rules.every_chunk_is_there(names | {"modulo_1/chunk_0000000099.webm"}, 60), "error", "unexpected object")


def test_what_could_not_be_read() -> None:
    assert rules.all_read("frames", {}, 4).passed
    assert rules.all_read("frames", {}, 0).passed
    broken(rules.all_read("frames", {"frame 7": "out of memory"}, 4), "warn", "1 of 4", "frame 7: out of memory")
    broken(rules.all_read("frames", dict.fromkeys(("frame 1", "frame 2", "frame 3"), "x"), 4), "error", "3 of 4")


def test_captions_that_could_not_be_read() -> None:
    assert rules.captions_all_read([row(1), row(2, text="typed", status="error", error="blurred")]).passed
    assert rules.captions_all_read([row(1), row(2, status="queued")]).passed
    broken(rules.captions_all_read([row(1), row(2, status="error", error="blurred")]), "warn", "caption 2: blurred")
    broken(rules.captions_all_read([row(1, status="error"), row(2, status="error")]), "error", "2 of 2")


def test_boxes_agree() -> None:
    assert rules.boxes_agree(12, 12, 12).passed
    for counts in ((12, 11, 12), (12, 12, 11), (12, 12, None)):
        broken(rules.boxes_agree(*counts), "error", "raw-ocr.db", "layout.db")


def test_the_layout_is_confident() -> None:
    assert rules.layout_is_confident(0.9, 0.9, has_captions=True).passed
    broken(rules.layout_is_confident(0.62, 0.9, has_captions=True), "warn", "0.62", "0.90", "where captions appear")
    broken(rules.layout_is_confident(0.62, 0.9, has_captions=False), "warn", "no captions")


def test_extents_in_order() -> None:
    good = [caption(0, 2), caption(2, 4), caption(3, 5, track="top"), caption(5, 10)]
    assert rules.extents_in_order(good, 10.0, 25.0).passed
    assert rules.extents_in_order([], 10.0, 25.0).passed


@pytest.mark.parametrize(
    ("captions", "named"),
    [
        ([caption(0, 2), caption(1.96, 4)], ("caption 2 (1.960-4.000 s)", "overlaps caption 1", "bottom")),
        ([caption(0, 2), caption(9, 10.2)], ("caption 2", "lies outside the video of 10.000 s")),
        ([caption(-1, 2)], ("caption 1", "lies outside")),
        ([caption(3, 3)], ("caption 1", "ends before it begins")),
        ([caption(4, 5), caption(1, 2)], ("caption 2", "is stored after caption 1")),
    ],
)
def test_extents_out_of_order(captions: list[Caption], named: tuple[str, ...]) -> None:
    broken(rules.extents_in_order(captions, 10.0, 25.0), "error", *named)


SPANS = {"bottom": [(2, 5), (5, 8)], "top": [(7, 9)]}


def labeled(frame_count: int = 12) -> tuple[list[PairResult], dict[str, int]]:
    tracks = [[(start, end, 0.9) for start, end in track] for track in SPANS.values()]
    pairs = label_pairs(tracks, range(frame_count))
    names = ("same", "different", "empty_empty", "empty_valid", "valid_empty")
    return pairs, {name: sum(pair.label == name for pair in pairs) for name in names}


def test_labels_agree_with_the_extents() -> None:
    pairs, counts = labeled()
    assert rules.labels_agree(pairs, counts, SPANS, 12).passed
    assert rules.labels_agree([], dict.fromkeys(counts, 0), {}, 0).passed
    broken(rules.labels_agree(pairs, counts | {"same": 99}, SPANS, 12), "error", "label same: recorded 99")
    fewer = [pair for pair in pairs if pair.frame1_index != 3]
    broken(rules.labels_agree(fewer, counts, SPANS, 12), "error", "some are missing")
    other = {"bottom": [(2, 5), (6, 8)], "top": [(7, 9)]}
    broken(rules.labels_agree(pairs, counts, other, 12), "warn", "frames 4 and 5: labeled different", "valid_empty")


def test_lengths() -> None:
    assert rules.lengths_plausible([caption(0, 1), caption(1, 8)]).passed
    assert rules.lengths_plausible([]).passed
    broken(rules.lengths_plausible([caption(0, 1), caption(1, 1.2)]), "warn", "caption 2 (1.000-1.200 s): lasts 0.20 s")
    broken(rules.lengths_plausible([caption(0, 30)]), "warn", "caption 1", "30.00 s")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("a" * 20, 1.0),
        ("a b, c\nd e f", 11 / 20),
        ("九" * 9, 1.0),
        ("안" * 12, 1.0),
        ("こんにちは世界", 7 / 4),
        ("你好 NASA", 2 / 9 + 5 / 20),
        ("", 0.0),
    ],
)
def test_seconds_that_reading_takes(text: str, seconds: float) -> None:
    assert rules.reading_seconds(text) == pytest.approx(seconds)


def test_reading_speed() -> None:
    assert rules.reading_speed_plausible([caption(0, 1, "a" * 20), caption(1, 2, "九" * 13)]).passed
    broken(rules.reading_speed_plausible([caption(0, 1, "a" * 31)]), "warn", "caption 1", "31 characters in 1.00 s")
    broken(rules.reading_speed_plausible([caption(0, 1, "九" * 14)]), "warn", "caption 1")


def test_confidence_as_a_whole() -> None:
    sure, doubtful = caption(0, 1), caption(1, 2, confidence=0.5)
    assert rules.confident_as_a_whole([]).passed
    assert rules.confident_as_a_whole([sure, doubtful]).passed
    broken(rules.confident_as_a_whole([sure, doubtful, doubtful]), "warn", "2 of 3 captions")


def test_the_same_text_twice_at_once() -> None:
    upper = caption(0.5, 2, "GOOD evening.", track="top")
    assert rules.no_text_twice([caption(0, 1), caption(1, 2, track="top"), caption(1, 2, "Else", track="left")]).passed
    broken(rules.no_text_twice([caption(0, 1), upper]), "warn", "captions 1 and 2 (0.500-2.000 s)")


def test_seen_text_is_covered() -> None:
    region = (0.2, 0.8, 0.8, 0.95)
    box = BBox(0.3, 0.85, 0.7, 0.92)
    seen = [Detection(0, 0, 0.5, "Good evening.", 0.98, box), Detection(1, 0, 9.0, "And good night.", 0.98, box)]
    outside = Detection(1, 1, 9.0, "LIVE", 0.99, BBox(0.8, 0.05, 0.95, 0.1))
    doubtful = Detection(1, 2, 9.0, "l|l", 0.5, box)
    rows = [row(1)]
    assert rules.seen_text_is_covered([seen[0], outside, doubtful], rows, region).passed
    assert rules.seen_text_is_covered(seen, rows, None).passed
    broken(rules.seen_text_is_covered(seen, rows, region), "warn", "9.000 s: 'And good night.'")
    broken(rules.seen_text_is_covered(seen, [], region), "warn", "0.500 s: 'Good evening.'")


def test_reports_are_shown() -> None:
    assert rules.nothing_to_report([]).passed
    broken(rules.nothing_to_report(["No text was found in 40 frames."]), "warn", "in 40 frames")


def test_text_confidence() -> None:
    assert rules.text_is_confident([caption(0, 1)]).passed
    broken(rules.text_is_confident([caption(0, 1), caption(1, 2, "G00d", confidence=0.6)]), "warn", "caption 2", "G00d")


CAPTIONS = [caption(0, 1.25, "Good <i>evening</i>."), caption(1.25, 3, "Two\nlines & {more}"), caption(4, 5.5, "你好")]
TEXTS: dict[Format, str] = {kind: format_subtitles(CAPTIONS, kind) for kind in FORMATS}


def test_subtitles_equal_the_captions() -> None:
    assert rules.subtitles_equal_captions(TEXTS, TEXTS).passed
    nothing: dict[Format, str] = {kind: format_subtitles([], kind) for kind in FORMATS}
    assert rules.subtitles_equal_captions(nothing, nothing).passed


@pytest.mark.parametrize("kind", FORMATS)
def test_subtitles_that_differ(kind: Format) -> None:
    edited = TEXTS[kind].replace("lines", "times")
    broken(
        rules.subtitles_equal_captions({**TEXTS, kind: edited}, TEXTS), "error", f"captions.{kind}: caption 2", "times"
    )
    fewer = format_subtitles(CAPTIONS[:2], kind)
    broken(rules.subtitles_equal_captions({**TEXTS, kind: fewer}, TEXTS), "error", "2 captions, the database has 3")
    later = format_subtitles([CAPTIONS[0], CAPTIONS[1], caption(4.5, 5.5, "你好")], kind)
    broken(
        rules.subtitles_equal_captions({**TEXTS, kind: later}, TEXTS), "error", f"captions.{kind}: caption 3", "4.500"
    )
    without: dict[Format, str] = {name: text for name, text in TEXTS.items() if name != kind}
    broken(rules.subtitles_equal_captions(without, TEXTS), "error", f"captions.{kind}: not stored")
    broken(rules.subtitles_equal_captions({**TEXTS, kind: "half a fi"}, TEXTS), "error", f"captions.{kind}")


def test_a_summary_names_the_first_and_counts_the_rest() -> None:
    assert Verdict().summary == ""
    assert Verdict(("a", "b")).summary == "a; b"
    assert Verdict(tuple("abcde")).summary == "a; b; c; and 2 more"
