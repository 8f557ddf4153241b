"""Phrases: no word is lost or doubled, limits are kept, and phrases end where they should."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionacc_dagster.captioning.captions import Caption, Cue, Word, sort_cues
from captionacc_dagster.captioning.files.phrases import is_word_by_word, join_gaps, phrases
from captionacc_dagster.captioning.files.subtitles import SubtitleOptions, format_subtitles, parse_subtitles
from captionacc_dagster.captioning.geometry import BBox

pytestmark = pytest.mark.unit

CENTER = BBox(0.4, 0.6, 0.6, 0.7)


def word(text, start_s, end_s, bbox=CENTER, track="bottom", **facts):
    return Caption(
        start_s=start_s,
        end_s=end_s,
        start_frame=round(start_s * 25),
        end_frame=round(end_s * 25),
        text=text,
        confidence=0.9,
        bbox=bbox,
        track=track,
        **facts,
    )


def sequence(text, length_s=0.4, pause_s=0.0, **facts):
    """One cue for each word of a text."""
    step = length_s + pause_s
    return [word(each, at * step, at * step + length_s, **facts) for at, each in enumerate(text.split())]


def texts(cues):
    return [cue.text for cue in cues]


letters = st.text(st.characters(categories=["Lu", "Ll", "Lo"], max_codepoint=0x17F), min_size=1, max_size=12)
token = st.builds(lambda mark, body, end: mark + body + end, st.sampled_from(["", "", "", "- "]), letters,
                  st.sampled_from(["", "", "", ",", ".", "?!", "…", '."']))  # fmt: skip
wide = st.text(st.sampled_from("你好世界今天天气很，。のカ"), min_size=1, max_size=5)
timed = st.tuples(
    st.sampled_from(["a", "a", "a", "b", None]),
    st.sampled_from([0.0, 0.0, 0.0, 0.04, 0.29, 0.31, 2.0]),
    st.sampled_from([0.04, 0.2, 0.5, 0.69, 0.7, 3.0]),
    st.sampled_from([CENTER, CENTER, CENTER, BBox(0.1, 0.6, 0.25, 0.7), BBox(0.4, 0.1, 0.6, 0.2), None]),
)


@st.composite
def tracks(draw, text=token | wide):
    cues, end = [], dict.fromkeys(["a", "b", None], 0.0)
    for _ in range(draw(st.integers(1, 40))):
        track, pause, length, bbox = draw(timed)
        start = end[track] + pause
        words = " ".join(draw(st.lists(text, min_size=1, max_size=draw(st.sampled_from([1, 1, 1, 2, 3, 5])))))
        cues.append(Cue(start_s=start, end_s=start + length, text=words, track=track, bbox=bbox))
        end[track] = start + length
    return cues


def words_by_track(cues):
    """The letters of each track in order: spaces and line breaks are free."""
    ordered = sorted(sort_cues(cues), key=lambda cue: cue.track or "")
    return {
        track: "".join("".join(cue.text.split()) for cue in members)
        for track, members in groupby(ordered, key=lambda cue: cue.track or "")
    }


@settings(max_examples=120, deadline=None)
@given(tracks())
def test_no_word_is_lost_or_doubled_and_every_phrase_keeps_the_limits(cues):
    joined = phrases(cues)
    assert words_by_track(joined) == words_by_track(cues)
    before = {(cue.track, cue.start_s) for cue in cues}
    for cue in joined:
        assert (cue.track, cue.start_s) in before
        if cue not in cues:
            lines = cue.text.split("\n")
            assert len(lines) <= 2
            assert max(map(len, lines)) <= 42
            assert cue.end_s - cue.start_s <= 7.0 + 1e-9


@settings(max_examples=80, deadline=None)
@given(tracks(text=token))
def test_words_that_are_separated_stay_separated(cues):
    def tokens(some):
        return sorted(each for cue in some for each in cue.text.split())

    assert tokens(phrases(cues)) == tokens(cues)


@pytest.mark.parametrize("kind", ["srt", "vtt"])
@settings(max_examples=40, deadline=None)
@given(tracks(text=token))
def test_files_of_phrases_and_of_words_have_the_same_words(kind, cues):
    def tokens(form):
        written = format_subtitles(cues, kind, options=SubtitleOptions(phrases=form))
        return sorted(each for cue in parse_subtitles(written, kind) for each in cue.text.split())

    assert tokens(True) == tokens(False) == tokens(None)


def test_phrases_of_a_long_sentence_are_about_as_long_as_each_other():
    cues = sequence("it was the kind of morning when nobody in the whole town wanted to get up and go")
    (first, second) = phrases(cues)
    assert first.text == "it was the kind of morning when nobody in"
    assert second.text == "the whole town wanted to get up and go"
    assert (first.start_s, first.end_s) == (0.0, second.start_s)
    assert (first.start_frame, first.end_frame) == (0, second.start_frame)
    assert [each.text for each in first.words] == first.text.split()
    assert [each.start_s for each in first.words] == [cue.start_s for cue in cues[:9]]


def test_chinese_is_joined_without_spaces_in_lines_of_at_most_16_characters():
    text = "今天 天气 很好 我们 一起 出去 走走 然后 再 回来 吃饭 好不好 你说 呢 朋友"
    joined = phrases(sequence(text, 0.3))
    assert "".join(texts(joined)).replace("\n", "") == text.replace(" ", "")
    assert max(len(line) for each in texts(joined) for line in each.split("\n")) <= 16


def test_korean_keeps_its_spaces():
    assert texts(phrases(sequence("오늘 날씨가 좋아요"))) == ["오늘 날씨가 좋아요"]


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ({}, {}, True),
        ({"text": "Stop."}, {}, False),
        ({"text": 'stop."'}, {}, False),
        ({"text": "well,"}, {}, True),
        ({}, {"text": "- No"}, False),
        ({}, {"start_s": 0.79, "end_s": 1.2}, True),
        ({}, {"start_s": 0.81, "end_s": 1.2}, False),
        ({}, {"bbox": BBox(0.62, 0.61, 0.8, 0.7)}, True),
        ({}, {"bbox": BBox(0.75, 0.6, 0.95, 0.7)}, False),
        ({}, {"bbox": BBox(0.4, 0.1, 0.6, 0.2)}, False),
        ({}, {"track": "top"}, False),
        ({}, {"kind": "title"}, False),
        ({}, {"lang": "es"}, False),
        ({}, {"unread": True}, False),
        ({}, {"text": "a cue of four words"}, False),
        ({}, {"end_s": 7.1}, False),
    ],
)
def test_a_phrase_ends_at(first, second, joined):
    cues = [replace(word("one", 0.0, 0.5), **first), replace(word("two", 0.5, 1.0), **second)]
    assert len(phrases(cues)) == (1 if joined else 2)


@pytest.mark.parametrize(
    ("text", "length_s", "expected"), [("one two", 0.4, True), ("one two", 0.7, False), ("我们 一起", 0.4, True)]
)
def test_word_by_word_is_more_than_half_of_short_single_words(text, length_s, expected):
    assert is_word_by_word(sequence(text, length_s)) is expected
    assert is_word_by_word([*sequence(text, length_s), *[word("a b", 5 + at, 6 + at) for at in range(2)]]) is False


def test_a_track_of_sentences_stays_as_it_is_beside_one_of_words():
    sentences = [word("Hello", 0, 2, track="top"), word("there.", 2, 4, track="top")]
    cues = [*sequence("one two three"), *sentences]
    assert texts(phrases(cues, only_word_by_word=True)) == ["one two three", "Hello", "there."]


def test_subtitles_join_words_by_themselves_and_json_and_ass_keep_them():
    cues = sequence("one two three")
    for kind in ("srt", "vtt"):
        assert texts(parse_subtitles(format_subtitles(cues, kind), kind)) == ["one two three"]
    for kind in ("ass", "json"):
        assert texts(parse_subtitles(format_subtitles(cues, kind), kind)) == ["one", "two", "three"]
    slow = sequence("one two three", 0.8)
    assert len(parse_subtitles(format_subtitles(slow, "srt"), "srt")) == 3
    assert len(parse_subtitles(format_subtitles(slow, "srt", options=SubtitleOptions(phrases=True)), "srt")) == 1
    assert len(parse_subtitles(format_subtitles(cues, "srt", options=SubtitleOptions(phrases=False)), "srt")) == 3


@pytest.mark.parametrize(("gap_s", "ms", "count"), [(0.1, 0, 2), (0.1, 99, 2), (0.1, 100, 1), (0.0, 100, 1)])
@pytest.mark.parametrize("kind", ["srt", "vtt", "ass", "json"])
def test_gaps_are_joined_up_to_a_length(kind, gap_s, ms, count):
    cues = [word("the same", 0, 1), word("the same", 1 + gap_s, 2)]
    written = format_subtitles(cues, kind, options=SubtitleOptions(join_gaps_ms=ms))
    found = parse_subtitles(written, kind)
    assert len(found) == count
    assert (found[0].start_s, found[-1].end_s) == (0.0, 2.0)


@pytest.mark.parametrize("change", [{"text": "another"}, {"track": "top"}, {"kind": "title"}, {"start_s": 0.5}])
def test_gaps_between_different_cues_stay(change):
    cues = [word("the same", 0, 1), replace(word("the same", 1.05, 2), **change)]
    assert sorted(map(repr, join_gaps(cues, 100))) == sorted(map(repr, cues))


def test_words_go_on_across_a_gap():
    def cue(start_s, end_s):
        return word("go", start_s, end_s, words=(Word(text="go", start_s=start_s, end_s=end_s, bbox=CENTER),))

    (joined,) = join_gaps([cue(0, 1), cue(1.1, 2), cue(2.1, 3)], 100)
    assert (joined.end_s, joined.end_frame, joined.words[0].end_s) == (3, 75, 3)


def test_joined_cues_are_in_order_of_time():
    cues = [*sequence("one two three", track="b"), *sequence("four five six", track="a")]
    assert all(first.start_s <= second.start_s for first, second in pairwise(phrases(cues)))
