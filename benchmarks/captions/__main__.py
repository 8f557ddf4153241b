"""``python -m benchmarks.captions``: renders clips, runs the systems on them, and reports the results."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.captions import kept
from benchmarks.captions.clips import PARTS, clips_of
from benchmarks.captions.folders import bench_folder
from benchmarks.captions.font_packages import require_fonts
from benchmarks.captions.measure import SYSTEMS, Measured, measure
from benchmarks.captions.memory import MemoryCheck, check_memory, memory_table
from benchmarks.captions.perturb import idle_numbers, perturb_clips, perturbation_report, tuned_numbers
from benchmarks.captions.real import TIGHT_S, real_clips, real_clips_table, real_table
from benchmarks.captions.render import Clip, render_clips
from benchmarks.captions.report import (
    Judged,
    Totals,
    clips_table,
    failures,
    goals_table,
    judge,
    machine,
    modes_table,
    phantoms_table,
    profile_table,
)
from benchmarks.captions.scripts.clips import ScriptSpec, render_script_clips, script_specs
from benchmarks.captions.sheets import draw_sheet
from benchmarks.captions.specs import ClipSpec
from benchmarks.captions.wide.render import motion_specs, render_wide_clips, require_sources, seed_of_now, wide_specs
from benchmarks.captions.wide.specs import WideSpec
from benchmarks.captions.witnesses import check_witnesses

Spec = TypeVar("Spec", ClipSpec, WideSpec, ScriptSpec)

_RESULTS = Path(__file__).with_name("RESULTS.md")
# Sections of RESULTS.md that other runs write, and one written by hand: what is left and why.
_MEMORY = Path(__file__).with_name("memory.md")
_REAL = Path(__file__).with_name("real.md")
_LIMITS = Path(__file__).with_name("limits.md")
# Parts that are drawn from seeds: of a number, of the clock, and fixed ones for captions that move.
_DRAWN = ("wide", "unseen", "motion")
_TUNING = Path(__file__).with_name("TUNING.md")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.captions", description=__doc__)
    parser.add_argument("--part", choices=(*PARTS, "all", *_DRAWN, "scripts", "real"), default="dev")
    parser.add_argument("--seed", type=int, default=1, help="with --part wide: the first clip's seed")
    parser.add_argument("--count", type=int, default=20, help="with --part wide or unseen: how many clips are drawn")
    parser.add_argument(
        "--clips",
        nargs="+",
        default=[],
        help="only clips whose name contains one of these; with --part real: the folder with the clips, then names",
    )
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="comma separated, of: " + ", ".join(SYSTEMS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes that render or perturb")
    parser.add_argument(
        "--failures", action="store_true", help="list every failing caption with the predictions near it"
    )
    parser.add_argument("--render-only", action="store_true", help="only render the clips and print their paths")
    parser.add_argument("--install-fonts", action="store_true", help="install missing fonts with apt-get")
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="draw a contact sheet of each clip (PNG)")
    parser.add_argument(
        "--memory",
        type=float,
        nargs="+",
        metavar="MINUTES",
        help="only measure memory: the first clip, repeated to each of these lengths",
    )
    parser.add_argument(
        "--perturb",
        nargs="*",
        metavar="FIELD",
        help="only change each tuned number (or these) by a fifth, and show which captions move",
    )
    parser.add_argument(
        "--every-clip",
        action="store_true",
        help="with --perturb: try each number on all clips, also where the captions of one moved already",
    )
    parser.add_argument(
        "--tests",
        action="store_true",
        help="with --perturb: also run the tests that the numbers name which move no captions, with them changed",
    )
    parser.add_argument("--fresh", action="store_true", help="measure the baseline again instead of using its cache")
    parser.add_argument(
        "--write", action="store_true", help=f"write {_RESULTS.name} and results.json; with --perturb {_TUNING.name}"
    )
    return parser.parse_args()


def _measured(pool: ProcessPoolExecutor, clip: Clip, system: str, *, fresh: bool) -> Measured:
    """Measure a system on a clip, or return the cached measurement of the baseline."""
    folder = bench_folder() / "baseline"
    if system == "baseline" and not fresh and (known := kept.load(folder, clip.video)):
        return known
    measured = pool.submit(measure, clip.name, clip.video, system).result()
    if system == "baseline":
        kept.store(folder, clip.video, measured)
    return measured


def _run(clips: Sequence[Clip], system: str, *, fresh: bool) -> list[Judged]:
    """Measure a system on one clip after the other, in a process of its own."""
    judged = []
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for clip in clips:
            row = judge(clip, _measured(pool, clip, system, fresh=fresh))
            scores, cost = row.report.scores, row.measured.cost
            print(
                f"{system:9}{clip.name:34} {scores.matches:3d} of {scores.truths:3d}  F1 {scores.f1:.3f}  strict "
                f"{scores.strict_f1:.3f}  CER {scores.cer_all:.4f}  {cost.cpu_s:6.1f} CPU-s  "
                f"{cost.cpu_s / row.measured.decode_cpu_s:5.1f} x decode",
                file=sys.stderr,
                flush=True,
            )
            if row.measured.error:
                print(row.measured.error, file=sys.stderr)
            judged.append(row)
    return judged


def _check_memory(clip: Clip, lengths: Sequence[float], *, write: bool) -> None:
    """Measure the memory on videos of some lengths, in minutes; with ``write`` the table goes into RESULTS.md."""
    checks: list[MemoryCheck] = []
    table = ""
    for minutes in lengths:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            check = pool.submit(check_memory, clip, minutes, bench_folder() / "long").result()
        if check.measured.error:
            sys.exit(check.measured.error)
        checks.append(check)
        table = memory_table(checks)
        if write:
            _MEMORY.write_text(table + "\n", encoding="utf-8")
    print(table)


def _perturb(clips: Sequence[Clip], options: argparse.Namespace) -> None:
    """Print what each tuned number moves; with ``--write`` the table becomes TUNING.md."""
    if options.write and options.perturb:
        sys.exit("--perturb --write writes the table of all numbers: leave out FIELD")
    try:
        numbers = tuned_numbers(options.perturb)
    except ValueError as error:
        sys.exit(str(error))
    perturbed = perturb_clips(clips, numbers, options.jobs, every_clip=options.every_clip)
    noticed = check_witnesses(idle_numbers(perturbed, numbers)) if options.tests else {}
    report = perturbation_report(perturbed, numbers, options.part, noticed)
    print(report)
    if options.write:
        _TUNING.write_text(report, encoding="utf-8")


def _report_real(results: dict[str, list[Judged]], options: argparse.Namespace) -> None:
    """Print the figures of real clips; with ``--write`` the pooled ones, which name no clip, go into RESULTS.md."""
    table = real_table(results)
    print(f"{real_clips_table(results)}\n\n{table}")
    if options.failures:
        print("\n".join(line for rows in results.values() for row in rows for line in failures(row)))
    if options.write:
        _REAL.write_text(
            f"Made by `python -m benchmarks.captions --part real --clips DIR --write` on {datetime.now(UTC):%Y-%m-%d}. "
            "The clips are not in this repository. "
            f"A match is tight if both ends are within {TIGHT_S:g} s.\n\n{table}\n",
            encoding="utf-8",
        )


def _document(results: dict[str, list[Judged]], part: str, seeds: str) -> str:
    totals = {system: Totals.of(rows) for system, rows in results.items()}
    first = next(iter(totals.values()))
    video = sum(row.seconds for row in first.judged)
    sections = [
        "# Results of the caption benchmark",
        f"Made by `python -m benchmarks.captions --part {part} --write` on {datetime.now(UTC):%Y-%m-%d}: "
        f"{len(first.judged)} clips, {first.scores.truths} captions, {video:.0f} s of video. The engine "
        "runs with its defaults and finds the caption region itself. docs/benchmark.md defines what counts as right. "
        f"Seeds of the clips: {seeds}.",
        machine(),
        "## Goals",
        goals_table(totals),
        "CER is normalized: it ignores white space, width, case, and punctuation; raw CER does not. CPU is that of all "
        "of `process` without start-up, divided by that of decoding every frame once with PyAV just before in the same "
        f"process. Start-up (imports and models, once a process): {_startup(results)}. "
        f"Measured (UTC): {_when(results)}.",
    ]
    kept_sections = (
        ("Real videos", _REAL),
        ("Memory on a long video", _MEMORY),
        ("What is left, and why", _LIMITS),
    )
    for title, path in kept_sections:
        if path.exists():
            sections += [f"## {title}", path.read_text(encoding="utf-8").strip()]
    for system, rows in results.items():
        sections += [f"## {system.capitalize()}: clip by clip", clips_table(rows)]
        if system == "engine":
            sections += ["### Where its time goes", profile_table(totals[system])]
            errors = [line for row in rows for line in failures(row) if " text " not in line]
            sections += ["### What it got wrong", "```\n" + "\n".join(errors or ["nothing"]) + "\n```"]
    return "\n\n".join(sections) + "\n"


def _startup(results: dict[str, list[Judged]]) -> str:
    """Return the cost of start-up of each system whose process was measured."""
    firsts = {
        system: max(rows, key=lambda row: row.measured.startup_cpu_s).measured for system, rows in results.items()
    }
    return ", ".join(
        f"{system} {row.startup_cpu_s:.1f} CPU-s in {row.startup_wall_s:.1f} s" for system, row in firsts.items()
    )


def _when(results: dict[str, list[Judged]]) -> str:
    """Return when each system was measured; the baseline may be from an earlier day."""
    times = {system: sorted(row.measured.measured_at for row in rows) for system, rows in results.items()}
    return ", ".join(f"{system} {at[0]} to {at[-1]}" for system, at in times.items())


def _machine_readable(results: dict[str, list[Judged]]) -> str:
    """Return scores and measurements as JSON; a rate without anything to count is null."""

    def without_nan(values: dict[str, Any]) -> dict[str, Any]:
        return {
            name: without_nan(value) if isinstance(value, dict) else None if value != value else value
            for name, value in values.items()
        }

    content = {
        system: {"scores": without_nan(asdict(Totals.of(rows).scores)), "clips": [asdict(row.measured) for row in rows]}
        for system, rows in results.items()
    }
    return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _rendered(options: argparse.Namespace) -> tuple[list[Clip], list[int]]:
    """Return the clips of the chosen part, rendered, and their seeds; the program ends if something is missing."""
    folder = bench_folder() / "clips"

    def chosen(specs: Sequence[Spec]) -> list[Spec]:
        found = [spec for spec in specs if not options.clips or any(name in spec.name for name in options.clips)]
        return found or sys.exit(f"no clip of part {options.part} is called {' or '.join(options.clips)}")

    try:
        if options.part == "real":
            if not options.clips:
                sys.exit("--part real needs --clips DIR: a folder with clips and their truth")
            return real_clips(Path(options.clips[0]), options.clips[1:]), []
        if options.part == "scripts":
            scripts = chosen(script_specs())
            return render_script_clips(scripts, folder, options.jobs), [spec.seed for spec in scripts]
        if options.part not in _DRAWN:
            specs = chosen(clips_of(options.part))
            require_fonts(specs, install=options.install_fonts)
            return render_clips(specs, folder, options.jobs), [spec.seed for spec in specs]
        if options.part == "unseen":
            options.seed = seed_of_now()
        drawn = motion_specs() if options.part == "motion" else wide_specs(options.seed, options.count)
        drawn = chosen(drawn)
        seeds = [spec.seed for spec in drawn]
        print(f"seeds {_ranges(seeds)}", file=sys.stderr, flush=True)
        require_sources(drawn, install=options.install_fonts)
        return render_wide_clips(drawn, folder, options.jobs), seeds
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error))


def _ranges(numbers: Sequence[int]) -> str:
    """Return numbers in short form: ``1-3, 7``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def main() -> None:
    options = _options()
    systems = options.systems.split(",")
    if unknown := set(systems) - set(SYSTEMS):
        sys.exit(f"unknown system {', '.join(sorted(unknown))}: there are {', '.join(SYSTEMS)}")
    clips, seeds = _rendered(options)
    if options.render_only:
        print("\n".join(str(clip.video) for clip in clips))
        return
    if options.memory:
        _check_memory(clips[0], options.memory, write=options.write)
        return
    if options.perturb is not None:
        _perturb(clips, options)
        return
    results = {system: _run(clips, system, fresh=options.fresh) for system in systems}
    if options.part == "real":
        _report_real(results, options)
        return
    document = _document(results, options.part, _ranges(seeds))
    print(document)
    if options.part in _DRAWN:
        for system, rows in results.items():
            print(f"## {system.capitalize()}: by kind\n\n{modes_table(clips, rows)}\n\n{phantoms_table(clips, rows)}\n")
    if options.failures:
        for rows in results.values():
            print("\n".join(line for row in rows for line in failures(row)))
    if options.sheets is not None and "engine" in results:
        for clip, row in zip(clips, results["engine"], strict=True):
            draw_sheet(clip, row, options.sheets / f"{clip.name}.png")
    if options.write:
        _RESULTS.write_text(document, encoding="utf-8")
        _RESULTS.with_name("results.json").write_text(_machine_readable(results), encoding="utf-8")


if __name__ == "__main__":
    main()
