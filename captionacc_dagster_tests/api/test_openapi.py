"""The description of the API is complete, and no request that it allows, or forbids, breaks anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings, strategies
from schemathesis import GenerationMode

from captionacc_dagster.api import events
from captionacc_dagster.api.app import create_app
from captionacc_dagster.settings import Settings
from captionacc_dagster_tests.api.dagster_stand_in import StandIn, dagster_stand_in
from captionacc_dagster_tests.api.world import WEBHOOK_HEADERS, World

pytestmark = pytest.mark.integration

_UNHURRIED = (
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
    HealthCheck.large_base_example,
)


def _readable(headers: Any) -> dict[str, str]:
    """Leave out what a client could not send."""
    return {name: value for name, value in headers.items() if str(value).isascii() and str(value).isprintable()}


def _operations() -> list[Any]:
    schema = schemathesis.openapi.from_dict(create_app(Settings(_env_file=None)).openapi())  # pyright: ignore
    return [result.ok() for result in schema.get_all_operations()]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture(scope="module")
def dagster() -> Iterator[StandIn]:
    with dagster_stand_in() as state:
        yield state


@pytest.mark.parametrize("operation", _operations(), ids=lambda operation: operation.label)
def test_nothing_breaks(
    stand_in_client: TestClient, world: World, operation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_LONGEST_S", 0.0)
    person = world.person(world.tenant())
    video = world.processed_video(person.tenant_id)
    headers = WEBHOOK_HEADERS if operation.path.startswith("/webhooks") else person.headers
    statuses = set()

    @given(case=strategies.one_of(*[operation.as_strategy(generation_mode=mode) for mode in GenerationMode]))
    @settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=_UNHURRIED)
    def call(case: Any) -> None:
        if "video_id" in (case.path_parameters or {}) and case.method != "DELETE":
            case.path_parameters["video_id"] = str(video.id)
        asked = case.as_transport_kwargs(base_url="http://testserver")
        asked["headers"] = {**_readable(asked["headers"]), **headers}
        answer = stand_in_client.request(**asked)
        statuses.add(answer.status_code)
        assert answer.status_code < 500, answer.text
        assert answer.headers["X-Request-ID"]
        if answer.status_code >= 400:
            assert answer.json()["detail"]

    call()
    assert statuses


@pytest.mark.unit
def test_every_operation_is_described() -> None:
    document = create_app(Settings(_env_file=None)).openapi()  # pyright: ignore[reportCallIssue]

    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = f"{method} {path}"
            assert operation["summary"], name
            assert operation["description"], name
            if path in ("/health", "/ready"):
                continue
            # The metrics say themselves what is away.
            assert {"401", "429", *([] if path == "/metrics" else ["503"])} <= set(operation["responses"]), name
            assert operation["security"], name
            for status, answer in operation["responses"].items():
                if status.startswith("4") or status == "503":
                    assert answer["content"]["application/json"]["schema"], (name, status)
    webhook = document["paths"]["/webhooks/supabase/videos"]["post"]
    assert webhook["requestBody"]["content"]["application/json"]["example"]["table"] == "videos"
    assert set(document["components"]["securitySchemes"]) == {"userToken", "webhookSecret", "metricsToken"}
