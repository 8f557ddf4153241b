"""When captions begin and end, and what they say: one pass over every native frame of a video."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from captionacc_dagster.captioning.captions import Caption, Kind, Progress, Timeline, Word, side_track, sort_cues
from captionacc_dagster.captioning.extents.boxes import unboxed_warnings
from captionacc_dagster.captioning.extents.capital_i import restore_capital_i
from captionacc_dagster.captioning.extents.labels import label_pairs
from captionacc_dagster.captioning.extents.marked_letters import confused_letters_warnings
from captionacc_dagster.captioning.extents.merging import FoundCaption, TimedWord
from captionacc_dagster.captioning.extents.opening_marks import restore_opening_marks
from captionacc_dagster.captioning.extents.overlapping import overlap_warnings
from captionacc_dagster.captioning.extents.reading import calibrated
from captionacc_dagster.captioning.extents.strokes import Plane
from captionacc_dagster.captioning.extents.track_captions import TrackCaptions
from captionacc_dagster.captioning.extents.track_scripts import unread_warnings
from captionacc_dagster.captioning.extents.word_timing import are_spoken
from captionacc_dagster.captioning.extents.words import ReadLine
from captionacc_dagster.captioning.files.chunks import ChunkWriter
from captionacc_dagster.captioning.files.word_json import fit_words
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.model import Layout
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.video.reader import NativeFrame, VideoFacts, map_native_frames
from captionacc_dagster.captioning.video.shots import ShotFinder

_PROGRESS_FRAMES = 50


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a video that is processed by itself.

    Attributes:
        start_s, end_s: the part, seconds; None: to the end.
        first_sample, end_sample: the cropped frames that belong to it, half-open; None: to the end.
    """

    start_s: float = 0.0
    end_s: float | None = None
    first_sample: int = 0
    end_sample: int | None = None


@dataclass(frozen=True, slots=True)
class WindowResult:
    """What was found in a window. Frame numbers count from its first frame.

    Attributes:
        captions: of every track, track by track.
        times: of every native frame, seconds.
        shown: the native frame that each of its cropped frames shows.
        end_s: when its last frame ends, seconds.
        recognitions, seconds, cuts_s: see :class:`Timeline`.
        unboxed_s: when texts begin that were left out because they are on no box, seconds.
        unparted_s: when captions begin of which it cannot be told whether they are two over each other, seconds.
        confused_languages: of the captions (BCP 47), of which some letters are often read as others.
    """

    captions: list[Caption]
    times: list[float]
    shown: list[int]
    end_s: float
    recognitions: int
    seconds: dict[str, float]
    cuts_s: list[float]
    unboxed_s: list[float]
    unparted_s: list[float]
    confused_languages: list[str]


def find_captions(
    facts: VideoFacts,
    layout: Layout,
    engine: OcrEngine,
    frame_rate: float = 10.0,
    *,
    chunks_dir: Path | None = None,
    progress: Progress | None = None,
) -> Timeline:
    """Find every caption of a video in one pass over its native frames, in constant memory.

    Args:
        facts: the video.
        layout: where captions appear; without tracks there are none.
        engine: reads lines.
        frame_rate: rate of the cropped frames and their labels, per second.
        chunks_dir: the folder for WebM chunks of the crop region; None writes none.
        progress: called with ``("captions", frames done, frames in all)``.

    Raises:
        VideoError: the file can no longer be opened.
        ValueError: ``frame_rate`` is not positive.
    """
    result = follow(facts, layout, engine, frame_rate, chunks_dir=chunks_dir, progress=progress)
    tracks = sorted({caption.track for caption in result.captions})
    spans = [
        [(c.start_frame, c.end_frame, c.extent_confidence) for c in result.captions if c.track == track]
        for track in tracks
    ]
    return Timeline(
        captions=tuple(sort_cues(result.captions)),
        pairs=tuple(label_pairs(spans, result.shown)),
        cropped_frame_count=len(result.shown),
        native_frame_count=len(result.times),
        ocr_recognitions=result.recognitions,
        seconds=result.seconds,
        warnings=(
            *unread_warnings(result.captions),
            *confused_letters_warnings(result.confused_languages),
            *unboxed_warnings(result.unboxed_s),
            *overlap_warnings(result.unparted_s),
        ),
        cuts_s=tuple(result.cuts_s),
    )


