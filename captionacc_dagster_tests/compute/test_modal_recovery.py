"""A Dagster run that dies while Modal works for it: the next run takes the same call up again, and it is paid once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from dagster import AssetKey, DagsterInstance

from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.orchestration.flows import videos_partitions
from captionacc_dagster_tests.cli.conftest import SERVICES
from captionacc_dagster_tests.compute.conftest import AddVideo, StoredVideo, rows_of
from captionacc_dagster_tests.compute.modal_server import ModalServer
from captionacc_dagster_tests.servers import S3Server
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = [pytest.mark.recovery, pytest.mark.e2e]

STARTED = 60.0


@pytest.fixture
def dagster_home(tmp_path: Path) -> Path:
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return home


Start = Callable[[StoredVideo], subprocess.Popen[bytes]]


@pytest.fixture
def start_run(
    dagster_home: Path, tmp_path: Path, bucket: S3Server, ledger_url: str, modal_server: ModalServer
) -> Iterator[Start]:
    """Starts a run of ``video_initial_processing`` in a process of its own, as a run worker would."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith((*SERVICES, "MODAL_"))}
    environment = {
        **kept,
        **bucket.environment(),
        **modal_server.env,
        "DAGSTER_HOME": str(dagster_home),
        "CAPTIONACC_HOME": str(tmp_path / "home"),
        "CAPTIONACC_COMPUTE": "modal",
        "DATABASE_URL": ledger_url,
    }
    processes: list[subprocess.Popen[bytes]] = []

    def start(video: StoredVideo) -> subprocess.Popen[bytes]:
        with DagsterInstance.from_config(str(dagster_home)) as instance:
            instance.add_dynamic_partitions(str(videos_partitions.name), [video.keys.video_id])
        command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "captionacc_dagster.definitions"]
        command += ["--select", "raw_video,full_frames,ocr_db,layout_db", "--partition", video.keys.video_id]
        log = (tmp_path / f"run-{uuid4()}.log").open("wb")
        processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    deadline = time.monotonic() + STARTED
    while not condition():
        logs = "".join(path.read_text(errors="replace")[-3000:] for path in tmp_path.glob("run-*.log"))
        assert process.poll() is None, logs
        assert time.monotonic() < deadline, logs
        time.sleep(0.1)


@pytest.fixture
def video(add_video: AddVideo, tmp_path: Path) -> StoredVideo:
    return add_video(make_clip(tmp_path / "news.mp4"))


def test_a_killed_run_is_taken_up_by_the_next_one_and_pays_once(
    modal_server: ModalServer,
    start_run: Start,
    video: StoredVideo,
    ledger: PostgresCatalog,
    dagster_home: Path,
    tmp_path: Path,
) -> None:
    modal_server.occupy_gpus()
    first = start_run(video)
    wait_until(lambda: any(row.state == "spawned" for row in rows_of(ledger, video)), first, tmp_path)
    first.send_signal(signal.SIGKILL)
    first.wait()
    [call] = modal_server.calls.values()
    assert not call.cancelled

    modal_server.free_gpus()
    second = start_run(video)
    assert second.wait(240) == 0, "".join(path.read_text(errors="replace") for path in tmp_path.glob("run-*.log"))
    assert list(modal_server.calls) == [call.id], rows_of(ledger, video)
    assert modal_server.count("FunctionMap") == 1
    [row] = rows_of(ledger, video)
    assert (row.state, row.attempts, row.external_call_id) == ("succeeded", 1, call.id)
    result: Any = (row.result or {})["result"]
    assert ledger.get_video_metadata(video.keys.video_id).ocr_box_count == result["ocr_box_count"]
    with DagsterInstance.from_config(str(dagster_home)) as instance:
        event = instance.get_latest_materialization_event(AssetKey("layout_db"))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert metadata["modal/call_id"] == call.id
    assert metadata["modal/reattached"] in (True, "True")


def test_a_run_that_is_interrupted_cancels_its_call(
    modal_server: ModalServer, start_run: Start, video: StoredVideo, ledger: PostgresCatalog, tmp_path: Path
) -> None:
    modal_server.occupy_gpus()
    run = start_run(video)
    wait_until(lambda: any(row.state == "spawned" for row in rows_of(ledger, video)), run, tmp_path)
    run.send_signal(signal.SIGINT)
    assert run.wait(60) != 0
    [call] = modal_server.calls.values()
    assert (call.cancelled, call.containers_terminated) == (True, True)
    assert rows_of(ledger, video)[0].state == "cancelled"


def test_a_refused_video_is_no_failed_run(
    modal_server: ModalServer,
    start_run: Start,
    add_video: AddVideo,
    ledger: PostgresCatalog,
    ledger_url: str,
    tmp_path: Path,
) -> None:
    tenant_id = str(uuid4())
    ledger.ensure_tenant(tenant_id, "limited", "demo")
    with psycopg.connect(ledger_url) as connection:
        connection.execute("update captionacc.tenants set processing_minutes_limit = 0 where id = %s", (tenant_id,))
    video = add_video(make_clip(tmp_path / "news.mp4"), tenant_id=tenant_id)
    run = start_run(video)
    logs = "".join(path.read_text(errors="replace") for path in tmp_path.glob("run-*.log"))
    assert run.wait(120) == 0, logs
    row = ledger.get_video_metadata(video.keys.video_id)
    assert (row.status, row.layout_status) == ("error", "error")
    assert row.layout_error_details is not None
    assert row.layout_error_details["error_type"] == "QuotaExceeded"
    assert "of 0 minutes of this month are used" in str(row.layout_error_details["message"])
    assert [call.state for call in rows_of(ledger, video)] == ["refused"]
    assert modal_server.calls == {}
