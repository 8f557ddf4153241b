"""Runs the tests that tuned numbers name in ``seen_by`` with each number changed: a witness fails where it is wrong."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from benchmarks.captions.perturb import SHARE, TunedNumber, replaced

_TESTS = Path(__file__).parents[2] / "captionacc_dagster_tests"
# Changes of a number, in the order in which they are tried: the smallest one that a test notices tells most.
CHANGES = {f"−{SHARE:.0%}": 1 - SHARE, f"+{SHARE:.0%}": 1 + SHARE, "half": 0.5, "double": 2.0}
UNNOTICED = "not noticed"


def pytest_target(witness: str) -> str | None:
    """Return what pytest runs for a test or a test module; None where there is none of this name."""
    for path in sorted(_TESTS.rglob("test_*.py")):
        if path.stem == witness:
            return str(path)
        if re.search(rf"^\s*def {re.escape(witness)}\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            return f"{path}::{witness}"
    return None


def noticed_changes(test: str, numbers: Sequence[TunedNumber]) -> dict[str, str]:
    """Return at which change of each number a test fails: label → one of `CHANGES`, or `UNNOTICED`.

    To be called in a process of its own.

    Raises:
        RuntimeError: the test fails with the numbers as they are.
    """
    if not _passes(test):
        raise RuntimeError(f"{test} fails with the numbers as they are")
    return {number.label: _noticed(test, number) for number in numbers}


def _noticed(test: str, number: TunedNumber) -> str:
    for change, factor in CHANGES.items():
        value = factor * number.value
        if isinstance(number.value, int):
            value = round(value) if round(value) != number.value else number.value + (1 if factor > 1 else -1)
        with replaced(number, value):
            if not _passes(test):
                return change
    return UNNOTICED


def _passes(test: str) -> bool:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return pytest.main([test, "-q", "-x", "-p", "no:cacheprovider", "--no-header"]) == pytest.ExitCode.OK


def check_witnesses(numbers: Sequence[TunedNumber]) -> dict[str, str]:
    """Return at which change of each number the test fails that it names; numbers that name a clip are left out."""
    by_test: defaultdict[str, list[TunedNumber]] = defaultdict(list)
    for number in numbers:
        if (test := pytest_target(number.seen_by)) is not None:
            by_test[test].append(number)
    noticed: dict[str, str] = {}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for test, found in zip(by_test, pool.map(noticed_changes, by_test, by_test.values()), strict=True):
            noticed |= found
            told = ", ".join(f"{label} {change}" for label, change in found.items())
            print(f"{test.rpartition('/')[2]}: {told}", file=sys.stderr, flush=True)
    return noticed
