"""The wire format of a remote compute call: the request, the reply, and the key that identifies the call.

Messages are plain dictionaries of JSON values, at most 8 KiB, validated on arrival; larger content is stored as an
object whose key and hash are in the message. Neither side depends on the other side's classes.
"""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from captionacc_dagster.compute.base import BadInput, ComputeError, ComputeUnavailable
from captionacc_dagster.compute.results import CaptionSpan, CropBox

CONTRACT_VERSION = 1
MAX_MESSAGE_BYTES = 8192
_MAX_TRACEBACK_BYTES = 4000
_MAX_TEXT_BYTES = 1500

FunctionName = Literal["extract_frames_and_ocr", "crop_and_infer_caption_frame_extents", "generate_caption_ocr"]
# busy: another call does the same work; the message is its id.
ErrorKind = Literal["bad_input", "unavailable", "contract", "failed", "busy"]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class EnvelopeError(ComputeError):
    """A message has another contract version, is malformed, or is too large."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_M = TypeVar("_M", bound=_Message)


class ObjectRef(_Message):
    """Reference to content that is too large for a message: its key and SHA-256 (hex)."""

    key: str
    sha256: Digest

    @classmethod
    def to_content(cls, key: str, content: bytes) -> ObjectRef:
        """Return a reference to ``content`` under ``key``."""
        return cls(key=key, sha256=hashlib.sha256(content).hexdigest())

    def check(self, content: bytes) -> bytes:
        """Return the content if its hash matches.

        Raises:
            ComputeUnavailable: the object contains other bytes, possibly temporarily.
        """
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise ComputeUnavailable(f"{self.key}: its content is not the input of this call")
        return content


class EngineChoice(_Message):
    """The OCR engine and its language (None: the engine's default)."""

    name: str = "rapidocr"
    lang: str | None = None


class TimeSegment(_Message):
    """One of ``count`` time segments of a long video, with its start and end, seconds."""

    index: int = Field(ge=0)
    count: int = Field(ge=2)
    start_s: float = Field(ge=0)
    end_s: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.index >= self.count:
            raise ValueError(f"segment {self.index} of {self.count} does not exist")
        if (self.end_s is None) != (self.index == self.count - 1):
            raise ValueError("only the last segment has no end")
        if self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError("a segment ends after its start")
        return self


class ExtractArguments(_Message):
    """Arguments of ``extract_frames_and_ocr``."""

    function: Literal["extract_frames_and_ocr"] = "extract_frames_and_ocr"
    frame_rate: float = Field(gt=0, le=30)


class CropInferArguments(_Message):
    """Arguments of ``crop_and_infer_caption_frame_extents``; with ``segment``, for one time segment."""

    function: Literal["crop_and_infer_caption_frame_extents"] = "crop_and_infer_caption_frame_extents"
    crop_region: CropBox | None
    version: int = Field(ge=1)
    frame_rate: float = Field(gt=0, le=120)
    segment: TimeSegment | None = None


class CaptionOcrArguments(_Message):
    """Arguments of ``generate_caption_ocr``: the spans, or a reference to a long list of spans."""

    function: Literal["generate_caption_ocr"] = "generate_caption_ocr"
    crop_region: CropBox | None
    version: int = Field(ge=1)
    captions: tuple[CaptionSpan, ...] | None = None
    captions_ref: ObjectRef | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.captions is None) == (self.captions_ref is None):
            raise ValueError("give either captions or captions_ref")
        return self


Arguments = ExtractArguments | CropInferArguments | CaptionOcrArguments


class CallRequest(_Message):
    """A request for one call: function, video, arguments, and the key that identifies the call.

    Attributes:
        call_key: identifies the call; the same work always has the same key.
        code_version: the caller's; the reply contains the worker's.
        engine: the OCR engine.
        sources: object key → etag of the objects that the call reads, at the time of the call.
    """

    contract: int = CONTRACT_VERSION
    call_key: Digest
    code_version: str
    video_key: str
    tenant_id: str
    video_id: str
    engine: EngineChoice = EngineChoice()
    sources: dict[str, str] = Field(default_factory=dict)
    arguments: Arguments = Field(discriminator="function")

    @property
    def function(self) -> FunctionName:
        """Name of the called function."""
        return self.arguments.function

    @property
    def segment(self) -> TimeSegment | None:
        """The time segment of this call; None for a whole video."""
        return self.arguments.segment if isinstance(self.arguments, CropInferArguments) else None

    def to_wire(self) -> dict[str, Any]:
        """Return the message to send.

        Raises:
            EnvelopeError: the message would be larger than 8 KiB.
        """
        return _sized(self.model_dump(mode="json"), "request")

    @classmethod
    def from_wire(cls, message: object) -> CallRequest:
        """Parse a received message.

        Raises:
            EnvelopeError: the message has another contract version, is malformed, or is too large.
        """
        return _parsed(cls, message, "request")


