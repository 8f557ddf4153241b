"""The benchmark's generator: what its truth says is what the pixels show."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein

from benchmarks.captions.clips import clips_of
from benchmarks.captions.corpus import Deck
from benchmarks.captions.lettering import Letterer
from benchmarks.captions.render import Clip, render_clip
from benchmarks.captions.script import EVENTS, write_script
from benchmarks.captions.specs import ClipSpec, Look, TrackSpec
from captionacc_dagster.captioning.evaluation.evaluate import read_truth

# Pillow's own font: these tests need no font package.
TRACK = TrackSpec(
    "en",
    "bottom",
    Look("outlined", "aileron", 0.09),
    "normal joined short fade neighbors repeat",
    shuffle=False,
    starts_at_once=True,
    runs_to_end=True,
)
SPEC = ClipSpec("small", 7, 320, 180, Fraction(25), "gradient", (TRACK,), crf=18)


def frames_of(clip: Clip) -> list[np.ndarray]:
    import av

    with av.open(str(clip.video)) as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


def truth_of(clip: Clip) -> dict:
    return json.loads(clip.truth.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Clip:
    return render_clip(SPEC, tmp_path_factory.mktemp("clips"))


@pytest.mark.integration
def test_every_boundary_of_the_truth_is_where_the_pixels_change(clip):
    frames, truth = frames_of(clip), truth_of(clip)
    assert len(frames) == truth["video"]["frame_count"] == len(truth["frame_times_s"]) - 1
    for caption in truth["captions"]:
        if "fade" in caption["kinds"]:
            continue
        box = caption["bbox"]
        rows = slice(int(box["top"] * 180), int(box["bottom"] * 180) + 1)
        columns = slice(int(box["left"] * 320), int(box["right"] * 320) + 1)
        for at in (caption["start_frame"], caption["end_frame"]):
            if 0 < at < len(frames):
                before, after = (frame[rows, columns].astype(int) for frame in (frames[at - 1], frames[at]))
                inside = frames[at + 1 if at == caption["start_frame"] else at - 2][rows, columns].astype(int)
                same = after if at == caption["start_frame"] else before
                # One character that changes is little of the whole box, so the most changed pixels decide.
                assert np.sort(np.abs(after - before).ravel())[-20:].mean() > 60, caption
                assert np.sort(np.abs(inside - same).ravel())[-20:].mean() < 30, caption


@pytest.mark.integration
def test_a_fade_is_half_opaque_at_its_boundaries(clip):
    frames, truth = frames_of(clip), truth_of(clip)
    caption = next(caption for caption in truth["captions"] if "fade" in caption["kinds"])
    box, start, end = caption["bbox"], caption["start_frame"], caption["end_frame"]
    rows = slice(int(box["top"] * 180), int(box["bottom"] * 180) + 1)
    columns = slice(int(box["left"] * 320), int(box["right"] * 320) + 1)
    crops = [frame[rows, columns].astype(float) for frame in frames]

    fade = caption["fade_in_frames"] // 2

    def opacity(at: int, bare: int) -> float:
        full = start + fade if bare < start else end - 1 - fade
        return float(np.abs(crops[at] - crops[bare]).mean() / np.abs(crops[full] - crops[bare]).mean())

    before, after = start - fade, end + fade
    assert opacity(start, before) == pytest.approx(0.5, abs=0.1)
    assert opacity(start - 1, before) < 0.46
    assert opacity(end - 1, after) == pytest.approx(0.5, abs=0.1)
    assert opacity(end, after) < 0.46
    assert caption["fade_in_frames"] == caption["fade_out_frames"] > 0


@pytest.mark.integration
def test_the_truth_begins_at_frame_zero_and_ends_with_the_clip(clip):
    captions, clock = read_truth(clip.truth)
    assert captions[0].start_frame == 0
    assert captions[-1].end_frame == len(clock.times_s) - 1
    for caption in captions:
        assert clock.frame_at(caption.start_s) == caption.start_frame
        assert clock.frame_at(caption.end_s) == caption.end_frame


@pytest.mark.integration
def test_a_clip_is_made_once_and_the_same_again_elsewhere(clip, tmp_path):
    written = clip.video.stat().st_mtime_ns
    assert render_clip(SPEC, clip.video.parents[1]) == clip
    assert clip.video.stat().st_mtime_ns == written
    assert truth_of(render_clip(SPEC, tmp_path)) == truth_of(clip)
    other = render_clip(replace(SPEC, seed=8), tmp_path)
    assert [caption["text"] for caption in truth_of(other)["captions"]] != [
        caption["text"] for caption in truth_of(clip)["captions"]
    ]


@pytest.mark.integration
@pytest.mark.parametrize("codec", ["h264", "vp9"])
def test_times_of_a_variable_frame_rate_are_those_in_the_file(tmp_path, codec):
    import av

    track = replace(TRACK, events="short short-joined", runs_to_end=False)
    clip = render_clip(replace(SPEC, name="vfr", vfr=True, codec=codec, tracks=(track,)), tmp_path)
    with av.open(str(clip.video)) as container:
        times = [float(frame.time or 0) for frame in container.decode(video=0)]
    truth = truth_of(clip)
    assert truth["frame_times_s"][:-1] == pytest.approx([time - times[0] for time in times], abs=1e-5)
    assert len(set(np.round(np.diff(times), 3))) > 1


@pytest.mark.unit
def test_every_event_happens_as_it_says():
    track = replace(TRACK, events=" ".join(EVENTS), starts_at_once=False)
    events = write_script(track, 25.0, random.Random(3))
    kinds = {kind: [event for event in events if kind in event.kinds] for kind in EVENTS}
    assert kinds["joined"][0].start in {event.end for event in events}
    assert all(8 <= event.end - event.start <= 12 for event in kinds["short"])
    first, second = kinds["neighbors"]
    assert first.end == second.start
    assert Levenshtein.distance(first.text, second.text) == 1
    first, second = kinds["repeat"]
    assert first.text == second.text
    assert 2 <= second.start - first.end <= 10
    fading = kinds["fade"][0]
    assert fading.opacity(fading.start) == 0.5 == fading.opacity(fading.end - 1)
    assert fading.opacity(fading.start - 1) < 0.5 > fading.opacity(fading.end)
    assert kinds["karaoke"][0].karaoke
    cut = kinds["cut"][0]
    assert cut.cut is not None
    assert cut.start < cut.cut < cut.end
    into = kinds["crossfade"][0]
    assert into.start in {event.end for event in events if event.fade_out == into.fade_in}
    assert 14 <= kinds["slow-fade"][0].fade_in <= 30
    for before, after in pairwise(events):
        assert before.end <= after.start
        assert "crossfade" in after.kinds or before.drawn[1] <= after.drawn[0] or not (before.fade_out or after.fade_in)


@pytest.mark.unit
def test_the_decks_contain_enough_and_differ_in_one_character():
    for language in ("en", "es", "zh"):
        deck = Deck(language, random.Random(1))
        assert len({deck.sentence() for _ in range(80)}) == 80
        assert all(Levenshtein.distance(*deck.neighbors()) == 1 for _ in range(20))
    assert "\n" in Deck("zh-en", random.Random(1)).sentence()


@pytest.mark.unit
def test_wide_sentences_are_broken_into_two_even_lines():
    letterer = Letterer(TRACK, 320, 180, 0.86, 0.06)
    text = letterer.break_lines("The lighthouse hasn't worked since 1987, they say.", two_lines=False)
    first, second = text.split("\n")
    assert abs(len(first) - len(second)) < 12
    patch = letterer.letter(text)
    assert 0 < patch.letters[0] < patch.letters[2] < 320
    assert patch.letters[3] < 180


@pytest.mark.unit
def test_the_parts_are_large_enough_and_share_no_clip():
    dev, final, twins = clips_of("dev"), clips_of("final"), clips_of("twins")
    counts = [
        sum(len(write_script(track, float(spec.rate), random.Random(spec.seed))) for track in spec.tracks)
        for spec in final
    ]
    assert len(final) >= 20
    assert sum(counts) >= 300
    assert len({spec.seed for spec in dev} | {spec.seed for spec in final} | {spec.seed for spec in twins}) == len(
        clips_of("all")
    )
    assert len({spec.name for spec in clips_of("all")}) == len(dev + final + twins)
    assert any(not spec.tracks for spec in final)
