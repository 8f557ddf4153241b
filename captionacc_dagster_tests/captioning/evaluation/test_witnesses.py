"""`--perturb` on tests: whether the test that a number names fails when the number is changed."""

from __future__ import annotations

import pytest

from benchmarks.captions.perturb import TunedNumber, tuned_numbers
from benchmarks.captions.witnesses import UNNOTICED, check_witnesses, pytest_target


def numbers(*names: str, seen_by: str) -> list[TunedNumber]:
    return [
        TunedNumber(found.stage, found.name, found.value, found.unit, found.why, seen_by, found.module)
        for found in tuned_numbers(names)
    ]


@pytest.mark.unit
def test_tests_and_their_modules_are_found_by_name():
    assert pytest_target("test_witnesses") == __file__
    target = pytest_target("test_tests_and_their_modules_are_found_by_name")
    assert target == f"{__file__}::test_tests_and_their_modules_are_found_by_name"
    assert pytest_target("dev-en-outlined-pan") is None


@pytest.mark.integration
def test_a_witness_is_one_that_fails_with_the_number_changed():
    told = check_witnesses(numbers("pause", "dot_pitch", seen_by="test_pause_spaces"))
    assert told["ReadingTuning.pause"] in {"−20%", "+20%"}
    assert told["ReadingTuning.dot_pitch"] == UNNOTICED  # pauses are no ellipses
