"""The wide clips: what the truth says is what the pixels show, for every kind of caption and every other text."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks.captions.measure import Cost, Measured
from benchmarks.captions.render import Clip
from benchmarks.captions.report import judge, modes_table
from benchmarks.captions.wide.captions import MODES, PLACES, CaptionSpec
from benchmarks.captions.wide.looks import BUILT_IN as FONT
from benchmarks.captions.wide.looks import DISPLAY, MONO, SANS, SERIF, Look, files_of
from benchmarks.captions.wide.overlays import OVERLAYS
from benchmarks.captions.wide.photographs import BUILT_IN as PHOTOGRAPHS
from benchmarks.captions.wide.render import motion_specs, render_wide_clip, require_sources, wide_specs
from benchmarks.captions.wide.scenes import SCENES
from benchmarks.captions.wide.specs import WideSpec, draw_spec
from captionacc_dagster.captioning.evaluation.evaluate import read_truth
from captionacc_dagster.captioning.evaluation.scoring import PredictedCaption

# Pillow's own font and scikit-image's photographs: these tests need no package.
LOOK = Look(FONT, 0.08, outline=0.08)
SPEC = WideSpec(
    "small", 5, 320, 180, Fraction(25), 4.0, "plain", (), fonts=(FONT,), mono=(FONT,), photographs=PHOTOGRAPHS, crf=14
)  # fmt: skip


def truth_of(clip: Clip) -> dict:
    return json.loads(clip.truth.read_text(encoding="utf-8"))


def frames_of(clip: Clip) -> list[np.ndarray]:
    import av

    with av.open(str(clip.video)) as container:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]


def captioned(mode: str, folder: Path, **changes: object) -> Clip:
    track = CaptionSpec(mode, "en", LOOK, lines=2, most=4, pace=0.6)
    return render_wide_clip(replace(SPEC, name=mode, captions=(track,), **changes), folder)  # type: ignore[arg-type]


def inside(row: dict, frame: np.ndarray) -> np.ndarray:
    box, (height, width) = row["bbox"], frame.shape[:2]
    rows = slice(int(box["top"] * height), int(box["bottom"] * height) + 1)
    return frame[rows, int(box["left"] * width) : int(box["right"] * width) + 1]


def differs(row: dict, one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.sort(np.abs(inside(row, one) - inside(row, other)).ravel())[-20:].mean() > 40)


@pytest.mark.integration
@pytest.mark.parametrize("mode", MODES)
def test_captions_of_every_mode_come_and_go_where_the_truth_says(tmp_path, mode):
    clip = captioned(mode, tmp_path)
    frames, truth = frames_of(clip), truth_of(clip)
    assert truth["captions"]
    assert len(frames) == truth["video"]["frame_count"]
    for caption in truth["captions"]:
        start, end = caption["start_frame"], caption["end_frame"]
        assert differs(caption, frames[start], frames[start - 1]) if start else True
        assert differs(caption, frames[end], frames[end - 1]) if end < len(frames) else True
        assert caption["kind"] == "caption"
        assert caption["kinds"] == [mode]
    covered = {at for row in truth["captions"] for at in range(row["start_frame"], row["end_frame"])}
    free = sorted(set(range(len(frames))) - covered)
    for at in free[1:]:
        if at - 1 in free:
            assert np.abs(frames[at] - frames[at - 1]).max() < 40, at


@pytest.mark.integration
def test_words_that_light_up_are_lit_when_the_truth_says(tmp_path):
    clip = captioned("highlight", tmp_path)
    frames = frames_of(clip)
    words = [word for caption in truth_of(clip)["captions"] for word in caption["words"]]
    assert words
    for word in words:
        first, last = (round(25 * moment) for moment in word["highlighted"])
        start = round(25 * word["start_s"])
        if first > start:
            assert differs(word, frames[first], frames[first - 1]), word
        assert not differs(word, frames[first], frames[last - 1]), word


@pytest.mark.integration
def test_words_that_build_up_appear_when_the_truth_says(tmp_path):
    clip = captioned("build", tmp_path)
    frames = frames_of(clip)
    for caption in truth_of(clip)["captions"]:
        assert [word["text"] for word in caption["words"]] == caption["text"].split()
        for word in caption["words"][1:]:
            first = round(25 * word["start_s"])
            assert differs(word, frames[first], frames[first - 1]), word


@pytest.mark.integration
@pytest.mark.parametrize("name", OVERLAYS)
def test_every_overlay_is_drawn_in_its_box_and_named_by_its_kind(tmp_path, name):
    kinds = {
        "lower_third": "lower_third",
        "phone": "interface",
        "title": "title",
        "end_card": "title",
        "credits": "title",
    }
    plain = frames_of(render_wide_clip(SPEC, tmp_path))
    clip = render_wide_clip(replace(SPEC, name=name, overlays=(name,)), tmp_path)
    frames, texts = frames_of(clip), truth_of(clip)["texts"]
    assert texts
    for row in texts:
        assert row["kind"] == kinds.get(name, "fixture")
        middle = (row["start_frame"] + row["end_frame"]) // 2
        assert differs(row, frames[middle], plain[middle])
    assert truth_of(clip)["captions"] == []


@pytest.mark.integration
@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_is_drawn_and_its_text_is_no_caption(tmp_path, scene):
    spec = replace(SPEC, name=scene, scene=scene, seconds=3.0, signs=scene in ("pan", "still"))
    clip = render_wide_clip(spec, tmp_path)
    frames, truth = frames_of(clip), truth_of(clip)
    assert len(frames) == 75
    kinds = {row["kind"] for row in truth["texts"]}
    expected = {"editor": {"interface"}, "typing": {"interface"}, "slides": {"interface"}}
    assert kinds <= expected.get(scene, {"scene"} if spec.signs else set())
    assert kinds or not (spec.signs or scene in ("editor", "typing"))
    for row in truth["texts"]:
        assert row["start_frame"] < row["end_frame"] <= 75
        assert inside(row, frames[row["start_frame"]]).size


@pytest.mark.integration
def test_overlays_never_cover_a_caption(tmp_path):
    for seed in range(5):
        track = CaptionSpec("lines", "en", LOOK, most=3)
        spec = replace(SPEC, name=f"all-{seed}", seed=seed, captions=(track,), overlays=tuple(OVERLAYS))
        truth = truth_of(render_wide_clip(spec, tmp_path))
        for caption in truth["captions"]:
            for text in truth["texts"]:
                apart_in_time = (
                    text["end_frame"] <= caption["start_frame"] or caption["end_frame"] <= text["start_frame"]
                )
                one, other = caption["bbox"], text["bbox"]
                apart = (
                    one["right"] <= other["left"] or other["right"] <= one["left"]
                    or one["bottom"] <= other["top"] or other["bottom"] <= one["top"]
                )  # fmt: skip
                assert apart_in_time or apart, (seed, caption["text"], text["text"])


@pytest.mark.integration
def test_a_clip_is_the_same_again_and_read_as_truth(tmp_path):
    clip = captioned("words", tmp_path / "one")
    again = captioned("words", tmp_path / "two")
    assert clip.video.read_bytes() == again.video.read_bytes()
    assert truth_of(clip) == truth_of(again)
    captions, clock = read_truth(clip.truth)
    assert [caption.text for caption in captions] == [row["text"] for row in truth_of(clip)["captions"]]
    assert clock.frame_at(captions[0].end_s) == captions[0].end_frame


@pytest.mark.unit
def test_seeds_draw_every_kind_in_many_ways():
    specs = wide_specs(1, 400)
    tracks = [track for spec in specs for track in spec.captions]
    assert {track.mode for track in tracks} == set(MODES)
    assert len({track.look.font for track in tracks}) >= 60
    assert {spec.scene for spec in specs} == set(SCENES)
    assert {name for spec in specs for name in spec.overlays} == set(OVERLAYS)
    assert {track.place for track in tracks} <= set(PLACES)
    assert len({(spec.width, spec.height) for spec in specs}) >= 9
    assert min(spec.rate for spec in specs) == 1
    assert max(spec.rate for spec in specs) == 60
    assert min(spec.seconds for spec in specs) < 3
    assert max(spec.seconds for spec in specs) > 45
    assert 10 <= sum(not spec.captions for spec in specs) <= 70
    assert draw_spec(17) == draw_spec(17)
    files = [file for group in (SANS, SERIF, MONO, DISPLAY) for file in files_of(group)]
    assert len({Path(file).stem.split("-")[0] for file in files}) >= 40


@pytest.mark.unit
def test_the_motion_part_has_three_clips_of_each_kind():
    modes = [spec.captions[0].mode for spec in motion_specs()]
    assert all(modes.count(mode) == 3 for mode in set(modes))
    assert len(set(modes)) == 7


@pytest.mark.unit
def test_a_missing_font_is_named_with_the_package_that_has_it(monkeypatch):
    monkeypatch.setattr("benchmarks.captions.wide.looks.installed_fonts", dict)
    spec = replace(SPEC, fonts=("Lato-Bold.ttf",))
    with pytest.raises(RuntimeError, match="apt-get install fonts-lato"):
        require_sources([spec], install=False)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("onsets", "on_time"),
    [
        ([("小", 0), ("安", 4), ("快", 9), ("来", 20), ("看", 24)], "1.000"),
        ([("小", 0), ("安", 4), ("快", 9), ("来", 24), ("看", 28)], "0.500"),
        ([("小安快来看", 0)], "0.500"),
    ],
    ids=["each character", "the second word late", "all at once"],
)
def test_a_word_without_spaces_is_on_time_when_its_first_character_is(
    tmp_path: Path, onsets: list[tuple[str, int]], on_time: str
):
    """Which characters are a word cannot be seen: words of two and more were never found, whatever their times."""
    box = {"left": 0.2, "top": 0.8, "right": 0.8, "bottom": 0.9}
    words = [
        {"text": text, "highlighted": [at, at + 1], "start_s": 0.0, "end_s": 4.0, "bbox": box}
        for text, at in (("小安快", 0.0), ("来看", 2.0))
    ]
    row = {"start_s": 0.0, "end_s": 4.0, "start_frame": 0, "end_frame": 40, "text": "小安快来看", "kinds": ["karaoke"]}
    video = {"width": 64, "height": 36, "duration_s": 4.0, "frame_rate": 10.0}
    clip = Clip("clip", tmp_path / "clip.mp4", tmp_path / "clip.truth.json")
    clip.truth.write_text(json.dumps({"video": video, "captions": [{**row, "words": words}]}), encoding="utf-8")
    measured = Measured("clip", "engine", Cost(0, 0, 0), 1.0)
    measured.captions = [PredictedCaption(start_s=0.0, end_s=4.0, start_frame=0, end_frame=40, text="小安快来看")]
    measured.onsets = [[(text, at / 10) for text, at in onsets]]
    table = modes_table([clip], [judge(clip, measured)])
    assert table.splitlines()[-1].endswith(f"| 2 | {on_time} |")
