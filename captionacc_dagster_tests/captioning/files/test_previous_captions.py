"""The captions from before the last processing, kept inside captions.db."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from captionacc_dagster.captioning.captions import Caption
from captionacc_dagster.captioning.files.caption_edits import edit_captions
from captionacc_dagster.captioning.files.captions_database import (
    OcrUpdate,
    loses_captions,
    merge_captions,
    read_captions,
    write_ocr_updates,
)
from captionacc_dagster.captioning.files.databases import DatabaseError, decompress
from captionacc_dagster.captioning.files.previous_captions import NothingKept, bring_back, has_before, keep_before
from captionacc_dagster.captioning.geometry import BBox

pytestmark = pytest.mark.unit

RATE = 10.0


def _made(path: Path, texts: dict[int, str], previous: Path | None = None) -> Path:
    """Captions of a second each, by the second they begin at, read by the machine."""
    box = BBox(0.3, 0.8, 0.7, 0.9)
    found = [
        Caption(
            start_s=s, end_s=s + 1, start_frame=25 * s, end_frame=25 * s + 25, text="", confidence=0.0, bbox=box,
            track="bottom",
        )
        for s in texts
    ]  # fmt: skip
    merge_captions(path, found, RATE, previous)
    rows = [row for row in read_captions(path) if row.caption_ocr_status == "queued"]
    write_ocr_updates(path, [OcrUpdate(row.id, texts[row.start_ms // 1000], 0.9) for row in rows])
    return path


def _texts(path: Path) -> list[str]:
    return [row.shown_text for row in read_captions(path)]


def test_each_swap_undoes_the_one_before(tmp_path: Path) -> None:
    before = _made(tmp_path / "before.db", {1: "one", 2: "two"})
    with edit_captions(before, RATE) as editor:
        editor.correct(2, text="Two!")
    path = _made(tmp_path / "captions.db", {5: "five"}, before)
    kept, found = read_captions(before), read_captions(path)
    assert not has_before(path)
    keep_before(path, before)
    sizes = []
    for _ in range(3):
        assert has_before(path)
        bring_back(path)
        assert read_captions(path) == kept
        bring_back(path)
        assert read_captions(path) == found
        sizes.append(path.stat().st_size)
    assert sizes == sizes[:1] * 3, "what is kept does not keep what was kept before it"


def test_what_is_kept_is_replaced_and_does_not_pile_up(tmp_path: Path) -> None:
    versions = [_made(tmp_path / "0.db", {0: "found 0"})]
    for number in range(1, 6):
        versions.append(_made(tmp_path / f"{number}.db", {number: f"found {number}"}, versions[-1]))
        keep_before(versions[-1], versions[-2])
    assert versions[-1].stat().st_size == versions[1].stat().st_size
    bring_back(versions[-1])
    assert _texts(versions[-1]) == ["found 4"]


def test_a_later_processing_that_removes_nothing_leaves_what_is_kept(tmp_path: Path) -> None:
    first = _made(tmp_path / "first.db", {1: "one"})
    second = _made(tmp_path / "second.db", {5: "five"}, first)
    keep_before(second, first)
    third = _made(tmp_path / "third.db", {5: "five"}, second)
    bring_back(third)
    assert _texts(third) == ["one"]


@pytest.mark.parametrize(
    ("texts", "loses"),
    [
        ({1: "one", 2: "two"}, False),
        ({1: "one", 2: "two", 5: "five"}, False),
        ({1: "one"}, True),
        ({1: "one", 2: "other"}, True),
        ({1: "one", 3: "two"}, True),
        ({}, True),
    ],
)
def test_captions_count_as_lost_by_times_and_text(tmp_path: Path, texts: dict[int, str], loses: bool) -> None:
    previous = _made(tmp_path / "previous.db", {1: "one", 2: "two"})
    assert loses_captions(_made(tmp_path / "captions.db", texts, previous), previous) is loses


def test_captions_that_were_never_read_are_no_loss(tmp_path: Path) -> None:
    previous = _made(tmp_path / "previous.db", {1: "", 2: ""})
    unread = read_captions(previous)
    assert loses_captions(_made(tmp_path / "none.db", {}, previous), previous), "read, and without text"
    write_ocr_updates(previous, [OcrUpdate(row.id, "", 0.0, "the quota is used up") for row in unread])
    assert not loses_captions(_made(tmp_path / "captions.db", {1: "one"}, previous), previous)


def test_nothing_kept_is_said_and_changes_nothing(tmp_path: Path) -> None:
    path = _made(tmp_path / "captions.db", {1: "one"})
    data = path.read_bytes()
    with pytest.raises(NothingKept, match="there are no earlier captions to bring back"):
        bring_back(path)
    assert path.read_bytes() == data
    (tmp_path / "other.db").write_bytes(b"not a database")
    with pytest.raises(DatabaseError):
        bring_back(tmp_path / "other.db")


@pytest.mark.parametrize("version", [1, 2])
def test_captions_of_older_versions_are_kept_and_brought_back(tmp_path: Path, version: int) -> None:
    old = decompress(Path(__file__).with_name(f"schema_{version}") / "captions.db.gz", tmp_path / "old.db")
    data, rows = old.read_bytes(), read_captions(old)
    path = _made(tmp_path / "captions.db", {50: "fifty"})
    keep_before(path, old)
    assert old.read_bytes() == data
    bring_back(path)
    assert read_captions(path) == rows
    shutil.copyfile(old, path)
    assert not has_before(path)
