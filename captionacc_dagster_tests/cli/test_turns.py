"""Commands that process videos on one home work one after another."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from captionacc_dagster.cli import process as _process  # noqa: F401  (loaded before the lock is held)
from captionacc_dagster.cli.turns import turn
from captionacc_dagster_tests.cli.conftest import Run
from captionacc_dagster_tests.small_clips import make_clip

# Takes the lock, says so, and ends some seconds later.
_HOLD = """
import sys, time
from pathlib import Path
from captionacc_dagster.cli.turns import turn
with turn(Path(sys.argv[1]), print):
    print("mine", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.mark.unit
def test_the_second_waits_with_one_line_that_names_the_first(tmp_path: Path) -> None:
    lines: list[str] = []
    order: list[str] = []
    waits = threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        waits.set()

    def second() -> None:
        with turn(tmp_path, say):
            order.append("second")

    with turn(tmp_path, say):
        other = threading.Thread(target=second)
        other.start()
        assert waits.wait(10)
        order.append("first")
    other.join(10)

    assert order == ["first", "second"]
    (line,) = lines
    assert line.startswith("waiting for another captionacc command (process ")


@pytest.mark.unit
def test_a_killed_command_leaves_the_turn_to_the_next(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path), "60"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "mine\n"
    holder.kill()
    holder.wait()
    with turn(tmp_path, lambda line: pytest.fail(line)):
        pass


@pytest.mark.e2e
def test_a_second_process_command_waits_and_then_works(home: Path, run: Run, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "turn.mp4", frames=50, seed=31, captions=[(5, 45, "Hello there.")])
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(home), "5"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "mine\n"
    result = run("process", clip)
    assert holder.wait(20) == 0
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("waiting for another captionacc command") == 1
    assert (tmp_path / "turn.srt").exists()
