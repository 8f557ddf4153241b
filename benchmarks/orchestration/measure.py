"""What the queue and the sensors cost: a dequeue pass, an aging tick, a sensor tick, and a video's orchestration.

``python benchmarks/orchestration/measure.py [--runs 1000 10000] [--pending 10000] [--partitions 25000]``
prints a Markdown table; everything runs on an embedded Postgres in a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, build_sensor_context
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.test_utils import instance_for_test
from dagster._serdes import serialize_value

from captionacc_dagster.catalog.embedded import EmbeddedPostgres, open_catalog
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.orchestration import sensors
from captionacc_dagster.orchestration.aging import age_queued_runs
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.orchestration.priority import DAGSTER_PRIORITY_TAG, FLOW_TAG, priority_run_tags
from captionacc_dagster_tests.orchestration.queue_harness import Queue, postgres_queue, remote_origin

TIERS = ("free", "premium", "enterprise")


class Table:
    """Rows of what was measured: wall-clock and this process' CPU seconds."""

    def __init__(self) -> None:
        print("| what | wall s | CPU s | result |\n| --- | --- | --- | --- |")

    def measure(self, what: str, action: Callable[[], object]) -> None:
        """Do it once and print a row."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = action()
        print(f"| {what} | {time.perf_counter() - wall:.2f} | {time.process_time() - cpu:.2f} | {result} |", flush=True)


def fill_queue(queue: Queue, count: int) -> None:
    """Put queued runs straight into Dagster's tables; through its API each one takes dozens of statements."""
    now = datetime.now(UTC)
    runs = []
    for number in range(count):
        tenant = f"tenant-{number % 50:02}"
        # Tagged when they were asked for: by now all have gained a point or more.
        asked = now - timedelta(hours=1 + number % 30)
        tags = priority_run_tags(TIERS[number % 3], asked, tenant_id=tenant, now=asked)
        tags[FLOW_TAG] = list(Flow)[number % 3].value
        runs.append(
            DagsterRun(
                job_name=tags[FLOW_TAG],
                run_id=str(uuid4()),
                tags=tags,
                status=DagsterRunStatus.QUEUED,
                remote_job_origin=remote_origin(tags[FLOW_TAG]),
            )
        )
    storage = queue.instance.run_storage
    with storage.connect() as connection:  # pyright: ignore
        rows = [
            {
                "run_id": run.run_id,
                "pipeline_name": run.job_name,
                "status": run.status.value,
                "run_body": serialize_value(run),
            }
            for run in runs
        ]
        connection.execute(RunsTable.insert(), rows)
        pairs = [{"run_id": run.run_id, "key": k, "value": v} for run in runs for k, v in run.tags.items()]
        connection.execute(RunTagsTable.insert(), pairs)


def measure_queue(server: EmbeddedPostgres, table: Table, count: int) -> None:
    """A dequeue pass and aging ticks over that many queued runs."""
    with postgres_queue(server)() as queue:
        fill_queue(queue, count)
        directory = Queue.fresh_directory(queue.tenants)

        def tick() -> str:
            outcome = age_queued_runs(queue.instance, directory, datetime.now(UTC))
            return f"{outcome.retagged} written, {outcome.left} left"

        table.measure(f"aging tick, {count:,} queued, all have aged", tick)
        with queue.instance.run_storage.connect() as connection:  # pyright: ignore
            connection.execute(RunTagsTable.delete().where(RunTagsTable.c.key == DAGSTER_PRIORITY_TAG))
        table.measure(f"dequeue pass, {count:,} queued", lambda: f"{len(queue.dequeue())} started")


def measure_idle_aging(server: EmbeddedPostgres, table: Table, count: int) -> None:
    """An aging tick that finds nothing to write."""
    with postgres_queue(server)() as queue:
        fill_queue(queue, count)
        directory = Queue.fresh_directory(queue.tenants)
        while age_queued_runs(queue.instance, directory, datetime.now(UTC), limit=100_000, seconds=600).left:
            pass
        table.measure(
            f"aging tick, {count:,} queued, none has aged",
            lambda: f"{age_queued_runs(queue.instance, directory, datetime.now(UTC)).retagged} written",
        )


