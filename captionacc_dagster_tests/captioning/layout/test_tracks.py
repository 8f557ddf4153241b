"""Rows and tracks are found from detections of lines alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from captionacc_dagster.captioning.captions import Kind
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.fixtures import find_staying
from captionacc_dagster.captioning.layout.kinds import KINDS, judge_rows
from captionacc_dagster.captioning.layout.regions import track_of
from captionacc_dagster.captioning.layout.rows import Look, Row, RowText, anchor_of, find_rows, split_sides
from captionacc_dagster.captioning.layout.samples import Sample, SampleDetection
from captionacc_dagster.captioning.layout.tracks import find_tracks

pytestmark = pytest.mark.unit

SIZE = (640, 360)


def detection(sample: int, left: float, top: float, right: float, bottom: float, still: float = 1.0) -> SampleDetection:
    box = BBox(left / SIZE[0], top / SIZE[1], right / SIZE[0], bottom / SIZE[1])
    return SampleDetection(sample, float(2 * sample), box, 0.8, still)


def samples(count: int) -> list[Sample]:
    """Return samples whose pictures have nothing in common."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(60, 200, (SIZE[1], SIZE[0]), dtype=np.uint8) for _ in range(count)]
    blank = np.zeros((4, 4, 3), np.uint8)
    return [Sample(2.0 * number, picture, picture, blank) for number, picture in enumerate(pictures)]


def judged(rows: list[Row], *kinds: Kind) -> list[Row]:
    """Say what the rows are, from low to high; all are captions where nothing else is said."""
    for row, kind in zip(sorted(rows, key=lambda row: row.low), kinds or ("caption",) * len(rows), strict=True):
        row.chances = {other: 0.9 if other == kind else 0.02 for other in KINDS}
    return rows


def test_columns_at_a_side_are_a_vertical_track():
    seen = [detection(number, 580, 40, 612, 120 + 30 * number) for number in range(4)]
    rows = find_rows(samples(4), seen, [], SIZE)
    (track,) = find_tracks(judged(rows), SIZE)
    assert track.vertical
    assert track.anchor == "left"  # along the text: its top stays
    assert (track.rows[0].low, track.rows[0].high) == pytest.approx((580, 612))


def test_a_column_seen_once_is_no_track():
    """Edges of a scene are often found as one column; nothing else says that it is text."""
    seen = [detection(0, 580, 40, 612, 150), detection(1, 200, 300, 440, 326), detection(2, 180, 300, 460, 326)]
    taken = samples(4)
    rows = find_rows(taken, seen, [], SIZE)
    judge_rows(rows, taken, SIZE, 30.0)
    assert not any(track.vertical for track in find_tracks(rows, SIZE))


@pytest.mark.parametrize(("height", "is_followed"), [(22, True), (40, False)])
def test_text_that_was_seen_once_is_followed_beside_captions_if_it_is_of_their_size(height: int, is_followed: bool):
    """A code editor's list, twice as high as the captions, was followed as some."""
    seen = [detection(n, 200 - 9 * n, 300, 440 + 9 * n, 322) for n in range(5)]
    rows = find_rows(samples(5), [*seen, detection(2, 250, 120, 390, 120 + height)], [], SIZE)
    judged(rows)
    once = min(rows, key=lambda row: row.low)
    once.chances = {kind: 0.36 if kind == "caption" else 0.128 for kind in KINDS}
    assert (len(find_tracks(rows, SIZE)) == 2) is is_followed


def test_the_region_of_text_at_the_very_edge_is_there():
    """The region stays away from the edges of the picture; that of a speck there ended before it began."""
    seen = [detection(n, 0, 300, 3, 302) for n in range(4)]
    (track,) = find_tracks(judged(find_rows(samples(4), seen, [], SIZE)), SIZE)
    region = track_of(track, SIZE, [], []).region
    assert 0 <= region.left < region.right <= 1


