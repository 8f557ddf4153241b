"""People's edits of captions.db, and that the machine respects them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from captionacc_dagster.captioning.captions import Caption, Word
from captionacc_dagster.captioning.files.caption_edits import (
    CaptionEditor,
    CaptionNotFound,
    InvalidEdit,
    edit_captions,
    replaced_text,
)
from captionacc_dagster.captioning.files.captions_database import (
    OcrUpdate,
    StoredCaption,
    merge_captions,
    read_captions,
    to_captions,
    write_ocr_updates,
)
from captionacc_dagster.captioning.files.databases import SCHEMA_VERSION, DatabaseError, decompress
from captionacc_dagster.captioning.files.edit_journal import CannotUndo, Steps, read_steps
from captionacc_dagster.captioning.geometry import BBox

pytestmark = pytest.mark.unit

RATE = 10.0
DURATION_MS = 60_000


def _found(start_s: float, end_s: float, track: str = "bottom", left: float = 0.3) -> Caption:
    return Caption(
        start_s=start_s,
        end_s=end_s,
        start_frame=round(start_s * 25),
        end_frame=round(end_s * 25),
        text="",
        confidence=0.0,
        bbox=BBox(left, 0.8, 0.7, 0.9),
        track=track,
    )


FOUND = [_found(1, 2), _found(2, 3, left=0.2), _found(5, 6), _found(5, 6, "top")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Four captions, read by the machine."""
    path = tmp_path / "captions.db"
    merge_captions(path, FOUND, RATE)
    write_ocr_updates(path, [OcrUpdate(row.id, f"text {row.id}", 0.9) for row in read_captions(path)])
    return path


def by_id(path: Path) -> dict[int, StoredCaption]:
    return {row.id: row for row in read_captions(path)}


def test_confirmed_captions_survive_the_machine(path: Path, tmp_path: Path) -> None:
    with edit_captions(path, RATE) as editor:
        confirmed = editor.confirm([1, 3, 1])
        assert editor.to_read == []

    assert [(row.id, row.caption_frame_extents_state) for row in confirmed] == [(1, "confirmed"), (3, "confirmed")]
    again = tmp_path / "again.db"
    merge_captions(again, [_found(1.1, 2.1), _found(2.1, 3.1)], RATE, previous=path)
    rows = read_captions(again)
    assert [(row.start_ms, row.end_ms) for row in rows if row.caption_frame_extents_state == "confirmed"] == [
        (1000, 2000),
        (5000, 6000),
    ]
    assert (2100, 3100) in [(row.start_ms, row.end_ms) for row in rows]


@pytest.mark.parametrize(
    ("track", "found", "kept"),
    [
        ("bottom", ["bottom-left", "bottom-right"], ["bottom"]),
        ("bottom-left", ["bottom"], ["bottom-left"]),
        ("bottom-left", ["bottom-left", "bottom-right"], ["bottom-left", "bottom-right"]),
        ("bottom", ["bottom-2"], ["bottom", "bottom-2"]),
    ],
)
def test_what_two_people_say_is_not_added_to_the_persons_row_of_both(
    tmp_path: Path, track: str, found: list[str], kept: list[str]
) -> None:
    before, again = tmp_path / "captions.db", tmp_path / "again.db"
    merge_captions(before, [_found(1, 2, track)], RATE)
    with edit_captions(before, RATE) as editor:
        editor.confirm([1])
    merge_captions(again, [_found(1, 2, name) for name in found], RATE, previous=before)
    assert [row.track for row in read_captions(again)] == kept


def test_a_corrected_text_is_shown_and_needs_no_reading(path: Path) -> None:
    with edit_captions(path, RATE) as editor:
        editor.correct(1, text="Two\nlines", text_notes="checked")
        assert editor.to_read == []

    row = by_id(path)[1]
    assert (row.shown_text, row.caption_ocr, row.text_notes) == ("Two\nlines", "text 1", "checked")
    assert row.caption_frame_extents_state == "confirmed"
    assert by_id(path)[2].text is None


def test_a_text_taken_back_leaves_what_the_machine_read(path: Path) -> None:
    with edit_captions(path, RATE) as editor:
        editor.correct(1, text="typed")
        editor.correct(1, text=None)

    assert by_id(path)[1].shown_text == "text 1"


