"""``captionacc languages``: what is read, by what, and how to make another language ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from captionacc_dagster.cli.errors import ProcessError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from captionacc_dagster.settings import Settings

languages_app = typer.Typer(help="List the languages that can be read, and add one.", invoke_without_command=True)


@languages_app.callback()
def _list(context: typer.Context) -> None:
    from captionacc_dagster.cli.console import out, settings

    if context.invoked_subcommand is None:
        out.print(languages_table(settings()))


@languages_app.command()
def add(code: Annotated[str, typer.Argument(help="The language, such as ko or zh-Hant.", show_default=False)]) -> None:
    """Fetch what reads a language, or print the command that installs it."""
    from captionacc_dagster.captioning.ocr.languages import UnknownLanguageError
    from captionacc_dagster.cli.console import err, errors_in_one_line, out, refuse_option, settings

    try:
        with errors_in_one_line():
            out.print(add_language(settings(), code, err), highlight=False, soft_wrap=True)
    except UnknownLanguageError as error:
        refuse_option("CODE", str(error))


def languages_table(settings: Settings) -> Table:
    """Return the table of languages: code, name, script, what reads it or what to run."""
    from rich.markup import escape
    from rich.table import Table

    from captionacc_dagster.captioning.ocr.engines import readiness
    from captionacc_dagster.captioning.ocr.languages import LANGUAGES, script_name

    table = Table(header_style="bold")
    for column in ("code", "language", "script", "read by"):
        table.add_column(column, no_wrap=column != "read by")
    for language in LANGUAGES.values():
        ready = readiness(language, settings.models_dir)
        ready_by = escape(ready.engine or "not ready")
        how = f"[yellow]{ready_by}:[/yellow] {escape(ready.advice)}" if ready.advice else ready_by
        table.add_row(language.code, language.name, script_name(language.script), how)
    return table


def add_language(settings: Settings, code: str, errors: Console) -> str:
    """Return the line that says what reads a language now; fetch its model if nothing does and there is one.

    Raises:
        UnknownLanguageError: the language is unknown.
        ProcessError: a person has to install something; the message says what.
    """
    from captionacc_dagster.captioning.ocr.base import OcrError
    from captionacc_dagster.captioning.ocr.engines import readiness, tesseract_advice
    from captionacc_dagster.captioning.ocr.languages import find_language
    from captionacc_dagster.captioning.ocr.model_files import fetch_model, listed_model

    language = find_language(code)
    ready = readiness(language, settings.models_dir)
    if ready.engine and not ready.advice:
        return f"{language.name} is ready: {ready.engine}"
    by_hand = tesseract_advice(language, settings.models_dir)
    if language.confused:
        raise ProcessError(f"{language.name} is read by {ready.engine}. Tesseract reads these letters: {by_hand}")
    if language.pp_ocr is None:
        raise ProcessError(f"{language.name} is read by Tesseract, which you install with: {by_hand}")
    try:
        with _progress(errors) as report:
            path = fetch_model(listed_model(language.pp_ocr), settings.models_dir, report)
    except OcrError as error:
        raise ProcessError(f"{error}; Tesseract reads {language.name}, too: {by_hand}") from error
    return f"{language.name} is ready: {path}"


def unread_message(cues: Sequence[Any], file: str) -> str | None:
    """Return the sentence on captions that no engine could read, and what to run; None if all were read.

    Args:
        cues: the captions, with ``unread``, ``script``, and ``lang``.
        file: the video's name, for the command to run.
    """
    from captionacc_dagster.captioning.ocr.languages import LANGUAGES, SCRIPTS, script_name

    unread = [cue for cue in cues if cue.unread]
    if not unread:
        return None
    scripts = sorted({cue.script or "Zzzz" for cue in unread})
    codes = sorted({cue.lang for cue in unread if cue.lang in LANGUAGES})
    codes = codes or [SCRIPTS[script].language or "" for script in scripts if script in SCRIPTS]
    names = " and ".join(script_name(script) for script in scripts)
    count = "1 caption" if len(unread) == 1 else f"{len(unread)} captions"
    steps = [f"`captionacc languages add {code}`" for code in codes if code]
    if not steps:
        return f"{file}: {count} in {names} could not be read; see `captionacc languages`."
    return (
        f"{file}: {count} in {names} could not be read: {', '.join(steps)}, "
        f"then `captionacc process --again --only text {file}`."
    )


def _progress(errors: Console) -> Any:
    """Return a context manager that shows a download, and gives the callback for its bytes."""
    from contextlib import contextmanager

    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    @contextmanager
    def shown() -> Any:
        columns = (TextColumn("fetch"), BarColumn(), DownloadColumn())
        with Progress(*columns, console=errors, transient=True) as bars:
            task = bars.add_task("fetch", total=None)
            yield lambda come, size: bars.update(task, completed=come, total=size or None)

    return shown()
