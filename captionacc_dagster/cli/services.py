"""``captionacc up``: start and stop the services of one machine together."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, BinaryIO

from rich.console import Console

from captionacc_dagster.api.local_access import sign_in_link
from captionacc_dagster.backends import open_catalog
from captionacc_dagster.orchestration.instance import prepare_dagster_home
from captionacc_dagster.settings import Settings

LOCATION = "captionacc"
STOP_SECONDS = 20.0
CODE_SERVER_STOP_SECONDS = 5.0
_LOOK_SECONDS = 0.2


class ServiceEnded(Exception):
    """A service ended, and the others cannot work without it."""


class Services:
    """Child processes, each in its own process group, so that Ctrl-C only reaches this process."""

    def __init__(self, environment: dict[str, str], stopping: threading.Event) -> None:
        self._environment = environment
        self._stopping = stopping
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, arguments: list[str], log: BinaryIO | None = None) -> None:
        """Start a Python program of this installation; without a log, its output is shown here."""
        process = self._processes[name] = subprocess.Popen(
            [sys.executable, *arguments],
            env=self._environment,
            stdout=log or subprocess.PIPE,
            stderr=log or subprocess.STDOUT,
            start_new_session=True,
        )
        if process.stdout is not None:
            threading.Thread(target=self._show, args=(process.stdout,), name=name, daemon=True).start()

    def _show(self, written: IO[bytes]) -> None:
        """Pass on a service's output until it is told to stop; work interrupted after that would appear as errors."""
        for line in written:
            if not self._stopping.is_set():
                with contextlib.suppress(OSError):  # the terminal may be closed
                    sys.stderr.buffer.write(line)
                    sys.stderr.buffer.flush()

    def wait_for_socket(self, path: Path) -> bool:
        """Wait until a server listens on the socket; return False if stopping was requested instead.

        Raises:
            ServiceEnded: a service ended meanwhile.
        """
        while not self._stopping.wait(_LOOK_SECONDS):
            self.check()
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
                probe.connect(str(path))
                return True
        return False

    def wait_for_stop(self) -> None:
        """Wait until stopping is requested.

        Raises:
            ServiceEnded: a service ended by itself.
        """
        while not self._stopping.wait(_LOOK_SECONDS):
            self.check()

    def check(self) -> None:
        """Verify that all services are alive.

        Raises:
            ServiceEnded: a service has ended.
        """
        for name, process in self._processes.items():
            if (code := process.poll()) is not None:
                how = f"with code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
                raise ServiceEnded(f"{name} ended unexpectedly {how}")

    def stop(self, names: list[str], seconds: float) -> None:
        """Ask services to stop, wait, and kill what is left of them and their children.

        An active run is killed, not interrupted: an interrupted run counts as failed, a killed one is restarted.
        """
        processes = [self._processes[name] for name in names if name in self._processes]
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + seconds
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0.0))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


API, CODE_SERVER, WEBSERVER, DAEMON = "the API", "Dagster's code server", "Dagster's webserver", "Dagster's daemon"


def run_services(settings: Settings, console: Console, *, host: str, port: int, api_port: int) -> int:
    """Run Dagster's webserver, daemon, and code server, and the API, until interrupted or terminated.

    Returns:
        The exit code: 0 if stopped, 1 if a service could not start or ended by itself.
    """
    for taken, option in ((port, "--port"), (api_port, "--api-port")):
        if _is_taken(host, taken):
            console.print(f"[red]port {taken} of {host} is in use[/red]; choose another: captionacc up {option} N")
            return 1
    # A server that listens on every address is reached on the loopback address.
    reached = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    environment = {
        **os.environ,
        "DAGSTER_HOME": os.environ.get("DAGSTER_HOME") or str(prepare_dagster_home(settings)),
        "CAPTIONACC_HOME": str(settings.home),
        "CAPTIONACC_DAGSTER_URL": f"http://{reached}:{port}",
        "CAPTIONACC_API_URL": os.environ.get("CAPTIONACC_API_URL") or f"http://{reached}:{api_port}",
    }
    settings.inbox_dir.mkdir(parents=True, exist_ok=True)
    api_log = settings.home / "api" / "api.log"
    api_log.parent.mkdir(parents=True, exist_ok=True)
    stopping = threading.Event()
    # Closing the terminal stops this process too, unless it was started with nohup.
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    for number in (signal.SIGINT, signal.SIGTERM, *hangup):
        signal.signal(number, lambda *_: stopping.set())
    services = Services(environment, stopping)
    code = 0
    with (
        open_catalog(settings) as catalog,
        api_log.open("ab") as log,
        TemporaryDirectory(prefix="captionacc-") as folder,
    ):
        waiting = len(catalog.list_processing_requests(states=["pending"]).items)
        link = sign_in_link(settings, f"http://{reached}:{api_port}")
        console.print(f"Review page  {link}", highlight=False, soft_wrap=True)
        console.print(f"Dagster UI   http://{host}:{port}")
        console.print(f"API          http://{host}:{api_port}/docs  (log: {api_log})", highlight=False, soft_wrap=True)
        console.print(f"Inbox        {settings.inbox_dir}  (drop a video here)", highlight=False, soft_wrap=True)
        console.print(f"Data         {settings.home}  ({waiting} requests waiting)", highlight=False, soft_wrap=True)
        console.print("Ctrl-C stops everything.")
        try:
            _start(services, Path(folder), host, port, api_port, log)
            services.wait_for_stop()
        except ServiceEnded as ending:
            console.print(f"[red]{ending}[/red]")
            code = 1
        finally:
            try:
                console.print("stopping ...")
            finally:
                services.stop([API, WEBSERVER, DAEMON], STOP_SECONDS)
                services.stop([CODE_SERVER], CODE_SERVER_STOP_SECONDS)
    console.print("stopped")
    return code


def _start(services: Services, folder: Path, host: str, port: int, api_port: int, log: BinaryIO) -> None:
    """Start the services in the order of their dependencies.

    Raises:
        ServiceEnded: a service ended meanwhile.
    """
    quiet = ["--log-level", "warning"]
    # A socket in a private folder, not a port: anyone who reaches the code server can make it run anything.
    code = folder / "code.sock"
    module = ["-m", "captionacc_dagster.definitions", "--location-name", LOCATION]
    services.start(CODE_SERVER, ["-m", "dagster", "code-server", "start", *module, "--socket", str(code), *quiet])
    api = ["-c", "from captionacc_dagster.cli import main; main()", "api"]
    services.start(API, [*api, "--host", host, "--port", str(api_port)], log)
    if not services.wait_for_socket(code):
        return
    workspace = folder / "workspace.yaml"
    workspace.write_text(
        f"load_from:\n  - grpc_server: {{socket: {code}, location_name: {LOCATION}}}\n", encoding="utf-8"
    )
    served = ["-w", str(workspace), *quiet]
    webserver = ["-m", "dagster_webserver", "-h", host, "-p", str(port), "--dagster-log-level", "warning"]
    services.start(WEBSERVER, [*webserver, *served])
    services.start(DAEMON, ["-m", "dagster._daemon", "run", *served])


def _is_taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False
