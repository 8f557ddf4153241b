"""Every metric says what the facts are: each test makes facts, reads /metrics as Prometheus does, and compares."""

from __future__ import annotations

import re
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from dagster import DagsterRunStatus
from dagster._daemon.types import DaemonHeartbeat
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from captionacc_dagster.api import sources, system_metrics
from captionacc_dagster.api.app import create_app
from captionacc_dagster.api.metrics import WEBHOOK_OUTCOMES
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, CatalogMetrics, LockCount
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.orchestration import queue_figures
from captionacc_dagster.orchestration.priority import priority_run_tags
from captionacc_dagster.orchestration.queue_figures import QueueFigures
from captionacc_dagster.tags import DAGSTER_PRIORITY_TAG, FLOW_TAG, TENANT_TAG, TIER_TAG
from captionacc_dagster_tests.api.dagster_stand_in import dagster_stand_in
from captionacc_dagster_tests.api.world import WEBHOOK_HEADERS, World, webhook_body
from captionacc_dagster_tests.observability.conftest import TOKEN, MakeScraper, OpenQueue, Scrape, Scraper, labels
from captionacc_dagster_tests.supabase_lite import SupabaseLite

pytestmark = [pytest.mark.integration, pytest.mark.observability]

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
METRICS_PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
INITIAL, CROP, OCR = "video_initial_processing", "crop_and_infer", "caption_ocr"


def test_videos_requests_locks_and_calls(scraper: Scraper, world: World) -> None:
    premium, free = world.tenant("active"), world.tenant("demo")
    videos = [world.video(premium), world.video(premium), world.video(free, status="error")]
    catalog = world.catalog
    (request,) = catalog.list_processing_requests(video_id=videos[0].id).items
    catalog.claim_processing_request(request.id, "sensor:new_videos")
    catalog.launch_processing_request(request.id, "sensor:new_videos", "run-1")
    catalog.acquire_server_lock(videos[0].id, "layout", "run-1", 60.0)
    catalog.acquire_server_lock(videos[1].id, "layout", "run-2", 0.0)
    catalog.record_compute_call(
        "a key", videos[0].id, app_name="app", function_name="generate_caption_ocr", code_version="1", arguments={}
    )

    seen = scraper.scrape()

    assert seen.values("videos") == {labels(status="waiting"): 2, labels(status="error"): 1}
    assert seen.values("open_requests") == {
        labels(flow=INITIAL, tier="premium", state="launched"): 1,
        labels(flow=INITIAL, tier="premium", state="pending"): 1,
        labels(flow=INITIAL, tier="free", state="pending"): 1,
    }
    assert seen.values("locks") == {labels(state="held"): 1, labels(state="expired"): 1}
    assert seen.values("open_compute_calls") == {labels(state="intent"): 1}
    assert seen.values("lock_attempts_total") == {labels(database="layout", outcome="acquired"): 2}


def test_the_same_over_supabase(make_scraper: MakeScraper, supabase_lite: SupabaseLite) -> None:
    with supabase_lite.catalog() as catalog:
        video = catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video
        catalog.acquire_server_lock(video.id, "layout", "run-1")
        assert not catalog.acquire_server_lock(video.id, "layout", "run-2")
    seen = make_scraper(
        supabase_url=supabase_lite.url, supabase_service_role_key=SecretStr(supabase_lite.service_key)
    ).scrape()
    assert seen.value("up", part="catalog") == 1
    assert seen.values("videos") == {labels(status="waiting"): 1}
    assert seen.value("lock_attempts_total", database="layout", outcome="held") == 1


def test_the_oldest_request_of_the_outbox(scraper: Scraper, world: World) -> None:
    video = world.video(world.tenant())
    age = {"place": "outbox", "flow": INITIAL}
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("update captionacc.processing_requests set requested_at = now() - interval '20 minutes'")
    assert 1200 <= (scraper.scrape().value("oldest_waiting_request_age_seconds", **age) or 0) < 1500
    (request,) = world.catalog.list_processing_requests(video_id=video.id).items
    world.catalog.finish_processing_request(request.id, "failed")
    assert scraper.scrape().value("oldest_waiting_request_age_seconds", **age) == 0


