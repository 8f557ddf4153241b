"""Contract: what the catalog counts, over SQL and over HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, FlowRun, Total
from captionacc_dagster.catalog.postgres import PostgresCatalog

pytestmark = [pytest.mark.integration, pytest.mark.observability]

ENDED = datetime(2026, 1, 15, 12, tzinfo=UTC)


def flow_run(run_id: str, video_id: UUID | None = None, **changes: Any) -> FlowRun:
    values: dict[str, Any] = {
        "run_id": run_id,
        "flow": "crop_and_infer",
        "outcome": "succeeded",
        "tier": "premium",
        "video_id": video_id,
        "queued_at": ENDED - timedelta(minutes=3),
        "started_at": ENDED - timedelta(minutes=2),
        "ended_at": ENDED,
        "stage_seconds": {"caption_extents": 80.5},
        "ocr_failures": 2,
        "retries": 1,
        "error_type": None,
        **changes,
    }
    return FlowRun(**values)


def totals(catalog: Catalog, metric: str) -> dict[tuple[tuple[str, str], ...], float]:
    """A metric's totals by their labels."""
    found = (total for total in catalog.get_metrics().totals if total.metric == metric)
    return {tuple(sorted(total.labels.items())): total.value for total in found}


def labels(**named: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(named.items()))


def test_a_run_is_counted_once(catalog: Catalog) -> None:
    video = catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video
    added = [Total(metric="flow_runs", labels={"flow": "crop_and_infer", "outcome": "succeeded"}, value=1)]
    assert catalog.record_flow_run(flow_run("run-1", video.id), added)
    assert not catalog.record_flow_run(flow_run("run-1", video.id), added)
    assert catalog.record_flow_run(flow_run("run-2", outcome="failed", error_type="BadInput"), added)
    assert totals(catalog, "flow_runs") == {labels(flow="crop_and_infer", outcome="succeeded"): 2}


def test_a_run_of_a_video_that_is_gone_is_counted(catalog: Catalog) -> None:
    assert catalog.record_flow_run(flow_run("run-1", uuid4()), [Total(metric="flow_runs", labels={}, value=1)])
    assert totals(catalog, "flow_runs") == {(): 1}


def test_totals_outlive_the_runs_they_were_counted_from(catalog: Catalog) -> None:
    catalog.record_flow_run(flow_run("old"), [Total(metric="ocr_failures", labels={"flow": "f"}, value=2.5)])
    assert catalog.purge_flow_runs(ENDED) == 0
    assert catalog.purge_flow_runs(ENDED + timedelta(seconds=1)) == 1
    assert totals(catalog, "ocr_failures") == {labels(flow="f"): 2.5}


def test_launches_are_counted_by_whom(catalog: Catalog) -> None:
    for claimer in ("sensor:new_videos", "sensor:new_videos", "api:1234", "run-5"):
        (request,) = catalog.list_processing_requests(
            video_id=catalog.create_video(LOCAL_TENANT_ID, f"{claimer}.mp4").video.id
        ).items
        catalog.claim_processing_request(request.id, claimer)
        for _ in range(2):  # repeated after a lost answer
            catalog.launch_processing_request(request.id, claimer, f"run of {request.id}")
    assert totals(catalog, "launches") == {
        labels(flow="video_initial_processing", launcher="sensor"): 2,
        labels(flow="video_initial_processing", launcher="api"): 1,
        labels(flow="video_initial_processing", launcher="run"): 1,
    }


