"""``python -m training.glyph_mask.evaluate``: the network against the classical mask, on the benchmark's dev clips.

Three questions: which pixels are strokes; does a caption stand in a window at all; do two windows show the same
caption, where others differ in one character only.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.captions.__main__ import bench_folder
from benchmarks.captions.clips import clips_of
from benchmarks.captions.lettering import Letterer, Patch
from benchmarks.captions.render import render_clip
from benchmarks.captions.script import Event, write_script
from benchmarks.captions.specs import ClipSpec
from captionacc_dagster.captioning.extents.glyph_mask import statistics, stroke_map
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.video.reader import native_frames, probe

_LINE_PX = 28
_WINDOW_S = 0.2
_WINDOW_FRAMES = 5

Plane = NDArray[np.uint8]
Map = NDArray[np.float32]


@dataclass(slots=True)
class _Look:
    """A window of a track: its native frames, the caption that it shows (None: nothing), and the frames' ROIs."""

    numbers: tuple[int, ...]
    caption: int | None
    strokes: Map | None = None
    rois: list[Plane] = field(default_factory=list)


@dataclass(slots=True)
class _Sample:
    """The questions for one track: windows, and pairs that show one caption or differ in a character."""

    looks: list[_Look]
    same: list[tuple[int, int]]
    different: list[tuple[int, int]]


def _window(start: float, end: float, rate: float) -> tuple[int, ...] | None:
    """Return the frames of a window in the middle of a stretch, None if it is too short."""
    length = min(max(3, round(_WINDOW_S * rate)), int(end - start))
    if length < 3:
        return None
    first = start + (end - start - length) / 2
    chosen = np.linspace(first, first + length - 1, min(_WINDOW_FRAMES, length)).round().astype(int)
    return tuple(int(number) for number in chosen)


def _ask(events: Sequence[Event], rate: float, length: int) -> _Sample:
    """Choose the windows of a track."""
    sample = _Sample([], [], [])
    halves: dict[tuple[int, int], int] = {}
    for number, event in enumerate(events):
        start, end = event.start + event.fade_in // 2 + 1, event.end - event.fade_out // 2 - 1
        middle = (start + end) // 2
        for half, (low, high) in enumerate(((start, middle), (middle, end))):
            window = _window(low, high, rate)
            if window:
                halves[number, half] = len(sample.looks)
                sample.looks.append(_Look(window, number))
        if (number, 0) in halves and (number, 1) in halves:
            sample.same.append((halves[number, 0], halves[number, 1]))
        following = events[number + 1].drawn[0] if number + 1 < len(events) else length
        window = _window(event.drawn[1] + 1, following - 1, rate)
        if window:
            sample.looks.append(_Look(window, None))
    for number in range(len(events) - 1):
        one, other = events[number], events[number + 1]
        is_pair = "neighbors" in one.kinds and "neighbors" in other.kinds and one.end == other.start
        if is_pair and (number, 1) in halves and (number + 1, 0) in halves:
            sample.different.append((halves[number, 1], halves[number + 1, 0]))
    return sample


