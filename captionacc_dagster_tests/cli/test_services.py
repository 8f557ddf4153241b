"""The supervisor of ``captionacc up``: each way in which a service ends, and what is left of it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from captionacc_dagster.cli.home_lock import HomeInUse, HomeLock, Running, running_on
from captionacc_dagster.cli.services import Clock, open_when_ready, stop_services
from captionacc_dagster.cli.supervisor import (
    NotKnown,
    Service,
    ServiceEnded,
    Supervisor,
    Timing,
    kill_left_behind,
    left_behind,
)
from captionacc_dagster.settings import Settings

pytestmark = pytest.mark.integration

QUICK = Timing(look_every=0.02, probe_every=0.05, hung_probes=3, start_within=20.0, first_pause=0.05, longest_pause=0.2)
# Writes its pid, answers by a file, and has a child as a code server has a worker.
SERVICE = """
import pathlib, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])
(folder / "child").write_text(str(child.pid))
while True:
    (folder / "beat").write_text(str(time.time()))
    time.sleep(0.05)
"""
PATIENCE_S = 60.0


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


class Watched:
    """A supervisor in a thread of its own over one service."""

    def __init__(self, folder: Path, program: str = SERVICE) -> None:
        self.folder = folder
        self.stopping = threading.Event()
        self.said = io.StringIO()
        self.error: Exception | None = None
        self.also: Callable[[], None] | None = None
        console = Console(file=self.said, width=200)
        self.supervisor = Supervisor(dict(os.environ), folder, self.stopping, console, QUICK)
        arguments = ["-I", "-S", "-c", program, str(folder)]
        self.service = Service("the test's service", lambda: arguments, folder / "service.log", self._probe)
        self.thread = threading.Thread(target=self._run)

    def _probe(self) -> None:
        if time.time() - float((self.folder / "beat").read_text()) > 0.5:
            raise ConnectionError("no beat")

    def _run(self) -> None:
        try:
            self.supervisor.start(self.service)
            self.supervisor.run(self._also)
        except ServiceEnded as error:
            self.error = error

    def _also(self) -> None:
        once, self.also = self.also, None
        if once is not None:
            once()

    @property
    def pid(self) -> int:
        assert self.service.process
        return self.service.process.pid

    @property
    def child(self) -> int:
        return int((self.folder / "child").read_text())


@contextmanager
def watched(folder: Path, program: str = SERVICE) -> Iterator[Watched]:
    watch = Watched(folder, program)
    watch.thread.start()
    try:
        yield watch
    finally:
        watch.stopping.set()
        watch.thread.join()
        watch.supervisor.stop([watch.service], 0.0)
        watch.supervisor.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGSTOP])
def test_a_service_that_ends_or_hangs_is_started_again_without_its_children(
    tmp_path: Path, how: signal.Signals
) -> None:
    with watched(tmp_path) as watch:
        wait_for(lambda: watch.service.is_well, "the service")
        first, child = watch.pid, watch.child
        os.kill(first, how)
        wait_for(lambda: watch.service.is_well and watch.pid != first, "the next one")
        assert not is_alive(first)
        assert not is_alive(child)
        wait_for(lambda: "runs again" in watch.said.getvalue(), "the news")
    said = watch.said.getvalue()
    ended = "does not answer" if how is signal.SIGSTOP else f"ended unexpectedly by {how.name}"
    assert f"the test's service {ended}; starting it again in 0 s (log: {tmp_path / 'service.log'})" in said
    assert left_behind(tmp_path) == []


def test_what_must_follow_the_clock_is_started_again(tmp_path: Path) -> None:
    with watched(tmp_path) as watch:
        wait_for(lambda: watch.service.is_well, "the service")
        first = watch.pid
        watch.also = lambda: watch.supervisor.restart(watch.service, "must follow the clock")
        wait_for(lambda: watch.service.is_well and watch.pid != first, "the next one")
    assert "the test's service must follow the clock; starting it again in 0 s" in watch.said.getvalue()


def test_a_clock_that_was_set_back_is_noticed_once() -> None:
    times = iter([100.0, 105.0, 3600.0, 110.0, 115.0])
    clock = Clock(lambda: next(times))
    assert [clock.was_set_back() for _ in range(4)] == [False, False, True, False]


def test_a_service_that_pauses_for_a_moment_is_left_alone(tmp_path: Path) -> None:
    with watched(tmp_path) as watch:
        wait_for(lambda: watch.service.is_well, "the service")
        first = watch.pid
        os.kill(first, signal.SIGSTOP)
        wait_for(lambda: watch.service.failed_probes > 0, "a failed probe")
        os.kill(first, signal.SIGCONT)
        wait_for(lambda: watch.service.failed_probes == 0, "an answer")
        assert watch.pid == first


def test_the_pause_before_a_start_grows_and_is_forgotten_after_a_while() -> None:
    said = io.StringIO()
    supervisor = Supervisor({}, Path("/none"), threading.Event(), Console(file=said), Timing())
    service = Service("it", lambda: [], Path("/none/log"), lambda: None, was_well=True)
    pauses = []
    for _ in range(7):
        supervisor._ended(service, "ended")  # pyright: ignore[reportPrivateUsage]
        pauses.append(service.pause)
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    service.well_since = time.monotonic() - 61
    supervisor._ended(service, "ended")  # pyright: ignore[reportPrivateUsage]
    assert service.pause == 1


def test_a_service_that_never_starts_is_given_up_with_what_it_said(tmp_path: Path) -> None:
    with watched(tmp_path, "raise SystemExit('no such file: settings')") as watch:
        watch.thread.join(PATIENCE_S)
        assert isinstance(watch.error, ServiceEnded)
        assert "the test's service cannot be started: it ended unexpectedly with code 1" in str(watch.error)
        assert "no such file: settings" in str(watch.error)


def test_a_probe_that_cannot_tell_does_not_count(tmp_path: Path) -> None:
    with watched(tmp_path) as watch:
        wait_for(lambda: watch.service.is_well, "the service")
        first, asked = watch.pid, threading.Event()

        def cannot_tell() -> None:
            asked.set()
            raise NotKnown

        watch.service.probe = cannot_tell
        assert asked.wait(PATIENCE_S)
        time.sleep(QUICK.probe_every * (QUICK.hung_probes + 2))
        assert (watch.pid, watch.service.failed_probes) == (first, 0)


PARENT = textwrap.dedent(
    """
    import os, pathlib, sys, threading, time
    from rich.console import Console
    from captionacc_dagster.cli.home_lock import HomeLock, Running
    from captionacc_dagster.cli.supervisor import Service, Supervisor
    folder = pathlib.Path(sys.argv[1])
    with HomeLock(folder, Running.here("http://a", "http://d")):
        supervisor = Supervisor(dict(os.environ), folder, threading.Event(), Console())
        arguments = ["-I", "-S", "-c", pathlib.Path(sys.argv[2]).read_text(), str(folder)]
        supervisor.start(Service("it", lambda: arguments, folder / "log", lambda: None))
        supervisor.run()
    """
)


def start_parent(folder: Path) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """Start a supervisor as a process of its own, and return it with its service, its child, and its guard."""
    program = folder / "service.py"
    program.write_text(SERVICE)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(folder), str(program)])
    wait_for(lambda: (folder / "child").exists() and (folder / "child").read_text(), "the service's child")
    wait_for(lambda: len(left_behind(folder)) == 3, "service, child, and guard")
    return parent, left_behind(folder)


def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    parent, family = start_parent(tmp_path)
    assert running_on(tmp_path)
    parent.kill()
    parent.wait()
    wait_for(lambda: left_behind(tmp_path) == [], "their end")
    assert not any(is_alive(process.pid) for process in family)
    assert running_on(tmp_path) is None


def test_what_a_parent_killed_with_its_guard_left_behind_is_taken_over(tmp_path: Path) -> None:
    parent, family = start_parent(tmp_path)
    (guard,) = [process for process in family if "guard.py" in " ".join(process.cmdline())]
    guard.kill()
    parent.kill()
    parent.wait()
    with HomeLock(tmp_path, Running.here("", "")):
        assert kill_left_behind(tmp_path) == 2
        assert left_behind(tmp_path) == []


def test_a_killed_guard_is_replaced_and_knows_the_services(tmp_path: Path) -> None:
    parent, family = start_parent(tmp_path)
    (guard,) = [process for process in family if "guard.py" in " ".join(process.cmdline())]
    guard.kill()
    wait_for(lambda: any("guard.py" in " ".join(p.cmdline()) for p in left_behind(tmp_path) if p != guard), "another")
    parent.kill()
    parent.wait()
    wait_for(lambda: left_behind(tmp_path) == [], "the services' end")


def test_one_at_a_time_works_on_a_home(tmp_path: Path) -> None:
    assert running_on(tmp_path) is None
    holder = Running.here("http://127.0.0.1:8000", "http://127.0.0.1:3000")
    with HomeLock(tmp_path, holder):
        assert running_on(tmp_path) == holder
        with pytest.raises(HomeInUse, match=rf"already runs on {tmp_path} \(process {os.getpid()} .*captionacc down"):
            HomeLock(tmp_path, holder).__enter__()
    assert running_on(tmp_path) is None


def test_down_stops_what_runs_and_says_when_nothing_does(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, home=tmp_path)  # pyright: ignore[reportCallIssue]
    parent, family = start_parent(tmp_path)
    reaper = threading.Thread(target=parent.wait)
    reaper.start()
    said = io.StringIO()
    assert stop_services(settings, Console(file=said, width=300)) == 0
    assert stop_services(settings, Console(file=said, width=300)) == 0
    assert said.getvalue().splitlines() == ["stopped", f"nothing runs on {tmp_path}"]
    reaper.join(PATIENCE_S)
    assert not any(is_alive(process.pid) for process in family)


def test_the_page_opens_once_the_api_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, opened = [0], list[str]()

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked[0] += 1
            self.send_response(503 if asked[0] < 3 else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    monkeypatch.setattr(webbrowser, "open", opened.append)
    with HTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running = Running.here(f"http://127.0.0.1:{server.server_port}", "")
        open_when_ready("http://127.0.0.1/review/sign-in?key=1", running, threading.Event())
        server.shutdown()

    assert (asked[0], opened) == (3, ["http://127.0.0.1/review/sign-in?key=1"])
