"""What runs leave in the metrics: real assets are run in this process, then the sensor writes what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RetryPolicy,
    SensorResult,
    build_sensor_context,
)
from dagster._core.test_utils import instance_for_test

from captionacc_dagster.catalog.errors import CatalogUnavailable
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, FlowRun
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.compute.base import BadInput, ComputeUnavailable
from captionacc_dagster.compute.results import ExtractResult
from captionacc_dagster.orchestration import sensors
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.orchestration.reconciliation import clean_up
from captionacc_dagster.orchestration.run_figures import DURATION_BUCKETS_S, totals_of_run
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster.tags import AUTO_RETRY_RUN_TAG, RETRY_NUMBER_TAG, TIER_TAG, VIDEO_TAG, WILL_RETRY_TAG
from captionacc_dagster_tests.observability.conftest import MakeScraper, Queue, Scrape, labels
from captionacc_dagster_tests.recovery.conftest import FlowHarness, failing

pytestmark = [pytest.mark.integration, pytest.mark.observability]

INITIAL, CROP, OCR = Flow.VIDEO_INITIAL_PROCESSING, Flow.CROP_AND_INFER, Flow.CAPTION_OCR
Ticks = Callable[[], str]


@pytest.fixture
def instance(make_scraper: MakeScraper) -> Iterator[DagsterInstance]:
    with instance_for_test() as instance:
        yield instance


@pytest.fixture
def tick(instance: DagsterInstance, postgres_catalog: PostgresCatalog) -> Ticks:
    """Evaluate the sensor once, as the daemon does; gives what it says."""
    cursor: list[str | None] = [None]

    def evaluate() -> str:
        with build_sensor_context(
            instance=instance, cursor=cursor[0], resources={"catalog": postgres_catalog}
        ) as context:
            result = cast(SensorResult, cast(Any, sensors.run_outcomes)(context))
        cursor[0] = result.cursor
        assert result.skip_reason
        return result.skip_reason.skip_message or ""

    return evaluate


@pytest.fixture
def scrape(make_scraper: MakeScraper) -> Callable[[], Scrape]:
    scraper = make_scraper()
    return scraper.scrape


def end(instance: DagsterInstance, run: DagsterRun, kind: DagsterEventType) -> None:
    event = DagsterEvent(kind.value, run.job_name, message="the worker went up in smoke")
    instance.report_dagster_event(event, run_id=run.run_id)


@pytest.mark.slow
def test_what_real_runs_leave(
    instance: DagsterInstance,
    postgres_catalog: PostgresCatalog,
    tick: Ticks,
    scrape: Callable[[], Scrape],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RetryPolicy, "calculate_delay", lambda policy, attempt: 0.0)
    harness = FlowHarness(instance, postgres_catalog, LocalObjectStore(tmp_path / "objects"), tmp_path)
    good, bad = harness.upload(), harness.upload("bad.mp4")
    real = harness.compute.extract_frames_and_ocr

    def partly(*args: object, **kwargs: object) -> ExtractResult:
        return real(*args, **kwargs).model_copy(update={"failed_ocr_count": 2, "frame_count": 5})

    monkeypatch.setattr(harness.compute, "extract_frames_and_ocr", partly)
    harness.script += [failing(ComputeUnavailable("no GPU is free")), failing(ComputeUnavailable("still none"))]
    assert harness.run(INITIAL, good).success
    harness.approve(good)
    assert harness.run(CROP, good).success
    harness.script.append(failing(BadInput("bad.mp4: has no picture")))
    assert not harness.run(INITIAL, bad).success
    tick()
    tick()

    seen = scrape()
    assert seen.values("flow_runs_total") == {
        labels(flow=INITIAL, tier="enterprise", outcome="succeeded"): 1,
        labels(flow=INITIAL, tier="enterprise", outcome="failed"): 1,
        labels(flow=CROP, tier="enterprise", outcome="succeeded"): 1,
    }
    assert seen.values("flow_run_duration_seconds_count") == {
        labels(flow=INITIAL, outcome="succeeded"): 1,
        labels(flow=INITIAL, outcome="failed"): 1,
        labels(flow=CROP, outcome="succeeded"): 1,
    }
    # Beside the assets, the steps of their checks.
    steps = seen.values("stage_duration_seconds_count")
    assert {key: count for key, count in steps.items() if "_checks" not in key[0][1]} == {
        labels(stage="raw_video"): 2,
        labels(stage="initial_processing"): 2,
        labels(stage="caption_extents"): 1,
        labels(stage="captions_db"): 1,
        labels(stage="subtitles"): 1,
    }
    # The sum of a run's stages is not more than the run.
    stages = sum(seen.values("stage_duration_seconds_sum").values())
    assert 0 < stages <= sum(seen.values("flow_run_duration_seconds_sum").values())
    assert seen.values("ocr_failures_total") == {labels(flow=INITIAL): 2}
    assert seen.values("flow_run_retries_total") == {labels(flow=INITIAL): 2}
    assert seen.values("retried_flow_runs_total") == {labels(flow=INITIAL, outcome="succeeded"): 1}
    assert seen.values("flow_run_errors_total") == {labels(flow=INITIAL, error_type="BadInput"): 1}
    assert seen.values("videos") == {labels(status="active"): 1, labels(status="error"): 1}
    assert seen.values("launches_total", launcher="run") == {labels(flow=INITIAL): 2, labels(flow=CROP): 1}
    assert seen.values("lock_attempts_total", outcome="acquired").keys() == {
        labels(database="layout"),
        labels(database="captions"),
    }


def test_cancelled_restarted_and_foreign_runs(
    instance: DagsterInstance, postgres_catalog: PostgresCatalog, tick: Ticks, scrape: Callable[[], Scrape]
) -> None:
    queue = Queue(instance)
    video = str(postgres_catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video.id)
    tags = {VIDEO_TAG: video, TIER_TAG: "premium"}
    cancelled = queue.put(OCR, tags)
    crashed = queue.put(CROP, {**tags, WILL_RETRY_TAG: "true", AUTO_RETRY_RUN_TAG: "another"})
    retry = queue.put(CROP, {**tags, RETRY_NUMBER_TAG: "1"})
    foreign = queue.put("somebody_elses_job")
    end(instance, cancelled, DagsterEventType.RUN_CANCELED)
    end(instance, crashed, DagsterEventType.RUN_FAILURE)
    end(instance, retry, DagsterEventType.RUN_SUCCESS)
    end(instance, foreign, DagsterEventType.RUN_SUCCESS)
    for _ in range(3):
        tick()

    seen = scrape()
    assert seen.values("flow_runs_total") == {
        labels(flow=OCR, tier="premium", outcome="cancelled"): 1,
        labels(flow=CROP, tier="premium", outcome="restarted"): 1,
        labels(flow=CROP, tier="premium", outcome="succeeded"): 1,
    }
    assert seen.values("flow_run_errors_total") == {labels(flow=CROP, error_type="RunFailure"): 1}
    assert seen.values("retried_flow_runs_total") == {labels(flow=CROP, outcome="succeeded"): 1}


def test_a_catalog_that_is_away_costs_no_run_its_count(
    instance: DagsterInstance, postgres_catalog: PostgresCatalog, tick: Ticks, scrape: Callable[[], Scrape],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = Queue(instance).put(CROP, {TIER_TAG: "free"})
    end(instance, run, DagsterEventType.RUN_SUCCESS)
    send = postgres_catalog._send

    def away(function: str, parameters: Any) -> Any:
        if function == "record_flow_run":
            raise CatalogUnavailable("no connection")
        return send(function, parameters)

    monkeypatch.setattr(postgres_catalog, "_send", away)
    monkeypatch.setattr("captionacc_dagster.catalog.calls.time.sleep", lambda seconds: None)
    with pytest.raises(CatalogUnavailable):
        tick()
    assert scrape().values("flow_runs_total") == {}
    monkeypatch.setattr(postgres_catalog, "_send", send)
    tick()
    assert scrape().values("flow_runs_total") == {labels(flow=CROP, tier="free", outcome="succeeded"): 1}


def test_old_runs_are_forgotten_and_stay_counted(
    instance: DagsterInstance, postgres_catalog: PostgresCatalog, catalog_url: str, tick: Ticks, tmp_path: Path,
    scrape: Callable[[], Scrape],
) -> None:  # fmt: skip
    run = Queue(instance).put(CROP, {TIER_TAG: "free"}, DagsterRunStatus.STARTED)
    end(instance, run, DagsterEventType.RUN_SUCCESS)
    tick()
    before = scrape()
    with psycopg.connect(catalog_url, autocommit=True) as connection:
        connection.execute("update captionacc.flow_runs set ended_at = ended_at - interval '91 days'")
        lines = clean_up(instance, postgres_catalog, LocalObjectStore(tmp_path / "objects"), datetime.now(UTC))
        assert connection.execute("select count(*) from captionacc.flow_runs").fetchone() == (0,)
    assert "removed the figures of 1 old runs; the totals still include them" in lines
    assert scrape().values("flow_runs_total") == before.values("flow_runs_total") != {}


@pytest.mark.unit
@pytest.mark.parametrize(("seconds", "bound"), [(0.0, "1.0"), (1.0, "1.0"), (1.01, "5.0"), (14401.0, "+Inf")])
def test_a_duration_is_put_into_its_bucket(seconds: float, bound: str) -> None:
    at = datetime(2026, 1, 15, tzinfo=UTC)
    run = FlowRun(
        run_id="r", flow="crop_and_infer", outcome="succeeded", tier="free", video_id=None,
        queued_at=at - timedelta(seconds=7), started_at=at, ended_at=at + timedelta(seconds=seconds),
        stage_seconds={}, ocr_failures=0, retries=0, error_type=None,
    )  # fmt: skip
    found = {
        (total.metric, total.labels.get("le")): total.value
        for total in totals_of_run(run)
        if total.metric.startswith("flow_run_duration")
    }
    assert found == {
        ("flow_run_duration_seconds_bucket", bound): 1,
        ("flow_run_duration_seconds_sum", None): seconds,
    }
    assert float(bound.replace("+Inf", "inf")) in (*DURATION_BUCKETS_S, float("inf"))