def follow(
    facts: VideoFacts,
    layout: Layout,
    engine: OcrEngine,
    frame_rate: float,
    *,
    window: Window = Window(),
    chunks_dir: Path | None = None,
    progress: Progress | None = None,
) -> WindowResult:
    """Find the captions of a window of a video; arguments and errors as of :func:`find_captions`."""
    if not frame_rate > 0:
        raise ValueError(f"a frame rate must be positive, got {frame_rate}")
    if not layout.tracks and layout.crop_region is None:
        return _nothing_to_follow(facts, window, progress)
    tracks = [TrackCaptions.of(facts, layout, track, engine) for track in layout.tracks]
    times: list[float] = []
    shown: list[int] = []
    began = time.process_time()
    main_began = time.thread_time()
    ends_s = min(window.end_s or facts.duration_s, facts.duration_s)
    expected = max(1, round((ends_s - window.start_s) * facts.frame_rate))
    with ExitStack() as stack:
        writer = None
        if chunks_dir is not None and layout.crop_region is not None:
            line_px = min((track.line_px for track in tracks), default=0.0)
            writer = stack.enter_context(ChunkWriter(chunks_dir, frame_rate, line_px))
        sampler = _CroppedFrames(layout.crop_region, window, frame_rate, writer, shown)
        rois = _RoiCutter([track.roi.region for track in tracks], sampler)
        frames = map_native_frames(facts, rois.cut, start_s=window.start_s, end_s=window.end_s)
        stack.enter_context(closing(frames))  # the decoder must end before the encoder that it feeds
        displayed: list[Plane] = []  # until the time of the next frame is known
        for time_s, pictures in frames:
            if progress is not None and len(times) % _PROGRESS_FRAMES == 0:
                progress("captions", min(len(times), expected), expected)
            for track, picture in zip(tracks, displayed, strict=False):
                track.push(picture, times[-1], time_s)
            times.append(time_s)
            displayed = pictures
        end_s = _end(times, facts, window)
        for track, picture in zip(tracks, displayed, strict=False):
            track.push(picture, times[-1], end_s)
        sampler.show(rois.last, until_s=end_s)
        for track in tracks:
            track.finish()
        rois.shots.finish()
    if progress is not None:
        progress("captions", len(times), len(times))
    ocr = sum(track.reader.ocr_seconds for track in tracks)
    encode = writer.seconds if writer is not None else 0.0
    analysis = time.thread_time() - main_began - ocr
    return WindowResult(
        captions=[caption for track in tracks for caption in _captions(track, _kind(track, tracks), times, end_s)],
        times=times,
        shown=shown,
        end_s=end_s,
        recognitions=sum(track.reader.recognitions for track in tracks),
        seconds={
            "decode": max(0.0, time.process_time() - began - analysis - ocr - encode),
            "analysis": analysis,
            "ocr": ocr,
            "encode": encode,
        },
        cuts_s=rois.shots.starts_s,
        unboxed_s=[times[track.ticks.native_frame(tick)] for track in tracks for tick in track.unboxed_starts],
        unparted_s=[times[track.ticks.native_frame(tick)] for track in tracks for tick in track.unparted_starts],
        confused_languages=sorted({language for track in tracks for language in track.reader.confused_languages}),
    )


def _nothing_to_follow(facts: VideoFacts, window: Window, progress: Progress | None) -> WindowResult:
    """Return an empty result without decoding: there is no track, and nothing to show."""
    if progress is not None:
        progress("captions", 1, 1)
    seconds = {"decode": 0.0, "analysis": 0.0, "ocr": 0.0, "encode": 0.0}
    return WindowResult([], [], [], _end([], facts, window), 0, seconds, [], [], [], [])


