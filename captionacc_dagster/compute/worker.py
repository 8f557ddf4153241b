"""The remote side of a call: parse the request, do the work once, and answer in the wire format."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from captionacc_dagster.compute import functions, records
from captionacc_dagster.compute.code_version import code_version
from captionacc_dagster.compute.envelope import (
    CallReply,
    CallRequest,
    CaptionOcrArguments,
    CropInferArguments,
    EngineChoice,
    EnvelopeError,
    RemoteFailure,
    Worker,
)
from captionacc_dagster.compute.leases import HeldElsewhere, Lease
from captionacc_dagster.compute.results import CaptionSpan
from captionacc_dagster.compute.segmented import crop_and_infer_segment
from captionacc_dagster.storage.base import ObjectStore

if TYPE_CHECKING:
    from captionacc_dagster.captioning.ocr.base import OcrEngine

_SPANS = TypeAdapter(tuple[CaptionSpan, ...])


def answer(
    message: object,
    *,
    store: ObjectStore,
    create_engine: Callable[[EngineChoice], OcrEngine],
    device: str,
    call_id: str = "",
) -> dict[str, Any]:
    """Do the requested work and return the reply; errors of the work become part of the reply.

    Work that an earlier call completed is not done again, and work that another call does now is left to that one: the
    reply says ``busy`` and names it. A cancellation, which is not an ``Exception``, propagates.

    Args:
        call_id: Modal's id of this call.
    """
    started_at, started = time.time(), time.monotonic()

    def worker(*, reused: bool = False) -> Worker:
        seconds = time.monotonic() - started
        return Worker(code_version=code_version(), device=device, started_at=started_at, seconds=seconds, reused=reused)

    call_key = str(message.get("call_key", "")) if isinstance(message, Mapping) else ""
    try:
        request = CallRequest.from_wire(message)
        completed = _completed_before(request, store, worker)
        if completed is None:
            with Lease(store, request, call_id) as lease:
                engine = _in_background(create_engine, request.engine)
                lease.confirm()
                # The worker that had the lease until now has completed it, perhaps.
                completed = _completed_before(request, store, worker)
                if completed is None:
                    result = _run(request, store, engine.result())
                    completed = CallReply(call_key=call_key, worker=worker(), result=result)
                    records.write_completed(store, request, completed)
        try:
            return completed.to_wire()
        except EnvelopeError:
            ref = records.completed_ref(store, request)
            return completed.model_copy(update={"result": None, "result_ref": ref}).to_wire()
    except HeldElsewhere as error:
        failure = RemoteFailure.of(error).model_copy(update={"kind": "busy", "message": error.call_id})
        return CallReply(call_key=call_key, worker=worker(), failure=failure).to_wire()
    except Exception as error:  # noqa: BLE001 - every error must reach the caller as a message
        failure = RemoteFailure.of(error)
        return CallReply(call_key=call_key, worker=worker(), failure=failure).to_wire()


def _in_background(create_engine: Callable[[EngineChoice], OcrEngine], choice: EngineChoice) -> Future[OcrEngine]:
    """Start to load an engine in a thread: a worker that finds another at work answers without waiting for it."""
    loader = ThreadPoolExecutor(1, thread_name_prefix="engine")
    engine = loader.submit(create_engine, choice)
    loader.shutdown(wait=False)
    return engine


def _completed_before(request: CallRequest, store: ObjectStore, worker: Callable[..., Worker]) -> CallReply | None:
    completed = records.read_completed(store, request)
    return None if completed is None else completed.model_copy(update={"worker": worker(reused=True)})


def _run(request: CallRequest, store: ObjectStore, engine: OcrEngine) -> Any:
    """Call the function and return its result as JSON values."""
    arguments = request.arguments
    where = (request.video_key, request.tenant_id, request.video_id)
    if isinstance(arguments, CropInferArguments):
        if arguments.segment is not None:
            part = crop_and_infer_segment(
                *where,
                arguments.crop_region,
                arguments.version,
                arguments.frame_rate,
                segment=arguments.segment,
                store=store,
                engine=engine,
            )
            return part.model_dump(mode="json")
        inferred = functions.crop_and_infer_caption_frame_extents(
            *where,
            arguments.crop_region,
            arguments.version,
            arguments.frame_rate,
            store=store,
            engine=engine,
            run_id=request.call_key[:16],
        )
        return inferred.model_dump(mode="json")
    if isinstance(arguments, CaptionOcrArguments):
        spans = _spans_of(arguments, store)
        read = functions.generate_caption_ocr(
            *where, arguments.crop_region, arguments.version, spans, store=store, engine=engine
        )
        return [caption.model_dump(mode="json") for caption in read]
    extracted = functions.extract_frames_and_ocr(*where, arguments.frame_rate, store=store, engine=engine)
    return extracted.model_dump(mode="json")


def _spans_of(arguments: CaptionOcrArguments, store: ObjectStore) -> tuple[CaptionSpan, ...]:
    if arguments.captions_ref is None:
        return arguments.captions or ()
    content = arguments.captions_ref.check(store.download_to_bytes(arguments.captions_ref.key))
    return _SPANS.validate_python(json.loads(content)["captions"])
