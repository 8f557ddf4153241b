"""The functions on Modal: GPUs, limits, and prices, for the app and its callers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from captionacc_dagster.compute.envelope import FunctionName, TimeSegment

APP_NAME = "captionacc-processing"
STORAGE_SECRET = "captionacc-storage"  # noqa: S105 - its name
VERSION_TAG = "code_version"
DEPLOY_COMMAND = "captionacc modal deploy"

# Names of the environment variables that the secret must contain.
STORAGE_SECRET_KEYS = ("WASABI_ACCESS_KEY", "WASABI_SECRET_KEY", "WASABI_BUCKET", "WASABI_REGION")


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """How one function is deployed.

    Attributes:
        gpus: allowed GPUs, in order of preference.
        timeout_s: maximum duration of one call, seconds.
        startup_timeout_s: maximum duration of a container's start, seconds.
        max_containers: maximum number of concurrent containers, which caps the cost per hour.
        scaledown_window_s: how long an idle container is kept, and paid for, seconds.
        cpu: physical cores; memory_mib: memory.
        base_s: seconds of work whatever the video's length; per_video_s: seconds for each second of video.
            Estimates on the high side: a CPU alone needs about half of that (docs/modal.md).
    """

    gpus: tuple[str, ...]
    timeout_s: int
    startup_timeout_s: int
    max_containers: int
    scaledown_window_s: int
    cpu: float
    memory_mib: int
    base_s: float
    per_video_s: float


# Modal calls AWS's A10G "A10".
FUNCTIONS: Mapping[FunctionName, FunctionSpec] = {
    "extract_frames_and_ocr": FunctionSpec(("T4", "L4"), 1800, 300, 10, 60, 4.0, 8192, 15.0, 0.05),
    "crop_and_infer_caption_frame_extents": FunctionSpec(("L4", "A10"), 3600, 300, 20, 60, 8.0, 16384, 15.0, 0.25),
    "generate_caption_ocr": FunctionSpec(("T4", "L4"), 300, 300, 10, 60, 4.0, 8192, 10.0, 0.01),
}

# US dollars per second, from Modal's pricing page in 2025 (docs/modal.md says how to check them).
PRICE_PER_GPU_SECOND: Mapping[str, float] = {"T4": 0.000164, "L4": 0.000222, "A10": 0.000306}
PRICE_PER_CORE_SECOND = 0.0000131
PRICE_PER_GIB_SECOND = 0.00000222

# Assumed bit rate of a video whose duration is unknown (bits per second).
_ASSUMED_BITRATE = 2_000_000


def dearest_gpu(function: FunctionName) -> str:
    """Return the most expensive GPU that a function may get."""
    return max(FUNCTIONS[function].gpus, key=PRICE_PER_GPU_SECOND.__getitem__)


def price_per_second(function: FunctionName, gpu: str | None = None) -> float:
    """Return US dollars per second of a function's container, with ``gpu`` or the most expensive it may get."""
    spec = FUNCTIONS[function]
    gpu_price = PRICE_PER_GPU_SECOND.get(gpu or "", PRICE_PER_GPU_SECOND[dearest_gpu(function)])
    return gpu_price + spec.cpu * PRICE_PER_CORE_SECOND + spec.memory_mib / 1024 * PRICE_PER_GIB_SECOND


def gpu_of_device(device: str) -> str | None:
    """Return the priced GPU for a device name (``NVIDIA L4``); None for another device or a CPU."""
    words = device.upper().replace("-", " ").split()
    for gpu in PRICE_PER_GPU_SECOND:
        if gpu in words or f"{gpu}G" in words:
            return gpu
    return None


def assumed_duration(size_bytes: int) -> float:
    """Return an estimate of a video's duration in seconds from its size."""
    return size_bytes * 8 / _ASSUMED_BITRATE


def estimated_minutes(function: FunctionName, video_seconds: float, segment: TimeSegment | None = None) -> float:
    """Return a high estimate of the minutes of computing that a call will take."""
    spec = FUNCTIONS[function]
    share = 1.0 if segment is None else 1.0 / segment.count
    seconds = min(spec.base_s + spec.per_video_s * max(0.0, video_seconds) * share, spec.timeout_s)
    return math.ceil(seconds / 60 * 100) / 100