def test_corrected_times_are_read_anew(path: Path) -> None:
    with edit_captions(path, RATE, DURATION_MS) as editor:
        editor.correct(1, start_ms=950, end_ms=1810)
        assert editor.to_read == [1]
        assert not editor.text_pending

    row = by_id(path)[1]
    assert (row.start_ms, row.end_ms, row.start_frame_index, row.end_frame_index) == (950, 1810, 10, 19)
    assert (row.caption_ocr, row.caption_ocr_status) == ("text 1", "queued")
    assert row.native_start_frame is None


def test_corrected_times_of_a_typed_text_wait_for_a_look(path: Path) -> None:
    with edit_captions(path, RATE) as editor:
        editor.correct(1, text="typed")
        editor.correct(1, end_ms=1900)
        assert editor.to_read == []
        assert editor.text_pending
        editor.confirm([1])
        assert not editor.text_pending

    assert by_id(path)[1].text == "typed"


def test_a_state_alone_changes_nothing_else(path: Path) -> None:
    before = by_id(path)[1]
    with edit_captions(path, RATE) as editor:
        editor.correct(1, state="issue", text_status="unclear")
        assert editor.to_read == []

    after = by_id(path)[1]
    assert (after.caption_frame_extents_state, after.text_status) == ("issue", "unclear")
    assert (after.start_ms, after.end_ms, after.caption_ocr) == (before.start_ms, before.end_ms, before.caption_ocr)


def test_a_split_touches_and_keeps_its_place(path: Path) -> None:
    with edit_captions(path, RATE) as editor:
        first, second = editor.split(2, 2400)
        assert editor.to_read == [first.id, second.id]

    rows = by_id(path)
    assert (rows[2].start_ms, rows[2].end_ms) == (2000, 2400)
    assert (rows[second.id].start_ms, rows[second.id].end_ms) == (2400, 3000)
    assert rows[second.id].bbox == rows[2].bbox
    assert rows[second.id].track == "bottom"


def test_a_split_with_texts_needs_no_reading(path: Path) -> None:
    with edit_captions(path, RATE) as editor:
        editor.split(2, 2400, ("first", "second"))
        assert editor.to_read == []

    assert [row.shown_text for row in read_captions(path)][:3] == ["text 1", "first", "second"]


def test_merged_captions_are_one_around_all(path: Path) -> None:
    with edit_captions(path, RATE) as editor:
        merged = editor.merge([2, 1], "both")
        assert editor.to_read == []

    rows = by_id(path)
    assert sorted(rows) == [1, 3, 4]
    assert (merged.id, merged.start_ms, merged.end_ms, merged.text) == (1, 1000, 3000, "both")
    assert merged.bbox == BBox(0.2, 0.8, 0.7, 0.9)


def test_merged_captions_without_a_text_are_read_anew(path: Path) -> None:
    with edit_captions(path, RATE) as editor:
        editor.correct(1, text="one")
        editor.correct(2, text="two")
        editor.merge([1, 2])
        assert editor.to_read == [1]


def test_merged_captions_that_say_the_same_keep_it(path: Path) -> None:
    with edit_captions(path, RATE) as editor:
        editor.correct(1, text="same")
        editor.correct(2, text="same")
        assert editor.merge([1, 2]).text == "same"
        assert editor.to_read == []


def test_a_deleted_caption_is_seen_no_more_and_not_found_again(path: Path, tmp_path: Path) -> None:
    with edit_captions(path, RATE) as editor:
        editor.delete(1)
        editor.delete(1)
        assert editor.to_read == []

    again = tmp_path / "again.db"
    merge_captions(again, FOUND, RATE, previous=path)
    write_ocr_updates(again, [OcrUpdate(row.id, "read", 0.9) for row in read_captions(again)])
    assert [caption.start_ms for caption in to_captions(read_captions(again), 25.0)] == [2000, 5000, 5000]


def test_an_added_caption_is_the_persons(path: Path, tmp_path: Path) -> None:
    with edit_captions(path, RATE, DURATION_MS) as editor:
        typed, unread = editor.add(10_000, 11_000, "added"), editor.add(12_000, 13_000)
        assert editor.to_read == [unread.id]

    again = tmp_path / "again.db"
    merge_captions(again, FOUND, RATE, previous=path)
    assert {typed.id, unread.id} <= set(by_id(again))


