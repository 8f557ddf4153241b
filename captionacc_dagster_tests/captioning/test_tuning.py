"""Tuned numbers say what they are and name witnesses that exist."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import captionacc_dagster.captioning as captioning
from benchmarks.captions.clips import clips_of

pytestmark = pytest.mark.unit

TESTS = Path(__file__).parents[1]
MOST_NUMBERS = 119  # lower it when a number goes; a new one takes the place of another


MOST_CONSTANTS = 212  # with a number outside the tunings: formats, limits, and some decisions; lower it when one goes


def constants() -> list[str]:
    """Return the constants of the engine's modules that have a number and are in no tuning."""
    found = []
    for room in ("extents", "layout", "ocr", "video"):
        for path in sorted((Path(captioning.__file__).parent / room).glob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if not path.stem.endswith("tuning") and isinstance(node, ast.Assign):
                    values = [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
                    if any(type(value) in (int, float) for value in values):
                        found.append(f"{path.stem}.{ast.unparse(node.targets[0])}")
    return found


def numbers() -> list[tuple[str, dict[str, Any]]]:
    """Return each tuned number as its name and its metadata."""
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(captioning.__path__, f"{captioning.__name__}.")
        if module.name.endswith("tuning")
    ]
    tunings = [module.TUNING for module in modules if hasattr(module, "TUNING")]
    return [
        (f"{type(tuning).__name__}.{field.name}", dict(field.metadata))
        for tuning in tunings
        for field in dataclasses.fields(tuning)
    ]


def test_every_number_has_a_unit_and_a_reason() -> None:
    found = numbers()
    assert len(found) <= MOST_NUMBERS
    assert [name for name, told in found if not told.get("unit") or not told.get("why")] == []


def test_no_number_hides_outside_the_tunings() -> None:
    """A decision is a tuned number, which --perturb changes; what a module needs besides is no new threshold."""
    assert len(constants()) <= MOST_CONSTANTS


def test_every_named_witness_exists() -> None:
    """A witness is a clip, a test, or a test module; one that is not known yet is left empty, not made up."""
    known = {spec.name for part in ("dev", "twins", "final") for spec in clips_of(part)}
    for path in TESTS.rglob("test_*.py"):
        known |= {path.stem, *re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))}
    named = {name: re.split(r"[:,] ", told["seen_by"])[0] for name, told in numbers() if told["seen_by"]}
    assert {name: witness for name, witness in named.items() if witness not in known} == {}
