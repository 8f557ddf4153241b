"""`--perturb`: a run that repeats only what a number can change finds what a whole run finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from benchmarks.captions.perturb import (
    PerturbedClip,
    TunedNumber,
    _ClipRuns,
    perturb_clip,
    perturb_clips,
    perturbation_report,
    replaced,
    tuned_numbers,
    tunings,
)
from benchmarks.captions.render import Clip, render_clip
from benchmarks.captions.specs import ClipSpec, Look, TrackSpec
from captionacc_dagster.captioning.evaluation.scoring import PredictedCaption
from captionacc_dagster.captioning.extents.find import find_captions
from captionacc_dagster.captioning.layout.find import find_layout, read_full_frames
from captionacc_dagster.captioning.layout.sampler import Sampler
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.video.reader import probe

# Pillow's own font: these tests need no font package.
TRACK = TrackSpec("en", "bottom", Look("outlined", "aileron", 0.09), "normal fade short neighbors", shuffle=False)
SPEC = ClipSpec("small", 7, 320, 180, Fraction(12), "gradient", (TRACK,), crf=18)
FIRST, EVERY = 1, 9  # one of so many numbers is perturbed, some of which move captions of an easy clip
EXAGGERATED = 5  # times its value, around which a number is perturbed: on an easy clip a fifth moves hardly anything
COMPARED_MOVING, COMPARED_IDLE = 4, 2


def found_without_records(clip: Clip) -> list[PredictedCaption]:
    engine = create_engine(threads=1)
    facts = probe(clip.video)
    with Sampler(facts) as sampler:
        frames = [ocr for _, ocr in read_full_frames(facts, engine, sampler=sampler)]
        layout = find_layout(facts, engine, frames, sampler=sampler)
    names = [field.name for field in dataclasses.fields(PredictedCaption)]
    return [
        PredictedCaption(**{name: getattr(caption, name) for name in names})
        for caption in find_captions(facts, layout, engine).captions
    ]


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Clip:
    return render_clip(SPEC, tmp_path_factory.mktemp("clips"))


def exaggerated() -> list[TunedNumber]:
    return [dataclasses.replace(number, value=EXAGGERATED * number.value) for number in tuned_numbers()[FIRST::EVERY]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Iterator[Path]:
    """The benchmark's folder of this module, in which results are kept."""
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAPTIONACC_BENCH", str(folder))
        yield folder


@pytest.fixture(scope="module")
def perturbed(clip, bench) -> PerturbedClip:
    return perturb_clip(clip, exaggerated())


@pytest.mark.integration
def test_the_recorded_run_finds_what_the_engine_finds(clip, perturbed):
    assert perturbed.captions == found_without_records(clip)
    assert len(perturbed.captions) >= 4


@pytest.mark.integration
def test_a_perturbed_run_finds_what_a_whole_run_with_the_changed_number_finds(clip, perturbed):
    numbers = {number.label: number for number in exaggerated()}
    moving = sorted(change for change, found in perturbed.moved.items() if not isinstance(found, str))
    chosen = {(label, 1) for label in numbers}
    idle = sorted(change for change in chosen - set(perturbed.moved) if change[0] in perturbed.read)
    assert moving
    for label, direction in [*moving[:: max(1, len(moving) // COMPARED_MOVING)], *idle[:COMPARED_IDLE]]:
        number = numbers[label]
        with replaced(number, number.changed[direction]):
            whole = found_without_records(clip)
        assert whole == perturbed.moved.get((label, direction), perturbed.captions), (label, direction)


@pytest.mark.integration
def test_a_run_that_was_interrupted_continues(clip, bench, perturbed, monkeypatch):
    (kept,) = (bench / "perturbed").glob("small-*.jsonl")
    whole = kept.read_text(encoding="utf-8")
    rows = whole.splitlines(keepends=True)
    kept.write_text("".join(rows[:-1]) + rows[-1][:20], encoding="utf-8")  # it ended while it wrote the last line
    asked: list[str] = []
    plain = _ClipRuns.perturbed
    monkeypatch.setattr(
        _ClipRuns, "perturbed", lambda runs, number, value: asked.append(number.label) or plain(runs, number, value)
    )
    assert perturb_clip(clip, exaggerated()) == perturbed
    assert asked == [exaggerated()[-1].label]
    kept.write_text(whole, encoding="utf-8")


@pytest.mark.integration
def test_a_number_is_tried_on_further_clips_only_while_no_captions_move(clip, perturbed):
    numbers = exaggerated()
    moving = {label for label, _ in perturbed.moved}
    assert moving
    first, second = perturb_clips([clip, replace(clip, name="small-again")], numbers, 1)
    assert first == perturbed
    assert second.tried == {number.label for number in numbers} - moving


@pytest.mark.integration
def test_perturbing_leaves_every_number_as_it_was(perturbed):
    assert perturbed.read
    for number in tuned_numbers():
        assert number.value == next(
            field.default for field in dataclasses.fields(tunings()[number.stage][1]) if field.name == number.name
        )
        assert type(tunings()[number.stage][1]).__getattribute__ is object.__getattribute__


@pytest.mark.integration
def test_the_report_lists_what_moves_nothing_before_the_table(perturbed):
    numbers = exaggerated()
    report = perturbation_report([perturbed], numbers, "dev")
    head, _, table = report.partition("| number | value |")
    for number in numbers:
        row = next(line for line in table.splitlines() if line.startswith(f"| `{number.label}`"))
        is_idle = (number.label, 0) not in perturbed.moved and (number.label, 1) not in perturbed.moved
        assert (f"`{number.label}`" in head) == is_idle
        assert row.endswith("| nothing | nothing |") == is_idle
        assert number.unit in row


@pytest.mark.unit
def test_a_number_changes_by_a_fifth_and_an_integer_by_at_least_one():
    def number(value: float) -> TunedNumber:
        return TunedNumber("Some", "name", value, "frames", "", "", "")

    assert number(3).changed == (2, 4)
    assert number(20).changed == (16, 24)
    assert number(0.5).changed == pytest.approx((0.4, 0.6))


@pytest.mark.unit
def test_a_number_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="no_such_number"):
        tuned_numbers(["no_such_number"])


@pytest.mark.unit
def test_numbers_are_chosen_by_name_by_stage_or_by_both():
    numbers = tuned_numbers()
    first = numbers[0]
    assert tuned_numbers([first.label]) == [first]
    assert first in tuned_numbers([first.name])
    assert tuned_numbers([first.stage]) == [number for number in numbers if number.stage == first.stage]
