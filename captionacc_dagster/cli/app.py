"""The commands of ``captionacc`` and their options."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from uuid import UUID

import typer
from rich.console import Console
from rich.markup import escape

from captionacc_dagster.catalog.errors import CatalogError
from captionacc_dagster.cli.errors import ProcessError
from captionacc_dagster.cli.languages import checked_languages, languages_app
from captionacc_dagster.cli.modal import modal_app
from captionacc_dagster.cli.startup import imports_done
from captionacc_dagster.release import version_line
from captionacc_dagster.storage.errors import StorageError

# What only some commands need is imported by them: `captionacc --help` and wrong usage answer at once.
if TYPE_CHECKING:
    from captionacc_dagster.captioning.files.subtitles import Format, SubtitleOptions
    from captionacc_dagster.captioning.geometry import CropRegion
    from captionacc_dagster.cli.process import Outcome
    from captionacc_dagster.settings import Settings

app = typer.Typer(
    help="Turn videos with burned-in captions into exact subtitle files.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain text: importing what draws boxes takes longer than all the rest of `--help`.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db_app = typer.Typer(help="The catalog's database.", no_args_is_help=True)
app.add_typer(db_app, name="db")
app.add_typer(modal_app, name="modal")
app.add_typer(languages_app, name="languages")


# Exit codes; 2 (wrong usage) comes from Typer.
FAILED, USAGE, UNREAD = 1, 2, 3

out = Console()
err = Console(stderr=True)

Files = Annotated[list[Path], typer.Argument(help="Video files.", show_default=False)]
Formats = Annotated[str, typer.Option("--format", "-f", help="Comma separated: srt, vtt, ass, json.")]
OutputDir = Annotated[
    Path | None, typer.Option("--output-dir", "-o", help="Folder for the subtitles; default: beside each video.")
]
Region = Annotated[
    str | None,
    typer.Option("--crop-region", metavar="L,T,R,B", help="Region of the captions, in fractions of the picture."),
]
Language = Annotated[
    str | None,
    typer.Option(
        "--lang",
        metavar="CODE[,CODE]",
        help="Languages of the captions (see `captionacc languages`); default: found out by their script.",
    ),
]
Phrases = Annotated[
    bool | None,
    typer.Option(
        "--phrases/--words",
        help="Join single words into phrases in SRT and WebVTT, or keep them; default: join where captions are word "
        "by word.",
        show_default=False,
    ),
]
JoinGaps = Annotated[
    float | None,
    typer.Option(
        "--join-gaps", metavar="MS", min=0, help="Write equal captions as one across gaps of up to MS milliseconds."
    ),
]
SrtBom = Annotated[
    bool,
    typer.Option("--srt-bom", help="Write SRT with a byte order mark and CRLF, for players on Windows that need them."),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="KIND",
        help="Also write text of this kind: lower-third, title, fixture, interface, scene; can be repeated.",
    ),
]
VideoId = Annotated[UUID, typer.Argument(metavar="VIDEO", help="A video's id (see `captionacc status`).")]


def fail(message: str) -> NoReturn:
    """Print one line about an error and exit with code 1."""
    _say(message)
    raise typer.Exit(FAILED)


def refuse_option(option: str, message: str) -> NoReturn:
    """Report a wrong value of an option in one line, and exit as for wrong usage."""
    _say(f"{option}: {message}")
    raise typer.Exit(USAGE)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn errors that a person, a server, or a disk can cause into one line and exit code 1."""
    from captionacc_dagster.captioning.files.subtitles import SubtitleError

    try:
        yield
    except (ProcessError, CatalogError, StorageError, SubtitleError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def settings() -> Settings:
    """Return the settings, or exit naming the invalid one."""
    from pydantic import ValidationError

    from captionacc_dagster.settings import get_settings

    try:
        return get_settings()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        fail(f"{where}: {first['msg']}")


def parse_formats(text: str) -> list[Format]:
    """Parse the value of ``--format``, such as ``"srt,vtt"``."""
    from captionacc_dagster.captioning.files.subtitles import FORMATS

    chosen: list[Format] = []
    for part in (part.strip().lower() for part in text.split(",") if part.strip()):
        if part not in FORMATS:
            refuse_option("--format", f"{part!r} is unknown; choose from {', '.join(FORMATS)}")
        chosen.append(part)
    if not chosen:
        refuse_option("--format", "give at least one format of " + ", ".join(FORMATS))
    return chosen


def parse_lang(codes: str | None) -> str | None:
    """Parse the value of ``--lang``, such as ``"hi,en"``."""
    with errors_in_one_line():
        return checked_languages(codes)


def parse_region(text: str | None) -> CropRegion | None:
    """Parse the value of ``--crop-region``, ``"L,T,R,B"``."""
    from captionacc_dagster.captioning.geometry import CropRegion

    try:
        return CropRegion.parse(text) if text is not None else None
    except ValueError as error:
        refuse_option("--crop-region", str(error))


def parse_subtitle_options(
    phrases: bool | None, join_gaps: float | None, include: list[str] | None, *, srt_bom: bool = False
) -> SubtitleOptions | None:
    """Return the settings' subtitle options with those of the command line, or None if that has none."""
    from captionacc_dagster.captioning.captions import KINDS
    from captionacc_dagster.orchestration.subtitle_files import subtitle_options

    changes: dict[str, Any] = {}
    if phrases is not None:
        changes["phrases"] = phrases
    if join_gaps is not None:
        changes["join_gaps_ms"] = join_gaps
    if srt_bom:
        changes["srt_bom"] = True
    options = subtitle_options(settings())
    if include:
        kinds = [part.strip() for text in include for part in text.split(",") if part.strip()]
        named = {name: kind for kind in KINDS for name in (kind, f"{kind}s")}
        for name in kinds:
            if name.lower().replace("-", "_") not in named:
                refuse_option("--include", f"{name!r} is unknown; choose from {', '.join(KINDS)}")
        changes["include"] = (*options.include, *(named[name.lower().replace("-", "_")] for name in kinds))
    return replace(options, **changes) if changes else None


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and the commit.")] = False,
) -> None:
    if context.invoked_subcommand not in ("api", "up"):
        # The pool warns at every attempt; a command reports the failure once, in its own line.
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    if version:
        typer.echo(version_line())
        raise typer.Exit


