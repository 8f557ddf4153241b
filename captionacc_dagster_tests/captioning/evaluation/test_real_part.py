"""The part `real`: clips of a folder outside the repository, judged by the project's own scorer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.captions.measure import Cost, Measured
from benchmarks.captions.real import group_of, is_tight, real_clips, real_clips_table, real_table, tight_f1
from benchmarks.captions.render import Clip
from benchmarks.captions.report import judge, modes_table, phantoms_table
from captionacc_dagster.captioning.evaluation.scoring import PredictedCaption


def caption(start_s: float, end_s: float, text: str) -> dict:
    frames = {"start_frame": round(start_s * 25), "end_frame": round(end_s * 25)}
    return {"start_s": start_s, "end_s": end_s, "text": text} | frames


@pytest.fixture
def folder(tmp_path) -> Path:
    clips = {
        "latin": [caption(1, 2, "Où est la gare ?"), caption(3, 5, "It's late.")],
        "russian": [caption(0, 2, "Где вокзал?")],
        "empty": [],
    }
    for name, captions in clips.items():
        facts = {"fps": 25.0, "width": 640, "height": 360, "duration_s": 6.0, "captions": captions}
        (tmp_path / f"{name}.json").write_text(json.dumps(facts), encoding="utf-8")
        (tmp_path / f"{name}.mp4").touch()
    (tmp_path / "without-truth.mp4").touch()
    return tmp_path


def judged(clip: Clip, *found: dict):
    measured = Measured(clip.name, "engine", Cost(1.0, 1.0, 1.0), 1.0, [PredictedCaption(**row) for row in found])
    return judge(clip, measured)


@pytest.mark.unit
def test_the_clips_of_a_folder_are_its_videos_with_truth(folder):
    assert [clip.name for clip in real_clips(folder)] == ["empty", "latin", "russian"]
    assert [clip.name for clip in real_clips(folder, ["lat"])] == ["latin"]
    with pytest.raises(ValueError, match="no video with a truth"):
        real_clips(folder, ["no-such-clip"])


@pytest.mark.unit
def test_a_match_is_tight_when_both_ends_are_within_two_frames(folder):
    clip = real_clips(folder, ["latin"])[0]
    tight = judged(clip, caption(1.08, 1.92, "Où est la gare ?"), caption(3, 5, "It's late."))
    loose = judged(clip, caption(1.12, 2, "Où est la gare ?"), caption(3, 5, "It's late."))
    assert [is_tight(match) for match in tight.report.matches] == [True, True]
    assert [is_tight(match) for match in loose.report.matches] == [False, True]
    assert tight_f1([tight.report]) == 1.0
    assert tight_f1([loose.report]) == 0.5
    assert tight_f1([judged(clip, caption(3, 5, "It's late.")).report]) == pytest.approx(2 / 3)


@pytest.mark.unit
def test_the_tables_pool_by_script_and_only_the_long_one_names_clips(folder):
    empty, latin, russian = real_clips(folder)
    rows = [
        judged(empty, caption(1, 2, "SALE")),
        judged(latin, caption(1, 2, "Où est la gare ?")),
        judged(russian, caption(0, 2, "Где вокзал?")),
    ]
    assert [group_of(row.report) for row in rows] == ["without captions", "Latin script", "other scripts"]
    table = real_table({"engine": rows})
    assert "| 1 Latin script | engine | 2 | 1 | 0.667 | 0.667 |" in table
    assert "| 1 other scripts | engine | 1 | 1 | 1.000 |" in table
    assert "| 1 without captions | engine | 0 | 0 | 0.000 |" in table
    assert not any(clip.name in table for clip in (empty, latin, russian))
    assert all(f"| {clip.name} |" in real_clips_table({"engine": rows}) for clip in (empty, latin, russian))


@pytest.mark.unit
def test_drawn_clips_are_reported_by_kind(tmp_path):
    rows = [caption(0, 1, "one") | {"kinds": ["words"], "kind": "caption"}]
    texts = [caption(2, 4, "Ada Lovelace\nMathematician") | {"kind": "lower_third", "words": []}]
    facts = {"fps": 25.0, "width": 9, "height": 9, "duration_s": 9.0, "captions": rows, "texts": texts}
    clip = Clip("drawn", tmp_path / "drawn.mp4", tmp_path / "drawn.json")
    clip.truth.write_text(json.dumps(facts), encoding="utf-8")
    row = judged(clip, caption(0, 1, "one"), caption(2, 4, "Ada Lovelace"), caption(5, 6, "leaves"))
    assert "| words | 1 | 1.000 | 1.000 |" in modes_table([clip], [row])
    table = phantoms_table([clip], [row])
    assert "| lower_third | 1 |" in table
    assert "| nothing that was drawn | 1 |" in table


@pytest.mark.integration
def test_the_command_says_what_is_missing_in_one_line(tmp_path):
    def told(*arguments: str) -> str:
        command = [sys.executable, "-m", "benchmarks.captions", "--part", "real", *arguments]
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": "."})
        assert run.returncode == 1
        return run.stderr.strip()

    assert told() == "--part real needs --clips DIR: a folder with clips and their truth"
    assert told("--clips", str(tmp_path)).endswith("contains no video with a truth beside it (clip.mp4 and clip.json)")
