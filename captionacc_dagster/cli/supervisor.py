"""Run the services of ``captionacc up``: restart one that ended or hangs, and leave none behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.markup import escape

# In the environment of every service and its children: the home that they belong to.
HOME_VARIABLE = "_CAPTIONACC_UP"
_GUARD = Path(__file__).with_name("guard.py")
_LARGEST_LOG_BYTES = 10_000_000
_SHOWN_LINES = 15


class ServiceEnded(Exception):
    """A service cannot be started at all."""


class NotKnown(Exception):
    """A probe cannot tell, because it asks another service that is unavailable."""


@dataclass(frozen=True)
class Timing:
    """When the supervisor acts, in seconds.

    A machine that is busy may answer late: a service counts as hung only after ``hung_probes`` failed probes in a row,
    at least a minute. Probes are counted, not seconds, because a laptop that slept wakes up with every answer late.
    """

    look_every: float = 0.2
    probe_every: float = 5.0
    hung_probes: int = 12
    start_within: float = 300.0
    first_pause: float = 1.0
    longest_pause: float = 30.0
    # A service that was well for this long starts again without a pause.
    settled: float = 60.0


# Tries to start a service that was never well before the whole start is given up.
STARTS = 3


@dataclass
class Service:
    """A service: how to start it, and how to ask whether it is well.

    Attributes:
        name: as shown to a person.
        arguments: of Python; called for each start.
        log: file of its output.
        probe: raises if the service does not answer; must return within about ten seconds.
    """

    name: str
    arguments: Callable[[], Sequence[str]]
    log: Path
    probe: Callable[[], None]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    well_since: float | None = None
    was_well: bool = False
    failed_probes: int = 0
    starts: int = 0
    pause: float = 0.0
    start_at: float | None = None

    @property
    def is_well(self) -> bool:
        """Whether its process lives and has answered since it was started."""
        return self.process is not None and self.process.poll() is None and self.well_since is not None


class Supervisor:
    """Starts services, each in its own process group, and keeps them running.

    Ctrl-C only reaches this process. A guard process ends the services if this one is killed.

    Args:
        environment: of the services.
        home: the folder that they work on.
        stopping: set when everything is to stop.
        console: what a person reads.
        timing: when it acts.
    """

    def __init__(
        self,
        environment: dict[str, str],
        home: Path,
        stopping: threading.Event,
        console: Console,
        timing: Timing | None = None,
    ) -> None:
        self.timing = timing or Timing()
        self._environment = {**environment, HOME_VARIABLE: str(home.resolve())}
        self._stopping = stopping
        self._console = console
        self._services: list[Service] = []
        self._guard: subprocess.Popen[bytes] | None = None

    def start(self, service: Service) -> None:
        """Start a service and watch it from now on."""
        self._services.append(service)
        self._launch(service)
        threading.Thread(target=self._probe, args=(service,), name=f"probe {service.name}", daemon=True).start()

    def wait_until_well(self, services: Iterable[Service]) -> bool:
        """Wait until these services answer; return False if stopping was requested instead.

        Raises:
            ServiceEnded: a service cannot be started.
        """
        waited_for = list(services)
        while not all(service.is_well for service in waited_for):
            if self._stopping.wait(self.timing.look_every):
                return False
            self.look()
        return True

    def run(self, also: Callable[[], None] | None = None) -> None:
        """Keep the services running until stopping is requested.

        Args:
            also: called every few seconds, for what is no service of this process.

        Raises:
            ServiceEnded: a service that never was well cannot be started.
        """
        next_time = 0.0
        while not self._stopping.wait(self.timing.look_every):
            self.look()
            if also is not None and time.monotonic() >= next_time:
                also()
                next_time = time.monotonic() + self.timing.probe_every

    def look(self) -> None:
        """Restart what has ended or hangs.

        Raises:
            ServiceEnded: a service that never was well cannot be started.
        """
        self._watch_over_guard()
        for service in self._services:
            self._look_at(service)

    def _look_at(self, service: Service) -> None:
        now = time.monotonic()
        process = service.process
        if process is None:
            if service.start_at is not None and now >= service.start_at:
                self._launch(service)
            return
        code = process.poll()
        if code is not None:
            how = f"with code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
            self._ended(service, f"ended unexpectedly {how}")
        elif service.well_since is not None and service.failed_probes >= self.timing.hung_probes:
            self._ended(service, "does not answer")
        elif service.well_since is None and now - service.started_at > self.timing.start_within:
            self._ended(service, f"did not answer within {self.timing.start_within:.0f} s of its start")

    def restart(self, service: Service, why: str) -> None:
        """End a service that runs, and start it again; call while :meth:`run` is not looking, as from what it calls."""
        if service.process is not None:
            self._ended(service, why)

    def _ended(self, service: Service, how: str) -> None:
        """End what is left of a service and plan its next start."""
        self._kill(service)
        well_for = time.monotonic() - service.well_since if service.well_since is not None else 0.0
        if not service.was_well and service.starts >= STARTS:
            raise ServiceEnded(f"{service.name} cannot be started: it {how}\n{_last_lines(service.log)}")
        if well_for >= self.timing.settled:
            service.pause = 0.0
        service.pause = min(max(2 * service.pause, self.timing.first_pause), self.timing.longest_pause)
        service.start_at = time.monotonic() + service.pause
        self._say(f"[red]{service.name} {how}[/red]; starting it again in {service.pause:.0f} s (log: {service.log})")

    def _launch(self, service: Service) -> None:
        service.log.parent.mkdir(parents=True, exist_ok=True)
        if service.log.exists() and service.log.stat().st_size > _LARGEST_LOG_BYTES:
            service.log.replace(service.log.with_suffix(".old.log"))
        with service.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *service.arguments()],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        service.well_since, service.failed_probes, service.start_at = None, 0, None
        service.started_at = time.monotonic()
        service.starts += 1
        service.process = process
        self._tell_guard(f"+{process.pid}")

    def _probe(self, service: Service) -> None:
        """Ask one service again and again whether it is well."""
        while True:
            process = service.process
            if process is not None:
                try:
                    service.probe()
                except NotKnown:
                    pass
                except Exception:  # noqa: BLE001 - whatever it raises, the service did not answer
                    if service.process is process:
                        service.failed_probes += 1
                else:
                    self._is_well(service, process)
            time.sleep(self.timing.probe_every if service.well_since is not None else self.timing.look_every)

    def _is_well(self, service: Service, process: subprocess.Popen[bytes]) -> None:
        # An answer that was asked for before a restart says nothing about the new process.
        if service.process is not process or process.poll() is not None:
            return
        service.failed_probes = 0
        if service.well_since is None:
            service.well_since = time.monotonic()
            if service.was_well:
                self._say(f"{service.name} runs again")
            service.was_well = True

    def stop(self, services: Sequence[Service], seconds: float) -> None:
        """Ask services to stop, wait, and kill what is left of them and their children.

        An active run is killed, not interrupted: an interrupted run counts as failed, a killed one is restarted.
        """
        running = [(service, service.process) for service in services if service.process is not None]
        for _, process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + seconds
        for service, process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0.0))
            self._kill(service)

    def close(self) -> None:
        """Dismiss the guard; the services have been stopped."""
        if self._guard is not None:
            self._tell_guard("done")
            with contextlib.suppress(OSError):
                assert self._guard.stdin
                self._guard.stdin.close()
            self._guard.wait()

    def _kill(self, service: Service) -> None:
        process, service.process = service.process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._tell_guard(f"-{process.pid}")

    def _watch_over_guard(self) -> None:
        if self._guard is None or self._guard.poll() is not None:
            self._start_guard()

    def _start_guard(self) -> None:
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environment,
            start_new_session=True,
        )
        for service in self._services:
            if service.process is not None:
                self._write_to_guard(f"+{service.process.pid}")

    def _tell_guard(self, line: str) -> None:
        if self._guard is None:
            self._start_guard()
            return
        # A guard that has died is replaced at the next look, and is then told everything.
        with contextlib.suppress(OSError):
            self._write_to_guard(line)

    def _write_to_guard(self, line: str) -> None:
        assert self._guard
        assert self._guard.stdin
        self._guard.stdin.write(f"{line}\n".encode())
        self._guard.stdin.flush()

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be closed
            self._console.print(text, highlight=False, soft_wrap=True)


def left_behind(home: Path) -> list[psutil.Process]:
    """Return the processes of services of this home, and of their children; call while holding the home's lock."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(HOME_VARIABLE) == str(home.resolve()):
                found.append(process)
    return found


def kill_left_behind(home: Path) -> int:
    """Kill what an earlier supervisor of this home left behind, and return the number of processes."""
    killed: set[int] = set()
    deadline = time.monotonic() + 10.0
    # Again, because a process may have started another one meanwhile.
    while (found := left_behind(home)) and time.monotonic() < deadline:
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        killed |= {process.pid for process in found}
        psutil.wait_procs(found, timeout=2.0)
    return len(killed)


def _last_lines(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
        return escape("\n".join(lines))
    return ""
