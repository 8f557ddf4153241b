"""Change each tuned number by a fifth, and see which captions of the development part move.

A perturbed run repeats only what the number can change. The first run of a clip records the samples of the layout, the
pixels of the ROIs in every native frame, the results of the neural networks by a hash of their input, and the stages
that read each number. Later runs replay these records. Each result is written to the benchmark's folder at once, so
that a run that was interrupted continues.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib
import json
import multiprocessing
import pkgutil
import sys
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.captions.folders import bench_folder
from benchmarks.captions.render import Clip
from benchmarks.captions.sources import code_of
from captionacc_dagster.captioning.evaluation.evaluate import read_truth
from captionacc_dagster.captioning.evaluation.scoring import PredictedCaption, Scores, score, summarize
from captionacc_dagster.captioning.layout.sampler import Sampler

if TYPE_CHECKING:
    from captionacc_dagster.captioning.layout.model import Layout
    from captionacc_dagster.captioning.ocr.base import OcrEngine
    from captionacc_dagster.captioning.video.reader import VideoFacts

SHARE = 0.2  # of its value, by which a number is changed
_PACKAGE = "captionacc_dagster.captioning"
_REMEMBERED_BYTES = 1 << 30  # results of the networks that a process keeps
_END = object()
_METADATA = ("unit", "why", "seen_by")

# --- the numbers ---


@dataclass(frozen=True, slots=True)
class TunedNumber:
    """A field of a stage's tuning.

    Attributes:
        stage: name of the tuning's class, such as ``LayoutTuning``.
        name: of the field.
        value, unit, why, seen_by: see `captioning.tuning.tuned`.
        module: from which the stage's instance ``TUNING`` is imported.
    """

    stage: str
    name: str
    value: float
    unit: str
    why: str
    seen_by: str
    module: str

    @property
    def label(self) -> str:
        """Stage and name, as in ``LayoutTuning.gap``."""
        return f"{self.stage}.{self.name}"

    @property
    def changed(self) -> tuple[float, float]:
        """The value a fifth lower and a fifth higher; an integer changes by at least 1."""
        if isinstance(self.value, int):
            step = max(1, round(SHARE * abs(self.value)))
            return self.value - step, self.value + step
        return self.value * (1 - SHARE), self.value * (1 + SHARE)


def tunings() -> dict[str, tuple[str, Any]]:
    """Return the tuning of every stage: class name → (module, instance), found by importing all of captioning."""
    found: dict[str, tuple[str, Any]] = {}
    package = importlib.import_module(_PACKAGE)
    for module in pkgutil.walk_packages(package.__path__, f"{_PACKAGE}."):
        instance = getattr(importlib.import_module(module.name), "TUNING", None)
        if is_dataclass(instance) and any("seen_by" in entry.metadata for entry in fields(instance)):
            known = found.setdefault(type(instance).__name__, (module.name, instance))
            if known[1] is not instance:
                raise RuntimeError(f"{module.name} has a second instance of {type(instance).__name__}")
    return found


def tuned_numbers(chosen: Sequence[str] = ()) -> list[TunedNumber]:
    """Return the tuned numbers; with ``chosen`` those whose name, stage, or label is among them.

    Raises:
        ValueError: a name in ``chosen`` fits no number.
    """
    numbers = [
        TunedNumber(
            stage, entry.name, getattr(instance, entry.name), **{key: entry.metadata[key] for key in _METADATA},
            module=module,
        )
        for stage, (module, instance) in tunings().items()
        for entry in fields(instance)
        if "seen_by" in entry.metadata
    ]  # fmt: skip
    names = {name for number in numbers for name in (number.name, number.stage, number.label)}
    if unknown := set(chosen) - names:
        raise ValueError(f"no tuned number is called {' or '.join(sorted(unknown))}")
    return [number for number in numbers if not chosen or {number.name, number.stage, number.label} & set(chosen)]


@contextmanager
def replaced(number: TunedNumber, value: float) -> Iterator[None]:
    """Set a tuned number in its frozen instance, and restore it afterwards."""
    instance = importlib.import_module(number.module).TUNING
    before = getattr(instance, number.name)
    _forget_derived(instance)
    object.__setattr__(instance, number.name, value)
    try:
        yield
    finally:
        object.__setattr__(instance, number.name, before)
        _forget_derived(instance)


def _forget_derived(instance: Any) -> None:
    """Drop the values of cached properties."""
    own = {entry.name for entry in fields(instance)}
    for name in set(getattr(instance, "__dict__", {})) - own:
        del instance.__dict__[name]


# --- what is recorded ---


class _Unrecorded(Exception):
    """A replay asked for something that the recorded run did not: the run has to decode the video."""


class _Stages:
    """Records which tuned numbers each stage reads.

    Stages: ``samples`` (decoding for the layout), ``layout``, ``frames`` (decoding every native frame, and all that
    happens in other threads), ``extents``.
    """

    def __init__(self) -> None:
        self.read_in: dict[str, set[str]] = {}
        self._stage = "layout"

    @contextmanager
    def within(self, stage: str) -> Iterator[None]:
        before, self._stage = self._stage, stage
        try:
            yield
        finally:
            self._stage = before

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Record every access to a tuned number."""
        with ExitStack() as stack:
            for stage, (_, instance) in tunings().items():
                stack.enter_context(self._watch(stage, instance))
            yield

    @contextmanager
    def _watch(self, stage: str, instance: Any) -> Iterator[None]:
        plain = type(instance)
        names = {entry.name for entry in fields(instance)}

        def read(watched: Any, name: str) -> Any:
            if name in names:
                main = threading.current_thread() is threading.main_thread()
                self.read_in.setdefault(f"{stage}.{name}", set()).add(self._stage if main else "frames")
            return object.__getattribute__(watched, name)

        spying = type(plain.__name__, (plain,), {"__slots__": (), "__getattribute__": read})
        object.__setattr__(instance, "__class__", spying)
        try:
            yield
        finally:
            object.__setattr__(instance, "__class__", plain)


