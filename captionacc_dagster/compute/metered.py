"""Local computing within a tenant's quota, recorded in the ledger of compute calls like a remote call."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from captionacc_dagster.captioning.captions import Progress
from captionacc_dagster.compute.base import CallLedger, ComputeBackend, QuotaExceeded
from captionacc_dagster.compute.code_version import code_version
from captionacc_dagster.compute.envelope import FunctionName
from captionacc_dagster.compute.modal_spec import estimated_minutes
from captionacc_dagster.compute.results import CaptionOcrResult, CaptionSpan, CropBox, CropInferResult, ExtractResult

APP_NAME = "local"
"""The ledger's app name for work done by this machine."""
_TOUCH_EVERY_S = 60.0  # far below the time after which an unattended call counts as abandoned


class MeteredCompute(ComputeBackend):
    """Passes on the work of tenants that have a quota, and charges the minutes it took.

    A tenant without a limit costs one query per call, and nothing is recorded.
    """

    def __init__(
        self,
        backend: ComputeBackend,
        ledger: CallLedger,
        *,
        video_seconds: Callable[[str, str], float],
        run_id: str = "",
    ) -> None:
        """Create a backend.

        Args:
            backend: does the work.
            ledger: stores the tenant's quota and calls.
            video_seconds: returns the duration of a video, or an estimate, from its key and its id.
            run_id: the Dagster run, for the ledger.
        """
        self.name = backend.name
        self._backend = backend
        self._ledger = ledger
        self._video_seconds = video_seconds
        self._run_id = run_id

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
            QuotaExceeded: the tenant's frames or minutes do not suffice; nothing was done.
        """
        if self._ledger.get_tenant_quota(tenant_id).frame_limit is not None:
            frames = int(self._video_seconds(video_key, video_id) * frame_rate)
            check_frame_limit(self._ledger, tenant_id, video_id, frames)
        with self._charged("extract_frames_and_ocr", video_key, tenant_id, video_id, progress) as told:
            return self._backend.extract_frames_and_ocr(video_key, tenant_id, video_id, frame_rate, progress=told)

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
        """See :meth:`ComputeBackend.crop_and_infer_caption_frame_extents`.

        Raises:
            QuotaExceeded: the tenant's minutes do not suffice; nothing was done.
        """
        function: FunctionName = "crop_and_infer_caption_frame_extents"
        with self._charged(function, video_key, tenant_id, video_id, progress) as told:
            return self._backend.crop_and_infer_caption_frame_extents(
                video_key, tenant_id, video_id, crop_region, version, frame_rate, progress=told
            )

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
        """See :meth:`ComputeBackend.generate_caption_ocr`.

        Raises:
            QuotaExceeded: the tenant's minutes do not suffice; nothing was done.
        """
        with self._charged("generate_caption_ocr", video_key, tenant_id, video_id, progress) as told:
            return self._backend.generate_caption_ocr(
                video_key, tenant_id, video_id, crop_region, version, captions, progress=told
            )

    @contextmanager
    def _charged(
        self, function: FunctionName, video_key: str, tenant_id: str, video_id: str, progress: Progress | None
    ) -> Iterator[Progress | None]:
        """Reserve the minutes of a call, and charge what it took when it ends; yields the progress to report to."""
        if self._ledger.get_tenant_quota(tenant_id).processing_minutes_limit is None:
            yield progress
            return
        row = self._ledger.record_compute_call(
            secrets.token_hex(32),  # a key of its own: local work is never shared, and reconciling checks the form
            video_id,
            app_name=APP_NAME,
            function_name=function,
            code_version=code_version(),
            arguments={},
            run_id=self._run_id or None,
            estimated_minutes=estimated_minutes(function, self._video_seconds(video_key, video_id)),
        )
        if row.state == "refused":
            raise QuotaExceeded(f"video {video_id}: {(row.error_details or {}).get('message', 'over the limit')}")
        started = touched = time.monotonic()

        def report(stage: str, done: int, total: int) -> None:
            nonlocal touched
            if time.monotonic() - touched > _TOUCH_EVERY_S:
                touched = time.monotonic()
                self._ledger.touch_compute_call(row.id)
            if progress is not None:
                progress(stage, done, total)

        try:
            yield report
        except BaseException as error:
            details = {"message": f"{error}", "error_type": type(error).__name__}
            self._ledger.end_compute_call(row.id, "failed", error_details=details, running_s=time.monotonic() - started)
            raise
        self._ledger.end_compute_call(row.id, "succeeded", running_s=time.monotonic() - started)


def check_frame_limit(ledger: CallLedger, tenant_id: str, video_id: str, frames: int) -> None:
    """Check a video's full frames against the tenant's limit.

    Raises:
        QuotaExceeded: it has more.
    """
    limit = ledger.get_tenant_quota(tenant_id).frame_limit
    if limit is not None and frames > limit:
        raise QuotaExceeded(f"video {video_id} needs {frames} full frames; the limit is {limit}")
