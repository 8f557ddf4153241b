"""``captionacc up``: the services of one machine, started together and ended together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from typing import BinaryIO

from rich.console import Console

from captionacc_dagster.orchestration.instance import prepare_dagster_home
from captionacc_dagster.resources import open_catalog
from captionacc_dagster.settings import Settings

STOP_SECONDS = 20.0


def run_services(settings: Settings, console: Console, *, host: str, port: int, api_port: int) -> int:
    """Run Dagster's webserver and daemon, and the API, until Ctrl-C or SIGTERM; give the exit code."""
    for taken, option in ((port, "--port"), (api_port, "--api-port")):
        if _is_taken(host, taken):
            console.print(f"[red]port {taken} of {host} is in use[/red]; choose another: captionacc up {option} N")
            return 1
    # What listens on every address is reached on this machine's own.
    reached = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    environment = {
        **os.environ,
        "DAGSTER_HOME": os.environ.get("DAGSTER_HOME") or str(prepare_dagster_home(settings)),
        "CAPTIONACC_HOME": str(settings.home),
        "CAPTIONACC_DAGSTER_URL": f"http://{reached}:{port}",
    }
    settings.inbox_dir.mkdir(parents=True, exist_ok=True)
    api_log = settings.home / "api" / "api.log"
    api_log.parent.mkdir(parents=True, exist_ok=True)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with open_catalog(settings) as catalog, api_log.open("ab") as log:
        waiting = len(catalog.list_processing_requests(states=["pending"]).items)
        dagster = ["-m", "dagster", "dev", "-m", "captionacc_dagster.definitions", "--log-level", "warning"]
        api = ["-c", "from captionacc_dagster.cli import main; main()", "api"]
        services = {
            "the API": _start([*api, "--host", host, "--port", str(api_port)], environment, log),
            "Dagster": _start([*dagster, "-h", host, "-p", str(port)], environment, None),
        }
        console.print(f"Dagster UI   http://{host}:{port}")
        console.print(f"API          http://{host}:{api_port}/docs  (log: {api_log})", highlight=False, soft_wrap=True)
        console.print(f"Inbox        {settings.inbox_dir}  (drop a video here)", highlight=False, soft_wrap=True)
        console.print(f"Data         {settings.home}  ({waiting} requests waiting)", highlight=False, soft_wrap=True)
        console.print("Ctrl-C stops everything.")
        while not stopping.wait(0.2):
            ended = [name for name, process in services.items() if process.poll() is not None]
            if ended:
                console.print(f"[red]{ended[0]} ended by itself with code {services[ended[0]].returncode}[/red]")
                break
        console.print("stopping ...")
        for process in services.values():
            _end(process)
    if not stopping.is_set():
        return 1
    console.print("stopped")
    return 0


def _start(arguments: list[str], environment: dict[str, str], log: BinaryIO | None) -> subprocess.Popen[bytes]:
    # A group of its own: Ctrl-C reaches us alone, and we end the children in order.
    return subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=log, stderr=log, start_new_session=True
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a service to stop, wait, and make sure."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _is_taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False
