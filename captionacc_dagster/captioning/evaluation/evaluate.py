"""Evaluates a subtitle file against ground truth and formats the result as text."""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionacc_dagster.captioning.captions import Cue
from captionacc_dagster.captioning.evaluation.scoring import (
    BoundaryErrors,
    PredictedCaption,
    Report,
    TrueCaption,
    score,
)
from captionacc_dagster.captioning.files.subtitles import SubtitleError, read_subtitles

ASSUMED_FRAME_RATE = 25.0

# Subtitle files count in milliseconds, so a time can be half a millisecond after its frame, plus rounding errors.
_TIME_SLACK_S = 0.0006


@dataclass(frozen=True, slots=True)
class FrameClock:
    """Converts seconds to native frames: by the frames' own times if known, else by a constant rate."""

    rate: float
    times_s: tuple[float, ...] = ()

    def frame_at(self, seconds: float) -> int:
        """Return the first frame shown at or after a time."""
        if self.times_s:
            return bisect.bisect_left(self.times_s, seconds - _TIME_SLACK_S)
        return max(0, math.ceil((seconds - _TIME_SLACK_S) * self.rate))


def evaluate_files(predicted: Path, truth: Path, frame_rate: float | None = None) -> Report:
    """Return the comparison of two subtitle files (SRT, WebVTT, ASS, or JSON).

    Boundaries are compared in native frames. A JSON truth can contain ``start_frame``, ``end_frame``, ``track``,
    ``fade_in_frames``, and ``fade_out_frames`` for each caption, and ``frame_times_s``, ``video.frame_rate``, or
    ``fps`` for the video. Without frames, times are converted to frames. Text of other kinds than ``caption`` does not
    count.

    Args:
        predicted: the captions that a program found.
        truth: the captions in the video.
        frame_rate: frames per second of the video; by default from the files, else `ASSUMED_FRAME_RATE`.

    Raises:
        SubtitleError: a file cannot be read; the message names the file, the line or row, and the reason.
    """
    cues = [cue for cue in read_subtitles(predicted) if cue.kind == "caption"]
    facts = _json_facts(truth)
    true_captions = _read_truth(truth, facts)
    clock, note = _clock(facts, _json_facts(predicted), frame_rate)
    return score(
        [_predicted(cue, clock) for cue in cues],
        [_with_frames(caption, clock) for caption in true_captions],
        [note] if note else [],
    )


def read_truth(path: Path) -> tuple[list[TrueCaption], FrameClock]:
    """Return the captions of a ground truth file and the frame clock of its video.

    Raises:
        SubtitleError: the file cannot be read.
    """
    facts = _json_facts(path)
    clock, _ = _clock(facts, {}, None)
    return [_with_frames(caption, clock) for caption in _read_truth(path, facts)], clock


