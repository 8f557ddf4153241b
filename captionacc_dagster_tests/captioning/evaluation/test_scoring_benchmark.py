"""The benchmark's own parts: the baseline's merging, the table of goals, the list of failures, long videos."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.captions import kept
from benchmarks.captions.baseline import _merge
from benchmarks.captions.measure import Cost, Measured, decode_all, measured_cost
from benchmarks.captions.memory import MemoryCheck, memory_table, repeat_clip
from benchmarks.captions.render import render_clip
from benchmarks.captions.report import Totals, clips_table, failures, goals_table, judge
from benchmarks.captions.sheets import draw_sheet
from benchmarks.captions.specs import ClipSpec, Look, TrackSpec
from captionacc_dagster.captioning.evaluation.scoring import PredictedCaption

TRACK = TrackSpec("en", "bottom", Look("outlined", "aileron", 0.09), "normal joined normal", shuffle=False)
SPEC = ClipSpec("tiny", 7, 320, 180, Fraction(25), "gradient", (TRACK,))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return render_clip(SPEC, tmp_path_factory.mktemp("clips"))


def perfect(clip):
    rows = json.loads(clip.truth.read_text(encoding="utf-8"))["captions"]
    keys = ("start_s", "end_s", "start_frame", "end_frame", "text")
    return [PredictedCaption(**{key: row[key] for key in keys}) for row in rows]


def measured(clip, captions):
    cost = Cost(2.0, 1.0, 300.0)
    return Measured(clip.name, "engine", cost, 1.0, captions, 3, {"decode": 1.5, "ocr": 0.5})


@pytest.mark.unit
def test_the_baseline_merges_neighbors_of_similar_text():
    samples = [
        (0, 0.0, ""),
        (5, 0.2, "Good mornin"),
        (10, 0.4, "Good morning"),
        (15, 0.6, "Good morning"),
        (20, 0.8, ""),
    ]
    samples += [(25, 1.0, "Who is there?"), (30, 1.2, "Nobody."), (35, 1.4, "")]
    captions = _merge(samples)
    assert [(caption.start_frame, caption.end_frame, caption.text) for caption in captions] == [
        (5, 20, "Good morning"),
        (25, 30, "Who is there?"),
        (30, 35, "Nobody."),
    ]


@pytest.mark.integration
def test_goals_are_told_reached_or_not(clip):
    right = judge(clip, measured(clip, perfect(clip)))
    assert failures(right) == []
    table = goals_table({"engine": Totals.of([right])})
    assert "| events F1 | ≥ 0.98 | 1.0000 | yes |" in table
    assert "| OCR recognitions per caption | ≤ 2 | 1.00 | yes |" in table
    wrong = judge(clip, measured(clip, perfect(clip)[1:]))
    table = goals_table({"engine": Totals.of([right, wrong])})
    assert "| events F1 | ≥ 0.98 | 0.9091 | **no** |" in table
    assert Totals.of([right, wrong]).cpu_ratio() == 2.0
    assert "| tiny | 3 | 2 | 0.800 |" in clips_table([wrong])
    assert failures(wrong)[0].split()[2] == "missed"


@pytest.mark.integration
def test_a_sheet_is_drawn(clip, tmp_path):
    from PIL import Image

    row = judge(clip, measured(clip, perfect(clip)))
    row.measured.regions["bottom"] = (0.1, 0.8, 0.9, 1.0)
    draw_sheet(clip, row, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    red, green, blue = (pixels[..., channel] for channel in range(3))
    assert ((green > 130) & (red < 80) & (blue < 100)).sum() > 500


@pytest.mark.integration
def test_a_clip_is_repeated_without_losing_a_frame(clip, tmp_path):
    import av

    count = decode_all(clip.video)
    seconds = json.loads(clip.truth.read_text(encoding="utf-8"))["video"]["duration_s"]
    long = repeat_clip(clip, 3 * seconds / 60, tmp_path)
    with av.open(str(long)) as container:
        times = [float(frame.time or 0.0) for frame in container.decode(video=0)]
    assert len(times) == 3 * count
    steps = [after - before for before, after in pairwise(times)]
    assert min(steps) == pytest.approx(0.04, abs=1e-4) == max(steps)


@pytest.mark.unit
def test_work_costs_something():
    cost = measured_cost(lambda: sum(range(300_000)))
    assert cost.cpu_s > 0 < cost.wall_s
    assert cost.peak_rss_mib > 10


@pytest.mark.unit
def test_a_measurement_of_the_baseline_is_kept_for_its_video_only(clip, tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(clip.video.read_bytes())
    whole = measured(clip, perfect(clip))
    assert kept.load(tmp_path / "kept", video) is None
    kept.store(tmp_path / "kept", video, whole)
    assert kept.load(tmp_path / "kept", video) == whole
    video.write_bytes(video.read_bytes() + b"\0")
    assert kept.load(tmp_path / "kept", video) is None


@pytest.mark.unit
def test_a_failed_or_damaged_measurement_of_the_baseline_is_not_kept(clip, tmp_path):
    failed = measured(clip, [])
    failed.error = "Traceback"
    kept.store(tmp_path, clip.video, failed)
    assert kept.load(tmp_path, clip.video) is None
    kept.store(tmp_path, clip.video, measured(clip, []))
    kept.kept_path(tmp_path, clip.video).write_text('{"clip": "cut o')
    assert kept.load(tmp_path, clip.video) is None


@pytest.mark.unit
def test_memory_is_told_by_length(clip):
    checks = [MemoryCheck("tiny", minutes, 5.0, (200.0, 300.0), measured(clip, [])) for minutes in (2, 120)]
    table = memory_table(checks).splitlines()
    assert [row.split(" | ")[0] for row in table[-2:]] == ["| 2", "| 120"]
    assert "| 300 | 200 300 |" in table[-1]
