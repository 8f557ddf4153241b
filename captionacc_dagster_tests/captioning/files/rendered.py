"""Subtitles as libass draws them, in FFmpeg's filter, on a gray video."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, RATE = 640, 360, 25
BACKGROUND = 96


def render(path: Path, seconds: float = 1.0) -> NDArray[np.uint8]:
    """Return the frames of a video with a subtitle file drawn into it, ``(frames, height, width, 3)`` RGB."""
    source = f"color=c=0x{BACKGROUND:02x}{BACKGROUND:02x}{BACKGROUND:02x}:s={WIDTH}x{HEIGHT}:r={RATE}:d={seconds}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source]
    command += ["-vf", f"format=rgb24,subtitles={path.name}", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, cwd=path.parent, check=True, capture_output=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)


def bright(frame: NDArray[np.uint8], above: int = 200) -> NDArray[np.bool_]:
    """Return where a frame shows white text."""
    return np.asarray(frame.min(axis=2) > above)


def extent(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of the set pixels as fractions of the frame."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    return columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height


def outer_widths(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the widths in pixels of the leftmost and the rightmost glyph: runs of columns with set pixels."""
    columns = np.flatnonzero(np.diff(np.r_[False, mask.any(axis=0), False].astype(np.int8)))
    starts, ends = columns[::2], columns[1::2]
    return int(ends[0] - starts[0]), int(ends[-1] - starts[-1])
