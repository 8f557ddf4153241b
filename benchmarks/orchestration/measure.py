"""Measure the queue and the sensors: sorting, a dequeue pass, a sensor tick, and one video's orchestration.

``python -m benchmarks.orchestration --output benchmarks/orchestration/RESULTS.md`` measures everything on an
embedded Postgres in a temporary folder and writes a Markdown page; without ``--output`` it prints the page alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from uuid import uuid4

import psutil
import psycopg
import sqlalchemy as db
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter, build_sensor_context
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from benchmarks.orchestration.timed_definitions import CALLS
from captionacc_dagster.catalog.embedded import EmbeddedPostgres, open_catalog
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, Video
from captionacc_dagster.orchestration import sensors
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.orchestration.priority import priority_run_tags
from captionacc_dagster.orchestration.queue_order import in_order
from captionacc_dagster.orchestration.run_coordinator import PriorityAwareRunCoordinator
from captionacc_dagster.settings import get_settings
from captionacc_dagster.tags import PARTITION_TAG, WORKER_TAG
from captionacc_dagster_tests.orchestration.instances import postgres_instance
from captionacc_dagster_tests.orchestration.queue_harness import Queue, queue_opener
from captionacc_dagster_tests.recovery.system import System
from captionacc_dagster_tests.small_clips import make_clip

TIERS = ("free", "premium", "enterprise")


class Page:
    """The lines of the results, printed as they are added."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self.lines: list[str] = []

    def write(self, line: str = "") -> None:
        """Add a line."""
        self.lines.append(line)
        print(line, flush=True)

    def measure(self, what: str, action: Callable[[], object]) -> None:
        """Run the work once and add a row: wall-clock time, CPU seconds here and in Postgres, and the load before."""
        load, postgres = os.getloadavg()[0], _cpu_of_postgres(self._server)
        wall, cpu = time.perf_counter(), time.process_time()
        result = action()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        postgres = _cpu_of_postgres(self._server) - postgres
        self.write(f"| {what} | {wall:.2f} | {cpu:.2f} | {postgres:.2f} | {result} | {load:.1f} |")


def _cpu_of_postgres(server: EmbeddedPostgres) -> float:
    """Return the CPU seconds of the server so far, including ended connections."""
    postmaster = psutil.Process(int((server.data / "postmaster.pid").read_text().split("\n", 1)[0]))
    own = postmaster.cpu_times()
    seconds = own.user + own.system + own.children_user + own.children_system
    for child in postmaster.children():
        with suppress(psutil.Error):
            times = child.cpu_times()
            seconds += times.user + times.system
    return seconds


def write_machine(page: Page) -> None:
    """Describe the machine and the time of the measurement."""
    memory = psutil.virtual_memory().total / 2**30
    page.write("# What orchestration costs")
    page.write()
    page.write("Written by `python -m benchmarks.orchestration --output benchmarks/orchestration/RESULTS.md`.")
    page.write()
    page.write(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, "
        f"Python {platform.python_version()}, Dagster {version('dagster')}, embedded Postgres without fsync."
    )
    page.write(
        "`load` is the machine's 1-minute load average before the measurement: with more load than cores, wall-clock "
        "seconds are several times what an idle machine needs, and the CPU seconds are what counts."
    )
    page.write()


def fill_queue(queue: Queue, count: int) -> None:
    """Queue runs of 50 tenants, old enough that each has gained at least one point."""
    now = datetime.now(UTC)
    entries = []
    for number in range(count):
        asked = now - timedelta(hours=1 + number % 30)
        tags = priority_run_tags(TIERS[number % 3], asked, tenant_id=f"tenant-{number % 50:02}", now=asked)
        entries.append((list(Flow)[number % 3].value, tags))
    queue.put_all(entries)
    storage = queue.instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    with storage.connect() as connection:  # as autovacuum has done before a queue is that long
        connection.execute(db.text("analyze"))