@dataclass(slots=True)
class _CroppedFrames:
    """Samples the crop region evenly: each cropped frame shows the region at its time."""

    region: BBox | None
    window: Window
    frame_rate: float
    writer: ChunkWriter | None
    shown: list[int]

    def show(self, frame: NativeFrame | None, *, until_s: float) -> None:
        """Use ``frame`` for all cropped frames that are due before ``until_s``."""
        if self.region is None or frame is None:
            return
        while (number := self.window.first_sample + len(self.shown)) / self.frame_rate < until_s - 1e-6:
            if self.window.end_sample is not None and number >= self.window.end_sample:
                return
            if self.writer is not None:
                self.writer.write(number, frame.yuv420(self.region))
            self.shown.append(frame.index)


@dataclass(slots=True)
class _RoiCutter:
    """Cuts the regions of the tracks out of each frame. The decoder calls it, so that no decoded picture waits."""

    regions: list[BBox]
    sampler: _CroppedFrames
    shots: ShotFinder = field(default_factory=ShotFinder)
    last: NativeFrame | None = None

    def cut(self, frame: NativeFrame) -> tuple[float, list[Plane]]:
        """Return a frame's time and its luma in each region; show the frame before it until then."""
        self.sampler.show(self.last, until_s=frame.time_s)
        self.shots.show(frame)
        self.last = frame
        crops = [frame.luma(region) for region in self.regions]
        # A view would keep the whole decoded frame alive.
        return frame.time_s, [crop if crop.base is None else crop.copy() for crop in crops]


def _end(times: list[float], facts: VideoFacts, window: Window) -> float:
    """Return when the last frame ends, seconds."""
    if not times:
        return facts.duration_s
    step = facts.step_s
    if len(times) > 1:
        step = max(times[-1] - times[-2], 1e-3)
    last = times[-1] + min(step, facts.step_s)
    return max(facts.duration_s, last) if window.end_s is None else last


def _kind(track: TrackCaptions, tracks: Sequence[TrackCaptions]) -> Kind:
    """Return what the text of a track is: in place of captions, what comes word by word is no name plate."""
    kind = track.track.kind
    has_captions = any(other.track.kind == "caption" for other in tracks)
    return "caption" if kind == "lower_third" and not has_captions and are_spoken(track.found) else kind


def _captions(track: TrackCaptions, kind: Kind, times: list[float], end_s: float) -> list[Caption]:
    texts = restore_capital_i(restore_opening_marks([item.reading.text for item in track.found]))
    captions = []
    for item, text in zip(track.found, texts, strict=True):
        start = track.ticks.native_frame(item.start)
        end = max(start + 1, track.ticks.native_frame(item.end))

        def time_of(tick: int) -> float:
            frame = track.ticks.native_frame(tick)
            return times[frame] if frame < len(times) else end_s

        caption = Caption(
            start_s=times[start],
            end_s=times[end] if end < len(times) else end_s,
            start_frame=start,
            end_frame=end,
            text=text,
            confidence=calibrated(item.reading.confidence),
            bbox=item.bbox,
            track=side_track(track.track.name, item.side),
            kind=kind,
            extent_confidence=item.extent_confidence,
            lang=item.reading.lang,
            script=item.reading.script,
            unread=item.reading.is_unread,
            words=fit_words(text, [_word(word, time_of) for word in item.words]),
        )
        captions.append(caption)
        captions += [_context_line(track, caption, item, line) for line in item.context]
    return captions


def _context_line(track: TrackCaptions, caption: Caption, item: FoundCaption, line: ReadLine) -> Caption:
    """Return a dimmed line as a text of its own, visible as long as the caption beside it."""
    is_above = bool(item.reading.lines) and line.box[1] < item.reading.lines[0].box[1]
    return replace(
        caption,
        text=line.text,
        bbox=track.place_in_picture(line.box),
        track=f"{caption.track}-{'above' if is_above else 'below'}",
        kind="context",
        words=(),
    )


def _word(word: TimedWord, time_of: Callable[[int], float]) -> Word:
    start_s, end_s = (time_of(tick) for tick in word.highlight) if word.highlight else (None, None)
    return Word(
        text=word.text,
        start_s=time_of(word.start),
        end_s=time_of(word.end),
        bbox=word.bbox,
        highlight_start_s=start_s,
        highlight_end_s=end_s,
    )
