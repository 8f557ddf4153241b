"""The commands of ``captionacc`` and their options."""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from captionacc_dagster.cli.console import (
    FAILED,
    UNREAD,
    errors_in_one_line,
    fail,
    known_settings,
    note,
    out,
    print_path,
    refuse_option,
    say,
    settings,
    show_log,
    tell,
)
from captionacc_dagster.cli.errors import explain
from captionacc_dagster.cli.languages import languages_app
from captionacc_dagster.cli.modal import modal_app
from captionacc_dagster.cli.people import invitation_app, tenant_app, user_app
from captionacc_dagster.cli.startup import imports_done
from captionacc_dagster.release import version_line

# What only some commands need is imported by them: `captionacc --help` and wrong usage answer at once.
if TYPE_CHECKING:
    from captionacc_dagster.captioning.files.subtitles import Format, SubtitleOptions
    from captionacc_dagster.captioning.geometry import CropRegion

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
app.add_typer(tenant_app, name="tenant")
app.add_typer(user_app, name="user")
app.add_typer(invitation_app, name="invitation")

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="VIDEO",
        help="Video files and folders; - reads a list from standard input.",
        show_default=False,
    ),
]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Also take videos from the folders inside folders.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that captionacc did not write, instead of numbering.")
]
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
        help="Also write text of this kind: context, lower-third, title, fixture, interface, scene; can be repeated.",
    ),
]
VideoName = Annotated[
    str, typer.Argument(metavar="VIDEO", help="A video's file name, its id, or the beginning of its id.")
]


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
    """Return the value of ``--lang``, such as ``"hi,en"``, with each language under its usual code."""
    from captionacc_dagster.captioning.ocr.languages import language_codes

    try:
        return None if codes is None else language_codes(codes)
    except ValueError as error:
        refuse_option("--lang", str(error))


def parse_region(text: str | None) -> CropRegion | None:
    """Parse the value of ``--crop-region``, ``"L,T,R,B"``."""
    from captionacc_dagster.captioning.geometry import CropRegion

    try:
        return CropRegion.parse(text) if text is not None else None
    except ValueError as error:
        refuse_option("--crop-region", str(error))


def parse_span(start: str | None, end: str | None) -> tuple[float | None, float | None] | None:
    """Parse the values of ``--from`` and ``--to``: seconds, minutes and seconds, or hours too, as in ``1:02:03.5``."""
    if start is None and end is None:
        return None
    span = _seconds("--from", start), _seconds("--to", end)
    if span[1] is not None and (span[0] or 0.0) >= span[1]:
        refuse_option("--to", f"{end} is not after {start or 'the start'}")
    return span


def _seconds(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(?:(?:(\d{1,3}):)?(\d{1,4}):)?(\d{1,6}(?:\.\d{1,6})?)", text.strip())
    if match is None:
        refuse_option(option, f"{text!r} is not a time; write it as 75, 1:15, or 1:02:03.5")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def parse_subtitle_options(
    phrases: bool | None, join_gaps: float | None, include: list[str] | None, *, srt_bom: bool = False
) -> SubtitleOptions | None:
    """Return the settings' subtitle options with those of the command line, or None if that has none."""
    from captionacc_dagster.backends import subtitle_options
    from captionacc_dagster.captioning.captions import KINDS

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
    recursive: Recursive = False,
    crop_region: Region = None,
    lang: Language = None,
    phrases: Phrases = None,
    join_gaps: JoinGaps = None,
    include: Include = None,
    srt_bom: SrtBom = False,
    overwrite: Overwrite = False,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Process only from this time on, such as 0:10.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Process only up to this time, such as 1:20.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Process videos again that are already done.")] = False,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            metavar="text",
            help="Only read the captions that could not be read before; do not search for captions.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each video.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show Dagster's log and the causes of errors.")
    ] = False,
) -> None:
    """Find the captions of video files and write subtitles, on this machine and without configuration.

    The same command again finishes what was interrupted.

    Exit codes: 0 all right, 1 a file was refused or failed, 2 wrong usage, 3 done, but some text could not be read.
    """
    from captionacc_dagster.cli.batch import Choices, plan_batch, process_batch
    from captionacc_dagster.cli.inputs import find_inputs
    from captionacc_dagster.cli.outputs import check_output_folder
    from captionacc_dagster.cli.signals import SignalWatch
    from captionacc_dagster.cli.turns import turn

    chosen, region = parse_formats(formats), parse_region(crop_region)
    options = parse_subtitle_options(phrases, join_gaps, include, srt_bom=srt_bom)
    lang = parse_lang(lang)
    span = parse_span(start, end)
    if only not in (None, "text"):
        refuse_option("--only", f"{only!r} is unknown; the only choice is text")
    if only and region is not None:
        refuse_option("--only", "a region is for finding captions; leave out --crop-region, or leave out --only")
    inputs = find_inputs(videos, recursive=recursive, listed=sys.stdin.buffer)
    if output_dir is not None and (reason := check_output_folder(output_dir)) is not None:
        refuse_option("--output-dir", reason)
    show_log(verbose)
    choices = Choices(
        chosen,
        output_dir,
        crop_region=region,
        language=lang,
        options=options,
        overwrite=overwrite,
        again=again,
        only_text=only == "text",
        as_json=as_json,
        verbose=verbose,
        span_s=span,
    )
    with errors_in_one_line():
        if dry_run:
            code = plan_batch(settings(), inputs, choices)
        else:
            with SignalWatch() as signals, turn(settings().home, say):
                code = process_batch(settings(), inputs, choices, signals)
    if code:
        raise typer.Exit(code)


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
def upload(videos: Files, recursive: Recursive = False, lang: Language = None) -> None:
    """Add videos without processing them; a running `captionacc up` processes them."""
    from captionacc_dagster.cli.batch import upload_batch
    from captionacc_dagster.cli.inputs import find_inputs
    from captionacc_dagster.cli.signals import SignalWatch

    lang = parse_lang(lang)
    inputs = find_inputs(videos, recursive=recursive, listed=sys.stdin.buffer)
    with errors_in_one_line(), SignalWatch() as signals:
        code = upload_batch(settings(), inputs, lang, signals)
    if code:
        raise typer.Exit(code)


