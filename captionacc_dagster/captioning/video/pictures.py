"""Pixels of a decoded picture: the luma or the color of one rectangle, as it is displayed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter

# Luma weights (red, blue) of the three matrices in use: ITU-R BT.601, BT.709, BT.2020.
_LUMA_WEIGHTS = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
_BT601_WEIGHTS = (0.299, 0.114)
_BT709_HEIGHT = 720  # an untagged picture from this height on is taken for BT.709, as players do
_LUMA_FIRST = ("yuv4", "yuvj4", "yuva4", "nv12", "nv21", "p010", "gray")  # formats with a luma plane
_BYTES, _WORDS = np.dtype(np.uint8), np.dtype("<u2")
_NEARLY = 0.6  # of its own size, to which a picture is scaled linearly
_NEARLY_A_BLOCK = 0.02  # of a pixel, that rounding a size may take from a whole block
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG


@dataclass(frozen=True, slots=True)
class _Format:
    """A pixel format: whether it has a plane of luma, its bits, and whether it has colors in planes."""

    has_planes: bool
    bits: int
    has_chroma: bool
    is_full_range: bool


_formats: dict[str, _Format] = {}  # asking FFmpeg costs more than cutting out a line of text


def _format_of(frame: av.VideoFrame) -> _Format:
    name = frame.format.name
    if name not in _formats:
        has_planes = name.startswith(_LUMA_FIRST) and not name.endswith("be")
        components = frame.format.components
        # P010 keeps its ten bits at the top of sixteen.
        bits = 8 if not has_planes else 16 if name.startswith("p0") else components[0].bits
        _formats[name] = _Format(has_planes, bits, len(components) >= 3, name.startswith("yuvj"))
    return _formats[name]


@lru_cache(maxsize=64)  # the same few rectangles are cut out of every frame
def pixel_rectangle(bbox: BBox, width: int, height: int) -> tuple[int, int, int, int]:
    """Give ``(x0, y0, x1, y1)``: the whole pixels that a relative box touches, half-open, never empty."""
    x0 = min(max(int(bbox.left * width + 1e-6), 0), width - 1)
    y0 = min(max(int(bbox.top * height + 1e-6), 0), height - 1)
    x1 = min(max(int(np.ceil(bbox.right * width - 1e-6)), x0 + 1), width)
    y1 = min(max(int(np.ceil(bbox.bottom * height - 1e-6)), y0 + 1), height)
    return x0, y0, x1, y1


def use_single_threaded_opencv() -> None:
    """Have OpenCV work in the calling thread: waking others for such small pictures costs more than it saves."""
    import cv2

    cv2.setNumThreads(1)


def scaled_down(plane: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale a plane ``(h, w)`` uint8 down to ``(width, height)``, leaving no pixel out.

    Whole blocks of pixels are averaged, and what is left is less than half: that is several times as quick as
    any other scaling that is as good.
    """
    import cv2

    height, width = plane.shape
    block = max(1, int(min(width / size[0], height / size[1]) + _NEARLY_A_BLOCK))
    if block > 1:
        height, width = height // block, width // block
        whole = plane[: height * block, : width * block]
        plane = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.uint8)