class _RecordedSampler(Sampler):
    """Replays a sampler's pictures and samples as long as they are asked for in the recorded order.

    Args:
        facts: the video.
        steps: the record, a tree: step → (result, the steps that followed).
        real: decodes the video and adds to the record; without it the record alone answers.
        stages: told when samples are decoded.
    """

    def __init__(self, facts: VideoFacts, steps: dict[Any, Any], real: Sampler | None, stages: _Stages) -> None:
        self.facts = facts
        self._steps = steps
        self._real = real
        self._stages = stages
        self._calls = 0

    def pictures(self, rate: float) -> Iterator[Any]:
        return self._replayed("pictures", rate)

    def samples(self, times: Sequence[float]) -> Iterator[Any]:
        return self._replayed("samples", tuple(times))

    def _replayed(self, method: str, argument: Any) -> Iterator[Any]:
        self._calls += 1
        call = self._calls
        self._step((method, argument), lambda: None)
        items = iter(()) if self._real is None else iter(getattr(self._real, method)(argument))
        while (item := self._step(call, lambda: next(items, _END))) is not _END:
            yield item

    def _step(self, step: Any, perform: Callable[[], Any]) -> Any:
        if self._real is not None:
            with self._stages.within("samples"):
                self._steps[step] = (perform(), self._steps.get(step, (None, {}))[1])
        elif step not in self._steps:
            raise _Unrecorded
        result, self._steps = self._steps[step]
        # The search notes in a sample what it found there.
        return result if result is _END else copy.deepcopy(result)


@dataclass(slots=True)
class _RecordedFrame:
    """A native frame of which only the luma of the recorded rectangles, and of some rows, is known."""

    index: int
    time_s: float
    _luma: dict[Any, np.ndarray] = field(default_factory=dict)
    _real: Any = None

    def luma(self, bbox: Any) -> np.ndarray:
        if self._real is not None:
            self._luma[bbox] = self._real.luma(bbox).copy()
        elif bbox not in self._luma:
            raise _Unrecorded
        return self._luma[bbox]

    def scanlines(self, count: int) -> np.ndarray:
        if self._real is not None:
            self._luma[count] = self._real.scanlines(count).copy()
        return self._luma[count]


