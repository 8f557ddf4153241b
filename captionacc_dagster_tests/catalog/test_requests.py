"""The contract of every catalog: the outbox, and what people may ask of a video."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import Conflict, InvalidValue, NotFound
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, ProcessingRequest, RequestEnd, Video, error_details
from captionacc_dagster.catalog.postgres import PostgresCatalog

pytestmark = pytest.mark.integration

REGION = (0.1, 0.7, 0.9, 0.95)


def new_request(catalog: Catalog) -> ProcessingRequest:
    request = catalog.create_video(LOCAL_TENANT_ID, "a.mp4").request
    assert request is not None
    return request


def active_video(catalog: Catalog) -> Video:
    """A video whose initial processing has succeeded."""
    made = catalog.create_video(LOCAL_TENANT_ID, "a.mp4", claimer="sensor")
    assert made.request is not None
    catalog.launch_processing_request(made.request.id, "sensor", f"run of {made.video.id}")
    catalog.finish_processing_request(made.request.id, "succeeded")
    return catalog.update_video_status(made.video.id, "active", layout_status="annotate")


def test_claims_are_exclusive_and_oldest_first(catalog: Catalog) -> None:
    requests = [new_request(catalog) for _ in range(5)]
    first = catalog.claim_processing_requests("one", limit=2)
    assert [request.id for request in first] == [requests[0].id, requests[1].id]
    assert {request.claimed_by for request in first} == {"one"}
    second = catalog.claim_processing_requests("two", limit=100)
    assert [request.id for request in second] == [request.id for request in requests[2:]]
    assert catalog.claim_processing_requests("three") == []
    assert catalog.claim_processing_request(requests[0].id, "three") is None
    assert catalog.claim_processing_request(requests[0].id, "one") is not None


def test_thousands_of_requests_of_one_tenant_hold_up_nobody_else(
    postgres_catalog: PostgresCatalog, catalog_url: str
) -> None:
    catalog = postgres_catalog
    crowd = catalog.ensure_tenant(uuid4(), "crowd", "demo").id
    with psycopg.connect(catalog_url, autocommit=True) as connection:
        connection.execute("update captionacc.access_tiers set video_limit = null, daily_upload_limit = null")
        connection.execute(
            "insert into captionacc.videos (id, tenant_id, filename, storage_key)"
            " select id, %(tenant)s::uuid, 'a.mp4', %(tenant)s::text || '/client/videos/' || id || '/video.mp4'"
            " from (select gen_random_uuid() as id from generate_series(1, 3000)) n",
            {"tenant": str(crowd)},
        )
    single, premium = (catalog.ensure_tenant(uuid4(), "one video", tier).id for tier in ("demo", "active"))
    later = [catalog.create_video(tenant, "b.mp4").request for tenant in (single, premium)]
    first = catalog.claim_processing_requests("sensor", limit=3)
    # Premium first; then one of each free tenant in turn, although 2,999 older ones wait.
    assert [request.tenant_id for request in first] == [crowd, single, premium]
    assert {request.id for request in first} >= {request.id for request in later if request}
    assert {request.tenant_id for request in catalog.claim_processing_requests("sensor", limit=100)} == {crowd}


def test_claimers_at_once_take_turns_too(catalog: Catalog) -> None:
    tenants = [catalog.ensure_tenant(uuid4(), "a tenant", "demo").id for _ in range(3)]
    for tenant in tenants:
        for _ in range(6):
            catalog.create_video(tenant, "a.mp4")
    with ThreadPoolExecutor(6) as threads:
        claims = list(threads.map(lambda n: catalog.claim_processing_requests(f"sensor {n}", limit=3), range(6)))
    taken = [request.id for claim in claims for request in claim]
    assert len(taken) == len(set(taken)) == 18


def test_claims_can_be_of_chosen_flows(catalog: Catalog) -> None:
    new_request(catalog)
    crop = catalog.approve_layout(active_video(catalog).id, REGION)
    assert [request.id for request in catalog.claim_processing_requests("one", flows=["crop_and_infer"])] == [crop.id]
    assert len(catalog.claim_processing_requests("one")) == 1


def test_a_claimer_that_dies_gives_its_requests_back(catalog: Catalog) -> None:
    request = new_request(catalog)
    assert catalog.claim_processing_requests("dies", lease_s=0.0)[0].id == request.id
    assert catalog.claim_processing_requests("lives")[0].id == request.id
    with pytest.raises(Conflict, match="not claimed by dies"):
        catalog.launch_processing_request(request.id, "dies", "run-1")
    assert not catalog.renew_request_claim(request.id, "dies")
    assert catalog.renew_request_claim(request.id, "lives", lease_s=3600)
    renewed = catalog.get_processing_request(request.id).claim_expires_at
    assert renewed is not None
    assert renewed > datetime.now(UTC) + timedelta(minutes=50)
    assert catalog.launch_processing_request(request.id, "lives", "run-2").run_id == "run-2"


def test_a_launch_whose_answer_was_lost_is_harmless(catalog: Catalog) -> None:
    request = new_request(catalog)
    catalog.claim_processing_requests("sensor")
    first = catalog.launch_processing_request(request.id, "sensor", "run-1", priority=70)
    assert catalog.launch_processing_request(request.id, "sensor", "run-1", priority=70) == first
    assert (first.state, first.run_id, first.priority, first.attempts) == ("launched", "run-1", 70, 1)
    assert first.launched_at is not None
    with pytest.raises(Conflict):
        catalog.launch_processing_request(request.id, "sensor", "run-2")
    assert catalog.find_processing_request(run_id="run-1") == first
    assert catalog.find_processing_request(idempotency_key=request.idempotency_key) == first
    assert catalog.find_processing_request(run_id="run-2") is None


def test_an_unclaimed_request_cannot_be_launched(catalog: Catalog) -> None:
    with pytest.raises(Conflict):
        catalog.launch_processing_request(new_request(catalog).id, "sensor", "run-1")
    with pytest.raises(NotFound):
        catalog.launch_processing_request(uuid4(), "sensor", "run-1")


def test_a_failed_launch_waits_for_its_delay(catalog: Catalog) -> None:
    request = new_request(catalog)
    catalog.claim_processing_requests("sensor")
    assert not catalog.release_processing_request(request.id, "other")
    assert catalog.release_processing_request(
        request.id, "sensor", delay_s=3600, error_details=error_details("Dagster is away")
    )
    assert catalog.claim_processing_requests("sensor") == []
    kept = catalog.get_processing_request(request.id)
    assert (kept.state, kept.claimed_by) == ("pending", None)
    assert kept.error_details is not None
    assert kept.error_details["message"] == "Dagster is away"
    # Who asks for this one by its id does not wait.
    assert catalog.claim_processing_request(request.id, "api") is not None


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_a_request_ends_once(catalog: Catalog, state: RequestEnd) -> None:
    request = new_request(catalog)
    catalog.claim_processing_requests("sensor")
    catalog.launch_processing_request(request.id, "sensor", "run-1")
    with pytest.raises(Conflict):
        catalog.finish_processing_request(request.id, state, run_id="run-0")
    details = error_details("reason", run_id="run-1")
    ended = catalog.finish_processing_request(request.id, state, run_id="run-1", error_details=details)
    assert (ended.state, ended.error_details, ended.is_open) == (state, details, False)
    assert ended.finished_at is not None
    assert catalog.finish_processing_request(request.id, state, run_id="run-1") == ended
    other: RequestEnd = "failed" if state == "succeeded" else "succeeded"
    with pytest.raises(Conflict):
        catalog.finish_processing_request(request.id, other, run_id="run-1")
    assert catalog.claim_processing_requests("sensor") == []
    with pytest.raises(NotFound):
        catalog.finish_processing_request(uuid4(), state)


def test_an_end_that_is_none_is_refused(catalog: Catalog) -> None:
    with pytest.raises(InvalidValue, match="not pending"):
        catalog.finish_processing_request(new_request(catalog).id, "pending")  # type: ignore[arg-type]


def test_a_request_whose_run_is_gone_is_due_again(catalog: Catalog) -> None:
    request = new_request(catalog)
    catalog.claim_processing_requests("sensor")
    catalog.launch_processing_request(request.id, "sensor", "run-1", priority=50)
    assert not catalog.requeue_processing_request(request.id, "run-0")
    assert catalog.requeue_processing_request(request.id, "run-1", error_details=error_details("run is gone"))
    assert not catalog.requeue_processing_request(request.id, "run-1")
    (again,) = catalog.claim_processing_requests("sensor")
    assert (again.id, again.run_id, again.requested_at) == (request.id, None, request.requested_at)
    assert catalog.launch_processing_request(request.id, "sensor", "run-2").attempts == 2


def test_a_retried_run_takes_over_its_request(catalog: Catalog) -> None:
    request = new_request(catalog)
    catalog.claim_processing_requests("sensor")
    catalog.launch_processing_request(request.id, "sensor", "run-1")
    catalog.finish_processing_request(request.id, "failed", run_id="run-1")
    assert not catalog.replace_request_run(request.id, "run-0", "run-2")
    assert catalog.replace_request_run(request.id, "run-1", "run-2")
    assert catalog.replace_request_run(request.id, "run-1", "run-2")
    taken = catalog.get_processing_request(request.id)
    assert (taken.state, taken.run_id, taken.attempts, taken.finished_at) == ("launched", "run-2", 2, None)
    with pytest.raises(Conflict):
        catalog.finish_processing_request(request.id, "succeeded", run_id="run-1")
    assert catalog.finish_processing_request(request.id, "succeeded", run_id="run-2").state == "succeeded"


def test_pages_of_requests(catalog: Catalog) -> None:
    requests = [new_request(catalog) for _ in range(5)]
    catalog.claim_processing_requests("sensor", limit=2)
    for number, request in enumerate(requests[:2]):
        catalog.launch_processing_request(request.id, "sensor", f"run-{number}")
    seen: list[ProcessingRequest] = []
    cursor = None
    while True:
        page = catalog.list_processing_requests(cursor=cursor, limit=2)
        seen.extend(page.items)
        if (cursor := page.next_cursor) is None:
            break
    assert [request.id for request in seen] == [request.id for request in requests]
    launched = catalog.list_processing_requests(states=["launched"]).items
    assert [request.id for request in launched] == [request.id for request in requests[:2]]
    soon = datetime.now(UTC) + timedelta(minutes=1)
    assert len(catalog.list_processing_requests(launched_before=soon).items) == 2
    assert catalog.list_processing_requests(launched_before=soon - timedelta(hours=1)).items == ()
    only = catalog.list_processing_requests(video_id=requests[3].video_id, tenant_id=LOCAL_TENANT_ID)
    assert [request.id for request in only.items] == [requests[3].id]
    assert catalog.list_processing_requests(tenant_id=uuid4()).items == ()
    assert catalog.list_processing_requests(flows=["caption_ocr"]).items == ()


def test_approval_stores_the_region_and_asks_for_cropping(catalog: Catalog) -> None:
    video = active_video(catalog)
    catalog.update_video_status(video.id, boundaries_status="error", boundaries_error_details=error_details("old"))
    request = catalog.approve_layout(video.id, REGION, request_key="approval-1", base_priority=95)
    assert (request.flow, request.state, request.base_priority) == ("crop_and_infer", "pending", 95)
    assert request.payload == {
        "crop_region": {"crop_left": 0.1, "crop_top": 0.7, "crop_right": 0.9, "crop_bottom": 0.95}
    }
    after = catalog.get_video_metadata(video.id)
    assert after.crop_region == REGION
    assert (after.layout_status, after.layout_approval, after.boundaries_status) == ("done", "person", "wait")
    assert after.boundaries_error_details is None
    assert after.layout_approved_at is not None
    # The answer was lost, or the button was pressed twice.
    assert catalog.approve_layout(video.id, (0, 0, 1, 1), request_key="approval-1") == request
    assert catalog.get_video_metadata(video.id) == after
    with pytest.raises(Conflict, match="is being processed"):
        catalog.approve_layout(video.id, REGION)


def test_a_layout_approved_anew_after_the_run(catalog: Catalog) -> None:
    video = active_video(catalog)
    first = catalog.approve_layout(video.id, REGION, approval="automatic", claimer="cli")
    assert first.claimed_by == "cli"
    catalog.launch_processing_request(first.id, "cli", "run-1")
    with pytest.raises(Conflict, match="is being processed"):
        catalog.approve_layout(video.id, REGION)
    catalog.finish_processing_request(first.id, "succeeded")
    second = catalog.approve_layout(video.id, (0.0, 0.0, 1.0, 0.5))
    assert second.id != first.id
    assert catalog.get_video_metadata(video.id).crop_region == (0.0, 0.0, 1.0, 0.5)


def test_a_video_without_captions_is_approved_without_a_region(catalog: Catalog) -> None:
    video = active_video(catalog)
    catalog.update_video_metadata(video.id, {"crop_left": 0.0, "crop_top": 0.5, "crop_right": 1.0, "crop_bottom": 1.0})
    request = catalog.approve_layout(video.id, None, approval="automatic")
    assert request.payload == {"crop_region": dict.fromkeys(("crop_left", "crop_top", "crop_right", "crop_bottom"))}
    approved = catalog.get_video_metadata(video.id)
    assert (approved.crop_region, approved.layout_status) == (None, "done")


def test_statuses_and_requests_change_together_or_not_at_all(catalog: Catalog) -> None:
    request = new_request(catalog)
    catalog.claim_processing_request(request.id, "sensor")
    catalog.launch_processing_request(request.id, "sensor", "run-1")
    details = error_details("torn", run_id="run-1")
    changes = {"status": "error", "error_details": details}
    for run_id, wrong in (("run-2", changes), ("run-1", {"status": "nonsense"})):
        before = catalog.get_video_metadata(request.video_id), catalog.get_processing_request(request.id)
        with pytest.raises((Conflict, InvalidValue)):
            catalog.record_outcome(request.video_id, wrong, [request.id], "failed", run_id=run_id)
        after = catalog.get_video_metadata(request.video_id), catalog.get_processing_request(request.id)
        assert after == before
    for _ in range(2):
        catalog.record_outcome(request.video_id, changes, [request.id], "failed", run_id="run-1", error_details=details)
        row, ended = catalog.get_video_metadata(request.video_id), catalog.get_processing_request(request.id)
        assert (row.status, row.error_details) == ("error", details)
        assert (ended.state, ended.error_details) == ("failed", details)
    # Without a change, the video does not even have to exist: it may have been deleted meanwhile.
    catalog.record_outcome(uuid4(), {}, [request.id], "failed", run_id="run-1")
    with pytest.raises(NotFound):
        catalog.record_outcome(uuid4(), changes)


def test_a_layout_that_was_found_stays_below_a_persons(catalog: Catalog) -> None:
    video, region = active_video(catalog), dict.fromkeys(("crop_left", "crop_top"), 0.25)
    found, again = {**region, "crop_right": 1.0, "crop_bottom": 0.5}, {"layout_status": "done"}
    row = catalog.record_layout(video.id, {"width": 640}, found, again)
    assert (row.width, row.crop_region, row.layout_status) == (640, (0.25, 0.25, 1.0, 0.5), "annotate")
    catalog.finish_processing_request(catalog.approve_layout(video.id, REGION, approval="automatic").id, "succeeded")
    row = catalog.record_layout(video.id, {}, found, again)
    assert (row.crop_region, row.layout_approval) == ((0.25, 0.25, 1.0, 0.5), None)
    catalog.approve_layout(video.id, REGION)
    row = catalog.record_layout(video.id, {"width": 320}, found, again)
    assert (row.width, row.crop_region, row.layout_approval, row.layout_status) == (320, REGION, "person", "done")
    with pytest.raises(NotFound):
        catalog.record_layout(uuid4(), {}, found, again)


def test_a_layout_that_cannot_be_approved(catalog: Catalog) -> None:
    waiting = catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video
    with pytest.raises(Conflict, match="cannot be approved yet"):
        catalog.approve_layout(waiting.id, REGION)
    with pytest.raises(NotFound):
        catalog.approve_layout(uuid4(), REGION)
    video = active_video(catalog)
    for region in ((0.5, 0.5, 0.5, 0.9), (-0.1, 0.0, 1.0, 1.0), (0.0, 0.9, 1.0, 0.8), (0.0, 0.0, float("nan"), 1.0)):
        with pytest.raises(InvalidValue):
            catalog.approve_layout(video.id, region)
    # Neither the region nor the request stayed.
    assert catalog.get_video_metadata(video.id) == video
    assert catalog.list_processing_requests(video_id=video.id, states=["pending"]).items == ()


def test_ocr_of_chosen_captions(catalog: Catalog) -> None:
    video = active_video(catalog)
    with pytest.raises(Conflict, match="no captions yet"):
        catalog.request_caption_ocr(video.id, [1])
    catalog.activate_cropped_frames_version(video.id, catalog.next_cropped_frames_version(video.id, "run-1"))
    with pytest.raises(InvalidValue, match="no captions given"):
        catalog.request_caption_ocr(video.id, [])
    request = catalog.request_caption_ocr(video.id, [3, 1, 3])
    assert (request.flow, request.payload) == ("caption_ocr", {"caption_ids": [1, 3]})
    assert catalog.request_caption_ocr(video.id, [1, 3]) == request
    other = catalog.request_caption_ocr(video.id, [2**40])
    assert other.id != request.id
    catalog.finish_processing_request(request.id, "succeeded")
    assert catalog.request_caption_ocr(video.id, [1, 3]).id not in (request.id, other.id)
    with pytest.raises(NotFound):
        catalog.request_caption_ocr(uuid4(), [1])


def test_boundaries_then_text_are_completed(catalog: Catalog) -> None:
    video = active_video(catalog)
    complete: tuple[Callable[[], Video], ...] = (
        lambda: catalog.complete_boundaries(video.id),
        lambda: catalog.complete_text(video.id),
    )
    for action in complete:
        with pytest.raises(Conflict, match="wait"):
            action()
    catalog.update_video_status(video.id, boundaries_status="annotate", text_status="annotate")
    with pytest.raises(Conflict, match="boundaries annotate"):
        catalog.complete_text(video.id)
    assert catalog.complete_boundaries(video.id).boundaries_status == "done"
    assert catalog.complete_boundaries(video.id).text_status == "annotate"
    assert catalog.complete_text(video.id).text_status == "done"
    done = catalog.complete_text(video.id)
    assert (done.boundaries_status, done.text_status) == ("done", "done")
    catalog.update_video_status(video.id, boundaries_status="error")
    with pytest.raises(Conflict, match="error"):
        catalog.complete_boundaries(video.id)
    for action in (catalog.complete_boundaries, catalog.complete_text, catalog.retry_video):
        with pytest.raises(NotFound):
            action(uuid4())


def test_what_failed_first_is_tried_again(catalog: Catalog) -> None:
    video = active_video(catalog)
    with pytest.raises(Conflict, match="nothing of video"):
        catalog.retry_video(video.id)
    crop = catalog.approve_layout(video.id, REGION)
    catalog.finish_processing_request(crop.id, "failed")
    catalog.update_video_status(video.id, boundaries_status="error", boundaries_error_details=error_details("torn"))
    again = catalog.retry_video(video.id, request_key="retry-1")
    assert (again.flow, again.payload, again.state) == ("crop_and_infer", crop.payload, "pending")
    assert catalog.retry_video(video.id, request_key="retry-1") == again
    reset = catalog.get_video_metadata(video.id)
    assert (reset.boundaries_status, reset.boundaries_error_details) == ("wait", None)
    with pytest.raises(Conflict, match="is being processed"):
        catalog.retry_video(video.id)
    catalog.finish_processing_request(again.id, "failed")
    catalog.update_video_status(video.id, "error", layout_status="error", error_details=error_details("torn"))
    initial = catalog.retry_video(video.id, claimer="cli")
    assert (initial.flow, initial.claimed_by) == ("video_initial_processing", "cli")
    reset = catalog.get_video_metadata(video.id)
    assert (reset.status, reset.layout_status, reset.error_details) == ("waiting", "wait", None)