class Picture:
    """One decoded picture, turned the way it is displayed; nothing is converted before it is asked for.

    Args:
        frame: the decoded picture.
        rotation: clockwise turn for display in degrees: 0, 90, 180 or 270.
        size: ``(width, height)`` as displayed that every crop refers to. A stream that changes its
            resolution half-way is scaled to it.
        scaler: shared by the pictures of a stream, for one thread at a time: setting one up costs as much as
            scaling a picture.
    """

    def __init__(
        self, frame: av.VideoFrame, rotation: int, size: tuple[int, int], scaler: VideoReformatter | None = None
    ) -> None:
        self._frame = frame
        self._format = _format_of(frame)
        self._scaler = scaler
        self._rotation = rotation
        self._size = size

    def luma(self, bbox: BBox) -> NDArray[np.uint8]:
        """Give the luma of a rectangle, ``(height, width)`` uint8, as coded (no range expansion).

        Pictures of more than 8 bits are scaled down to 8. Only the rectangle is touched, except for
        pixel formats without a luma plane (RGB, palettes), where the picture is converted once.
        """
        if not self._format.has_planes:
            return self._crop(self._gray, bbox)
        return self._crop(self._plane(0), bbox)

    def rgb(self, bbox: BBox) -> NDArray[np.uint8]:
        """Give the colors of a rectangle, ``(height, width, 3)`` RGB uint8."""
        if not self._format.has_planes:
            return self._crop(self._rgb, bbox)
        import cv2

        luma = self._crop(self._plane(0), bbox)
        if not self._format.has_chroma:
            return np.repeat(self._expand_luma(luma)[..., None], 3, axis=2)
        height, width = luma.shape
        chroma = [
            cv2.resize(self._crop(plane, bbox), (width, height), interpolation=cv2.INTER_LINEAR)
            for plane in self._chroma_planes()
        ]
        return self._to_rgb(luma, chroma[0], chroma[1])

    def yuv420(self, bbox: BBox) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """Give a rectangle as Y, Cb and Cr in 4:2:0, uint8, as coded; the luma's sides are made even."""
        luma = self.luma(bbox)
        height, width = max(2, luma.shape[0] // 2 * 2), max(2, luma.shape[1] // 2 * 2)
        if luma.shape[0] < 2 or luma.shape[1] < 2:
            import cv2

            luma = np.asarray(cv2.resize(luma, (width, height)), np.uint8)
        half = (width // 2, height // 2)
        if self._format.has_planes and self._format.has_chroma:
            crops = [self._crop(plane, bbox) for plane in self._chroma_planes()]
        elif self._format.has_planes:
            crops = [np.full((1, 1), 128, np.uint8)] * 2
        else:
            import cv2

            converted = cv2.cvtColor(self._crop(self._rgb, bbox), cv2.COLOR_RGB2YCrCb)
            crops = [np.asarray(converted[..., channel], np.uint8) for channel in (2, 1)]
        cb, cr = (_halved(crop, half) for crop in crops)
        return luma[:height, :width], cb, cr

    def scaled_rgb(self, width: int, height: int) -> NDArray[np.uint8]:
        """Give the whole picture scaled, ``(height, width, 3)`` RGB uint8; scaled before it is converted."""
        from av.video.reformatter import VideoReformatter

        across = self._rotation in (90, 270)
        frame = (self._scaler or VideoReformatter()).reformat(
            self._frame,
            width=height if across else width,
            height=width if across else height,
            format="rgb24",
            interpolation="AREA",
        )
        return self._turn(_array(frame))

    def scaled_luma(self, width: int, height: int) -> NDArray[np.uint8]:
        """Give the whole picture's luma scaled down, ``(height, width)`` uint8, as coded: by area, to little less
        than its own size linearly, which is quicker and then as good."""
        import cv2

        plane = self._plane(0) if self._format.has_planes else self._gray
        across = self._rotation in (90, 270)
        size = (height, width) if across else (width, height)
        method = cv2.INTER_LINEAR if size[0] > _NEARLY * plane.shape[1] else cv2.INTER_AREA
        return self._turn(_to_8_bits(cv2.resize(plane, size, interpolation=method), self._format.bits))

    def _plane(self, number: int) -> NDArray:
        """View one plane, ``(height, width)``, or ``(height, 2 * width)`` for interleaved chroma."""
        plane = self._frame.planes[number]
        dtype = _BYTES if self._format.bits == 8 else _WORDS
        rows = np.frombuffer(cast("Any", plane), dtype).reshape(-1, plane.line_size // dtype.itemsize)
        interleaved = number == 1 and len(self._frame.planes) == 2
        return rows[: plane.height, : plane.width * (2 if interleaved else 1)]

    def _chroma_planes(self) -> list[NDArray]:
        if len(self._frame.planes) == 2:
            both = self._plane(1)
            order = (1, 0) if self._frame.format.name == "nv21" else (0, 1)
            return [both[:, start::2] for start in order]
        return [self._plane(1), self._plane(2)]

    @cached_property
    def _gray(self) -> NDArray[np.uint8]:
        return _array(self._frame.reformat(format="gray"))

    @cached_property
    def _rgb(self) -> NDArray[np.uint8]:
        return _array(self._frame.reformat(format="rgb24"))

    def _crop(self, plane: NDArray, bbox: BBox) -> NDArray[np.uint8]:
        """Cut a displayed rectangle out of a coded plane of any subsampling, turned and in 8 bits."""
        height, width = plane.shape[:2]
        x0, y0, x1, y1 = pixel_rectangle(_as_coded(bbox, self._rotation), width, height)
        crop = self._turn(_to_8_bits(plane[y0:y1, x0:x1], self._format.bits))
        displayed = (self._frame.width, self._frame.height)
        if (displayed[::-1] if self._rotation in (90, 270) else displayed) == self._size:
            return crop
        return self._resized(crop, bbox)

    def _resized(self, crop: NDArray[np.uint8], bbox: BBox) -> NDArray[np.uint8]:
        """Scale the crop of a picture whose resolution is not the stream's own."""
        import cv2

        x0, y0, x1, y1 = pixel_rectangle(bbox, *self._size)
        return np.asarray(cv2.resize(crop, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA), np.uint8)

    def _turn(self, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(np.rot90(array, -(self._rotation // 90)) if self._rotation else array)

    @property
    def _is_full_range(self) -> bool:
        return int(self._frame.color_range) == _FULL_RANGE or self._format.is_full_range

    def _expand_luma(self, luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._is_full_range:
            return luma
        return np.clip((luma.astype(np.float32) - 16) * (255 / 219), 0, 255).astype(np.uint8)

    def _to_rgb(self, luma: NDArray, blue: NDArray, red: NDArray) -> NDArray[np.uint8]:
        """Convert by the picture's own matrix and range (ITU-T H.273, matrix coefficients)."""
        full = self._is_full_range
        chroma_scale = 1.0 if full else 255 / 224
        bright = luma.astype(np.float32) if full else (luma.astype(np.float32) - 16) * (255 / 219)
        cb = (blue.astype(np.float32) - 128) * chroma_scale
        cr = (red.astype(np.float32) - 128) * chroma_scale
        matrix = int(self._frame.colorspace)
        if matrix == 2 and self._size[1] >= _BT709_HEIGHT:  # 2: unspecified
            matrix = 1
        weight_red, weight_blue = _LUMA_WEIGHTS.get(matrix, _BT601_WEIGHTS)
        weight_green = 1 - weight_red - weight_blue
        out = np.empty((*luma.shape, 3), np.float32)
        out[..., 0] = bright + 2 * (1 - weight_red) * cr
        out[..., 2] = bright + 2 * (1 - weight_blue) * cb
        out[..., 1] = (bright - weight_red * out[..., 0] - weight_blue * out[..., 2]) / weight_green
        return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def _halved(chroma: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bring a plane of chroma to ``(width, height)``; a rectangle at odd pixels touches one more of its pixels."""
    width, height = size
    if 0 <= chroma.shape[0] - height <= 1 and 0 <= chroma.shape[1] - width <= 1:
        return chroma[:height, :width]
    import cv2

    return np.asarray(cv2.resize(chroma, size, interpolation=cv2.INTER_AREA), np.uint8)


def _as_coded(bbox: BBox, rotation: int) -> BBox:
    """Give where a displayed rectangle lies in a picture that is turned for display."""
    left, top, right, bottom = bbox.as_tuple()
    match rotation:
        case 90:
            return BBox(top, 1 - right, bottom, 1 - left)
        case 180:
            return BBox(1 - right, 1 - bottom, 1 - left, 1 - top)
        case 270:
            return BBox(1 - bottom, left, 1 - top, right)
        case _:
            return bbox


def _array(frame: av.VideoFrame) -> NDArray[np.uint8]:
    return np.asarray(frame.to_ndarray(), np.uint8)


def _to_8_bits(array: NDArray, bits: int) -> NDArray[np.uint8]:
    return array if bits == 8 else (array >> (bits - 8)).astype(np.uint8)
