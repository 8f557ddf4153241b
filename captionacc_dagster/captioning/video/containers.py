"""Open video files with FFmpeg, read what their headers and index say, and decode past damage."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import av
    from av.codec.hwaccel import HWAccel
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Only formats that contain the video themselves. Playlists and scripts (HLS, concat, ...) could name other files or
# hosts, and FFmpeg's demuxers for images and plain text would take a text file for a picture.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,mpegvideo,m4v,avi,flv,live_flv,asf,ogg,gif,"
    "ivf,h264,hevc,av1,obu,mxf,dv,nut,rm,wtv,yuv4mpegpipe,vc1,dirac,mjpeg,mpjpeg,swf,dhav,apng"
)
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
# Without a decoder FFmpeg cannot decode the first pictures while it opens a file, which takes fifty times as long as
# the rest of opening. Decoders that are created later are not affected.
_SKIP_PROBING = {"codec_whitelist": "none"}
_DAMAGED_READS = 16  # attempts to continue after damage before the rest of a file is given up


class VideoError(Exception):
    """A file that cannot be used as a video; ``str()`` is one line, such as ``"clip.mp4: the file is empty"``."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path.name}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[VideoError], tuple[Path, str]]:
        return (VideoError, (self.path, self.reason))


@dataclass(frozen=True, slots=True)
class SampleTable:
    """The frames that an mp4 or mov lists in its sample table.

    Attributes:
        frame_count: frames that the file contains in full.
        missing: frames that are listed but lie behind the end of the file.
        keyframes: decoding times of the keyframes, in ticks from the first displayed frame's.
        last_keyframe: decoding time of the last keyframe, in ticks.
        longest_step: the longest time between two frames, in ticks.
    """

    frame_count: int
    missing: int
    keyframes: tuple[int, ...]
    last_keyframe: int
    longest_step: int


def open_video(
    path: Path, accelerator: HWAccel | None = None, *, skip_probing: bool = False, file: BinaryIO | None = None
) -> InputContainer:
    """Open a file with FFmpeg.

    Args:
        path: the file.
        accelerator: decodes instead of the CPU.
        skip_probing: do not decode the first pictures while opening. Only for files whose `headers_suffice`; in others
            the first pictures may come in the wrong order.
        file: the content, where it is not a file of this machine; ``path`` is then its name only.

    Raises:
        VideoError: the file is missing, unreadable, empty, or no video.
    """
    import av
    from av.error import FFmpegError

    options = _OPTIONS | (_SKIP_PROBING if skip_probing else {})
    if file is not None:
        try:
            return av.open(file, "r", options=options)
        except FFmpegError as error:
            raise VideoError(path, "not a video file, or damaged beyond reading") from error
    _refuse_by_file(path)
    try:
        return av.open(_openable(path.resolve()), "r", options=options, hwaccel=accelerator)
    except FFmpegError as error:
        raise VideoError(path, _why_unreadable(path)) from error


def _openable(path: Path) -> str | BinaryIO:
    """Return the name of a file, or the open file if its name is not UTF-8, the only encoding that PyAV passes on."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return path.open("rb")
    return str(path)


def video_stream(container: InputContainer, path: Path, index: int | None = None) -> VideoStream:
    """Return the main stream of moving pictures.

    Cover pictures are left out. Streams that a decoder exists for come first, then the one that the file marks as
    default, then the one with the largest picture, then the first: the choice of FFmpeg and mpv.

    Args:
        container: an open video, which is closed where there is no stream to return.
        path: its file.
        index: return the stream of this index, chosen before; sizes may be unknown without probing.

    Raises:
        VideoError: there is no video stream, or FFmpeg does not know its codec.
    """
    from av.stream import Disposition

    if index is not None:
        return container.streams.video[[stream.index for stream in container.streams.video].index(index)]
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if decodable:
        return max(decodable, key=lambda stream: (bool(stream.disposition & Disposition.default), _pixels(stream)))
    kinds = {stream.type for stream in container.streams}
    container.close()
    if streams:
        raise VideoError(path, "the video's codec is not supported")
    raise VideoError(path, "contains audio only, no video" if "audio" in kinds else "contains no video")


def _pixels(stream: VideoStream) -> int:
    return stream.codec_context.width * stream.codec_context.height


def headers_suffice(path: Path, stream: VideoStream) -> bool:
    """Return whether a file's headers alone give the picture size and the reordering that decoding found."""
    try:
        with open_video(path, skip_probing=True) as container:
            unprobed, context = video_stream(container, path, stream.index).codec_context, stream.codec_context
            by_headers = (unprobed.width, unprobed.height, unprobed.has_b_frames)
    except VideoError:
        return False
    return by_headers == (context.width, context.height, context.has_b_frames)


def _refuse_by_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise VideoError(path, "is a directory, not a video file")
        if not path.exists():
            raise VideoError(path, "no such file")
        if not path.is_file():
            raise VideoError(path, "is not a regular file")
        with path.open("rb") as file:
            if not file.read(1):
                raise VideoError(path, "the file is empty")
    except OSError as error:
        raise VideoError(path, f"cannot be read ({(error.strerror or 'I/O error').lower()})") from error


