"""Send webhooks as Supabase does and measure the answers; shared by the benchmark and the load test."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID, uuid4

import httpx
import psutil

PATH = "/webhooks/supabase/videos"


@dataclass(frozen=True)
class Answer:
    """The answer to one webhook: HTTP status, seconds, and body."""

    video_id: UUID
    tenant_id: UUID
    status: int
    seconds: float
    run_id: str | None
    priority: int | None


@dataclass
class Load:
    """The results of one wave of webhooks."""

    name: str
    answers: list[Answer]
    seconds: float
    memory_before_mb: float = 0.0
    memory_peak_mb: float = 0.0
    connections_peak: int = 0
    cpu_s: float = 0.0

    def quantile_ms(self, part: float) -> float:
        """Return the time within which a share of the webhooks was answered, in milliseconds."""
        ordered = sorted(answer.seconds for answer in self.answers)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1000

    def figures(self) -> dict[str, str | float]:
        """Return what results.json keeps of a wave."""
        return {
            "name": self.name,
            "total_s": round(self.seconds, 2),
            "p50_ms": round(self.quantile_ms(0.5)),
            "p95_ms": round(self.quantile_ms(0.95)),
            "p99_ms": round(self.quantile_ms(0.99)),
            "memory_mb": round(self.memory_peak_mb - self.memory_before_mb, 1),
            "connections": self.connections_peak,
        }

    def missed(self) -> list[str]:
        """Return the targets of the test plan that this wave misses."""
        mean = statistics.mean(answer.seconds for answer in self.answers)
        longest = max(answer.seconds for answer in self.answers)
        measured = {
            "10 at once": [("on average", mean, 1.0), ("at most", longest, 3.0)],
            "50 at once": [("all answered", self.seconds, 5.0)],
        }.get(self.name, [])
        refused = sum(answer.status != 202 for answer in self.answers)
        late = [
            f"{self.name}: {what} in {is_s:.2f} s, not {most:.0f} s" for what, is_s, most in measured if is_s >= most
        ]
        return late + ([f"{self.name}: {refused} not accepted"] if refused else [])

    def line(self) -> str:
        """Return the row of the table."""
        accepted = sum(answer.status == 202 for answer in self.answers)
        runs = len({answer.run_id for answer in self.answers if answer.run_id})
        mean = statistics.mean(answer.seconds for answer in self.answers) * 1000
        return (
            f"{self.name:<22} {len(self.answers):>4} {accepted:>8} {runs:>5} {self.seconds:>7.2f} {mean:>7.0f} "
            f"{self.quantile_ms(0.5):>7.0f} {self.quantile_ms(0.95):>7.0f} {self.quantile_ms(0.99):>7.0f} "
            f"{self.memory_peak_mb - self.memory_before_mb:>8.1f} {self.connections_peak:>6} "
            f"{self.cpu_s / len(self.answers) * 1000:>6.0f}"
        )


HEADER = (
    f"{'wave':<22} {'sent':>4} {'accepted':>8} {'runs':>5} {'total s':>7} {'mean ms':>7} {'p50':>7} {'p95':>7} "
    f"{'p99':>7} {'MB more':>8} {'DB con':>6} {'CPU ms':>6}"
)


def cpu_seconds(postgres: psutil.Process) -> float:
    """Return the CPU seconds of the servers that this process started, and of Postgres.

    CPU time tells what a webhook costs, however busy the machine is.
    """
    total = 0.0
    for process in [*psutil.Process().children(recursive=True), postgres, *postgres.children()]:
        with contextlib.suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            total += used.user + used.system
            if process == postgres:  # connections that have closed
                total += used.children_user + used.children_system
    return total


def process_at(port: int) -> psutil.Process:
    """Return the process that listens on a port of this machine.

    Raises:
        LookupError: no process does.
    """
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
            return psutil.Process(connection.pid)
    raise LookupError(f"no process listens on {port}")


def send_wave(
    name: str,
    url: str,
    secret: str,
    tenants: Sequence[UUID],
    count: int,
    at_once: int,
    *,
    connections: Callable[[], int],
) -> Load:
    """Send ``count`` webhooks for new videos of the tenants in turn, ``at_once`` at a time, and measure the server."""
    stop = threading.Event()
    process = process_at(int(url.rpartition(":")[2]))

    def memory_mb() -> float:
        return process.memory_info().rss / 1e6

    load = Load(name, [], 0.0, memory_before_mb=memory_mb())

    def watch() -> None:
        while not stop.wait(0.1):
            load.memory_peak_mb = max(load.memory_peak_mb, memory_mb())
            load.connections_peak = max(load.connections_peak, connections())

    watcher = threading.Thread(target=watch)
    watcher.start()
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    with httpx.Client(base_url=url, timeout=120, limits=limits) as client, ThreadPoolExecutor(at_once) as threads:
        began = time.perf_counter()
        load.answers = list(
            threads.map(lambda number: _send(client, secret, tenants[number % len(tenants)]), range(count))
        )
        load.seconds = time.perf_counter() - began
    stop.set()
    watcher.join()
    load.memory_peak_mb = max(load.memory_peak_mb, memory_mb())
    return load


def _send(client: httpx.Client, secret: str, tenant_id: UUID) -> Answer:
    video_id = uuid4()
    record = {
        "id": str(video_id),
        "tenant_id": str(tenant_id),
        "storage_key": f"{tenant_id}/client/videos/{video_id}/video.mp4",
        "filename": "load.mp4",
    }
    began = time.perf_counter()
    answer = client.post(
        PATH,
        headers={"Authorization": f"Bearer {secret}"},
        json={"type": "INSERT", "table": "videos", "record": record},
    )
    seconds = time.perf_counter() - began
    body = answer.json()
    return Answer(video_id, tenant_id, answer.status_code, seconds, body.get("flow_run_id"), body.get("priority"))