def measure_queue(server: EmbeddedPostgres, page: Page, count: int) -> None:
    """Measure sorting and a dequeue pass with ``count`` queued runs."""
    with queue_opener(server)() as queue:
        fill_queue(queue, count)
        coordinator = queue.instance.run_coordinator
        assert isinstance(coordinator, PriorityAwareRunCoordinator)
        waiting = queue.instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.QUEUED]))
        page.measure(f"sorting, {count:,} queued", lambda: f"{len(in_order(waiting)):,} sorted")
        measure_pass(page, queue, f"dequeue pass, {count:,} queued")
        queue.tenants.limits = {"tenant-00": 5}
        coordinator.directory = Queue.fresh_directory(queue.tenants)
        measure_pass(page, queue, f"dequeue pass, {count:,} queued, a tenant may have more than the others")


def measure_pass(page: Page, queue: Queue, what: str) -> None:
    """Measure a dequeue pass while no run is active."""
    started: list[str] = []

    def dequeue() -> str:
        started.extend(queue.dequeue())
        return f"{len(started)} started"

    page.measure(what, dequeue)
    for run_id in started:
        queue.finish(run_id)


def measure_sensor(server: EmbeddedPostgres, page: Page, pending: int, partitions: int) -> None:
    """Measure a tick of ``new_videos`` with many pending requests and partitions."""
    insert = (
        "insert into captionacc.videos (id, tenant_id, filename, storage_key)"
        " select id, '{tenant}', 'a.mp4', '{tenant}/client/videos/' || id || '/video.mp4'"
        " from (select gen_random_uuid() as id from generate_series(1, {count})) s"
    )
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(insert.format(tenant=LOCAL_TENANT_ID, count=pending).encode())
    with open_catalog(server) as catalog, postgres_instance(server) as instance:
        instance.add_dynamic_partitions("videos", [str(uuid4()) for _ in range(partitions)])

        def tick() -> str:
            with build_sensor_context(instance=instance, resources={"catalog": catalog}) as context:
                result = sensors.new_videos(context)
            return f"{len(result.run_requests or [])} run requests"  # pyright: ignore

        page.measure(f"`new_videos`, {pending:,} pending, {partitions:,} partitions", tick)
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(b"update captionacc.processing_requests set state = 'succeeded'")
        page.measure(f"`new_videos`, nothing pending, {partitions:,} partitions", tick)


class WorkerClock:
    """Poll the processes that the code server starts, and record their CPU seconds."""

    def __init__(self, code_server: int) -> None:
        self._code_server = psutil.Process(code_server)
        self.cpu_s: dict[int, float] = {}

    def look_until(self, system: System, video: Video) -> bool:
        """Poll for a second, and return whether the video is done."""
        self.look_for(1.0)
        return system.is_done(video)

    def look_for(self, seconds: float) -> None:
        """Poll for some seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._look()
            time.sleep(0.05)

    def _look(self) -> None:
        for child in self._code_server.children(recursive=True):
            try:
                times = child.cpu_times()
            except psutil.Error:
                continue
            self.cpu_s[child.pid] = times.user + times.system


@contextmanager
def running_system() -> Iterator[System]:
    """Postgres, code server and daemon as processes, and this process' settings pointing there."""
    home = Path(tempfile.mkdtemp(prefix="ca-bench-"))
    with System(home, "benchmarks.orchestration.timed_definitions") as system:
        os.environ["CAPTIONACC_HOME"], os.environ["DAGSTER_HOME"] = str(home), system.environment["DAGSTER_HOME"]
        get_settings.cache_clear()
        yield system
    shutil.rmtree(home, ignore_errors=True)