@pytest.mark.parametrize(
    ("start_ms", "end_ms"),
    [(-1, 5), (5, 5), (6, 5), (DURATION_MS, DURATION_MS + 10), (0, DURATION_MS + 1001)],
)
def test_impossible_times_are_refused(path: Path, start_ms: int, end_ms: int) -> None:
    with edit_captions(path, RATE, DURATION_MS) as editor:
        with pytest.raises(InvalidEdit):
            editor.add(start_ms, end_ms)
        with pytest.raises(InvalidEdit):
            editor.correct(1, start_ms=start_ms, end_ms=end_ms)


@pytest.mark.parametrize("at_ms", [1000, 2000, 999, 2001, -5])
def test_a_split_outside_is_refused(path: Path, at_ms: int) -> None:
    with edit_captions(path, RATE) as editor, pytest.raises(InvalidEdit):
        editor.split(1, at_ms)


@pytest.mark.parametrize("caption_ids", [[1], [1, 1], [3, 4]])
def test_what_is_not_one_caption_is_not_merged(path: Path, caption_ids: list[int]) -> None:
    with edit_captions(path, RATE) as editor, pytest.raises(InvalidEdit):
        editor.merge(caption_ids)


@pytest.mark.parametrize("number", [0, 99, -1, 1 << 63, 1 << 70])
def test_an_unknown_caption_is_named(path: Path, number: int) -> None:
    with edit_captions(path, RATE) as editor:
        for edit in (
            lambda: editor.confirm([1, number]),
            lambda: editor.correct(number, text="a"),
            lambda: editor.split(number, 5),
            lambda: editor.merge([1, number]),
            lambda: editor.delete(number),
        ):
            with pytest.raises(CaptionNotFound, match=str(number)):
                edit()

    assert all(row.caption_frame_extents_state == "predicted" for row in read_captions(path))


def test_an_empty_text_is_refused(path: Path) -> None:
    with edit_captions(path, RATE) as editor, pytest.raises(InvalidEdit):
        editor.correct(1, text=" \n")


def test_an_error_leaves_the_file_as_it_was(path: Path) -> None:
    before = read_captions(path)

    with pytest.raises(CaptionNotFound), edit_captions(path, RATE) as editor:
        editor.delete(1)
        editor.delete(99)

    assert read_captions(path) == before


def test_another_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "captions.db"
    other.write_text("no database")

    with pytest.raises(DatabaseError), edit_captions(other, RATE):
        pass


def _word(text: str, start_s: float) -> Word:
    return Word(text=text, start_s=start_s, end_s=6, bbox=BBox(0.3, 0.8, 0.4, 0.9))


def test_words_follow_their_caption_through_a_split_and_a_merge(tmp_path: Path) -> None:
    path = tmp_path / "captions.db"
    words = (_word("one", 1), _word("by", 2), _word("one", 3.5))
    merge_captions(path, [replace(_found(1, 6), text="one by one", kind="title", lang="en", words=words)], RATE)

    with edit_captions(path, RATE) as editor:
        first, second = editor.split(1, 3000)
        assert [word.text for word in first.words] == ["one", "by"]
        assert [word.text for word in second.words] == ["one"]
        assert (second.kind, second.lang) == ("title", "en")
        assert editor.merge([first.id, second.id]).words == words


def test_an_edit_that_fails_leaves_an_old_database_as_it_was(tmp_path: Path) -> None:
    path = decompress(Path(__file__).with_name("schema_1") / "captions.db.gz", tmp_path / "captions.db")
    before = path.read_bytes()

    with pytest.raises(InvalidEdit), edit_captions(path, RATE) as editor:
        editor.correct(1, text="typed")
        editor.merge([1])

    assert path.read_bytes() == before
    with edit_captions(path, RATE) as editor:
        editor.correct(1, text="typed")
    assert [row.shown_text for row in read_captions(path)] == ["typed", "Two\nlines", ""]
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT schema_version FROM database_metadata").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("SELECT kind, words FROM captions WHERE id = 1").fetchone() == ("caption", "[]")


