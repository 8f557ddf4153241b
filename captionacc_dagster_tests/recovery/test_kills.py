"""kill -9 of every part of the running system: everything is finished exactly once, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from captionacc_dagster_tests.recovery.gated_definitions import STAGES
from captionacc_dagster_tests.recovery.system import System
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = [pytest.mark.recovery, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def system() -> Iterator[System]:
    # Not pytest's folder: a socket's path must be short.
    home = Path(tempfile.mkdtemp(prefix="ca-sys-"))
    with System(home) as running:
        yield running
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", [(5, 25, "Good evening.")], frames=30)


def test_a_worker_killed_in_the_middle_of_each_asset(system: System, clip: Path) -> None:
    videos = {stage: system.upload(clip, held_at=[stage]) for stage in STAGES}
    killed = set()
    for stage, video in videos.items():
        system.wait_for(f"{stage} to begin", lambda s=stage, v=video: system.worker_at(s, v.id))
        pid = system.worker_at(stage, video.id)
        assert pid
        os.kill(pid, signal.SIGKILL)
        system.open_gate(stage, video.id)
        killed.add(pid)
    assert len(killed) == len(STAGES)
    for stage, video in videos.items():
        system.wait_for(f"the video killed at {stage}", lambda v=video: system.is_done(v))
        row = system.catalog.get_video_metadata(video.id)
        assert (row.status, row.boundaries_status, row.caption_count) == ("active", "annotate", 1)
        assert row.error_details is None
        states = [request.state for request in system.catalog.list_processing_requests(video_id=video.id).items]
        assert states == ["succeeded", "succeeded"]
    system.nothing_is_left_behind()


def test_daemon_code_server_and_postgres_killed(system: System, clip: Path) -> None:
    at_work = system.upload(clip, held_at=["initial_processing"])
    system.wait_for("a run to begin", lambda: system.worker_at("initial_processing", at_work.id))
    system.kill("daemon")
    later = system.upload(clip)
    system.open_gate("initial_processing", at_work.id)
    system.start_daemon()
    for video in (at_work, later):
        system.wait_for("videos after the daemon's death", lambda v=video: system.is_done(v))

    orphan = system.upload(clip, held_at=["caption_extents"])
    system.wait_for("a run to begin", lambda: system.worker_at("caption_extents", orphan.id))
    system.kill("code-server", with_children=True)
    system.open_gate("caption_extents", orphan.id)
    later = system.upload(clip)
    system.start_code_server()
    for video in (orphan, later):
        system.wait_for("videos after the code server's death", lambda v=video: system.is_done(v))

    robbed = system.upload(clip, held_at=["captions_db"])
    system.wait_for("a run to begin", lambda: system.worker_at("captions_db", robbed.id))
    postmaster = int((system.server.data / "postmaster.pid").read_text().split("\n", 1)[0])
    os.kill(postmaster, signal.SIGKILL)
    system.open_gate("captions_db", robbed.id)
    system.server.start()
    system.wait_for("the video after Postgres' death", lambda: system.is_done(robbed))
    system.nothing_is_left_behind()


def test_thirty_uploads_and_a_poisoned_one_at_once(system: System, clip: Path, tmp_path: Path) -> None:
    poison = tmp_path / "poison.mp4"
    poison.write_text("this is no video")
    bad = system.upload(poison)
    videos = [system.upload(clip) for _ in range(30)]
    for video in videos:
        system.wait_for("thirty videos", lambda v=video: system.is_done(v), 1500)
    row = system.catalog.get_video_metadata(bad.id)
    assert row.status == "error"
    assert row.error_details
    assert "poison.mp4" in str(row.error_details["message"])
    for video in videos:
        requests = system.catalog.list_processing_requests(video_id=video.id).items
        assert [(request.state, request.attempts) for request in requests] == [("succeeded", 1), ("succeeded", 1)]
        assert system.catalog.get_video_metadata(video.id).caption_count == 1
    system.nothing_is_left_behind()
