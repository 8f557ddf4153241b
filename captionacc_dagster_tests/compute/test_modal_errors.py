"""Every way in which a call can fail on Modal, through the real client, and what becomes of it here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from grpclib import Status

from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.compute.base import (
    BadInput,
    ComputeError,
    ComputeMisconfigured,
    ComputeTimeout,
    ComputeUnavailable,
)
from captionacc_dagster.compute.code_version import code_version
from captionacc_dagster.compute.envelope import CallReply, RemoteFailure, Worker
from captionacc_dagster.compute.modal_backend import ModalCompute
from captionacc_dagster_tests.compute.conftest import MakeBackend, StoredVideo, extract_result, reply_with, rows_of
from captionacc_dagster_tests.compute.modal_server import Fault, ModalServer, Outcome
from captionacc_dagster_tests.servers import free_port

pytestmark = [pytest.mark.integration, pytest.mark.recovery]


def failing(error: Exception) -> Outcome:
    """A worker's reply whose function raised ``error``."""

    def reply(message: Mapping[str, Any]) -> dict[str, Any]:
        worker = Worker(code_version=code_version(), device="CPU", started_at=1.0, seconds=1.0)
        return CallReply(call_key=message["call_key"], worker=worker, failure=RemoteFailure.of(error)).to_wire()

    return Outcome("reply", reply)


def changed(**changes: Any) -> Outcome:
    """A good reply with something wrong in it."""
    good = reply_with(extract_result)
    return Outcome("reply", lambda message: {**good(message), **changes})


@pytest.mark.parametrize(
    ("outcome", "kind", "says", "retryable"),
    [
        (Outcome("timeout"), ComputeTimeout, "time limit", True),
        (Outcome("internal_failure"), ComputeUnavailable, "container died", True),
        (Outcome("evicted"), ComputeUnavailable, "container died", True),
        (Outcome("out_of_memory"), ComputeUnavailable, "ran out of memory", True),
        (Outcome("cancelled"), ComputeUnavailable, "cancelled by the user", True),
        (Outcome("user_error", error=ImportError("no module named av")), ComputeMisconfigured, "no module", False),
        (failing(BadInput("clip.mp4: no video stream")), BadInput, "clip.mp4: no video stream", False),
        (failing(ComputeUnavailable("the bucket is away")), ComputeUnavailable, "the bucket is away", True),
        (failing(OSError("no space left on device")), ComputeUnavailable, "no space left", True),
        (failing(TimeoutError("of the user's own code")), ComputeUnavailable, "of the user's own code", True),
        (failing(ZeroDivisionError("division by zero")), ComputeError, "ZeroDivisionError: division by zero", False),
        (changed(contract=2), ComputeMisconfigured, "captionacc modal deploy", False),
        (changed(surprise=1), ComputeMisconfigured, "surprise", False),
        (changed(call_key="0" * 64), ComputeMisconfigured, "another call", False),
        (changed(result={"frame_count": 0}), ComputeMisconfigured, "frame_count", False),
        (Outcome("reply", lambda message: "nonsense"), ComputeMisconfigured, "must be a dictionary", False),
    ],
    ids=lambda value: None if not isinstance(value, Outcome) else value.kind,
)
def test_what_a_call_can_come_to(
    modal_server: ModalServer,
    backend: ModalCompute,
    video: StoredVideo,
    outcome: Outcome,
    kind: type[ComputeError],
    says: str,
    retryable: bool,
) -> None:
    modal_server.expect(outcome)
    with pytest.raises(ComputeError, match=says) as caught:
        backend.extract_frames_and_ocr(*video.where)
    assert type(caught.value) is kind
    assert caught.value.retryable is retryable
    assert len(modal_server.calls) == 1


def test_a_cancellation_raised_by_the_container_is_no_interruption_of_ours(
    modal_server: ModalServer, backend: ModalCompute, video: StoredVideo, ledger: PostgresCatalog
) -> None:
    from modal.exception import InputCancellation

    modal_server.expect(Outcome("user_error", error=InputCancellation("Input was cancelled by user")))
    with pytest.raises(ComputeError, match="cancelled on Modal's side") as caught:
        backend.extract_frames_and_ocr(*video.where)
    assert not caught.value.retryable
    assert rows_of(ledger, video)[0].state == "cancelled"


