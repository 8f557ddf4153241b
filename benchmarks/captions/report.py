"""Turns measurements into tables: goals, clips, kinds, the profile, and the list of failures."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from rapidfuzz.distance import Levenshtein

from benchmarks.captions.kept import cpu_name, versions
from benchmarks.captions.measure import Measured
from benchmarks.captions.render import Clip
from captionacc_dagster.captioning.evaluation.evaluate import read_truth
from captionacc_dagster.captioning.evaluation.scoring import (
    MIN_SIMILARITY,
    BoundaryErrors,
    Match,
    PredictedCaption,
    Report,
    Scores,
    TrueCaption,
    plain,
    score,
    similarity,
    summarize,
)
from captionacc_dagster.captioning.extents.words import word_spans

# How many frames the time of a word may be off that appears, and of one that is highlighted.
_APPEARS_FRAMES, _HIGHLIGHT_FRAMES = 1, 2


@dataclass(frozen=True, slots=True)
class Judged:
    """A measurement with its score; ``height`` is the video's smaller side, ``seconds`` its length."""

    measured: Measured
    report: Report
    height: int
    seconds: float


def judge(clip: Clip, measured: Measured) -> Judged:
    """Score a measurement against the clip's truth."""
    truth, _ = read_truth(clip.truth)
    facts = json.loads(clip.truth.read_text(encoding="utf-8"))
    video = facts.get("video", facts)
    return Judged(
        measured, score(measured.captions, truth), min(video["width"], video["height"]), float(video["duration_s"])
    )


