"""The compute backend that runs the work on Modal's GPUs and pays for each piece once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from captionacc_dagster.captioning.captions import Progress
from captionacc_dagster.compute import records
from captionacc_dagster.compute.base import (
    BadInput,
    CallLedger,
    ComputeBackend,
    ComputeMisconfigured,
)
from captionacc_dagster.compute.code_version import code_version
from captionacc_dagster.compute.envelope import (
    MAX_MESSAGE_BYTES,
    Arguments,
    CallReply,
    CallRequest,
    CaptionOcrArguments,
    CropInferArguments,
    EngineChoice,
    ExtractArguments,
    call_key,
    canonical_json,
)
from captionacc_dagster.compute.functions import captions_read_before
from captionacc_dagster.compute.leases import working_call
from captionacc_dagster.compute.metered import check_frame_limit
from captionacc_dagster.compute.modal_calls import Deployment, RemoteCall, WaitLimits, cancel_by_id
from captionacc_dagster.compute.modal_spec import APP_NAME, DEPLOY_COMMAND, assumed_duration, estimated_minutes
from captionacc_dagster.compute.modal_wait import wait_for
from captionacc_dagster.compute.results import (
    CaptionOcrResult,
    CaptionSpan,
    CropBox,
    CropInferResult,
    ExtractResult,
    SegmentResult,
)
from captionacc_dagster.compute.segmented import SEGMENT_SECONDS, join_segments, time_segments
from captionacc_dagster.compute.versions import take_over, take_over_chunks
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.errors import ObjectNotFound
from captionacc_dagster.storage.keys import VideoKeys

# Longer lists of captions are sent as an object, so that the rest of a message always fits.
_MAX_INLINE_CAPTIONS = MAX_MESSAGE_BYTES // 2

_CAPTIONS = TypeAdapter(list[CaptionOcrResult])

_Result = TypeVar("_Result", ExtractResult, CropInferResult, SegmentResult)

# Video id → duration in seconds, or None while it is unknown.
VideoSeconds = Callable[[str], float | None]


class ModalCompute(ComputeBackend):
    """Calls the functions deployed by ``compute.modal_app``.

    Every call is in the ledger before it is waited for, so a retry of a run that died finds the same call. Transient
    errors are raised and never retried here; Dagster controls the retries.
    """

    name = "modal"

    def __init__(
        self,
        store: ObjectStore,
        ledger: CallLedger,
        *,
        video_seconds: VideoSeconds,
        run_id: str = "",
        environment: str = "",
        app_name: str = APP_NAME,
        engine: EngineChoice | None = None,
        limits: WaitLimits | None = None,
        segment_s: float = SEGMENT_SECONDS,
        log: logging.Logger | None = None,
    ) -> None:
        """Create a backend.

        Args:
            store: the bucket named in the app's secret.
            video_seconds: returns the duration of a video, for estimates and segments.
            run_id: the Dagster run that waits, for the ledger.
            environment: the Modal environment; "" for the workspace's default.
            engine: the OCR engine (default: RapidOCR).
            segment_s: approximate length of the time segments of a long video, seconds.
            log: log for the progress of calls, usually the run's.
        """
        self._store = store
        self._ledger = ledger
        self._video_seconds = video_seconds
        self._run_id = run_id
        self._deployment = Deployment(app_name, environment)
        self._engine = engine or EngineChoice()
        self._limits = limits or WaitLimits()
        self._segment_s = segment_s
        self._log = log or logging.getLogger(__name__)
        self._latest = threading.local()

    def call_metadata(self) -> Mapping[str, str | int | float | bool]:
        """See :meth:`ComputeBackend.call_metadata`."""
        return getattr(self._latest, "metadata", {})

    def extract_frames_and_ocr(
        self,
        video_key: str,
        tenant_id: str,
        video_id: str,
        frame_rate: float = 0.1,
        *,
        progress: Progress | None = None,
    ) -> ExtractResult:
        """See :meth:`ComputeBackend.extract_frames_and_ocr`.

        Raises:
            QuotaExceeded, ComputeMisconfigured: see ``compute.base``.
        """
        keys = _keys_of(video_key, tenant_id, video_id)
        seconds = self._seconds_of(keys)
        check_frame_limit(self._ledger, tenant_id, video_id, int(seconds * frame_rate))
        arguments = ExtractArguments(frame_rate=frame_rate)
        [reply] = self._done([self._call(keys, arguments, seconds, [video_key])], progress)
        return self._read(ExtractResult, reply)

    def crop_and_infer_caption_frame_extents(
        self,
        video_key: str,
        tenant_id: str,
        video_id: str,
        crop_region: CropBox | None,
        version: int,
        frame_rate: float = 10.0,
        *,
        progress: Progress | None = None,
    ) -> CropInferResult:
        """See :meth:`ComputeBackend.crop_and_infer_caption_frame_extents`; a long video is cut into time segments.

        Raises:
            QuotaExceeded, ComputeMisconfigured: see ``compute.base``.
        """
        keys = _keys_of(video_key, tenant_id, video_id)
        seconds = self._seconds_of(keys)
        segments = time_segments(seconds, frame_rate, self._segment_s) if crop_region else []
        calls = [
            self._call(
                keys,
                CropInferArguments(crop_region=crop_region, version=version, frame_rate=frame_rate, segment=segment),
                seconds,
                [video_key, keys.layout_db],
            )
            for segment in segments or [None]
        ]
        replies = self._done(calls, progress)
        if not segments:
            return take_over(self._store, keys, self._read(CropInferResult, replies[0]), version)
        parts = [self._read(SegmentResult, reply) for reply in replies]
        for made in {part.version for part in parts} - {version}:
            take_over_chunks(self._store, keys, made, version)
        return join_segments(tenant_id, video_id, version, frame_rate, parts, store=self._store, run_id=self._run_id)

    def generate_caption_ocr(
        self,
        video_key: str,
        tenant_id: str,
        video_id: str,
        crop_region: CropBox | None,
        version: int,
        captions: Sequence[CaptionSpan],
        *,
        progress: Progress | None = None,
    ) -> list[CaptionOcrResult]:
        """See :meth:`ComputeBackend.generate_caption_ocr`; readings from the pass over the video need no call.

        Raises:
            QuotaExceeded, ComputeMisconfigured: see ``compute.base``.
        """
        self._latest.metadata = {}
        keys = _keys_of(video_key, tenant_id, video_id)
        results, unread = captions_read_before(keys, version, captions, store=self._store)
        if unread:
            sources = [video_key, keys.extents_db(version), keys.layout_db]
            arguments = CaptionOcrArguments(crop_region=crop_region, version=version, captions=tuple(unread))
            call = self._call(keys, arguments, sum(span.end_ms - span.start_ms for span in unread) / 1000, sources)
            [reply] = self._done([call], progress)
            read = _CAPTIONS.validate_python(records.read_result(self._store, reply))
            results |= {caption.caption_id: caption for caption in read}
        return [results[span.caption_id] for span in captions]

    def _seconds_of(self, keys: VideoKeys) -> float:
        known = self._video_seconds(keys.video_id)
        if known is not None:
            return known
        try:
            return assumed_duration(self._store.stat(keys.video).size)
        except ObjectNotFound as error:
            raise BadInput(f"{error}") from error

    def _call(self, keys: VideoKeys, arguments: Arguments, seconds: float, sources: Sequence[str]) -> RemoteCall:
        """Return the call for these arguments; a long list of captions is stored as an object."""
        try:
            etags = {key: self._store.stat(key).etag for key in sources}
        except ObjectNotFound as error:
            raise BadInput(f"{error}") from error
        captions = arguments.captions if isinstance(arguments, CaptionOcrArguments) else None
        key = call_key(
            app=self._deployment.app,
            environment=self._deployment.environment,
            code_version=code_version(),
            tenant_id=keys.tenant_id,
            video_id=keys.video_id,
            engine=self._engine,
            sources=etags,
            arguments=arguments,
            captions=captions,
        )
        if isinstance(arguments, CaptionOcrArguments) and captions is not None:
            spans = {"captions": [span.model_dump(mode="json") for span in captions]}
            if len(canonical_json(spans)) > _MAX_INLINE_CAPTIONS:
                ref = records.write_input(self._store, keys, f"caption_ocr_{key[:32]}.input", spans)
                arguments = arguments.model_copy(update={"captions": None, "captions_ref": ref})
        request = CallRequest(
            call_key=key,
            code_version=code_version(),
            video_key=keys.video,
            tenant_id=keys.tenant_id,
            video_id=keys.video_id,
            engine=self._engine,
            sources=etags,
            arguments=arguments,
        )
        return RemoteCall(
            request,
            ledger=self._ledger,
            store=self._store,
            deployment=self._deployment,
            limits=self._limits,
            run_id=self._run_id,
            log=self._log,
            estimated_minutes=estimated_minutes(request.function, seconds, request.segment),
        )

    def _done(self, calls: Sequence[RemoteCall], progress: Progress | None) -> list[CallReply]:
        self._latest.metadata = {}
        replies = wait_for(calls, self._limits, progress)
        self._latest.metadata = _metadata(calls)
        return replies

    def _read(self, kind: type[_Result], reply: CallReply) -> _Result:
        try:
            return kind.model_validate(records.read_result(self._store, reply))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise ComputeMisconfigured(
                f"the app's result has an invalid {field} ({first['msg']}); deploy it again with `{DEPLOY_COMMAND}`"
            ) from None


def reconcile(
    ledger: CallLedger,
    store: ObjectStore,
    *,
    unseen_for: timedelta = timedelta(hours=2),
    is_running: Callable[[str], bool] = lambda run_id: False,
    limit: int = 100,
    log: logging.Logger | None = None,
) -> list[str]:
    """Cancel calls that no run has waited for in a long time, or whose cancellation Modal did not confirm.

    A retry takes over the calls of a run that died long before this; the remaining calls only cost money. A call whose
    id was never recorded is found by its lease in the store.

    Args:
        is_running: whether a run, by its id, still works: after a jump of the clock, its calls only look forgotten.

    Returns:
        Modal's ids of the cancelled calls ("" for a call that was never submitted).
    """
    cancelled = []
    for row in ledger.list_compute_calls(waiter_unseen_since=datetime.now(UTC) - unseen_for, limit=limit).items:
        if row.cancel_requested_at is None and row.run_id and is_running(row.run_id):
            continue
        keys = VideoKeys(str(row.tenant_id), str(row.video_id))
        call_id = row.external_call_id or working_call(store, keys, row.call_key)
        if call_id and not cancel_by_id(call_id, log or logging.getLogger(__name__)):
            continue
        details = {
            "message": f"no run waited for it for {unseen_for}",
            "error_type": "Abandoned",
            "run_id": row.run_id,
            "time": datetime.now(UTC).isoformat(),
        }
        ledger.end_compute_call(row.id, "cancelled", error_details=details)
        cancelled.append(call_id or "")
    return cancelled


def _keys_of(video_key: str, tenant_id: str, video_id: str) -> VideoKeys:
    keys = VideoKeys(tenant_id, video_id)
    if video_key != keys.video:
        raise BadInput(f"{video_key}: not the key of video {video_id} of tenant {tenant_id}")
    return keys


def _metadata(calls: Sequence[RemoteCall]) -> dict[str, str | int | float | bool]:
    reports = [call.report for call in calls]
    return {
        "modal/call_id": ", ".join(report.call_id for report in reports),
        "modal/url": reports[0].url,
        "modal/calls": len(reports),
        "modal/app_version": reports[0].app_version,
        "modal/device": ", ".join(sorted({report.device for report in reports})),
        "modal/queued_seconds": round(max(report.queued_s for report in reports), 1),
        "modal/running_seconds": round(sum(report.running_s for report in reports), 1),
        "modal/attempts": max(report.attempts for report in reports),
        "modal/reattached": any(report.reattached for report in reports),
        "modal/reused": all(report.reused for report in reports),
        "modal/estimated_cost_usd": round(sum(report.cost_usd for report in reports), 5),
    }
