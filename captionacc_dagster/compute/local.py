"""The compute backend that runs in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from captionacc_dagster.captioning.captions import Progress
from captionacc_dagster.compute import functions
from captionacc_dagster.compute.base import ComputeBackend
from captionacc_dagster.compute.results import (
    CaptionOcrResult,
    CaptionSpan,
    CropBox,
    CropInferResult,
    ExtractResult,
)
from captionacc_dagster.storage.base import ObjectStore

if TYPE_CHECKING:
    from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.compute.processes import Workers


class LocalCompute(ComputeBackend):
    """Runs the compute functions in this process; OCR models are loaded on first use and kept."""

    name = "local"

    def __init__(
        self, store: ObjectStore, create_engine: Callable[[], OcrEngine], *, workers: Workers | None = None
    ) -> None:
        """Create a backend.

        Args:
            store: the objects.
            create_engine: creates the OCR engine.
            workers: processes for the time segments of a long video; None: only this process.
        """
        self._store = store
        self._create_engine = create_engine
        self._workers = workers

    @cached_property
    def _engine(self) -> OcrEngine:
        return self._create_engine()

    def extract_frames_and_ocr(
        self,
        video_key: str,
        tenant_id: str,
        video_id: str,
        frame_rate: float = 0.1,
        *,
        progress: Progress | None = None,
    ) -> ExtractResult:
        """See :func:`functions.extract_frames_and_ocr`."""
        return functions.extract_frames_and_ocr(
            video_key, tenant_id, video_id, frame_rate, store=self._store, engine=self._engine, progress=progress
        )

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
        """See :func:`functions.crop_and_infer_caption_frame_extents`."""
        return functions.crop_and_infer_caption_frame_extents(
            video_key,
            tenant_id,
            video_id,
            crop_region,
            version,
            frame_rate,
            store=self._store,
            engine=self._engine,
            workers=self._workers,
            progress=progress,
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
        """See :func:`functions.generate_caption_ocr`."""
        return functions.generate_caption_ocr(
            video_key,
            tenant_id,
            video_id,
            crop_region,
            version,
            captions,
            store=self._store,
            engine=self._engine,
            progress=progress,
        )
