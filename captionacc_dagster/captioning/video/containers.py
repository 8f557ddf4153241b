"""The files that FFmpeg opens: which are allowed, what their index says, and decoding past damage."""

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

# What may be opened: files that hold a video. Playlists and scripts (HLS, concat, ...) could name other
# files or hosts, and the demuxers of images and of plain text take a text file for a picture.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,mpegvideo,m4v,avi,flv,live_flv,asf,ogg,gif,"
    "ivf,h264,hevc,av1,obu,mxf,dv,nut,rm,wtv,yuv4mpegpipe,vc1,dirac,mjpeg,mpjpeg,swf,dhav,apng"
)
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
# Without a decoder FFmpeg does not decode the first pictures of a file that it opens, which takes fifty times as long
# as all the rest. Decoding has its own.
_QUICKLY = {"codec_whitelist": "none"}
_DAMAGED_READS = 16  # how often reading goes on behind damage before the rest is given up


class VideoError(Exception):
    """A file that cannot be used as a video; ``str()`` is one line, ``"clip.mp4: the file is empty"``."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path.name}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[VideoError], tuple[Path, str]]:
        return (VideoError, (self.path, self.reason))


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """What a container's index says: frames (0: it does not say), keyframes in ticks from the start."""

    frame_count: int
    keyframes: tuple[int, ...]
    last_keyframe: int | None


def open_video(path: Path, accelerator: HWAccel | None = None, *, quickly: bool = False) -> InputContainer:
    """Open a file with FFmpeg, or say in a VideoError why not; ``accelerator`` decodes instead of the CPU.

    ``quickly`` is for files whose `headers_suffice` enough: with others the first pictures may come in a wrong order.
    """
    import av
    from av.error import FFmpegError

    _refuse_by_file(path)
    try:
        return av.open(str(path.resolve()), options=_OPTIONS | (_QUICKLY if quickly else {}), hwaccel=accelerator)
    except FFmpegError as error:
        raise VideoError(path, _why_unreadable(path)) from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Give the first stream of moving pictures.

    Raises:
        VideoError: there is none, or its codec is unknown.
    """
    from av.stream import Disposition

    for stream in container.streams.video:
        # A song's cover is a video stream of one picture.
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                container.close()
                raise VideoError(path, "the video's codec is not supported")
            return stream
    kinds = {stream.type for stream in container.streams}
    container.close()
    raise VideoError(path, "holds audio only, no video" if "audio" in kinds else "holds no video")


def headers_suffice(path: Path, stream: VideoStream) -> bool:
    """Tell whether a file's headers say how large its pictures are and how their order changes, as decoding did."""
    try:
        with open_video(path, quickly=True) as container:
            known, context = video_stream(container, path).codec_context, stream.codec_context
            told = (known.width, known.height, known.has_b_frames)
    except VideoError:
        return False
    return told == (context.width, context.height, context.has_b_frames)


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
    """Tell an mp4 without its index from what is no video at all."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return "damaged or cut off: its index (the moov box) is missing"
    return "not a video file, or damaged beyond reading"


def decode(container: InputContainer, stream: VideoStream, *, strict: bool = False) -> Iterator[av.VideoFrame]:
    """Decode from here to the end; damaged packets are passed over, or, ``strict``, raise their FFmpegError."""
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
    """Decode the first displayed picture.

    Raises:
        VideoError: the stream holds none that can be decoded.
    """
    frame = next(decode(container, stream), None)
    if frame is None or not frame.width or not frame.height:
        raise VideoError(path, f"no picture could be decoded (codec {stream.codec_context.name})")
    return frame


def index_facts(container: InputContainer, stream: VideoStream, path: Path) -> IndexFacts:
    """Read the container's index, as far as the file really holds what it lists.

    Only mp4 and its kin list every frame; the entries' time stamps are decoding times, which run ahead of
    the display by a constant, so that they count from the first entry that is shown.
    """
    size = path.stat().st_size
    _seek(container, stream, 0)  # Matroska's index is read at the first seek
    entries = stream.index_entries
    held = [entry for entry in entries if entry.pos + entry.size <= size and not entry.is_discard]
    if not held:
        return IndexFacts(0, (), None)
    lists_every_frame = container.format.name.startswith("mov")
    first = held[0].timestamp
    keyframes = [entry.timestamp for entry in held if entry.is_keyframe]
    return IndexFacts(
        frame_count=len(held) if lists_every_frame and stream.frames else 0,
        keyframes=tuple(ticks - first for ticks in keyframes),
        last_keyframe=keyframes[-1] if keyframes else None,
    )


def last_pts(container: InputContainer, stream: VideoStream, index: IndexFacts) -> int | None:
    """Find where the last frame's display ends, in ticks, by reading (not decoding) the end of the file.

    The headers of a file that was cut off, or written by a live encoder, do not tell. Where the end cannot
    be reached by seeking, the whole file is read once.
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
    """Give a time near the end that the headers claim, in ticks."""
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
    """Read packets to the end; reading goes on behind damage, and a file cut off ends where it is cut."""
    from av.error import EOFError as EndOfFile
    from av.error import FFmpegError

    for _ in range(_DAMAGED_READS):
        try:
            for packet in container.demux(stream):
                if packet.dts is None and packet.pts is None and not packet.size:
                    return  # demux ends with an empty packet
                yield packet
        except EndOfFile:
            return
        except FFmpegError:
            continue
        return
