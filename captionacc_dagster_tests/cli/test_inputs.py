"""What a command line names: files, folders, lists; and what is no video."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from captionacc_dagster.catalog.filenames import printable, stored_filename
from captionacc_dagster.cli.inputs import find_inputs

pytestmark = pytest.mark.unit


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    for name in ("b.mp4", "a.MKV", "notes.txt", ".hidden.mp4", "deep/c.webm", "deep/er/d.mov", ".git/e.mp4"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def names(found: object, folder: Path) -> list[str]:
    return [str(file.path.relative_to(folder)) for file in found.files]  # type: ignore[attr-defined]


def test_a_folder_is_its_videos_in_order(videos: Path) -> None:
    assert names(find_inputs([str(videos)]), videos) == ["a.MKV", "b.mp4"]
    found = find_inputs([str(videos)], recursive=True)
    assert names(found, videos) == ["a.MKV", "b.mp4", "deep/c.webm", "deep/er/d.mov"]
    assert [str(file.subfolder) for file in found.files] == [".", ".", "deep", "deep/er"]
    assert not found.refused


def test_a_folder_without_videos_says_so_and_how_to_look_deeper(videos: Path) -> None:
    (videos / "a.MKV").unlink()
    (videos / "b.mp4").unlink()
    [(name, reason)] = find_inputs([str(videos)]).refused
    assert name == str(videos)
    assert "folder without videos" in reason
    assert "--recursive" in reason


def test_each_file_is_taken_once(videos: Path) -> None:
    one = str(videos / "b.mp4")
    assert len(find_inputs([one, f"{videos}/./b.mp4", one, str(videos)]).files) == 2


@pytest.mark.parametrize("url", ["https://example.com/v?x=1", "s3://bucket/talk.mp4", "rtsp://camera/1"])
def test_a_url_is_said_to_be_one(url: str) -> None:
    [(name, reason)] = find_inputs([url]).refused
    assert (name, "is a URL" in reason) == (url, True)


def test_what_lies_beside_a_video_is_skipped_but_refused_alone(videos: Path) -> None:
    for suffix in (".srt", ".vtt", ".ass", ".json"):
        (videos / f"b{suffix}").write_text("x")
    everything = [str(path) for path in sorted(videos.iterdir()) if path.is_file() and not path.name.startswith(".")]
    found = find_inputs(everything)
    assert names(found, videos) == ["a.MKV", "b.mp4"]
    assert {path.suffix for path in found.skipped} == {".srt", ".vtt", ".ass", ".json", ".txt"}
    assert not found.refused
    alone = find_inputs([str(videos / "b.srt")])
    assert not alone.files
    assert alone.refused == [(str(videos / "b.srt"), "is not a video, by its suffix")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_a_list_on_standard_input(videos: Path, end: bytes) -> None:
    listed = end.join([os.fsencode(videos / "b.mp4"), os.fsencode(videos) + b"/caf\xe9.mp4", b""])
    found = find_inputs(["-"], listed=io.BytesIO(listed))
    assert [os.fsencode(file.path.name) for file in found.files] == [b"b.mp4", b"caf\xe9.mp4"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain [v2] \xe5\xad\x97\xe5\xb9\x95 \xf0\x9f\x8e\xac.mp4", "plain [v2] 字幕 🎬.mp4"),
        (b"caf\xe9.mp4", "caf\\xe9.mp4"),
        (b"a\nb\tc.mp4", "a\\nb\\tc.mp4"),
        (b"\x1b]0;owned\x07.mp4", "\\x1b]0;owned\\x07.mp4"),
        ("\u202eexe.mp4\u2028\x9b1m".encode(), "\\u202eexe.mp4\\u2028\\x9b1m"),
    ],
)
def test_names_are_stored_and_shown_without_what_a_terminal_obeys(name: bytes, shown: str) -> None:
    text = os.fsdecode(name)
    assert stored_filename(Path("/some/where") / text) == shown
    assert printable(shown) == shown
    shown.encode()