@pytest.mark.parametrize("one_line", [None, (200, 440)], ids=["two lines each", "a long one by itself"])
def test_where_captions_have_two_lines_one_line_may_be_as_long_as_both(one_line: tuple[int, int] | None):
    """The ends of the only caption of one line were cut off: the halves of the others do not tell how long it is."""
    seen = [detection(n, 220 - n, top, 420 + n, top + 22) for n in range(5) for top in (300, 326)]
    if one_line is not None:
        seen.append(detection(5, one_line[0], 326, one_line[1], 348))
    (track,) = find_tracks(judged(find_rows(samples(6), seen, [], SIZE)), SIZE)
    width = track_of(track, SIZE, [], []).region.width * SIZE[0]
    both = 2 * 208
    assert (width >= both) is (one_line is None)
    assert width >= 240


def test_two_languages_over_each_other_are_one_track():
    seen = [detection(n, 320 - 60 - 9 * n, 300, 320 + 60 + 9 * n, 326) for n in range(4)]
    seen += [detection(n, 320 - 90 - 7 * n, 328, 320 + 90 + 7 * n, 346) for n in range(4)]
    (track,) = find_tracks(judged(find_rows(samples(4), seen, [], SIZE)), SIZE)
    assert [(round(row.low), round(row.high)) for row in track.rows] == [(300, 326), (328, 346)]