def test_the_queue(open_queue: OpenQueue, make_scraper: MakeScraper) -> None:
    now = datetime.now(UTC)

    def asked(hours: float, tier: str) -> dict[str, str]:
        return priority_run_tags(tier, now - timedelta(hours=hours), now=now)

    with open_queue() as queue:
        for hours in (0, 2.5):
            queue.put(INITIAL, asked(hours, "free"))
        queue.put(INITIAL, asked(0.1, "enterprise"))
        queue.put(CROP, asked(1.5, "premium"))
        queue.put(CROP, {**asked(0, "premium"), DAGSTER_PRIORITY_TAG: "soon"})
        queue.put(OCR, asked(9, "premium"), DagsterRunStatus.STARTED)
        queue.put(OCR, asked(9, "premium"), DagsterRunStatus.SUCCESS)
        beat = DaemonHeartbeat(now.timestamp() - 45, "SENSOR", "id", [])
        queue.instance.add_daemon_heartbeat(beat)

        seen = make_scraper().scrape()

    assert seen.value("up", part="dagster") == 1
    assert seen.values("queued_runs") == {
        labels(flow=INITIAL, tier="free"): 2,
        labels(flow=INITIAL, tier="enterprise"): 1,
        labels(flow=CROP, tier="premium"): 2,
    }
    assert seen.values("active_runs") == {labels(flow=OCR, tier="premium", state="running"): 1}
    assert seen.values("queue_head_priority") == {labels(flow=INITIAL): 90, labels(flow=CROP): 71}
    oldest = seen.values("oldest_waiting_request_age_seconds", place="queue")
    assert oldest.keys() == {labels(flow=INITIAL), labels(flow=CROP)}
    assert 9000 <= oldest[labels(flow=INITIAL)] < 9300
    assert 45 <= seen.values("daemon_heartbeat_age_seconds")[labels(daemon="sensor")] < 300


def test_an_empty_queue(open_queue: OpenQueue, make_scraper: MakeScraper) -> None:
    with open_queue():
        seen = make_scraper().scrape()
    assert seen.value("queued_runs", flow=CROP, tier="free") == 0
    assert seen.values("queue_head_priority") == {}
    assert seen.value("oldest_waiting_request_age_seconds", place="queue", flow=CROP) == 0


def test_webhooks_and_launches(make_scraper: MakeScraper, world: World) -> None:
    tenant = world.tenant()
    with dagster_stand_in() as dagster:
        scraper = make_scraper(dagster_url=dagster.url)
        path = "/webhooks/supabase/videos"

        def send(body: object, headers: dict[str, str] = WEBHOOK_HEADERS) -> int:
            return scraper.client.post(path, headers=headers, json=body).status_code

        video = webhook_body(tenant)
        statuses = [
            send(video), send(video), send({**video, "table": "others"}), send({"type": "INSERT", "table": "videos"}),
            send(video, {"Authorization": "Bearer wrong"}), send(video, {}),
        ]  # fmt: skip
        dagster.behavior = "refuses"
        statuses.append(send(webhook_body(tenant)))
        seen = scraper.scrape()

    assert statuses == [202, 409, 200, 400, 401, 401, 503]
    assert seen.all_values("webhooks_total") == {
        labels(outcome="accepted"): 1,
        labels(outcome="replayed"): 1,
        labels(outcome="ignored"): 1,
        labels(outcome="malformed"): 1,
        labels(outcome="unauthorized"): 2,
        labels(outcome="delayed"): 1,
        labels(outcome="rate_limited"): 0,
        labels(outcome="too_large"): 0,
        labels(outcome="failed"): 0,
    }
    assert seen.value("http_requests_total", method="POST", route=path, status="202") == 1
    assert seen.value("http_request_duration_seconds_count", method="POST", route=path) == 7


def test_webhooks_that_are_refused_at_the_door(make_scraper: MakeScraper, world: World) -> None:
    scraper = make_scraper(rate_limit_client="2/minute", max_body_bytes=1024)
    body = webhook_body(world.tenant(), filename="x" * 2000)
    sent = [scraper.client.post("/webhooks/supabase/videos", json=body).status_code for _ in range(3)]
    assert sent == [413, 413, 429]
    metrics = scraper.client.app.state.metrics  # pyright: ignore
    assert metrics.webhooks.labels("too_large")._value.get() == 2
    assert metrics.webhooks.labels("rate_limited")._value.get() == 1


def test_every_answer_of_the_webhook_has_a_name() -> None:
    operation = create_app().openapi()["paths"]["/webhooks/supabase/videos"]["post"]
    assert {int(status) for status in operation["responses"]} - {422} == set(WEBHOOK_OUTCOMES)


def test_no_label_grows_with_the_data(make_scraper: MakeScraper, world: World, open_queue: OpenQueue) -> None:
    with open_queue() as queue:
        scraper = make_scraper()
        person = world.person(world.tenant())

        def visit() -> Scrape:
            video = world.video(person.tenant_id)
            assert scraper.client.get(f"/videos/{video.id}", headers=person.headers).status_code == 200
            assert scraper.client.get(f"/videos/{uuid4()}", headers=person.headers).status_code == 404
            assert scraper.client.get(f"/nothing/{uuid4()}").status_code == 404
            assert scraper.client.request(f"X{uuid4().hex}", "/health").status_code == 405
            world.catalog.acquire_server_lock(video.id, "layout", f"run-{uuid4()}")
            queue.put(INITIAL, {TENANT_TAG: str(uuid4()), TIER_TAG: f"t{uuid4()}"})
            queue.put(CROP, {FLOW_TAG: f"flow-{uuid4()}"})
            world.tenant()
            return scraper.scrape()

        visit()  # the scrape itself is a route too
        first, second = visit(), visit()
    assert series(first) == series(second)
    assert re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", second.text) is None
    assert first.value("http_requests_total", method="GET", route="/videos/{video_id}", status="404") == 2