def measure_sensor(server: EmbeddedPostgres, table: Table, pending: int, partitions: int) -> None:
    """A tick of ``new_videos`` with that many pending requests and partitions."""
    catalog = open_catalog(server)
    insert = (
        "insert into captionacc.videos (id, tenant_id, filename, storage_key)"
        " select id, '{tenant}', 'a.mp4', '{tenant}/client/videos/' || id || '/video.mp4'"
        " from (select gen_random_uuid() as id from generate_series(1, {count})) s"
    )
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(insert.format(tenant=LOCAL_TENANT_ID, count=pending).encode())
    server.ensure_database("sensor")
    url = server.url("sensor").replace("postgresql://", "postgresql+psycopg2://")
    with instance_for_test(overrides={"storage": {"postgres": {"postgres_url": url}}}) as instance:
        instance.add_dynamic_partitions("videos", [str(uuid4()) for _ in range(partitions)])

        def tick(cursor: str | None = None) -> str:
            with build_sensor_context(instance=instance, cursor=cursor, resources={"catalog": catalog}) as context:
                result = sensors.new_videos(context)
            return f"{len(result.run_requests or [])} run requests"  # pyright: ignore

        table.measure(f"new_videos, {pending:,} pending, {partitions:,} partitions", tick)
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(b"update captionacc.processing_requests set state = 'succeeded'")
        table.measure(f"new_videos, nothing pending, {partitions:,} partitions", tick)
    catalog.close()


def measure_video(table: Table) -> None:
    """What orchestration adds to one small video, through the real daemon and code server."""
    from captionacc_dagster_tests.recovery.system import System
    from captionacc_dagster_tests.small_clips import make_clip

    home = Path(tempfile.mkdtemp(prefix="ca-bench-"))
    with System(home) as system:
        clip = make_clip(home / "clip.mp4", [(5, 25, "Good evening.")], frames=30)
        for _ in range(2):
            video = system.upload(clip)
            system.wait_for("the video", lambda v=video: system.is_done(v))
        os.environ["CAPTIONACC_HOME"], os.environ["DAGSTER_HOME"] = str(home), system.environment["DAGSTER_HOME"]
        with DagsterInstance.get() as instance:
            for run in instance.get_runs(limit=2):
                _print_timeline(instance, run)
    shutil.rmtree(home, ignore_errors=True)


def _print_timeline(instance: DagsterInstance, run: DagsterRun) -> None:
    kinds = DagsterEventType
    times: dict[DagsterEventType, float] = {}
    work = 0.0
    for entry in instance.all_logs(run.run_id):
        event = entry.dagster_event
        if event and event.event_type not in times:
            times[event.event_type] = entry.timestamp
        if event and event.event_type is kinds.STEP_SUCCESS:
            work += (event.step_success_data.duration_ms or 0) / 1000
    rows = {
        "queued → launched": times[kinds.RUN_STARTING] - times[kinds.RUN_ENQUEUED],
        "launched → first line of our code": times[kinds.STEP_START] - times[kinds.RUN_STARTING],
        "first line → end": times[kinds.RUN_SUCCESS] - times[kinds.STEP_START],
        "of it inside the steps": work,
    }
    for what, seconds in rows.items():
        print(f"| {run.job_name}: {what} | {seconds:.2f} | | |", flush=True)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--pending", type=int, default=10_000)
    parser.add_argument("--partitions", type=int, default=25_000)
    parser.add_argument("--no-video", action="store_true")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    table = Table()
    home = Path(tempfile.mkdtemp(prefix="ca-bench-"))
    server = EmbeddedPostgres(home, durable=False).start()
    try:
        for count in options.runs:
            measure_queue(server, table, count)
            measure_idle_aging(server, table, min(count, 1_000))
        measure_sensor(server, table, options.pending, options.partitions)
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    if not options.no_video:
        measure_video(table)


if __name__ == "__main__":
    main()
