"""Where captions begin and end, judged by the pixels of small rois: fades, crossfades, signs that move."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from captionacc_dagster.captioning.extents.boundaries import (
    comes_and_goes,
    drop_moving_lines,
    drop_signs,
    find_boundary,
    is_fade_of,
    is_moving,
    join_segments,
    only_in,
)
from captionacc_dagster.captioning.extents.boxes import CaptionBox
from captionacc_dagster.captioning.extents.segmentation import Segment, TrackSegmenter
from captionacc_dagster.captioning.extents.strokes import Plane, StrokeStyle, compare_strokes, model_strokes
from captionacc_dagster_tests.captioning.drawn_clips import texture, write_text

pytestmark = pytest.mark.unit

LINE = 30.0
SIZE = (48, 480)
Strip = Callable[[int], Plane]


def lettered(text: str, at: float = 0.5, background: int = 90) -> Plane:
    picture = np.full((*SIZE, 3), background, np.uint8)
    if text:
        write_text(picture, text, (at, 0.5), 22)
    return picture[..., 0].copy()


def shown(*layers: tuple[str, Callable[[int], float]]) -> Strip:
    """Return strips on which each text has the opacity of its frame."""
    plain = lettered("").astype(np.float32)
    drawn = [(lettered(text).astype(np.float32) - plain, opacity) for text, opacity in layers]

    def roi(frame: int) -> Plane:
        picture = plain.copy()
        for text, opacity in drawn:
            share = opacity(frame)
            picture = picture * (1 - share * (np.abs(text) > 2)) + (text + plain) * share * (np.abs(text) > 2)
        noise = np.random.default_rng(frame).normal(0, 1.5, SIZE)
        return np.clip(picture + noise, 0, 255).astype(np.uint8)

    return roi


def segment(roi: Strip, start: int, end: int, around: Sequence[int] = ()) -> Segment:
    sampled = [(n, roi(n)) for n in np.linspace(start, end - 1, 8).round().astype(int).tolist()]
    model = model_strokes([picture for _, picture in sampled], LINE)
    return Segment(start, end, model, sampled, sampled, [(n, roi(n)) for n in around])


def rising(half: int, frames: int) -> Callable[[int], float]:
    return lambda frame: float(np.clip((frame - half) / frames + 0.5, 0, 1))


def falling(half: int, frames: int) -> Callable[[int], float]:
    return lambda frame: float(np.clip((half - 1 - frame) / frames + 0.5, 0, 1))


@pytest.mark.parametrize("fade", [6, 12, 24])
def test_a_fade_is_cut_where_half_is_visible_wherever_it_was_noticed(fade: int):
    coming = shown(("Slowly it comes", rising(40, fade)))
    going = shown(("Slowly it goes", falling(40, fade)))
    for noticed in (40 - fade // 3, 40, 40 + fade // 3):
        around = range(noticed - 20, noticed + 21)
        empty, caption = segment(coming, 10, 40 - fade // 2), segment(coming, noticed, 80, around)
        assert abs(find_boundary(empty, caption, LINE).start - 40) <= 1
        caption, empty = segment(going, 0, noticed), segment(going, 40 + fade // 2, 70)
        boundary = find_boundary(caption, Segment(noticed, 70, *_rest(empty), [(n, going(n)) for n in around]), LINE)
        assert abs(boundary.end - 40) <= 1


def _rest(kept: Segment):
    return kept.model, kept.rois, kept.pictures


def test_captions_that_fade_into_each_other_meet_where_both_are_alike():
    roi = shown(("The first one leaves", falling(40, 16)), ("while another comes up", rising(40, 16)))
    first, second = segment(roi, 5, 32), segment(roi, 48, 80)
    second = Segment(40, 80, *_rest(second), [(n, roi(n)) for n in range(20, 61)])
    boundary = find_boundary(first, second, LINE)
    assert boundary.start == boundary.end
    assert abs(boundary.start - 40) <= 2


def test_a_gap_of_two_frames_is_found_though_the_second_caption_is_short():
    roi = shown(("Say it again", lambda frame: float(10 <= frame < 38 or 40 <= frame < 48)))
    first, second = segment(roi, 12, 38), segment(roi, 40, 48, range(20, 61))
    boundary = find_boundary(first, second, LINE)
    assert not boundary.is_same
    assert (boundary.end, boundary.start) == (38, 40)


def test_letters_seen_in_a_fade_are_of_the_caption_beside():
    roi = shown(("You could have told me", rising(40, 20)))
    caption = segment(roi, 52, 90)
    faint = segment(roi, 30, 40)
    assert is_fade_of(
        faint, faint.model.stroke_mask | (caption.model.stroke_mask & (np.arange(SIZE[1]) > 200)), caption, LINE
    )
    assert not is_fade_of(caption, caption.model.stroke_mask, faint, LINE)


@pytest.mark.parametrize("other", ["We have sold it", "We have", "have told", "Nobody came to the meeting at all"])
def test_another_caption_is_no_fade(other: str):
    caption = segment(shown(("We have told it", lambda _: 1.0)), 0, 20)
    beside = segment(shown((other, lambda _: 1.0)), 20, 40)
    assert not is_fade_of(caption, caption.model.stroke_mask, beside, LINE)
    assert not is_fade_of(beside, beside.model.stroke_mask, caption, LINE)


def test_a_caption_that_fades_in_beside_a_sign_that_stays_is_not_the_sign():
    roi = shown(("EXIT" + " " * 40, lambda _: 1.0), ("                Nobody left", rising(40, 6)))
    sign, caption = segment(roi, 10, 36), segment(roi, 44, 52)
    boundary = find_boundary(sign, Segment(40, 52, *_rest(caption), [(n, roi(n)) for n in range(20, 61)]), LINE)
    assert not boundary.is_same
    assert abs(boundary.start - 40) <= 1


def over_moving(picture: Plane, frame: int) -> Plane:
    """Return a strip whose lower edge shows a scene that moves."""
    picture[40:] = 60 + 25 * (frame % 3)
    return picture


@pytest.mark.parametrize(("beside", "is_same"), [("Wait!", False), ("", True)])
def test_what_another_speaker_begins_to_say_far_beside_a_caption_is_seen(beside: str, is_same: bool):
    """While the strokes that appeared with a caption stay, letters of the picture behind it may come and go."""
    texts = shown(("I grew up" + " " * 60, lambda _: 1.0), (" " * 60 + beside, lambda frame: float(frame >= 40)))

    def roi(frame: int) -> Plane:
        return over_moving(texts(frame), frame)

    first, second = segment(roi, 10, 40), segment(roi, 40, 80, range(20, 61))
    boundary = find_boundary(first, second, LINE, first.model.stroke_mask)
    assert (boundary.is_same, boundary.end, boundary.start) == (is_same, 40, 40)


@pytest.mark.parametrize(
    ("came", "last", "is_same"), [("the", "river", False), ("the", "i", True), ("We walked along the", "river", True)]
)
def test_a_word_that_is_added_to_added_words_is_seen_however_long_the_caption_is(came: str, last: str, is_same: bool):
    """The last word of a caption that built up was left out: it was a tenth of its strokes."""
    texts = {"We walked along": 0.25, "the": 0.56, last: 0.68}
    long, the, word = (lettered(text, at) for text, at in texts.items())

    def roi(frame: int) -> Plane:
        words = [long, the, *([word] if frame >= 40 else [])]
        return over_moving(np.max(words, axis=0), frame)

    first, second = segment(roi, 10, 40), segment(roi, 40, 80, range(20, 61))
    appeared = model_strokes([the if came == "the" else np.maximum(long, the)] * 5, LINE).stroke_mask
    boundary = find_boundary(first, second, LINE, appeared)
    assert (boundary.is_same, boundary.is_word) == (is_same, not is_same)


def test_letters_that_appear_in_two_lines_behind_a_caption_are_no_word_that_is_added():
    """A caption over code was split where code appeared beside it."""
    long, the = lettered("We walked along", 0.25), lettered("the", 0.56)
    code = np.full((*SIZE, 3), 90, np.uint8)
    for row in (0.12, 0.7):
        write_text(code, "river bank", (0.78, row), 17)

    def roi(frame: int) -> Plane:
        return over_moving(np.max([long, the, *([code[..., 0]] if frame >= 40 else [])], axis=0), frame)

    first, second = segment(roi, 10, 40), segment(roi, 40, 80, range(20, 61))
    boundary = find_boundary(first, second, LINE, model_strokes([the] * 5, LINE).stroke_mask)
    assert (boundary.is_same, boundary.is_word) == (True, False)


def test_letters_of_the_scene_behind_that_a_cut_shows_are_no_other_speaker():
    """They are everywhere: in the gap beside the caption, and above and below it."""
    text = shown(("I grew up" + " " * 60, lambda _: 1.0))

    def roi(frame: int) -> Plane:
        picture = over_moving(text(frame), frame)
        if frame >= 40:
            for row in (2, 18, 34):
                picture[row : row + 8, 200:470:12] = 255
                picture[row : row + 8, 201:470:12] = 255
        return picture

    first, second = segment(roi, 10, 40), segment(roi, 40, 80, range(20, 61))
    assert find_boundary(first, second, LINE, first.model.stroke_mask).is_same


def test_a_character_changes_beside_strokes_whose_start_is_known():
    """Not all of a caption is seen to appear; over a scene that moves, its strokes tell of the rest."""
    texts = shown(
        ("It costs 15 dollars.", lambda frame: float(frame < 40)),
        ("It costs 16 dollars.", lambda frame: float(frame >= 40)),
    )

    def roi(frame: int) -> Plane:
        picture = texts(frame)
        picture[:, 440:] = 60 + 25 * (frame % 3)
        return picture

    first, second = segment(roi, 10, 40), segment(roi, 40, 80, range(20, 61))
    digit = next(column for _, column in compare_strokes(first.model, second.model, LINE).windows if column < 400)
    born = first.model.stroke_mask & (np.abs(np.arange(SIZE[1]) - digit) > LINE)
    boundary = find_boundary(first, second, LINE, born)
    assert not boundary.is_same
    assert (boundary.end, boundary.start) == (40, 40)


@pytest.mark.parametrize(("is_busy", "cuts"), [(False, [20, 50, 100]), (True, [20, 100])])
def test_the_smallest_part_of_a_letter_is_a_change_where_nothing_else_changes(is_busy: bool, cuts: list[int]):
    roi = shown(
        ("ill", lambda frame: float(20 <= frame < 50)),
        ("iil", lambda frame: float(frame >= 50)),
    )
    segmenter = TrackSegmenter(LINE, 25.0)
    ended = []
    for frame in range(100):
        picture = roi(frame)
        if is_busy:
            picture[:, 440:] = 60 + 25 * (frame % 3)
        ended += segmenter.push(picture)
    assert [segment.end for segment in (*ended, *segmenter.finish())] == cuts


@pytest.mark.parametrize("fade", [8, 16])
def test_a_fade_beside_a_sign_that_stays_is_cut_where_half_of_the_fade_is_visible(fade: int):
    roi = shown(("EXIT ONLY" + " " * 30, lambda _: 1.0), (" " * 30 + "Nobody", falling(40, fade)))
    both, sign = segment(roi, 0, 30), segment(roi, 50, 70)
    boundary = find_boundary(both, Segment(44, 70, *_rest(sign), [(n, roi(n)) for n in range(20, 69)]), LINE)
    assert abs(boundary.end - 40) <= 1


def test_a_caption_that_is_fainter_over_another_picture_is_no_fade():
    roi = shown(("Over the hills", lambda frame: 1.0 if frame < 40 else 0.5))
    caption, fainter = segment(roi, 0, 40), segment(roi, 40, 80)
    assert not is_fade_of(fainter, caption.model.stroke_mask, caption, LINE)
    fading = segment(shown(("Over the hills", falling(60, 60))), 46, 80)
    assert is_fade_of(fading, caption.model.stroke_mask, caption, LINE)


def test_a_character_too_faint_for_the_mask_changes_where_all_else_stays():
    before, after = lettered("Gate"), lettered("Gate")
    before[22:24, 266:277] += 30
    after[18:20, 266:277] += 30
    after[27:29, 265:278] += 30
    first, second = segment(lambda _: before, 0, 40), segment(lambda _: after, 40, 80)
    around = [(n, before if n < 40 else after) for n in range(20, 61)]
    assert not find_boundary(first, Segment(40, 80, *_rest(second), around), LINE).is_same
    jumped = after.copy()
    jumped[:, :120] += 40
    scene = segment(lambda _: jumped, 40, 80)
    around = [(n, before if n < 40 else jumped) for n in range(20, 61)]
    assert find_boundary(first, Segment(40, 80, *_rest(scene), around), LINE).is_same


def test_joining_a_caption_with_its_fade_keeps_what_shows_it_in_full():
    roi = shown(("It stands and fades", falling(50, 24)))
    caption, fade = segment(roi, 0, 36), segment(roi, 42, 52)
    joined = join_segments(caption, fade, LINE)
    assert (joined.start, joined.end) == (0, 52)
    assert [n for n, _ in joined.rois] == [n for n, _ in caption.rois]


def test_a_moment_with_letters_behind_the_caption_does_not_stand_for_all_of_it():
    """A list popped up behind a caption for three frames, whose letters were read with it."""
    pictures = lettered("A caption of some words", 0.4), lettered("of a list", 0.88)
    pictures[1][:, :370] = pictures[0][:, :370]

    def roi(frame: int) -> Plane:
        return pictures[int(frame >= 40)]

    joined = join_segments(segment(roi, 0, 40), segment(roi, 40, 43), LINE)
    assert min(number for number, _ in joined.rois) < 40


def test_frames_beyond_the_boundaries_say_nothing_of_a_segment():
    roi = shown(("Only at the end", rising(30, 4)))
    late = segment(roi, 16, 76)
    before = late.within(16, 28, LINE)
    assert (before.start, before.end) == (16, 28)
    assert max(n for n, _ in [*before.rois, *before.pictures]) < 28
    assert late.model.stroke_mask.sum() > 0 == before.model.stroke_mask.sum()


def test_a_sign_that_moves_is_told_from_a_caption_that_stays():
    sign = segment(lambda frame: lettered("MARKET", at=0.5 + 0.0008 * frame), 0, 16)
    stroke_mask = segment(lambda _: lettered("MARKET"), 0, 16).model.stroke_mask
    assert is_moving(sign, stroke_mask, 0.5)
    assert not is_moving(segment(lambda _: lettered("MARKET"), 0, 16), stroke_mask, 0.5)

    scene = texture(2 * SIZE[1], SIZE[0], 3)

    def over_a_pan(frame: int) -> Plane:
        picture = scene[:, frame * 4 : frame * 4 + SIZE[1]].copy()
        write_text(picture, "MARKET", (0.5, 0.5), 22)
        return picture[..., 0].copy()

    assert not is_moving(segment(over_a_pan, 0, 16), stroke_mask, 0.5)


def test_only_the_line_that_moves_is_left_out():
    def both(frame: int) -> Plane:
        return np.vstack([lettered("MARKET", at=0.4 + 0.0008 * frame), lettered("It is said here")])

    upper = segment(lambda _: lettered("MARKET", at=0.4), 0, 8).model.stroke_mask
    lower = segment(lambda _: lettered("It is said here"), 0, 8).model.stroke_mask
    stroke_mask = np.vstack([upper, lower])
    lines = [(0, 0, SIZE[1], SIZE[0]), (0, SIZE[0], SIZE[1], 2 * SIZE[0])]
    kept = drop_moving_lines(segment(both, 0, 16), stroke_mask, lines, 0.5)
    assert not kept[: SIZE[0]].any()
    assert np.array_equal(kept[SIZE[0] :], stroke_mask[SIZE[0] :])


def test_a_caption_that_slides_into_its_place_is_no_sign():
    def sliding(frame: int) -> Plane:
        return lettered("MARKET", at=0.5 + 0.002 * max(0, 4 - frame))

    stroke_mask = segment(lambda _: lettered("MARKET"), 0, 16).model.stroke_mask
    assert not is_moving(segment(sliding, 0, 16), stroke_mask, 0.5)
    assert is_moving(segment(sliding, 0, 5), stroke_mask, 0.5)


def _without_signs(word: str, beside: Plane, at: tuple[int, int]) -> tuple[int, int]:
    """Return the strokes of a brief word and how many of them are no sign beside a neighbor of some frames."""
    brief = segment(lambda _: lettered(word), 14, 17)
    neighbor = segment(lambda _: beside, *at)
    rows, columns = np.nonzero(brief.model.stroke_mask)
    lines = [(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)]
    kept = drop_signs(brief, neighbor, brief.model.stroke_mask, lines)
    return int(brief.model.stroke_mask.sum()), int(kept.sum())


@pytest.mark.parametrize("at", [(4, 14), (17, 27)], ids=["before", "after"])
@pytest.mark.parametrize("word", ["door", "what", "go", "I", "!"])
def test_a_brief_word_beside_a_picture_without_text_is_no_sign(word: str, at: tuple[int, int]):
    """Beside its place a plain picture is as at its place: nothing moved there."""
    strokes, kept = _without_signs(word, lettered(""), at)
    assert kept == strokes > 0


@pytest.mark.parametrize("at", [(4, 14), (17, 27)], ids=["before", "after"])
def test_a_sign_that_its_neighbor_shows_beside_its_place_is_dropped(at: tuple[int, int]):
    _, kept = _without_signs("door", lettered("door", at=0.508), at)
    assert kept == 0


def test_a_text_that_could_not_be_read_is_not_the_picture():
    """As the picture, it hid the strokes of the captions after it in its place."""
    styles = [StrokeStyle(1, 255.0, 40.0)]
    around = segment(lambda _: lettered("works"), 0, 12), segment(lambda _: lettered("you"), 30, 50)
    assert comes_and_goes(segment(lambda _: lettered("if"), 12, 30), around, styles)
    dark = [StrokeStyle(-1, 20.0, 40.0)]
    assert not comes_and_goes(segment(lambda _: lettered("if"), 12, 30), around, dark)

    def with_sign(text: str) -> Strip:
        return lambda _: np.maximum(lettered("HOTEL", at=0.2), lettered(text, at=0.6))

    shown_under = segment(with_sign("works"), 0, 12), segment(with_sign("you"), 30, 50)
    assert not comes_and_goes(segment(with_sign(""), 12, 30), shown_under, styles)


def test_a_caption_that_goes_on_over_a_cut_to_a_dark_scene_begins_over_the_bright_one():
    """It began at the cut, 0.8 s late: yellow letters are darker than snow, and brighter than most of what follows."""

    def roi(frame: int) -> Plane:
        picture = np.full((*SIZE, 3), 245 if frame < 60 else 60, np.uint8)
        if 40 <= frame < 100:
            write_text(picture, "This far north", (0.5, 0.5), 22, fill="#bebebe", outline=1)
        noise = np.random.default_rng(frame).normal(0, 1.5, SIZE)
        return np.clip(picture[..., 0] + noise, 0, 255).astype(np.uint8)

    boundary = find_boundary(segment(roi, 10, 40), segment(roi, 40, 100, range(20, 61)), LINE)
    assert (boundary.is_same, boundary.start) == (False, 40)


@pytest.mark.parametrize("is_sweep", [False, True], ids=["another picture", "another color of half of it"])
def test_a_caption_over_a_cut_to_a_bright_picture_is_recolored_where_its_letters_are(is_sweep: bool):
    """A caption was lost: where the picture brightened behind half of it, that half passed for recolored,
    and the caption was looked for in what followed the cut alone, where its letters touch the sky."""

    def roi(frame: int) -> Plane:
        picture = np.full((*SIZE, 3), 20, np.uint8)
        if frame >= 40 and not is_sweep:
            picture[:, 240:] = 225
        fill = "#ffffff" if frame < 40 or not is_sweep else "#808080"
        write_text(picture, "Are you", (0.49, 0.5), 22, anchor="rm", outline=1)
        write_text(picture, "coming", (0.51, 0.5), 22, anchor="lm", fill=fill, outline=1)
        return picture[..., 0].copy()

    before, after = segment(roi, 0, 40), segment(roi, 40, 60)
    joined = join_segments(before, after, LINE)
    assert (joined.start, joined.end) == (0, 60)
    assert (joined.model is after.model) is is_sweep


def test_what_only_one_segment_shows_in_the_style_is_marked_whatever_its_shape():
    """The glyph mask took a heavy I for an area of the picture: three of 41 words of short clips were lost."""
    white = (StrokeStyle(1, 250.0, 36.0),)

    def scene(frame: int) -> Plane:
        picture = np.full((*SIZE, 3), 90, np.uint8)
        picture[:, 400:] = 250  # a white wall
        if frame < 20:
            write_text(picture, "WRONG", (0.5, 0.5), 26)
        elif frame < 30:
            picture[12:36, 233:247] = 250
        return picture[..., 0].copy()

    before, middle, after = segment(scene, 0, 20), segment(scene, 20, 30), segment(scene, 30, 50)
    marked = only_in(middle, [before, after], white)
    rows, columns = np.nonzero(marked)
    assert (columns.min(), columns.max()) == (233, 246)
    assert (rows.min(), rows.max()) == (12, 35)
    assert marked.sum() >= 0.9 * 24 * 14
    assert not only_in(before, [middle, middle], white)[:, 400:].any()
    assert not only_in(middle, [], white).any()


DARK = StrokeStyle(-1, 32.0, 36.0)


def popping(words: Sequence[tuple[int, str]]) -> Strip:
    """Return words on a light box in front of code, each of which grows in its first six frames."""

    def roi(frame: int) -> Plane:
        picture = np.full((*SIZE, 3), 40, np.uint8)
        write_text(picture, "WHERE created_at", (0.18, 0.5), 18, fill="#a0a0a0", outline=0)
        write_text(picture, "ORDER BY name", (0.82, 0.5), 18, fill="#a0a0a0", outline=0)
        start, word = max(item for item in words if item[0] <= frame)
        size = min(1.0, 0.6 + (frame - start) / 15)
        across, down = round(8 * len(word) * size) + 8, round(20 * size)
        picture[24 - down : 24 + down, 240 - across : 240 + across] = 210
        write_text(picture, word, (0.5, 0.5), round(24 * size), fill="#202020", outline=0)
        noise = np.random.default_rng(frame).normal(0, 1.5, SIZE)
        return np.clip(picture[..., 0] + noise, 0, 255).astype(np.uint8)

    return roi


def test_words_that_pop_up_in_front_of_letters_that_stay_are_parted():
    """Most strokes were those of the code, and stayed: a word in two was taken for the one before it."""
    starts = (0, 12, 24, 36, 48)
    roi = popping(list(zip(starts, ("only", "today", "the", "scratch", "door"), strict=True)))
    segmenter = TrackSegmenter(LINE, 60.0)
    segmenter.add_style(DARK)
    ended = [segment for frame in range(60) for segment in segmenter.push(roi(frame))]
    ends = {segment.end for segment in (*ended, *segmenter.finish())}
    assert ends >= {12, 24, 36, 48, 60}


def test_a_word_that_pops_up_in_front_of_letters_that_stay_is_no_fade_of_the_one_before():
    """The code was visible on both sides of the cut."""
    roi = popping([(0, "the"), (20, "camera")])
    first, second = segment(roi, 8, 20), segment(roi, 26, 40)
    second = Segment(23, 40, *_rest(second), [(n, roi(n)) for n in range(3, 44)])
    boundary = find_boundary(first, second, LINE, styles=[DARK], boxes=[CaptionBox(210.0, DARK)])
    assert (boundary.is_same, boundary.end) == (False, 20)


def test_a_brief_word_that_slid_into_its_place_is_no_sign():
    """Words of a fifth of a second that slide in were dropped: in the frames before, they are elsewhere."""

    def sliding(frame: int) -> Plane:
        return lettered("door", at=0.5 + 0.004 * max(0, 14 - frame))

    brief, neighbor = segment(lambda _: lettered("door"), 14, 17), segment(sliding, 9, 14)
    rows, columns = np.nonzero(brief.model.stroke_mask)
    lines = [(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)]
    assert np.array_equal(drop_signs(brief, neighbor, brief.model.stroke_mask, lines), brief.model.stroke_mask)


def test_a_style_is_shared_by_two_texts_that_look_alike():
    """The first text that is detected may be a line of the picture: frames wait until another one looks like one."""
    segmenter = TrackSegmenter(LINE, 25.0)
    seen = []
    for level in (146.0, 32.0, 40.0):
        segmenter.add_style(StrokeStyle(-1, level, 36.0))
        seen.append(segmenter.has_shared_style)
    assert seen == [False, False, True]


STYLE = StrokeStyle(1, 250.0, 36.0)
CUT = 40


def two_rows(upper: Callable[[int], float], scene: Callable[[int], Plane]) -> Strip:
    """Return strips with a line below that stays and one above of the opacity of its frame."""

    def roi(frame: int) -> Plane:
        plain = np.repeat(scene(frame)[..., None], 3, axis=2)
        write_text(plain, "They left without us", (0.5, 0.75), 22)
        both = plain.copy()
        write_text(both, "Nobody saw it", (0.5, 0.25), 22)
        noise = np.random.default_rng(frame).normal(0, 1.5, plain.shape[:2])
        mixed = plain[..., 0] + (both[..., 0].astype(np.float32) - plain[..., 0]) * upper(frame)
        return np.clip(mixed + noise, 0, 255).astype(np.uint8)

    return roi


def panning(frame: int) -> Plane:
    return np.ascontiguousarray(texture(900, 96)[:, 2 * frame : 2 * frame + 480, 0] // 2)


@pytest.mark.parametrize("frames", [1, 8])
@pytest.mark.parametrize("comes", [True, False])
def test_a_line_that_comes_or_goes_beside_another_one_is_a_boundary(frames: int, comes: bool):
    """At once, or in a fade. The strokes that appeared with the first stay in both."""
    comes_in = rising(CUT, frames)
    roi = two_rows(comes_in if comes else lambda frame: 1 - comes_in(frame), panning)
    around = range(CUT - 20, CUT + 20)
    first, second = segment(roi, 0, CUT - frames), segment(roi, CUT + frames, 80, around)
    appeared = first.model.stroke_mask.copy()
    appeared[: SIZE[0]] = False
    boundary = find_boundary(first, second, LINE, appeared, styles_of_text=[STYLE])
    assert (boundary.is_line, boundary.is_same) == (True, False)
    assert boundary.end == boundary.start
    assert abs(boundary.start - CUT) <= 1
    assert find_boundary(first, second, LINE, appeared).is_line is False


@pytest.mark.parametrize(("fill", "is_line"), [("#b4b4b4", False), ("white", True)])
def test_a_sign_that_a_cut_of_the_camera_uncovers_is_no_line(fill: str, is_line: bool):
    """In the color of the captions, it may be a line."""

    def scene(frame: int) -> Plane:
        if frame < CUT:
            return np.full((96, 480), 90, np.uint8)
        picture = np.full((96, 480, 3), 50, np.uint8)
        write_text(picture, "Central Station", (0.5, 0.25), 22, fill=fill)
        return picture[..., 0].copy()

    roi = two_rows(lambda frame: 0.0, scene)
    first, second = segment(roi, 0, CUT), segment(roi, CUT, 80, range(CUT - 20, CUT + 20))
    boundary = find_boundary(first, second, LINE, first.model.stroke_mask, styles_of_text=[STYLE])
    assert boundary.is_line == is_line


@pytest.mark.parametrize(("fill", "is_line"), [("#8c8c8c", False), ("white", True)])
def test_letters_of_the_picture_in_another_color_are_no_line_that_stays(fill: str, is_line: bool):
    """A caption that came above such letters began with the empty frames before it."""

    def roi(frame: int) -> Plane:
        picture = np.full((96, 480, 3), 50, np.uint8)
        write_text(picture, "Central Station", (0.5, 0.75), 22, fill=fill)
        if frame >= CUT:
            write_text(picture, "Nobody saw it", (0.5, 0.25), 22)
        noise = np.random.default_rng(frame).normal(0, 1.5, picture.shape[:2])
        return np.clip(picture[..., 0] + noise, 0, 255).astype(np.uint8)

    first, second = segment(roi, 0, CUT), segment(roi, CUT, 80, range(CUT - 20, CUT + 20))
    boundary = find_boundary(first, second, LINE, first.model.stroke_mask, styles_of_text=[STYLE])
    assert boundary.is_line == is_line