class RemoteFailure(_Message):
    """Why a call gave no result, without depending on the other side's classes."""

    kind: ErrorKind
    type: str
    message: str
    traceback: str
    retryable: bool

    @classmethod
    def of(cls, error: Exception) -> RemoteFailure:
        """Return the description of an exception, including whether it is transient."""
        retryable = bool(getattr(error, "retryable", isinstance(error, OSError | MemoryError)))
        if isinstance(error, BadInput):
            kind: ErrorKind = "bad_input"
        elif isinstance(error, EnvelopeError):
            kind = "contract"
        else:
            kind = "unavailable" if retryable else "failed"
        return cls(
            kind=kind,
            type=type(error).__name__[:100],
            message=_shortened(str(error) or type(error).__name__, _MAX_TEXT_BYTES),
            traceback=_shortened("".join(traceback.format_exception(error)), _MAX_TRACEBACK_BYTES, keep_end=True),
            retryable=retryable,
        )


class Worker(_Message):
    """The worker of a call: code version, device, start (seconds since 1970), and duration in seconds."""

    code_version: str
    device: str
    started_at: float = Field(ge=0)
    seconds: float = Field(ge=0)
    reused: bool = Field(default=False, description="whether an earlier call had completed the same work")


class CallReply(_Message):
    """The outcome of a call: a result, a reference to a large result, or a failure."""

    contract: int = CONTRACT_VERSION
    call_key: str
    worker: Worker
    result: Any = None
    result_ref: ObjectRef | None = None
    failure: RemoteFailure | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(part is not None for part in (self.result, self.result_ref, self.failure)) != 1:
            raise ValueError("a reply contains exactly one of result, result_ref, and failure")
        return self

    def to_wire(self) -> dict[str, Any]:
        """Return the message to send.

        Raises:
            EnvelopeError: the message would be larger than 8 KiB.
        """
        return _sized(self.model_dump(mode="json"), "reply")

    @classmethod
    def from_wire(cls, message: object, *, limited: bool = True) -> CallReply:
        """Parse a received message, or, unless ``limited``, a stored one of any size.

        Raises:
            EnvelopeError: the message has another contract version, is malformed, or is too large.
        """
        return _parsed(cls, message, "reply", limited=limited)


def call_key(
    *,
    app: str,
    environment: str,
    code_version: str,
    tenant_id: str,
    video_id: str,
    engine: EngineChoice,
    sources: Mapping[str, str],
    arguments: Arguments,
    captions: Sequence[CaptionSpan] | None = None,
) -> str:
    """Return the key of a call: SHA-256 (hex) over the canonical JSON of everything that decides its result.

    It does not include the version of cropped frames: the next run has another version, but finds the call of the run
    that died.

    Args:
        captions: the spans, if ``arguments`` only contains a reference to them.
    """
    unnamed = {"captions", "captions_ref", *({"version"} if isinstance(arguments, CropInferArguments) else ())}
    content = {
        "contract": CONTRACT_VERSION,
        "app": app,
        "environment": environment,
        "code_version": code_version,
        "tenant_id": tenant_id,
        "video_id": video_id,
        "engine": engine.model_dump(mode="json"),
        "sources": dict(sources),
        "arguments": arguments.model_dump(mode="json", exclude=unnamed),
        "captions": [span.model_dump(mode="json") for span in captions] if captions is not None else None,
    }
    return hashlib.sha256(canonical_json(content)).hexdigest()


def canonical_json(value: object) -> bytes:
    """Return JSON in canonical form: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _shortened(text: str, limit: int, *, keep_end: bool = False) -> str:
    """Return a text shortened to at most ``limit`` bytes in a message."""
    while len(canonical_json(text)) > limit:
        kept = len(text) * 4 // 5
        text = text[-kept:] if keep_end else text[:kept]
    return text


def _sized(message: dict[str, Any], what: str) -> dict[str, Any]:
    size = len(canonical_json(message))
    if size > MAX_MESSAGE_BYTES:
        raise EnvelopeError(f"a {what} of {size} bytes exceeds the limit of {MAX_MESSAGE_BYTES}; send it as an object")
    return message


def _parsed(model: type[_M], message: object, what: str, *, limited: bool = True) -> _M:
    if not isinstance(message, Mapping):
        raise EnvelopeError(f"a {what} must be a dictionary, got {type(message).__name__}")
    version = message.get("contract")
    if version != CONTRACT_VERSION:
        raise EnvelopeError(
            f"the {what} has contract version {version!r}, this side {CONTRACT_VERSION}: "
            "deploy the same release with `captionacc modal deploy`"
        )
    try:
        if limited:
            _sized(dict(message), what)
        return model.model_validate(message)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "message"
        raise EnvelopeError(f"malformed {what}: {field}: {first['msg']}") from None
    except (TypeError, ValueError) as error:
        raise EnvelopeError(f"malformed {what}: {error}") from None
