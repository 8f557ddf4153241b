"""Many webhooks at once: every one accepted, every priority right, one run each.

How quickly they are answered is the benchmark's matter (``python -m benchmarks.api``).
"""

from __future__ import annotations

from uuid import uuid4

import httpx
import psycopg
import pytest

from benchmarks.api.load import Answer, Load, send_wave
from captionacc_dagster_tests.api.dagster_stack import DagsterStack, connection_counter
from captionacc_dagster_tests.api.world import WEBHOOK_SECRET

pytestmark = [pytest.mark.load, pytest.mark.timeout(600)]

# The API's pool and the test's own.
MOST_CONNECTIONS = 8
TIERS = {"trial": 50, "active": 70, "enterprise": 90}


def _wave(stack: DagsterStack, url: str, count: int, at_once: int) -> Load:
    tenants = {stack.world.tenant(tier): priority for tier, priority in TIERS.items()}
    with connection_counter(stack.world.database_url, "captionacc") as connections:
        load = send_wave("test", url, WEBHOOK_SECRET, list(tenants), count, at_once, connections=connections)
    assert [answer.status for answer in load.answers] == [202] * count
    assert [answer.priority for answer in load.answers] == [tenants[answer.tenant_id] for answer in load.answers]
    _assert_one_run_each(stack, load)
    assert load.memory_peak_mb - load.memory_before_mb < 50
    assert load.connections_peak <= MOST_CONNECTIONS
    return load


def _assert_one_run_each(stack: DagsterStack, load: Load) -> None:
    videos = {str(answer.video_id): answer.run_id for answer in load.answers}
    runs = [run for run in stack.runs() if run.tags.get("dagster/partition") in videos]
    assert sorted(run.tags["dagster/partition"] for run in runs) == sorted(videos)
    assert {run.tags["dagster/partition"]: run.run_id for run in runs} == videos
    assert {run.status for run in runs} == {"QUEUED"}
    with psycopg.connect(stack.world.database_url, autocommit=True) as connection:
        rows = connection.execute(
            "select video_id::text, run_id, state from captionacc.processing_requests where video_id = any(%s::uuid[])",
            (list(videos),),
        ).fetchall()
    assert {video_id: run_id for video_id, run_id, _ in rows} == videos
    assert {state for *_, state in rows} == {"launched"}


@pytest.fixture(scope="module")
def url(stack: DagsterStack, stack_api: httpx.Client) -> str:
    stack.forget_runs()
    return str(stack_api.base_url).rstrip("/")


def test_ten_webhooks_at_once(stack: DagsterStack, url: str) -> None:
    _wave(stack, url, 10, 10)


def test_fifty_webhooks_at_once(stack: DagsterStack, url: str) -> None:
    _wave(stack, url, 50, 50)


@pytest.mark.slow
def test_a_hundred_requests_at_once(stack: DagsterStack, url: str) -> None:
    _wave(stack, url, 100, 100)


@pytest.mark.slow
def test_five_hundred_webhooks_in_a_row(stack: DagsterStack, url: str) -> None:
    _wave(stack, url, 500, 2)


@pytest.mark.parametrize(
    ("name", "seconds", "total", "missed"),
    [
        ("10 at once", [0.2] * 9 + [2.9], 3.0, []),
        ("10 at once", [0.2] * 9 + [3.1], 3.2, ["10 at once: at most in 3.10 s, not 3 s"]),
        ("10 at once", [1.1] * 10, 1.2, ["10 at once: on average in 1.10 s, not 1 s"]),
        ("50 at once", [4.0] * 50, 4.9, []),
        ("50 at once", [4.0] * 50, 5.1, ["50 at once: all answered in 5.10 s, not 5 s"]),
        ("500 in a row", [9.0] * 5, 45.0, []),
    ],
)
def test_the_benchmark_fails_when_a_target_of_the_test_plan_is_missed(
    name: str, seconds: list[float], total: float, missed: list[str]
) -> None:
    answers = [Answer(uuid4(), uuid4(), 202, second, None, None) for second in seconds]
    assert Load(name, answers, total).missed() == missed
    refused = Load(name, [*answers, Answer(uuid4(), uuid4(), 503, 0.1, None, None)], total).missed()
    assert f"{name}: 1 not accepted" in refused
