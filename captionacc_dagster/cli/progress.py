"""Progress: bars with rate and remaining time on a terminal, and otherwise a line every ten seconds."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from logging import Logger
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from captionacc_dagster.captioning.captions import Progress
from captionacc_dagster.resources import ProgressReporter

LINE_EVERY_S = 10.0


class ShownProgress(ProgressReporter):
    """Shows the stages of one video; use as a context manager."""

    def __enter__(self) -> ShownProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return

    def watch(self, logger: Logger) -> Progress:
        """Return the callback that shows the progress; ignores the logger."""
        return self.report

    @abstractmethod
    def report(self, stage: str, done: int, total: int) -> None:
        """Note that ``done`` of ``total`` units of a stage are done; total 0 while unknown."""


def show_progress(console: Console, name: str) -> ShownProgress:
    """Return bars on a terminal; elsewhere, lines that name the video."""
    return ProgressBars(console) if console.is_terminal else ProgressLines(console, name)


def _unit(stage: str) -> str:
    return "MB" if stage in ("copy", "check") else "frames"


class _RateColumn(ProgressColumn):
    """Units per second over the whole stage."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields.get("unit", "")
        return Text(f"{speed:,.0f} {unit}/s" if speed else "", style="progress.data.speed")


class ProgressBars(ShownProgress):
    """A bar per stage, one below the other."""

    def __init__(self, console: Console) -> None:
        self._bars = RichProgress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        )
        self._stages: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressBars:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def report(self, stage: str, done: int, total: int) -> None:
        """See :meth:`ShownProgress.report`."""
        if stage not in self._stages:
            self._stages[stage] = self._bars.add_task(stage, total=total or None, unit=_unit(stage))
        self._bars.update(self._stages[stage], completed=done, total=total or None)


class ProgressLines(ShownProgress):
    """A line every ten seconds, also while a stage reports nothing, so that a log shows that work goes on."""

    def __init__(self, console: Console, name: str, every_s: float = LINE_EVERY_S) -> None:
        self._console = console
        self._name = name
        self._every_s = every_s
        self._ended = threading.Event()
        self._latest: tuple[str, int, int] | None = None
        self._thread = threading.Thread(target=self._print, name="progress", daemon=True)

    def __enter__(self) -> ProgressLines:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def report(self, stage: str, done: int, total: int) -> None:
        """See :meth:`ShownProgress.report`."""
        self._latest = (stage, done, total)

    def _print(self) -> None:
        while not self._ended.wait(self._every_s):
            seconds = time.monotonic() - self._started
            self._console.print(f"{self._name}: {self._state()}, {seconds:.0f} s", markup=False, highlight=False,
                                soft_wrap=True)  # fmt: skip

    def _state(self) -> str:
        if self._latest is None:
            return "starting"
        stage, done, total = self._latest
        share = f" ({100 * done // total} %)" if total else ""
        return f"{stage}, {done} of {total or '?'} {_unit(stage)}{share}"