class _RecordedFrames:
    """Takes the place of `map_native_frames`: decodes a video once and replays its ROIs."""

    def __init__(self, decode: Callable[..., Iterator[Any]], stages: _Stages) -> None:
        self._decode = decode
        self._stages = stages
        self._frames: list[_RecordedFrame] = []

    def record(self, facts: VideoFacts, take: Callable[[Any], Any], **stretch: Any) -> Iterator[Any]:
        def recorded(frame: Any) -> Any:
            kept = _RecordedFrame(frame.index, frame.time_s, _real=frame)
            taken = take(kept)
            kept._real = None
            self._frames.append(kept)
            return taken

        items = self._decode(facts, recorded, **stretch)
        while True:
            with self._stages.within("frames"):
                item = next(items, _END)
            if item is _END:
                return
            yield item

    def replay(self, facts: VideoFacts, take: Callable[[Any], Any], **stretch: Any) -> Iterator[Any]:
        del facts, stretch
        for frame in self._frames:
            yield take(frame)


class _RememberedNetworks:
    """Keeps the results of ONNX Runtime by a hash of the input; the ones used longest ago go first."""

    def __init__(self) -> None:
        self._results: OrderedDict[tuple[int, str], list[Any]] = OrderedDict()
        self._bytes = 0

    @contextmanager
    def used(self) -> Iterator[None]:
        from onnxruntime import InferenceSession

        plain = InferenceSession.run

        def run(session: Any, names: Any, inputs: dict[str, Any], *rest: Any) -> list[Any]:
            digest = hashlib.blake2b(repr(names).encode(), digest_size=16)
            for name, value in sorted(inputs.items()):
                value = np.ascontiguousarray(value)
                digest.update(f"{name}{value.shape}{value.dtype}".encode())
                digest.update(value.data)
            key = (id(session), digest.hexdigest())
            if key not in self._results:
                self._keep(key, list(plain(session, names, inputs, *rest)))
            self._results.move_to_end(key)
            return list(self._results[key])

        InferenceSession.run = run  # type: ignore[method-assign]
        try:
            yield
        finally:
            InferenceSession.run = plain  # type: ignore[method-assign]

    def _keep(self, key: tuple[int, str], results: list[Any]) -> None:
        for result in results:
            result.flags.writeable = False
        self._results[key] = results
        self._bytes += sum(result.nbytes for result in results)
        while self._bytes > _REMEMBERED_BYTES and len(self._results) > 1:
            _, oldest = self._results.popitem(last=False)
            self._bytes -= sum(result.nbytes for result in oldest)


# --- one clip ---


@dataclass(frozen=True, slots=True)
class PerturbedClip:
    """What happens to the captions of a clip.

    Attributes:
        clip: the clip.
        captions: found with the numbers as they are.
        moved: (label, 0 for lower or 1 for higher) → the captions found instead, or a traceback; without an entry the
            captions are the same.
        read: labels of the numbers that the engine read.
        tried: labels of the numbers that were changed.
    """

    clip: Clip
    captions: list[PredictedCaption]
    moved: dict[tuple[str, int], list[PredictedCaption] | str]
    read: frozenset[str]
    tried: frozenset[str]


