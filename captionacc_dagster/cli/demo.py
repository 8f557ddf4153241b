"""``captionacc demo``: process a clip with known captions and compare the result with the truth."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from captionacc_dagster.captioning.evaluation.scoring import PredictedCaption, TrueCaption, score
from captionacc_dagster.captioning.files.subtitles import write_subtitles
from captionacc_dagster.cli.demo_clip import FRAME_RATE, make_demo_clip
from captionacc_dagster.cli.process import captions_table, open_pipeline
from captionacc_dagster.settings import Settings


def run_demo(settings: Settings, console: Console, output_dir: Path) -> bool:
    """Draw the clip, process it, and print the result; return True if every caption is right.

    Raises:
        ProcessError: a stage failed.
    """
    console.print(f"Drawing a clip with captions: {output_dir / 'harbour.mp4'} ...", highlight=False)
    clip = make_demo_clip(output_dir / "harbour.mp4")
    write_subtitles(output_dir / "harbour.truth.srt", clip.captions)
    started = time.monotonic()
    with open_pipeline(settings, Console(stderr=True)) as pipeline:
        outcome = pipeline.process(clip.path, output_dir=output_dir, formats=["srt", "vtt", "ass", "json"], again=True)
    console.print(captions_table("Captions found", outcome.cues))
    for path in outcome.written:
        console.print(str(path), highlight=False, soft_wrap=True)
    report = score(
        [
            PredictedCaption(
                start_s=cue.start_s,
                end_s=cue.end_s,
                start_frame=round(cue.start_s * FRAME_RATE),
                end_frame=round(cue.end_s * FRAME_RATE),
                text=cue.text,
            )
            for cue in outcome.cues
        ],
        [
            TrueCaption(
                start_s=caption.start_s,
                end_s=caption.end_s,
                start_frame=caption.start_frame,
                end_frame=caption.end_frame,
                text=caption.text,
            )
            for caption in clip.captions
        ],
    )
    right = sum(match.timed and match.predicted.text == match.truth.text for match in report.matches)
    total, found = len(clip.captions), len(outcome.cues)
    color = "green" if right == total == found else "red"
    console.print(
        f"[{color}]{right} of {total} captions exactly right[/{color}] (every character, both ends within one "
        f"frame), {found - right} wrong or spurious, in {time.monotonic() - started:.1f} s"
    )
    return right == total == found
