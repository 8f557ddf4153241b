"""``captionacc demo``: process a clip with known captions and compare the result with the truth."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from captionacc_dagster.captioning.captions import Caption
from captionacc_dagster.captioning.evaluation.scoring import PredictedCaption, TrueCaption, score
from captionacc_dagster.captioning.files import databases
from captionacc_dagster.captioning.files.subtitles import write_subtitles
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.cli.demo_clip import FRAME_RATE, make_demo_clip
from captionacc_dagster.cli.outputs import Outputs
from captionacc_dagster.cli.process import captions_table, open_pipeline
from captionacc_dagster.orchestration.subtitle_files import video_keys
from captionacc_dagster.settings import Settings
from captionacc_dagster.storage.base import ObjectStore


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
        outcome = pipeline.process(
            clip.path,
            outputs=Outputs(settings.home, overwrite=True),
            output_dir=output_dir,
            formats=["srt", "vtt", "ass", "json"],
            again=True,
        )
        captions = _as_found(pipeline.store, outcome.video)
    console.print(captions_table("Captions found", outcome.cues))
    for path in outcome.written.paths:
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
            for cue in captions
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
    total, found = len(clip.captions), len(captions)
    color = "green" if right == total == found else "red"
    console.print(
        f"[{color}]{right} of {total} captions exactly right[/{color}] (every character, both ends within one "
        f"frame), {found - right} wrong or spurious, in {time.monotonic() - started:.1f} s"
    )
    return right == total == found


def _as_found(store: ObjectStore, video: Video) -> list[Caption]:
    """Return the captions as the machine found them: a person may have corrected those of an earlier demo."""
    with TemporaryDirectory(prefix="captionacc-") as folder:
        key = video_keys(video).extents_db(video.cropped_frames_version or 0)
        path = store.download_file(key, Path(folder) / "extents.db")
        found = databases.read_extents_database(path)
    return [caption for caption in found if caption.kind == "caption" and caption.text.strip()]
