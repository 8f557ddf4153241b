"""The times of highlighted words, measured in frames that the test draws over a moving picture."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from captionacc_dagster.captioning.extents.highlights import Span, WordLooks, highlighted_spans
from captionacc_dagster.captioning.extents.words import ReadWord

LINE_PX = 33.0
SIZE = (420, 110)
WORDS = ("When", "I", "was", "little")
ONSETS = (0, 8, 12, 21, 33)  # of the words, and the end
FIRST = 100  # number of the first frame
Draw = Callable[[ImageDraw.ImageDraw, tuple[int, int, int, int], str], None]


def font(size: int = 24) -> ImageFont.FreeTypeFont:
    loaded = ImageFont.load_default(size)
    assert isinstance(loaded, ImageFont.FreeTypeFont)
    return loaded


def places(words: Sequence[str], per_line: int = 9) -> list[tuple[int, int, int, int]]:
    """Return the box of each word, pixels of the ROI."""
    boxes = []
    for number, word in enumerate(words):
        line = number // per_line
        left = 40 + sum(round(font().getlength(other)) + 8 for other in words[line * per_line : number])
        top = 30 + 32 * line
        boxes.append((left, top, left + round(font().getlength(word)), top + 22))
    return boxes


def plain(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], word: str) -> None:
    draw.text((box[0], box[1] - 4), word, 255, font(), stroke_width=2, stroke_fill=0)


def colored(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], word: str) -> None:
    draw.text((box[0], box[1] - 4), word, 190, font(), stroke_width=2, stroke_fill=0)


def boxed(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], word: str) -> None:
    draw.rectangle((box[0] - 3, box[1] - 3, box[2] + 3, box[3] + 6), fill=210)
    plain(draw, box, word)


def underlined(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], word: str) -> None:
    plain(draw, box, word)
    draw.rectangle((box[0], box[3] + 4, box[2], box[3] + 6), fill=230)


def larger(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], word: str) -> None:
    draw.text((box[0] - 2, box[1] - 7), word, 255, font(29), stroke_width=2, stroke_fill=0)


def frames(
    lit: Sequence[Span | None], draw: Draw, *, cut: int | None = None, per_line: int = 9, words: Sequence[str] = WORDS
) -> tuple[list[NDArray[np.uint8]], NDArray[np.bool_]]:
    """Return the ROIs of a caption over a picture that pans, and the strokes of its plain letters."""
    rng = np.random.default_rng(5)
    scenes = [Image.fromarray(rng.integers(20, 200, (12, 60), np.uint8)).resize((900, 160)) for _ in range(2)]
    boxes, rois = places(words, per_line), []
    for at in range(ONSETS[-1]):
        scene = scenes[cut is not None and at >= cut]
        roi = scene.crop((2 * at, 20, 2 * at + SIZE[0], 20 + SIZE[1]))
        canvas = ImageDraw.Draw(roi)
        for box, word, span in zip(boxes, words, lit, strict=True):
            (draw if span and span[0] <= at < span[1] else plain)(canvas, box, word)
        rois.append(np.asarray(roi))
    mask = Image.new("L", SIZE)
    for box, word in zip(boxes, words, strict=True):
        ImageDraw.Draw(mask).text((box[0], box[1] - 4), word, 255, font())
    return rois, np.asarray(mask) > 128


def spans(
    rois: Sequence[NDArray[np.uint8]], strokes: NDArray[np.bool_], per_line: int = 9, words: Sequence[str] = WORDS
) -> list[Span | None] | None:
    """Return what is found in the ROIs, from the first frame on."""
    half = SIZE[0] // 2, SIZE[1] // 2
    small = [np.asarray(Image.fromarray(roi).resize(half, Image.Resampling.BOX)) for roi in rois]
    small_rois = [(FIRST + at, roi) for at, roi in enumerate(small)]
    read = [ReadWord(word, box) for word, box in zip(words, places(words, per_line), strict=True)]
    found = highlighted_spans(WordLooks.of(read, small_rois, strokes, LINE_PX), FIRST + len(rois))
    return found and [span and (span[0] - FIRST, span[1] - FIRST) for span in found]


EACH = list(itertools.pairwise(ONSETS))


@pytest.mark.parametrize("draw", [colored, boxed, underlined, larger])
def test_a_highlight_is_timed_to_the_frame_whatever_it_looks_like(draw: Draw):
    assert spans(*frames(EACH, draw)) == EACH


@pytest.mark.parametrize("draw", [boxed, underlined])
def test_a_line_below_words_is_none_of_the_next_line(draw: Draw):
    assert spans(*frames(EACH, draw, per_line=2), per_line=2) == EACH


def test_a_cut_behind_a_highlight_is_none_of_it():
    assert spans(*frames(EACH, boxed, cut=16)) == EACH


def test_two_words_of_which_one_after_the_other_is_highlighted():
    lit = [(0, 14), (14, 33)]
    assert spans(*frames(lit, boxed, words=WORDS[2:]), words=WORDS[2:]) == lit


def test_a_highlight_may_begin_late_and_end_early():
    lit = [(5, 8), *EACH[1:3], (21, 28)]
    assert spans(*frames(lit, boxed)) == lit


@pytest.mark.parametrize("cut", [None, 16])
def test_words_that_are_not_highlighted_have_no_times(cut: int | None):
    assert spans(*frames([None] * 4, boxed, cut=cut)) is None


def test_one_word_alone_that_changes_its_look_is_no_highlight():
    assert spans(*frames([None, (8, 20), None, None], boxed)) is None
    assert spans(*frames([None, (8, 20)], boxed, words=WORDS[2:]), words=WORDS[2:]) is None


def test_a_flicker_of_a_single_frame_is_no_highlight():
    assert spans(*frames([(0, 8), (8, 9), (9, 10), (10, 11)], boxed)) is None


def test_a_color_sweeps_through_the_words():
    rois, strokes = frames([None] * 4, boxed)
    boxes, swept = places(WORDS), []
    for at, roi in enumerate(rois):
        lit = roi.copy()
        edge = round(boxes[0][0] + (boxes[-1][2] - boxes[0][0]) * (at + 1) / len(rois))
        lit[:, :edge][strokes[:, :edge]] = 150
        swept.append(lit)
    found = spans(swept, strokes)
    width = boxes[-1][2] - boxes[0][0]
    assert found is not None
    for span, box in zip(found, boxes, strict=True):
        assert span is not None
        assert abs(span[0] - (box[0] - boxes[0][0]) / width * len(rois)) <= 2


def looks(strokes: NDArray[np.float32], *, is_unspaced: bool) -> WordLooks:
    """Return words of equal width, by the gray levels of their strokes, ``(words, frames)``, and nothing else."""
    count, frames = strokes.shape
    bands = np.zeros((10, count, frames), np.float32)
    return WordLooks(list(range(frames)), strokes, bands, bands[:, :2], np.zeros(count, int), is_unspaced)


def test_characters_are_highlighted_in_runs():
    lit = [(0, 8), (0, 8), (8, 20), (8, 20), (8, 20), (20, 30)]
    strokes = np.full((6, 30), 240, np.float32)
    for character, (start, end) in enumerate(lit):
        strokes[character, start:end] = 180
    assert highlighted_spans(looks(strokes, is_unspaced=True), 30) == lit


def test_a_drift_too_faint_to_see_is_no_sweep():
    def swept(levels: float) -> list[Span | None] | None:
        passed = np.clip(np.arange(40)[None] / 10 - np.arange(4)[:, None], 0, 1)
        return highlighted_spans(looks((240 - levels * passed).astype(np.float32), is_unspaced=False), 40)

    assert swept(60) is not None
    assert swept(12) is not None
    assert swept(6) is None


def test_a_color_sweeps_through_words_of_thick_and_thin_strokes():
    """White and yellow differ by twelve levels; so do the means of the strokes of thick and thin words."""
    own = np.array([240, 224, 238, 236, 230, 226], np.float32)
    passed = np.clip(np.arange(48)[None] / 8 - np.arange(6)[:, None], 0, 1)
    found = highlighted_spans(looks((own[:, None] - 12 * passed).astype(np.float32), is_unspaced=False), 48)
    assert found is not None
    assert all(span is not None and abs(span[0] - 8 * word) <= 2 for word, span in enumerate(found))


def test_a_sweep_is_timed_across_a_cut_and_a_pause():
    """All words became darker where the camera cut, so that no frame fitted a sweep at one pace through all of them."""
    onsets, ends = [0, 10, 24, 34], [10, 18, 34, 44]
    at = np.arange(1, 51)
    passed = np.clip([(at - on) / (end - on) for on, end in zip(onsets, ends, strict=True)], 0, 1)
    levels = np.array([200, 170, 190, 180])[:, None] - 14 * passed - 3 * (at > 30)
    found = highlighted_spans(looks(levels.astype(np.float32), is_unspaced=False), 50)
    assert found is not None
    assert [span and span[0] for span in found] == pytest.approx(onsets, abs=1)


def test_a_sweep_that_the_end_of_the_caption_cuts_off_times_the_words_that_it_reached():
    passed = np.clip((np.arange(1, 31)[None] - 12 * np.arange(6)[:, None]) / 12, 0, 1)
    found = highlighted_spans(looks((220 - 40 * passed).astype(np.float32), is_unspaced=False), 30)
    assert found is not None
    assert [span and span[0] for span in found] == [0, 12, 24, None, None, None]


def test_a_highlight_that_reaches_over_its_neighbor_does_not_light_both():
    """The box of the second character reached over the first one, which seemed to be lit with it."""
    lit = [(0, 6), (6, 12), (12, 18), (18, 24)]
    strokes = np.full((4, 24), 240, np.float32)
    for character, (start, end) in enumerate(lit):
        strokes[character, start:end] = 180
        if character:
            strokes[character - 1, start:end] -= 9
    assert highlighted_spans(looks(strokes, is_unspaced=True), 24) == lit


def test_what_jumps_across_the_way_of_a_highlight_is_none():
    """A cut behind some of the words of a caption looked like a highlight of all of them."""
    lit = [(0, 10), (10, 20), (20, 30), (30, 40), (40, 50)]
    found = looks(np.full((5, 50), 240, np.float32), is_unspaced=True)
    for character, (start, end) in enumerate(lit):
        found.strokes[character, start:end] = 180
    found.bands[4:8, 2:, 26:] = 60.0
    assert highlighted_spans(found, 50) == lit


def test_a_sweep_is_timed_beside_a_letter_too_thin_to_fill_a_pixel():
    """The "I" of karaoke filled no pixel of a frame of half the size, and no word got a time."""
    strokes = np.zeros((60, 200), bool)
    strokes[20:40, 21] = strokes[20:40, 40:90] = strokes[20:40, 110:180] = True
    words = [ReadWord("I", (20, 20, 23, 40)), ReadWord("know", (40, 20, 90, 40)), ReadWord("them", (110, 20, 180, 40))]
    half = [Image.fromarray(np.where(strokes, 230, 60).astype(np.uint8)) for _ in range(30)]
    rois = []
    for at, picture in enumerate(half):
        roi = np.array(picture)
        edge = int(np.interp(at, [0, 4, 15, 29], [20, 23, 90, 180]))
        roi[:, :edge] = np.where(strokes[:, :edge], 150, roi[:, :edge])
        rois.append((at, np.asarray(Image.fromarray(roi).resize((100, 30), Image.Resampling.BOX))))
    found = highlighted_spans(WordLooks.of(words, rois, strokes, LINE_PX), 30)
    assert found is not None
    assert [span and span[0] for span in found] == pytest.approx([2, 7, 18], abs=2)


def test_a_word_that_is_sung_from_the_first_frame_on_hides_no_other():
    """The first word had the color of sung words from the start: no word of most captions of karaoke got a time."""
    onsets = [0, 12, 20, 31]
    sung = np.arange(50) >= np.array(onsets)[:, None]
    found = highlighted_spans(looks(np.where(sung, 140, 190).astype(np.float32), is_unspaced=False), 50)
    assert found is not None
    assert [span and span[0] for span in found] == onsets
    assert found[1:3] == [(12, 20), (20, 31)]


def test_a_sweep_is_timed_in_a_caption_that_fades():
    onsets = np.array([12, 21, 26, 37])
    at = np.arange(60)
    opacity = np.clip(np.minimum((at + 1) / 4, (60 - at) / 4), 0.0, 1.0)
    levels = 60 + (np.where(at >= onsets[:, None], 115, 137) - 60) * opacity
    found = highlighted_spans(looks(levels.astype(np.float32), is_unspaced=False), 60)
    assert found is not None
    assert [span and span[0] for span in found] == list(onsets)


def test_a_mark_that_is_no_word_hides_no_sweep():
    """A note that was read in the picture before the second line of karaoke kept its color."""
    onsets = np.array([4, 12, 99, 20, 31])
    sung = np.arange(50) >= onsets[:, None]
    found = highlighted_spans(looks(np.where(sung, 140, 190).astype(np.float32), is_unspaced=True), 50)
    assert found is not None
    assert [span and span[0] for span in found] == [4, 12, None, 20, 31]


def test_a_highlight_is_timed_by_strokes_where_the_picture_behind_jumps():
    """Over footage that jumped behind the words, not one of fourteen words that lit up one by one got its time."""
    rng = np.random.default_rng(3)
    lit = [(6 * word, 6 * word + 6) for word in range(6)]
    strokes = np.full((6, 36), 240, np.float32)
    for word, (start, end) in enumerate(lit):
        strokes[word, start:end] = 150
    found = looks(strokes, is_unspaced=False)
    found.bands[:] = rng.choice([60, 60, 60, 160], found.bands.shape)
    assert highlighted_spans(found, 36) == lit


def test_a_sweep_is_timed_through_characters_of_few_thin_strokes():
    """In letters with serifs, the strokes of a simple character change by a third of what those of others do."""
    steps = np.array([120, 110, 38, 125, 115])
    passed = np.clip((np.arange(1, 53)[None] - 10 * np.arange(5)[:, None]) / 10, 0, 1)
    found = highlighted_spans(looks((220 - steps[:, None] * passed).astype(np.float32), is_unspaced=True), 52)
    assert found is not None
    assert [span and span[0] for span in found] == pytest.approx([0, 10, 20, 30, 40], abs=1)


def test_a_sweep_is_timed_where_words_fade_to_and_from_other_levels():
    """Over a picture, one word becomes brighter while it fades in and another one darker."""
    onsets = np.array([12, 21, 26, 37])
    at = np.arange(60)
    opacity = np.clip(np.minimum((at + 1) / 4, (60 - at) / 4), 0.0, 1.0)
    behind = np.array([[40], [230], [60], [220]])
    levels = behind + (np.where(at >= onsets[:, None], 115, 137) - behind) * opacity
    found = highlighted_spans(looks(levels.astype(np.float32), is_unspaced=False), 60)
    assert found is not None
    assert [span and span[0] for span in found] == list(onsets)
