"""NVIDIA's video decoder (NVDEC), where there is one: the CPU is left free for the rest."""

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

# Their standards leave a decoder no choice of a single pixel. Of more than eight bits, and of other subsampling, the
# decoder's layout differs; the CPU decodes them.
_CODECS = frozenset({"h264", "hevc", "vp8", "vp9"})
_PIXEL_FORMAT = "yuv420p"


class NvdecUnavailable(Exception):
    """The GPU cannot decode this video; the message says why."""


@cache
def cuda_devices() -> int:
    """Count the CUDA devices that the driver shows to this process; 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def open_on_nvdec(path: Path, codec: str, pixel_format: str) -> InputContainer:
    """Open a video so that the GPU decodes it and its pictures come back into memory.

    Args:
        codec, pixel_format: FFmpeg's names of the stream's.

    Raises:
        NvdecUnavailable: there is no GPU, or it does not decode this.
    """
    if not cuda_devices():
        raise NvdecUnavailable("there is no CUDA device")
    if codec not in _CODECS or pixel_format != _PIXEL_FORMAT:
        raise NvdecUnavailable(f"{codec} in {pixel_format} is left to the CPU")
    from av.codec.hwaccel import HWAccel
    from av.error import FFmpegError

    try:
        return open_video(path, HWAccel("cuda", allow_software_fallback=False))
    except (VideoError, FFmpegError, RuntimeError, ValueError, NotImplementedError) as error:
        raise NvdecUnavailable(str(error.__cause__ or error)) from error


def note_cpu(path: Path, reason: Exception, given: int) -> None:
    """Write down why the CPU decodes a video, or goes on with it after so many frames of the GPU."""
    if not cuda_devices():
        _log.debug("%s: decoded on the CPU: %s", path.name, reason)
    elif isinstance(reason, NvdecUnavailable) and not given:
        _log.info("%s: decoded on the CPU: %s", path.name, reason)
    else:
        _log.warning("%s: the GPU gave up after %d frames, the CPU goes on: %s", path.name, given, reason)
