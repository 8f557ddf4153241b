"""One worker at a time for one call, on S3 and in a folder."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from captionacc_dagster.compute.envelope import CallRequest, ExtractArguments
from captionacc_dagster.compute.leases import TIMES, HeldElsewhere, Lease, LeaseTimes, working_call
from captionacc_dagster.compute.worker import answer
from captionacc_dagster.storage.base import ObjectInfo, ObjectStore
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster_tests.servers import S3Server

pytestmark = [pytest.mark.integration, pytest.mark.recovery]

QUICK = LeaseTimes(settle_s=1.5, beat_s=0.2, stale_s=2.0)


@pytest.fixture(params=["s3", pytest.param("folder", marks=pytest.mark.slow)])
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


@pytest.fixture
def looks(shelf: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prefixes that were listed so far: a look at the leases of a call is one."""
    listed: list[str] = []
    iterate = shelf.iterate

    def counted(prefix: str) -> Iterator[ObjectInfo]:
        listed.append(prefix)
        return iterate(prefix)

    monkeypatch.setattr(shelf, "iterate", counted)
    return listed


def answer_of(call: CallRequest, store: ObjectStore, call_id: str, create_engine: Callable[[object], Any]) -> Any:
    """What a container answers, as it comes over the wire."""
    return answer(call.to_wire(), store=store, create_engine=create_engine, device="CPU", call_id=call_id)


def test_a_second_worker_ends_after_one_look_and_names_the_first(
    shelf: ObjectStore, call: CallRequest, looks: list[str]
) -> None:
    with Lease(shelf, call, "fc-1", QUICK) as first:
        first.confirm()
        looks.clear()
        reply = answer_of(call, shelf, "fc-2", lambda _: pytest.fail("an engine was loaded"))
        assert (reply["failure"]["kind"], reply["failure"]["message"]) == ("busy", "fc-1")
        assert len(looks) == 1
        with pytest.raises(HeldElsewhere) as held, Lease(shelf, call, "fc-2", QUICK):
            pytest.fail("two workers")
        assert held.value.call_id == working_call(shelf, keys_of(call), call.call_key) == "fc-1"
    assert working_call(shelf, keys_of(call), call.call_key) is None
    with Lease(shelf, call, "fc-3", QUICK) as third:
        third.confirm()


def test_of_two_claims_of_one_second_the_later_ends_without_its_engine(
    tmp_path: Path, call: CallRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a folder, whose times can be set: of a claim that comes while another settles, and counts as the earlier one.
    store = LocalObjectStore(tmp_path)
    key = keys_of(call).lease(call.call_key, "0" * 32, "claim")
    loading, release, looks = threading.Event(), threading.Event(), []
    check = Lease._check

    def counted(lease: Lease) -> None:
        looks.append(lease)
        check(lease)

    monkeypatch.setattr(Lease, "_check", counted)

    def create_engine(_: object) -> None:
        store.upload_file(key, b'{"call_id": "fc-earlier"}')
        long_ago = time.time() - 5
        os.utime(tmp_path / key, (long_ago, long_ago))
        loading.set()
        release.wait(60)

    try:
        reply = answer_of(call, store, "fc-later", create_engine)
    finally:
        release.set()
    assert loading.is_set()
    assert (reply["failure"]["kind"], reply["failure"]["message"]) == ("busy", "fc-earlier")
    # One look at its claim, and then one every `look_s`, until it saw the other: at the first if threads started soon.
    assert 2 <= len(looks) <= 1 + math.ceil(TIMES.settle_s / TIMES.look_s)


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