def test_ends_of_remote_calls_are_counted(catalog: Catalog) -> None:
    tenant = catalog.ensure_tenant(uuid4(), "small", "demo")
    video = catalog.create_video(tenant.id, "a.mp4").video

    def call(key: str, minutes: float = 0.0) -> UUID:
        return catalog.record_compute_call(
            key, video.id, app_name="app", function_name="extract", code_version="1", arguments={},
            estimated_minutes=minutes,
        ).id  # fmt: skip

    for _ in range(2):
        catalog.end_compute_call(call("good"), "succeeded", running_s=12.5, estimated_cost_usd=0.25)
    again = call("again")
    catalog.respawn_compute_call(again, attempt=1, reason="its result expired")
    catalog.end_compute_call(again, "failed", error_details={"error_type": "FunctionTimeoutError"})
    catalog.end_compute_call(call("late"), "cancelled", error_details={"error_type": "ComputeTimeout"})
    catalog.end_compute_call(call("bad"), "failed", error_details={"error_type": "BadInput"})
    assert catalog.end_compute_call(call("open"), "cancelled").state == "cancelled"
    call("too much", minutes=1000)
    call("under way")

    assert totals(catalog, "compute_calls") == {
        labels(function="extract", outcome="succeeded"): 1,
        labels(function="extract", outcome="failed"): 2,
        labels(function="extract", outcome="cancelled"): 2,
        labels(function="extract", outcome="refused"): 1,
    }
    extract = labels(function="extract")
    assert totals(catalog, "compute_timeouts") == {extract: 2}
    assert totals(catalog, "compute_call_restarts") == {extract: 1}
    assert totals(catalog, "compute_call_seconds")[extract] >= 12.5
    assert totals(catalog, "compute_cost_dollars") == {extract: 0.25}
    assert catalog.get_metrics().compute_calls == {"intent": 1}


def test_attempts_at_locks_are_counted(catalog: Catalog) -> None:
    video_id = catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video.id
    assert catalog.acquire_server_lock(video_id, "layout", "run-1")
    assert not catalog.acquire_server_lock(video_id, "layout", "run-2")
    assert not catalog.acquire_server_lock(video_id, "layout", "run-2")
    assert catalog.acquire_server_lock(video_id, "captions", "run-2")
    assert totals(catalog, "lock_attempts") == {
        labels(database="layout", outcome="acquired"): 1,
        labels(database="layout", outcome="held"): 2,
        labels(database="captions", outcome="acquired"): 1,
    }


def test_ended_requests_are_not_counted_as_open(catalog: Catalog) -> None:
    ended, waits = (catalog.create_video(LOCAL_TENANT_ID, name).video.id for name in ("a.mp4", "b.mp4"))
    (request,) = catalog.list_processing_requests(video_id=ended).items
    catalog.finish_processing_request(request.id, "failed")
    (count,) = catalog.get_metrics().requests
    assert (count.state, count.tier, count.count) == ("pending", "enterprise", 1)
    assert count.oldest_requested_at == catalog.get_video_metadata(waits).created_at


def test_many_count_at_once_and_nothing_is_lost(postgres_catalog: PostgresCatalog) -> None:
    def count(numbers: Iterable[int]) -> None:
        for number in numbers:
            added = [Total(metric=name, labels={"flow": "f"}, value=1) for name in ("b", "a", "b")]
            postgres_catalog.record_flow_run(flow_run(f"run-{number}"), added)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, [range(start, start + 25) for start in range(0, 100, 25)]))
    assert totals(postgres_catalog, "a") == {labels(flow="f"): 100}
    assert totals(postgres_catalog, "b") == {labels(flow="f"): 200}


def test_counting_waits_for_no_transaction_that_hangs(postgres_catalog: PostgresCatalog, catalog_url: str) -> None:
    added = [Total(metric="flow_runs", labels={}, value=1)]
    postgres_catalog.record_flow_run(flow_run("run-1"), added)
    with psycopg.connect(catalog_url) as stuck:
        stuck.execute("select captionacc.add_to_total('flow_runs', '{}', 1)")
        # Its answer would not come before the statement's time is over.
        assert postgres_catalog.record_flow_run(flow_run("run-2"), added)
        assert totals(postgres_catalog, "flow_runs") == {(): 2}
        stuck.commit()
    assert totals(postgres_catalog, "flow_runs") == {(): 3}
