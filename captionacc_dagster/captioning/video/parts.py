"""Cut a part out of a video without encoding it again, and move what is found in it back to the video's own times."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from captionacc_dagster.captioning.captions import Caption, Word
from captionacc_dagster.captioning.video.containers import VideoError, open_video, video_stream
from captionacc_dagster.captioning.video.reader import probe

if TYPE_CHECKING:
    from av.packet import Packet

# Formats whose suffix says so are written as themselves; Matroska takes the streams of all others.
_MP4_SUFFIXES = frozenset({".mp4", ".m4v", ".mov"})


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a video in a file of its own.

    Attributes:
        path: the file; it begins with the last keyframe before the part and may end a few frames after it.
        start_s, end_s: the part, seconds of the whole video.
        start_frame, end_frame: the same in native frames of the whole video.
        offset_s: what to add to a time in the file.
        offset_frames: what to add to a frame number in the file.
    """

    path: Path
    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    offset_s: float
    offset_frames: int

    @property
    def name(self) -> str:
        """Which part it is, for file names: ``"10-80 s"``."""
        return f"{self.start_s:g}-{self.end_s:g} s"

    def in_whole(self, captions: Iterable[Caption]) -> list[Caption]:
        """Return the captions of the file that the part contains, with times and frames of the whole video."""
        moved = []
        for caption in captions:
            start, end = caption.start_s + self.offset_s, caption.end_s + self.offset_s
            if start < self.end_s and end > self.start_s:
                moved.append(
                    replace(
                        caption,
                        start_s=max(start, self.start_s),
                        end_s=min(end, self.end_s),
                        start_frame=max(caption.start_frame + self.offset_frames, self.start_frame),
                        end_frame=min(caption.end_frame + self.offset_frames, self.end_frame),
                        words=tuple(map(self._word, caption.words)),
                    )
                )
        return moved

    def _word(self, word: Word) -> Word:
        """Return a word with its times within the part; a highlight outside of it is none."""
        lit = None
        if word.highlight_start_s is not None and word.highlight_end_s is not None:
            lit = self._within(word.highlight_start_s), self._within(word.highlight_end_s)
        start, end = lit if lit is not None and lit[0] < lit[1] else (None, None)
        return replace(
            word,
            start_s=self._within(word.start_s),
            end_s=self._within(word.end_s),
            highlight_start_s=start,
            highlight_end_s=end,
        )

    def _within(self, time_s: float) -> float:
        return min(max(time_s + self.offset_s, self.start_s), self.end_s)


def cut_part(path: Path, start_s: float | None, end_s: float | None, folder: Path) -> Part:
    """Copy the frames of a part into a new file in ``folder``.

    Args:
        path: the video.
        start_s, end_s: the part, seconds; None: from the start, to the end.
        folder: where the file is written.

    Raises:
        VideoError: not a video, the part begins after its end, or its format does not allow cutting.
    """
    import av
    from av.error import FFmpegError

    facts = probe(path)
    start, end = start_s or 0.0, min(facts.duration_s, math.inf if end_s is None else end_s)
    if start >= facts.duration_s:
        raise VideoError(path, f"has only {facts.duration_s:.1f} s; the part would begin at {start:g} s")
    if not facts.has_timestamps:
        raise VideoError(path, "has no usable time stamps, so that no part can be cut out; process all of it")
    first_pts = facts.zero_pts + round(start / facts.time_base)
    end_pts = facts.zero_pts + round(end / facts.time_base)
    target = folder / ("part.mp4" if path.suffix.lower() in _MP4_SUFFIXES else "part.mkv")
    before = within = until_end = 0
    try:
        with (
            open_video(path) as source,
            av.open(str(target), "w", options={"fflags": "+bitexact"}) as copy,
        ):
            stream = video_stream(source, path, facts.stream_index)
            copied = copy.add_stream_from_template(stream)
            waiting: list[Packet] = []
            key_pts: int | None = None
            for packet in source.demux(stream):
                if packet.pts is None:
                    continue
                if packet.dts is not None and packet.dts >= end_pts:
                    break
                before += packet.pts < first_pts
                until_end += packet.pts < end_pts
                if packet.is_keyframe and packet.pts <= first_pts:
                    # Everything before the last keyframe is not needed to decode the part.
                    waiting, key_pts, within = [], packet.pts, 0
                if key_pts is None:
                    key_pts = packet.pts
                if packet.pts < key_pts:  # needs pictures before the keyframe
                    continue
                within += packet.pts < first_pts
                waiting.append(packet)
                # Matroska gives no decoding times for the first packets; they follow from the next ones.
                if packet.pts >= first_pts and packet.dts is not None:
                    _write(copy, copied, waiting, key_pts)
                    waiting = []
            _write(copy, copied, waiting, key_pts or 0)
    except (FFmpegError, ValueError, NotImplementedError) as error:
        raise VideoError(path, "no part of this format can be cut out; process all of it") from error
    if key_pts is None:
        raise VideoError(path, f"has no frame between {start:g} s and {end:g} s")
    part = probe(target)
    offset_s = float((key_pts - facts.zero_pts) * facts.time_base) - part.first_s
    return Part(target, start, end, before, until_end, offset_s, before - within)


def _write(copy: object, stream: object, packets: list[Packet], zero: int) -> None:
    following: int | None = None
    for packet in reversed(packets):
        if packet.dts is None:
            packet.dts = packet.pts if following is None else following - max(packet.duration or 1, 1)
        following = packet.dts
    for packet in packets:
        packet.pts, packet.dts = packet.pts - zero, packet.dts - zero  # type: ignore[operator]
        packet.stream = stream  # type: ignore[assignment]
        copy.mux(packet)  # type: ignore[attr-defined]
