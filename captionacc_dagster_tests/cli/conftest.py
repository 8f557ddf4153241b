"""One embedded system for the tests of the command line, and a way to type commands into it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

SERVICES = ("DATABASE_URL", "SUPABASE_", "WASABI_", "WEBHOOK_SECRET", "CAPTIONACC_", "DAGSTER_HOME")


def command_environment(home: Path, **more: str) -> dict[str, str]:
    """Give this process's environment with an embedded system under ``home`` and nothing else configured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SERVICES)}
    return {**kept, "CAPTIONACC_HOME": str(home), "COLUMNS": "200", "NO_COLOR": "1", **more}


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """The folder of an embedded system that all command line tests share."""
    # Not pytest's own folder: a socket's path must be short.
    with TemporaryDirectory(prefix="ca-cli-") as folder:
        home = Path(folder) / "home"
        yield home
        subprocess.run(
            [sys.executable, "-m", "captionacc_dagster", "db", "stop"],
            env=command_environment(home),
            check=True,
            stdout=subprocess.DEVNULL,
        )


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Run:
    """Run ``captionacc`` in an empty folder, as a person would."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "captionacc_dagster", *map(str, arguments)],
            env=command_environment(home, **environment),
            cwd=tmp_path,
            text=True,
            capture_output=True,
            timeout=240,
            check=False,
        )

    return run
