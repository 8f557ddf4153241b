"""``captionacc up``: the services of one machine, started together and ended together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from types import FrameType

from rich.console import Console

from captionacc_dagster.orchestration.instance import prepare_dagster_home
from captionacc_dagster.resources import open_catalog
from captionacc_dagster.settings import Settings

STOP_SECONDS = 20.0


def run_services(settings: Settings, console: Console, *, host: str, port: int) -> int:
    """Run Dagster's webserver and daemon over the embedded Postgres until Ctrl-C or SIGTERM; give the exit code."""
    if _is_taken(host, port):
        console.print(f"[red]port {port} of {host} is in use[/red]; choose another: captionacc up --port N")
        return 1
    environment = {
        **os.environ,
        "DAGSTER_HOME": os.environ.get("DAGSTER_HOME") or str(prepare_dagster_home(settings)),
        "CAPTIONACC_HOME": str(settings.home),
    }
    settings.inbox_dir.mkdir(parents=True, exist_ok=True)
    with open_catalog(settings) as catalog:
        waiting = len(catalog.list_processing_requests(states=["pending"]).items)
        stopping = False

        def stop(number: int, frame: FrameType | None) -> None:
            nonlocal stopping
            stopping = True

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        dagster = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "dagster",
                "dev",
                "-m",
                "captionacc_dagster.definitions",
                "-h",
                host,
                "-p",
                str(port),
                "--log-level",
                "warning",
            ],
            env=environment,
            # A group of its own: Ctrl-C reaches us alone, and we end the children in order.
            start_new_session=True,
        )
        console.print(f"Dagster UI   http://{host}:{port}")
        console.print(f"Inbox        {settings.inbox_dir}  (drop a video here)", highlight=False, soft_wrap=True)
        console.print(f"Data         {settings.home}  ({waiting} requests waiting)", highlight=False, soft_wrap=True)
        console.print("Ctrl-C stops everything.")
        while not stopping and dagster.poll() is None:
            time.sleep(0.2)
        return _end(dagster, console, stopping)


def _end(process: subprocess.Popen[bytes], console: Console, asked: bool) -> int:
    """Ask the services to stop, wait, and make sure."""
    if process.poll() is None:
        console.print("stopping ...")
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if not asked:
        console.print(f"[red]Dagster ended by itself with code {process.returncode}[/red]")
        return process.returncode or 1
    console.print("stopped")
    return 0


def _is_taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False
