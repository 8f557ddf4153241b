"""Numbers that the engine decides by: each is a field of a stage's tuning, with its unit, reason, and witness."""

from __future__ import annotations

from dataclasses import field
from typing import Any, TypeVar

T = TypeVar("T", int, float)


def tuned(value: T, unit: str, why: str, *, seen_by: str) -> T:
    """Return a dataclass field for a tuned number.

    Args:
        value: the number in use.
        unit: its unit, such as ``"seconds"``, ``"gray levels"``, or ``"line heights"``.
        why: what it decides, and why it has this value.
        seen_by: the benchmark clip, test, or test module that fails when it is wrong; empty until one is known, which
            ``python -m benchmarks.captions --perturb`` finds.
    """
    metadata: dict[str, Any] = {"unit": unit, "why": why, "seen_by": seen_by}
    return field(default=value, metadata=metadata)
