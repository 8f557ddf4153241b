"""ASS and SRT files do in libass what they promise: place, time, color of words, and order of letters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from captionacc_dagster.captioning.captions import Caption, Word
from captionacc_dagster.captioning.files.subtitles import write_subtitles
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster_tests.captioning.files.rendered import HEIGHT, RATE, WIDTH, bright, extent, outer_widths, render

pytestmark = pytest.mark.unit

VIDEO = {"width": WIDTH, "height": HEIGHT}
ARABIC = "مرحبا يا صديقي!"


def caption(text, bbox, start_s=0.0, end_s=1.0, track="a", **facts):
    return Caption(
        start_s=start_s,
        end_s=end_s,
        start_frame=round(start_s * RATE),
        end_frame=round(end_s * RATE),
        text=text,
        confidence=0.9,
        bbox=bbox,
        track=track,
        **facts,
    )


def box(x, y, column):
    """A box of 0.2 x 0.08 around a height, whose left, center, or right is at ``x``."""
    left = x - (0.0, 0.1, 0.2)[column]
    return BBox(left, y - 0.04, left + 0.2, y + 0.04)


def drawn(tmp_path, captions, name="a.ass", seconds=0.08):
    write_subtitles(tmp_path / name, captions, VIDEO)
    return render(tmp_path / name, seconds)


@pytest.mark.parametrize("y", [0.1, 0.3, 0.5, 0.7, 0.92])
@pytest.mark.parametrize(("x", "column"), [(0.06, 0), (0.5, 1), (0.94, 2)])
def test_text_appears_where_it_is_in_the_video(tmp_path, x, y, column):
    left, top, right, bottom = extent(bright(drawn(tmp_path, [caption("HAHA", box(x, y, column))])[0]))
    assert (left, (left + right) / 2, right)[column] == pytest.approx(x, abs=0.02)
    assert (top + bottom) / 2 == pytest.approx(y, abs=0.03)


def test_centered_captions_beside_the_middle_keep_their_center(tmp_path):
    boxes = [BBox(0.2, 0.8, 0.4, 0.88), BBox(0.1, 0.8, 0.5, 0.88)]
    captions = [caption("HAHA", boxes[0], 0.0, 0.04), caption("HA HA HA HA HA", boxes[1], 0.04, 0.08)]
    for frame in drawn(tmp_path, captions):
        left, _, right, _ = extent(bright(frame))
        assert (left + right) / 2 == pytest.approx(0.3, abs=0.01)


def test_captions_of_one_track_at_two_places_are_drawn_at_both(tmp_path):
    captions = [
        caption("HAHA", box(0.5, 0.1, 1), 0.0, 0.04),
        caption("HAHA", box(0.5, 0.9, 1), 0.04, 0.08),
    ]
    centers = [np.mean(extent(bright(frame))[1::2]) for frame in drawn(tmp_path, captions)]
    assert centers == pytest.approx([0.1, 0.9], abs=0.03)


def test_two_speakers_at_once_keep_apart(tmp_path):
    captions = [
        caption("Are you there?", box(0.06, 0.9, 0), track="left"),
        caption("Here I am.", box(0.94, 0.9, 2), track="right"),
    ]
    mask = bright(drawn(tmp_path, captions)[0])
    left, right = mask.copy(), mask.copy()
    left[:, WIDTH // 2 :] = False
    right[:, : WIDTH // 2] = False
    assert not mask[:, int(0.45 * WIDTH) : int(0.55 * WIDTH)].any()
    assert extent(left)[0] == pytest.approx(0.06, abs=0.02)
    assert extent(right)[2] == pytest.approx(0.94, abs=0.02)
    assert extent(left)[3] == pytest.approx(extent(right)[3], abs=0.02)


def test_a_cue_is_drawn_on_exactly_its_frames(tmp_path):
    frames = drawn(tmp_path, [caption("HAHA", box(0.5, 0.9, 1), 3 / RATE, 8 / RATE)], seconds=0.48)
    assert [at for at, frame in enumerate(frames) if bright(frame).any()] == [3, 4, 5, 6, 7]


def test_text_is_white_with_a_black_outline(tmp_path):
    frame = drawn(tmp_path, [caption("HAHA", box(0.5, 0.9, 1))])[0]
    assert bright(frame, 220).sum() > 100
    assert (frame.max(axis=2) < 60).sum() > 100


@pytest.mark.parametrize("highlight", [False, True])
def test_words_light_up_one_after_another(tmp_path, highlight):
    onsets = {"HAHA": 0.2, "HOHO": 0.4, "HEHE": 0.8}
    words = tuple(
        Word(text=text, start_s=0.0, end_s=1.0, bbox=BBox(0.3, 0.8, 0.4, 0.9), highlight_start_s=onset)
        if highlight
        else Word(text=text, start_s=onset, end_s=1.0, bbox=BBox(0.3, 0.8, 0.4, 0.9))
        for text, onset in onsets.items()
    )
    frames = drawn(tmp_path, [caption("HAHA HOHO\nHEHE", box(0.5, 0.8, 1), words=words)], seconds=1.0)
    full = bright(frames[-1])
    lower = int(HEIGHT * np.mean(extent(full)[1::2]))
    first, second, third = full.copy(), full.copy(), full.copy()
    first[lower:], first[:, WIDTH // 2 :] = False, False
    second[lower:], second[:, : WIDTH // 2] = False, False
    third[:lower] = False
    for mask, onset in zip((first, second, third), onsets.values(), strict=True):
        lit = [bool((bright(frame) & mask).sum() > 0.9 * mask.sum()) for frame in frames]
        assert lit.index(True) == pytest.approx(onset * RATE, abs=0.5)
        assert all(lit[lit.index(True) :])


@pytest.mark.parametrize("name", ["a.ass", "a.srt"])
@pytest.mark.parametrize("text", [ARABIC, "שלום!", f"Hello, all!\n{ARABIC}"])
def test_right_to_left_text_ends_at_the_left(tmp_path, name, text):
    mask = bright(drawn(tmp_path, [caption(text, box(0.5, 0.9, 1))], name)[0])
    if "\n" in text:
        rows = np.flatnonzero(mask.any(axis=1))
        mask[: rows[np.argmax(np.diff(rows)) + 1]] = False
    exclamation, first_letter = outer_widths(mask)
    assert exclamation < 0.5 * first_letter


@pytest.mark.parametrize("name", ["a.ass", "a.srt"])
def test_text_without_a_need_for_it_has_no_control_characters(tmp_path, name):
    captions = [caption("مرحبا يا صديقي", box(0.5, 0.9, 1)), replace(caption("Hello!", box(0.5, 0.9, 1)), track="b")]
    write_subtitles(tmp_path / name, captions, VIDEO)
    content = (tmp_path / name).read_text(encoding="utf-8")
    assert "مرحبا يا صديقي\n" in content
    assert not set(content) & set("\u2066\u2067\u2069\u200e\u200f\u202a\u202b\u202c")
    assert r"\fe" not in content