def _strokes_of(patch: Patch, box: tuple[int, int, int, int], scale: float) -> Map:
    """Return the coverage of the ROI by a caption's strokes, without outline, shadow, and box."""
    left, top, right, bottom = box
    canvas = np.zeros((bottom - top, right - left), np.float32)
    luma = patch.color @ np.array([0.299, 0.587, 0.114], np.float32)
    fill = patch.alpha * luma / max(float(luma.max()), 1.0)
    y, x = patch.y - top, patch.x - left
    part = fill[max(0, -y) : canvas.shape[0] - y, max(0, -x) : canvas.shape[1] - x]
    canvas[max(0, y) : max(0, y) + part.shape[0], max(0, x) : max(0, x) + part.shape[1]] = part
    return np.asarray(cv2.resize(canvas, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.float32)


def look_at(spec: ClipSpec, folder: Path) -> list[_Sample]:
    """Return the samples of each track of a clip with their ROIs and strokes."""
    rng = random.Random(spec.seed)
    facts = probe(render_clip(spec, folder).video)
    asked: list[tuple[_Sample, tuple[int, int, int, int], float]] = []
    for track in spec.tracks:
        letterer = Letterer(
            track, spec.width, spec.height, 0.6 if "watermark" in spec.distractors else 0.86,
            0.11 if "ticker" in spec.distractors else 0.06,
        )  # fmt: skip
        events = write_script(track, float(spec.rate), rng)
        patches = [letterer.letter(letterer.break_lines(e.text, "two-lines" in e.kinds)) for e in events]
        inks, edge = np.array([patch.stroke_mask for patch in patches]), letterer.size // 3
        box = (
            max(0, int(inks[:, 0].min()) - edge), max(0, int(inks[:, 1].min()) - edge),
            min(spec.width, int(inks[:, 2].max()) + edge), min(spec.height, int(inks[:, 3].max()) + edge),
        )  # fmt: skip
        scale = min(1.0, _LINE_PX / letterer.size)
        sample = _ask(events, float(spec.rate), facts.frame_count)
        for look in sample.looks:
            if look.caption is not None:
                look.strokes = _strokes_of(patches[look.caption], box, scale)
        asked.append((sample, box, scale))
    _fill(asked, spec, folder)
    return [sample for sample, _, _ in asked]


def _fill(asked: Sequence[tuple[_Sample, tuple[int, int, int, int], float]], spec: ClipSpec, folder: Path) -> None:
    for frame in native_frames(probe(render_clip(spec, folder).video)):
        for sample, box, scale in asked:
            wanting = [look for look in sample.looks if frame.index in look.numbers]
            if wanting:
                region = BBox(box[0] / spec.width, box[1] / spec.height, box[2] / spec.width, box[3] / spec.height)
                luma = np.ascontiguousarray(frame.luma(region))
                size = (round((box[2] - box[0]) * scale), round((box[3] - box[1]) * scale))
                roi = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)
                for look in wanting:
                    look.rois.append(roi)