def _json_facts(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file that contains an object; for any other file, an empty dict."""
    if path.suffix.lower() != ".json":
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SubtitleError(f"{path.name}: {error}") from error
    return content if isinstance(content, dict) else {}


def _read_truth(path: Path, facts: dict[str, Any]) -> list[tuple[Cue, dict[str, Any]]]:
    cues = [cue for cue in read_subtitles(path) if cue.kind == "caption"]
    if path.suffix.lower() != ".json":
        return [(cue, {}) for cue in cues]
    rows = {_identity(row["start_s"], row["end_s"], row["text"]): row for row in facts.get("captions", [])}
    return [(cue, rows.get(_identity(cue.start_s, cue.end_s, cue.text), {})) for cue in cues]


def _identity(start_s: float, end_s: float, text: str) -> tuple[float, float, str]:
    return float(start_s), float(end_s), text


def _clock(truth: dict[str, Any], predicted: dict[str, Any], frame_rate: float | None) -> tuple[FrameClock, str]:
    if frame_rate is not None:
        return FrameClock(frame_rate), ""
    times = tuple(float(time) for time in truth.get("frame_times_s", ()))
    for facts in (truth, predicted):
        video = facts.get("video")
        rate = facts.get("fps") or (video.get("frame_rate") if isinstance(video, dict) else None)
        if rate:
            return FrameClock(float(rate), times), ""
    if times:
        return FrameClock(len(times) / max(times[-1], 1e-9), times), ""
    return FrameClock(
        ASSUMED_FRAME_RATE
    ), f"no frame rate is known, so {ASSUMED_FRAME_RATE:g} frames per second are assumed; use --frame-rate to set it"


def _with_frames(row: tuple[Cue, dict[str, Any]], clock: FrameClock) -> TrueCaption:
    cue, facts = row
    start, end = _frames(cue, clock)
    return TrueCaption(
        start_s=cue.start_s,
        end_s=cue.end_s,
        start_frame=start,
        end_frame=end,
        text=cue.text,
        track=cue.track,
        fade_in_frames=int(facts.get("fade_in_frames") or 0),
        fade_out_frames=int(facts.get("fade_out_frames") or 0),
    )


def _predicted(cue: Cue, clock: FrameClock) -> PredictedCaption:
    start, end = _frames(cue, clock)
    return PredictedCaption(start_s=cue.start_s, end_s=cue.end_s, start_frame=start, end_frame=end, text=cue.text)


def _frames(cue: Cue, clock: FrameClock) -> tuple[int, int]:
    start = clock.frame_at(cue.start_s) if cue.start_frame is None else cue.start_frame
    end = clock.frame_at(cue.end_s) if cue.end_frame is None else cue.end_frame
    return start, end


def format_report(report: Report) -> str:
    """Return a comparison as text: the scores, then every error in order of time."""
    scores = report.scores
    lines = [
        f"captions      {scores.truths} true, {scores.predictions} predicted, {scores.matches} matched",
        f"events F1     {scores.f1:.4f}",
        f"strict F1     {scores.strict_f1:.4f}   (both ends within 1 frame on cuts, 2 on fades; CER <= 0.1)",
        f"boundaries    cuts: {_errors(scores.cuts)}; fades: {_errors(scores.fades)}",
        f"CER           {scores.cer_matched:.4f} matched, {scores.cer_all:.4f} with misses and phantoms (normalized)",
        f"CER raw       {scores.cer_raw_matched:.4f} matched, {scores.cer_raw_all:.4f} with misses and phantoms",
        f"short         {scores.shorts_found} of {scores.shorts} captions of 0.5 s or less found",
        f"neighbors     {scores.neighbors_merged} of {scores.neighbors} that differ in one character merged",
        f"wrong         {scores.missed} missed, {scores.phantoms} phantoms, "
        f"{scores.merged} merged, {scores.split} split",
    ]
    lines += [f"note          {note}" for note in report.notes]
    wrong = _wrong(report)
    if wrong:
        lines += ["", *(line for _, line in sorted(wrong, key=lambda row: row[0]))]
    return "\n".join(lines) + "\n"


def _errors(errors: BoundaryErrors) -> str:
    if not errors.count:
        return "none"
    return f"median {errors.median:g}, p95 {errors.p95:g}, worst {errors.worst:g} frames of {errors.count}"


def _wrong(report: Report) -> list[tuple[float, str]]:
    rows = [(caption.start_s, f"{_when(caption)}  missed   {_quote(caption)}") for caption in report.missed]
    rows += [(guess.start_s, f"{_when(guess)}  phantom  {_quote(guess)}") for guess in report.phantoms]
    for guess, first, second in report.merged:
        rows.append(
            (guess.start_s, f"{_when(guess)}  merged   {_quote(first)} and {_quote(second)} as {_quote(guess)}")
        )
    for caption, parts in report.split:
        rows.append((caption.start_s, f"{_when(caption)}  split    {_quote(caption)} into {_all(parts)}"))
    for match in report.matches:
        truth, guess = match.truth, match.predicted
        if not match.timed:
            late = f"start {match.start_error:+d}, end {match.end_error:+d} frames"
            rows.append((truth.start_s, f"{_when(truth)}  timing   {_quote(truth)}: {late}"))
        if match.cer > 0:
            rows.append((truth.start_s, f"{_when(truth)}  text     {_quote(truth)} read as {_quote(guess)}"))
    return rows


def _when(caption: TrueCaption | PredictedCaption) -> str:
    minutes, seconds = divmod(caption.start_s, 60)
    return f"{int(minutes):3d}:{seconds:06.3f}"


def _quote(caption: TrueCaption | PredictedCaption) -> str:
    return json.dumps(caption.text, ensure_ascii=False)


def _all(captions: Sequence[PredictedCaption]) -> str:
    return " | ".join(map(_quote, captions))
