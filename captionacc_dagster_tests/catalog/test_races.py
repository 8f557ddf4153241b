"""Many at once: one winner of a lock, each request claimed once, one video of one content, versions in a row."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any
from uuid import UUID

import psycopg
import pytest

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster_tests.supabase_lite import SupabaseLite

pytestmark = [pytest.mark.integration, pytest.mark.recovery]

CALLERS = 10
ROUNDS = 50


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run ``work`` in that many threads, all let go at once."""
    gate = threading.Barrier(count)

    def enter(number: int) -> Any:
        gate.wait(60)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(enter, range(count)))


@pytest.fixture(params=["postgres", "supabase"])
def wide_catalog(request: pytest.FixtureRequest) -> Iterator[Catalog]:
    """A catalog with a connection for every caller."""
    if request.param == "postgres":
        catalog: Catalog = PostgresCatalog(request.getfixturevalue("catalog_url"), pool_size=CALLERS)
    else:
        server: SupabaseLite = request.getfixturevalue("supabase_lite")
        catalog = server.catalog(connections=CALLERS)
    yield catalog
    catalog.close()


def test_ten_threads_one_lock_one_winner(wide_catalog: Catalog) -> None:
    video_id = wide_catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video.id
    for turn in range(ROUNDS):
        # In the first round nobody has ever locked this video; all name one holder, as a retried run would.
        won = in_threads(CALLERS, lambda _: wide_catalog.acquire_server_lock(video_id, "layout", "run-1"))
        assert sum(won) == 1, f"round {turn}"
        assert wide_catalog.release_server_lock(video_id, "layout", "run-1")


def test_an_expired_lock_has_one_heir(wide_catalog: Catalog) -> None:
    video_id = wide_catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video.id
    for turn in range(10):
        wide_catalog.reap_expired_locks()
        assert wide_catalog.acquire_server_lock(video_id, "captions", "dead", 0.0)
        won = in_threads(
            CALLERS, lambda number: wide_catalog.acquire_server_lock(video_id, "captions", f"heir-{number}", 60)
        )
        assert sum(won) == 1, f"round {turn}"
        (lock,) = wide_catalog.list_locks(video_id)
        assert lock.lock_holder == f"heir-{won.index(True)}"
        assert wide_catalog.release_server_lock(video_id, "captions", lock.lock_holder)


def contend(url: str, video_id: UUID, name: str, gate: Barrier, results: Queue[tuple[int, bool]]) -> None:
    with PostgresCatalog(url) as catalog:
        for turn in range(ROUNDS):
            gate.wait(120)
            won = catalog.acquire_server_lock(video_id, "layout", name)
            results.put((turn, won))
            gate.wait(120)
            if won:
                assert catalog.release_server_lock(video_id, "layout", name)