class _ClipRuns:
    """Runs the engine on one clip again and again."""

    def __init__(self, clip: Clip, engine: OcrEngine) -> None:
        from captionacc_dagster.captioning.extents import find
        from captionacc_dagster.captioning.video.reader import probe

        self.facts = probe(clip.video)
        self._engine = engine
        self._find = find
        self._stages = _Stages()
        self._steps: dict[Any, Any] = {}
        self._frames = _RecordedFrames(find.map_native_frames, self._stages)
        with self._stages.watched():
            self._layout = self._laid_out(self._steps, replay=False)
            with self._stages.within("extents"):
                self.captions = self._found(self._layout, self._frames.record)

    @property
    def read(self) -> frozenset[str]:
        return frozenset(self._stages.read_in)

    def perturbed(self, number: TunedNumber, value: float) -> list[PredictedCaption]:
        """Return the captions that are found with another value of a number, repeating what it can change."""
        stages = self._stages.read_in.get(number.label, set())
        if not stages:
            return self.captions
        layout = self._layout
        with replaced(number, value):
            if stages & {"samples", "layout"}:
                same_samples = "samples" not in stages
                steps = self._steps if same_samples else {}  # other samples at the same times are no part of the record
                layout = self._live_or(lambda replay: self._laid_out(steps, replay=replay), same_samples)
                if layout == self._layout and not stages & {"frames", "extents"}:
                    return self.captions
            return self._live_or(
                lambda replay: self._found(layout, self._frames.replay if replay else None), "frames" not in stages
            )

    @staticmethod
    def _live_or(run: Callable[[bool], Any], replay: bool) -> Any:
        """Replay a run; where the record does not suffice, decode the video."""
        if replay:
            try:
                return run(True)
            except _Unrecorded:
                pass
        return run(False)

    def _laid_out(self, steps: dict[Any, Any], *, replay: bool) -> Layout:
        from captionacc_dagster.captioning.layout.find import find_layout, read_full_frames

        with ExitStack() as stack:
            real = None if replay else stack.enter_context(Sampler(self.facts))
            sampler = _RecordedSampler(self.facts, steps, real, self._stages)
            frames = [ocr for _, ocr in read_full_frames(self.facts, self._engine, sampler=sampler)]
            return find_layout(self.facts, self._engine, frames, sampler=sampler)

    def _found(self, layout: Layout, frames: Callable[..., Iterator[Any]] | None) -> list[PredictedCaption]:
        decode = self._find.map_native_frames
        if frames is not None:
            self._find.map_native_frames = frames  # type: ignore[assignment]
        try:
            timeline = self._find.find_captions(self.facts, layout, self._engine)
        finally:
            self._find.map_native_frames = decode
        return [
            PredictedCaption(
                start_s=caption.start_s,
                end_s=caption.end_s,
                start_frame=caption.start_frame,
                end_frame=caption.end_frame,
                text=caption.text,
            )
            for caption in timeline.captions
            if caption.kind == "caption"
        ]


