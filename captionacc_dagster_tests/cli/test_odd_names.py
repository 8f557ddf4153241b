"""``captionacc process`` over a folder of twenty files of odd names, of which five are broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from captionacc_dagster_tests.cli.conftest import command_environment
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

GOOD = (
    b"caf\xe9.mp4",
    b"two\nlines.mp4",
    b"\x1b]0;owned\x07\x1b[31mred.mp4",
    b"[v2] [bold]talk.mp4",
    b" spaces around .mp4",
    b"-dash.mp4",
    "日本語 字幕.mp4".encode(),
    "🎬 emoji.mp4".encode(),
    b'quote\'s "double".mp4',
    b"percent%20d %s.mp4",
    b"x" * 251 + b".mp4",
    b"UPPER.MP4",
    "\u202eright to left.mp4".encode(),
    b"tab\tand\rreturn.mp4",
    b"concat:a|b.mp4",
)
BROKEN = (b"empty.mp4", b"text\x1b[2J.mp4", b"half.mp4", b"sound [only].mp4", b"nowhere.mp4")
TEXT = "Good evening."
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f]")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    whole = make_clip(tmp_path / "clip.mp4", [(5, 25, TEXT)], frames=30, seed=77).read_bytes()
    for number, name in enumerate(GOOD):
        # A free box at the end makes each file a content of its own.
        content = whole + (9).to_bytes(4, "big") + b"free" + bytes([number])
        (folder / os.fsdecode(name)).write_bytes(content)
    empty, text, half, sound, nowhere = (folder / os.fsdecode(name) for name in BROKEN)
    empty.write_bytes(b"")
    text.write_text("this is no video\n" * 50)
    half.write_bytes(whole[: len(whole) // 2])
    make_clip(tmp_path / "sound.m4a", audio_only=True).rename(sound)
    nowhere.symlink_to(tmp_path / "gone.mp4")
    return folder


def captionacc(home: Path, *arguments: str | Path) -> tuple[int, bytes, list[str]]:
    done = subprocess.run(
        [sys.executable, "-m", "captionacc_dagster", *map(str, arguments)],
        env=command_environment(home, PYTHONUTF8="1"),
        capture_output=True,
        timeout=800,
        check=False,
    )
    shown = done.stderr.decode()
    assert not _CONTROL.search(shown)
    assert "Traceback" not in shown
    return done.returncode, done.stdout, shown.splitlines()


def test_fifteen_are_processed_and_five_are_named(home: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, printed, shown = captionacc(home, "process", folder, "-o", out, "--json")
    assert code == 1
    refusals = [line for line in shown if line.startswith("captionacc:")]
    for part in ("empty.mp4", r"text\x1b[2J.mp4", "half.mp4", "sound [only].mp4", "nowhere.mp4"):
        assert [line for line in refusals if part in line], part
    assert len(refusals) == len(BROKEN)
    # By path, and summed up at the end, as what went before may have left the screen.
    assert all(str(folder) in line for line in refusals), refusals
    assert shown[-1] == "20 files: 15 processed, 5 failed"
    results = [json.loads(line) for line in printed.decode().splitlines()]
    assert len(results) == len(GOOD) + len(BROKEN)
    assert sum("error" in result for result in results) == len(BROKEN)
    found = {os.fsencode(Path(result["video"]["path"]).name): result for result in results if "error" not in result}
    assert set(found) == set(GOOD)
    for name, result in found.items():
        assert [caption["text"] for caption in result["captions"]] == [TEXT], name
        [path] = result["paths"]
        assert TEXT in Path(path).read_text()
        assert os.fsencode(Path(path).parent) == os.fsencode(out)
    assert len(list(out.iterdir())) == len(GOOD)

    # The same command again does no work twice, and prints each path as it is.
    code, printed, shown = captionacc(home, "process", folder, "-o", out)
    assert code == 1
    assert len(list(out.iterdir())) == len(GOOD)
    lines = printed.split(b"\n")
    for name in GOOD:
        path = os.fsencode(out) + b"/" + name[:240].removesuffix(b".mp4").removesuffix(b".MP4") + b".srt"
        assert (path if b"\n" not in path else path.replace(b"\n", b"\\n")) in lines

    code, printed, _ = captionacc(home, "status", "--limit", "100")
    listed = printed.decode()
    assert code == 0
    assert not _CONTROL.search(listed)
    assert "\u202e" not in listed
    assert "[v2] [bold]talk.mp4" in listed
    assert r"\x1b]0;owned\x07\x1b[31mred.mp4" in listed
    for name in (r"caf\xe9.mp4", folder / os.fsdecode(b"caf\xe9.mp4"), r"two\nlines.mp4"):
        code, printed, _ = captionacc(home, "status", name)
        assert code == 0