@app.command()
def process(
    videos: Files,
    output_dir: OutputDir = None,
    formats: Formats = "srt",
    crop_region: Region = None,
    lang: Language = None,
    phrases: Phrases = None,
    join_gaps: JoinGaps = None,
    include: Include = None,
    srt_bom: SrtBom = False,
    again: Annotated[bool, typer.Option("--again", help="Process videos again that are already done.")] = False,
) -> None:
    """Find the captions of video files and write subtitles, on this machine and without configuration.

    Exit codes: 0 all right, 1 a file was refused or failed, 2 wrong usage, 3 done, but some text could not be read.
    """
    from captionacc_dagster.cli.process import open_pipeline
    from captionacc_dagster.cli.turns import turn

    chosen, region = parse_formats(formats), parse_region(crop_region)
    options = parse_subtitle_options(phrases, join_gaps, include, srt_bom=srt_bom)
    lang = parse_lang(lang)
    failed = unread = 0
    with errors_in_one_line(), turn(settings().home, _say), open_pipeline(settings(), err) as pipeline:
        for file in videos:
            try:
                outcome = pipeline.process(
                    file,
                    output_dir=output_dir or file.parent,
                    formats=chosen,
                    crop_region=region,
                    language=lang,
                    again=again,
                    options=options,
                )
            except (ProcessError, CatalogError, StorageError) as error:
                failed += 1
                _say(str(error))
                continue
            except Exception as error:
                failed += 1
                logging.getLogger(__name__).debug("%s failed", file, exc_info=True)
                _say(f"{file}: unexpected error: {type(error).__name__}: {error}; please report it")
                continue
            unread += not outcome.is_readable
            _show(file.name, outcome)
    if failed or unread:
        raise typer.Exit(FAILED if failed else UNREAD)


def _say(message: str) -> None:
    """Print one line about an error."""
    line = " ".join(message.split())
    err.print(f"[red]captionacc:[/red] {escape(line)}", highlight=False, soft_wrap=True)


