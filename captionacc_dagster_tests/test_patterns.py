"""No pattern takes long on hostile text: its time grows as the text does, not as the square of it."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from itertools import pairwise, product
from pathlib import Path

import pytest

import captionacc_dagster

# Four times the text costs a linear pattern four times as much, a quadratic one sixteen times. Between the two:
GROWTH = 8.0
# What is shorter cannot be told from noise; at the longest length, what is quadratic takes ten times as long.
MEASURABLE_S = 0.005
LENGTHS = [5 * 4**power for power in range(7)]  # 5 to 20480 characters; what is exponential shows at 20
# What repeats in an attack: the characters of the pattern itself, and some that its classes may match.
COMMON = " \taA0.,-_!?<{(\\\"'…é"

# Patterns that are built when they run, and why no text of a person makes them slow.
BUILT = {
    "captioning.files.caption_edits: pattern": "text taken literally, of at most a caption's length",
    "orchestration.outcomes: f'^(?:\\\\w+\\\\.)*{error.cls_name}:'": "anchored, and each word ends at a dot",
}


def patterns() -> Iterator[tuple[str, re.Pattern[str]]]:
    """Yield every compiled pattern of a module, and every literal one that is given to a function of `re`."""
    for module in pkgutil.walk_packages(captionacc_dagster.__path__, "captionacc_dagster."):
        if module.name.endswith(("__main__", "modal_app", "embedded_keeper")):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                yield f"{module.name}.{name}", value
    for name, argument in inline_patterns():
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield f"{name}: {argument.value}", re.compile(argument.value)


def inline_patterns() -> Iterator[tuple[str, ast.expr]]:
    package = Path(captionacc_dagster.__file__).parent
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "re"
                and node.func.attr not in ("compile", "escape")
            ):
                yield ".".join(path.relative_to(package).with_suffix("").parts), node.args[0]


FOUND = dict(patterns())


def attacks(pattern: str) -> Iterator[Callable[[int], str]]:
    """Yield what makes a hostile text of a given length."""
    letters = sorted({letter for letter in pattern if not letter.isalnum()} | set(COMMON))[:24]
    parts = [*letters, *(first + second for first, second in product(letters[:6], repeat=2))]
    # What the pattern says literally, and every two such parts in a row: what a match may begin with.
    literals = [re.sub(r"\\(.)", r"\1", part) for part in re.findall(r"(?:\\.|[^\[\](){}*+?|\\^$])+", pattern)][:12]
    for part in [*parts, *literals, *map("".join, pairwise(literals))]:
        yield lambda length, part=part: part * (length // len(part)) + "\0"


def seconds(pattern: re.Pattern[str], text: str) -> float:
    """Return the CPU time of the three ways of using a pattern, the least of three measurements."""
    times = []
    for _ in range(3):
        began = time.process_time()
        pattern.search(text)
        pattern.fullmatch(text)
        pattern.sub("", text)
        times.append(time.process_time() - began)
        if times[-1] < MEASURABLE_S:
            break
    return min(times)


def is_linear(pattern: re.Pattern[str], attack: Callable[[int], str]) -> bool:
    """Return False if four times the text takes much more than four times as long, measured three times."""
    for shorter, longer in pairwise(LENGTHS):
        for _ in range(3):
            after = seconds(pattern, attack(longer))
            if after < MEASURABLE_S or after < GROWTH * seconds(pattern, attack(shorter)):
                break
        else:
            return False
    return True


def test_there_are_patterns_to_attack() -> None:
    assert len(FOUND) > 25


def test_every_pattern_that_is_built_when_it_runs_is_known() -> None:
    built = {f"{name}: {ast.unparse(part)}" for name, part in inline_patterns() if not isinstance(part, ast.Constant)}
    assert built == set(BUILT)


@pytest.mark.parametrize(
    "slow", [r"\s*x", r"<[^>]*>", r"(?:\d+:)?\d+;", r"(a+)+$", r"\{[^}]*\\p[1-9]", r"\s*\s*$"], ids=repr
)
def test_a_slow_pattern_is_found(slow: str) -> None:
    assert not all(is_linear(re.compile(slow), attack) for attack in attacks(slow))


@pytest.mark.security
@pytest.mark.parametrize("name", FOUND)
def test_no_pattern_takes_long(name: str) -> None:
    for attack in attacks(FOUND[name].pattern):
        assert is_linear(FOUND[name], attack), f"more than linear on {attack(20)!r}"
