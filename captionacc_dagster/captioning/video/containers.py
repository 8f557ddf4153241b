"""Open video files with FFmpeg, read what their headers and index say, and decode past damage."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
class IndexFacts:
    """What a container's index says.

    Attributes:
        frame_count: the frames it lists; 0 where it does not list every frame.
        keyframes: times of the keyframes, in ticks from the first frame.
        last_keyframe: time stamp of the last keyframe, in ticks.
    """

    frame_count: int
    keyframes: tuple[int, ...]
    last_keyframe: int | None


def open_video(path: Path, accelerator: HWAccel | None = None, *, skip_probing: bool = False) -> InputContainer:
    """Open a file with FFmpeg.

    Args:
        path: the file.
        accelerator: decodes instead of the CPU.
        skip_probing: do not decode the first pictures while opening. Only for files whose `headers_suffice`; in others
            the first pictures may come in the wrong order.

    Raises:
        VideoError: the file is missing, unreadable, empty, or no video.
    """
    import av
    from av.error import FFmpegError

    _refuse_by_file(path)
    try:
        options = _OPTIONS | (_SKIP_PROBING if skip_probing else {})
        return av.open(str(path.resolve()), options=options, hwaccel=accelerator)
    except FFmpegError as error:
        raise VideoError(path, _why_unreadable(path)) from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the first stream of moving pictures.

    Raises:
        VideoError: there is none, or FFmpeg does not know its codec.
    """
    from av.stream import Disposition

    for stream in container.streams.video:
        # The cover of a song is a video stream of one picture.
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                container.close()
                raise VideoError(path, "the video's codec is not supported")
            return stream
    kinds = {stream.type for stream in container.streams}
    container.close()
    raise VideoError(path, "contains audio only, no video" if "audio" in kinds else "contains no video")


def headers_suffice(path: Path, stream: VideoStream) -> bool:
    """Return whether a file's headers alone give the picture size and the reordering that decoding found."""
    try:
        with open_video(path, skip_probing=True) as container:
            unprobed, context = video_stream(container, path).codec_context, stream.codec_context
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


def decode(container: InputContainer, stream: VideoStream, *, strict: bool = False) -> Iterator[av.VideoFrame]:
    """Decode from the current position to the end.

    Args:
        container, stream: an open video and its stream.
        strict: raise the FFmpegError of a damaged packet instead of skipping the packet.
    """
    from av.error import FFmpegError

    for packet in itertools.chain(_packets(container, stream), (None,)):
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


def index_facts(container: InputContainer, stream: VideoStream, path: Path) -> IndexFacts:
    """Return what the container's index says of the frames that the file contains in full.

    Only mp4 and its relatives list every frame. Entries carry decoding times, which differ from display times by a
    constant; therefore keyframes count from the first displayed entry.
    """
    size = path.stat().st_size
    _seek(container, stream, 0)  # FFmpeg reads Matroska's index at the first seek
    entries = stream.index_entries
    present = [entry for entry in entries if entry.pos + entry.size <= size and not entry.is_discard]
    if not present:
        return IndexFacts(0, (), None)
    lists_every_frame = container.format.name.startswith("mov")
    first = present[0].timestamp
    keyframes = [entry.timestamp for entry in present if entry.is_keyframe]
    return IndexFacts(
        frame_count=len(present) if lists_every_frame and stream.frames else 0,
        keyframes=tuple(ticks - first for ticks in keyframes),
        last_keyframe=keyframes[-1] if keyframes else None,
    )


def last_pts(container: InputContainer, stream: VideoStream, index: IndexFacts) -> int | None:
    """Return the time at which the last frame's display ends, in ticks; None where no packet has a time.

    The end of the file is read, not decoded: the headers of a file that was cut off, or written by a live encoder, do
    not give its end. Where seeking does not reach the end, the whole file is read once.
    """
    for start in (index.last_keyframe, _by_header(container, stream), None):
        if start is None and index.last_keyframe is None and not _seek(container, stream, 0):
            continue
        if start is not None and not _seek(container, stream, start):
            continue
        end = _read_to_end(container, stream)
        if end is not None:
            return end
    return None


def _by_header(container: InputContainer, stream: VideoStream) -> int | None:
    """Return the end that the headers claim, in ticks, or None."""
    if stream.duration and stream.time_base:
        return (stream.start_time or 0) + stream.duration
    if container.duration and stream.time_base:
        return round(container.duration / 1_000_000 / stream.time_base)
    return None


def _seek(container: InputContainer, stream: VideoStream, ticks: int) -> bool:
    from av.error import FFmpegError

    try:
        container.seek(ticks, stream=stream, backward=True)
    except FFmpegError:
        return False
    return True


def _read_to_end(container: InputContainer, stream: VideoStream) -> int | None:
    end: int | None = None
    shortest: int | None = None
    previous: int | None = None
    for packet in _packets(container, stream):
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
    rate = stream.average_rate or stream.guessed_rate
    return round(1 / (rate * stream.time_base)) if rate and stream.time_base else 1


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
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
