"""Scoring on small cases whose figures can be counted by hand."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionacc_dagster.captioning.evaluation.evaluate import FrameClock, evaluate_files, format_report
from captionacc_dagster.captioning.evaluation.scoring import (
    PredictedCaption,
    TrueCaption,
    _assign,
    cer,
    normalize,
    score,
    similarity,
    summarize,
)
from captionacc_dagster.captioning.files.subtitles import SubtitleError

pytestmark = pytest.mark.unit

RATE = 25


def truth(start: int, end: int, text: str, track: str = "bottom") -> TrueCaption:
    return TrueCaption(start_s=start / RATE, end_s=end / RATE, start_frame=start, end_frame=end, text=text, track=track)


def guess(start, end, text):
    return PredictedCaption(start_s=start / RATE, end_s=end / RATE, start_frame=start, end_frame=end, text=text)


THREE = [truth(0, 25, "Good morning."), truth(25, 60, "Who is there?"), truth(80, 120, "Nobody.")]


def guesses_of(captions):
    return [guess(caption.start_frame, caption.end_frame, caption.text) for caption in captions]


def test_a_perfect_prediction_scores_one():
    scores = score(guesses_of(THREE), THREE).scores
    assert (scores.f1, scores.strict_f1) == (1.0, 1.0)
    assert (scores.cer_matched, scores.cer_all, scores.cer_raw_all) == (0.0, 0.0, 0.0)
    assert (scores.cuts.count, scores.cuts.median, scores.cuts.p95) == (6, 0, 0)
    assert scores.fades.count == 0
    assert math.isnan(scores.fades.p95)


def test_nothing_against_nothing_is_right_and_a_phantom_there_is_not():
    assert score([], []).scores.f1 == 1.0
    scores = score([guess(0, 25, "boo")], []).scores
    assert scores.f1 == 0.0
    assert scores.phantoms_per_hundred == math.inf
    assert scores.cer_all == 3.0


def test_missed_and_phantom_captions_are_listed_and_counted_as_errors():
    predicted = [*guesses_of(THREE[:2]), guess(140, 160, "Kanal 5")]
    report = score(predicted, THREE)
    assert [caption.text for caption in report.missed] == ["Nobody."]
    assert [caption.text for caption in report.phantoms] == ["Kanal 5"]
    assert report.scores.f1 == pytest.approx(2 * 2 / 6)
    # normalized: "goodmorning" 11 + "whoisthere" 10 + "nobody" 6 = 27 true, 6 lost, "kanal5" 6 extra
    assert report.scores.cer_matched == 0.0
    assert report.scores.cer_all == pytest.approx(12 / 27)
    assert report.scores.cer_raw_all == pytest.approx((7 + 7) / (13 + 13 + 7))


@pytest.mark.parametrize(("late", "strict"), [(0, True), (1, True), (-1, True), (2, False), (-2, False)])
def test_a_cut_must_be_met_within_one_frame(late, strict):
    report = score([guess(25 + late, 60, "Who is there?")], [THREE[1]])
    assert report.matches[0].start_error == late
    assert report.matches[0].strict is strict
    assert report.scores.f1 == 1.0


@pytest.mark.parametrize(("late", "strict"), [(2, True), (-2, True), (3, False)])
def test_a_fade_must_be_met_within_two_frames_at_its_own_end_only(late, strict):
    fading = replace(THREE[1], fade_in_frames=8)
    assert score([guess(25 + late, 60, fading.text)], [fading]).matches[0].strict is strict
    assert score([guess(25, 60 + 2, fading.text)], [fading]).matches[0].strict is False
    scores = score([guess(25 + late, 61, fading.text)], [fading]).scores
    assert (scores.fades.count, scores.fades.worst) == (1, abs(late))
    assert (scores.cuts.count, scores.cuts.worst) == (1, 1)


def test_strict_needs_the_text():
    report = score([guess(25, 60, "Who is where?")], [THREE[1]])
    assert report.matches[0].cer == pytest.approx(0.1)
    assert report.matches[0].strict
    assert not score([guess(25, 60, "Who was where?")], [THREE[1]]).matches[0].strict


def test_unlike_text_at_the_right_time_is_a_miss_and_a_phantom():
    scores = score([guess(25, 60, "@nightowl")], [THREE[1]]).scores
    assert (scores.missed, scores.phantoms, scores.matches) == (1, 1, 0)


def test_a_prediction_over_two_captions_is_a_merger():
    captions = [truth(0, 40, "We met in room 301."), truth(40, 60, "We met in room 307.")]
    report = score([guess(0, 60, "We met in room 301.")], captions)
    assert [(first.text, second.text) for _, first, second in report.merged] == [(captions[0].text, captions[1].text)]
    assert report.scores.neighbors == 1
    assert report.scores.neighbors_merged == 1
    assert report.scores.missed == 1


def test_neighbors_that_were_told_apart_are_not_merged():
    captions = [truth(0, 40, "We met in room 301."), truth(40, 60, "We met in room 307.")]
    scores = score(guesses_of(captions), captions).scores
    assert (scores.neighbors, scores.neighbors_merged, scores.merged) == (1, 0, 0)


def test_captions_of_two_tracks_at_once_are_no_merger():
    captions = [
        truth(0, 60, "Bottom line"),
        truth(0, 20, "Top one", track="top"),
        truth(22, 40, "Top two", track="top"),
    ]
    report = score([guess(0, 60, "Bottom line"), guess(0, 20, "Top one")], captions)
    assert report.merged == ()
    assert [caption.text for caption in report.missed] == ["Top two"]


def test_parts_of_one_caption_are_a_split():
    report = score([guess(25, 48, "Who is there?"), guess(48, 60, "Who is there?")], [THREE[1]])
    assert len(report.matches) == 1
    assert len(report.phantoms) == 1
    assert [(caption.text, len(parts)) for caption, parts in report.split] == [("Who is there?", 2)]


def test_matching_finds_as_many_as_there_can_be():
    # Greedy by overlap would give the first guess to the second caption and leave the first caption alone.
    captions = [truth(0, 30, "ha ha"), truth(10, 40, "ha ha", track="top")]
    predicted = [guess(8, 38, "ha ha"), guess(18, 48, "ha ha")]
    report = score(predicted, captions)
    assert len(report.matches) == 2
    assert {(m.truth.start_frame, m.predicted.start_frame) for m in report.matches} == {(0, 8), (10, 18)}


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 4), st.integers(0, 4)), st.floats(1.0, 2.0, allow_nan=False), min_size=1, max_size=12
    )
)
def test_assignment_is_as_good_as_trying_everything(edges):
    chosen = _assign(edges)
    assert len({row for row, _ in chosen}) == len(chosen) == len({column for _, column in chosen})
    best = (0, 0.0)
    for columns in itertools.permutations(range(5)):
        pairs = [pair for pair in enumerate(columns) if pair in edges]
        best = max(best, (len(pairs), sum(edges[pair] for pair in pairs)))
    assert len(chosen) == best[0]
    assert sum(edges[pair] for pair in chosen) == pytest.approx(best[1])


def test_short_captions_are_counted_apart():
    captions = [truth(0, 12, "Go!"), truth(20, 33, "Stop it!"), truth(40, 50, "Now!")]
    scores = score(guesses_of(captions[:1]), captions).scores
    assert (scores.shorts, scores.shorts_found) == (2, 1)
    assert scores.short_recall == 0.5


def test_several_comparisons_are_taken_together():
    scores = summarize([score(guesses_of(THREE), THREE), score([], [THREE[0]])])
    assert (scores.truths, scores.matches, scores.missed) == (4, 3, 1)
    assert scores.f1 == pytest.approx(6 / 7)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [("", "", 1.0), ("", "abc", 0.0), ("kitten", "Sitting!", 4 / 7), ("天天", "夭天", 0.5), ("嗯", "啊", 0.0)],
)
def test_similarity_is_one_less_the_normalized_edit_distance(left, right, expected):
    assert similarity(left, right) == similarity(right, left) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Ｈｅｌｌｏ， World！", "helloworld"),
        ("你好，\n世界……", "你好世界"),
        ("?!", "?!"),
        ("……", "......"),
        ("$4,500", "$4500"),
    ],
)
def test_normalizing_folds_width_case_space_and_punctuation(text, folded):
    assert normalize(text) == folded


def test_punctuation_and_width_cost_only_raw_characters():
    scores = score([guess(0, 25, "你好,世界")], [truth(0, 25, "你好，\n世界")]).scores
    assert scores.cer_matched == 0.0
    assert scores.cer_raw_matched == pytest.approx(2 / 6)
    assert cer("abc", "") == 3.0


# --- files ---


def write_truth(path):
    path.write_text(
        json.dumps(
            {
                "video": {"frame_rate": 24},
                "captions": [
                    {
                        "start_s": 1.0,
                        "end_s": 2.0,
                        "start_frame": 24,
                        "end_frame": 48,
                        "text": "One",
                        "fade_in_frames": 6,
                    },
                    {"start_s": 2.0, "end_s": 53 / 24, "start_frame": 48, "end_frame": 53, "text": "Two"},
                ],
            }
        )
    )
    return path


def test_subtitles_rounded_to_milliseconds_hit_the_right_frames(tmp_path):
    predicted = tmp_path / "a.srt"
    predicted.write_text("1\n00:00:01,000 --> 00:00:02,000\nOne\n\n2\n00:00:02,000 --> 00:00:02,208\nTwo\n")
    report = evaluate_files(predicted, write_truth(tmp_path / "truth.json"))
    assert [(match.start_error, match.end_error) for match in report.matches] == [(0, 0), (0, 0)]
    assert report.matches[0].truth.fade_in_frames == 6
    assert report.scores.fades.count == 1


def test_two_subtitle_files_say_that_a_frame_rate_was_assumed(tmp_path):
    for name in ("a.srt", "b.srt"):
        (tmp_path / name).write_text("1\n00:00:01,000 --> 00:00:02,000\nOne\n")
    report = evaluate_files(tmp_path / "a.srt", tmp_path / "b.srt")
    assert "no frame rate is known" in format_report(report)
    assert evaluate_files(tmp_path / "a.srt", tmp_path / "b.srt", frame_rate=50).notes == ()


def test_text_of_other_kinds_does_not_count(tmp_path):
    rows = [
        {"start_s": 1.0, "end_s": 2.0, "text": "One"},
        {"start_s": 3.0, "end_s": 4.0, "text": "Ann Lee, reporter", "kind": "lower_third"},
    ]
    for name, captions in (("a.json", rows), ("b.json", rows[:1]), ("c.json", rows[1:])):
        (tmp_path / name).write_text(json.dumps({"captions": captions}))
    assert evaluate_files(tmp_path / "a.json", tmp_path / "b.json", frame_rate=25).scores.f1 == 1.0
    scores = evaluate_files(tmp_path / "a.json", tmp_path / "c.json", frame_rate=25).scores
    assert (scores.truths, scores.phantoms) == (0, 1)


def test_times_of_a_variable_rate_become_its_frames():
    clock = FrameClock(30.0, (0.0, 0.04, 0.1, 0.3, 0.35))
    assert [clock.frame_at(seconds) for seconds in (0.0, 0.04, 0.0995, 0.1004, 0.11, 0.9)] == [0, 1, 2, 2, 3, 5]


def test_the_report_names_every_failure_in_order_of_time(tmp_path):
    predicted = tmp_path / "a.srt"
    predicted.write_text("1\n00:00:00,100 --> 00:00:00,500\nKanal\n\n2\n00:00:01,200 --> 00:00:02,000\n0ne\n")
    text = format_report(evaluate_files(predicted, write_truth(tmp_path / "truth.json")))
    rows = text.split("\n\n")[1].splitlines()
    assert [row.split()[1] for row in rows] == ["phantom", "timing", "text", "missed"]
    assert "start +5, end +0 frames" in rows[1]


def test_an_unreadable_truth_is_named(tmp_path):
    (tmp_path / "t.json").write_text("{")
    (tmp_path / "a.srt").write_text("")
    with pytest.raises(SubtitleError, match=r"t\.json"):
        evaluate_files(tmp_path / "a.srt", tmp_path / "t.json")
