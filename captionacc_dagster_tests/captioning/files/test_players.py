"""Subtitle files open in players without a warning: FFmpeg's readers, libass, and mpv."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest

from captionacc_dagster.captioning.captions import Caption, Word
from captionacc_dagster.captioning.files.subtitles import SubtitleOptions, write_subtitles
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster_tests.machine import needed

pytestmark = pytest.mark.integration

VIDEO = {"width": 640, "height": 360}
BOTTOM, TOP, LEFT = BBox(0.3, 0.86, 0.7, 0.94), BBox(0.3, 0.04, 0.7, 0.12), BBox(0.05, 0.4, 0.1, 0.9)
TEXTS = (
    "Hello <i>there</i>, {\\an8}you & me",
    "00:00:01,000 --> 00:00:02,000",
    "12",
    "NOTE this\nSTYLE that",
    "a\n\nb \\N c \\h d",
    "-->",
    "字幕，很长的一行",
)


def _captions() -> list[Caption]:
    def caption(
        start: int, end: int, text: str, bbox: BBox = BOTTOM, track: str = "bottom", **facts: object
    ) -> Caption:
        return Caption(
            start_s=start / 25,
            end_s=end / 25,
            start_frame=start,
            end_frame=end,
            text=text,
            confidence=0.9,
            bbox=bbox,
            track=track,
            words=words,
        )

    words = (
        Word(text="one", start_s=8.0, end_s=9.0, bbox=BOTTOM),
        Word(text="two", start_s=8.4, end_s=9.0, bbox=BOTTOM),
    )
    return [
        *(caption(10 * at, 10 * at + 10, text) for at, text in enumerate(TEXTS)),
        caption(95, 96, "one frame"),
        # Overlaps the one before within its track, and one has no length: neither may come out so.
        caption(100, 130, "first"),
        caption(120, 140, "second"),
        caption(150, 150, "no length"),
        caption(0, 60, "above", TOP, "top"),
        caption(0, 60, "beside", LEFT, "left"),
        caption(200, 225, "one two", words=words),
    ]


@pytest.fixture(params=["srt", "srt with BOM", "vtt", "ass"])
def subtitles(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"all.{request.param[:3]}"
    write_subtitles(path, _captions(), VIDEO, options=SubtitleOptions(srt_bom="BOM" in request.param))
    return path


def _said(*command: str | Path) -> str:
    """Run a program and return all that it prints."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_ffmpeg_reads_every_cue_without_a_warning(subtitles: Path) -> None:
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    copy = subtitles.with_name("copy.srt")
    assert _said(ffmpeg, "-v", "warning", "-i", subtitles, copy) == ""
    read = copy.read_text(encoding="utf-8")
    for text in ("one frame", "first", "second", "no length", "above", "beside", "字幕，很长的一行"):
        assert text in read


def test_libass_draws_them_without_a_warning(subtitles: Path) -> None:
    video = "color=c=gray:s=640x360:r=25:d=10"
    command = (imageio_ffmpeg.get_ffmpeg_exe(), "-v", "warning", "-f", "lavfi", "-i", video)
    assert _said(*command, "-vf", f"subtitles={subtitles}", "-f", "null", "-") == ""


def test_mpv_plays_them_without_a_warning(subtitles: Path) -> None:
    mpv = needed("mpv", ("mpv", "--version"))
    quiet = ("--no-config", "--vo=null", "--ao=null", "--untimed", "--msg-level=all=warn", "--no-input-terminal")
    video = "av://lavfi:color=c=gray:s=640x360:r=25:d=10"
    assert _said(*mpv, *quiet, f"--sub-file={subtitles}", "--sid=1", video) == ""