def test_a_boundary_that_stays_keeps_its_native_frame(path: Path) -> None:
    with edit_captions(path, RATE, DURATION_MS, native_frame=lambda ms: ms // 40) as editor:
        row = editor.correct(1, end_ms=2080)
        assert (row.native_start_frame, row.native_end_frame) == (25, 52)
        first, second = editor.split(1, 1520)
        assert (first.native_start_frame, first.native_end_frame) == (25, 38)
        assert (second.native_start_frame, second.native_end_frame) == (38, 52)


def test_a_split_divides_the_text_and_nothing_is_blank_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "captions.db"
    merge_captions(path, [_found(0, 4), _found(10, 14), _found(20, 24)], RATE)
    write_ocr_updates(path, [OcrUpdate(1, "One two three four.", 0.9), OcrUpdate(2, "你好世界", 0.9)])
    with edit_captions(path, RATE) as editor:
        assert [row.shown_text for row in editor.split(1, 1900)] == ["One two", "three four."]
        assert editor.to_read == [1, 4]
        assert [row.shown_text for row in editor.split(2, 12_000)] == ["你好", "世界"]
        editor.correct(3, text="typed words")
        typed = editor.split(3, 22_000)
        assert [(row.text, row.text_pending) for row in typed] == [("typed", True), ("words", True)]
        assert editor.merge([row.id for row in typed]).shown_text == "typed words"


def test_every_edit_is_undone_and_redone(path: Path) -> None:
    def facts() -> list[tuple[int, int, int, str, str]]:
        rows = read_captions(path)
        return [
            (row.id, row.start_ms, row.end_ms, row.shown_text, row.caption_frame_extents_state)
            for row in rows
            if row.caption_frame_extents_state != "gap"
        ]

    edits: list[Callable[[CaptionEditor], object]] = [
        lambda editor: editor.correct(1, text="typed"),
        lambda editor: editor.correct(1, start_ms=900),
        lambda editor: editor.confirm(),
        lambda editor: editor.split(1, 1500),
        lambda editor: editor.merge([1, 2]),
        lambda editor: editor.add(9000, 9500, "added"),
        lambda editor: editor.delete(3),
        lambda editor: editor.replace({4: "other"}),
    ]
    seen = [facts()]
    for edit in edits:
        with edit_captions(path, RATE, user_id="a") as editor:
            edit(editor)
        seen.append(facts())
        assert seen[-1] != seen[-2]
    assert read_steps(path, "a") == Steps("the replacement", None)
    assert read_steps(path, "b") == Steps(None, None)
    for expected in reversed(seen[:-1]):
        with edit_captions(path, RATE, user_id="a") as editor:
            editor.undo()
        assert facts() == expected
    with edit_captions(path, RATE, user_id="a") as editor, pytest.raises(CannotUndo):
        editor.undo()
    for expected in seen[1:]:
        with edit_captions(path, RATE, user_id="a") as editor:
            editor.undo("redo")
        assert facts() == expected


def test_undo_overwrites_nobody(path: Path) -> None:
    with edit_captions(path, RATE, user_id="a") as editor:
        editor.correct(1, text="mine")
    with edit_captions(path, RATE, user_id="b") as editor:
        editor.correct(1, text="theirs")
    with edit_captions(path, RATE, user_id="a") as editor, pytest.raises(CannotUndo, match="caption 1 was changed"):
        editor.undo()
    assert by_id(path)[1].text == "theirs"


def test_a_new_edit_ends_what_can_be_redone(path: Path) -> None:
    for edit in ("one", "two"):
        with edit_captions(path, RATE, user_id="a") as editor:
            editor.correct(1, text=edit)
    with edit_captions(path, RATE, user_id="a") as editor:
        editor.undo()
    assert read_steps(path, "a") == Steps("the text", "the text")
    with edit_captions(path, RATE, user_id="a") as editor:
        editor.delete(2)
    assert read_steps(path, "a") == Steps("the deletion", None)


@pytest.mark.parametrize(
    ("search", "options", "expected"),
    [
        ("cat", {}, "dog, condog dog"),
        ("cat", {"whole_word": True}, "dog, concat dog"),
        ("Cat", {"match_case": True}, "cat, concat dog"),
        ("c.t", {}, "cat, concat Cat"),
    ],
)
def test_text_is_replaced_literally(search: str, options: dict[str, bool], expected: str) -> None:
    given = {"match_case": False, "whole_word": False, **options}
    assert replaced_text("cat, concat Cat", search, "dog", **given) == expected
    assert replaced_text("a", "a", r"\1", match_case=False, whole_word=False) == r"\1"
