"""Renders a clip and its truth into a cache folder; a clip with the same sources and seed is used again."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.captions.backgrounds import Background
from benchmarks.captions.distractors import make_distractors
from benchmarks.captions.lettering import Letterer, Patch, is_vertical
from benchmarks.captions.script import Event, write_script
from benchmarks.captions.sources import source_hash
from benchmarks.captions.specs import ClipSpec, TrackSpec

_SOURCES = ("backgrounds", "corpus", "distractors", "fonts", "lettering", "render", "script", "specs")
TICKS = 90_000


@dataclass(frozen=True, slots=True)
class Clip:
    """A rendered clip: the video and its truth (see docs/benchmark.md for the truth's conventions)."""

    name: str
    video: Path
    truth: Path


class Encoding(Protocol):
    """How a clip is encoded: size in pixels, frames per second, ``h264`` or ``vp9``, and its quality."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def rate(self) -> Fraction: ...
    @property
    def codec(self) -> str: ...
    @property
    def crf(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Lettered:
    """A caption of the truth with its pixels."""

    event: Event
    text: str
    track: str
    patch: Patch


def render_clips(specs: list[ClipSpec], folder: Path, jobs: int) -> list[Clip]:
    """Render the clips that ``folder`` lacks, in parallel processes; in the order of ``specs``."""
    folder.mkdir(parents=True, exist_ok=True)
    if jobs <= 1:
        return [render_clip(spec, folder) for spec in specs]
    with ProcessPoolExecutor(jobs) as pool:
        return list(pool.map(render_clip, specs, [folder] * len(specs)))


def render_clip(spec: ClipSpec, folder: Path) -> Clip:
    """Render one clip unless ``folder`` has it with the same sources and specification."""
    key = hashlib.sha256((_source_hash() + repr(spec)).encode()).hexdigest()[:16]
    home = folder / f"{spec.name}-{key}"
    clip = Clip(spec.name, home / spec.file_name, home / f"{spec.name}.truth.json")
    if clip.truth.exists():
        return clip
    home.mkdir(parents=True, exist_ok=True)
    unfinished = clip.video.with_name("unfinished" + clip.video.suffix)
    captions, length = _letter(spec)
    encode(spec, _frames(spec, captions, length), _timestamps(spec, length), unfinished)
    truth = _truth(spec, captions, read_times(unfinished, length))
    unfinished.replace(clip.video)
    clip.truth.write_text(json.dumps(truth, ensure_ascii=False, indent=1), encoding="utf-8")
    return clip


@cache
def _source_hash() -> str:
    folder = Path(__file__).parent
    return source_hash([folder / f"{name}.py" for name in _SOURCES])


def _letter(spec: ClipSpec) -> tuple[list[_Lettered], int]:
    """Write and letter the captions of every track; return them and the length of the clip in frames."""
    rng = random.Random(spec.seed)
    rate = float(spec.rate)
    captions: list[_Lettered] = []
    for track in spec.tracks:
        letterer = _letterer(track, spec)
        for event in write_script(track, rate, rng):
            text = letterer.break_lines(event.text, "two-lines" in event.kinds)
            captions.append(_Lettered(event, text, track.position, letterer.letter(text)))
    last = max((caption.event.drawn[1] for caption in captions), default=round(spec.seconds * rate))
    runs_to_end = any(track.runs_to_end for track in spec.tracks)
    length = last if runs_to_end or not captions else last + round(rng.uniform(0.6, 1.5) * rate)
    return sorted(captions, key=lambda caption: (caption.event.start, caption.event.end)), length


def _letterer(track: TrackSpec, spec: ClipSpec) -> Letterer:
    widest = 0.6 if "watermark" in spec.distractors else 0.86
    lift = 0.11 if "ticker" in spec.distractors else 0.06
    return Letterer(track, spec.width, spec.height, widest, lift)


def _frames(spec: ClipSpec, captions: list[_Lettered], length: int) -> Iterator[NDArray[np.uint8]]:
    """Yield every frame as RGB (h, w, 3)."""
    rate = float(spec.rate)
    background = Background(
        spec.background,
        spec.width,
        spec.height,
        rate,
        length,
        [caption.event.cut for caption in captions if caption.event.cut is not None],
        "signs" in spec.distractors,
        random.Random(spec.seed + 1),
    )
    draws = make_distractors(spec.distractors, spec.width, spec.height, rate)
    for at in range(length):
        frame = background.frame(at)
        for draw in draws:
            draw(frame, at)
        for caption in captions:
            event = caption.event
            if event.drawn[0] <= at < event.drawn[1]:
                sung = (at - event.start) / (event.end - event.start) if event.karaoke else 0.0
                caption.patch.blend(frame, event.opacity(at), max(0.0, sung))
        yield frame


def _timestamps(spec: ClipSpec, length: int) -> list[int]:
    """Return the time of each frame in `TICKS`; steps of a variable frame rate differ by a factor of up to four."""
    step = TICKS / spec.rate
    if not spec.vfr:
        return [round(at * step) for at in range(length)]
    rng = random.Random(spec.seed + 2)
    times, at = [], 0
    while len(times) < length:
        factor = rng.choice((0.5, 0.75, 1.0, 1.0, 1.25, 2.0))
        for _ in range(rng.randint(5, 40)):
            times.append(at)
            at += round(step * factor)
    return times[:length]


def encode(spec: Encoding, frames: Iterator[NDArray[np.uint8]], times: list[int], path: Path) -> None:
    """Encode RGB frames ``(h, w, 3)`` with the times of their display in `TICKS`."""
    import av

    options: dict[str, object] = {"crf": str(spec.crf)}
    if spec.codec == "vp9":
        options |= {"b": "0", "deadline": "realtime", "cpu-used": "7", "row-mt": "1"}
    else:
        options |= {"preset": "veryfast"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9" if spec.codec == "vp9" else "libx264", rate=spec.rate)
        stream.width, stream.height, stream.pix_fmt = spec.width, spec.height, "yuv420p"
        stream.options = options
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = 120
        stream.codec_context.time_base = Fraction(1, TICKS)
        for pixels, pts in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def read_times(path: Path, length: int) -> list[float]:
    """Return the time of every frame and the end of the last one from the file, in seconds from the first frame."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.pts is not None]
        base = stream.time_base
    if len(packets) != length or base is None:
        raise RuntimeError(f"{path.name}: wrote {length} frames, the file has {len(packets)}")
    ordered = sorted(int(packet.pts or 0) for packet in packets)
    last = next(packet for packet in packets if packet.pts == ordered[-1])
    ordered.append(ordered[-1] + (last.duration or ordered[-1] - ordered[-2]))
    return [float((pts - ordered[0]) * base) for pts in ordered]


def _truth(spec: ClipSpec, captions: list[_Lettered], times: list[float]) -> dict[str, Any]:
    frame_count = len(times) - 1
    return {
        "video": {
            "file": spec.file_name,
            "width": spec.width,
            "height": spec.height,
            "duration_s": round(times[-1], 6),
            "frame_rate": float(spec.rate),
            "frame_count": frame_count,
            "variable_frame_rate": spec.vfr,
            "codec": spec.codec,
            "crf": spec.crf,
            "background": spec.background,
            "distractors": list(spec.distractors),
        },
        "frame_times_s": [round(time, 6) for time in times],
        "captions": [_truth_of(caption, times, spec) for caption in captions],
    }


def _truth_of(caption: _Lettered, times: list[float], spec: ClipSpec) -> dict[str, Any]:
    event = caption.event
    left, top, right, bottom = caption.patch.letters
    end = min(event.end, len(times) - 1)
    return {
        "start_s": round(times[event.start], 6),
        "end_s": round(times[end], 6),
        "start_frame": event.start,
        "end_frame": end,
        "text": caption.text,
        "bbox": {
            "left": round(left / spec.width, 5),
            "top": round(top / spec.height, 5),
            "right": round(right / spec.width, 5),
            "bottom": round(bottom / spec.height, 5),
        },
        "track": caption.track,
        "vertical": any(is_vertical(track) for track in spec.tracks if track.position == caption.track),
        "fade_in_frames": event.fade_in,
        "fade_out_frames": event.fade_out,
        "kinds": list(event.kinds),
    }
