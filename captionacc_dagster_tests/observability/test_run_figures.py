"""What runs leave in the metrics: real assets are run in this process, then the metrics are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RetryPolicy,
)
from dagster._core.test_utils import instance_for_test

from captionacc_dagster.api import history_metrics
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.compute.base import BadInput, ComputeUnavailable
from captionacc_dagster.compute.results import ExtractResult
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster.tags import (
    AUTO_RETRY_RUN_TAG,
    COMMAND_TAG,
    PARENT_RUN_TAG,
    REQUEST_TAG,
    RETRY_NUMBER_TAG,
    SENSOR_TAG,
    TIER_TAG,
    VIDEO_TAG,
    WILL_RETRY_TAG,
)
from captionacc_dagster_tests.observability.conftest import MakeScraper, Queue, Scrape, labels
from captionacc_dagster_tests.recovery.conftest import FlowHarness, failing

pytestmark = [pytest.mark.integration, pytest.mark.observability]

INITIAL, CROP, OCR = Flow.VIDEO_INITIAL_PROCESSING, Flow.CROP_AND_INFER, Flow.CAPTION_OCR


@pytest.fixture
def instance(make_scraper: MakeScraper) -> Iterator[DagsterInstance]:
    with instance_for_test() as instance:
        yield instance


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
    instance: DagsterInstance, postgres_catalog: PostgresCatalog, scrape: Callable[[], Scrape]
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

    scrape()
    seen = scrape()
    assert seen.values("flow_runs_total") == {
        labels(flow=OCR, tier="premium", outcome="cancelled"): 1,
        labels(flow=CROP, tier="premium", outcome="restarted"): 1,
        labels(flow=CROP, tier="premium", outcome="succeeded"): 1,
    }
    assert seen.values("flow_run_errors_total") == {labels(flow=CROP, error_type="RunFailure"): 1}
    assert seen.values("retried_flow_runs_total") == {labels(flow=CROP, outcome="succeeded"): 1}


def test_a_run_is_counted_once_however_often_its_row_changes(
    instance: DagsterInstance, scrape: Callable[[], Scrape]
) -> None:
    run = Queue(instance).put(CROP, {TIER_TAG: "free"}, DagsterRunStatus.STARTED)
    for _ in range(2):
        assert scrape().values("flow_runs_total") == {}
    end(instance, run, DagsterEventType.RUN_SUCCESS)
    for _ in range(2):
        assert scrape().values("flow_runs_total") == {labels(flow=CROP, tier="free", outcome="succeeded"): 1}
    instance.add_run_tags(run.run_id, {"noted": "by a person"})
    assert scrape().values("flow_runs_total") == {labels(flow=CROP, tier="free", outcome="succeeded"): 1}


def test_a_process_counts_from_its_start(make_scraper: MakeScraper, instance: DagsterInstance) -> None:
    queue = Queue(instance)
    end(instance, queue.put(CROP), DagsterEventType.RUN_SUCCESS)
    earlier = make_scraper()
    running = queue.put(CROP)
    later = make_scraper()
    end(instance, running, DagsterEventType.RUN_FAILURE)
    ended = {labels(flow=CROP, tier="free", outcome="failed"): 1}
    assert earlier.scrape().values("flow_runs_total") == later.scrape().values("flow_runs_total") == ended
    assert earlier.scrape().values("launches_total") == {labels(flow=CROP, launcher="run"): 1}
    assert later.scrape().values("launches_total") == {}


def test_launches_are_counted_by_what_made_the_run(instance: DagsterInstance, scrape: Callable[[], Scrape]) -> None:
    queue, request = Queue(instance), {REQUEST_TAG: "a request"}
    queue.put(INITIAL, {**request, SENSOR_TAG: "new_videos"})
    queue.put(INITIAL, request)
    queue.put(INITIAL, {COMMAND_TAG: "process"})
    queue.put(CROP)
    # A retry of Dagster's, which copies the tags.
    queue.put(CROP, {**request, SENSOR_TAG: "approved_layouts", PARENT_RUN_TAG: "another"})
    for _ in range(2):
        assert scrape().values("launches_total") == {
            labels(flow=INITIAL, launcher="sensor"): 1,
            labels(flow=INITIAL, launcher="api"): 1,
            labels(flow=INITIAL, launcher="run"): 1,
            labels(flow=CROP, launcher="run"): 1,
        }


def test_a_storage_that_fails_meanwhile_costs_no_run_its_count(
    instance: DagsterInstance, scrape: Callable[[], Scrape], monkeypatch: pytest.MonkeyPatch
) -> None:
    end(instance, Queue(instance).put(CROP), DagsterEventType.RUN_FAILURE)

    def away(*_: object) -> None:
        raise OSError("no connection")

    with monkeypatch.context() as patched:
        patched.setattr(history_metrics, "failure_details", away)
        seen = scrape()
    assert seen.value("up", part="dagster") == 0
    assert seen.values("flow_runs_total") == {}
    assert scrape().values("flow_runs_total") == {labels(flow=CROP, tier="free", outcome="failed"): 1}


def test_what_does_not_fit_into_one_scrape_is_counted_at_the_next(
    instance: DagsterInstance, scrape: Callable[[], Scrape], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_metrics, "RUNS_PER_READ", 2)
    queue = Queue(instance)
    for _ in range(5):
        end(instance, queue.put(CROP), DagsterEventType.RUN_SUCCESS)
    counts = [sum(scrape().values("flow_runs_total").values()) for _ in range(4)]
    assert counts == [2, 4, 5, 5]


@pytest.mark.unit
def test_what_is_counted_is_forgotten_after_a_day() -> None:
    now = datetime(2026, 1, 15, tzinfo=UTC)
    counted = {"old": (now - timedelta(days=1, seconds=1)).timestamp(), "recent": now.timestamp()}
    history_metrics._forget(counted, now)
    assert list(counted) == ["recent"]
