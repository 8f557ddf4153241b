"""Read the luma or the colors of a rectangle of a decoded picture, as displayed."""

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

# Luma weights (red, blue) by matrix coefficients of ITU-T H.273: BT.709, and BT.2020 twice. All others: BT.601.
_LUMA_WEIGHTS = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
_BT601_WEIGHTS = (0.299, 0.114)
_BT709_HEIGHT = 720  # pixels; players assume BT.709 for untagged pictures of at least this height
# FFmpeg's names of pixel formats with a luma plane begin so.
_LUMA_PREFIXES = ("yuv4", "yuvj4", "yuva4", "nv12", "nv21", "p010", "gray")
# FFmpeg's names of packed pixel formats of 8 bits, with the bytes of a pixel and the places of red, green, and blue.
_PACKED_RGB = {
    "rgb24": (3, (0, 1, 2)),
    "bgr24": (3, (2, 1, 0)),
    "rgb0": (4, (0, 1, 2)),
    "rgba": (4, (0, 1, 2)),
    "bgr0": (4, (2, 1, 0)),
    "bgra": (4, (2, 1, 0)),
    "0rgb": (4, (1, 2, 3)),
    "argb": (4, (1, 2, 3)),
    "0bgr": (4, (3, 2, 1)),
    "abgr": (4, (3, 2, 1)),
}
_PLANAR_RGB = ("gbrp", "gbrap")
_BYTES, _WORDS = np.dtype(np.uint8), np.dtype("<u2")
_BLOCK_SLACK = 0.02  # pixels; rounding a size to whole pixels must not cost a whole block
_FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG
_BT709, _UNSPECIFIED = 1, 2  # matrix coefficients of ITU-T H.273


@dataclass(frozen=True, slots=True)
class _Format:
    """What reading a pixel format depends on: planes, bits per sample, chroma, and range."""

    has_planes: bool
    bits: int
    has_chroma: bool
    is_full_range: bool
    is_rgb: bool  # of 8 bits, so that a part of a picture can be read by itself


_formats: dict[str, _Format] = {}  # asking FFmpeg costs more than cropping a line of text


def _format_of(frame: av.VideoFrame) -> _Format:
    name = frame.format.name
    if name not in _formats:
        has_planes = name.startswith(_LUMA_PREFIXES) and not name.endswith("be")
        components = frame.format.components
        # P010 stores its 10 bits in the upper bits of 16.
        bits = 8 if not has_planes else 16 if name.startswith("p0") else components[0].bits
        is_rgb = name in _PACKED_RGB or name in _PLANAR_RGB
        _formats[name] = _Format(has_planes, bits, len(components) >= 3, name.startswith("yuvj"), is_rgb)
    return _formats[name]


@lru_cache(maxsize=64)  # the same few rectangles are cropped from every frame
def pixel_rectangle(bbox: BBox, width: int, height: int) -> tuple[int, int, int, int]:
    """Return ``(x0, y0, x1, y1)``: the whole pixels that a relative box touches, half-open, never empty."""
    x0 = min(max(int(bbox.left * width + 1e-6), 0), width - 1)
    y0 = min(max(int(bbox.top * height + 1e-6), 0), height - 1)
    x1 = min(max(int(np.ceil(bbox.right * width - 1e-6)), x0 + 1), width)
    y1 = min(max(int(np.ceil(bbox.bottom * height - 1e-6)), y0 + 1), height)
    return x0, y0, x1, y1


