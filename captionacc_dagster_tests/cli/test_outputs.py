"""Subtitle files are written without replacing what the program did not write."""

from __future__ import annotations

from pathlib import Path

import pytest

from captionacc_dagster.cli.errors import ProcessError
from captionacc_dagster.cli.outputs import Outputs, Source, check_output_folder

pytestmark = pytest.mark.unit


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source("video-1", tmp_path / "videos" / "talk.mp4")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out"


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def test_what_was_written_is_replaced_also_by_a_later_command(tmp_path: Path, source: Source, folder: Path) -> None:
    for text in ("one", "two"):
        written = Outputs(tmp_path).write(source, folder, "talk", {"srt": text, "vtt": text})
        assert written.paths == (folder / "talk.srt", folder / "talk.vtt")
        assert written.message is None
    assert texts(folder) == {"talk.srt": "two", "talk.vtt": "two"}


def test_a_file_made_by_hand_is_kept_and_the_new_one_gets_a_number(
    tmp_path: Path, source: Source, folder: Path
) -> None:
    folder.mkdir()
    (folder / "talk.srt").write_text("by hand")
    for text in ("one", "two"):
        written = Outputs(tmp_path).write(source, folder, "talk", {"srt": text, "vtt": text})
        assert [path.name for path in written.paths] == ["talk-2.srt", "talk-2.vtt"]
        assert written.message
        assert str(folder / "talk.srt") in written.message
        assert "--overwrite" in written.message
    assert texts(folder) == {"talk.srt": "by hand", "talk-2.srt": "two", "talk-2.vtt": "two"}
    Outputs(tmp_path, overwrite=True).write(source, folder, "talk", {"srt": "three"})
    assert texts(folder)["talk.srt"] == "three"


def test_what_a_person_changed_is_kept(tmp_path: Path, source: Source, folder: Path) -> None:
    Outputs(tmp_path).write(source, folder, "talk", {"srt": "one"})
    (folder / "talk.srt").write_text("corrected")
    Outputs(tmp_path).write(source, folder, "talk", {"srt": "two"})
    assert texts(folder) == {"talk.srt": "corrected", "talk-2.srt": "two"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_videos_of_one_name_do_not_replace_each_other(
    tmp_path: Path, source: Source, folder: Path, overwrite: bool
) -> None:
    other = Source("video-2", tmp_path / "elsewhere" / "talk.mp4")
    for _ in range(2):
        outputs = Outputs(tmp_path, overwrite=overwrite)
        outputs.write(source, folder, "talk", {"srt": "one"})
        outputs.write(other, folder, "talk", {"srt": "other"})
    assert texts(folder) == {"talk.srt": "one", "talk-2.srt": "other"}


def test_a_file_that_changed_keeps_its_subtitles_name(tmp_path: Path, source: Source, folder: Path) -> None:
    Outputs(tmp_path).write(source, folder, "talk", {"srt": "one"})
    Outputs(tmp_path).write(Source("video-2", source.file), folder, "talk", {"srt": "two"})
    assert texts(folder) == {"talk.srt": "two"}


def test_equal_content_is_not_written_twice_or_taken_over(tmp_path: Path, source: Source, folder: Path) -> None:
    folder.mkdir()
    (folder / "talk.srt").write_text("one")
    assert Outputs(tmp_path).write(source, folder, "talk", {"srt": "one"}).paths == (folder / "talk.srt",)
    Outputs(tmp_path).write(source, folder, "talk", {"srt": "two"})
    assert texts(folder) == {"talk.srt": "one", "talk-2.srt": "two"}


def test_a_folder_of_the_name_and_a_name_too_long_are_no_obstacle(tmp_path: Path, source: Source, folder: Path) -> None:
    (folder / "talk.srt").mkdir(parents=True)
    Outputs(tmp_path, overwrite=True).write(source, folder, "talk", {"srt": "one"})
    assert (folder / "talk-2.srt").read_text() == "one"
    [path] = Outputs(tmp_path).write(source, folder, "ä" * 125, {"json": "{}"}).paths
    assert path.name == "ä" * 120 + ".json"


def test_where_nothing_can_be_written_is_known_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    assert check_output_folder(tmp_path / "new" / "folder") is None
    assert check_output_folder(tmp_path) is None
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        assert check_output_folder(folder) == f"{tmp_path / 'taken'} is a file, not a folder"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, source: Source) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ProcessError, match="taken: not writable"):
        Outputs(tmp_path).write(source, tmp_path / "taken", "talk", {"srt": "one"})
