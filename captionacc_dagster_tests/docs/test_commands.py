"""The commands of the README, of the tutorial, and of the how-to guides do what the pages say.

Those of docs/api.md: ``api/test_documentation.py``.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from captionacc_dagster.cli.demo_clip import make_demo_clip
from captionacc_dagster_tests.cli.conftest import command_environment
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs"
ASSETS = [
    "caption_frame_extents",
    "captions_db",
    "cropped_frames",
    "full_frames",
    "layout_db",
    "ocr_db",
    "raw_video",
    "subtitles",
]
_ID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_BLOCK = re.compile(r"^```(sh|sh background|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of somebody who has just installed the program; all that is embedded lies in it."""
    # Not pytest's own folder: a socket's path must be short.
    with TemporaryDirectory(prefix="ca-docs-") as name:
        yield Path(name)
        _bash("captionacc db stop", Path(name))


def _environment(folder: Path) -> dict[str, str]:
    bin_folder = str(Path(sys.executable).parent)
    return command_environment(folder / ".captionacc", PATH=f"{bin_folder}{os.pathsep}{os.environ['PATH']}")


def _bash(script: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _blocks(page: str, kind: str) -> list[str]:
    blocks = [text for name, text in _BLOCK.findall((PAGES / page).read_text(encoding="utf-8")) if name == kind]
    assert blocks, f"{page} has no {kind} blocks"
    return blocks


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@contextmanager
def _in_background(command: str, folder: Path, health: str) -> Iterator[None]:
    log = folder / "background.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=folder, env=_environment(folder), stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 300
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            try:
                if httpx.get(health, timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(180)


@pytest.fixture
def repository(folder: Path) -> Path:
    """A folder that is the repository's root, with nothing embedded in it and two videos."""
    for path in ROOT.iterdir():
        if path.name not in (".venv", ".captionacc", ".git", "output"):
            (folder / path.name).symlink_to(path)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    # Long enough for a layout that needs nobody's approval.
    make_demo_clip(folder / "talk.mp4")
    make_clip(folder / "interview.mkv", frames=50, seed=41, captions=[(5, 45, "Hello there.")])
    return folder


def test_the_readme(repository: Path) -> None:
    process, dagster = _blocks("../README.md", "sh")
    _bash("make --dry-run demo test", repository)
    _bash(process, repository)
    for name, text in (("talk", "See you tomorrow."), ("interview", "Hello there.")):
        for suffix in (".srt", ".vtt"):
            assert text in (repository / f"{name}{suffix}").read_text(encoding="utf-8")

    commands = [line.partition("#")[0].strip() for line in dagster.splitlines()]
    assert commands[0] == "dagster dev"
    (port, _) = _free_ports()
    with _in_background(f"dagster dev --port {port}", repository, f"http://127.0.0.1:{port}/server_info"):
        query = {"query": "{ assetNodes { id } }"}
        nodes = httpx.post(f"http://127.0.0.1:{port}/graphql", json=query, timeout=60).json()["data"]["assetNodes"]
        assert len(nodes) == len(ASSETS)
    video = _bash(
        "captionacc status | grep talk.mp4 | grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'", repository
    )
    printed = {command: _bash(f"VIDEO={video.strip()}\n{command}", repository) for command in commands[1:]}
    assert all(name[:8] in printed["dg list defs"] for name in ASSETS)
    assert "All definitions loaded successfully" in printed["dg check defs"]
    # Warnings come after the events.
    events = re.findall(r"^\d{4}-\d\d-\d\d .*", _bash(f"captionacc status {video}", repository), re.MULTILINE)
    assert "run done" in events[-1]

    # The older commands, with the option that the page names.
    module = "-m captionacc_dagster.definitions"
    assert _bash(f"dagster asset list {module}", repository).split() == ASSETS
    _bash(f"dagster asset materialize {module} --select '*' --partition {video}", repository)


def test_the_tutorial_from_a_folder_of_videos_to_subtitles(folder: Path) -> None:
    port, api_port = _free_ports()
    (background,) = _blocks("tutorial.md", "sh background")
    text = (PAGES / "tutorial.md").read_text(encoding="utf-8")
    before, after = text.split("```sh background\n")
    blocks = [[block for name, block in _BLOCK.findall(part) if name == "sh"] for part in (before, after)]

    printed = ""
    # Typed literally, and once more.
    for _ in range(2):
        printed = _bash("".join(blocks[0]), folder)
        assert "9 of 9 captions exactly right" in printed
    assert "the boats come back in." in (folder / "videos" / "harbour.srt").read_text()
    assert (folder / "videos" / "harbour.vtt").read_text().startswith("WEBVTT")
    assert re.search(r"strict F1\s+1\.0", printed)

    up = background.strip().replace("captionacc up", f"captionacc up --port {port} --api-port {api_port}")
    with _in_background(up, folder, f"http://127.0.0.1:{api_port}/health"):
        for _ in range(2):
            printed = _bash("".join(blocks[1]).replace("127.0.0.1:8000", f"127.0.0.1:{api_port}"), folder)
        again = _bash(blocks[0][0], folder)
        assert "9 of 9 captions exactly right" in again, "a correction counts as an error of the machine"
        assert "harbour.mp4" in printed
        assert "Welcome to our harbour." in (folder / "corrected" / "harbour.srt").read_text()
        done = folder / ".captionacc" / "inbox" / "done" / "another.mp4"
        deadline = time.monotonic() + 90
        while not done.exists():
            assert time.monotonic() < deadline, "the inbox did not take the file"
            time.sleep(0.2)


def test_the_how_to_guides(folder: Path) -> None:
    printed = _bash("".join(_blocks("how-to.md", "sh")), folder)
    for program in _blocks("how-to.md", "python"):
        (folder / "program.py").write_text(program)
        _bash("python program.py", folder)

    assert "9 of 9 captions exactly right" in printed
    assert {path.suffix for path in (folder / "subtitles").iterdir()} == {".srt", ".vtt", ".ass", ".json"}
    assert "See you tomorrow." in (folder / "archive" / "harbour.srt").read_text()
    assert "See you tomorrow." in (folder / "corrected" / "harbour.vtt").read_text()
    assert "See you tomorrow." in (folder / "harbour.srt").read_text()
    assert (folder / "captionacc-backup.tar.gz").stat().st_size > 100_000
