"""Webhooks against a real catalog, with Dagster away or in a stand-in that misbehaves on demand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from fastapi.testclient import TestClient

from captionacc_dagster.catalog.models import ProcessingRequest
from captionacc_dagster.tags import REQUEST_TAG, SHOWN_TIER_TAG, VIDEO_NAME_TAG
from captionacc_dagster_tests.api.conftest import MakeClient
from captionacc_dagster_tests.api.dagster_stand_in import StandIn
from captionacc_dagster_tests.api.world import WEBHOOK_HEADERS, World, webhook_body

pytestmark = pytest.mark.integration

PATH = "/webhooks/supabase/videos"


def post(client: TestClient, body: dict[str, Any], **headers: str) -> Any:
    return client.post(PATH, headers={**WEBHOOK_HEADERS, **headers}, json=body)


def only_request(world: World, video_id: str) -> ProcessingRequest:
    (request,) = world.catalog.list_processing_requests(video_id=video_id).items
    return request


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"invalid": "payload"}, "type"),
        ([], "object"),
        ({"type": "INSERT", "table": "videos"}, "record"),
        ({"type": "INSERT", "table": "videos", "record": None}, "record"),
        ({"type": "INSERT", "table": "videos", "record": {}}, "record.id"),
        ({"type": "INSERT", "table": 7, "record": {}}, "table"),
        ({"type": "TRUNCATE", "table": "videos", "record": {}}, "type"),
        ({"type": "INSERT", "table": "videos", "record": {"id": "video-123"}}, "record.id"),
    ],
)
def test_a_body_that_is_no_webhook_is_refused_with_the_field_named(client: TestClient, body: Any, named: str) -> None:
    answer = post(client, body)

    assert answer.status_code == 400
    assert named in answer.json()["detail"]


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"\xff\xfe", b'{"type": "INSERT", "table": "\\ud800", "record": {}}', b"[" * 100_000, b"null", b"NaN"],
)
def test_a_body_that_is_no_json_is_refused(client: TestClient, raw: bytes) -> None:
    answer = client.post(PATH, headers=WEBHOOK_HEADERS, content=raw)

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 5),
        ("tenant_id", None),
        ("storage_key", ["a"]),
        ("storage_key", ""),
        ("storage_key", "x" * 2000),
        ("filename", {"a": 1}),
        ("filename", "a\0b"),
        ("filename", ""),
    ],
)
def test_a_record_of_wrong_types_is_refused_with_the_field_named(
    client: TestClient, world: World, field: str, value: object
) -> None:
    answer = post(client, webhook_body(world.tenant(), **{field: value}))

    assert answer.status_code == 400
    assert f"record.{field}" in answer.json()["detail"]
    assert world.catalog.list_videos().items == ()


@pytest.mark.parametrize(
    "change", [{"type": "UPDATE"}, {"type": "DELETE"}, {"table": "tenants"}, {"type": "UPDATE", "record": {"id": "v"}}]
)
def test_other_events_and_tables_are_ignored(client: TestClient, world: World, change: dict[str, Any]) -> None:
    answer = post(client, webhook_body(world.tenant()) | change)

    assert answer.status_code == 200
    assert answer.json()["status"] == "ignored"
    assert world.catalog.list_videos().items == ()


def test_an_inserted_video_gets_its_run(stand_in_client: TestClient, world: World, dagster: StandIn) -> None:
    tenant = world.tenant("active")
    video = world.video(tenant)

    answer = post(stand_in_client, webhook_body(tenant, video.id, something_new={"a": 1}))

    request = only_request(world, str(video.id))
    (run,) = dagster.runs_of(request.id)
    assert answer.status_code == 202
    assert answer.json() == {"success": True, "flow_run_id": run["runId"], "status": "accepted", "priority": 70}
    assert (request.state, request.run_id, request.priority) == ("launched", run["runId"], 70)
    assert run["job"] == "video_initial_processing"
    assert run["tags"]["dagster/partition"] == str(video.id)
    assert run["tags"]["captionacc/tenant"] == str(tenant)
    assert run["tags"][SHOWN_TIER_TAG] == "premium"
    assert run["tags"][VIDEO_NAME_TAG] == video.filename
    assert dagster.partitions == {str(video.id)}


def test_a_webhook_asks_the_catalog_twice_and_dagster_once(
    stand_in_client: TestClient, world: World, dagster: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = stand_in_client.app.state.services.catalog  # pyright: ignore
    tenant, asked = world.tenant(), []
    send = catalog._send

    def noted(function: str, parameters: Any) -> Any:
        asked.append(function)
        return send(function, parameters)

    post(stand_in_client, webhook_body(tenant))  # finds the code location
    dagster.questions.clear()
    monkeypatch.setattr(catalog, "_send", noted)
    body = webhook_body(tenant)
    assert post(stand_in_client, body).status_code == 202
    assert (asked, dagster.questions) == (["create_video", "launch_processing_request"], ["launch"])
    # The delivery was recorded together with the launch.
    assert post(stand_in_client, body).status_code == 409


def test_a_video_inserted_elsewhere_is_taken_over(stand_in_client: TestClient, world: World, dagster: StandIn) -> None:
    tenant = world.tenant()
    body = webhook_body(tenant, filename="Zoë 第1集.mp4")

    answer = post(stand_in_client, body)

    video = world.catalog.get_video_metadata(body["record"]["id"])
    assert answer.status_code == 202
    assert (video.tenant_id, video.filename, video.storage_key) == (
        tenant,
        "Zoë 第1集.mp4",
        body["record"]["storage_key"],
    )
    assert len(dagster.runs) == 1


@pytest.mark.parametrize(("tier", "priority"), [("active", 70), ("enterprise", 90), ("trial", 50), (None, 50)])
def test_the_priority_is_the_tenants(
    stand_in_client: TestClient, world: World, dagster: StandIn, tier: str | None, priority: int
) -> None:
    answer = post(stand_in_client, webhook_body(world.tenant(tier)))

    assert answer.json()["priority"] == priority
    assert dagster.runs[0]["tags"]["dagster/priority"] == str(priority)


def test_without_dagster_the_request_is_kept_and_due(client: TestClient, world: World) -> None:
    body = webhook_body(world.tenant())

    answer = post(client, body)

    request = only_request(world, body["record"]["id"])
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert (request.state, request.claimed_by) == ("pending", None)
    # A sensor may take it at once.
    assert [row.id for row in world.catalog.claim_processing_requests("sensor")] == [request.id]


def test_a_webhook_answered_with_503_may_come_again(
    client: TestClient, make_client: MakeClient, world: World, dagster: StandIn
) -> None:
    body = webhook_body(world.tenant())
    assert post(client, body).status_code == 503

    answer = post(make_client(dagster_url=dagster.url), body)

    assert answer.status_code == 202
    assert len(dagster.runs) == 1


def test_a_webhook_after_the_sensor_was_faster_gives_its_run(
    stand_in_client: TestClient, world: World, dagster: StandIn
) -> None:
    tenant = world.tenant()
    video = world.video(tenant)
    (request,) = world.catalog.claim_processing_requests("sensor:new_videos")
    world.catalog.launch_processing_request(request.id, "sensor:new_videos", "the-sensors-run", priority=71)

    answer = post(stand_in_client, webhook_body(tenant, video.id))

    assert answer.status_code == 202
    assert (answer.json()["flow_run_id"], answer.json()["priority"]) == ("the-sensors-run", 71)
    assert dagster.runs == []


def test_a_webhook_while_a_sensor_launches_waits_for_its_run(
    stand_in_client: TestClient, world: World, dagster: StandIn
) -> None:
    tenant = world.tenant()
    video = world.video(tenant)
    (request,) = world.catalog.claim_processing_requests("sensor:new_videos")

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(post, stand_in_client, webhook_body(tenant, video.id))
        assert not waiting.done()
        world.catalog.launch_processing_request(request.id, "sensor:new_videos", "the-sensors-run", priority=70)
        answer = waiting.result()

    assert (answer.status_code, answer.json()["flow_run_id"]) == (202, "the-sensors-run")
    assert dagster.runs == []


def test_a_run_that_a_dead_claimer_made_is_found_by_its_tag(
    stand_in_client: TestClient, world: World, dagster: StandIn
) -> None:
    tenant = world.tenant()
    video = world.video(tenant)
    (request,) = world.catalog.claim_processing_requests("sensor:new_videos", lease_s=0.01)
    dagster.runs.append({"runId": "made-and-not-noted", "status": "QUEUED", "tags": {REQUEST_TAG: str(request.id)}})
    # The request is old enough that a claim may have ended without a word.
    _grow_older(world, minutes=10)

    answer = post(stand_in_client, webhook_body(tenant, video.id))

    assert (answer.status_code, answer.json()["flow_run_id"]) == (202, "made-and-not-noted")
    assert "launch" not in dagster.questions


def test_a_run_that_the_request_lost_is_not_found_by_its_tag(
    stand_in_client: TestClient, world: World, dagster: StandIn
) -> None:
    body = webhook_body(world.tenant())
    assert post(stand_in_client, body).status_code == 202
    request = only_request(world, body["record"]["id"])
    (lost,) = dagster.runs
    lost["status"] = "CANCELED"
    assert world.catalog.requeue_processing_request(request.id, lost["runId"])

    post(stand_in_client, body)

    (_, made) = dagster.runs_of(request.id)
    assert only_request(world, body["record"]["id"]).run_id == made["runId"]


def _grow_older(world: World, minutes: int) -> None:
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute(
            "update captionacc.processing_requests set requested_at = requested_at - make_interval(mins => %s)",
            (minutes,),
        )


def test_a_lost_answer_is_found_again_and_launched_once(
    stand_in_client: TestClient, world: World, dagster: StandIn
) -> None:
    dagster.behavior = "loses answers"
    body = webhook_body(world.tenant())

    answer = post(stand_in_client, body)

    request = only_request(world, body["record"]["id"])
    (run,) = dagster.runs_of(request.id)
    assert answer.status_code == 202
    assert answer.json()["flow_run_id"] == run["runId"] == request.run_id


def test_a_question_nobody_can_say_the_end_of_keeps_its_claim(
    stand_in_client: TestClient, world: World, dagster: StandIn
) -> None:
    stand_in_client.app.state.services.launcher._look_for_s = 0.3  # pyright: ignore
    dagster.behavior = "loses questions"
    body = webhook_body(world.tenant())

    answer = post(stand_in_client, body)

    request = only_request(world, body["record"]["id"])
    assert answer.status_code == 503
    assert request.state == "pending"
    # Were it free, a sensor could make a second run beside one that is only late.
    assert world.catalog.claim_processing_requests("sensor") == []
    assert request.claim_expires_at is not None


@pytest.mark.parametrize("behavior", ["refuses", "refuses half-way", "is unloaded"])
def test_a_refused_run_leaves_nothing_and_the_request_due(
    stand_in_client: TestClient, world: World, dagster: StandIn, behavior: Any
) -> None:
    dagster.behavior = behavior
    body = webhook_body(world.tenant())

    assert post(stand_in_client, body).status_code == 503
    assert dagster.runs == []
    assert len(world.catalog.claim_processing_requests("sensor")) == 1


def test_a_failing_dagster_is_503(stand_in_client: TestClient, dagster: StandIn, world: World) -> None:
    dagster.behavior = "fails"

    assert post(stand_in_client, webhook_body(world.tenant())).status_code == 503


def test_dagster_recovers_without_a_restart(stand_in_client: TestClient, dagster: StandIn, world: World) -> None:
    dagster.behavior = "is unloaded"
    assert post(stand_in_client, webhook_body(world.tenant())).status_code == 503
    dagster.behavior = "answers"

    assert post(stand_in_client, webhook_body(world.tenant())).status_code == 202


def test_the_same_delivery_ten_times_at_once_is_one_run(
    stand_in_client: TestClient, world: World, dagster: StandIn
) -> None:
    body = webhook_body(world.tenant())
    dagster.delay_s = 0.2

    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda _: post(stand_in_client, body), range(10)))

    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 9
    assert len(dagster.runs) == 1


def test_a_retry_that_somebody_asked_for_is_not_started_by_an_old_delivery(
    stand_in_client: TestClient, world: World, dagster: StandIn
) -> None:
    tenant = world.tenant()
    body = webhook_body(tenant)
    post(stand_in_client, body)
    first = only_request(world, body["record"]["id"])
    world.catalog.finish_processing_request(first.id, "failed", run_id=first.run_id)
    world.catalog.update_video_status(body["record"]["id"], "error")
    retry = world.catalog.retry_video(body["record"]["id"])

    assert post(stand_in_client, body).status_code == 409
    assert len(dagster.runs) == 1
    assert [row.id for row in world.catalog.claim_processing_requests("sensor")] == [retry.id]


def test_a_video_that_needs_no_processing_is_ignored(stand_in_client: TestClient, world: World) -> None:
    tenant, video_id = world.tenant(), uuid4()
    body = webhook_body(tenant, video_id)
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute(
            "insert into captionacc.videos (id, tenant_id, filename, storage_key, status)"
            " values (%s, %s, 'a', %s, 'active')",
            (video_id, tenant, body["record"]["storage_key"]),
        )

    answer = post(stand_in_client, body)

    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")
