"""The wire contract: what is accepted and refused on both sides, and the key that names a call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from captionacc_dagster.compute.base import BadInput, ComputeUnavailable
from captionacc_dagster.compute.envelope import (
    MAX_MESSAGE_BYTES,
    Arguments,
    CallReply,
    CallRequest,
    CaptionOcrArguments,
    CropInferArguments,
    EngineChoice,
    EnvelopeError,
    ExtractArguments,
    ObjectRef,
    RemoteFailure,
    TimeSegment,
    Worker,
    call_key,
    canonical_json,
)
from captionacc_dagster.compute.results import CaptionSpan, CropBox
from captionacc_dagster.storage.errors import AccessDenied, SlowDown

pytestmark = pytest.mark.unit

TENANT, VIDEO = "10000000-0000-4000-8000-000000000001", "20000000-0000-4000-8000-000000000002"
REGION = CropBox(crop_left=0.1, crop_top=0.7, crop_right=0.9, crop_bottom=0.95)
SPANS = (CaptionSpan(caption_id=1, start_ms=0, end_ms=40), CaptionSpan(caption_id=2, start_ms=40, end_ms=90))
EVERY: list[Arguments] = [
    ExtractArguments(frame_rate=0.1),
    CropInferArguments(crop_region=REGION, version=3, frame_rate=10.0),
    CropInferArguments(
        crop_region=REGION,
        version=3,
        frame_rate=10.0,
        segment=TimeSegment(index=0, count=2, start_s=0, end_s=51.2),
    ),
    CaptionOcrArguments(crop_region=None, version=3, captions=SPANS),
    CaptionOcrArguments(crop_region=None, version=3, captions_ref=ObjectRef.to_content("key", b"content")),
]
WORKER = Worker(code_version="1", device="NVIDIA L4", started_at=1.0, seconds=2.0)


def request(arguments: Arguments = EVERY[0], **changes: Any) -> CallRequest:
    return CallRequest(
        **{
            "call_key": "ab" * 32,
            "code_version": "0.1.0-abc",
            "video_key": f"{TENANT}/client/videos/{VIDEO}/video.mp4",
            "tenant_id": TENANT,
            "video_id": VIDEO,
            "arguments": arguments,
            **changes,
        }
    )


class TestMessages:
    @pytest.mark.parametrize("arguments", EVERY, ids=lambda arguments: arguments.function)
    def test_a_request_survives_the_way(self, arguments: Arguments) -> None:
        sent = request(arguments)
        wire = sent.to_wire()
        assert json.loads(json.dumps(wire)) == wire
        assert CallRequest.from_wire(json.loads(json.dumps(wire))) == sent
        assert sent.function == arguments.function

    def test_a_reply_survives_the_way(self) -> None:
        for reply in (
            CallReply(call_key="k", worker=WORKER, result={"a": 1}),
            CallReply(call_key="k", worker=WORKER, result=[]),
            CallReply(call_key="k", worker=WORKER, result_ref=ObjectRef.to_content("key", b"x")),
            CallReply(call_key="k", worker=WORKER, failure=RemoteFailure.of(ValueError("no"))),
        ):
            assert CallReply.from_wire(json.loads(json.dumps(reply.to_wire()))) == reply

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"contract": 2}, "contract version 2, this side 1"),
            ({"contract": None}, "captionacc modal deploy"),
            ({"surprise": 1}, "surprise"),
            ({"call_key": "short"}, "call_key"),
            ({"arguments": {"function": "rm_rf"}}, "arguments"),
            ({"arguments": {"function": "extract_frames_and_ocr", "frame_rate": -1}}, "frame_rate"),
            ({"arguments": {"function": "extract_frames_and_ocr", "frame_rate": 1, "version": 1}}, "version"),
            ({"sources": {"key": "e" * 9000}}, "exceeds the limit of 8192"),
        ],
    )
    def test_what_is_wrong_with_a_request_is_said_in_one_line(self, changes: dict[str, Any], says: str) -> None:
        with pytest.raises(EnvelopeError, match=says) as caught:
            CallRequest.from_wire({**request().to_wire(), **changes})
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("message", [None, "text", [1], 7])
    def test_what_is_no_dictionary_is_refused(self, message: object) -> None:
        with pytest.raises(EnvelopeError, match="must be a dictionary"):
            CallReply.from_wire(message)

    def test_too_large_a_message_is_refused_before_it_is_sent(self) -> None:
        reply = CallReply(call_key="k", worker=WORKER, result="x" * MAX_MESSAGE_BYTES)
        with pytest.raises(EnvelopeError, match="send it as an object"):
            reply.to_wire()

    def test_a_reply_is_one_thing(self) -> None:
        with pytest.raises(ValueError, match="exactly one of result, result_ref, and failure"):
            CallReply(call_key="k", worker=WORKER)
        with pytest.raises(ValueError, match="exactly one of result, result_ref, and failure"):
            CallReply(call_key="k", worker=WORKER, result=1, failure=RemoteFailure.of(ValueError()))

    @pytest.mark.parametrize(
        "segment",
        [
            {"index": 2, "count": 2, "start_s": 1},
            {"index": 0, "count": 2, "start_s": 0},
            {"index": 1, "count": 2, "start_s": 1, "end_s": 2},
            {"index": 0, "count": 2, "start_s": 5, "end_s": 5},
            {"index": 0, "count": 1, "start_s": 0},
        ],
    )
    def test_a_segment_that_cannot_be_is_refused(self, segment: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"segment|count|goes on"):
            TimeSegment(**segment)

    def test_an_object_that_has_changed_is_refused(self) -> None:
        ref = ObjectRef.to_content("key", b"content")
        assert ref.check(b"content") == b"content"
        with pytest.raises(ComputeUnavailable, match="key"):
            ref.check(b"other")


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "kind", "retryable"),
        [
            (BadInput("clip.mp4: no video"), "bad_input", False),
            (ComputeUnavailable("away"), "unavailable", True),
            (SlowDown("slower"), "unavailable", True),
            (AccessDenied("no"), "failed", False),
            (OSError("disk"), "unavailable", True),
            (TimeoutError("mine"), "unavailable", True),
            (MemoryError(), "unavailable", True),
            (EnvelopeError("version"), "contract", False),
            (KeyError("bug"), "failed", False),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
    )
    def test_every_error_says_whether_to_retry(self, error: Exception, kind: str, retryable: bool) -> None:
        failure = RemoteFailure.of(error)
        assert (failure.kind, failure.retryable, failure.type) == (kind, retryable, type(error).__name__)
        assert failure.message

    @pytest.mark.parametrize("letter", ["z", "字", "\0"])
    def test_a_long_story_fits_into_the_message(self, letter: str) -> None:
        def deep(n: int) -> None:
            if n == 0:
                raise ValueError(letter * 20_000)
            deep(n - 1)

        with pytest.raises(ValueError, match=letter) as caught:
            deep(50)
        failure = RemoteFailure.of(caught.value)
        assert (
            len(canonical_json(CallReply(call_key="k", worker=WORKER, failure=failure).to_wire())) < MAX_MESSAGE_BYTES
        )
        assert letter * 100 in failure.traceback


class TestCallKey:
    def key(self, **changes: Any) -> str:
        return call_key(
            **{
                "app": "app",
                "environment": "",
                "code_version": "1",
                "tenant_id": TENANT,
                "video_id": VIDEO,
                "engine": EngineChoice(),
                "sources": {"a": "1", "b": "2"},
                "arguments": EVERY[1],
                **changes,
            }
        )

    def test_the_same_work_has_the_same_key(self) -> None:
        assert self.key() == self.key(sources={"b": "2", "a": "1"})
        assert len(self.key()) == 64

    def test_the_next_runs_version_finds_the_same_call(self) -> None:
        assert self.key() == self.key(arguments=CropInferArguments(crop_region=REGION, version=4, frame_rate=10.0))

    def test_all_that_decides_the_result_is_in_the_key(self) -> None:
        others = [
            self.key(app="other"),
            self.key(environment="staging"),
            self.key(code_version="2"),
            self.key(tenant_id=VIDEO),
            self.key(video_id=TENANT),
            self.key(engine=EngineChoice(lang="ko")),
            self.key(sources={"a": "1", "b": "3"}),
            self.key(arguments=EVERY[0]),
            self.key(arguments=EVERY[2]),
            self.key(arguments=CropInferArguments(crop_region=None, version=3, frame_rate=10.0)),
            self.key(arguments=EVERY[3], captions=SPANS),
            self.key(arguments=EVERY[3], captions=SPANS[:1]),
        ]
        assert len({self.key(), *others}) == len(others) + 1

    def test_a_list_of_captions_has_one_key_however_it_travels(self) -> None:
        assert self.key(arguments=EVERY[3], captions=SPANS) == self.key(arguments=EVERY[4], captions=SPANS)
