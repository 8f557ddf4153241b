"""Decode on NVIDIA's video decoder (NVDEC) where there is one, which frees the CPU for the rest."""

from __future__ import annotations

import ctypes
import logging
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from captionacc_dagster.captioning.video.containers import VideoError, open_video

if TYPE_CHECKING:
    from av.container import InputContainer

_log = logging.getLogger(__name__)

# The standards of these codecs fix every pixel, so that the GPU's pictures equal the CPU's. With more than 8 bits or
# other subsampling NVDEC returns another memory layout; the CPU decodes those videos.
_CODECS = frozenset({"h264", "hevc", "vp8", "vp9"})
_PIXEL_FORMAT = "yuv420p"


class NvdecUnavailable(Exception):
    """The GPU cannot decode this video; the message says why."""


@cache
def cuda_devices() -> int:
    """Return the number of CUDA devices that the driver shows to this process; 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def open_on_nvdec(path: Path, codec: str, pixel_format: str) -> InputContainer:
    """Open a video that the GPU decodes into main memory.

    Args:
        path: the video.
        codec: FFmpeg's name of the stream's codec.
        pixel_format: FFmpeg's name of its pixel format.

    Raises:
        NvdecUnavailable: there is no GPU, or it cannot decode this video.
    """
    if not cuda_devices():
        raise NvdecUnavailable("there is no CUDA device")
    if codec not in _CODECS or pixel_format != _PIXEL_FORMAT:
        raise NvdecUnavailable(f"NVDEC does not decode {codec} in {pixel_format} into the same pixels as the CPU")
    from av.codec.hwaccel import HWAccel
    from av.error import FFmpegError

    try:
        return open_video(path, HWAccel("cuda", allow_software_fallback=False))
    except (VideoError, FFmpegError, RuntimeError, ValueError, NotImplementedError) as error:
        raise NvdecUnavailable(str(error.__cause__ or error)) from error


def log_cpu_fallback(path: Path, reason: Exception, decoded: int) -> None:
    """Log why the CPU decodes a video, or its rest after the GPU ``decoded`` some frames."""
    if not cuda_devices():
        _log.debug("%s: decoded on the CPU: %s", path.name, reason)
    elif isinstance(reason, NvdecUnavailable) and not decoded:
        _log.info("%s: decoded on the CPU: %s", path.name, reason)
    else:
        _log.warning("%s: the GPU failed after %d frames, the CPU continues: %s", path.name, decoded, reason)
