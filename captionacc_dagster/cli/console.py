"""What every command prints: results on standard output, everything else on standard error, in single lines."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from signal import SIGINT, Signals
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

import typer
from rich.console import Console
from rich.markup import escape

from captionacc_dagster.catalog.filenames import printable
from captionacc_dagster.cli.errors import AmbiguousName, Interrupted, explain

if TYPE_CHECKING:
    from captionacc_dagster.settings import Settings

# Exit codes; 2 (wrong usage) also comes from Typer.
FAILED, USAGE, UNREAD = 1, 2, 3

out = Console()
err = Console(stderr=True)


def say(message: str) -> None:
    """Print one line about an error."""
    err.print(f"[red]captionacc:[/red] {as_markup(message)}", highlight=False, soft_wrap=True)


def note(name: str, message: str) -> None:
    """Print one line that a person should know about a file."""
    err.print(f"[yellow]{as_markup(name)}:[/yellow] {as_markup(message)}", highlight=False, soft_wrap=True)


def tell(message: str) -> None:
    """Print one line of text, not of markup, on standard output."""
    out.print(as_markup(message), highlight=False, soft_wrap=True)


def as_markup(text: str) -> str:
    """Return a text of unknown origin for Rich's markup: in one line, with nothing that Rich or a terminal obeys."""
    return escape(printable(" ".join(text.splitlines())))


def print_path(path: Path) -> None:
    """Print a path as it is, on a line of its own, so that scripts can read it.

    On a terminal, and where a line break is part of the name, the path is escaped.
    """
    out.file.flush()
    if sys.stdout.isatty() or "\n" in str(path):
        typer.echo(printable(str(path)))
    else:
        typer.echo(os.fsencode(path))


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Print one line about an error and exit."""
    say(message)
    raise typer.Exit(code)


def refuse_option(option: str, message: str) -> NoReturn:
    """Report a wrong value of an option in one line, and exit as for wrong usage."""
    fail(f"{option}: {message}", USAGE)


def show_log(verbose: bool) -> None:
    """Show the program's own log on standard error, if the person asked for it."""
    if verbose:
        logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("captionacc_dagster").setLevel(logging.DEBUG)


class _WithoutEventLogErrors:
    """Standard error without what Dagster writes to it when its database refuses an event, such as on a full disk.

    The event's run fails with the same error, which the command reports in one line.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, unless it is such a message: Dagster writes each of them whole."""
        if text.startswith("Exception while writing logger call to event log"):
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def without_event_log_errors() -> Iterator[None]:
    """Leave out Dagster's own messages about its event log while a run works in this process."""
    with redirect_stderr(cast("TextIO", _WithoutEventLogErrors(sys.stderr))):
        yield


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn errors that a person, a server, or a disk can cause into one line and exit code 1.

    A signal that asks the command to stop also ends in one line.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        fail_stopped(stop)
    except Exception as error:
        message = explain(error, known_settings())
        if message is None:
            raise
        logging.getLogger(__name__).debug("the command failed", exc_info=True)
        say(message)
        for choice in error.choices if isinstance(error, AmbiguousName) else ():
            err.print(f"  {as_markup(choice)}", highlight=False, soft_wrap=True)
        raise typer.Exit(FAILED) from None


def fail_stopped(stop: KeyboardInterrupt) -> NoReturn:
    """Print one line about the signal that stopped the command, and exit as the shell expects it."""
    number = Signals(stop.number) if isinstance(stop, Interrupted) else SIGINT
    fail(f"stopped by {number.name}; the same command goes on from here", 128 + number)


def settings() -> Settings:
    """Return the settings, or exit naming the invalid one."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from captionacc_dagster.cli.setting_sources import explain_settings_error
    from captionacc_dagster.settings import get_settings

    try:
        return get_settings()
    except (ValidationError, SettingsError) as error:
        fail(explain_settings_error(error))


def known_settings() -> Settings | None:
    """Return the settings, or None if they cannot be read."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from captionacc_dagster.settings import get_settings

    try:
        return get_settings()
    except (ValidationError, SettingsError):
        return None