def test_ten_processes_one_lock_one_winner(catalog_url: str, postgres_catalog: PostgresCatalog) -> None:
    video_id = postgres_catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video.id
    context = multiprocessing.get_context("fork")
    gate, results = context.Barrier(CALLERS), context.Queue()
    processes = [
        context.Process(target=contend, args=(catalog_url, video_id, f"process-{number}", gate, results))
        for number in range(CALLERS)
    ]
    for process in processes:
        process.start()
    outcomes = [results.get(timeout=120) for _ in range(CALLERS * ROUNDS)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert Counter(turn for turn, won in outcomes if won) == dict.fromkeys(range(ROUNDS), 1)
    assert postgres_catalog.list_locks() == []


def test_acquiring_does_not_wait_for_a_stuck_transaction(catalog_url: str, postgres_catalog: PostgresCatalog) -> None:
    video_id = postgres_catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video.id
    assert postgres_catalog.acquire_server_lock(video_id, "layout", "run-1", 0.0)
    with psycopg.connect(catalog_url) as stuck:
        stuck.execute("select * from captionacc.video_database_state for update")
        assert not postgres_catalog.acquire_server_lock(video_id, "layout", "run-2")
        stuck.rollback()
        stuck.execute(
            "select captionacc.acquire_server_lock(%s, 'layout', 'run-3', 60, gen_random_uuid())", (video_id,)
        )
        assert not postgres_catalog.acquire_server_lock(video_id, "layout", "run-2")
        stuck.rollback()
    assert postgres_catalog.acquire_server_lock(video_id, "layout", "run-2")


def test_two_workers_claim_a_thousand_requests_once_each(catalog_url: str) -> None:
    with psycopg.connect(catalog_url, autocommit=True) as connection:
        connection.execute(
            "insert into captionacc.videos (id, tenant_id, filename, storage_key)"
            " select id, %(tenant)s::uuid, 'a.mp4', %(tenant)s::text || '/client/videos/' || id || '/video.mp4'"
            " from (select gen_random_uuid() as id from generate_series(1, 1000)) ids",
            {"tenant": str(LOCAL_TENANT_ID)},
        )
    catalogs = [PostgresCatalog(catalog_url), PostgresCatalog(catalog_url)]

    def work(number: int) -> list[UUID]:
        taken: list[UUID] = []
        while requests := catalogs[number].claim_processing_requests(f"worker-{number}", limit=37, lease_s=600):
            for request in requests:
                catalogs[number].launch_processing_request(request.id, f"worker-{number}", f"run of {request.id}")
                taken.append(request.id)
        return taken

    first, second = in_threads(2, work)
    assert len(first) + len(second) == 1000
    assert len({*first, *second}) == 1000
    assert first
    assert second
    assert catalogs[0].get_metrics().requests[0].state == "launched"
    for catalog in catalogs:
        catalog.close()


def test_a_request_committed_late_is_not_passed_over(catalog_url: str, postgres_catalog: PostgresCatalog) -> None:
    with psycopg.connect(catalog_url) as slow:
        slow.execute(
            "select captionacc.create_video(%(id)s, %(tenant)s, 'slow.mp4', %(key)s)",
            {
                "id": (late := UUID(int=7)),
                "tenant": LOCAL_TENANT_ID,
                "key": f"{LOCAL_TENANT_ID}/client/videos/{late}/video.mp4",
            },
        )
        early = postgres_catalog.create_video(LOCAL_TENANT_ID, "quick.mp4").video.id
        assert [request.video_id for request in postgres_catalog.claim_processing_requests("sensor")] == [early]
        slow.commit()
    assert [request.video_id for request in postgres_catalog.claim_processing_requests("sensor")] == [late]


def test_one_content_uploaded_at_once_is_one_video(wide_catalog: Catalog) -> None:
    made = in_threads(
        CALLERS, lambda number: wide_catalog.create_video(LOCAL_TENANT_ID, f"{number}.mp4", content_hash="ab" * 32)
    )
    assert len({answer.video.id for answer in made}) == 1
    assert sum(answer.created for answer in made) == 1
    assert len(wide_catalog.list_processing_requests().items) == 1


def test_versions_asked_for_at_once_are_all_different(wide_catalog: Catalog) -> None:
    video_id = wide_catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video.id
    versions = in_threads(CALLERS, lambda number: wide_catalog.next_cropped_frames_version(video_id, f"run-{number}"))
    assert sorted(versions) == list(range(1, CALLERS + 1))
    in_threads(CALLERS, lambda number: wide_catalog.activate_cropped_frames_version(video_id, versions[number]))
    states = Counter(version.state for version in wide_catalog.list_cropped_frames_versions(video_id))
    assert states == {"active": 1, "archived": CALLERS - 1}


def test_approvals_at_once_are_one(wide_catalog: Catalog) -> None:
    made = wide_catalog.create_video(LOCAL_TENANT_ID, "a.mp4")
    assert made.request is not None
    wide_catalog.finish_processing_request(made.request.id, "succeeded")
    wide_catalog.update_video_status(made.video.id, "active", layout_status="annotate")
    requests = in_threads(
        CALLERS, lambda _: wide_catalog.approve_layout(made.video.id, (0.0, 0.5, 1.0, 1.0), request_key="pressed twice")
    )
    assert len({request.id for request in requests}) == 1


def test_a_delivery_replayed_at_once_is_accepted_once(wide_catalog: Catalog) -> None:
    assert sum(in_threads(CALLERS, lambda _: wide_catalog.accept_webhook_delivery("delivery-1", "supabase"))) == 1


def test_the_last_minutes_go_to_one_call(wide_catalog: Catalog) -> None:
    tenant = wide_catalog.ensure_tenant(UUID(int=9), "small", "demo")
    video_id = wide_catalog.create_video(tenant.id, "a.mp4").video.id
    calls = in_threads(
        CALLERS,
        lambda number: wide_catalog.record_compute_call(
            f"key-{number}", video_id, app_name="a", function_name="f", code_version="1", arguments={},
            estimated_minutes=20,
        ),
    )  # fmt: skip
    assert Counter(call.state for call in calls) == {"intent": 1, "refused": CALLERS - 1}
