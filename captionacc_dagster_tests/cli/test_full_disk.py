"""A full disk under the embedded system is said in one line, and the next run goes on once there is room."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from captionacc_dagster_tests.cli.conftest import command_environment
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = [pytest.mark.e2e, pytest.mark.recovery, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A small file system of its own, with an embedded system that has processed a video."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount a small file system")
    # Not pytest's folder: a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="ca-full-") as name:
        folder = Path(name) / "disk"
        folder.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(folder)], check=False)
        if mounted.returncode != 0:
            pytest.skip("this machine does not allow mounting a tmpfs")
        try:
            first = make_clip(Path(name) / "first.mp4", [(5, 25, "Good evening.")], frames=30, seed=400)
            assert captionacc(folder, "process", first).returncode == 0
            yield folder
            captionacc(folder, "db", "stop")
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def captionacc(disk: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "captionacc_dagster", *map(str, arguments)],
        env=command_environment(disk / "home"),
        text=True,
        capture_output=True,
        timeout=600,
        check=False,
    )


def fill(disk: Path, left: int) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(disk).free - left)
    return ballast


def pad(clip: Path, size: int) -> None:
    """Append a box that players skip, so that the file needs this much more of the disk."""
    with clip.open("ab") as stream:
        stream.write(struct.pack(">I4s", 8 + size, b"free") + bytes(size))


@pytest.mark.parametrize("left", [300_000, 2_500_000, 12_000_000])
def test_it_is_one_line_and_the_next_run_goes_on(disk: Path, tmp_path: Path, left: int) -> None:
    clips = [
        make_clip(tmp_path / f"{name}-{left}.mp4", [(5, 75, "Good evening.")], frames=80, seed=401 + left % 97 + number)
        for number, name in enumerate(("one", "two"))
    ]
    for clip in clips:
        pad(clip, 3_000_000)
    ballast = fill(disk, left)
    full = captionacc(disk, "process", *clips)
    ballast.unlink()
    if full.returncode == 0:  # the last of the three may just fit
        assert left > 10_000_000
    else:
        said = [line for line in full.stderr.splitlines() if line.startswith("captionacc:")]
        others = [
            line for line in full.stderr.splitlines() if not line.startswith(("captionacc:", "Starting", "one", "two"))
        ]
        assert others == []
        assert "is full: make room" in said[0]
        assert len(said) <= 2
    again = captionacc(disk, "process", *clips)
    assert again.returncode == 0, again.stderr
    assert all("Good evening." in clip.with_suffix(".srt").read_text() for clip in clips)
