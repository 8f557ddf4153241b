"""Rate limits counted in a real Redis: by several processes together, and nobody is kept out while it is away."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from limits.storage import storage_from_string

from captionacc_dagster.api.errors import ApiError
from captionacc_dagster.api.rate_limits import RateLimits
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.settings import Settings
from captionacc_dagster_tests.api.conftest import MakeClient
from captionacc_dagster_tests.api.world import World
from captionacc_dagster_tests.machine import needed
from captionacc_dagster_tests.servers import free_port, server_process

pytestmark = pytest.mark.integration


@contextmanager
def _redis(port: int, folder: Path) -> Iterator[str]:
    command = [
        *needed("Redis", ("redis-server", "--version")),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    with server_process(command, port, folder / "redis.log"):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with _redis(free_port(), tmp_path) as url:
        yield url


def test_several_processes_count_together(settings: Settings, redis_url: str) -> None:
    shared = settings.model_copy(update={"rate_limit_storage": redis_url, "rate_limit_tenant": "10/minute"})
    admitted: list[int] = []

    def ask(limits: RateLimits) -> None:
        for number in range(10):
            with suppress(ApiError):
                limits.admit_tenant(LOCAL_TENANT_ID)
                admitted.append(number)

    threads = [threading.Thread(target=ask, args=(RateLimits(shared),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(admitted) == 10
    with pytest.raises(ApiError) as refused:
        RateLimits(shared).admit_tenant(LOCAL_TENANT_ID)
    assert (refused.value.status, 1 <= int(refused.value.headers["Retry-After"]) <= 60) == (429, True)


def test_the_api_refuses_who_sends_too_much(make_client: MakeClient, world: World, redis_url: str) -> None:
    first, second = (make_client(rate_limit_storage=redis_url, rate_limit_client="3/minute") for _ in range(2))
    person = world.person(world.tenant())

    answers = [client.get("/videos", headers=person.headers) for client in (first, second, first, second)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert "rate_limited" in world.events()
    # Another client has its own count.
    other = make_client("198.51.100.9", rate_limit_storage=redis_url, rate_limit_client="3/minute")
    assert other.get("/videos", headers=person.headers).status_code == 200


def test_while_redis_is_away_everybody_is_admitted_and_then_counted_again(
    make_client: MakeClient, world: World, tmp_path: Path
) -> None:
    port = free_port()
    client = make_client(rate_limit_storage=f"redis://127.0.0.1:{port}/0", rate_limit_client="1/minute")
    person = world.person(world.tenant())

    def ask() -> int:
        return client.get("/videos", headers=person.headers).status_code

    assert [ask(), ask()] == [200, 200]
    with _redis(port, tmp_path) as url:
        assert storage_from_string(url).check()
        assert [ask(), ask()] == [200, 429]
    assert [ask(), ask()] == [200, 200]


def test_a_redis_that_hangs_holds_nobody_up(make_client: MakeClient, world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = make_client(rate_limit_storage=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        person = world.person(world.tenant())

        assert client.get("/videos", headers=person.headers).status_code == 200
