"""The interface of a compute backend, its errors, and the ledger a remote one keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from captionacc_dagster.compute.results import (
    CaptionOcrResult,
    CaptionSpan,
    CropBox,
    CropInferResult,
    ExtractResult,
)

# (stage, done, total): how far a piece of work is; total is 0 while unknown.
Progress = Callable[[str, int, int], None]


class ComputeError(Exception):
    """A compute function that did not give a result.

    Attributes:
        retryable: whether the same call may succeed later.
    """

    retryable = False


class BadInput(ComputeError):
    """The input itself cannot be processed; trying again gives the same."""


class ComputeUnavailable(ComputeError):
    """The place where the work runs, or what it needs, is away for now."""

    retryable = True


class ComputeBackend(ABC):
    """Runs the three compute functions, in this process or elsewhere.

    All of them raise :class:`BadInput` for what a person must change and :class:`ComputeUnavailable`
    for what time may heal.
    """

    name: str

    @abstractmethod
    def extract_frames_and_ocr(
        self,
        video_key: str,
        tenant_id: str,
        video_id: str,
        frame_rate: float = 0.1,
        *,
        progress: Progress | None = None,
    ) -> ExtractResult:
        """Sample full frames, read them, and find where captions stand."""

    @abstractmethod
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
        """Crop the region, find when each caption begins and ends, and read it.

        A ``crop_region`` of None means that the video has no captions.
        """

    @abstractmethod
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
        """Read the given captions; one that cannot be read carries its error, the others go on."""