class _KeptRuns:
    """The results of a clip in a file of JSON lines, to which each is added at once.

    The first line has the captions with the numbers as they are. Results of other code or another video are not used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first: dict[str, Any] | None = None
        self.found: dict[tuple[str, float], list[PredictedCaption] | str | None] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                row = json.loads(line)
            except ValueError:  # the run ended while it wrote this line
                continue
            if "read" in row:
                self.first = {"captions": _predicted(row["captions"]), "read": frozenset(row["read"])}
            else:
                found = row["captions"]
                self.found[row["label"], row["value"]] = _predicted(found) if isinstance(found, list) else found

    @classmethod
    def of(cls, clip: Clip) -> _KeptRuns:
        """Return those of a clip."""
        with clip.video.open("rb") as video:
            digest = hashlib.file_digest(video, "sha256").hexdigest()[:16]
        return cls(bench_folder() / "perturbed" / f"{clip.name}-{digest}-{_code()}.jsonl")

    def keep_first(self, captions: Sequence[PredictedCaption], read: frozenset[str]) -> None:
        """Add the captions with the numbers as they are, and which numbers were read."""
        self.first = {"captions": list(captions), "read": read}
        self._append({"captions": [asdict(caption) for caption in captions], "read": sorted(read)})

    def keep(self, label: str, value: float, found: list[PredictedCaption] | str | None) -> None:
        """Add what is found with another value of a number; None: the same captions."""
        self.found[label, value] = found
        captions = [asdict(caption) for caption in found] if isinstance(found, list) else found
        self._append({"label": label, "value": value, "captions": captions})

    def _append(self, row: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _predicted(rows: Sequence[dict[str, Any]]) -> list[PredictedCaption]:
    return [PredictedCaption(**row) for row in rows]


@cache
def _code() -> str:
    """Return a hash of the engine's code and models."""
    folder = Path(next(iter(importlib.import_module(_PACKAGE).__path__)))
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.name.endswith("tuning.py"):
            digest.update(_without_texts(path.read_text(encoding="utf-8")).encode())
        elif path.suffix == ".py":
            digest.update(code_of(path.read_text(encoding="utf-8")).encode())
        elif path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _without_texts(source: str) -> str:
    """Return the code of a tuning without its texts, which say why a number is what it is and who notices."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


def perturb_clip(clip: Clip, numbers: Sequence[TunedNumber]) -> PerturbedClip:
    """Run the engine on a clip with each number lower and higher; to be called in a process of its own."""
    from captionacc_dagster.captioning.ocr.engines import create_engine

    kept = _KeptRuns.of(clip)
    moved: dict[tuple[str, int], list[PredictedCaption] | str] = {}
    runs: _ClipRuns | None = None
    with _RememberedNetworks().used():
        for number in numbers:
            for direction, value in enumerate(number.changed):
                if kept.first is None or (number.label, value) not in kept.found:
                    if runs is None:
                        runs = _ClipRuns(clip, create_engine(threads=1))
                    if kept.first is None:
                        kept.keep_first(runs.captions, runs.read)
                    kept.keep(number.label, value, _unlike(runs, number, value))
                found = kept.found[number.label, value]
                if found is not None:
                    moved[number.label, direction] = found
    assert kept.first is not None, "numbers are not empty"
    tried = frozenset(number.label for number in numbers)
    return PerturbedClip(clip, kept.first["captions"], moved, kept.first["read"], tried)


def _unlike(runs: _ClipRuns, number: TunedNumber, value: float) -> list[PredictedCaption] | str | None:
    """Return the captions that are found with another value of a number, or a traceback; None: the same captions."""
    try:
        captions = runs.perturbed(number, value)
    except Exception:  # noqa: BLE001 -- a number that breaks the engine moves everything
        return traceback.format_exc()
    return captions if captions != runs.captions else None


def perturb_clips(
    clips: Sequence[Clip], numbers: Sequence[TunedNumber], jobs: int, *, every_clip: bool = False
) -> list[PerturbedClip]:
    """Perturb the numbers on clips, in parallel processes; what was found before is not computed again.

    Args:
        clips: the clips.
        numbers: the numbers.
        jobs: how many processes.
        every_clip: try every number on every clip. Otherwise a number is not tried on further clips once the captions
            of one moved; small clips, which cost least, come first.
    """
    waiting = sorted(clips, key=lambda clip: clip.video.stat().st_size, reverse=every_clip)
    moving: set[str] = set()
    running: set[Future[PerturbedClip]] = set()
    done: list[PerturbedClip] = []
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        while waiting or running:
            while waiting and len(running) < jobs:
                left = [number for number in numbers if every_clip or number.label not in moving]
                clip = waiting.pop(0)
                if left:
                    running.add(pool.submit(perturb_clip, clip, left))
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for perturbed in (future.result() for future in finished):
                done.append(perturbed)
                moved = {label for label, _ in perturbed.moved}
                moving |= moved
                tried = len(perturbed.tried)
                print(f"{perturbed.clip.name:34} {len(moved):3d} of {tried} move", file=sys.stderr, flush=True)
    return done


# --- the report ---


@dataclass(frozen=True, slots=True)
class Movement:
    """What one change of a number moves, over all clips: differences to the run with the numbers as they are."""

    clips: int = 0
    strict_f1: float = 0.0
    cer: float = 0.0
    phantoms: int = 0
    fails: int = 0

    def __str__(self) -> str:
        if not self.clips:
            return "nothing"
        failing = f", {self.fails} fail" if self.fails else ""
        return f"{self.strict_f1:+.4f} / {self.cer:+.4f} / {self.phantoms:+d}, {self.clips} clips{failing}"


def movements(perturbed: Sequence[PerturbedClip], number: TunedNumber) -> tuple[Movement, Movement]:
    """Return what a number moves a fifth lower and a fifth higher, over the clips on which it was tried.

    CER includes misses and phantoms.
    """
    tried = [row for row in perturbed if number.label in row.tried]
    lower, higher = (_movement(tried, (number.label, direction)) for direction in (0, 1))
    return lower, higher


def scores_of(perturbed: Sequence[PerturbedClip], change: tuple[str, int] | None = None) -> Scores:
    """Return the figures over all clips, with the numbers as they are or with one change."""
    reports = []
    for row in perturbed:
        found = row.captions if change is None else row.moved.get(change, row.captions)
        reports.append(score([] if isinstance(found, str) else found, read_truth(row.clip.truth)[0]))
    return summarize(reports)


def _movement(perturbed: Sequence[PerturbedClip], change: tuple[str, int]) -> Movement:
    rows = [row.moved[change] for row in perturbed if change in row.moved]
    if not rows:
        return Movement()
    usual, scores = scores_of(perturbed), scores_of(perturbed, change)
    return Movement(
        clips=len(rows),
        strict_f1=scores.strict_f1 - usual.strict_f1,
        cer=scores.cer_all - usual.cer_all,
        phantoms=scores.phantoms - usual.phantoms,
        fails=sum(isinstance(row, str) for row in rows),
    )


def idle_numbers(perturbed: Sequence[PerturbedClip], numbers: Sequence[TunedNumber]) -> list[TunedNumber]:
    """Return the numbers that move no captions."""
    moving = {label for row in perturbed for label, _ in row.moved}
    return [number for number in numbers if number.label not in moving]


def perturbation_report(
    perturbed: Sequence[PerturbedClip],
    numbers: Sequence[TunedNumber],
    part: str,
    noticed: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the table of the numbers and of what they move, as Markdown; those that move nothing come first.

    Args:
        perturbed: the clips.
        numbers: the numbers.
        part: name of the clips.
        noticed: label → the change of a number at which the test that it names fails, see `witnesses`.
    """
    usual = scores_of(perturbed)
    read = frozenset[str]().union(*(row.read for row in perturbed))
    rows = [(number, *movements(perturbed, number)) for number in numbers]
    idle = idle_numbers(perturbed, numbers)
    unread = [number for number in idle if number.label not in read]
    lines = [
        "# Tuned numbers",
        "",
        f"Made by `python -m benchmarks.captions --perturb --write` on the part {part}: {len(perturbed)} clips, "
        f"{usual.truths} captions; strict F1 {usual.strict_f1:.4f}, CER with misses and phantoms {usual.cer_all:.4f}, "
        f"{usual.phantoms} phantoms.",
        "Clips: " + ", ".join(f"`{row.clip.name}`" for row in perturbed) + ".",
        f"Each of the {len(numbers)} numbers is set {SHARE:.0%} lower and higher, an integer by at least 1.",
        "The last columns show the first clip whose captions change, and by how much: strict F1 / CER / phantoms, and "
        "the number of clips. Without `--every-clip` a number is tried on further clips only while none changed.",
        "",
        f"**{len(idle)} numbers move no caption:** "
        + (", ".join(f"`{number.label}`" for number in idle) or "none")
        + ".",
        "",
        f"Of these, no clip reads {len(unread)}: "
        + (", ".join(f"`{number.label}`" for number in unread) or "none")
        + ".",
        'With `--tests`, the test that such a number names runs with the number changed, too; the column "test" shows '
        "at which change it fails.",
        "",
        f"| number | value | unit | why | seen by | test | first clip | −{SHARE:.0%} | +{SHARE:.0%} |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, lower, higher in rows:
        moved = (row.clip.name for row in perturbed if any((number.label, way) in row.moved for way in (0, 1)))
        cells = (
            f"`{number.label}`", f"{number.value:g}", number.unit, number.why, number.seen_by,
            noticed.get(number.label, ""), next(moved, "none"), lower, higher,
        )  # fmt: skip
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
