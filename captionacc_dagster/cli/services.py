"""``captionacc up`` and ``captionacc down``: the services of one machine, supervised by one process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sysconfig
import threading
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil
from rich.console import Console

from captionacc_dagster.api.local_access import sign_in_link
from captionacc_dagster.backends import open_catalog
from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster.catalog.errors import CatalogError
from captionacc_dagster.cli.home_lock import HomeInUse, HomeLock, Running, running_on
from captionacc_dagster.cli.supervisor import NotKnown, Service, ServiceEnded, Supervisor, kill_left_behind
from captionacc_dagster.orchestration.instance import prepare_dagster_home
from captionacc_dagster.settings import Settings

LOCATION = "captionacc"
STOP_SECONDS = 20.0
_LOOK_SECONDS = 0.2
CODE_SERVER_STOP_SECONDS = 5.0
# Longer than `captionacc up` takes to stop everything.
DOWN_SECONDS = 60.0
ANSWER_SECONDS = 10.0
# Each of Dagster's daemons reports every 30 seconds.
LONGEST_SILENCE_S = 120.0
API, CODE_SERVER, WEBSERVER, DAEMON = "the API", "Dagster's code server", "Dagster's webserver", "Dagster's daemon"

_DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType lastHeartbeatTime } } } }"


def run_services(
    settings: Settings, console: Console, *, host: str, port: int, api_port: int, open_page: bool = False
) -> int:
    """Run Dagster's webserver, daemon, and code server, and the API, until interrupted or terminated.

    A service that ends or hangs is started again. What a killed ``captionacc up`` of this home left behind is ended
    first. With ``open_page``, the review page opens in the person's browser as soon as it answers.

    Returns:
        The exit code: 0 if stopped, 1 if the home or a port is in use, or a service cannot be started.
    """
    # A server that listens on every address is reached on the loopback address.
    reached = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    shown = f"[{reached}]" if ":" in reached else reached
    running = Running.here(f"http://{shown}:{api_port}", f"http://{shown}:{port}")
    try:
        with HomeLock(settings.home, running):
            if killed := kill_left_behind(settings.home):
                console.print(f"ended {killed} processes that an earlier captionacc up left behind", highlight=False)
            return _run(settings, console, running, host=host, port=port, api_port=api_port, open_page=open_page)
    except HomeInUse as error:
        console.print(f"[red]{error}[/red]", highlight=False, soft_wrap=True)
        return 1


def stop_services(settings: Settings, console: Console) -> int:
    """Stop the ``captionacc up`` of the home, or what a killed one left behind.

    Returns:
        The exit code: 0 if nothing runs any more.
    """
    running = running_on(settings.home)
    if running is not None and not running.is_here:
        console.print(f"[red]captionacc up runs on another machine: {running.host}[/red]; stop it there")
        return 1
    if running is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGTERM)
        deadline = time.monotonic() + DOWN_SECONDS
        while running_on(settings.home) is not None:
            if time.monotonic() > deadline:
                with contextlib.suppress(psutil.Error):
                    psutil.Process(running.pid).kill()
            time.sleep(0.2)
    killed = kill_left_behind(settings.home)
    if running is not None:
        console.print("stopped")
    elif killed:
        console.print(f"ended {killed} processes that a killed captionacc up left behind", highlight=False)
    else:
        console.print(f"nothing runs on {settings.home}", highlight=False, soft_wrap=True)
    return 0


def _run(
    settings: Settings, console: Console, running: Running, *, host: str, port: int, api_port: int, open_page: bool
) -> int:
    for taken, option in ((port, "--port"), (api_port, "--api-port")):
        if _is_taken(host, taken):
            console.print(f"[red]port {taken} of {host} is in use[/red]; choose another: captionacc up {option} N")
            return 1
    environment = {
        **os.environ,
        "DAGSTER_HOME": os.environ.get("DAGSTER_HOME") or str(prepare_dagster_home(settings)),
        "CAPTIONACC_HOME": str(settings.home),
        "CAPTIONACC_DAGSTER_URL": running.dagster_url,
        "CAPTIONACC_API_URL": os.environ.get("CAPTIONACC_API_URL") or running.api_url,
    }
    settings.inbox_dir.mkdir(parents=True, exist_ok=True)
    logs = settings.home / "logs"
    stopping = threading.Event()
    # Closing the terminal stops this process too, unless it was started with nohup.
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    for number in (signal.SIGINT, signal.SIGTERM, *hangup):
        signal.signal(number, lambda *_: stopping.set())
    supervisor = Supervisor(environment, settings.home, stopping, console)
    code = 0
    with TemporaryDirectory(prefix="captionacc-") as folder:
        services = _services(Path(folder), logs, running, host, port, api_port)
        with open_catalog(settings) as catalog:
            waiting = len(catalog.list_processing_requests(states=["pending"]).items)
        link = sign_in_link(settings, running.api_url)
        console.print(f"Review page  {link}", highlight=False, soft_wrap=True)
        console.print(f"Dagster UI   {running.dagster_url}", highlight=False)
        console.print(f"API          {running.api_url}/docs", highlight=False, soft_wrap=True)
        console.print(f"Inbox        {settings.inbox_dir}  (drop a video here)", highlight=False, soft_wrap=True)
        console.print(f"Data         {settings.home}  ({waiting} requests waiting)", highlight=False, soft_wrap=True)
        console.print(f"Logs         {logs}", highlight=False, soft_wrap=True)
        console.print("Ctrl-C stops everything.")
        if open_page:
            arguments = (link, running, stopping)
            threading.Thread(target=open_when_ready, args=arguments, name="open the page", daemon=True).start()
        try:
            supervisor.start(services[CODE_SERVER])
            supervisor.start(services[API])
            if supervisor.wait_until_well([services[CODE_SERVER]]):
                supervisor.start(services[WEBSERVER])
                supervisor.start(services[DAEMON])
                if supervisor.wait_until_well(services.values()):
                    console.print("ready")
                clock = Clock()

                def tend() -> None:
                    _tend_database(settings, console)
                    if clock.was_set_back():
                        # Its loops wait for times of the old clock.
                        supervisor.restart(services[DAEMON], "must follow the clock, which was set back")

                supervisor.run(tend)
        except ServiceEnded as ending:
            console.print(f"[red]{ending}[/red]", highlight=False, soft_wrap=True)
            code = 1
        finally:
            try:
                console.print("stopping ...")
            finally:
                supervisor.stop([services[name] for name in (API, WEBSERVER, DAEMON)], STOP_SECONDS)
                supervisor.stop([services[CODE_SERVER]], CODE_SERVER_STOP_SECONDS)
                supervisor.close()
    console.print("stopped")
    return code


def open_when_ready(link: str, running: Running, stopping: threading.Event) -> None:
    """Open the review page in the person's browser once the API answers."""
    while not stopping.wait(_LOOK_SECONDS):
        with contextlib.suppress(httpx.HTTPError, OSError):
            _get(f"{running.api_url}/health")
            webbrowser.open(link)
            return


