"""Contract: what the catalog tells of remote calls and locks, over SQL and over HTTP, and what is counted from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from captionacc_dagster.api.history_metrics import CallCounters
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, EndedCall
from captionacc_dagster.catalog.postgres import PostgresCatalog

pytestmark = [pytest.mark.integration, pytest.mark.observability]

EXTRACT = "extract_frames_and_ocr"
START = datetime(2026, 1, 15, 12, tzinfo=UTC)


def shown(registry: CollectorRegistry, metric: str) -> dict[tuple[str, ...], float]:
    """The values of a counter that are not zero, by its labels' values."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == f"captionacc_{metric}" and sample.value
    }


def test_ends_of_remote_calls_are_counted_once(catalog: Catalog) -> None:
    registry = CollectorRegistry()
    counters = CallCounters(registry)
    tenant = catalog.ensure_tenant(uuid4(), "small", "demo")
    video = catalog.create_video(tenant.id, "a.mp4").video

    def call(key: str, minutes: float = 0.0) -> UUID:
        return catalog.record_compute_call(
            key, video.id, app_name="app", function_name=EXTRACT, code_version="1", arguments={},
            estimated_minutes=minutes,
        ).id  # fmt: skip

    def count() -> None:
        for _ in range(2):
            counters.count(catalog.get_metrics(counters.after).ended_calls)

    for _ in range(2):
        catalog.end_compute_call(call("good"), "succeeded", running_s=12.5, estimated_cost_usd=0.25)
    again = call("again")
    catalog.end_compute_call(again, "succeeded", running_s=1.0)
    count()
    catalog.respawn_compute_call(again, attempt=1, reason="its result expired")
    catalog.end_compute_call(again, "failed", error_details={"error_type": "FunctionTimeoutError"})
    catalog.end_compute_call(call("late"), "cancelled", error_details={"error_type": "ComputeTimeout"})
    catalog.end_compute_call(call("bad"), "failed", error_details={"error_type": "BadInput"})
    assert catalog.end_compute_call(call("open"), "cancelled").state == "cancelled"
    for _ in range(2):
        call("too much", minutes=1000)
    call("under way")
    count()

    assert shown(registry, "compute_calls_total") == {
        (EXTRACT, "succeeded"): 2,
        (EXTRACT, "failed"): 2,
        (EXTRACT, "cancelled"): 2,
        (EXTRACT, "refused"): 1,
    }
    assert shown(registry, "compute_timeouts_total") == {(EXTRACT,): 2}
    assert shown(registry, "compute_call_restarts_total") == {(EXTRACT,): 1}
    assert shown(registry, "compute_call_seconds_total")[(EXTRACT,)] >= 13.5
    assert shown(registry, "compute_cost_dollars_total") == {(EXTRACT,): 0.25}
    assert catalog.get_metrics().compute_calls == {"intent": 1}
    assert catalog.get_metrics().ended_calls == ()


@pytest.mark.unit
def test_a_call_that_ended_before_the_start_is_not_counted_and_a_late_one_is() -> None:
    registry = CollectorRegistry()
    counters = CallCounters(registry, START)

    def ended(seconds: float) -> EndedCall:
        return EndedCall(
            id=uuid4(), function_name=EXTRACT, state="succeeded", attempts=1, running_seconds=None,
            estimated_cost_usd=None, error_type=None, ended_at=START + timedelta(seconds=seconds),
        )  # fmt: skip

    counters.count([ended(-1), ended(60)])
    assert shown(registry, "compute_calls_total") == {(EXTRACT, "succeeded"): 1}
    # Its transaction was slower than that of the call that ended after it.
    late = ended(50)
    assert counters.after < late.ended_at
    counters.count([late])
    assert shown(registry, "compute_calls_total") == {(EXTRACT, "succeeded"): 2}


def test_calls_are_told_from_the_time_asked_for(catalog: Catalog) -> None:
    video = catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video
    made = catalog.record_compute_call("key", video.id, app_name="a", function_name="f", code_version="1", arguments={})
    ended_at = catalog.end_compute_call(made.id, "failed", error_details={"error_type": "BadInput"}).ended_at
    assert ended_at is not None
    (told,) = catalog.get_metrics(ended_at - timedelta(microseconds=1)).ended_calls
    assert (told.id, told.error_type, told.ended_at) == (made.id, "BadInput", ended_at)
    assert catalog.get_metrics(ended_at).ended_calls == ()


def lock_attempts(catalog: Catalog) -> dict[tuple[str, str], int]:
    found = catalog.get_metrics().lock_attempts
    return {(attempt.database, attempt.outcome): attempt.count for attempt in found}


def test_attempts_at_locks_are_counted(catalog: Catalog) -> None:
    before = lock_attempts(catalog)
    video_id = catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video.id
    assert catalog.acquire_server_lock(video_id, "layout", "run-1")
    assert not catalog.acquire_server_lock(video_id, "layout", "run-2")
    assert not catalog.acquire_server_lock(video_id, "layout", "run-2")
    assert catalog.acquire_server_lock(video_id, "captions", "run-2")
    assert before == {
        ("layout", "acquired"): 0, ("layout", "held"): 0, ("captions", "acquired"): 0, ("captions", "held"): 0,
    }  # fmt: skip
    assert lock_attempts(catalog) == {
        ("layout", "acquired"): 1, ("layout", "held"): 2, ("captions", "acquired"): 1, ("captions", "held"): 0,
    }  # fmt: skip


def test_counting_attempts_waits_for_no_transaction_that_hangs(
    postgres_catalog: PostgresCatalog, catalog_url: str
) -> None:
    first, second = (postgres_catalog.create_video(LOCAL_TENANT_ID, name).video.id for name in ("a.mp4", "b.mp4"))
    with psycopg.connect(catalog_url) as stuck:
        stuck.execute(
            "select captionacc.acquire_server_lock(%s, 'layout', 'run-1', 60, gen_random_uuid())", (first,)
        )  # fmt: skip
        # Its answer would not come before the statement's time is over.
        assert postgres_catalog.acquire_server_lock(second, "layout", "run-2")
        assert lock_attempts(postgres_catalog)["layout", "acquired"] == 2


def test_ended_requests_are_not_counted_as_open(catalog: Catalog) -> None:
    ended, waits = (catalog.create_video(LOCAL_TENANT_ID, name).video.id for name in ("a.mp4", "b.mp4"))
    (request,) = catalog.list_processing_requests(video_id=ended).items
    catalog.finish_processing_request(request.id, "failed")
    (count,) = catalog.get_metrics().requests
    assert (count.state, count.tier, count.count) == ("pending", "enterprise", 1)
    assert count.oldest_requested_at == catalog.get_video_metadata(waits).created_at
