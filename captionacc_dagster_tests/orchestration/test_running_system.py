"""``captionacc up`` as a person starts it: backfills from the UI take their place in the queue, and everything ends."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

import httpx
import psutil
import pytest
from dagster import DagsterRun

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.embedded import EmbeddedPostgres, open_catalog
from captionacc_dagster.catalog.embedded_keeper import server_pid
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.orchestration.queue_order import in_order
from captionacc_dagster.settings import Settings
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster.tags import (
    AGE_BOOSTING_TAG,
    BASE_PRIORITY_TAG,
    DAGSTER_PRIORITY_TAG,
    FLOW_TAG,
    TENANT_TAG,
    TIER_SOURCE_TAG,
    TIER_TAG,
    VIDEO_TAG,
    WORKER_TAG,
)
from captionacc_dagster_tests.orchestration.running_system import SERVICES, System
from captionacc_dagster_tests.servers import free_port
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]

BACKFILL_TAG = "dagster/backfill"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Not pytest's folder: a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="ca-run-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def catalog(folder: Path) -> Iterator[Catalog]:
    server = EmbeddedPostgres(folder / "home", durable=False)
    with open_catalog(server) as catalog:
        yield catalog
    server.stop()


@pytest.fixture(scope="module")
def system(folder: Path, catalog: Catalog) -> Iterator[System]:
    system = System(folder, catalog)
    try:
        system.wait_for(system.is_ready, "Dagster's UI")
        yield system
    finally:
        system.end()


class Owned(NamedTuple):
    """Two videos of a tenant."""

    tenant_id: UUID
    videos: list[str]


@pytest.fixture(scope="module")
def owned(system: System) -> dict[str, Owned]:
    """Two videos each of a premium and a free tenant, whose own runs wait in the queue already."""
    owned = {}
    for tier, access_tier in (("premium", "active"), ("free", "demo")):
        tenant = system.catalog.ensure_tenant(uuid4(), tier, access_tier).id
        owned[tier] = Owned(tenant, [str(system.catalog.create_video(tenant, "a.mp4").video.id) for _ in range(2)])
    system.wait_for(lambda: len(system.runs()) == 4, "the sensor's runs")
    return owned


def test_a_backfill_of_many_videos_stays_below_what_people_wait_for(system: System, owned: dict[str, Owned]) -> None:
    answer = system.backfill([video for tenant in owned.values() for video in tenant.videos])
    assert answer["__typename"] == "LaunchBackfillSuccess", answer

    def backfilled() -> list[DagsterRun]:
        return [run for run in system.runs() if BACKFILL_TAG in run.tags]

    system.wait_for(lambda: len(backfilled()) == 4, "the backfill's runs")
    for run in backfilled():
        tier = run.tags[TIER_TAG]
        assert run.tags[BACKFILL_TAG] == answer["backfillId"]
        assert run.tags[TENANT_TAG] == str(owned[tier].tenant_id)
        assert run.tags[VIDEO_TAG] in owned[tier].videos
        assert run.tags[BASE_PRIORITY_TAG] == run.tags[DAGSTER_PRIORITY_TAG] == {"premium": "60", "free": "40"}[tier]
        assert (run.tags[AGE_BOOSTING_TAG], run.tags[TIER_SOURCE_TAG]) == ("backfill", "catalog")
        assert run.tags[FLOW_TAG] == "video_initial_processing"

    # What comes later goes first all the same.
    late = str(system.catalog.create_video(owned["premium"].tenant_id, "late.mp4").video.id)
    system.wait_for(lambda: any(run.tags[VIDEO_TAG] == late for run in system.runs()), "the late video's run")
    order = [(run.tags[TIER_TAG], BACKFILL_TAG in run.tags) for run in in_order(system.runs())]
    assert order == [("premium", False)] * 3 + [("premium", True)] * 2 + [("free", False)] * 2 + [("free", True)] * 2


def test_a_partition_that_was_never_added_is_named(system: System, owned: dict[str, Owned]) -> None:
    unknown = str(uuid4())
    before = len(system.runs())
    answer = system.backfill([owned["free"].videos[0], unknown])
    assert answer["__typename"] != "LaunchBackfillSuccess"
    assert unknown in json.dumps(answer)
    assert len(system.runs()) == before

    # Of a video that is not there, in one line; one that is there gets its partition by its request.
    refused = system.command("captionacc_dagster", "retry", unknown)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.strip().splitlines() == [
        f"captionacc: no video is named '{unknown}'; `captionacc status` lists all of them"
    ]


@pytest.mark.slow
def test_a_run_by_the_command_line_says_whose_it_is(system: System, owned: dict[str, Owned], tmp_path: Path) -> None:
    video = owned["premium"].videos[0]
    store = LocalObjectStore(Settings(_env_file=None, home=system.home).objects_dir)  # pyright: ignore
    keys = VideoKeys(str(owned["premium"].tenant_id), video)
    store.upload_from_path(keys.video, make_clip(tmp_path / "a.mp4", frames=12))
    module = ["-m", "captionacc_dagster.definitions"]
    done = system.command("dagster", "asset", "materialize", *module, "--select", "raw_video", "--partition", video)
    assert done.returncode == 0, done.stderr[-2000:]
    run = next(run for run in system.runs() if run.tags[VIDEO_TAG] == video and run.tags.get(WORKER_TAG))
    tags = (run.tags[TENANT_TAG], run.tags[TIER_TAG], run.tags[DAGSTER_PRIORITY_TAG], run.tags[FLOW_TAG])
    assert tags == (str(owned["premium"].tenant_id), "premium", "70", "video_initial_processing")


def test_ctrl_c_ends_everything(system: System) -> None:
    family = system.family()
    assert len(family) >= 4, "code server, webserver, daemon, API"
    system.process.send_signal(signal.SIGINT)
    assert system.process.wait(90) == 0, system.log()[-3000:]
    assert [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []
    assert system.log().rstrip().endswith("stopping ...\nstopped")
    assert "Warning" not in system.log()


def upload(system: System, clip: Path) -> UUID:
    """Add a video as an upload does; the sensors find its request."""
    made = system.catalog.create_video(LOCAL_TENANT_ID, clip.name, claimer="test")
    assert made.request
    store = LocalObjectStore(Settings(_env_file=None, home=system.home).objects_dir)  # pyright: ignore
    store.upload_from_path(VideoKeys(str(LOCAL_TENANT_ID), str(made.video.id)).video, clip)
    system.catalog.release_processing_request(made.request.id, "test")
    return made.video.id


def test_each_part_that_is_killed_runs_again_and_what_should_start_waits(
    folder: Path, catalog: Catalog, tmp_path: Path
) -> None:
    system = System(folder, catalog, runs=2)
    clip = make_clip(tmp_path / "a.mp4", frames=12)
    try:
        system.wait_for(lambda: "ready" in system.log().splitlines(), "the services")
        videos = []
        for name, part in SERVICES.items():
            killed = system.service(part)
            killed.kill()
            videos.append(upload(system, clip))
            system.wait_for(lambda name=name: f"{name} ended unexpectedly by SIGKILL" in system.log(), "the news")
            system.wait_for(lambda name=name: f"{name} runs again" in system.log(), f"{name} again")
            system.wait_for(system.says_ready, "all parts")
        server = EmbeddedPostgres(system.home, durable=False)
        keeper = psutil.Process(server_pid(server.data) or 0)
        keeper.kill()
        system.wait_for(lambda: server_pid(server.data) not in (None, keeper.pid), "Postgres again")
        system.wait_for(system.says_ready, "all parts after Postgres")

        # A laptop that sleeps: every process stops for a while, and then goes on.
        family = [psutil.Process(system.process.pid), *system.family()]
        restarts = system.log().count("starting it again")
        videos.append(upload(system, clip))
        for process in family:
            with suppress(psutil.NoSuchProcess):  # a run's process, which has ended
                process.suspend()
        time.sleep(45)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        system.wait_for(system.says_ready, "all parts after the sleep")
        assert system.log().count("starting it again") == restarts

        def is_processed(video: UUID) -> bool:
            row = catalog.get_video_metadata(video)
            assert row.status != "error", row.error_details
            return row.status == "active"

        system.wait_for(lambda: all(is_processed(video) for video in videos), "the videos", 600)
        assert "Traceback" not in system.log()
        stopped = system.command("captionacc_dagster", "down")
        assert (stopped.returncode, stopped.stdout) == (0, "stopped\n")
    finally:
        system.end()


def test_ready_and_doctor_tell_that_the_code_location_is_away(folder: Path, catalog: Catalog) -> None:
    system = System(folder, catalog)
    try:
        system.wait_for(lambda: "ready" in system.log().splitlines(), "the services")
        assert system.says_ready()
        code = system.service(SERVICES["Dagster's code server"])
        code.suspend()
        answer = httpx.get(f"http://127.0.0.1:{system.api_port}/ready", timeout=30)
        assert answer.status_code == 503
        assert list(answer.json()["reasons"]) == ["dagster"]
        examined = system.command("captionacc_dagster", "doctor")
        assert examined.returncode == 1
        assert "services  not ready: dagster (" in examined.stdout
        code.resume()
        system.wait_for(system.says_ready, "the code location")
        assert system.command("captionacc_dagster", "doctor").returncode == 0
    finally:
        system.end()


def test_up_can_be_killed_and_started_again_on_the_same_ports(folder: Path, catalog: Catalog) -> None:
    system = System(folder, catalog)
    try:
        system.wait_for(lambda: "ready" in system.log().splitlines(), "the services")
        second = system.command("captionacc_dagster", "up", "--port", str(free_port()))
        assert second.returncode == 1
        assert second.stdout.startswith(f"captionacc up already runs on {system.home} (process {system.process.pid} ")
        family = system.family()
        system.process.kill()
        system.process.wait()
        psutil.wait_procs(family, timeout=30)
        assert [process for process in family if process.is_running()] == []
        system.start()
        system.wait_for(system.says_ready, "the services again")
        # With its guard, nobody is left to end the services: the next start does.
        family = system.family()
        system.service("guard.py").kill()
        system.process.kill()
        system.process.wait()
        system.start()
        system.wait_for(lambda: "that an earlier captionacc up left behind" in system.log(), "the takeover")
        system.wait_for(system.says_ready, "the services once more")
        assert [process for process in family if process.is_running()] == []
    finally:
        system.end()


def test_the_end_of_the_terminal_ends_everything(folder: Path, catalog: Catalog) -> None:
    system = System(folder, catalog)
    try:
        system.wait_for(lambda: "Ctrl-C stops everything" in system.log() and len(system.family()) >= 2, "the services")
        family = system.family()
        system.process.send_signal(signal.SIGHUP)
        assert system.process.wait(90) == 0
    finally:
        system.end()
    assert [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []
