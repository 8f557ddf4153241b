"""Subtitle files: written files are read back, touching cues keep touching, bad files are named."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace
from itertools import pairwise

import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionacc_dagster.captioning.captions import Caption, CaptionWarning, Cue, Word
from captionacc_dagster.captioning.files.subtitles import (
    FORMATS,
    SubtitleError,
    SubtitleOptions,
    format_subtitles,
    parse_subtitles,
    read_subtitles,
    text_lines,
    write_subtitles,
)
from captionacc_dagster.captioning.geometry import BBox

pytestmark = pytest.mark.unit

BOTTOM = BBox(0.3, 0.85, 0.7, 0.92)


def caption(start_s=0.0, end_s=1.0, text="Hello", bbox=BOTTOM, track="bottom"):
    return Caption(
        start_s=start_s,
        end_s=end_s,
        start_frame=round(start_s * 25),
        end_frame=round(end_s * 25),
        text=text,
        confidence=0.9,
        bbox=bbox,
        track=track,
    )


# Any text of a caption; surrogates cannot be encoded.
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
hard_text = st.sampled_from(
    [
        "-->",
        "<b>",
        "</i>",
        "{\\an8}",
        "\\N",
        "\\",
        "&lt;",
        "&",
        "WEBVTT",
        "NOTE",
        "12",
        "[Events]",
        "Dialogue: 0,",
        ",,",
        "\n",
        "\r\n",
    ]
)
tricky_text = st.lists(any_text | hard_text, min_size=1, max_size=6).map(" ".join).filter(text_lines)


@pytest.mark.parametrize("kind", ["vtt", "ass"])
@settings(max_examples=150, deadline=None)
@given(texts=st.lists(tricky_text, min_size=1, max_size=4))
def test_any_text_comes_back_from_formats_that_can_escape(kind, texts):
    captions = [caption(at, at + 1, text) for at, text in enumerate(texts)]
    cues = parse_subtitles(format_subtitles(captions, kind), kind)
    assert [cue.text for cue in cues] == ["\n".join(text_lines(text)) for text in texts]


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<{")).filter(text_lines), min_size=1
    )
)
def test_any_text_without_tags_comes_back_from_srt(texts):
    captions = [caption(at, at + 1, text) for at, text in enumerate(texts)]
    cues = parse_subtitles(format_subtitles(captions, "srt"), "srt")
    assert [cue.text for cue in cues] == ["\n".join(text_lines(text)) for text in texts]


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(any_text, min_size=1, max_size=4))
def test_json_keeps_everything(texts):
    facts = {"kind": "title", "lang": "ar", "script": "Arab", "unread": True}
    words = (
        Word(text="Hel", start_s=0.25, end_s=1, bbox=BOTTOM),
        Word(text="lo", start_s=0.5, end_s=1, bbox=BOTTOM, highlight_start_s=0.5, highlight_end_s=0.75),
    )
    captions = [
        replace(caption(at / 3, (at + 1) / 3, text, track=f"t{at}"), words=words, **facts)
        for at, text in enumerate(texts)
    ]
    cues = parse_subtitles(format_subtitles(captions, "json", {"width": 1280}), "json")
    for before, after in zip(captions, cues, strict=True):
        assert after.text == unicodedata.normalize("NFC", before.text)
        assert (after.track, after.bbox, after.words) == (before.track, before.bbox, before.words)
        assert {name: getattr(after, name) for name in facts} == facts
        assert (after.start_frame, after.end_frame, after.confidence) == (before.start_frame, before.end_frame, 0.9)
        assert after.start_s == pytest.approx(before.start_s, abs=1e-6)


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 400), min_size=2, max_size=8),
    rate=st.sampled_from([24000 / 1001, 24, 25, 30000 / 1001, 30, 50, 60]),
)
def test_neighbors_keep_touching_and_never_start_late(kind, lengths, rate):
    frames = [sum(lengths[:at]) for at in range(len(lengths) + 1)]
    captions = [caption(start / rate, end / rate, f"Line {start}") for start, end in pairwise(frames)]
    cues = parse_subtitles(format_subtitles(captions, kind), kind)
    tick = {"ass": 0.01, "json": 1e-6}.get(kind, 0.001)
    for before, after in zip(captions, cues, strict=True):
        assert before.start_s - tick <= after.start_s <= before.start_s + 2e-6
        assert after.end_s <= before.end_s + 2e-6
        assert after.start_s < after.end_s
    for first, second in pairwise(cues):
        assert first.end_s == second.start_s


@pytest.mark.parametrize("kind", ["srt", "vtt", "ass"])
def test_pysubs2_reads_what_is_written(kind):
    captions = [caption(0.04, 1.25, "Señor\n你好"), caption(1.25, 3700.5, "В 1999 году"), caption(3700.5, 3701, "12 !")]
    events = pysubs2.SSAFile.from_string(format_subtitles(captions, kind), format_=kind)
    assert [(event.start, event.end, event.plaintext) for event in events] == [
        (40, 1250, "Señor\n你好"),
        (1250, 3_700_500, "В 1999 году"),
        (3_700_500, 3_701_000, "12 !"),
    ]


@pytest.mark.parametrize("kind", ["srt", "vtt", "ass"])
@settings(max_examples=100, deadline=None)
@given(times=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 400)), min_size=2, max_size=12))
def test_cues_of_a_track_never_overlap_or_vanish(kind, times):
    captions = [caption(start / 96, (start + length) / 96, f"Line {at}") for at, (start, length) in enumerate(times)]
    cues = parse_subtitles(format_subtitles(captions, kind), kind)
    assert sorted(cue.text for cue in cues) == sorted(caption.text for caption in captions)
    assert all(cue.start_s < cue.end_s for cue in cues)
    assert all(first.end_s <= second.start_s for first, second in pairwise(cues))


def test_cues_of_two_tracks_can_overlap():
    captions = [caption(0, 2, "left", track="left"), caption(1, 3, "right", track="right")]
    cues = parse_subtitles(format_subtitles(captions, "srt"), "srt")
    assert [(cue.start_s, cue.end_s) for cue in cues] == [(0, 2), (1, 3)]


def test_srt_has_a_byte_order_mark_and_crlf_where_asked(tmp_path):
    captions = [caption(0, 1, "one\ntwo"), caption(1, 2, "three")]
    for name in ("a.srt", "a.vtt"):
        write_subtitles(tmp_path / name, captions, options=SubtitleOptions(srt_bom=True))
        assert [cue.text for cue in read_subtitles(tmp_path / name)] == ["one\ntwo", "three"]
    content = (tmp_path / "a.srt").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf1\r\n00:00:00,000 --> 00:00:01,000\r\none\r\ntwo\r\n\r\n2")
    assert b"\r" not in (tmp_path / "a.vtt").read_bytes()


def test_a_cue_shorter_than_a_tick_keeps_one():
    assert "0:00:01.00,0:00:01.01," in format_subtitles([caption(1.001, 1.004)], "ass")


def test_long_videos_count_hours():
    text = format_subtitles([caption(36_000.5, 36_001.25)], "srt")
    assert "10:00:00,500 --> 10:00:01,250" in text
    assert parse_subtitles(text, "srt")[0].end_s == 36_001.25


@pytest.mark.parametrize("kind", ["srt", "vtt", "ass"])
def test_captions_without_text_are_left_out(kind):
    cues = parse_subtitles(format_subtitles([caption(text=" \n "), caption(2, 3)], kind), kind)
    assert [cue.text for cue in cues] == ["Hello"]


@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_is_a_file_too(kind):
    assert parse_subtitles(format_subtitles([], kind), kind) == []


def test_overlapping_tracks_are_sorted_by_time_then_from_the_top():
    top = caption(0, 2, "top", BBox(0.3, 0.05, 0.7, 0.1), "top")
    text = format_subtitles([caption(1, 2, "late", track="left"), caption(0, 2, "bottom"), top], "srt")
    assert [cue.text for cue in parse_subtitles(text, "srt")] == ["top", "bottom", "late"]


def test_top_left_and_vertical_tracks_are_placed():
    captions = [
        caption(0, 1, "bottom"),
        caption(0, 1, "top", BBox(0.3, 0.05, 0.7, 0.1), "top"),
        caption(0, 1, "short", BBox(0.06, 0.8, 0.2, 0.86), "left"),
        caption(1, 2, "a longer line", BBox(0.06, 0.8, 0.6, 0.86), "left"),
        caption(0, 1, "竖排文字", BBox(0.9, 0.2, 0.94, 0.7), "right"),
    ]
    video = {"width": 1280, "height": 720}
    vtt = format_subtitles(captions, "vtt", video)
    assert "00:01.000 line:5%\ntop" in vtt
    assert "00:01.000\nbottom" in vtt
    assert vtt.count("position:6% align:start") == 2
    assert "vertical:rl line:6% position:20% align:start\n竖排文字" in vtt
    ass = format_subtitles(captions, "ass", video)
    assert "{\\an8}top" in ass
    assert "{\\an1}short" in ass
    assert ",,bottom" in ass
    assert ",Vertical,,0,0,0,,{\\an5\\pos(1178,324)}竖排文字" in ass


@pytest.mark.parametrize("kind", ["vtt", "ass"])
@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=8).filter(text_lines),
            st.floats(-1, 6),
            st.sampled_from([" ", "\n", "  "]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_times_of_words_do_not_change_the_text(kind, rows):
    words = tuple(Word(text=text, start_s=start_s, end_s=5.0, bbox=BOTTOM) for text, start_s, _ in rows)
    text = "".join(text + space for text, _, space in rows)
    written = format_subtitles([replace(caption(0.5, 4.5, text), words=words)], kind)
    assert [cue.text for cue in parse_subtitles(written, kind)] == ["\n".join(text_lines(text))]
    durations = [int(found) for found in re.findall(r"\{\\k(\d+)\}", written)]
    assert sum(durations) in (0, 400)
    stamps = re.findall(r"<(00:00:0\d\.\d{3})>", written)
    assert stamps == sorted(set(stamps))
    assert all("00:00:00.500" < stamp < "00:00:04.500" for stamp in stamps)


def test_words_get_karaoke_times_and_timestamps():
    def word(text, start_s, highlight_start_s=None):
        return Word(text=text, start_s=start_s, end_s=3, bbox=BOTTOM, highlight_start_s=highlight_start_s)

    building = replace(caption(1, 3, "one {two\nthree"), words=(word("one", 1), word("{two", 1.5), word("three", 2.25)))
    assert r",{\k50}one {\k75}\{two\N{\k75}three" in format_subtitles([building], "ass")
    assert "\none <00:00:01.500>{two\n<00:00:02.250>three\n" in format_subtitles([building], "vtt")
    assert "\none {two\nthree\n" in format_subtitles([building], "srt")

    highlighted = replace(caption(1, 3, "one two"), words=(word("one", 1, 1.2), word("two", 1, 2)))
    assert r",{\k20}{\k80}one {\k100}two" in format_subtitles([highlighted], "ass")
    assert "\n<00:00:01.200>one <00:00:02.000>two\n" in format_subtitles([highlighted], "vtt")

    corrected = replace(building, text="one and two three")
    assert r"\k" not in format_subtitles([corrected], "ass")


def test_captions_beside_the_middle_and_in_the_middle_are_placed():
    captions = [
        caption(0, 1, "one", BBox(0.2, 0.6, 0.4, 0.66), "a"),
        caption(1, 2, "a longer one", BBox(0.1, 0.6, 0.5, 0.66), "a"),
        caption(0, 1, "middle", BBox(0.4, 0.47, 0.6, 0.53), "b"),
    ]
    video = {"width": 1000, "height": 500}
    vtt = format_subtitles(captions, "vtt", video)
    assert vtt.count(" line:60% position:30%\n") == 2
    assert " line:47%\nmiddle" in vtt
    ass = format_subtitles(captions, "ass", video)
    assert r",{\an2\pos(300,330)}one" in ass
    assert r",{\an5\pos(500,250)}middle" in ass


def test_isolates_are_written_only_for_players_that_need_them():
    plain, exclamation = "مرحبا يا صديقي", "مرحبا!"
    for kind in ("srt", "vtt", "ass"):
        assert f"{plain}\n" in format_subtitles([caption(text=plain)], kind)
    assert f"\n\u2067{exclamation}\u2069\n" in format_subtitles([caption(text=exclamation)], "srt")
    assert f"\n{exclamation}\n" in format_subtitles([caption(text=exclamation)], "vtt")
    assert f"{{\\fe-1}}{exclamation}\n" in format_subtitles([caption(text=exclamation)], "ass")
    mixed = caption(text=f"{exclamation}\nHello!")
    assert f"\n{exclamation}\n\u2066Hello!\u2069\n" in format_subtitles([mixed], "vtt")
    for kind in ("srt", "vtt", "ass"):
        assert parse_subtitles(format_subtitles([mixed], kind), kind)[0].text == mixed.text


def test_json_is_one_object_with_facts_and_captions():
    content = json.loads(format_subtitles([caption(1, 2), caption(0, 1)], "json", {"file": "a.mp4"}))
    assert content["video"] == {"file": "a.mp4"}
    assert [row["start_s"] for row in content["captions"]] == [0, 1]
    assert list(content["captions"][0]) == [
        "start_s", "end_s", "start_frame", "end_frame", "text", "track", "kind", "lang", "script", "confidence", "bbox",
        "words", "unread",
    ]  # fmt: skip
    assert content["warnings"] == []


def test_json_contains_warnings():
    warning = CaptionWarning("script_unread", "2 captions are in Cyrillic.", 1.0, 2.5)
    content = json.loads(format_subtitles([], "json", warnings=[warning]))
    assert content["warnings"] == [
        {"code": "script_unread", "message": "2 captions are in Cyrillic.", "start_s": 1.0, "end_s": 2.5}
    ]


def test_json_of_earlier_versions_is_read():
    row = {
        "start_s": 1.0, "end_s": 2.0, "start_frame": 25, "end_frame": 50, "text": "Hi", "confidence": 0.9,
        "bbox": {"left": 0.3, "top": 0.85, "right": 0.7, "bottom": 0.92}, "track": "bottom",
    }  # fmt: skip
    (cue,) = parse_subtitles(json.dumps({"video": {}, "captions": [row]}), "json")
    assert cue == Cue(
        start_s=1.0, end_s=2.0, text="Hi", start_frame=25, end_frame=50, confidence=0.9, bbox=BOTTOM, track="bottom"
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_only_captions_are_subtitles_unless_more_kinds_are_included(kind):
    captions = [caption(0, 1, "said"), replace(caption(2, 3, "Ann Lee, reporter"), kind="lower_third")]
    texts = [cue.text for cue in parse_subtitles(format_subtitles(captions, kind), kind)]
    assert texts == (["said", "Ann Lee, reporter"] if kind == "json" else ["said"])
    more = format_subtitles(captions, kind, options=SubtitleOptions(include=("caption", "lower_third")))
    assert [cue.text for cue in parse_subtitles(more, kind)] == ["said", "Ann Lee, reporter"]


@pytest.mark.parametrize("kind", FORMATS)
def test_text_is_written_in_nfc(kind):
    assert "Se\u00f1or" in format_subtitles([caption(text="Sen\u0303or")], kind)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_files_of_other_programs_are_read(tmp_path, encoding, line_end):
    path = tmp_path / "a.srt"
    rows = ["1", "00:00:01,5 --> 00:00:02.250  X1:0", "<i>Señor</i> {\\an8}你好", "", "second line", "", "", "2"]
    rows += ["0:00:03,000 --> 0:00:04,000", '<font color="#fff">ok</font>', ""]
    path.write_bytes(line_end.join(rows).encode(encoding))
    assert read_subtitles(path) == [
        Cue(start_s=1.5, end_s=2.25, text="Señor 你好\nsecond line"),
        Cue(start_s=3.0, end_s=4.0, text="ok"),
    ]


def test_webvtt_of_other_programs_is_read():
    text = (
        "WEBVTT - title\nKind: captions\n\nNOTE nothing\nhere\n\nSTYLE\n::cue {}\n\n"
        "intro\n01:02.500 --> 01:03.000 align:start\n<v Ann>Tom &amp; <00:01:02.700><c.x>Jerry</c>\n"
    )
    assert parse_subtitles(text, "vtt") == [Cue(start_s=62.5, end_s=63.0, text="Tom & Jerry")]


def test_what_nothing_closes_is_text():
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\n<b>1</b> < 2 & <3\n"
    assert [cue.text for cue in parse_subtitles(text, "vtt")] == ["1 < 2 & <3"]
    text = "[Events]\nFormat: Start, End, Text\nDialogue: 0:00:01.00,0:00:02.00,{\\i1}a{b\\Nc\n"
    assert [cue.text for cue in parse_subtitles(text, "ass")] == ["a{b\nc"]


def test_ass_of_other_programs_is_read():
    text = (
        "[Script Info]\n; comment\n[Events]\nFormat: Start, End, Style, Text\n"
        "Comment: 0:00:00.00,0:00:01.00,Default,no\n"
        "Dialogue: 0:00:01.00,0:00:02.00,Default,{\\i1}One,\\Ntwo{\\i0}\\hthree\n"
        "Dialogue: 0:00:01.00,0:00:02.00,Default,{\\p1}m 0 0 l 1 1\n"
    )
    assert parse_subtitles(text, "ass") == [Cue(start_s=1.0, end_s=2.0, text="One,\ntwo three")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.srt", "hello\n", r"a\.srt:1: expected a numbered cue, got 'hello'"),
        ("a.srt", "1\n00:00:01 --> 00:00:02,000\nx\n", r"a\.srt:2: expected a time"),
        ("a.srt", "\n1\n00:00:03,000 --> 00:00:02,000\nx\n", r"a\.srt:3: ends before it starts"),
        ("a.srt", f"1\n{'9' * 5000}:00:03,000 --> 00:00:02,000\nx\n", r"a\.srt:2: expected a time"),
        ("a.vtt", "1\n", r"a\.vtt:1: a WebVTT file begins with WEBVTT"),
        ("a.vtt", "WEBVTT\n\nid\nno time\n", r"a\.vtt:4: expected a time"),
        ("a.vtt", "WEBVTT\n\nalone\n", r"a\.vtt:3: expected a cue"),
        ("a.ass", "hello\n", r"a\.ass:1: no \[Events\] section"),
        ("a.ass", "[Events]\nFormat: Start, Text\n", r"a\.ass:2: the events' Format lacks"),
        ("a.ass", "[Events]\nFormat: Start, End, Text\nDialogue: 1,2,x\n", r"a\.ass:3: expected a time"),
        ("a.json", "{", r"a\.json:1: not JSON"),
        ("a.json", "3", r"a\.json: expected"),
        ("a.json", '[{"start_s": 0, "text": "x"}]', r"a\.json: captions\[0\] lacks 'end_s'"),
        ("a.json", '[{"start_s": 2, "end_s": 1, "text": "x"}]', r"captions\[0\] has no valid times"),
        ("a.json", '[{"start_s": 0, "end_s": 1, "text": 5}]', r"captions\[0\] has a text that is not a string"),
        ("a.json", "[7]", r"captions\[0\] is not an object"),
        ("a.json", '[{"start_s": 0, "end_s": 1, "text": "x", "bbox": [1]}]', r"captions\[0\] has a bbox"),
        ("a.json", '[{"start_s": 0, "end_s": 1, "text": "x", "kind": "x"}]', r"captions\[0\] has an unknown kind 'x'"),
        (
            "a.json",
            '[{"start_s": 0, "end_s": 1, "text": "x", "words": [3]}]',
            r"captions\[0\] has a word without a text",
        ),
        ("a.txt", "x", r"a\.txt: unknown subtitle format"),
    ],
)
def test_bad_files_are_named_with_line_and_reason(tmp_path, name, content, reason):
    (tmp_path / name).write_text(content)
    with pytest.raises(SubtitleError, match=reason):
        read_subtitles(tmp_path / name)


def test_missing_and_binary_files_are_named(tmp_path):
    with pytest.raises(SubtitleError, match=r"^none\.srt: No such file"):
        read_subtitles(tmp_path / "none.srt")
    (tmp_path / "b.srt").write_bytes(b"1\n\xff\xfa\x81\n")
    with pytest.raises(SubtitleError, match=r"^b\.srt:2: not UTF-8 text"):
        read_subtitles(tmp_path / "b.srt")


def test_written_files_are_utf8_with_plain_line_ends(tmp_path):
    write_subtitles(tmp_path / "a.srt", [caption(text="你好")])
    assert (tmp_path / "a.srt").read_bytes() == "1\n00:00:00,000 --> 00:00:01,000\n你好\n".encode()
    with pytest.raises(SubtitleError, match="unknown subtitle format"):
        write_subtitles(tmp_path / "a.doc", [])
