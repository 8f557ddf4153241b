"""The learned glyph mask: the probability of each pixel of a ROI to be a stroke of a caption that stays in place.

A small convolutional network (training/glyph_mask/) takes statistics of a few frames. ONNX Runtime runs it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.ocr.onnx_session import open_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CHANNELS = 5
LINE_PX = 36.0  # line height that the network was trained on: text of about 26 pixels
LARGEST_LINE_PX = 46.0  # larger text is scaled down first
STRIDE = 4  # the network takes heights and widths that are multiples of this
_SURROUNDINGS_PX = 21
_MAX_VALUE = 4.0  # of a channel
_MODEL = "glyph_mask.onnx"
_lock = threading.Lock()

Plane = NDArray[np.uint8]
Map = NDArray[np.float32]


def mean_level(frames: Sequence[Plane]) -> Map:
    """Return the mean luma of frames ``(h, w)``, float32."""
    import cv2

    level = np.zeros(frames[0].shape, np.float32)
    for frame in frames:
        cv2.accumulate(frame, level)
    level /= len(frames)
    return level


def mean_distance(frames: Sequence[Plane], level: Map) -> Map:
    """Return each pixel's mean absolute difference from a level over the frames, float32 ``(h, w)``."""
    import cv2

    target = cv2.convertScaleAbs(level)
    distance = np.zeros(level.shape, np.float32)
    for frame in frames:
        cv2.accumulate(cv2.absdiff(frame, target), distance)
    distance /= len(frames)
    return distance


def statistics(frames: Sequence[Plane], mean: Map | None = None) -> tuple[Map, Map, Plane, Plane]:
    """Return mean, mean absolute deviation (both float32), lowest and highest luma (uint8) of frames ``(h, w)``."""
    import cv2

    mean = mean_level(frames) if mean is None else mean
    low, high = frames[0], frames[0]
    for frame in frames[1:]:
        low, high = np.asarray(cv2.min(low, frame), np.uint8), np.asarray(cv2.max(high, frame), np.uint8)
    return mean, mean_distance(frames, mean), low, high


def channels(mean: Map, deviation: Map, low: Plane, high: Plane) -> Map:
    """Return the input of the network, float32 ``(CHANNELS, h, w)``, all within about -4..4, padded to whole strides.

    The channels are the level, its relief above its surroundings, its mean deviation, and its rise and fall to the
    highest and lowest luma. Padding repeats the edge.
    """
    import cv2

    height, width = mean.shape
    inputs = np.empty((CHANNELS, height + -height % STRIDE, width + -width % STRIDE), np.float32)
    inner = inputs[:, :height, :width]
    around = cv2.blur(mean, (_SURROUNDINGS_PX, _SURROUNDINGS_PX))
    # OpenCV takes half of NumPy's time for each of these. The last three are never negative.
    cv2.addWeighted(mean, 1 / 64, mean, 0, -2, dst=inner[0])
    cv2.addWeighted(mean, 1 / 24, around, -1 / 24, 0, dst=inner[1])
    np.maximum(inner[1], -_MAX_VALUE, out=inner[1])
    cv2.addWeighted(deviation, 1 / 12, deviation, 0, 0, dst=inner[2])
    cv2.addWeighted(high.astype(np.float32), 1 / 24, mean, -1 / 24, 0, dst=inner[3])
    cv2.addWeighted(mean, 1 / 24, low.astype(np.float32), -1 / 24, 0, dst=inner[4])
    for bounded in inner[1:]:
        cv2.threshold(bounded, _MAX_VALUE, 0, cv2.THRESH_TRUNC, dst=bounded)
    inputs[:, :height, width:] = inner[:, :, -1:]
    inputs[:, height:] = inputs[:, height - 1 : height]
    return inputs


@cache
def _session(threads: int) -> InferenceSession:
    return open_session((files("captionacc_dagster.captioning") / "models" / _MODEL).read_bytes(), threads)


def stroke_map(frames: Sequence[Plane], line_px: float, mean: Map | None = None, *, threads: int = 1) -> Map:
    """Return the probability that a caption's stroke covers each pixel in most of the frames.

    Args:
        frames: a ROI over time, two or more uint8 ``(h, w)`` of the same size.
        line_px: height of a line of text in them, pixels. Text larger than `LARGEST_LINE_PX` is scaled to `LINE_PX`.
        mean: their mean luma if it is known.
        threads: of ONNX Runtime. A process creates one session for each number of threads.

    Returns:
        float32 ``(h, w)``, 0..1.
    """
    import cv2

    with _lock:
        session = _session(threads)
    planes = _scaled(statistics(frames, mean), line_px)
    height, width = planes[0].shape
    (found,) = session.run(["strokes"], {"window": channels(*planes)[None]})
    strokes = np.ascontiguousarray(_interleave(np.asarray(found, np.float32)[0])[:height, :width])
    if strokes.shape == frames[0].shape:
        return strokes
    shape = frames[0].shape
    return np.asarray(cv2.resize(strokes, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def _interleave(cells: Map) -> Map:
    """Return ``(h, w)`` from the four values of each two by two pixels, ``(h / 2, w / 2, 4)``."""
    height, width, _ = cells.shape
    # Moving two neighbors of a row as one number takes a fifth of the time of ONNX's DepthToSpace.
    pairs = cells.view(np.complex64)
    return pairs.transpose(0, 2, 1).reshape(2 * height, width).view(np.float32)


def _scaled(planes: tuple[Map, Map, Plane, Plane], line_px: float) -> tuple[Map, Map, Plane, Plane]:
    """Scale down the statistics of a ROI whose text is larger than the network was trained on."""
    import cv2

    if line_px <= LARGEST_LINE_PX:
        return planes
    scale = LINE_PX / line_px
    height, width = planes[0].shape
    size = max(1, round(width * scale)), max(1, round(height * scale))
    mean, deviation, low, high = (cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in planes)
    return (
        np.asarray(mean, np.float32),
        np.asarray(deviation, np.float32),
        np.asarray(low, np.uint8),
        np.asarray(high, np.uint8),
    )