def measure_video(page: Page, videos: int) -> None:
    """Measure the overhead of orchestration per small video, with the real daemon and code server."""
    page.write()
    page.write("## One video")
    page.write()
    page.write(
        f"A clip of 30 frames, local compute, medians of {videos} videos after a first one. The work itself is the "
        "time inside the compute functions; the rest is ours: rows, locks, checks, previews, Dagster's events."
    )
    page.write()
    load = os.getloadavg()[0]
    with running_system() as system:
        clip = make_clip(system.home / "clip.mp4", [(5, 25, "Good evening.")], frames=30)
        clock = WorkerClock(system.processes["code-server"].pid)
        done = []
        for _ in range(1 + videos):
            video = system.upload(clip)
            system.wait_for("the video", partial(clock.look_until, system, video))
            done.append(video)
        # The last run ends a moment after its video.
        clock.look_for(10.0)
        calls = [json.loads(line) for line in (system.home / CALLS).read_text(encoding="utf-8").splitlines()]
        with DagsterInstance.get() as instance:
            for flow in (Flow.VIDEO_INITIAL_PROCESSING, Flow.CROP_AND_INFER):
                timelines = [_timeline(system, instance, video, flow, clock, calls) for video in done[1:]]
                _write_timeline(page, flow, timelines)
    page.write(f"Load before: {load:.1f}, after: {os.getloadavg()[0]:.1f}.")


def _timeline(
    system: System,
    instance: DagsterInstance,
    video: Video,
    flow: Flow,
    clock: WorkerClock,
    calls: list[dict[str, float]],
) -> dict[str, float]:
    """Return how long each part of a video's run took, in seconds."""
    (request,) = system.catalog.list_processing_requests(video_id=video.id, flows=[flow.value]).items
    (run,) = (run for run in instance.get_runs(RunsFilter(tags={PARTITION_TAG: str(video.id)})) if run.job_name == flow)
    kinds = DagsterEventType
    times: dict[DagsterEventType, float] = {}
    for entry in instance.all_logs(run.run_id):
        if entry.dagster_event:
            times.setdefault(entry.dagster_event.event_type, entry.timestamp)
    pid = _worker_pid(run)
    wall = sum(call["wall_s"] for call in calls if call["pid"] == pid)
    cpu = sum(call["cpu_s"] for call in calls if call["pid"] == pid)
    return {
        "requested → in the queue (a tick of the sensor, every 5 s)": times[kinds.RUN_ENQUEUED]
        - request.requested_at.timestamp(),
        "in the queue → taken (a pass, every second)": times[kinds.RUN_STARTING] - times[kinds.RUN_ENQUEUED],
        "taken → first line of our code": times[kinds.STEP_START] - times[kinds.RUN_STARTING],
        "first line → end, without the work itself": times[kinds.RUN_SUCCESS] - times[kinds.STEP_START] - wall,
        "the work itself": wall,
        "CPU of the run's process, without the work itself": clock.cpu_s[pid] - cpu,
    }


def _worker_pid(run: DagsterRun) -> int:
    return int(run.tags[WORKER_TAG].split(":")[1])


def _write_timeline(page: Page, flow: Flow, timelines: list[dict[str, float]]) -> None:
    page.write(f"| `{flow}` | s |")
    page.write("| --- | --- |")
    for what in timelines[0]:
        page.write(f"| {what} | {median(timeline[what] for timeline in timelines):.2f} |")
    page.write()


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--pending", type=int, default=10_000)
    parser.add_argument("--partitions", type=int, default=25_000)
    parser.add_argument("--videos", type=int, default=3, help="0: leave the cost of one video out")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="ca-bench-"))
    server = EmbeddedPostgres(home, durable=False)
    page = Page(server)
    write_machine(page)
    page.write("## Queue and sensors")
    page.write()
    page.write("| what | wall s | CPU s | CPU s of Postgres | result | load |")
    page.write("| --- | --- | --- | --- | --- | --- |")
    try:
        open_catalog(server).close()
        for count in options.runs:
            measure_queue(server, page, count)
        measure_sensor(server, page, options.pending, options.partitions)
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    if options.videos:
        measure_video(page, options.videos)
    if options.output:
        options.output.write_text("\n".join(page.lines).rstrip() + "\n", encoding="utf-8")
        print(f"written to {options.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
