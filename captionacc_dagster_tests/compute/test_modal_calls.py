"""Calls through Modal's real client to a server on loopback: made once, found again, waited for, cancelled."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from grpclib import Status
from psycopg import sql

from captionacc_dagster.catalog.models import ComputeCall
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.compute.base import ComputeTimeout, ComputeUnavailable, QuotaExceeded
from captionacc_dagster.compute.modal_backend import ModalCompute, reconcile
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster_tests.compute.conftest import (
    AddVideo,
    MakeBackend,
    StoredVideo,
    extract_result,
    limits,
    reply_with,
    rows_of,
)
from captionacc_dagster_tests.compute.modal_server import Fault, ModalServer, Outcome

pytestmark = pytest.mark.integration

ANSWER = Outcome("reply", reply_with(extract_result))
SLOW_ANSWER = Outcome("reply", reply_with(extract_result), after_s=1.0)


def test_a_call_is_in_the_ledger_with_its_id_and_its_end(
    modal_server: ModalServer, backend: ModalCompute, video: StoredVideo, ledger: PostgresCatalog
) -> None:
    modal_server.expect(ANSWER)
    result = backend.extract_frames_and_ocr(*video.where)
    [row] = rows_of(ledger, video)
    [call] = modal_server.calls.values()
    assert result.frame_count == 2
    assert (row.state, row.external_call_id, row.attempts) == ("succeeded", call.id, 1)
    assert row.dashboard_url is not None
    assert call.id in row.dashboard_url
    assert (row.running_seconds, row.app_name) == (12.0, "captionacc-processing")
    # 12 s on an L4 with 4 cores and 8 GiB
    assert row.estimated_cost_usd == pytest.approx(12 * (0.000222 + 4 * 0.0000131 + 8 * 0.00000222))
    metadata = backend.call_metadata()
    assert metadata["modal/call_id"] == call.id
    assert metadata["modal/attempts"] == 1
    assert metadata["modal/reattached"] is False
    assert metadata["modal/estimated_cost_usd"] == pytest.approx(row.estimated_cost_usd, abs=1e-5)


def test_the_row_is_durable_before_the_wait(
    modal_server: ModalServer, backend: ModalCompute, video: StoredVideo, ledger: PostgresCatalog
) -> None:
    seen: list[ComputeCall] = []

    def answer(message: Mapping[str, Any]) -> Any:
        seen.extend(rows_of(ledger, video))
        return ANSWER.reply and ANSWER.reply(message)

    modal_server.expect(Outcome("reply", answer, after_s=0.5))
    backend.extract_frames_and_ocr(*video.where)
    [row] = seen
    assert row.state in ("spawned", "running")
    assert row.external_call_id in modal_server.calls


def test_a_result_that_is_not_ready_is_waited_for(
    modal_server: ModalServer,
    backend: ModalCompute,
    video: StoredVideo,
    ledger: PostgresCatalog,
    logs: pytest.LogCaptureFixture,
) -> None:
    modal_server.expect(Outcome("reply", reply_with(extract_result), after_s=1.6))
    stages: list[tuple[str, int, int]] = []
    backend.extract_frames_and_ocr(*video.where, progress=lambda *stage: stages.append(stage))
    [row] = rows_of(ledger, video)
    assert modal_server.count("FunctionGetOutputs") > 2
    assert modal_server.count("FunctionMap") == 1
    assert row.started_at is not None
    assert stages[-1] == ("extract frames and ocr on Modal", 1, 1)
    told = [record.getMessage() for record in logs.records if "running for" in record.getMessage()]
    assert told
    assert row.dashboard_url is not None
    assert row.dashboard_url in told[0]


@pytest.mark.recovery
def test_without_a_free_gpu_the_call_stays_queued_and_the_next_try_takes_it_up(
    modal_server: ModalServer, make_backend: MakeBackend, video: StoredVideo, ledger: PostgresCatalog
) -> None:
    modal_server.always(ANSWER)
    modal_server.occupy_gpus()
    with pytest.raises(ComputeUnavailable, match="no GPU was free") as caught:
        make_backend(limits=limits(queue_s=0.6)).extract_frames_and_ocr(*video.where)
    assert caught.value.retryable
    assert rows_of(ledger, video)[0].state == "spawned"
    modal_server.free_gpus()
    again = make_backend()
    assert again.extract_frames_and_ocr(*video.where).frame_count == 2
    assert len(modal_server.calls) == 1
    assert again.call_metadata()["modal/reattached"] is True
    assert rows_of(ledger, video)[0].state == "succeeded"


@pytest.mark.recovery
@pytest.mark.parametrize(
    ("request_name", "drop"),
    [
        ("FunctionGet", "before"),
        ("FunctionGet", "after"),
        ("FunctionMap", "before"),
        ("FunctionMap", "after"),
        ("FunctionGetOutputs", "before"),
        ("FunctionGetOutputs", "after"),
    ],
)
def test_a_dropped_connection_costs_no_second_call(
    modal_server: ModalServer, backend: ModalCompute, video: StoredVideo, request_name: str, drop: Any
) -> None:
    modal_server.always(SLOW_ANSWER)
    modal_server.inject(request_name, Fault(drop=drop), Fault(drop=drop))
    assert backend.extract_frames_and_ocr(*video.where).frame_count == 2
    assert len(modal_server.calls) == 1
    assert modal_server.count(request_name) >= 3


@pytest.mark.recovery
@pytest.mark.parametrize(
    "faults",
    [
        [Fault(status=Status.UNAVAILABLE)] * 2,
        [Fault(status=Status.UNAVAILABLE)] * 6,
        [Fault(status=Status.INTERNAL)] * 6,
        [Fault(status=Status.UNKNOWN)] * 6,
        [Fault(drop="before")] * 6,
        [Fault(status=Status.RESOURCE_EXHAUSTED)] * 2,
        [Fault(status=Status.RESOURCE_EXHAUSTED, retry_after_s=0.1)] * 3,
    ],
    ids=["unavailable twice", "unavailable", "internal", "unknown", "dropped", "exhausted", "exhausted, with a hint"],
)
def test_an_error_of_the_poll_is_polled_again_and_never_called_again(
    modal_server: ModalServer, backend: ModalCompute, video: StoredVideo, faults: list[Fault]
) -> None:
    modal_server.always(SLOW_ANSWER)
    modal_server.inject("FunctionGetOutputs", *faults)
    assert backend.extract_frames_and_ocr(*video.where).frame_count == 2
    assert len(modal_server.calls) == 1
    assert modal_server.count("FunctionMap") == 1
    assert modal_server.count("FunctionGetOutputs") > len(faults)


@pytest.mark.recovery
def test_a_modal_that_stays_away_is_a_retryable_error_and_leaves_the_call_alone(
    modal_server: ModalServer, make_backend: MakeBackend, video: StoredVideo, ledger: PostgresCatalog
) -> None:
    modal_server.always(Outcome("hang"))
    modal_server.inject("FunctionGetOutputs", *[Fault(status=Status.UNAVAILABLE)] * 60)
    with pytest.raises(ComputeUnavailable, match="did not answer"):
        make_backend(limits=limits(unreachable_s=1.0)).extract_frames_and_ocr(*video.where)
    assert modal_server.count("FunctionCallCancel") == 0
    assert rows_of(ledger, video)[0].state in ("spawned", "running")


@pytest.mark.recovery
def test_a_spawn_whose_reply_is_lost_for_good_leaves_an_intent_and_the_next_try_makes_the_call(
    modal_server: ModalServer, make_backend: MakeBackend, video: StoredVideo, ledger: PostgresCatalog
) -> None:
    modal_server.always(ANSWER)
    modal_server.inject("FunctionMap", *[Fault(drop="after")] * 4)
    with pytest.raises(ComputeUnavailable) as caught:
        make_backend().extract_frames_and_ocr(*video.where)
    assert caught.value.retryable
    [row] = rows_of(ledger, video)
    assert (row.state, row.external_call_id) == ("intent", None)
    assert make_backend().extract_frames_and_ocr(*video.where).frame_count == 2
    [row] = rows_of(ledger, video)
    assert row.state == "succeeded"


@pytest.mark.recovery
@pytest.mark.parametrize("how", ["expired", "unknown"])
def test_a_call_that_modal_no_longer_knows_is_made_anew_once_with_the_reason(
    modal_server: ModalServer,
    make_backend: MakeBackend,
    video: StoredVideo,
    ledger: PostgresCatalog,
    logs: pytest.LogCaptureFixture,
    how: str,
) -> None:
    modal_server.expect(Outcome("queued"), ANSWER)
    with pytest.raises(ComputeUnavailable):
        make_backend(limits=limits(queue_s=0.3)).extract_frames_and_ocr(*video.where)
    [call_id] = modal_server.calls
    if how == "expired":
        modal_server.expire(call_id)
    else:
        modal_server.forget(call_id)
    assert make_backend().extract_frames_and_ocr(*video.where).frame_count == 2
    [row] = rows_of(ledger, video)
    assert (row.attempts, row.state) == (2, "succeeded")
    assert row.last_reason is not None
    assert "no longer has it" in row.last_reason
    assert any("restarted because Modal no longer has it" in message for message in logs.messages)


@pytest.mark.recovery
def test_a_call_lost_twice_is_given_up_for_this_try(
    modal_server: ModalServer, backend: ModalCompute, video: StoredVideo, ledger: PostgresCatalog
) -> None:
    modal_server.always(Outcome("hang"))
    modal_server.inject("FunctionGetOutputs", *[Fault(status=Status.NOT_FOUND)] * 50)
    with pytest.raises(ComputeUnavailable, match="lost the call twice"):
        backend.extract_frames_and_ocr(*video.where)
    assert len(modal_server.calls) == 2
    assert rows_of(ledger, video)[0].state == "failed"


@pytest.mark.recovery
def test_two_runs_at_once_share_one_call(
    modal_server: ModalServer, make_backend: MakeBackend, video: StoredVideo, ledger: PostgresCatalog
) -> None:
    modal_server.always(SLOW_ANSWER)
    modal_server.inject("FunctionMap", Fault(delay_s=0.5))
    results: list[int] = []

    def work() -> None:
        results.append(make_backend(limits=limits(intent_s=10)).extract_frames_and_ocr(*video.where).frame_count)

    threads = [threading.Thread(target=work) for _ in range(2)]
    threads[0].start()
    while not rows_of(ledger, video):
        time.sleep(0.02)
    threads[1].start()
    for thread in threads:
        thread.join(60)
    assert results == [2, 2]
    assert len(modal_server.calls) == 1
    assert len(rows_of(ledger, video)) == 1


@pytest.mark.recovery
def test_cancelling_the_run_cancels_the_call_and_its_container(
    modal_server: ModalServer, backend: ModalCompute, video: StoredVideo, ledger: PostgresCatalog
) -> None:
    modal_server.always(Outcome("hang"))

    def interrupt() -> None:
        while not any(row.state == "running" for row in rows_of(ledger, video)):
            time.sleep(0.05)
        _thread.interrupt_main()

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        backend.extract_frames_and_ocr(*video.where)
    [call] = modal_server.calls.values()
    assert (call.cancelled, call.containers_terminated) == (True, True)
    assert rows_of(ledger, video)[0].state == "cancelled"


def test_a_cancellation_that_modal_does_not_answer_is_not_waited_for_forever(
    modal_server: ModalServer, make_backend: MakeBackend, video: StoredVideo, ledger: PostgresCatalog
) -> None:
    modal_server.always(Outcome("hang"))
    modal_server.inject("FunctionCallCancel", Fault(delay_s=30.0))
    backend = make_backend(limits=limits(run_s=0.5, cancel_s=0.3))
    with pytest.raises(ComputeTimeout, match="still running"):
        backend.extract_frames_and_ocr(*video.where)
    [row] = rows_of(ledger, video)
    assert row.state in ("spawned", "running")
    assert row.cancel_requested_at is not None


@pytest.mark.recovery
@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_cancellation_whose_connection_breaks_is_asked_again(
    modal_server: ModalServer, make_backend: MakeBackend, video: StoredVideo, drop: Any
) -> None:
    modal_server.always(Outcome("hang"))
    modal_server.inject("FunctionCallCancel", Fault(drop=drop), Fault(drop=drop))
    with pytest.raises(ComputeTimeout, match="it was cancelled"):
        make_backend(limits=limits(run_s=0.5)).extract_frames_and_ocr(*video.where)
    [call] = modal_server.calls.values()
    assert (call.cancelled, modal_server.count("FunctionCallCancel")) == (True, 3)


def test_a_call_that_runs_for_too_long_is_cancelled(
    modal_server: ModalServer, make_backend: MakeBackend, video: StoredVideo
) -> None:
    modal_server.always(Outcome("hang"))
    with pytest.raises(ComputeTimeout, match="it was cancelled") as caught:
        make_backend(limits=limits(run_s=0.5)).extract_frames_and_ocr(*video.where)
    [call] = modal_server.calls.values()
    assert call.cancelled
    assert caught.value.retryable


@pytest.fixture
def limit_tenant(ledger: PostgresCatalog, ledger_url: str) -> Callable[[str, int], str]:
    """Sets a limit of a tenant of the test's own; gives the tenant's id."""
    tenant_id = str(uuid4())
    ledger.ensure_tenant(tenant_id, "limited", "demo")

    def limit(column: str, value: int) -> str:
        with psycopg.connect(ledger_url) as connection:
            statement = sql.SQL("update captionacc.tenants set {} = %s where id = %s").format(sql.Identifier(column))
            connection.execute(statement, (value, tenant_id))
        return tenant_id

    return limit


def test_over_the_quota_nothing_is_spent_and_the_refusal_is_a_row(
    modal_server: ModalServer,
    make_backend: MakeBackend,
    add_video: AddVideo,
    ledger: PostgresCatalog,
    limit_tenant: Callable[[str, int], str],
) -> None:
    modal_server.always(ANSWER)
    video = add_video(tenant_id=limit_tenant("processing_minutes_limit", 0))
    with pytest.raises(QuotaExceeded, match="of 0 minutes of this month are used"):
        make_backend().extract_frames_and_ocr(*video.where)
    [row] = rows_of(ledger, video)
    assert row.state == "refused"
    assert modal_server.requests == []
    limit_tenant("processing_minutes_limit", 100)
    assert make_backend().extract_frames_and_ocr(*video.where).frame_count == 2
    assert rows_of(ledger, video)[0].state == "succeeded"


def test_a_video_with_too_many_frames_is_refused(
    modal_server: ModalServer,
    make_backend: MakeBackend,
    add_video: AddVideo,
    limit_tenant: Callable[[str, int], str],
) -> None:
    video = add_video(tenant_id=limit_tenant("frame_limit", 10))
    with pytest.raises(QuotaExceeded, match="needs 360 full frames; the limit is 10"):
        make_backend(video_seconds=lambda video_id: 3600.0).extract_frames_and_ocr(*video.where)
    assert modal_server.requests == []


@pytest.mark.recovery
def test_reconcile_ends_what_nobody_waits_for_and_leaves_the_rest(
    modal_server: ModalServer,
    make_backend: MakeBackend,
    video: StoredVideo,
    ledger: PostgresCatalog,
    store: ObjectStore,
) -> None:
    modal_server.always(Outcome("queued"))
    with pytest.raises(ComputeUnavailable):
        make_backend(limits=limits(queue_s=0.2)).extract_frames_and_ocr(*video.where)
    [call] = modal_server.calls.values()
    assert call.id not in reconcile(ledger, store, unseen_for=timedelta(hours=1))
    assert not call.cancelled
    assert call.id in reconcile(ledger, store, unseen_for=timedelta(0), limit=500)
    assert call.cancelled
    assert rows_of(ledger, video)[0].state == "cancelled"


@pytest.mark.recovery
def test_reconcile_keeps_a_call_that_could_not_be_cancelled(
    modal_server: ModalServer,
    make_backend: MakeBackend,
    video: StoredVideo,
    ledger: PostgresCatalog,
    store: ObjectStore,
) -> None:
    modal_server.always(Outcome("queued"))
    with pytest.raises(ComputeUnavailable):
        make_backend(limits=limits(queue_s=0.2)).extract_frames_and_ocr(*video.where)
    [call] = modal_server.calls.values()
    modal_server.inject("FunctionCallCancel", *[Fault(status=Status.UNAVAILABLE)] * 400)
    assert call.id not in reconcile(ledger, store, unseen_for=timedelta(0), limit=500)
    assert rows_of(ledger, video)[0].state == "spawned"
