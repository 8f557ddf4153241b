"""The part ``real``: a folder of videos with their truth, which stays outside the repository."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from rapidfuzz.distance import Levenshtein

from benchmarks.captions.render import Clip
from benchmarks.captions.report import Judged, markdown_table
from captionacc_dagster.captioning.evaluation.scoring import Match, Report, Scores, normalize, summarize

TIGHT_S = 0.08  # seconds by which each end of a tight match may differ: two frames at 25 per second
_VIDEOS = (".mp4", ".mkv", ".webm", ".ts", ".mov", ".avi")
_LATIN_SHARE = 0.95  # of the letters of a clip in Latin script


GROUPS = ("Latin script", "other scripts", "without captions")


def real_clips(folder: Path, names: Sequence[str] = ()) -> list[Clip]:
    """Return the clips of a folder: each video with ``NAME.json`` beside it; with ``names`` those that contain one.

    Raises:
        ValueError: there is none.
    """
    clips = [
        Clip(video.stem, video, video.with_suffix(".json"))
        for video in sorted(folder.glob("*"))
        if video.suffix.lower() in _VIDEOS and video.with_suffix(".json").exists()
        if not names or any(name in video.stem for name in names)
    ]
    if not clips:
        raise ValueError(f"{folder} contains no video with a truth beside it (clip.mp4 and clip.json)")
    return clips


def group_of(report: Report) -> str:
    """Return the group of a clip: one of `GROUPS`."""
    truth = [match.truth for match in report.matches] + list(report.missed)
    if not truth:
        return "without captions"
    letters = [letter for caption in truth for letter in caption.text if letter.isalpha()]
    latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    return "Latin script" if latin >= _LATIN_SHARE * len(letters) else "other scripts"


def is_tight(match: Match) -> bool:
    """Return whether both ends of a match lie within `TIGHT_S` of the truth."""
    errors = (match.predicted.start_s - match.truth.start_s, match.predicted.end_s - match.truth.end_s)
    return max(map(abs, errors)) <= TIGHT_S + 1e-6


def tight_f1(reports: Sequence[Report]) -> float:
    """Return the F1 of the tight matches; 1 without captions and predictions."""
    matches = [match for report in reports for match in report.matches]
    missed, phantoms = (sum(len(getattr(report, name)) for report in reports) for name in ("missed", "phantoms"))
    total = 2 * len(matches) + missed + phantoms
    return 2 * sum(map(is_tight, matches)) / total if total else 1.0


def cer_with_misses(reports: Sequence[Report]) -> float:
    """Return the normalized character error rate in which every character of a missed caption is an error."""
    matches = [match for report in reports for match in report.matches]
    lost = sum(len(normalize(caption.text)) for report in reports for caption in report.missed)
    edits = sum(Levenshtein.distance(normalize(match.predicted.text), normalize(match.truth.text)) for match in matches)
    return (edits + lost) / max(1, lost + sum(len(normalize(match.truth.text)) for match in matches))


_HEAD = (
    "captions", "found", "F1", "tight F1", "CER of matches", "CER with misses", "missed", "phantoms", "split",
)  # fmt: skip


def _row(reports: Sequence[Report]) -> list[str]:
    scores: Scores = summarize(reports)
    return [
        str(scores.truths),
        str(scores.matches),
        f"{scores.f1:.3f}",
        f"{tight_f1(reports):.3f}",
        f"{scores.cer_matched:.4f}",
        f"{cer_with_misses(reports):.4f}",
        str(scores.missed),
        str(scores.phantoms),
        str(scores.split),
    ]


def real_table(results: dict[str, list[Judged]]) -> str:
    """Return the pooled figures of each group and system as Markdown; it names no clip."""
    rows = [["clips", "system", *_HEAD, "failed"]]
    for group in GROUPS:
        for system, all_of_it in results.items():
            chosen = [row for row in all_of_it if group_of(row.report) == group]
            if chosen:
                failed = sum(row.measured.error is not None for row in chosen)
                rows.append([f"{len(chosen)} {group}", system, *_row([row.report for row in chosen]), str(failed)])
    return markdown_table(rows)


def real_clips_table(results: dict[str, list[Judged]]) -> str:
    """Return the figures of each clip as Markdown."""
    rows = [["clip", "system", *_HEAD, "CPU s"]]
    for together in zip(*results.values(), strict=True):
        for system, row in zip(results, together, strict=True):
            failed = " (failed)" if row.measured.error else ""
            rows.append([row.measured.clip + failed, system, *_row([row.report]), f"{row.measured.cost.cpu_s:.1f}"])
    return markdown_table(rows)