def area_under_curve(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the probability that a positive scores above a negative (area under the ROC curve; ties count half)."""
    if not positive or not negative:
        return float("nan")
    above = np.subtract.outer(np.array(positive), np.array(negative))
    return float((above > 0).mean() + (above == 0).mean() / 2)


def best_errors(positive: Sequence[float], negative: Sequence[float]) -> int:
    """Return the errors at the best threshold."""
    places = sorted({-np.inf, *positive, *negative, np.inf})
    return min(sum(p < place for p in positive) + sum(n >= place for n in negative) for place in places)


def largest_change(changed: Map, strokes: Map) -> float:
    """Return the largest share of changed strokes in a window as large as a narrow character."""
    size = (15, 23)
    share = [cv2.boxFilter(part, -1, size, borderType=cv2.BORDER_CONSTANT) for part in (changed, strokes)]
    return float((share[0] / (share[1] + 0.05)).max())


@dataclass(slots=True)
class _Score:
    """Sums over the windows of some clips."""

    right: float = 0.0
    found: float = 0.0
    there: float = 0.0
    present: list[float] = field(default_factory=list)
    absent: list[float] = field(default_factory=list)
    same: list[float] = field(default_factory=list)
    different: list[float] = field(default_factory=list)

    def add_pixels(self, strokes: Map, guess: NDArray[np.bool_]) -> None:
        self.right += float((guess & (strokes > 0.5)).sum())
        self.found += float((guess & ((strokes > 0.5) | (strokes < 0.05))).sum())
        self.there += float((strokes > 0.5).sum())

    def merge(self, other: _Score) -> None:
        self.right += other.right
        self.found += other.found
        self.there += other.there
        for name in ("present", "absent", "same", "different"):
            getattr(self, name).extend(getattr(other, name))

    def line(self, name: str) -> str:
        precision, recall = self.right / max(1, self.found), self.right / max(1, self.there)
        f1 = 2 * precision * recall / max(precision + recall, 1e-9)
        return (
            f"{name:32} pixels P {precision:.3f} R {recall:.3f} F1 {f1:.3f} | present "
            f"{len(self.present)}/{len(self.absent)} AUC {area_under_curve(self.present, self.absent):.4f} "
            f"errors {best_errors(self.present, self.absent)} | one character {len(self.different)}/{len(self.same)} "
            f"AUC {area_under_curve(self.different, self.same):.4f} errors {best_errors(self.different, self.same)}"
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a method finds in a window: strokes, bool, and what it compares windows by."""

    mask: NDArray[np.bool_]
    strokes: Map
    level: Map


def _judge(
    samples: Sequence[_Sample],
    see: Callable[[Sequence[Plane]], _Seen],
    differ: Callable[[_Seen, _Seen], float],
) -> _Score:
    score = _Score()
    for sample in samples:
        seen = [see(look.rois) for look in sample.looks]
        for look, here in zip(sample.looks, seen, strict=True):
            if look.strokes is not None:
                size = (here.mask.shape[1], here.mask.shape[0])
                score.add_pixels(
                    np.asarray(cv2.resize(look.strokes, size, interpolation=cv2.INTER_AREA), np.float32), here.mask
                )
            (score.absent if look.caption is None else score.present).append(float(here.mask.sum()) / _LINE_PX**2)
        score.same.extend(differ(seen[a], seen[b]) for a, b in sample.same)
        score.different.extend(differ(seen[a], seen[b]) for a, b in sample.different)
    return score


def _see_classically(rois: Sequence[Plane]) -> _Seen:
    """Mark what is static and brighter than its surroundings; all captions of the benchmark are bright."""
    mean, deviation, _, _ = statistics(rois)
    relief = mean - np.asarray(cv2.blur(mean, (19, 19)), np.float32)
    stroke_mask = (deviation <= 11) & (relief >= 22)
    return _Seen(stroke_mask, (relief * stroke_mask).astype(np.float32), mean)


def _differ_classically(before: _Seen, after: _Seen) -> float:
    """Compare the levels where either has strokes."""
    either = before.mask | after.mask
    needed = np.maximum(18, 0.5 * np.maximum(before.strokes, after.strokes))
    changed = either & (np.abs(before.level - after.level) > needed)
    return largest_change(changed.astype(np.float32), either.astype(np.float32))


def _see_learned(rois: Sequence[Plane]) -> _Seen:
    strokes = stroke_map(rois, _LINE_PX)
    return _Seen(strokes > 0.5, strokes, statistics(rois)[0])


def _differ_learned(before: _Seen, after: _Seen) -> float:
    """Compare the levels where either very likely has a stroke."""
    either = np.maximum(before.strokes, after.strokes)
    way = np.abs(before.level - after.level)
    changed = either * np.clip((way - 18) / 40, 0, 1) * np.clip(np.abs(before.strokes - after.strokes) * 2, 0, 1)
    return largest_change(changed.astype(np.float32), either)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.glyph_mask.evaluate", description=__doc__)
    parser.add_argument("--clips", nargs="+", default=[], help="only clips whose name contains one of these")
    folder = bench_folder() / "clips"
    parser.add_argument("--folder", type=Path, default=folder, help="where the benchmark keeps its clips")
    options = parser.parse_args()
    totals = {"classical": _Score(), "learned": _Score()}
    for spec in clips_of("dev"):
        if not spec.tracks or (options.clips and not any(name in spec.name for name in options.clips)):
            continue
        samples = look_at(spec, options.folder)
        scores = {
            "classical": _judge(samples, _see_classically, _differ_classically),
            "learned": _judge(samples, _see_learned, _differ_learned),
        }
        print(spec.name)
        for name, score in scores.items():
            print(score.line(f"  {name}"), flush=True)
            totals[name].merge(score)
    print("all")
    for name, score in totals.items():
        print(score.line(f"  {name}"))


if __name__ == "__main__":
    main()