def series(seen: Scrape) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(seen.text)
        for sample in family.samples
    }


def test_what_is_away_is_said_and_the_rest_is_shown(make_scraper: MakeScraper, open_queue: OpenQueue) -> None:
    with open_queue():
        seen = make_scraper(database_url=SecretStr(NOWHERE)).scrape()
    assert seen.all_values("up") == {
        labels(part="catalog"): 0, labels(part="dagster"): 1, labels(part="webserver"): 0, labels(part="storage"): 1,
    }  # fmt: skip
    assert "captionacc_videos" not in seen.names()
    assert seen.value("flow_runs_total", flow=CROP, tier="free", outcome="succeeded") == 0
    assert seen.value("queued_runs", flow=CROP, tier="free") == 0


def test_without_dagster_the_catalog_is_shown(make_scraper: MakeScraper) -> None:
    with dagster_stand_in() as dagster:
        seen = make_scraper(dagster_url=dagster.url).scrape()
    assert (seen.value("up", part="webserver"), seen.value("up", part="dagster")) == (1, 0)
    assert "captionacc_queued_runs" not in seen.names()
    assert seen.value("videos", status="active") == 0


@pytest.mark.unit
def test_a_part_that_hangs_is_down_and_asked_by_one_thread_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_metrics, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(sources, "KEEP_SECONDS", 0.0)
    gate, asked = threading.Event(), []

    def hang() -> CatalogMetrics:
        asked.append(1)
        gate.wait(60)
        return CatalogMetrics(
            videos={},
            requests=(),
            locks=LockCount(held=0, expired=0),
            lock_attempts=(),
            compute_calls={},
            ended_calls=(),
        )

    collector = system_metrics.SystemCollector(hang, lambda: QueueFigures((), {}), {})
    for _ in range(3):
        families = {family.name: family for family in collector.collect()}
        assert {sample.labels["part"]: sample.value for sample in families["captionacc_up"].samples}["catalog"] == 0
        assert "captionacc_videos" not in families
    assert asked == [1]
    gate.set()


@pytest.mark.unit
def test_an_answer_is_kept_for_some_seconds() -> None:
    now, asked = [0.0], []

    def ask() -> int:
        asked.append(now[0])
        return len(asked)

    part = sources.Source("catalog", ask, clock=lambda: now[0])
    assert part.answer().result(60) == part.answer().result(60) == 1
    now[0] = sources.KEEP_SECONDS - 0.1
    assert part.answer().result(60) == 1
    now[0] = sources.KEEP_SECONDS
    assert part.answer().result(60) == 2


def test_prometheus_own_linter_is_content(scraper: Scraper, promtool: str) -> None:
    scraper.client.get("/health")
    seen = scraper.scrape()
    done = subprocess.run([promtool, "check", "metrics"], input=seen.text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_openmetrics_for_who_asks_for_it(scraper: Scraper) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/openmetrics-text; version=1.0.0"}
    answer: httpx.Response = scraper.client.get("/metrics", headers=headers)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert "captionacc_up" in {family.name for family in parse_openmetrics(answer.text)}


def test_the_page_lists_every_metric_and_its_labels(
    make_scraper: MakeScraper, postgres_catalog: PostgresCatalog, open_queue: OpenQueue
) -> None:
    with open_queue() as queue:
        queue.put(CROP, {})
        queue.instance.add_daemon_heartbeat(DaemonHeartbeat(0.0, "SENSOR", "id", []))
        seen = make_scraper().scrape()
    shown = {
        family.name + ("_total" if family.type == "counter" else ""): {
            label for sample in family.samples for label in sample.labels if label != "le"
        }
        for family in text_string_to_metric_families(seen.text)
        if family.name.startswith("captionacc_")
    }
    rows = re.findall(r"^\| `(captionacc_\w+)` \| (.*?) \|", METRICS_PAGE.read_text(encoding="utf-8"), re.M)
    listed = {name: set(re.findall(r"`(\w+)`", cell)) for name, cell in rows}
    assert listed.keys() == shown.keys()
    for name, names in shown.items():
        # What nothing has been counted of has no samples yet.
        assert names in (listed[name], set()), name


def test_the_status_of_a_run_is_one_of_these() -> None:
    others = {"SUCCESS", "FAILURE", "CANCELED", "MANAGED"}
    unfinished = {status.value for status in DagsterRunStatus} - others
    assert set(queue_figures._STATES) == unfinished