@pytest.mark.parametrize("name", ["FunctionGet", "FunctionMap"])
@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (Status.UNAUTHENTICATED, ComputeMisconfigured, "modal token new"),
        (Status.PERMISSION_DENIED, ComputeMisconfigured, "modal token new"),
        (Status.NOT_FOUND, ComputeMisconfigured, "deploy it with `captionacc modal deploy`"),
        (Status.INVALID_ARGUMENT, ComputeMisconfigured, "captionacc modal deploy"),
        (Status.FAILED_PRECONDITION, ComputeMisconfigured, "captionacc modal deploy"),
        (Status.UNIMPLEMENTED, ComputeMisconfigured, "captionacc modal deploy"),
        (Status.UNAVAILABLE, ComputeUnavailable, "failed temporarily"),
        (Status.INTERNAL, ComputeUnavailable, "failed temporarily"),
        (Status.RESOURCE_EXHAUSTED, ComputeUnavailable, "fewer requests"),
    ],
    ids=lambda value: value.name if isinstance(value, Status) else "",
)
def test_what_making_a_call_can_come_to(
    modal_server: ModalServer,
    backend: ModalCompute,
    video: StoredVideo,
    ledger: PostgresCatalog,
    name: str,
    status: Status,
    kind: type[ComputeError],
    says: str,
) -> None:
    modal_server.inject(name, *[Fault(status=status)] * 4)
    with pytest.raises(kind, match=says):
        backend.extract_frames_and_ocr(*video.where)
    assert modal_server.calls == {}
    [row] = rows_of(ledger, video)
    # what time may heal stays open, so that the next try goes on with it
    assert row.state == ("intent" if kind is ComputeUnavailable else "failed")


def test_a_hint_to_come_back_later_is_followed_when_the_call_is_made(
    modal_server: ModalServer, backend: ModalCompute, video: StoredVideo
) -> None:
    modal_server.always(Outcome("reply", reply_with(extract_result)))
    modal_server.inject("FunctionMap", *[Fault(status=Status.RESOURCE_EXHAUSTED, retry_after_s=0.1)] * 2)
    assert backend.extract_frames_and_ocr(*video.where).frame_count == 2
    assert len(modal_server.calls) == 1


def test_a_wrong_token_is_said_and_costs_nothing(
    modal_server: ModalServer, backend: ModalCompute, video: StoredVideo
) -> None:
    modal_server.tokens.clear()
    with pytest.raises(ComputeMisconfigured, match="MODAL_TOKEN_ID"):
        backend.extract_frames_and_ocr(*video.where)
    assert modal_server.calls == {}


def test_an_app_that_is_not_deployed_names_the_command(
    modal_server: ModalServer, backend: ModalCompute, video: StoredVideo
) -> None:
    modal_server.undeploy()
    with pytest.raises(ComputeMisconfigured, match="`captionacc modal deploy`"):
        backend.extract_frames_and_ocr(*video.where)


def test_a_server_that_keeps_breaking_the_connection_is_unavailable(
    modal_server: ModalServer, backend: ModalCompute, video: StoredVideo
) -> None:
    modal_server.inject("FunctionGet", *[Fault(drop="before")] * 4)
    with pytest.raises(ComputeUnavailable):
        backend.extract_frames_and_ocr(*video.where)


@pytest.mark.slow  # Modal's client tries for most of a minute by itself
def test_a_server_that_is_not_there_is_unavailable(
    modal_server: ModalServer,
    make_backend: MakeBackend,
    video: StoredVideo,
    ledger: PostgresCatalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODAL_SERVER_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ComputeUnavailable) as caught:
        make_backend().extract_frames_and_ocr(*video.where)
    assert caught.value.retryable
    assert modal_server.requests == []
    assert [row.state for row in rows_of(ledger, video)] == ["intent"]


def test_modals_client_waits_no_longer_than_a_minute_by_itself_when_modal_is_busy() -> None:
    code = "import os; from captionacc_dagster.compute.modal_calls import _modal; _modal(); "
    code += "print(os.environ['MODAL_MAX_THROTTLE_WAIT'])"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MODAL_")}
    given = {**environment, "MODAL_MAX_THROTTLE_WAIT": "5"}
    printed = [
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout.strip()
        for env in (environment, given)
    ]
    assert printed == ["60", "5"]


def test_an_app_of_another_version_is_used_and_said(
    modal_server: ModalServer, backend: ModalCompute, video: StoredVideo, logs: pytest.LogCaptureFixture
) -> None:
    modal_server.expect(Outcome("reply", reply_with(extract_result, code_version="0.0.1+older")))
    backend.extract_frames_and_ocr(*video.where)
    assert backend.call_metadata()["modal/app_version"] == "0.0.1+older"
    assert any("the app runs version 0.0.1+older" in message for message in logs.messages)
