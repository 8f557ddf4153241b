"""One embedded system for the tests of the command line, and a way to type commands into it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from typer.testing import CliRunner

from captionacc_dagster.settings import get_settings

Run = Callable[..., subprocess.CompletedProcess[str]]

SERVICES = ("DATABASE_URL", "SUPABASE_", "WASABI_", "WEBHOOK_SECRET", "CAPTIONACC_", "DAGSTER_HOME")


def command_environment(home: Path, **more: str) -> dict[str, str]:
    """Return this process's environment with an embedded system under ``home`` and nothing else configured."""
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
def run_process(home: Path, tmp_path: Path) -> Run:
    """Run ``captionacc`` as a process of its own in an empty folder, as a person would."""

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


@pytest.fixture
def run(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The same in this process, which has Dagster and the engine loaded: a third of the time."""
    monkeypatch.chdir(tmp_path)
    dagster_log = logging.getLogger("dagster")
    level = dagster_log.level

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        from captionacc_dagster.cli.app import app

        # None takes a variable away, also one that the command sets itself.
        away = dict.fromkeys(["DAGSTER_HOME", *os.environ])
        get_settings.cache_clear()
        result = CliRunner().invoke(
            app, [*map(str, arguments)], env={**away, **command_environment(home, **environment)}
        )
        get_settings.cache_clear()
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)

    yield run
    dagster_log.setLevel(level)
