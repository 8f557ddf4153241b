"""One worker at a time for one call, on S3 and in a folder."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from captionacc_dagster.compute.envelope import CallRequest, ExtractArguments
from captionacc_dagster.compute.leases import HeldElsewhere, Lease, LeaseTimes, working_call
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster_tests.servers import S3Server

pytestmark = [pytest.mark.integration, pytest.mark.recovery]

QUICK = LeaseTimes(settle_s=1.5, beat_s=0.2, stale_s=2.0)


@pytest.fixture(params=["folder", "s3"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return LocalObjectStore(tmp_path)
    bucket: S3Server = request.getfixturevalue("bucket")
    return bucket.store()


@pytest.fixture
def call() -> CallRequest:
    keys = VideoKeys(str(uuid4()), str(uuid4()))
    return CallRequest(
        call_key="ab" * 32,
        code_version="1",
        video_key=keys.video,
        tenant_id=keys.tenant_id,
        video_id=keys.video_id,
        arguments=ExtractArguments(frame_rate=1.0),
    )


def keys_of(call: CallRequest) -> VideoKeys:
    return VideoKeys(call.tenant_id, call.video_id)


def test_a_second_worker_ends_at_once_and_names_the_first(shelf: ObjectStore, call: CallRequest) -> None:
    with Lease(shelf, call, "fc-1", QUICK) as first:
        first.confirm()
        began = time.monotonic()
        with pytest.raises(HeldElsewhere) as held, Lease(shelf, call, "fc-2", QUICK):
            pytest.fail("two workers")
        assert time.monotonic() - began < 1.0
        assert held.value.call_id == working_call(shelf, keys_of(call), call.call_key) == "fc-1"
    assert working_call(shelf, keys_of(call), call.call_key) is None
    with Lease(shelf, call, "fc-3", QUICK) as third:
        third.confirm()


def test_of_eight_workers_at_once_one_works(shelf: ObjectStore, call: CallRequest) -> None:
    def work(number: int) -> bool:
        try:
            with Lease(shelf, call, f"fc-{number}", QUICK) as lease:
                lease.confirm()
                time.sleep(3.0)  # longer than a lease lasts without a sign of life
                return True
        except HeldElsewhere:
            return False

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(work, range(8))) == 1


def test_the_lease_of_a_dead_worker_expires(shelf: ObjectStore, call: CallRequest) -> None:
    dead = Lease(shelf, call, "fc-dead", QUICK)
    dead.__enter__()
    dead._stop.set()  # it does not beat any more, and removes nothing
    with pytest.raises(HeldElsewhere), Lease(shelf, call, "fc-2", QUICK):
        pass
    time.sleep(QUICK.stale_s + 1.5)
    with Lease(shelf, call, "fc-3", QUICK) as next_one:
        next_one.confirm()
        assert working_call(shelf, keys_of(call), call.call_key) == "fc-3"
