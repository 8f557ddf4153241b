"""The contract of every catalog: compute calls and quotas, webhook deliveries, the security log, counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import InvalidValue, NotFound
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, ComputeCall, ComputeEnd, error_details

pytestmark = pytest.mark.integration


def record(catalog: Catalog, video_id: UUID, key: str = "key-1", minutes: float = 0.0) -> ComputeCall:
    return catalog.record_compute_call(
        key,
        video_id,
        app_name="captionacc-processing",
        function_name="extract_frames_and_ocr",
        code_version="0.1.0",
        arguments={"video_key": "…/video.mp4", "frame_rate": 0.1},
        run_id="run-1",
        estimated_minutes=minutes,
    )


def local_video(catalog: Catalog) -> UUID:
    return catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video.id


def test_a_call_is_recorded_once_and_found_again(catalog: Catalog) -> None:
    video_id = local_video(catalog)
    call = record(catalog, video_id, minutes=2.5)
    assert (call.state, call.attempts, call.tenant_id) == ("intent", 1, LOCAL_TENANT_ID)
    assert call.input == {"video_key": "…/video.mp4", "frame_rate": 0.1}
    assert record(catalog, video_id).id == call.id
    spawned = catalog.spawn_compute_call(call.id, "fc-1", dashboard_url="http://127.0.0.1/fc-1")
    assert (spawned.state, spawned.external_call_id) == ("spawned", "fc-1")
    # A second spawn of the same attempt finds the first.
    assert catalog.spawn_compute_call(call.id, "fc-2").external_call_id == "fc-1"
    assert catalog.touch_compute_call(call.id)
    assert catalog.touch_compute_call(call.id, running=True)
    found = catalog.find_compute_call("key-1")
    assert found is not None
    assert (found.state, found.external_call_id) == ("running", "fc-1")
    assert found.started_at is not None
    assert catalog.find_compute_call("key-2") is None


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_the_first_end_stays(catalog: Catalog, state: ComputeEnd) -> None:
    call = record(catalog, local_video(catalog))
    catalog.spawn_compute_call(call.id, "fc-1")
    ended = catalog.end_compute_call(
        call.id, state, result={"frame_count": 3}, queued_s=1.5, running_s=60.0, estimated_cost_usd=0.01
    )
    assert (ended.state, ended.result, ended.running_seconds) == (state, {"frame_count": 3}, 60.0)
    assert catalog.end_compute_call(call.id, "failed", error_details=error_details("late")) == ended
    assert not catalog.touch_compute_call(call.id)
    again = record(catalog, ended.video_id)
    assert (again.state, again.result) == (state, {"frame_count": 3})


def test_an_expired_call_is_made_anew_once(catalog: Catalog) -> None:
    call = record(catalog, local_video(catalog))
    catalog.spawn_compute_call(call.id, "fc-1")
    again = catalog.respawn_compute_call(call.id, attempt=1, reason="result expired")
    assert (again.state, again.attempts, again.external_call_id, again.last_reason) == (
        "intent", 2, None, "result expired",
    )  # fmt: skip
    assert catalog.respawn_compute_call(call.id, attempt=1, reason="again") == again
    assert catalog.spawn_compute_call(call.id, "fc-2").external_call_id == "fc-2"


def test_calls_nobody_waits_for_are_found(catalog: Catalog) -> None:
    video_id = local_video(catalog)
    waiting, ended = record(catalog, video_id), record(catalog, video_id, "key-2")
    catalog.end_compute_call(ended.id, "succeeded")
    now = datetime.now(UTC)
    found = catalog.list_compute_calls(waiter_unseen_since=now + timedelta(minutes=1)).items
    assert [call.id for call in found] == [waiting.id]
    assert catalog.list_compute_calls(waiter_unseen_since=now - timedelta(minutes=5)).items == ()
    assert [call.id for call in catalog.list_compute_calls(states=["succeeded"], video_id=video_id).items] == [ended.id]
    first = catalog.list_compute_calls(limit=1)
    assert [call.id for call in first.items] == [waiting.id]
    assert [call.id for call in catalog.list_compute_calls(cursor=first.next_cursor).items] == [ended.id]


def test_calls_of_nothing(catalog: Catalog) -> None:
    with pytest.raises(NotFound):
        record(catalog, uuid4())
    for action in (
        lambda: catalog.spawn_compute_call(uuid4(), "fc-1"),
        lambda: catalog.respawn_compute_call(uuid4(), attempt=1, reason=""),
        lambda: catalog.end_compute_call(uuid4(), "failed"),
    ):
        with pytest.raises(NotFound):
            action()
    with pytest.raises(InvalidValue):
        catalog.end_compute_call(record(catalog, local_video(catalog)).id, "running")  # type: ignore[arg-type]


def test_minutes_over_the_limit_are_refused_before_they_are_spent(catalog: Catalog) -> None:
    tenant = catalog.ensure_tenant(uuid4(), "small", "demo")
    video_id = catalog.create_video(tenant.id, "a.mp4").video.id
    first = record(catalog, video_id, "first", minutes=20)
    assert first.state == "intent"
    refused = record(catalog, video_id, "second", minutes=20)
    assert refused.state == "refused"
    assert refused.error_details is not None
    assert refused.error_details["error_type"] == "QuotaExceeded"
    assert refused.error_details["message"] == "20.0 of 30 minutes of this month are used; this needs about 20.0 more"
    assert catalog.get_tenant_quota(tenant.id).processing_minutes_used == 20
    # Nothing can come of a refused call.
    assert catalog.spawn_compute_call(refused.id, "fc-1").external_call_id is None
    # The first took less than was estimated: now there is room.
    catalog.end_compute_call(first.id, "succeeded", running_s=120)
    assert catalog.get_tenant_quota(tenant.id).processing_minutes_used == 2
    assert record(catalog, video_id, "second", minutes=20).state == "intent"
    assert record(catalog, video_id, "third", minutes=20).state == "refused"


def test_a_delivery_is_accepted_once(catalog: Catalog) -> None:
    assert catalog.accept_webhook_delivery("delivery-1", "supabase", video_id=uuid4(), tenant_id=uuid4())
    assert not catalog.accept_webhook_delivery("delivery-1", "supabase")
    assert catalog.accept_webhook_delivery("delivery-2", "supabase")
    assert catalog.purge_webhook_deliveries(datetime.now(UTC) - timedelta(days=1)) == 0
    assert catalog.purge_webhook_deliveries(datetime.now(UTC) + timedelta(minutes=1)) == 2
    assert catalog.accept_webhook_delivery("delivery-1", "supabase")


@pytest.mark.security
def test_the_security_log_is_read_newest_first(catalog: Catalog) -> None:
    tenant = uuid4()
    catalog.record_security_event("bad_secret", client_ip="127.0.0.1", method="POST", path="/webhooks/supabase/videos")
    catalog.record_security_event(
        "foreign_tenant", severity="critical", tenant_id=tenant, user_id=uuid4(), video_id=uuid4(), request_id="r-1",
        details={"action": "approve-layout"},
    )  # fmt: skip
    newest = catalog.list_security_events(limit=1)
    assert [event.event for event in newest.items] == ["foreign_tenant"]
    assert (newest.items[0].severity, newest.items[0].details) == ("critical", {"action": "approve-layout"})
    oldest = catalog.list_security_events(cursor=newest.next_cursor)
    assert [(event.event, event.client_ip) for event in oldest.items] == [("bad_secret", "127.0.0.1")]
    assert [event.event for event in catalog.list_security_events(tenant_id=tenant).items] == ["foreign_tenant"]
    assert [event.event for event in catalog.list_security_events(event="bad_secret").items] == ["bad_secret"]


@pytest.mark.observability
def test_counts_of_everything(catalog: Catalog) -> None:
    first, _ = local_video(catalog), local_video(catalog)
    catalog.update_video_status(first, "error")
    record(catalog, first)
    catalog.acquire_server_lock(first, "layout", "run-1")
    metrics = catalog.get_metrics()
    assert metrics.videos == {"error": 1, "waiting": 1}
    assert metrics.compute_calls == {"intent": 1}
    assert (metrics.locks.held, metrics.locks.expired) == (1, 0)
    (pending,) = metrics.requests
    assert (pending.state, pending.flow, pending.tier, pending.count) == (
        "pending", "video_initial_processing", "enterprise", 2,
    )  # fmt: skip
    assert pending.oldest_requested_at == catalog.get_video_metadata(first).created_at


def test_a_sign_of_life(catalog: Catalog) -> None:
    catalog.ping()
    catalog.close()
    catalog.ping()
