"""A command that is stopped says so in one line, and the same command again finishes its work."""

from __future__ import annotations

import signal
import subprocess
import sys
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from captionacc_dagster.captioning.files.subtitles import FORMATS
from captionacc_dagster.catalog.embedded import EmbeddedPostgres, open_catalog
from captionacc_dagster.orchestration.instance import open_instance
from captionacc_dagster.orchestration.reconciliation import reconcile_all
from captionacc_dagster.orchestration.subtitle_files import video_keys
from captionacc_dagster.settings import Settings
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster_tests.cli.conftest import Run, command_environment
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = [pytest.mark.e2e, pytest.mark.recovery]

# The real command, which a signal meets after captions.db.gz and before the subtitles.
STOPPED = """
import os, signal, sys, time
from captionacc_dagster.assets import captions
number = int(sys.argv.pop(1))
def stopped(*_):
    os.kill(os.getpid(), number)
    time.sleep(60)
captions.publish_subtitles = stopped
from captionacc_dagster.cli import main
main()
"""


@pytest.fixture
def clip(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    seed = zlib.crc32(request.node.name.encode()) % 10_000
    return make_clip(tmp_path / f"stopped-{seed}.mp4", [(5, 25, "Good evening.")], frames=30, seed=seed)


def stop_before_subtitles(home: Path, clip: Path, number: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", STOPPED, str(number), "process", str(clip)],
        env=command_environment(home),
        cwd=clip.parent,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def is_whole(home: Path, clip: Path) -> None:
    """Every output is there, and nothing counts as being in progress."""
    store = LocalObjectStore(home / "objects")
    with open_catalog(EmbeddedPostgres(home)) as catalog:
        [video] = catalog.list_videos(filename=clip.name).items
        assert (video.status, video.boundaries_status, video.text_status) == ("active", "annotate", "annotate")
        assert video.error_details is None
        assert all(store.file_exists(video_keys(video).subtitles(kind)) for kind in FORMATS)
        assert catalog.list_locks(video.id) == []
        assert not catalog.list_processing_requests(states=["pending", "launched"], video_id=video.id).items
    assert "Good evening." in clip.with_suffix(".srt").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_stop_is_one_line_and_the_same_command_goes_on(
    run: Run, home: Path, clip: Path, number: signal.Signals
) -> None:
    stopped = stop_before_subtitles(home, clip, number)
    assert stopped.returncode == 128 + number
    # A slow machine also shows a line of progress every ten seconds.
    [line] = [line for line in stopped.stderr.splitlines() if not line.startswith(("Starting ...", f"{clip.name}: "))]
    assert line == f"captionacc: stopped by {number.name}; the same command goes on from here"
    assert "stopped before it was done" in run("status", clip.name).stdout
    result = run("process", clip)
    assert result.returncode == 0, result.stderr
    is_whole(home, clip)


def test_what_was_killed_is_finished_by_the_next_run(run: Run, home: Path, clip: Path) -> None:
    assert stop_before_subtitles(home, clip, signal.SIGKILL).returncode == -signal.SIGKILL
    assert not clip.with_suffix(".srt").exists()
    result = run("process", clip)
    assert result.returncode == 0, result.stderr
    is_whole(home, clip)


def test_reconcile_closes_what_was_killed_and_retry_says_the_truth(
    run: Run, home: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stop_before_subtitles(home, clip, signal.SIGKILL).returncode == -signal.SIGKILL
    monkeypatch.setenv("CAPTIONACC_HOME", str(home))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    store = LocalObjectStore(home / "objects")
    with open_catalog(EmbeddedPostgres(home)) as catalog, open_instance(Settings()) as instance:
        [video] = catalog.list_videos(filename=clip.name).items
        report = reconcile_all(instance, catalog, store, datetime.now(UTC), "never")
        assert [line for line in report.lines if "process is gone" in line]
        assert not catalog.list_processing_requests(states=["launched"], video_id=video.id).items
        assert catalog.get_video_metadata(video.id).stage == "failed"
    result = run("retry", clip.name)
    assert result.returncode == 0, result.stderr
    assert "requested crop_and_infer" in result.stdout
    again = run("retry", clip.name)
    assert again.returncode == 1
    assert "has not started" in again.stderr
    assert run("process", clip).returncode == 0
    is_whole(home, clip)