@pytest.mark.parametrize("is_with_it", [True, False], ids=["changes with it", "changes when it stays"])
def test_a_line_in_another_look_that_changes_with_captions_is_a_line_of_them(is_with_it: bool):
    """A language in yellow was lost, since it began a frame after the other one and was missing in some samples."""
    seen = {300: list(range(10)), 328: [1, 3, 4, 5, 7, 8, 9]}  # samples, by where a row begins
    lines = [detection(n, 200, top, 440, top + 22) for top, shown in seen.items() for n in shown]
    rows = sorted(judged(find_rows(samples(10), lines, [], SIZE)), key=lambda row: row.low)
    turns = {300: [n // 2 for n in range(10)], 328: [n // 2 if is_with_it else (n + 1) // 2 for n in seen[328]]}
    for row, (top, shown), bright in zip(rows, seen.items(), (0.9, 0.5), strict=True):
        row.look = Look(bright, 0.0, 0.5, 0.0)
        texts = [[n for n, turn in zip(shown, turns[top], strict=True) if turn == number] for number in range(6)]
        row.texts = [RowText(2.0 * text[0], 2.0 * text[-1], 200.0, 240.0) for text in texts if text]
    (track,) = find_tracks(rows, SIZE)
    assert len(track.rows) == (2 if is_with_it else 1)


def test_centered_captions_that_slide_into_place_are_followed_and_a_ticker_is_not():
    """A word that was replaced by one like it is found again beside its place, too."""
    stills = (0.0, 0.0, 0.5, 0.5, 0.5, 0.5)
    slides = [detection(n, 320 - 50 - 9 * n, 300, 320 + 50 + 9 * n, 326, still) for n, still in enumerate(stills)]
    (track,) = find_tracks(judged(find_rows(samples(6), slides, [], SIZE)), SIZE)
    assert len(track.rows[0].lines) == 6
    ticker = [detection(n, max(0, 300 - 90 * n), 300, max(200, 640 - 40 * n), 326, s) for n, s in enumerate(stills)]
    assert find_tracks(judged(find_rows(samples(6), ticker, [], SIZE)), SIZE) == []


def test_specks_of_the_scene_beside_captions_do_not_make_them_move():
    """All captions above a headline were lost: the windows of a city beside two of them moved with it."""
    stills = (0.5, 0.5, 0.5, 0.5, 1.0)
    captions = [detection(n, 250 - 9 * n, 300, 390 - 9 * n, 326, still) for n, still in enumerate(stills)]
    specks = [detection(n, left, 300, left + 60, 326, 0.0) for n in (0, 1) for left in (20, 500)]
    (row,) = find_rows(samples(5), [*captions, *specks], [], SIZE)
    assert not row.is_moving
    (ticker,) = find_rows(samples(5), [*specks, detection(2, 100, 300, 500, 326, 0.5)], [], SIZE)
    assert ticker.is_moving


def test_lines_from_the_left_that_roll_up_are_followed():
    """The lower row of two was left out: in the second picture of a sample, its line is one row higher."""
    stills = (1.0, 0.5, 0.0, 0.5, 0.0, 0.5, 0.0, 0.0)
    lower = [detection(n, 100, 326, 380 + 23 * (n * 3 % 8), 350, still) for n, still in enumerate(stills)]
    upper = [detection(n, 100, 300, 400 + 23 * (n * 5 % 8), 324, 0.5) for n in range(8)]
    (track,) = find_tracks(judged(find_rows(samples(8), [*lower, *upper], [], SIZE)), SIZE)
    assert [round(row.low) for row in track.rows] == [300, 326]


@pytest.mark.parametrize(("samples_above", "kinds"), [((4, 5, 6), ["caption"] * 2), ((1, 2, 3), ["caption"])])
def test_captions_that_go_to_the_other_edge_are_captions_there(samples_above: tuple[int, ...], kinds: list[Kind]):
    """They passed for a name plate, which is visible together with captions."""
    seen = [detection(n, 200 - 9 * n, 320, 440 + 9 * n, 346) for n in range(4)]
    seen += [detection(n, 230 - 9 * n, 20, 410 + 9 * n, 46) for n in samples_above]
    upper, lower = judged(
        sorted(find_rows(samples(7), seen, [], SIZE), key=lambda row: row.low), "lower_third", "caption"
    )
    upper.look = lower.look = Look(1.0, 0.5, 0.4, 0.1)
    found = find_tracks([upper, lower], SIZE)
    assert [track.kind for track in found if track.kind == "caption"] == kinds


def test_a_sign_seen_once_is_not_followed_beside_captions_that_look_different():
    seen = [detection(n, 200 - 9 * n, 320, 440 + 9 * n, 346) for n in range(4)]
    sign, captions = judged(
        sorted(find_rows(samples(4), [*seen, detection(2, 300, 60, 480, 110)], [], SIZE), key=lambda row: row.low)
    )
    captions.look, sign.look = Look(1.0, 0.6, 0.4, 0.1), Look(0.2, 0.3, 0.5, 0.4)
    assert [track.rows for track in find_tracks([sign, captions], SIZE)] == [[captions]]


@pytest.mark.parametrize("is_centered", [True, False], ids=["around the middle", "from the left"])
def test_text_that_changes_around_the_middle_of_a_screen_is_rather_followed_than_lost(is_centered: bool):
    """Captions on a box over code of their color were taken for a line of it."""
    grows = range(5)
    seen = [detection(n, 200 - 19 * n if is_centered else 200, 320, 440 + 19 * n, 346) for n in grows]
    seen += [detection(n, 60, top, 380, top + 22) for n in grows for top in (100, 130, 160, 190)]
    rows = sorted(find_rows(samples(5), seen, [], SIZE), key=lambda row: row.low)
    screen: list[Kind] = ["interface"] * 5
    judged(rows, *screen)
    found = find_tracks(rows, SIZE)
    assert [round(row.low) for track in found for row in track.rows] == ([320] if is_centered else [])
    assert all(track.is_doubtful for track in found)


@pytest.mark.parametrize(("upper_contrast", "lines"), [(0.9, 2), (0.5, 1)])
def test_a_line_seen_once_above_a_caption_is_part_of_it_if_both_look_alike_there(upper_contrast: float, lines: int):
    """Captions contrast less over most of the video than over the scene behind that one: its upper line was lost."""
    seen = [detection(n, 320 - 60 - 9 * n, 300, 320 + 60 + 9 * n, 326) for n in range(4)]
    seen.append(detection(2, 220, 272, 420, 298))
    upper, lower = judged(
        sorted(find_rows(samples(4), seen, [], SIZE), key=lambda row: row.low), "lower_third", "caption"
    )
    contrasts = {0: 0.5, 1: 0.5, 2: 0.9, 3: 0.5}
    lower.look, upper.look = Look(0.6, 0.6, 0.5, 0.1), Look(0.9, 0.9, 0.5, 0.1)
    lower.look_of = lambda line: Look(contrasts[line.sample], contrasts[line.sample], 0.5, 0.1)
    upper.look_of = lambda _: Look(upper_contrast, upper_contrast, 0.5, 0.1)
    (track, *_) = find_tracks([upper, lower], SIZE)
    assert len(track.rows) == lines


def test_lines_that_are_apart_are_two_tracks():
    seen = [detection(n, 200 - 9 * n, 300, 440 + 9 * n, 326) for n in range(4)]
    seen += [detection(n, 240 - 9 * n, 20, 400 + 9 * n, 46) for n in range(4)]
    assert len(find_tracks(judged(find_rows(samples(4), seen, [], SIZE)), SIZE)) == 2


def test_fragments_of_a_line_are_one_line():
    seen = [detection(0, 100, 300, 240, 326), detection(0, 270, 301, 420, 327)]
    (row,) = find_rows(samples(1), seen, [], SIZE)
    assert [(line.start, line.end) for line in row.lines] == [(100, 420)]


LEFT, RIGHT, CENTER = (60, 260), (370, 590), (150, 490)


def sides(*shown: tuple[tuple[int, int], ...]) -> list[Row]:
    """Return the rows of samples that show lines ``(start, end)`` at one height, after they were split."""
    seen = [detection(n, start, 300, end, 326) for n, lines in enumerate(shown) for start, end in lines]
    taken = samples(len(shown))
    (row,) = judged(find_rows(taken, seen, [], SIZE))
    return split_sides(row, taken, SIZE)


def test_two_speakers_side_by_side_are_two_tracks():
    tracks = find_tracks(sides((LEFT,), (LEFT, RIGHT), (RIGHT,), (LEFT,)), SIZE)
    left, right = sorted((track_of(track, SIZE, [], []).region for track in tracks), key=lambda box: box.left)
    assert left.left * SIZE[0] <= LEFT[0]
    assert LEFT[1] <= left.right * SIZE[0] <= right.left * SIZE[0] <= RIGHT[0]
    assert right.right * SIZE[0] >= RIGHT[1]


@pytest.mark.parametrize(("upper", "count"), [(LEFT, 2), (CENTER, 1)])
def test_an_upper_line_beside_the_lower_one_is_another_speaker(upper: tuple[int, int], count: int):
    """Two lines of one caption are over each other, however different their lengths are."""
    seen = [detection(n, *((RIGHT[0], 300, RIGHT[1], 326) if n % 2 else (150, 300, 490, 326))) for n in range(6)]
    seen += [detection(n, upper[0], 272, upper[1], 298) for n in (1, 3, 5)]
    taken = samples(6)
    found = find_tracks(
        judged(find_rows(taken, seen, [], SIZE), "lower_third" if count == 2 else "caption", "caption"), SIZE
    )
    assert len(found) == count
    assert all(track.kind == "caption" for track in found)


def test_parts_of_a_line_that_come_and_go_together_are_one_row():
    assert len(sides((LEFT, RIGHT), (LEFT, RIGHT), (LEFT,))) == 1


def test_a_row_with_centered_captions_is_not_split():
    """Nothing tells on which side of the gap they are."""
    assert len(sides((LEFT,), (LEFT, RIGHT), (RIGHT,), (CENTER,))) == 1


def test_a_fixture_at_the_end_of_a_line_is_cut_off():
    fixture = BBox(500 / 640, 302 / 360, 600 / 640, 324 / 360)
    (row,) = find_rows(samples(1), [detection(0, 150, 300, 600, 326)], [fixture], SIZE)
    assert (row.lines[0].start, row.lines[0].end) == pytest.approx((150, 500))


def test_only_captions_and_lower_thirds_are_followed():
    seen = [detection(n, 200 - 9 * n, 320, 440 + 9 * n, 346) for n in range(4)]
    seen += [detection(n, 40, 200, 240 + 9 * n, 226) for n in range(4)]
    rows = find_rows(samples(4), seen, [], SIZE)
    followed = find_tracks(judged(rows, "lower_third", "caption"), SIZE)
    assert {track.kind for track in followed} == {"caption", "lower_third"}
    assert [track.kind for track in find_tracks(judged(rows, "interface", "caption"), SIZE)] == ["caption"]


@pytest.mark.parametrize(("caption", "others", "expected"), [(0.3, (), True), (0.2, (), False), (0.3, (60, 90), False)])
def test_the_only_text_of_a_clip_is_followed_even_if_it_looks_like_a_title(
    caption: float, others: tuple[int, ...], expected: bool
):
    seen = [detection(n, 220, 170, 420, 200) for n in range(2)]
    seen += [detection(n, 100, top, 340, top + 20) for n in range(2) for top in others]
    rows = sorted(find_rows(samples(4), seen, [], SIZE), key=lambda row: row.low)
    screen: list[Kind] = ["interface" for _ in others]
    title = judged(rows, *screen, "title")[-1]
    title.chances = {**title.chances, "title": 0.5, "caption": caption}
    assert [track.kind for track in find_tracks(rows, SIZE)] == (["caption"] if expected else [])


@pytest.mark.parametrize("is_centered", [True, False], ids=["centered", "from the left"])
def test_centered_blocks_are_followed_where_nothing_else_is_even_if_they_look_like_a_slide(is_centered: bool):
    """The verses of a poem, three to five lines at a time, were all lost: they passed for text of a screen."""
    blocks = {0: (120, 148, 176, 204, 232), 1: (134, 162, 190, 218)}  # where the lines of a sample begin
    seen = [
        detection(n, left := (320 - half if is_centered else 100), top, left + 2 * half, top + 24)
        for n, tops in blocks.items()
        for top, half in zip(tops, (140, 120, 150, 90, 130), strict=False)
    ]
    rows = find_rows(samples(4), seen, [], SIZE)
    for row in rows:
        row.chances = {kind: {"interface": 0.55, "caption": 0.32}.get(kind, 0.03) for kind in KINDS}
    tracks = find_tracks(rows, SIZE)
    assert [(track.kind, track.is_doubtful) for track in tracks] == ([("caption", True)] if is_centered else [])
    assert sum(len(track.all_rows) for track in tracks) == (len(rows) if is_centered else 0)


def test_lines_without_a_common_place_have_a_mixed_anchor():
    seen = [detection(n, 20 + 120 * n, 100 + n, 90 + 140 * n, 126 + n) for n in range(4)]
    (track,) = find_tracks(judged(find_rows(samples(4), seen, [], SIZE)), SIZE)
    assert track.anchor is None
    region = track_of(track, SIZE, [], []).region
    assert region.left * SIZE[0] <= 20
    assert region.right * SIZE[0] >= 90 + 140 * 3


def test_text_of_another_size_close_to_captions_that_changes_at_other_times_is_none():
    seen = [detection(n, 200 - 9 * n, 320, 440 + 9 * n, 346) for n in range(6)]
    plates = [detection(n, 200 - 9 * n, 250, 440 + 9 * n, 300) for n in (1, 4)]
    rows = find_rows(samples(6), [*seen, *plates], [], SIZE)
    plate, captions = sorted(rows, key=lambda row: row.low)
    captions.texts = [replace(text, first_s=text.first_s + 0.3) for text in captions.texts]
    (track,) = (t for t in find_tracks(judged([plate, captions]), SIZE) if t.kind == "caption")
    assert track.rows == [captions]


def test_blocks_of_other_numbers_of_lines_are_one_track():
    """Two lines around a middle where other captions have one: rows half a line apart."""
    seen = [detection(n, 200 - 9 * n, 300, 440 + 9 * n, 326) for n in (0, 2, 4)]
    seen += [detection(n, 180, top, 460, top + 26) for n in (1, 3) for top in (286, 314)]
    (track,) = find_tracks(judged(find_rows(samples(5), seen, [], SIZE)), SIZE)
    region = track_of(track, SIZE, [], []).region
    assert region.top * SIZE[1] <= 287
    assert region.bottom * SIZE[1] >= 339


def test_more_texts_in_one_place_make_it_surer():
    def confidence(count: int) -> float:
        seen = [detection(n, 200 - 9 * n, 300, 440 + 9 * n, 326) for n in range(count)]
        (track,) = find_tracks(judged(find_rows(samples(count), seen, [], SIZE)), SIZE)
        return track.confidence

    assert confidence(1) < confidence(2) < confidence(3) <= 0.99


def still_samples(count: int, covered: dict[int, tuple[int, int, int, int]]) -> list[Sample]:
    """Return samples of one scene full of strokes; in some, others cover a part: ``left, top, right, bottom``."""
    rng = np.random.default_rng(1)
    scene = rng.integers(60, 200, (SIZE[1], SIZE[0]), dtype=np.uint8)
    blank = np.zeros((4, 4, 3), np.uint8)
    taken = []
    for number in range(count):
        picture = scene.copy()
        if number in covered:
            left, top, right, bottom = covered[number]
            text = rng.random((bottom - top, right - left)) < 0.12  # thin letters leave most of their box to the scene
            picture[top:bottom, left:right][text] = 240
        taken.append(Sample(2.0 * number, picture, picture, blank, static_scene=True))
    return taken


def test_a_caption_over_a_picture_that_does_not_move_is_no_fixture():
    taken = still_samples(8, {2: (200, 300, 440, 326), 5: (250, 300, 390, 326)})
    seen = [detection(2, 200, 300, 440, 326, still=0.5), detection(5, 250, 300, 390, 326, still=0.5)]
    assert find_staying(taken, seen) == []


def test_what_stays_over_a_picture_that_does_not_move_is_a_fixture():
    logo_seen = detection(1, 500, 20, 620, 44, still=0.5)
    assert find_staying(still_samples(8, {2: (200, 300, 440, 326)}), [logo_seen]) == [logo_seen]


def test_text_that_another_text_replaces_is_no_fixture():
    """Of two captions in four seconds, one took most of the time and was taken for a sign, with the other as part."""
    place, other_place = (112, 300, 524, 318), (166, 300, 474, 318)
    taken = still_samples(8, {7: other_place})
    first = [detection(number, *place, still=0.5) for number in range(7)]
    assert find_staying(taken, first) == first
    part = detection(6, *other_place, still=0.5)  # what the detector finds of the same text
    assert find_staying(taken, [*first, part]) == [*first, part]
    other = detection(7, *other_place, still=0.5)
    assert find_staying(taken, [*first, other]) == []


def test_texture_that_a_caption_runs_across_is_no_fixture():
    taken = still_samples(8, {2: (200, 300, 440, 326)})
    texture_seen, caption = detection(6, 330, 296, 600, 330, still=0.5), detection(2, 200, 300, 440, 326, still=0.5)
    assert find_staying(taken, [texture_seen]) == [texture_seen]
    assert find_staying(taken, [texture_seen, caption]) == []


def test_parts_of_centerd_lines_do_not_move_their_anchor():
    whole = [(160, 480), (190, 450), (175, 465)]
    parts = [(160, 240), (165, 250), (170, 260), (160, 230)]
    seen = [detection(n, left, 300, right, 326) for n, (left, right) in enumerate([*whole, *parts])]
    (row,) = find_rows(samples(7), seen, [], SIZE)
    assert anchor_of([row], SIZE[0]) == "center"


def test_tight_boxes_tell_where_a_row_is():
    seen = [detection(n, 200 - 9 * n, 290, 440 + 9 * n, 336) for n in range(3)]
    (row,) = find_rows(samples(4), seen, [], SIZE)
    assert row.height == pytest.approx(46)
    (row,) = find_rows(samples(4), [*seen, replace(detection(3, 180, 296, 460, 330), fine=True)], [], SIZE)
    assert isinstance(row, Row)
    assert (row.low, row.high) == pytest.approx((296, 330))


def test_boxes_of_two_heights_at_one_place_are_one_track():
    """A box on captions is found with them or without; the smaller boxes were taken for a name plate beside them."""
    low = [detection(number, 170 + 5 * number, 306, 470 - 5 * number, 350) for number in range(5)]
    high = [detection(number, 170 + 5 * number, 288, 470 - 5 * number, 358) for number in range(5, 8)]
    rows = find_rows(samples(8), [*low, *high], [], SIZE)
    judged(rows, "caption", "caption")
    usual = max(rows, key=lambda row: len(row.lines))
    usual.chances = {**usual.chances, "caption": 0.4, "lower_third": 0.3}
    (track,) = find_tracks(rows, SIZE)
    assert track.kind == "caption"
    (place,) = track_of(track, SIZE, [], []).lines
    assert place == pytest.approx((306 / 360, 350 / 360), abs=0.02)


def test_a_centered_track_with_a_line_elsewhere_is_of_mixed_alignment():
    """Text far from the anchor is text of the track where its region reaches over it: it was read as nothing."""
    lines = [(60, 340), (90, 310), (75, 325), (100, 300), (330, 560)]
    seen = [detection(number, left, 300, right, 326) for number, (left, right) in enumerate(lines)]
    rows = find_rows(samples(5), seen, [], SIZE)
    (found,) = find_tracks(judged(rows), SIZE)
    track = track_of(found, SIZE, [], [])
    assert track.anchor == "mixed"
    assert track.region.right >= 560 / 640


def test_the_anchor_of_a_track_is_known_where_the_frame_cuts_its_region():
    lines = [(10, 230), (30, 210), (20, 220), (5, 235)]
    seen = [detection(number, left, 300, right, 326) for number, (left, right) in enumerate(lines)]
    rows = find_rows(samples(4), seen, [], SIZE)
    (found,) = find_tracks(judged(rows), SIZE)
    track = track_of(found, SIZE, [], [])
    assert track.anchor == "center"
    assert track.anchor_position == pytest.approx(120 / 640, abs=0.01)
    assert (track.region.left + track.region.right) / 2 > 125 / 640  # not in the middle of the region


def test_numbers_of_lines_of_code_beside_captions_do_not_move_their_anchor():
    """Captions that roll up over code were lost: most were found in one with the number of a line, which begins it."""
    seen = [detection(n, 57, 300, 230 + 20 * n, 326) for n in range(6)]
    seen += [detection(n, 30, 300, 48, 326) for n in range(2, 6)]
    (found,) = find_tracks(judged(find_rows(samples(6), seen, [], SIZE)), SIZE)
    track = track_of(found, SIZE, [], [])
    assert track.anchor == "left"
    assert track.anchor_position == pytest.approx(57 / 640)
    assert track.region.left <= 30 / 640


def test_a_sign_that_passes_beside_words_one_at_a_time_does_not_hide_them():
    """A sign of the scene that moved was the longest text of most samples: the row of the words was dropped with it."""
    widths = (38, 89, 52, 96, 46, 31, 80, 66)
    seen = [detection(n, 320 - wide / 2, 160, 320 + wide / 2, 190, 0.5) for n, wide in enumerate(widths)]
    seen += [detection(n, 40 + 12 * n, 158, 150 + 12 * n, 188, 0.0) for n in (0, 2, 7)]
    seen += [detection(n, 95 + 12 * n, 158, 205 + 12 * n, 188, 0.5) for n in (5,)]
    (row,) = find_rows(samples(8), seen, [], SIZE)
    assert not row.is_moving
    (found,) = find_tracks(judged([row]), SIZE)
    track = track_of(found, SIZE, [], [])
    assert (track.anchor, track.anchor_position) == ("center", pytest.approx(0.5))
    passing = [detection(n, 40 + 12 * n, 158, 150 + 12 * n, 188, 0.0) for n in range(8)]
    (sign,) = find_rows(samples(8), passing, [], SIZE)
    assert sign.is_moving
