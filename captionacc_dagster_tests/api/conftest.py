"""The API over a real catalog and store, with Dagster away, in a stand-in, or real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from captionacc_dagster.api import services
from captionacc_dagster.api.app import create_app
from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster.catalog.models import LOCAL_ACCESS_TIER, LOCAL_TENANT_ID, LOCAL_TENANT_NAME
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.settings import Settings
from captionacc_dagster_tests.api.dagster_stack import DagsterStack, dagster_stack
from captionacc_dagster_tests.api.dagster_stand_in import StandIn, dagster_stand_in
from captionacc_dagster_tests.api.page_browser import PageBrowser
from captionacc_dagster_tests.api.world import ISSUER, JWT_SECRET, WEBHOOK_SECRET, Person, World
from captionacc_dagster_tests.servers import free_port

MakeClient = Callable[..., TestClient]


def api_settings(home: Path, database_url: str, **changes: Any) -> Settings:
    """Settings of an API under test, whatever the environment says."""
    values: dict[str, Any] = {
        "home": home,
        "database_url": SecretStr(database_url),
        "supabase_url": None,
        "wasabi_bucket": None,
        "webhook_secret": [SecretStr(WEBHOOK_SECRET)],
        "webhook_signing_secret": [],
        "supabase_jwt_secret": SecretStr(JWT_SECRET),
        "jwt_issuer": ISSUER,
        # Nobody listens there.
        "dagster_url": f"http://127.0.0.1:{free_port()}",
        "rate_limit_webhooks": "100000/minute",
        "rate_limit_client": "100000/minute",
        "rate_limit_tenant": "100000/minute",
        "rate_limit_failures": "100000/minute",
        **changes,
    }
    return Settings(_env_file=None, **values)  # pyright: ignore[reportCallIssue]


@pytest.fixture(scope="session")
def api_database(postgres_server: EmbeddedPostgres) -> str:
    """One database for all tests of the API: making one for each takes longer than most of them."""
    postgres_server.ensure_database("api_tests", template="captionacc")
    return postgres_server.url("api_tests")


@pytest.fixture
def catalog_url(api_database: str) -> str:
    """The libpq URL of a migrated catalog with the local tenant and nothing else."""
    with psycopg.connect(api_database, autocommit=True) as connection:
        for table in ("captionacc.tenants", "captionacc.webhook_deliveries", "captionacc.security_audit_log"):
            connection.execute(f"delete from {table}".encode())
        connection.execute("delete from auth.users")
    with PostgresCatalog(api_database) as catalog:
        catalog.ensure_tenant(LOCAL_TENANT_ID, LOCAL_TENANT_NAME, LOCAL_ACCESS_TIER, auto_approve_layout=True)
    return api_database


@pytest.fixture
def settings(tmp_path: Path, catalog_url: str) -> Settings:
    """Settings with Dagster away."""
    return api_settings(tmp_path, catalog_url)


@pytest.fixture
def world(settings: Settings, postgres_catalog: PostgresCatalog, catalog_url: str) -> World:
    """Makes tenants, people and videos."""
    return World(settings, postgres_catalog, catalog_url)


@pytest.fixture
def make_client(settings: Settings) -> Iterator[MakeClient]:
    """Makes clients of an API with these settings changed: ``make_client(dagster_url=…)``."""
    opened: list[TestClient] = []

    def make(address: str = "203.0.113.7", **changes: Any) -> TestClient:
        app = create_app(settings.model_copy(update=changes))
        client = TestClient(app, raise_server_exceptions=False, client=(address, 50000))
        opened.append(client.__enter__())
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client: MakeClient) -> TestClient:
    """A client of an API without Dagster."""
    return make_client()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog that is away is given up soon; what is said then is the same."""
    monkeypatch.setattr(services, "CATALOG_TIMEOUT_S", 0.3)


@pytest.fixture
def dagster() -> Iterator[StandIn]:
    """Dagster as a stand-in whose behavior the test chooses."""
    with dagster_stand_in() as state:
        yield state


@pytest.fixture
def stand_in_client(make_client: MakeClient, dagster: StandIn) -> TestClient:
    """A client of an API with that Dagster."""
    return make_client(dagster_url=dagster.url)


@pytest.fixture
def person(world: World) -> Person:
    """Somebody of a tenant of their own."""
    return world.person(world.tenant())


@pytest.fixture
def browser(stand_in_client: TestClient, person: Person) -> PageBrowser:
    """Their browser, signed in."""
    return PageBrowser(stand_in_client, person)


@pytest.fixture(scope="package")
def stack() -> Iterator[DagsterStack]:
    """Real Dagster: webserver and code server over an embedded home; no daemon unless a test starts it."""
    with dagster_stack() as running:
        yield running


@pytest.fixture(scope="package")
def stack_api(stack: DagsterStack) -> Iterator[httpx.Client]:
    """The API under uvicorn beside that Dagster."""
    with stack.api() as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client
