"""Progress bars: one line per stage, with frames per second and remaining time."""

from __future__ import annotations

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


class _RateColumn(ProgressColumn):
    """Units per second over the whole stage."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields.get("unit", "")
        return Text(f"{speed:,.0f} {unit}/s" if speed else "", style="progress.data.speed")


class ProgressBars(ProgressReporter):
    """Shows the stages of one video one below the other; use as a context manager."""

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

    def watch(self, logger: Logger) -> Progress:
        """Return the callback that updates the bars; ignores the logger."""
        return self.report

    def report(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` units of a stage are done; total 0 while unknown."""
        if stage not in self._stages:
            unit = "MB" if stage in ("copy", "check") else "frames"
            self._stages[stage] = self._bars.add_task(stage, total=total or None, unit=unit)
        self._bars.update(self._stages[stage], completed=done, total=total or None)

    def line(self, text: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(text)
