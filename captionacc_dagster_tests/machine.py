"""What tests need of the machine beside Python: each part is asked for the feature that is used, not only for its name.

A test whose part is missing is skipped; with ``CI=true``, where everything is installed, it fails. ``make test`` ends
with one line that names the parts that were missing and what installs them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest

SYSTEM_PACKAGES = "run .ci/install-system-packages"
CLIPS_VARIABLE = "CAPTIONACC_TEST_CLIPS"
_REASON = re.compile(r"needs (?P<part>.+): (?P<install>[^:]+)$", re.DOTALL)


def missing(part: str, install: str = SYSTEM_PACKAGES) -> NoReturn:
    """Skip the test, or fail it where everything must be installed (``CI=true``).

    Args:
        part: what the test needs.
        install: what to do to get it, without a colon.
    """
    reason = f"needs {part}: {install}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def needed(part: str, *candidates: Sequence[str], install: str = SYSTEM_PACKAGES) -> list[str]:
    """Return the first command that works, as ``[program, *its subcommand]``; skip the test if none does.

    Args:
        part: what to call it if it is missing.
        candidates: each a program, its subcommand, and last the argument with which it shows that it has the feature,
            such as ``("docker", "compose", "version")``.
        install: see :func:`missing`.
    """
    for *command, question in candidates:
        if answers(*command, question):
            return [shutil.which(command[0]) or command[0], *command[1:]]
    missing(part, install)


@cache
def answers(*command: str) -> bool:
    """Return whether a program exists and a run of it succeeds."""
    try:
        asked = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


def real_clips() -> list[tuple[Path, list[dict[str, Any]]]]:
    """Return the videos of the folder that ``CAPTIONACC_TEST_CLIPS`` names, each with the captions beside it.

    No real clip is part of the repository, so even CI need not have one.
    """
    named = os.environ.get(CLIPS_VARIABLE)
    if not named:
        pytest.skip(f"needs real clips with their captions: set {CLIPS_VARIABLE}, see CONTRIBUTING.md")
    found = [
        (video, json.loads(video.with_suffix(".json").read_text(encoding="utf-8"))["captions"])
        for video in sorted(Path(named).glob("*.mp4"))
        if video.with_suffix(".json").exists()
    ]
    assert found, f"{CLIPS_VARIABLE}={named}: no NAME.mp4 with NAME.json"
    return found


def left_out(reasons: Iterable[str]) -> str | None:
    """Return one line that names the missing parts among reasons of skips and what installs them; None without any."""
    parts: dict[str, set[str]] = {}
    for reason in reasons:
        if told := _REASON.search(reason.removeprefix("Skipped: ")):
            parts.setdefault(told["install"].strip(), set()).add(told["part"])
    if not parts:
        return None
    return "Left out: " + "; ".join(
        f"{', '.join(sorted(names))} ({install})" for install, names in sorted(parts.items())
    )