def scaled_down(plane: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a plane ``(h, w)`` uint8 scaled down to ``(width, height)``; every pixel counts.

    Whole blocks of pixels are averaged; the remaining factor, below two, is scaled linearly. OpenCV averages whole
    blocks several times faster than fractions of pixels.
    """
    import cv2

    height, width = plane.shape
    block = max(1, int(min(width / size[0], height / size[1]) + _BLOCK_SLACK))
    if block > 1:
        height, width = height // block, width // block
        whole = plane[: height * block, : width * block]
        plane = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.uint8)


class Picture:
    """One decoded picture, rotated for display; pixels are converted when a method needs them.

    Args:
        frame: the decoded picture.
        rotation: clockwise rotation for display in degrees: 0, 90, 180, or 270.
        size: ``(width, height)`` as displayed, to which every crop refers. Pictures of another size, as in a stream
            that changes its resolution, are scaled to it.
        scaler: shared by the pictures of a stream, one thread at a time; creating one costs as much as scaling a
            picture. Default: a new one.
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
        """Return the luma of a rectangle, ``(height, width)`` uint8, as coded (no range expansion).

        More than 8 bits are reduced to 8. Only the rectangle is read, except in RGB of more than 8 bits and in
        palettes, where the whole picture is converted once.
        """
        if self._format.has_planes:
            return self._crop(self._plane(0), bbox)
        if not self._format.is_rgb:
            return self._crop(self._gray, bbox)
        import cv2

        return np.asarray(cv2.cvtColor(self._rgb_crop(bbox), cv2.COLOR_RGB2GRAY), np.uint8)

    def scanlines(self, count: int) -> NDArray[np.uint8]:
        """Return the luma of up to ``count`` evenly spaced rows as coded, before rotation, ``(rows, width)`` uint8.

        Only these rows are read where the pixel format has a luma plane.
        """
        plane = self._plane(0) if self._format.has_planes else self._gray
        step = max(1, plane.shape[0] // count)
        return _to_8_bits(plane[step // 2 :: step], self._format.bits)[:count]

    def rgb(self, bbox: BBox) -> NDArray[np.uint8]:
        """Return the colors of a rectangle, ``(height, width, 3)`` RGB uint8."""
        if not self._format.has_planes:
            return self._rgb_crop(bbox)
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
        """Return a rectangle as Y, Cb, and Cr in 4:2:0, uint8, as coded; the luma's sides are made even."""
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

            converted = cv2.cvtColor(self._rgb_crop(bbox), cv2.COLOR_RGB2YCrCb)
            crops = [np.asarray(converted[..., channel], np.uint8) for channel in (2, 1)]
        cb, cr = (_fit_chroma(crop, half) for crop in crops)
        return luma[:height, :width], cb, cr

    def scaled_rgb(self, width: int, height: int) -> NDArray[np.uint8]:
        """Return the whole picture scaled, ``(height, width, 3)`` RGB uint8."""
        from av.video.reformatter import VideoReformatter

        sideways = self._rotation in (90, 270)
        frame = (self._scaler or VideoReformatter()).reformat(
            self._frame,
            width=height if sideways else width,
            height=width if sideways else height,
            format="rgb24",
            interpolation="AREA",
        )
        return self._rotate(_array(frame))

    def scaled_luma(self, width: int, height: int) -> NDArray[np.uint8]:
        """Return the whole picture's luma scaled down, ``(height, width)`` uint8, as coded."""
        import cv2

        plane = self._plane(0) if self._format.has_planes else self._gray
        sideways = self._rotation in (90, 270)
        size = (height, width) if sideways else (width, height)
        # Linear scaling is faster. At less than half the size, it would leave pixels out.
        method = cv2.INTER_LINEAR if 2 * size[0] > plane.shape[1] else cv2.INTER_AREA
        return self._rotate(_to_8_bits(cv2.resize(plane, size, interpolation=method), self._format.bits))

    def _plane(self, number: int) -> NDArray:
        """Return a view of one plane, ``(height, width)``, or ``(height, 2 * width)`` for interleaved chroma."""
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

    def _rgb_crop(self, bbox: BBox) -> NDArray[np.uint8]:
        """Return the colors of a rectangle of a picture without a luma plane, ``(height, width, 3)`` RGB uint8."""
        name = self._frame.format.name
        if name in _PLANAR_RGB:
            green, blue, red = (self._crop(self._plane(number), bbox) for number in range(3))
            return np.stack((red, green, blue), axis=2)
        if name not in _PACKED_RGB:
            return self._crop(self._rgb, bbox)
        plane, (size, places) = self._frame.planes[0], _PACKED_RGB[name]
        rows = np.frombuffer(cast("Any", plane), np.uint8).reshape(-1, plane.line_size)
        pixels = rows[: plane.height, : plane.width * size].reshape(plane.height, plane.width, size)
        return np.ascontiguousarray(self._crop(pixels, bbox)[..., places])

    def _crop(self, plane: NDArray, bbox: BBox) -> NDArray[np.uint8]:
        """Return a displayed rectangle of a coded plane of any subsampling, rotated and in 8 bits."""
        height, width = plane.shape[:2]
        x0, y0, x1, y1 = pixel_rectangle(_as_coded(bbox, self._rotation), width, height)
        crop = self._rotate(_to_8_bits(plane[y0:y1, x0:x1], self._format.bits))
        displayed = (self._frame.width, self._frame.height)
        if (displayed[::-1] if self._rotation in (90, 270) else displayed) == self._size:
            return crop
        return self._resized(crop, bbox)

    def _resized(self, crop: NDArray[np.uint8], bbox: BBox) -> NDArray[np.uint8]:
        """Return the crop of a picture of another resolution, scaled to the stream's."""
        import cv2

        x0, y0, x1, y1 = pixel_rectangle(bbox, *self._size)
        return np.asarray(cv2.resize(crop, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA), np.uint8)

    def _rotate(self, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(np.rot90(array, -(self._rotation // 90)) if self._rotation else array)

    @property
    def _is_full_range(self) -> bool:
        return int(self._frame.color_range) == _FULL_RANGE or self._format.is_full_range

    def _expand_luma(self, luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._is_full_range:
            return luma
        return np.clip((luma.astype(np.float32) - 16) * (255 / 219), 0, 255).astype(np.uint8)

    def _to_rgb(self, luma: NDArray, blue: NDArray, red: NDArray) -> NDArray[np.uint8]:
        """Convert YCbCr to RGB by the picture's own matrix and range (ITU-T H.273)."""
        full = self._is_full_range
        chroma_scale = 1.0 if full else 255 / 224
        bright = luma.astype(np.float32) if full else (luma.astype(np.float32) - 16) * (255 / 219)
        cb = (blue.astype(np.float32) - 128) * chroma_scale
        cr = (red.astype(np.float32) - 128) * chroma_scale
        matrix = int(self._frame.colorspace)
        if matrix == _UNSPECIFIED and self._size[1] >= _BT709_HEIGHT:
            matrix = _BT709
        weight_red, weight_blue = _LUMA_WEIGHTS.get(matrix, _BT601_WEIGHTS)
        weight_green = 1 - weight_red - weight_blue
        out = np.empty((*luma.shape, 3), np.float32)
        out[..., 0] = bright + 2 * (1 - weight_red) * cr
        out[..., 2] = bright + 2 * (1 - weight_blue) * cb
        out[..., 1] = (bright - weight_red * out[..., 0] - weight_blue * out[..., 2]) / weight_green
        return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def _fit_chroma(chroma: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a chroma plane at ``(width, height)``; a crop at odd luma pixels has one row or column more."""
    width, height = size
    if 0 <= chroma.shape[0] - height <= 1 and 0 <= chroma.shape[1] - width <= 1:
        return chroma[:height, :width]
    import cv2

    return np.asarray(cv2.resize(chroma, size, interpolation=cv2.INTER_AREA), np.uint8)


def _as_coded(bbox: BBox, rotation: int) -> BBox:
    """Return the coded rectangle that a displayed one becomes when the rotation is undone."""
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