def _services(folder: Path, logs: Path, running: Running, host: str, port: int, api_port: int) -> dict[str, Service]:
    """Return the services by name."""
    quiet = ["--log-level", "warning"]
    # A socket in a private folder, not a port: anyone who reaches the code server can make it run anything.
    code = folder / "code.sock"
    workspace = folder / "workspace.yaml"
    workspace.write_text(
        f"load_from:\n  - grpc_server: {{socket: {code}, location_name: {LOCATION}}}\n", encoding="utf-8"
    )

    def code_server() -> list[str]:
        # One that was killed leaves its socket.
        code.unlink(missing_ok=True)
        # Not `dagster code-server start`: that is a proxy, which stays up when the process behind it dies.
        module = ["-m", "captionacc_dagster.definitions", "--location-name", LOCATION]
        return ["-m", "dagster", "api", "grpc", *module, "--socket", str(code), *quiet]

    api = ["-c", "from captionacc_dagster.cli import main; main()", "api", "--host", host, "--port", str(api_port)]
    webserver = ["-m", "dagster_webserver", "-h", host, "-p", str(port), "--dagster-log-level", "warning"]
    daemon = [str(Path(sysconfig.get_path("scripts"), "dagster-daemon")), "run"]
    served = ["-w", str(workspace), *quiet]
    return {
        service.name: service
        for service in (
            Service(CODE_SERVER, code_server, logs / "code-server.log", lambda: ask_code_server(code)),
            Service(API, lambda: api, logs / "api.log", lambda: _get(f"{running.api_url}/health")),
            Service(
                WEBSERVER,
                lambda: [*webserver, *served],
                logs / "webserver.log",
                lambda: _get(f"{running.dagster_url}/server_info"),
            ),
            Service(DAEMON, lambda: [*daemon, *served], logs / "daemon.log", DaemonProbe(running.dagster_url)),
        )
    }


def ask_code_server(path: Path) -> None:
    """Verify that a code server answers on its socket.

    Raises:
        grpc.RpcError: it does not, or it does not serve.
    """
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"unix:{path}") as channel:
        request = health_pb2.HealthCheckRequest(service="DagsterApi")
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(request, timeout=ANSWER_SECONDS)  # pyright: ignore[reportAttributeAccessIssue] - generated
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise ConnectionError("the code server does not serve")


class DaemonProbe:
    """Asks Dagster's webserver when the daemon last reported; the daemon itself answers nobody."""

    def __init__(self, dagster_url: str) -> None:
        self._url = f"{dagster_url}/graphql"

    def __call__(self) -> None:
        """Verify that one of its threads has reported recently.

        Raises:
            NotKnown: the webserver does not answer.
            ConnectionError: the daemon is silent.
        """
        try:
            answer = httpx.post(self._url, json={"query": _DAEMONS}, timeout=ANSWER_SECONDS, trust_env=False)
            found = answer.raise_for_status().json()["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise NotKnown from error
        last = max((status["lastHeartbeatTime"] or 0.0 for status in found), default=0.0)
        # A report from the future is from before the clock was set back; a daemon that waits for that time waits long.
        if abs(time.time() - last) > LONGEST_SILENCE_S:
            raise ConnectionError("the daemon has not reported")


def _get(url: str) -> None:
    httpx.get(url, timeout=ANSWER_SECONDS, trust_env=False).raise_for_status()


class Clock:
    """Notices that the machine's clock was set back, by comparing it with what it showed at the last look."""

    def __init__(self, read: Callable[[], float] = time.time) -> None:
        self._read = read
        self._last = read()

    def was_set_back(self) -> bool:
        """Return whether it shows an earlier time than at the last look."""
        before, self._last = self._last, self._read()
        return self._last < before


def _tend_database(settings: Settings, console: Console) -> None:
    """Start the embedded Postgres and its keeper again if both have died."""
    try:
        if EmbeddedPostgres(settings.home).tend():
            console.print("[red]the embedded Postgres ended[/red]; it runs again", highlight=False)
    except CatalogError as error:
        console.print(f"[red]the embedded Postgres does not start:[/red] {error}", highlight=False, soft_wrap=True)


def _is_taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False
