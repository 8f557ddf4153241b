"""The whole system as processes: embedded Postgres, code server, daemon; each can be killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self
from uuid import UUID

import psutil

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.embedded import EmbeddedPostgres, open_catalog
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, Video
from captionacc_dagster.orchestration.instance import prepare_dagster_home
from captionacc_dagster.settings import Settings
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster_tests.servers import free_port

ROOT = Path(__file__).parents[2]
DEFINITIONS = "captionacc_dagster_tests.recovery.gated_definitions"


class System:
    """One home folder and the processes over it."""

    def __init__(self, home: Path, definitions: str = DEFINITIONS) -> None:
        self.home = home
        self.definitions = definitions
        self.settings = Settings(home=home)
        self.gates = home / "gates"
        self.gates.mkdir(parents=True)
        self.server = EmbeddedPostgres(home, durable=False)
        self.store = LocalObjectStore(self.settings.objects_dir)
        self.catalog: Catalog = open_catalog(self.server)
        self.port = free_port()
        self.environment = {
            **os.environ,
            "CAPTIONACC_HOME": str(home),
            "DAGSTER_HOME": str(prepare_dagster_home(self.settings)),
            "CAPTIONACC_MAX_CONCURRENT_RUNS": "8",
            "CAPTIONACC_MAX_CONCURRENT_RUNS_PER_TENANT": "8",
            "CAPTIONACC_MAX_CONCURRENT_RUNS_PER_FLOW": '{"crop_and_infer": 5}',
            "CAPTIONACC_POOL_SLOTS": '{"compute": 8}',
            "CAPTIONACC_AUTO_APPROVE_LAYOUT": "always",
            "OMP_NUM_THREADS": "1",
        }
        self.workspace = home / "workspace.yaml"
        self.workspace.write_text(
            f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {self.port}, location_name: captionacc}}\n"
        )
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.start_code_server()
        self.start_daemon()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGINT)
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            _kill_tree(process.pid)
            process.wait()
        self.catalog.close()
        self.server.stop()

    def start_code_server(self) -> None:
        """Start the process that loads our code and runs it."""
        self._start(
            "code-server",
            [
                sys.executable,
                "-m",
                "dagster",
                "api",
                "grpc",
                "-m",
                self.definitions,
                "-h",
                "127.0.0.1",
                "-p",
                str(self.port),
            ],
        )

    def start_daemon(self) -> None:
        """Start the process that evaluates sensors, takes runs from the queue and watches them."""
        self._start("daemon", [sys.executable, "-m", "dagster._daemon", "run", "-w", str(self.workspace)])

    def kill(self, name: str, *, with_children: bool = False) -> None:
        """Kill a process with SIGKILL."""
        process = self.processes.pop(name)
        if with_children:
            _kill_tree(process.pid)
        else:
            process.kill()
        process.wait()

    def upload(self, clip: Path, *, held_at: Iterable[str] = ()) -> Video:
        """Add a video with its object, as an upload does; its run stops at the given gates."""
        claimer = "test"
        made = self.catalog.create_video(LOCAL_TENANT_ID, clip.name, claimer=claimer)
        assert made.request
        for stage in held_at:
            self.hold(stage, made.video.id)
        self.store.upload_from_path(VideoKeys(str(LOCAL_TENANT_ID), str(made.video.id)).video, clip)
        self.catalog.release_processing_request(made.request.id, claimer)
        return made.video

    def hold(self, stage: str, video_id: UUID) -> None:
        """Shut a gate."""
        (self.gates / f"hold-{stage}-{video_id}").touch()

    def open_gate(self, stage: str, video_id: UUID) -> None:
        """Open a gate."""
        (self.gates / f"hold-{stage}-{video_id}").unlink()

    def worker_at(self, stage: str, video_id: UUID) -> int | None:
        """The process that waits at a gate."""
        arrived = self.gates / f"arrived-{stage}-{video_id}"
        return int(arrived.read_text()) if arrived.exists() and arrived.read_text() else None

    def wait_for(self, what: str, condition: Callable[[], object], seconds: float = 600) -> None:
        """Wait until the condition holds.

        Raises:
            AssertionError: it does not in time; the message ends with what the processes said last.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}\n{self.last_words()}"
            time.sleep(0.5)

    def is_done(self, video: Video) -> bool:
        """Whether the video has its captions and nothing is open."""
        row = self.catalog.get_video_metadata(video.id)
        return row.text_status == "annotate" and not self.open_requests(video)

    def open_requests(self, video: Video | None = None) -> list[str]:
        """Requests that have not ended."""
        page = self.catalog.list_processing_requests(
            states=["pending", "launched"], video_id=video.id if video else None
        )
        return [f"{request.flow} {request.state} {request.run_id}" for request in page.items]

    def nothing_is_left_behind(self) -> None:
        """No open request, no lock, no temporary object, no version that is still being made."""
        assert self.open_requests() == []
        assert self.catalog.list_locks() == []
        assert [key for key in self.store.list_files(f"{LOCAL_TENANT_ID}/") if "/tmp/" in key] == []
        for video in self.catalog.list_videos(limit=500).items:
            states = [row.state for row in self.catalog.list_cropped_frames_versions(video.id)]
            assert states.count("active") == (0 if video.status == "error" else 1)

    def last_words(self) -> str:
        """The end of each process' output."""
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in sorted(self.home.glob("*.log"))
        )

    def _start(self, name: str, command: list[str]) -> None:
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )


def _kill_tree(pid: int) -> None:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