def _show(name: str, outcome: Outcome) -> None:
    """Print the captions of one video, where they were written, and what the user should know."""
    from captionacc_dagster.cli.process import captions_table

    if outcome.cues:
        out.print(captions_table(f"{name}: {len(outcome.cues)} captions", outcome.cues))
    else:
        said = "No captions to write." if outcome.captions else "No captions found."
        out.print(f"{escape(name)}: {said}", highlight=False, soft_wrap=True)
    for path in outcome.written:
        out.print(str(path), highlight=False, soft_wrap=True, markup=False)
    for message in outcome.messages:
        err.print(f"[yellow]{escape(name)}:[/yellow] {escape(message)}", highlight=False, soft_wrap=True)


@app.command()
def demo(
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Folder for clip and subtitles.")] = Path(
        "output/demo"
    ),
) -> None:
    """Draw a clip with captions, find them, and report how many are right."""
    from captionacc_dagster.cli.demo import run_demo

    with errors_in_one_line():
        if not run_demo(settings(), out, output_dir):
            raise typer.Exit(1)


@app.command()
def upload(
    videos: Files,
    lang: Language = None,
) -> None:
    """Add videos without processing them; a running `captionacc up` processes them."""
    from captionacc_dagster.cli.process import open_pipeline

    lang = parse_lang(lang)
    failed = 0
    with errors_in_one_line(), open_pipeline(settings(), err) as pipeline:
        for file in videos:
            try:
                video = pipeline.upload(file, language=lang)
            except (ProcessError, CatalogError, StorageError) as error:
                failed += 1
                _say(str(error))
                continue
            out.print(f"{video.id}  {escape(file.name)}", highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def approve(video: VideoId, crop_region: Region = None) -> None:
    """Approve a video's layout, as found or with your own region, so that its captions are found."""
    from captionacc_dagster.backends import open_catalog_briefly

    region = parse_region(crop_region)
    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        row = catalog.get_video_metadata(video)
        catalog.approve_layout(video, region.as_tuple() if region else row.crop_region)
    out.print(f"approved; follow the progress with `captionacc status {video}`", highlight=False)


@app.command()
def retry(video: VideoId) -> None:
    """Restart the failed stage of a video."""
    from captionacc_dagster.backends import open_catalog_briefly

    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        request = catalog.retry_video(video)
    out.print(f"requested {request.flow}; follow the progress with `captionacc status {video}`", highlight=False)


@app.command()
def status(
    video: Annotated[UUID | None, typer.Argument(metavar="[VIDEO]", help="Show the history of this video.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="Maximum number of videos.")] = 50,
) -> None:
    """List the videos, or show the history of one video."""
    from captionacc_dagster.backends import open_catalog_briefly
    from captionacc_dagster.cli.status import show_history, show_videos

    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        if video is None:
            show_videos(catalog, out, limit)
        else:
            # Listing the videos needs no Dagster, whose import takes longer than all the rest.
            from captionacc_dagster.orchestration.instance import open_instance

            with open_instance(settings()) as instance:
                show_history(catalog, instance, out, video)


@app.command()
def export(
    video: VideoId,
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Folder for the subtitles.")] = Path(),
    formats: Formats = "srt",
    phrases: Phrases = None,
    join_gaps: JoinGaps = None,
    include: Include = None,
    srt_bom: SrtBom = False,
) -> None:
    """Write a video's subtitles, including people's corrections.

    Exit codes: as for `process`.
    """
    from captionacc_dagster.backends import open_catalog_briefly, open_store
    from captionacc_dagster.cli.process import export_subtitles

    chosen = parse_formats(formats)
    options = parse_subtitle_options(phrases, join_gaps, include, srt_bom=srt_bom)
    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        row = catalog.get_video_metadata(video)
        stem = Path(row.filename).stem
        outcome = export_subtitles(open_store(settings()), row, stem, output_dir, chosen, options)
    for path in outcome.written:
        out.print(str(path), highlight=False, soft_wrap=True, markup=False)
    if not outcome.cues:
        said = "No captions to write." if outcome.captions else "No captions found."
        out.print(f"{escape(row.filename)}: {said}", highlight=False, soft_wrap=True)
    for message in outcome.messages:
        err.print(f"[yellow]{escape(row.filename)}:[/yellow] {escape(message)}", highlight=False, soft_wrap=True)
    if not outcome.is_readable:
        raise typer.Exit(UNREAD)


@app.command()
def evaluate(
    predicted: Annotated[Path, typer.Argument(help="Found captions: SRT, VTT, ASS, or JSON.")],
    truth: Annotated[Path, typer.Argument(help="True captions: SRT, VTT, ASS, or JSON.")],
    frame_rate: Annotated[
        float | None, typer.Option("--frame-rate", min=1, help="Frames per second, if the truth does not contain it.")
    ] = None,
) -> None:
    """Compare captions with the truth: matches, misses, phantoms, boundary errors, character error rate."""
    from captionacc_dagster.captioning.evaluation.evaluate import evaluate_files, format_report

    with errors_in_one_line():
        out.print(format_report(evaluate_files(predicted, truth, frame_rate=frame_rate)), highlight=False, markup=False)


@app.command()
def doctor() -> None:
    """Check what is installed, reachable, and configured, and say what to do about problems."""
    from captionacc_dagster.cli.doctor import examine

    if not examine(settings(), out):
        raise typer.Exit(1)


@app.command()
def up(
    port: Annotated[int, typer.Option("--port", "-p", help="Port of Dagster's UI.")] = 3000,
    api_port: Annotated[int, typer.Option("--api-port", help="Port of the HTTP API.")] = 8000,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    open_page: Annotated[bool, typer.Option("--open", help="Open the review page in your browser.")] = False,
) -> None:
    """Start embedded Postgres, Dagster's UI and daemon, and the API, until Ctrl-C."""
    from captionacc_dagster.cli.services import run_services

    imports_done()
    raise typer.Exit(run_services(settings(), out, host=host, port=port, api_port=api_port, open_page=open_page))


@app.command()
def down() -> None:
    """Stop the `captionacc up` of this home, or what a killed one left behind."""
    from captionacc_dagster.cli.services import stop_services

    raise typer.Exit(stop_services(settings(), out))


@app.command()
def api(
    port: Annotated[int, typer.Option("--port", "-p", help="Port of the API.")] = 8000,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Start only the HTTP API, until Ctrl-C."""
    from captionacc_dagster.api.server import serve

    imports_done()
    serve(settings(), host=host, port=port)


@app.command()
def token(
    hours: Annotated[float, typer.Option("--hours", min=0.01, max=8760, help="Hours until it expires.")] = 24.0,
    link: Annotated[bool, typer.Option("--link", help="Print the review page's link, which signs you in.")] = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="Print the token of /metrics.")] = False,
) -> None:
    """Print a token of the local user, for calling the API on this machine."""
    from captionacc_dagster.api.local_access import has_local_user, local_key, local_token, sign_in_link
    from captionacc_dagster.backends import open_catalog_briefly

    try:
        if metrics:
            if settings().catalog_kind != "embedded":
                raise ValueError("with this catalog, you choose the token of /metrics: CAPTIONACC_METRICS_TOKEN")
            typer.echo(local_key(settings(), "metrics"))
            return
        if link:
            if not has_local_user(settings()):
                raise ValueError("with this catalog, users come from Supabase and sign in with their password")
            typer.echo(sign_in_link(settings(), settings().api_url))
            return
        with open_catalog_briefly(settings()) as catalog:
            typer.echo(local_token(settings(), catalog, hours=hours))
    except (CatalogError, ValueError) as error:
        fail(str(error))


@db_app.command("migrate")
def db_migrate() -> None:
    """Migrate the catalog's schema to this version."""
    from captionacc_dagster.cli.database import migrate_catalog

    with errors_in_one_line():
        applied = migrate_catalog(settings())
    out.print("\n".join(f"applied {name}" for name in applied) or "the schema is up to date", highlight=False)


@db_app.command("stop")
def db_stop() -> None:
    """Stop the embedded Postgres, even if it is in use."""
    from captionacc_dagster.catalog.embedded import EmbeddedPostgres

    with errors_in_one_line():
        stopped = EmbeddedPostgres(settings().home).stop()
    out.print("stopped" if stopped else "the embedded Postgres was not running", highlight=False)


def main() -> None:
    """Run the command line; errors that a person can cause end in one line, not a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        err.print("stopped")
        sys.exit(130)
