"""Server locks under contention: one holder, a heartbeat, patience with a limit, and nothing that stays locked."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, Video
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.orchestration import locks
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.orchestration.locks import LockHeld, LockLost, server_lock
from captionacc_dagster_tests.recovery.conftest import FlowHarness

pytestmark = pytest.mark.recovery


@pytest.fixture
def video(postgres_catalog: PostgresCatalog) -> Video:
    return postgres_catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video


def holder(catalog: PostgresCatalog, video_id: UUID) -> str | None:
    return next((lock.lock_holder for lock in catalog.list_locks(video_id)), None)


def test_of_ten_at_once_one_holds_the_lock_at_a_time(postgres_catalog: PostgresCatalog, video: Video) -> None:
    inside, most, finished = 0, 0, 0
    guard = threading.Lock()

    def work(number: int) -> None:
        nonlocal inside, most, finished
        with server_lock(
            postgres_catalog, video.id, "layout", f"run-{number}", wait_s=60, sleep=lambda _: time.sleep(0.02)
        ):
            with guard:
                inside += 1
                most = max(most, inside)
            time.sleep(0.02)
            with guard:
                inside -= 1
                finished += 1

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(work, range(10)))
    assert (most, finished) == (1, 10)
    assert postgres_catalog.list_locks() == []


def test_waiting_has_a_limit_and_says_who_holds_the_lock(postgres_catalog: PostgresCatalog, video: Video) -> None:
    assert postgres_catalog.acquire_server_lock(video.id, "captions", "somebody")
    now, pauses = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        pauses.append(seconds)

    with (
        pytest.raises(LockHeld, match=r"locked by somebody since .*; gave up after 120 s"),
        server_lock(postgres_catalog, video.id, "captions", "me", wait_s=120, sleep=sleep, clock=lambda: now),
    ):
        pytest.fail("the lock was not ours")
    assert now == pytest.approx(120, abs=1)
    assert pauses[0] < 1.5
    assert max(pauses) > 20
    assert holder(postgres_catalog, video.id) == "somebody"


def test_a_heartbeat_keeps_the_lock_beyond_its_time(postgres_catalog: PostgresCatalog, video: Video) -> None:
    with server_lock(postgres_catalog, video.id, "layout", "me", ttl_s=2.0) as lock:
        time.sleep(3.0)
        assert not postgres_catalog.acquire_server_lock(video.id, "layout", "thief")
        lock.check()
    assert postgres_catalog.list_locks() == []


def test_a_lost_lock_is_noticed_before_anything_is_put_in_place(
    postgres_catalog: PostgresCatalog, video: Video
) -> None:
    with server_lock(postgres_catalog, video.id, "layout", "me") as lock:
        postgres_catalog.release_server_lock(video.id, "layout", "me")
        assert postgres_catalog.acquire_server_lock(video.id, "layout", "thief")
        with pytest.raises(LockLost):
            lock.check()
    assert holder(postgres_catalog, video.id) == "thief"


def test_a_dead_holders_lock_is_free_after_its_time(postgres_catalog: PostgresCatalog, video: Video) -> None:
    assert postgres_catalog.acquire_server_lock(video.id, "layout", "dead", ttl_s=1.0)
    with server_lock(postgres_catalog, video.id, "layout", "me", wait_s=30):
        assert holder(postgres_catalog, video.id) == "me"
    assert postgres_catalog.list_locks() == []


def test_the_lock_is_given_back_when_the_work_fails(postgres_catalog: PostgresCatalog, video: Video) -> None:
    with pytest.raises(ZeroDivisionError), server_lock(postgres_catalog, video.id, "layout", "me"):
        raise ZeroDivisionError
    assert postgres_catalog.list_locks() == []


def test_a_run_waits_for_a_held_lock_and_then_succeeds(harness: FlowHarness) -> None:
    video = harness.upload()
    assert harness.run(Flow.VIDEO_INITIAL_PROCESSING, video).success
    harness.approve(video)
    assert harness.catalog.acquire_server_lock(video.id, "layout", "a person", lock_type="client")
    story: list[str] = []

    class ReleaseWhenAwaited(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "locked by a person" in record.getMessage() and "waits" not in story:
                story.append("waits")
                harness.catalog.release_server_lock(video.id, "layout", "a person")

    harness.script.append(lambda: story.append("works"))
    log, handler = logging.getLogger(locks.__name__), ReleaseWhenAwaited()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        assert harness.run(Flow.CROP_AND_INFER, video).success
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    assert story == ["waits", "works"]
    harness.nothing_is_left_behind()
