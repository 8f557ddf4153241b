"""Leases end and waiting requests start after the clock of the database's machine was set back."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, ProcessingRequest

pytestmark = pytest.mark.integration

HASH = "a" * 64
SHORT_S = 0.3
LONG_S = 600.0
BACK = timedelta(hours=1)


@pytest.fixture(params=["postgres", "supabase"])
def catalog(request: pytest.FixtureRequest) -> Catalog:
    return request.getfixturevalue(f"{request.param}_catalog")


@pytest.fixture
def url(request: pytest.FixtureRequest, catalog: Catalog) -> str:
    """The database behind the catalog."""
    if request.node.callspec.params["catalog"] == "postgres":
        return request.getfixturevalue("catalog_url")
    return request.getfixturevalue("supabase_lite").database_url


def set_clock_back(url: str, back: timedelta) -> None:
    """Have every time that was ever written lie as much later, seen from now."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")  # no trigger writes times of its own
        columns = connection.execute(
            "select table_name, array_agg(column_name::text) from information_schema.columns"
            " join information_schema.tables using (table_schema, table_name)"
            " where table_schema = 'captionacc' and table_type = 'BASE TABLE'"
            " and data_type = 'timestamp with time zone' group by table_name"
        ).fetchall()
        for table, names in columns:
            moved = [sql.SQL("{0} = {0} + {1}").format(sql.Identifier(name), sql.Literal(back)) for name in names]
            connection.execute(
                sql.SQL("update captionacc.{} set {}").format(sql.Identifier(table), sql.SQL(", ").join(moved))
            )


def new_request(catalog: Catalog) -> ProcessingRequest:
    request = catalog.create_video(LOCAL_TENANT_ID, "a.mp4").request
    assert request is not None
    return request


def end_of_claim(catalog: Catalog, request_id: UUID) -> datetime:
    end = catalog.get_processing_request(request_id).claim_expires_at
    assert end is not None
    return end


@pytest.mark.parametrize("back", [BACK, timedelta(days=1)], ids=str)
def test_the_claim_of_a_killed_process_ends_with_its_lease(catalog: Catalog, url: str, back: timedelta) -> None:
    request = new_request(catalog)
    assert catalog.claim_processing_requests("killed", lease_s=SHORT_S)
    set_clock_back(url, back)
    catalog.claim_processing_requests("lives")
    time.sleep(2 * SHORT_S)
    catalog.claim_processing_requests("lives")
    assert catalog.get_processing_request(request.id).claimed_by == "lives"


def test_a_process_that_lives_keeps_its_claim(catalog: Catalog, url: str) -> None:
    request = new_request(catalog)
    assert catalog.claim_processing_requests("lives", lease_s=LONG_S)
    set_clock_back(url, BACK)
    assert catalog.claim_processing_requests("other") == []
    assert catalog.claim_processing_request(request.id, "other") is None
    assert end_of_claim(catalog, request.id) < datetime.now(UTC) + timedelta(seconds=LONG_S + 1)
    assert catalog.renew_request_claim(request.id, "lives", lease_s=LONG_S)
    assert catalog.launch_processing_request(request.id, "lives", "run-1").run_id == "run-1"


def test_what_waits_is_due_and_has_not_waited_less(catalog: Catalog, url: str) -> None:
    due, later = new_request(catalog), new_request(catalog)
    assert catalog.claim_processing_request(later.id, "sensor")
    assert catalog.release_processing_request(later.id, "sensor", delay_s=LONG_S)
    set_clock_back(url, BACK)
    (claimed,) = catalog.claim_processing_requests("sensor", lease_s=LONG_S)
    assert claimed.id == due.id
    # A launcher infers from the distance of these two that no earlier claim was lost.
    assert claimed.claim_expires_at is not None
    assert claimed.claim_expires_at - claimed.requested_at >= timedelta(seconds=LONG_S)


def test_the_claim_that_came_with_a_video_ends_with_its_lease(catalog: Catalog, url: str) -> None:
    catalog.create_video(LOCAL_TENANT_ID, "a.mp4", content_hash=HASH, claimer="killed", lease_s=SHORT_S)
    set_clock_back(url, BACK)

    def add_again() -> str | None:
        made = catalog.create_video(LOCAL_TENANT_ID, "a.mp4", content_hash=HASH, claimer="lives", lease_s=LONG_S)
        assert not made.created
        assert made.request is not None
        return made.request.claimed_by

    add_again()
    time.sleep(2 * SHORT_S)
    assert add_again() == "lives"


@pytest.mark.parametrize("back", [BACK, timedelta(days=1)], ids=str)
def test_the_lock_of_a_killed_process_ends_with_its_lease(catalog: Catalog, url: str, back: timedelta) -> None:
    video_id = catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video.id
    assert catalog.acquire_server_lock(video_id, "layout", "killed", SHORT_S)
    assert catalog.acquire_server_lock(video_id, "captions", "killed", SHORT_S)
    set_clock_back(url, back)
    catalog.acquire_server_lock(video_id, "layout", "lives")
    catalog.reap_expired_locks()
    time.sleep(2 * SHORT_S)
    assert catalog.acquire_server_lock(video_id, "layout", "lives")
    assert [lock.database_name for lock in catalog.reap_expired_locks()] == ["captions"]


def test_a_process_that_lives_keeps_its_lock(catalog: Catalog, url: str) -> None:
    video_id = catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video.id
    assert catalog.acquire_server_lock(video_id, "layout", "lives", LONG_S)
    set_clock_back(url, BACK)
    assert not catalog.acquire_server_lock(video_id, "layout", "other")
    assert catalog.reap_expired_locks() == []
    (lock,) = catalog.list_locks(video_id)
    assert lock.lock_holder == "lives"
    assert lock.locked_at < lock.expires_at < datetime.now(UTC) + timedelta(seconds=LONG_S + 1)
    assert catalog.renew_server_lock(video_id, "layout", "lives", LONG_S)


def test_the_right_to_make_a_remote_call_ends_with_its_lease(catalog: Catalog, url: str) -> None:
    video_id = catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video.id

    def call_id() -> UUID:
        return catalog.record_compute_call(
            "key", video_id, app_name="app", function_name="extract_frames_and_ocr", code_version="1", arguments={}
        ).id

    call = call_id()
    assert catalog.claim_compute_spawn(call, "killed", SHORT_S)
    set_clock_back(url, BACK)
    # Somebody else asks for the same work: that writes to the row first.
    assert call_id() == call
    catalog.claim_compute_spawn(call, "lives", LONG_S)
    time.sleep(2 * SHORT_S)
    assert catalog.claim_compute_spawn(call, "lives", LONG_S)
    set_clock_back(url, BACK)
    assert not catalog.claim_compute_spawn(call, "other", LONG_S)


def test_the_end_of_a_remote_call_is_recorded(catalog: Catalog, url: str) -> None:
    video_id = catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video.id
    call = catalog.record_compute_call(
        "key", video_id, app_name="app", function_name="extract_frames_and_ocr", code_version="1", arguments={}
    )
    catalog.spawn_compute_call(call.id, "fc-1")
    catalog.touch_compute_call(call.id, running=True)
    set_clock_back(url, BACK)
    assert catalog.end_compute_call(call.id, "failed").running_seconds == 0.0
