"""Real Dagster beside a real API, each a process of its own, over one embedded home."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg

from captionacc_dagster.catalog.embedded import EmbeddedPostgres, open_catalog
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.orchestration.instance import prepare_dagster_home
from captionacc_dagster.settings import Settings
from captionacc_dagster.tags import TENANT_TAG
from captionacc_dagster_tests.api.world import ISSUER, JWT_SECRET, WEBHOOK_SECRET, World
from captionacc_dagster_tests.servers import free_port, server_process

REPOSITORY = Path(__file__).parents[2]
_START_S = 90.0


def wait_until(condition: Callable[[], Any], seconds: float, what: str, every_s: float = 0.1) -> Any:
    """Return the first true answer of a condition; fail after that many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(every_s)
    return answer


@dataclass(frozen=True)
class SeenRun:
    """A run as Dagster's webserver shows it."""

    run_id: str
    job_name: str
    status: str
    tags: dict[str, str]


@dataclass
class DagsterStack:
    """A running webserver over a code server, and how to start the rest."""

    settings: Settings
    world: World
    environment: dict[str, str]
    workspace: Path
    folder: Path
    dagster_port: int

    @property
    def dagster_url(self) -> str:
        return f"http://127.0.0.1:{self.dagster_port}"

    def runs(self, **tags: str) -> list[SeenRun]:
        """Every run with these tags (``video="…"``: a video's id, ``tenant``, ``flow``, ``request``), newest first."""
        names = {"tenant": TENANT_TAG}
        wanted = [
            {"key": names.get(name, f".dagster/captionacc_{name}"), "value": value} for name, value in tags.items()
        ]
        query = (
            "query ($filter: RunsFilter) { runsOrError(filter: $filter, limit: 2000)"
            " { ... on Runs { results { runId status jobName tags { key value } } } } }"
        )
        found = self._ask(query, filter={"tags": wanted})["runsOrError"]["results"]
        return [
            SeenRun(run["runId"], run["jobName"], run["status"], {tag["key"]: tag["value"] for tag in run["tags"]})
            for run in found
        ]

    def forget_runs(self) -> None:
        """Remove every run, so that a daemon has nothing old to do."""
        for run in self.runs():
            self._ask("mutation ($run: String!) { deleteRun(runId: $run) { __typename } }", run=run.run_id)

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = {"query": query, "variables": variables}
        return httpx.post(f"{self.dagster_url}/graphql", json=body, timeout=60).raise_for_status().json()["data"]

    @contextmanager
    def webserver(self) -> Iterator[None]:
        """Run Dagster's webserver."""
        command = [
            sys.executable, "-m", "dagster_webserver", "-w", str(self.workspace), "-h", "127.0.0.1",
            "-p", str(self.dagster_port), "--log-level", "warning",
        ]  # fmt: skip
        with _process(command, self.folder / "webserver.log", self.environment):
            _wait_for_http(f"{self.dagster_url}/server_info", self.folder / "webserver.log")
            yield

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """Run Dagster's daemon: queue, sensors, monitoring."""
        command = [sys.executable, "-m", "dagster._daemon", "run", "-w", str(self.workspace), "--log-level", "warning"]
        with _process(command, self.folder / "daemon.log", self.environment):
            yield

    @contextmanager
    def api(self, **changes: str) -> Iterator[str]:
        """Run the API under uvicorn and give its URL."""
        with api_process(self.folder, self.environment | {"CAPTIONACC_DAGSTER_URL": self.dagster_url} | changes) as url:
            yield url


@contextmanager
def api_process(folder: Path, environment: dict[str, str], *, log: str = "api.log") -> Iterator[str]:
    """Run the API alone under uvicorn and give its URL."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("captionacc")), "api", "--port", str(port)]
    with _process(command, folder / log, environment, stop_s=30.0):
        _wait_for_http(f"http://127.0.0.1:{port}/health", folder / log)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _process(
    command: list[str], log: Path, environment: dict[str, str], *, stop_s: float = 1.0
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=REPOSITORY, start_new_session=True
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(stop_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for_http(url: str, log: Path) -> None:
    def answers() -> bool:
        try:
            return httpx.get(url, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers, _START_S, url)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log.read_text(errors='replace')[-3000:]}") from None


def clean_environment(home: Path, **values: str) -> dict[str, str]:
    """The environment of a process that must read nobody's settings but these."""
    names = set(Settings.model_fields)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CAPTIONACC_", "SUPABASE_", "WASABI_", "DAGSTER_", "WEBHOOK_"))
        and name.lower() not in names
    }
    return {
        **kept,
        "CAPTIONACC_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
        "SUPABASE_JWT_SECRET": JWT_SECRET,
        "CAPTIONACC_JWT_ISSUER": ISSUER,
        "CAPTIONACC_RATE_LIMIT_WEBHOOKS": "100000/minute",
        "CAPTIONACC_RATE_LIMIT_CLIENT": "100000/minute",
        "CAPTIONACC_RATE_LIMIT_TENANT": "100000/minute",
        **values,
    }


@contextmanager
def dagster_stack() -> Iterator[DagsterStack]:
    """Start embedded Postgres, a code server and a webserver."""
    # Short, for the socket's path; outside of pytest's folders, for it holds a database.
    folder = Path(tempfile.mkdtemp(prefix="ca-api-"))
    home = folder / "home"
    server = EmbeddedPostgres(home, durable=False)
    try:
        with ExitStack() as processes:
            open_catalog(server).close()
            settings = Settings(_env_file=None, home=home)  # pyright: ignore[reportCallIssue]
            environment = clean_environment(home, DAGSTER_HOME=str(prepare_dagster_home(settings)))
            code_port = free_port()
            # Without the proxy of `dagster code-server start`, a process of its own that only a reload needs.
            command = [
                sys.executable, "-m", "dagster", "api", "grpc", "-m", "captionacc_dagster.definitions",
                "-h", "127.0.0.1", "-p", str(code_port), "--location-name", "captionacc", "--log-level", "warning",
            ]  # fmt: skip
            log = folder / "code.log"
            processes.enter_context(server_process(command, code_port, log, env=environment, stop_s=1.0))
            workspace = folder / "workspace.yaml"
            workspace.write_text(
                f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {code_port}, location_name: captionacc}}\n"
            )
            catalog = processes.enter_context(PostgresCatalog(server.url()))
            stack = DagsterStack(
                settings, World(settings, catalog, server.url()), environment, workspace, folder, free_port()
            )
            processes.enter_context(stack.webserver())
            yield stack
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def connection_counter(url: str, application: str) -> Iterator[Callable[[], int]]:
    """Return what tells how many connections of that name the server has, over one of its own."""
    with psycopg.connect(url, autocommit=True) as connection:

        def count() -> int:
            row = connection.execute(
                "select count(*) from pg_stat_activity where application_name = %s", (application,)
            ).fetchone()
            assert row is not None
            return row[0]

        yield count