@app.command()
def approve(
    video: VideoName,
    crop_region: Region = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Find captions again without asking, even if the video has some.")
    ] = False,
) -> None:
    """Approve a video's layout, as found or with your own region, so that its captions are found."""
    from captionacc_dagster.backends import open_catalog_briefly
    from captionacc_dagster.cli.decisions import approve_video

    region = parse_region(crop_region)
    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        row = approve_video(settings(), catalog, video, region, agreed=yes)
    tell(f"approved; follow the progress with `captionacc status {row.id}`")


@app.command()
def retry(video: VideoName) -> None:
    """Restart the failed stage of a video."""
    from captionacc_dagster.backends import open_catalog_briefly
    from captionacc_dagster.cli.decisions import retry_video

    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        tell(retry_video(settings(), catalog, video))


@app.command()
def restore(video: VideoName) -> None:
    """Bring back a video's captions from before it was processed again; the same command again undoes that."""
    from captionacc_dagster.backends import open_catalog_briefly
    from captionacc_dagster.cli.decisions import bring_back_captions

    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        tell(bring_back_captions(settings(), catalog, video))


@app.command()
def share(
    video: VideoName,
    off: Annotated[bool, typer.Option("--off", help="For its own tenant alone again.")] = False,
) -> None:
    """Let every tenant read a video as an example (a demo video); only its own tenant can change it."""
    from captionacc_dagster.backends import open_catalog_briefly
    from captionacc_dagster.cli.video_names import find_video

    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        row = catalog.set_demo_video(find_video(catalog, video).id, not off)
        tell(f"{row.filename}: {'every tenant may read it' if row.is_demo else 'for its own tenant alone'}")


@app.command()
def status(
    video: Annotated[
        str | None,
        typer.Argument(metavar="[VIDEO]", help="Show the history of this video: file name, id, or its beginning."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="Maximum number of videos.")] = 50,
) -> None:
    """List the videos, or show the history of one video."""
    from captionacc_dagster.backends import open_catalog_briefly
    from captionacc_dagster.cli.status import show_history, show_videos
    from captionacc_dagster.cli.video_names import find_video

    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        if video is None:
            show_videos(catalog, out, limit)
        else:
            row = find_video(catalog, video)
            # Listing the videos needs no Dagster, whose import takes longer than all the rest.
            from captionacc_dagster.orchestration.instance import open_instance

            with open_instance(settings()) as instance:
                show_history(catalog, instance, out, row.id)


@app.command()
def export(
    video: VideoName,
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Folder for the subtitles.")] = Path(),
    formats: Formats = "srt",
    phrases: Phrases = None,
    join_gaps: JoinGaps = None,
    include: Include = None,
    srt_bom: SrtBom = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a video's subtitles, including people's corrections.

    Exit codes: as for `process`.
    """
    from captionacc_dagster.backends import open_catalog_briefly, open_store
    from captionacc_dagster.cli.batch import no_captions
    from captionacc_dagster.cli.outputs import Outputs, Source, check_output_folder
    from captionacc_dagster.cli.process import export_subtitles
    from captionacc_dagster.cli.video_names import find_video

    chosen = parse_formats(formats)
    options = parse_subtitle_options(phrases, join_gaps, include, srt_bom=srt_bom)
    if (reason := check_output_folder(output_dir)) is not None:
        refuse_option("--output-dir", reason)
    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        row = find_video(catalog, video)
        outputs = Outputs(settings().home, overwrite=overwrite)
        stem = Path(row.filename).stem or str(row.id)
        outcome = export_subtitles(
            open_store(settings()), row, outputs, Source(str(row.id)), output_dir, stem, chosen, options
        )
    for path in outcome.written.paths:
        print_path(path)
    if not outcome.cues:
        tell(f"{row.filename}: {no_captions(outcome)}")
    for message in outcome.messages:
        note(row.filename, message)
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
        typer.echo(local_token(settings(), hours=hours))
    except ValueError as error:
        fail(str(error))


@db_app.command("migrate")
def db_migrate() -> None:
    """Migrate the catalog's schema to this version."""
    from captionacc_dagster.cli.database import migrate_catalog

    with errors_in_one_line():
        applied = migrate_catalog(settings())
    out.print("\n".join(f"applied {name}" for name in applied) or "the schema is up to date", highlight=False)


@db_app.command("upgrade")
def db_upgrade() -> None:
    """Move the embedded Postgres to the newest version; the old data is kept."""
    from captionacc_dagster.cli.database import upgrade_embedded

    with errors_in_one_line():
        tell(upgrade_embedded(settings()))


@db_app.command("stop")
def db_stop() -> None:
    """Stop the embedded Postgres, even if it is in use."""
    from captionacc_dagster.catalog.embedded import EmbeddedPostgres

    with errors_in_one_line():
        stopped = EmbeddedPostgres(settings().home).stop()
    out.print("stopped" if stopped else "the embedded Postgres was not running", highlight=False)


def main() -> None:
    """Run the command line; whatever goes wrong ends in one line, not in a traceback."""
    try:
        app()
    except Exception as error:
        logging.getLogger(__name__).debug("the command failed", exc_info=True)
        message = explain(error, known_settings())
        say(message or f"unexpected error: {type(error).__name__}: {error}; please report it")
        sys.exit(FAILED)
