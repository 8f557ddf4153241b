"""No pattern takes long on hostile text of the largest size that a person may send."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from itertools import product

import pytest

import captionacc_dagster

LONGEST = 5000  # characters of a caption (api/views.py)
SECONDS = 3.0  # what is quadratic takes about one, what is worse never ends
# What repeats in an attack: the characters of the pattern itself, and some that its classes may match.
COMMON = " \taA0.,-_!?<{(\\\"'…é"


def patterns() -> Iterator[tuple[str, re.Pattern[str]]]:
    for module in pkgutil.walk_packages(captionacc_dagster.__path__, "captionacc_dagster."):
        if module.name.endswith(("__main__", "modal_app", "embedded_keeper")):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                yield f"{module.name}.{name}", value


FOUND = dict(patterns())


def attacks(pattern: re.Pattern[str]) -> Iterator[str]:
    letters = sorted({letter for letter in pattern.pattern if not letter.isalnum()} | set(COMMON))[:24]
    for letter in letters:
        yield letter * LONGEST + "\0"
    for first, second in product(letters[:6], repeat=2):
        yield (first + second) * (LONGEST // 2) + "\0"
    for start in re.findall(r"[A-Za-z<{\[(]{1,6}", pattern.pattern)[:6]:
        yield start * (LONGEST // len(start))


def test_there_are_patterns_to_attack() -> None:
    assert len(FOUND) > 15


@pytest.mark.security
@pytest.mark.parametrize("name", FOUND)
def test_no_pattern_takes_long(name: str) -> None:
    pattern = FOUND[name]
    for text in attacks(pattern):
        began = time.process_time()
        pattern.search(text)
        pattern.fullmatch(text)
        assert time.process_time() - began < SECONDS, repr(text[:20])
