"""An API whose metrics are read, over real catalogs and real Dagster instances."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.test_utils import create_run_for_test, instance_for_test
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from captionacc_dagster.api import sources, system_metrics
from captionacc_dagster.api.app import create_app
from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.settings import Settings
from captionacc_dagster.tags import FLOW_TAG
from captionacc_dagster_tests.api.conftest import api_settings
from captionacc_dagster_tests.api.world import World
from captionacc_dagster_tests.machine import needed
from captionacc_dagster_tests.orchestration.queue_harness import remote_origin

TOKEN = "a-token-for-prometheus-in-tests"
DEPLOY = Path(__file__).parents[2] / "deploy"

MakeScraper = Callable[..., "Scraper"]
OpenQueue = Callable[[], AbstractContextManager["Queue"]]


@dataclass(frozen=True)
class Scrape:
    """What one scrape gave, parsed."""

    text: str

    def values(self, metric: str, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The samples of that name with at least these labels; the other labels → value, without zeros."""
        return {key: value for key, value in self.all_values(metric, **labels).items() if value}

    def all_values(self, metric: str, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The same with zeros."""
        return {
            tuple(sorted(sample.labels.items() - labels.items())): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
            if sample.name == f"captionacc_{metric}" and labels.items() <= sample.labels.items()
        }

    def value(self, metric: str, **labels: str) -> float | None:
        """The one sample of that name with exactly these labels; None when there is none."""
        return self.all_values(metric, **labels).get(())

    def names(self) -> set[str]:
        return {family.name for family in text_string_to_metric_families(self.text)}


class Scraper:
    """A client that reads the metrics as Prometheus does."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def scrape(self) -> Scrape:
        answer = self.client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200, answer.text
        return Scrape(answer.text)


def labels(**named: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(named.items()))


@pytest.fixture
def settings(tmp_path: Path, catalog_url: str) -> Settings:
    """Settings with a fresh catalog and Dagster away."""
    return api_settings(tmp_path, catalog_url, metrics_token=[SecretStr(TOKEN)])


@pytest.fixture
def world(settings: Settings, postgres_catalog: PostgresCatalog, catalog_url: str) -> World:
    """Makes tenants, people and videos."""
    return World(settings, postgres_catalog, catalog_url)


@pytest.fixture
def make_scraper(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeScraper]:
    """Makes clients of an API with these settings changed; every scrape asks anew."""
    monkeypatch.setattr(sources, "KEEP_SECONDS", 0.0)
    # A busy machine may need longer than Prometheus would wait.
    monkeypatch.setattr(system_metrics, "ANSWER_SECONDS", 60.0)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    opened: list[TestClient] = []

    def make(address: str = "203.0.113.7", base_url: str = "http://api.test", **changes: Any) -> Scraper:
        app = create_app(settings.model_copy(update=changes))
        client = TestClient(app, base_url=base_url, raise_server_exceptions=False, client=(address, 50000))
        opened.append(client.__enter__())
        return Scraper(client)

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def scraper(make_scraper: MakeScraper) -> Scraper:
    """A client of an API without Dagster."""
    return make_scraper()


class Queue:
    """A Dagster instance with runs in it."""

    def __init__(self, instance: DagsterInstance) -> None:
        self.instance = instance

    def put(
        self, flow: str, tags: Mapping[str, str] | None = None, status: DagsterRunStatus = DagsterRunStatus.QUEUED
    ) -> DagsterRun:
        """Put a run into the instance, with the tags of the queue's door and more."""
        job = str(flow)
        return create_run_for_test(
            self.instance,
            job,
            tags={FLOW_TAG: job, **(tags or {})},
            status=status,
            remote_job_origin=remote_origin(job),
            asset_graph=AssetGraph.from_assets([]),
        )


@pytest.fixture(params=["sqlite", "postgres"])
def open_queue(request: pytest.FixtureRequest) -> OpenQueue:
    """Opens an instance on SQLite and on Postgres; meanwhile it is that of ``DAGSTER_HOME``."""
    overrides: dict[str, Any] = {}
    if request.param == "postgres":
        server: EmbeddedPostgres = request.getfixturevalue("postgres_server")
        server.ensure_database(name := f"dagster_{uuid4().hex}")
        url = server.url(name).replace("postgresql://", "postgresql+psycopg2://", 1)
        overrides = {"storage": {"postgres": {"postgres_url": url}}}

    @contextmanager
    def opened() -> Iterator[Queue]:
        with instance_for_test(overrides=overrides) as instance:
            yield Queue(instance)

    return opened


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' own tool; ``.ci/install-system-packages`` installs it."""
    return needed("promtool", ("promtool", "--version"))[0]


@pytest.fixture(scope="session")
def deploy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of deploy/ with secrets, as a person makes it."""
    copy = Path(shutil.copytree(DEPLOY, tmp_path_factory.mktemp("captionacc") / "deploy"))
    subprocess.run([copy / "make-secrets"], check=True, capture_output=True)
    return copy


@pytest.fixture(scope="session")
def compose(deploy_folder: Path) -> dict[str, Any]:
    """The compose file as the tool reads it, with everything filled in."""
    tool = needed("docker compose", ("docker-compose", "version"), ("docker", "compose", "version"))
    command = [*tool, "-f", "compose.yaml", "--profile", "monitoring", "config"]
    done = subprocess.run(command, cwd=deploy_folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return yaml.safe_load(done.stdout)
