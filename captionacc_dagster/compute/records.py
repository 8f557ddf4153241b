"""Records of completed calls, stored beside a video's outputs so that the same work is done once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from captionacc_dagster.compute.envelope import (
    CallReply,
    CallRequest,
    CaptionOcrArguments,
    CropInferArguments,
    EnvelopeError,
    ObjectRef,
    TimeSegment,
    canonical_json,
)
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.errors import ObjectNotFound
from captionacc_dagster.storage.keys import VideoKeys

# The fields of results that contain the key of the last output of a call.
_WRITTEN_LAST = ("layout_db_key", "caption_frame_extents_db_key", "part_key")

EXTRACT_OUTPUTS = "extract_frames_and_ocr"
CROP_INFER_OUTPUTS = "crop_and_infer"


def segment_outputs(segment: TimeSegment) -> str:
    """Return the name of the outputs of a time segment."""
    return f"{CROP_INFER_OUTPUTS}.segment_{segment.index}_of_{segment.count}"


def outputs_of(request: CallRequest) -> str:
    """Return the name of the outputs of a call; calls that write the same objects share it."""
    arguments = request.arguments
    if isinstance(arguments, CropInferArguments):
        return CROP_INFER_OUTPUTS if arguments.segment is None else segment_outputs(arguments.segment)
    if isinstance(arguments, CaptionOcrArguments):
        return f"caption_ocr_{request.call_key[:32]}"
    return EXTRACT_OUTPUTS


def read_completed(store: ObjectStore, request: CallRequest) -> CallReply | None:
    """Return the reply of an earlier call that completed the same work, if its outputs still exist."""
    key = _key(request)
    try:
        content = store.download_to_bytes(key)
    except ObjectNotFound:
        return None
    try:
        reply = CallReply.from_wire(json.loads(content), limited=False)
    except (EnvelopeError, ValueError):
        return None
    if reply.call_key != request.call_key or reply.failure is not None:
        return None
    written_last = [reply.result[field] for field in _WRITTEN_LAST if field in reply.result]
    return reply if all(store.file_exists(key) for key in written_last) else None


def write_completed(store: ObjectStore, request: CallRequest, reply: CallReply) -> None:
    """Record that the call's outputs are complete, with the result."""
    store.upload_file(_key(request), canonical_json(reply.model_dump(mode="json")), content_type="application/json")


def completed_ref(store: ObjectStore, request: CallRequest) -> ObjectRef:
    """Return a reference to the record of the completed work."""
    return ObjectRef.to_content(_key(request), store.download_to_bytes(_key(request)))


def read_result(store: ObjectStore, reply: CallReply) -> Any:
    """Return a reply's result, from its object if it was too large for the message.

    Raises:
        ComputeUnavailable: the object contains another result by now.
        StorageError: it cannot be read.
    """
    if reply.result_ref is None:
        return reply.result
    content = reply.result_ref.check(store.download_to_bytes(reply.result_ref.key))
    return CallReply.from_wire(json.loads(content), limited=False).result


def forget_completed(store: ObjectStore, keys: VideoKeys, outputs: str) -> None:
    """Remove the record of these outputs, before they are written again."""
    store.delete_file(keys.compute_record(outputs))


def write_input(store: ObjectStore, keys: VideoKeys, name: str, value: Mapping[str, Any]) -> ObjectRef:
    """Store an input that is too large for a message, and return a reference to it."""
    content = canonical_json(value)
    key = keys.compute_record(name)
    store.upload_file(key, content, content_type="application/json")
    return ObjectRef.to_content(key, content)


def _key(request: CallRequest) -> str:
    return VideoKeys(request.tenant_id, request.video_id).compute_record(outputs_of(request))