def _why_unreadable(path: Path) -> str:
    """Return the reason: an mp4 without its index, or no video at all."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return "damaged or cut off: its index (the moov box) is missing"
    return "not a video file, or damaged beyond reading"


def decode(
    container: InputContainer,
    stream: VideoStream,
    *,
    strict: bool = False,
    is_wanted: Callable[[int], bool] | None = None,
) -> Iterator[av.VideoFrame]:
    """Decode from the current position to the end.

    Args:
        container, stream: an open video and its stream.
        strict: raise the FFmpegError of a damaged packet instead of skipping the packet.
        is_wanted: whether the frame of a time stamp is needed for itself; asked before it is decoded. Others are left
            out if no other frame is built from them. Only for a decoder of one thread.
    """
    from av.error import FFmpegError

    context, decodes_all = stream.codec_context, True
    if is_wanted is not None:
        context.skip_frame = "DEFAULT"  # pyright: ignore[reportAttributeAccessIssue]
    for packet in itertools.chain(packets(container, stream), (None,)):
        if is_wanted is not None and packet is not None:
            wanted = packet.pts is None or is_wanted(packet.pts)
            if wanted != decodes_all:
                context.skip_frame = "DEFAULT" if wanted else "NONREF"  # pyright: ignore[reportAttributeAccessIssue]
                decodes_all = wanted
        try:
            pictures = stream.decode(packet)
        except FFmpegError:
            if strict:
                raise
            continue
        yield from pictures


def first_frame(container: InputContainer, stream: VideoStream, path: Path) -> av.VideoFrame:
    """Return the first displayed picture.

    Raises:
        VideoError: no picture can be decoded.
    """
    frame = next(decode(container, stream), None)
    if frame is None or not frame.width or not frame.height:
        raise VideoError(path, f"no picture could be decoded (codec {stream.codec_context.name})")
    return frame


def has_sample_table(container: InputContainer, stream: VideoStream) -> bool:
    """Return whether the file is an mp4 or mov that lists the stream's frames in one table, not in fragments."""
    return container.format.name.startswith("mov") and stream.frames > 0


def sample_table(container: InputContainer, stream: VideoStream, path: Path) -> SampleTable | None:
    """Return what the sample table of an mp4 or mov says; None where the file has none, as in other containers.

    Entries carry decoding times, which differ from display times by a constant.
    """
    if not has_sample_table(container, stream):
        return None
    size = path.stat().st_size
    entries = [entry for entry in stream.index_entries if not entry.is_discard]
    present = [entry for entry in entries if entry.pos + entry.size <= size]
    keyframes = [entry.timestamp for entry in present if entry.is_keyframe]
    if not keyframes:
        return None
    times = [entry.timestamp for entry in present]
    return SampleTable(
        frame_count=len(present),
        missing=len(entries) - len(present),
        keyframes=tuple(ticks - times[0] for ticks in keyframes),
        last_keyframe=keyframes[-1],
        longest_step=max((after - before for before, after in itertools.pairwise(times)), default=0),
    )


def end_pts(container: InputContainer, stream: VideoStream, last_keyframe: int) -> int | None:
    """Return when the last frame's display ends, in ticks, by reading (not decoding) from the last keyframe on."""
    if not _seek(container, stream, last_keyframe):
        return None
    end: int | None = None
    shortest: int | None = None
    previous: int | None = None
    for packet in packets(container, stream):
        at = packet.pts if packet.pts is not None else packet.dts
        if at is None or packet.is_discard:
            continue
        if previous is not None and at != previous:
            step = abs(at - previous)
            shortest = step if shortest is None else min(shortest, step)
        previous = at
        length = packet.duration or shortest or _ticks_per_frame(stream)
        end = at + length if end is None else max(end, at + length)
    return end


def _ticks_per_frame(stream: VideoStream) -> int:
    return max(1, round(1 / (nominal_rate(stream) * stream.time_base))) if stream.time_base else 1


def nominal_rate(stream: VideoStream) -> Fraction:
    """Return the frame rate that the headers claim, frames per second; 25 where they claim none, as FFmpeg does."""
    return stream.average_rate or stream.guessed_rate or stream.base_rate or Fraction(25)


def _seek(container: InputContainer, stream: VideoStream, ticks: int) -> bool:
    from av.error import FFmpegError

    try:
        container.seek(ticks, stream=stream, backward=True)
    except FFmpegError:
        return False
    return True


def packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """Read packets to the end. Reading continues after damage; a file that was cut off ends where it is cut."""
    from av.error import EOFError as EndOfFile
    from av.error import FFmpegError

    for _ in range(_DAMAGED_READS):
        try:
            for packet in container.demux(stream):
                if packet.dts is None and packet.pts is None and not packet.size:
                    return  # PyAV's demux ends with an empty packet
                yield packet
        except EndOfFile:
            return
        except FFmpegError:
            continue
        return
