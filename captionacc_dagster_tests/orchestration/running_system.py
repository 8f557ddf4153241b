"""``captionacc up`` as a process of its own, for tests that ask it, end it, and kill its parts."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
from dagster import DagsterRun

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster_tests.cli.conftest import command_environment
from captionacc_dagster_tests.servers import free_port

PATIENCE_S = 180.0
ASSETS = ["raw_video", "full_frames", "ocr_db", "layout_db"]
SERVICES = {
    "Dagster's code server": "captionacc_dagster.definitions",
    "Dagster's webserver": "dagster_webserver",
    "Dagster's daemon": "dagster-daemon",
    "the API": " api --host",
}


class System:
    """``captionacc up`` over a home of its own; without ``runs``, the queue is held, and what waits can be read."""

    def __init__(self, folder: Path, catalog: Catalog, *, runs: int = 0, approval: str = "never") -> None:
        self.home, self.printed, self.catalog = folder / "home", folder / "up.log", catalog
        self.port, self.api_port = free_port(), free_port()
        self.environment = command_environment(
            self.home, CAPTIONACC_MAX_CONCURRENT_RUNS=str(runs), CAPTIONACC_AUTO_APPROVE_LAYOUT=approval
        )
        self.start()

    def start(self) -> None:
        """Start it, on the same ports as before."""
        command = [sys.executable, "-m", "captionacc_dagster", "up"]
        command += ["--port", str(self.port), "--api-port", str(self.api_port)]
        with self.printed.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=self.home.parent, env=self.environment, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    def family(self) -> list[psutil.Process]:
        """The processes that it started, but for the server of the catalog, which outlives it for a while."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if "postgres" not in _command(child)]

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
        deadline = time.monotonic() + seconds
        while not (answer := condition()):
            assert time.monotonic() < deadline, f"timed out waiting for {what}\n{self.log()[-3000:]}"
            assert self.process.poll() is None, self.log()[-3000:]
            time.sleep(0.3)
        return answer

    def is_ready(self) -> bool:
        try:
            answer = self.ask("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
        except httpx.HTTPError:
            return False
        return bool(answer["repositoriesOrError"].get("nodes"))

    def says_ready(self) -> bool:
        """Whether ``/ready`` finds every part."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.api_port}/ready", timeout=20).status_code == 200
        except httpx.HTTPError:
            return False

    def service(self, part: str) -> psutil.Process:
        """The process whose command contains a word."""
        return next(child for child in self.family() if part in _command(child))

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask the webserver, as the UI does."""
        body = {"query": query, "variables": variables}
        return (
            httpx.post(f"http://127.0.0.1:{self.port}/graphql", json=body, timeout=60).raise_for_status().json()["data"]
        )

    def runs(self) -> list[DagsterRun]:
        """Every run that was submitted, oldest first."""
        # Not over GraphQL, which hides most tags.
        query = (
            "select r.pipeline_name, r.run_id, jsonb_object_agg(t.key, t.value) from runs r"
            " join run_tags t using (run_id) where r.status <> 'NOT_STARTED' group by r.id order by r.id"
        )
        with psycopg.connect(EmbeddedPostgres(self.home).url("dagster")) as connection:
            return [DagsterRun(name, run_id, tags=tags) for name, run_id, tags in connection.execute(query).fetchall()]

    def backfill(self, partitions: list[str]) -> dict[str, Any]:
        """What "Materialize" with several partitions sends."""
        mutation = (
            "mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params)"
            " { __typename ... on LaunchBackfillSuccess { backfillId } ... on Error { message }"
            " ... on PartitionKeysNotFoundError { partitionKeys } } }"
        )
        assets = [{"path": [name]} for name in ASSETS]
        params = {"assetSelection": assets, "partitionNames": partitions, "tags": []}
        return self.ask(mutation, params=params)["launchPartitionBackfill"]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, "DAGSTER_HOME": str(self.home / "dagster")}
        return subprocess.run(
            [sys.executable, "-m", *arguments], env=environment, text=True, capture_output=True, timeout=PATIENCE_S
        )

    def log(self) -> str:
        return self.printed.read_text(errors="replace")

    def end(self) -> None:
        for process in [*self.family(), self.process] if self.process.poll() is None else []:
            process.kill()
        self.process.wait()


def _command(process: psutil.Process) -> str:
    """Return the command line of a process; nothing of one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
