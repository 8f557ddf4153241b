"""Renders wide clips and their truth into a cache folder; a clip with the same sources and seed is used again."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import count as counted
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.captions.folders import bench_folder
from benchmarks.captions.font_packages import install_packages
from benchmarks.captions.fonts import installed_fonts
from benchmarks.captions.render import TICKS, Clip, encode, read_times, source_hash
from benchmarks.captions.wide.captions import MOTIONS, CaptionWriter
from benchmarks.captions.wide.looks import missing_files, packages_of
from benchmarks.captions.wide.overlays import Overlays
from benchmarks.captions.wide.photographs import require_photographs
from benchmarks.captions.wide.scenes import make_scene
from benchmarks.captions.wide.specs import WideSpec, draw_spec
from benchmarks.captions.wide.timed import Drawable, TextTruth, WordTruth

MOTION_CLIPS = 3  # clips of each kind in the part `motion`
_MOTION_SEED = 40_000


def wide_specs(seed: int, count: int) -> list[WideSpec]:
    """Return ``count`` clips drawn from consecutive seeds."""
    return [draw_spec(number) for number in range(seed, seed + count)]


def motion_specs() -> list[WideSpec]:
    """Return the part ``motion``: three clips of each kind of caption whose words move, at most 20 s long."""
    return [
        draw_spec(_MOTION_SEED + 100 * number + copy, mode=mode, longest_s=20.0)
        for number, mode in enumerate(MOTIONS)
        for copy in range(MOTION_CLIPS)
    ]


def seed_of_now() -> int:
    """Return a seed from the clock, for clips that nobody has seen."""
    return int(time.time()) % 1_000_000_000


def require_sources(specs: Sequence[WideSpec], *, install: bool) -> None:
    """Check that fonts and photographs are there; with ``install`` fetch them with apt-get.

    Raises:
        RuntimeError: something is missing; the message names the packages.
    """
    files = set[str]().union(*(spec.font_files for spec in specs))
    if install and missing_files(files):
        install_packages(packages_of(files))
        installed_fonts.cache_clear()
    if missing := missing_files(files):
        raise RuntimeError(
            f"fonts are missing ({', '.join(missing)}); on Debian and Ubuntu: apt-get install "
            f"{' '.join(packages_of(set(missing)))}; or run with --install-fonts"
        )
    require_photographs([name for spec in specs for name in spec.photographs], install=install)


def draw_clips(
    seed: int, *, folder: Path | None = None, longest_s: float = 15.0, most_pixels: int = 1280 * 720, jobs: int = 1
) -> Iterator[tuple[WideSpec, Clip]]:
    """Yield clips without end, from ``seed`` on, cheap ones by default: to train on.

    A clip of the default limits takes about five seconds of CPU the first time and nothing after that.
    """
    folder = folder or bench_folder() / "clips"
    numbers = counted(seed)
    with ProcessPoolExecutor(jobs) as pool:
        while True:
            specs = [draw_spec(next(numbers), longest_s=longest_s, most_pixels=most_pixels) for _ in range(4 * jobs)]
            yield from zip(specs, pool.map(render_wide_clip, specs, [folder] * len(specs)), strict=True)


def render_wide_clips(specs: Sequence[WideSpec], folder: Path, jobs: int) -> list[Clip]:
    """Render the clips that ``folder`` lacks, in parallel processes; in the order of ``specs``."""
    with ProcessPoolExecutor(max(1, jobs)) as pool:
        return list(pool.map(render_wide_clip, specs, [folder] * len(specs)))


def render_wide_clip(spec: WideSpec, folder: Path) -> Clip:
    """Render a clip unless ``folder`` has it with the same sources and specification."""
    key = hashlib.sha256((_source_hash() + repr(spec)).encode()).hexdigest()[:16]
    home = folder / f"{spec.name}-{key}"
    clip = Clip(spec.name, home / spec.file_name, home / f"{spec.name}.truth.json")
    if clip.truth.exists():
        return clip
    home.mkdir(parents=True, exist_ok=True)
    length = max(2, round(spec.seconds * spec.rate))
    frames, truths = _drawn(spec, length)
    unfinished = clip.video.with_name("unfinished" + clip.video.suffix)
    encode(spec, frames, [round(at * TICKS / spec.rate) for at in range(length)], unfinished)
    truth = _truth(spec, truths, read_times(unfinished, length))
    unfinished.replace(clip.video)
    clip.truth.write_text(json.dumps(truth, ensure_ascii=False, indent=1), encoding="utf-8")
    return clip


@cache
def _source_hash() -> str:
    folder = Path(__file__).parent
    names = (
        "captions",
        "lettering",
        "looks",
        "overlays",
        "photographs",
        "render",
        "scenes",
        "sentences",
        "specs",
        "timed",
    )
    shared = [folder.parent / f"{name}.py" for name in ("backgrounds", "corpus", "render")]
    return source_hash([folder / f"{name}.py" for name in names] + shared)


def _drawn(spec: WideSpec, length: int) -> tuple[Iterator[NDArray[np.uint8]], list[TextTruth]]:
    """Prepare a clip: its frames, RGB ``(h, w, 3)``, and every text in it."""
    rng = random.Random(spec.seed)
    size, rate = (spec.width, spec.height), float(spec.rate)
    scene = make_scene(
        spec.scene,
        size,
        rate,
        length,
        spec.photographs,
        spec.fonts,
        spec.mono,
        spec.signs,
        random.Random(spec.seed + 1),
    )
    tracks = [CaptionWriter(track, size, rate, length, rng) for track in spec.captions]
    captions = [truth for track in tracks for truth in track.truths]
    overlays = Overlays(spec.overlays, spec.fonts, size, rate, length, captions, rng)
    drawables: list[Drawable] = [*overlays.drawables, *(drawn for track in tracks for drawn in track.drawables)]
    bar = round(spec.letterbox * spec.height)

    def frames() -> Iterator[NDArray[np.uint8]]:
        for at in range(length):
            frame = scene.frame(at)
            if bar:
                frame[:bar] = 0
                frame[-bar:] = 0
            for drawable in drawables:
                drawable.draw(frame, at)
            yield frame

    return frames(), [*scene.truths, *overlays.truths, *captions]


def _truth(spec: WideSpec, truths: Sequence[TextTruth], times: list[float]) -> dict[str, Any]:
    """Describe a clip: ``captions`` in the form of the other parts, all other text in ``texts``, each with its kind."""
    rows = sorted(truths, key=lambda truth: (truth.start, truth.end))
    return {
        "video": {
            "file": spec.file_name,
            "width": spec.width,
            "height": spec.height,
            "duration_s": round(times[-1], 6),
            "frame_rate": float(spec.rate),
            "frame_count": len(times) - 1,
            "variable_frame_rate": False,
            "codec": spec.codec,
            "crf": spec.crf,
            "background": spec.scene,
            "distractors": list(spec.overlays),
            "seed": spec.seed,
        },
        "frame_times_s": [round(time_s, 6) for time_s in times],
        "captions": [_row(truth, times, spec) for truth in rows if truth.kind == "caption"],
        "texts": [_row(truth, times, spec) for truth in rows if truth.kind != "caption"],
    }


def _row(truth: TextTruth, times: list[float], spec: WideSpec) -> dict[str, Any]:
    return {
        "kind": truth.kind,
        "start_s": round(times[truth.start], 6),
        "end_s": round(times[min(truth.end, len(times) - 1)], 6),
        "start_frame": truth.start,
        "end_frame": min(truth.end, len(times) - 1),
        "text": truth.text,
        "bbox": _relative(truth.box, spec),
        "track": truth.track,
        "vertical": False,
        "fade_in_frames": truth.fade_in,
        "fade_out_frames": truth.fade_out,
        "kinds": [truth.mode] if truth.mode else [],
        "moves": truth.moves,
        "words": [_word(word, times, spec) for word in truth.words],
    }


def _word(word: WordTruth, times: list[float], spec: WideSpec) -> dict[str, Any]:
    lit = None if word.highlight is None else [round(times[min(at, len(times) - 1)], 6) for at in word.highlight]
    return {
        "text": word.text,
        "start_s": round(times[word.start], 6),
        "end_s": round(times[min(word.end, len(times) - 1)], 6),
        "bbox": _relative(word.box, spec),
        "highlighted": lit,
    }


def _relative(box: tuple[float, float, float, float], spec: WideSpec) -> dict[str, float]:
    sides = zip(("left", "top", "right", "bottom"), box, (spec.width, spec.height) * 2, strict=True)
    return {name: round(min(1.0, max(0.0, value / whole)), 5) for name, value, whole in sides}