@dataclass(frozen=True, slots=True)
class Totals:
    """The figures of one system over all clips."""

    scores: Scores
    judged: tuple[Judged, ...]

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> Totals:
        """Pool the figures of clips."""
        return cls(summarize([row.report for row in judged]), tuple(judged))

    def cpu_ratio(self, height: int | None = None) -> float:
        """Return CPU time over that of decoding every frame once, for the clips of a height or all; NaN without any."""
        rows = [row for row in self.judged if height is None or row.height == height]
        decode = sum(row.measured.decode_cpu_s for row in rows)
        return sum(row.measured.cost.cpu_s for row in rows) / decode if decode else math.nan

    @property
    def recognitions(self) -> float:
        """Lines recognized per caption found."""
        return sum(row.measured.recognitions for row in self.judged) / max(1, self.scores.predictions)

    @property
    def empty_phantoms(self) -> int:
        """Phantoms in clips without captions."""
        return sum(len(row.report.phantoms) for row in self.judged if not row.report.matches and not row.report.missed)

    @property
    def peak_rss_mib(self) -> float:
        """The highest peak of any clip."""
        return max((row.measured.cost.peak_rss_mib for row in self.judged), default=math.nan)


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table of goals."""

    name: str
    wanted: str
    value: Callable[[Totals], float]
    reached: Callable[[float], bool]
    shown: str = "{:.4f}"


GOALS = (
    Goal("events F1", "≥ 0.98", lambda t: t.scores.f1, lambda v: v >= 0.98),
    Goal("strict F1", "≥ 0.96", lambda t: t.scores.strict_f1, lambda v: v >= 0.96),
    Goal("boundary error on cuts, median (frames)", "0", lambda t: t.scores.cuts.median, lambda v: v == 0, "{:g}"),
    Goal("boundary error on cuts, p95 (frames)", "≤ 1", lambda t: t.scores.cuts.p95, lambda v: v <= 1, "{:g}"),
    Goal("boundary error on fades, p95 (frames)", "≤ 2", lambda t: t.scores.fades.p95, lambda v: v <= 2, "{:g}"),
    Goal("CER, matched only", "≤ 0.005", lambda t: t.scores.cer_matched, lambda v: v <= 0.005),
    Goal("CER, with misses and phantoms", "≤ 0.012", lambda t: t.scores.cer_all, lambda v: v <= 0.012),
    Goal("CER raw, matched only", "(≤ 0.005)", lambda t: t.scores.cer_raw_matched, lambda v: v <= 0.005),
    Goal("CER raw, with misses and phantoms", "(≤ 0.012)", lambda t: t.scores.cer_raw_all, lambda v: v <= 0.012),
    Goal("phantoms per 100 captions", "≤ 1", lambda t: t.scores.phantoms_per_hundred, lambda v: v <= 1, "{:.2f}"),
    Goal("phantoms in clips without captions", "0", lambda t: t.empty_phantoms, lambda v: v == 0, "{:g}"),
    Goal("captions of 0.5 s and less found", "≥ 0.95", lambda t: t.scores.short_recall, lambda v: v >= 0.95),
    Goal("one-character neighbors merged", "0", lambda t: t.scores.neighbors_merged, lambda v: v == 0, "{:g}"),
    Goal("CPU against decode, 720p", "≤ 2.5", lambda t: t.cpu_ratio(720), lambda v: v <= 2.5, "{:.2f}"),
    Goal("CPU against decode, 1080p", "≤ 2.5", lambda t: t.cpu_ratio(1080), lambda v: v <= 2.5, "{:.2f}"),
    Goal("OCR recognitions per caption", "≤ 2", lambda t: t.recognitions, lambda v: v <= 2, "{:.2f}"),
)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table; the first is the head."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def goals_table(totals: dict[str, Totals]) -> str:
    """Return the goals and what each system reached, as Markdown."""
    systems = list(totals)
    rows = [["", "goal", *systems, "reached"]]
    for goal in GOALS:
        values = {name: goal.value(total) for name, total in totals.items()}
        shown = ["–" if math.isnan(value) else goal.shown.format(value) for value in values.values()]
        engine = values.get("engine", math.nan)
        verdict = "–" if math.isnan(engine) else "yes" if goal.reached(engine) else "**no**"
        rows.append([goal.name, goal.wanted, *shown, verdict])
    return markdown_table(rows)


def _frames(errors: BoundaryErrors) -> str:
    return f"{errors.p95:g}" if errors.count else "–"


def clips_table(judged: Sequence[Judged]) -> str:
    """Return one row for each clip, as Markdown."""
    head = "clip,captions,found,F1,strict F1,cuts p95,fades p95,CER,CER all,phantoms,reads,CPU s,× decode,wall s,MiB"
    rows: list[list[str]] = [[*head.split(",")]]
    for row in judged:
        scores, cost = row.report.scores, row.measured.cost
        ratio = cost.cpu_s / row.measured.decode_cpu_s if row.measured.decode_cpu_s else math.nan
        rows.append(
            [
                row.measured.clip + (" (failed)" if row.measured.error else ""),
                str(scores.truths),
                str(scores.matches),
                f"{scores.f1:.3f}",
                f"{scores.strict_f1:.3f}",
                _frames(scores.cuts),
                _frames(scores.fades),
                f"{scores.cer_matched:.4f}",
                f"{scores.cer_all:.4f}",
                str(scores.phantoms),
                str(row.measured.recognitions),
                f"{cost.cpu_s:.1f}",
                f"{ratio:.1f}",
                f"{cost.wall_s:.1f}",
                f"{cost.peak_rss_mib:.0f}",
            ]
        )
    return markdown_table(rows)


def profile_table(totals: Totals) -> str:
    """Return the CPU time of each stage of the engine, as Markdown."""
    stages: dict[str, float] = {}
    for row in totals.judged:
        for stage, seconds in row.measured.stages.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    video = sum(row.seconds for row in totals.judged)
    whole = sum(stages.values()) or 1.0
    rows = [["stage", "seconds", "ms per second of video", "share"]]
    rows += [
        [stage, f"{seconds:.1f}", f"{1000 * seconds / video:.1f}", f"{100 * seconds / whole:.0f} %"]
        for stage, seconds in stages.items()
    ]
    return markdown_table(rows)


def modes_table(clips: Sequence[Clip], judged: Sequence[Judged]) -> str:
    """Return how many captions of each kind of motion were found in drawn clips, as Markdown."""
    found: dict[str, list[tuple[bool, bool]]] = {}
    timed: dict[str, list[int]] = {}
    for clip, row in zip(clips, judged, strict=True):
        kinds = {
            (caption["start_frame"], caption["text"]): " ".join(caption["kinds"])
            for caption in json.loads(clip.truth.read_text(encoding="utf-8"))["captions"]
        }
        captions = [(match.truth, match.strict) for match in row.report.matches]
        captions += [(caption, None) for caption in row.report.missed]
        for caption, strict in captions:
            kind = kinds.get((caption.start_frame, caption.text), "")
            found.setdefault(kind, []).append((strict is not None, bool(strict)))
            timed.setdefault(kind, [0, 0])
        for kind, on_time, words in _words_on_time(clip, row):
            timed[kind][0] += on_time
            timed[kind][1] += words
    rows = [["kind of caption", "captions", "found", "with both ends and text right", "words", "on time"]]
    for kind, captions in sorted(found.items()):
        shares = (sum(column) / len(captions) for column in zip(*captions, strict=True))
        on_time, words = timed[kind]
        times = [str(words), f"{on_time / words:.3f}"] if words else ["", ""]
        rows.append([kind, str(len(captions)), *(f"{share:.3f}" for share in shares), *times])
    return markdown_table(rows)


def _words_on_time(clip: Clip, row: Judged) -> list[tuple[str, int, int]]:
    """Return for each true caption whose words have times: its kind, how many begin on time, and how many words.

    A word that appears may be a frame off; one that is highlighted two. Where no spaces are written, nothing shows
    which characters are a word, and each has its own time: that of a true word is the time of its first character.
    """
    truth = json.loads(clip.truth.read_text(encoding="utf-8"))
    matches = row.report.matches
    matched = {(match.truth.start_frame, match.truth.text): _onsets(row, match.predicted) for match in matches}
    counted = []
    for caption in truth["captions"]:
        words = caption.get("words", ())
        if not words:
            continue
        wanted = [(part, word if is_first else None) for word in words for part, is_first in _parts(word["text"])]
        known = matched.get((caption["start_frame"], caption["text"]), [])
        found = [(part, onset_s) for text, onset_s in known for part, _ in _parts(text)]
        texts = [part for part, _ in wanted], [part for part, _ in found]
        on_time = 0
        for begin, at, length in SequenceMatcher(None, *texts, autojunk=False).get_matching_blocks():
            for (_, word), (_, onset_s) in zip(wanted[begin : begin + length], found[at : at + length], strict=True):
                if word is None:
                    continue
                lit = word["highlighted"]
                frames = abs(onset_s - (lit[0] if lit else word["start_s"])) * truth["video"]["frame_rate"]
                on_time += frames <= (_HIGHLIGHT_FRAMES if lit else _APPEARS_FRAMES) + 0.01
        counted.append((" ".join(caption["kinds"]), on_time, len(words)))
    return counted


def _parts(text: str) -> list[tuple[str, bool]]:
    """Return what a word is timed by, a word or a character, each with whether it is the first."""
    return [(text[start:end].casefold(), number == 0) for number, (start, end) in enumerate(word_spans(text))]


def _onsets(row: Judged, predicted: PredictedCaption) -> list[tuple[str, float]]:
    """Return the words of a prediction and when they begin, seconds."""
    number = row.measured.captions.index(predicted)
    return row.measured.onsets[number] if row.measured.onsets else []


def phantoms_table(clips: Sequence[Clip], judged: Sequence[Judged]) -> str:
    """Return what the phantoms of drawn clips are: captions found otherwise, or text of another kind."""
    counts: Counter[str] = Counter()
    for clip, row in zip(clips, judged, strict=True):
        truth = json.loads(clip.truth.read_text(encoding="utf-8"))
        texts = [*truth["captions"], *truth.get("texts", ())]
        counts.update(_kind_of(phantom, texts) for phantom in row.report.phantoms)
    rows = [["what the phantoms show", "phantoms"], *([kind, str(count)] for kind, count in counts.most_common())]
    return markdown_table(rows)


def _kind_of(phantom: PredictedCaption, texts: Sequence[dict[str, Any]]) -> str:
    """Return the kind of the drawn text that a phantom is most like; a part of a longer text counts, too."""
    best, kind = MIN_SIMILARITY, "nothing that was drawn"
    for text in texts:
        if text["start_s"] < phantom.end_s and phantom.start_s < text["end_s"]:
            lines = [text["text"], *text["text"].split("\n"), *(word["text"] for word in text.get("words", ()))]
            alike = max(similarity(phantom.text, line) for line in lines)
            if alike >= best:
                best, kind = alike, text.get("kind", "caption")
    return kind


def failures(row: Judged) -> list[str]:
    """List the errors in a clip in order of time, each with the predictions near it."""
    report = row.report
    lines: list[tuple[int, str, TrueCaption | PredictedCaption]] = []
    predicted = sorted(row.measured.captions, key=lambda caption: caption.start_frame)
    for caption in report.missed:
        lines.append((caption.start_frame, f"missed   {_quote(caption)}", caption))
    for guess in report.phantoms:
        lines.append((guess.start_frame, f"phantom  {_quote(guess)}", guess))
    for match in report.matches:
        if not match.strict or match.predicted.text != match.truth.text:
            lines.append(
                (match.truth.start_frame, f"{_fault(match)} {_quote(match.truth)}{_reading(match)}", match.truth)
            )
    listed = []
    for _, line, caption in sorted(lines, key=lambda entry: entry[0]):
        listed.append(f"{row.measured.clip} {caption.start_s:7.3f} {line}")
        if not line.startswith("text"):
            listed += [f"{'':12}predicted {_quote(near)}" for near in predicted if _near(near, caption)]
    return listed


def _fault(match: Match) -> str:
    if match.timed:
        return "TEXT    " if not match.strict else "text    "
    return f"timing {match.start_error:+d}/{match.end_error:+d}"


def _reading(match: Match) -> str:
    if match.predicted.text == match.truth.text:
        return ""
    edits = Levenshtein.distance(plain(match.predicted.text), plain(match.truth.text))
    return f" read {match.predicted.text!r} ({edits} edits)"


def _near(guess: PredictedCaption, caption: TrueCaption | PredictedCaption) -> bool:
    return guess.start_frame < caption.end_frame + 6 and guess.end_frame > caption.start_frame - 6


def _quote(caption: TrueCaption | PredictedCaption) -> str:
    fades = ""
    if isinstance(caption, TrueCaption) and (caption.fade_in_frames or caption.fade_out_frames):
        fades = f" fade {caption.fade_in_frames}/{caption.fade_out_frames}"
    return f"[{caption.start_frame}, {caption.end_frame}){fades} {caption.text!r}"


def machine() -> str:
    """Return the machine, the versions, and the commit as a Markdown list."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return "\n".join(
        [
            f"- machine: {cpu_name()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
            f"- memory: {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
            f"- Python {platform.python_version()}, {versions()}",
            f"- commit {commit or 'unknown'}",
        ]
    )
