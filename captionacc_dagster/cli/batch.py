"""Process the files of one command, one after another: none stops the others, and each ends in a line or a table."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from captionacc_dagster.catalog.filenames import printable, stored_filename
from captionacc_dagster.cli.console import FAILED, UNREAD, as_markup, err, note, out, print_path, say, tell
from captionacc_dagster.cli.errors import DiskFull, ProcessError, explain
from captionacc_dagster.cli.inputs import Inputs, VideoFile

if TYPE_CHECKING:
    from captionacc_dagster.captioning.files.subtitles import Format, SubtitleOptions
    from captionacc_dagster.captioning.geometry import CropRegion
    from captionacc_dagster.cli.process import Outcome, Span
    from captionacc_dagster.cli.signals import SignalWatch
    from captionacc_dagster.settings import Settings


@dataclass(frozen=True)
class Choices:
    """The options of one command.

    Attributes:
        output_dir: where the subtitles go; None: beside each video.
        only_text: only read the captions that could not be read before.
        span_s: the part of each video to process, seconds.
    """

    formats: list[Format]
    output_dir: Path | None = None
    crop_region: CropRegion | None = None
    language: str | None = None
    options: SubtitleOptions | None = None
    overwrite: bool = False
    again: bool = False
    only_text: bool = False
    as_json: bool = False
    verbose: bool = False
    span_s: Span | None = None

    def folder_for(self, file: VideoFile) -> Path:
        """Return the folder for a file's subtitles, which mirrors the folders below the one that was named."""
        return file.path.parent if self.output_dir is None else self.output_dir / file.subfolder


def process_batch(settings: Settings, inputs: Inputs, choices: Choices, signals: SignalWatch) -> int:
    """Process the files, print the results, and return the exit code.

    Raises:
        Interrupted: a signal asked the command to stop.
    """
    failed, unread = _report_inputs(inputs, as_json=choices.as_json), 0
    if not inputs.files:
        return FAILED
    with _starting():
        from captionacc_dagster.cli.outputs import Outputs
        from captionacc_dagster.cli.process import open_pipeline

        outputs = Outputs(settings.home, overwrite=choices.overwrite)
        pipeline = open_pipeline(settings, err, signals, verbose=choices.verbose)
    with pipeline:
        for number, file in enumerate(inputs.files, start=1):
            signals.check()
            try:
                outcome = pipeline.process(
                    file.path,
                    outputs=outputs,
                    output_dir=choices.folder_for(file),
                    formats=choices.formats,
                    crop_region=choices.crop_region,
                    language=choices.language,
                    again=choices.again,
                    only_text=choices.only_text,
                    options=choices.options,
                    span_s=choices.span_s,
                )
            except Exception as error:
                failed += 1
                logging.getLogger(__name__).debug("%s failed", file.path, exc_info=True)
                _report_failure(file.path, _reason(error, file.path, settings), as_json=choices.as_json)
                if isinstance(error, DiskFull):
                    if left := len(inputs.files) - number:
                        say(f"{left} more not tried")
                    break
                continue
            unread += not outcome.is_readable
            _show(file.path, outcome, as_json=choices.as_json)
        else:
            _sum_up(len(inputs.files) + len(inputs.refused), failed, unread)
    return FAILED if failed else UNREAD if unread else 0


def upload_batch(settings: Settings, inputs: Inputs, language: str | None, signals: SignalWatch) -> int:
    """Add the files as videos without processing them, print their ids, and return the exit code.

    Raises:
        Interrupted: a signal asked the command to stop.
    """
    failed = _report_inputs(inputs, as_json=False)
    if not inputs.files:
        return FAILED
    with _starting():
        from captionacc_dagster.cli.process import open_pipeline

        pipeline = open_pipeline(settings, err, signals)
    with pipeline:
        for file in inputs.files:
            signals.check()
            try:
                video = pipeline.upload(file.path, language=language)
            except Exception as error:
                failed += 1
                logging.getLogger(__name__).debug("%s failed", file.path, exc_info=True)
                _report_failure(file.path, _reason(error, file.path, settings), as_json=False)
                continue
            tell(f"{video.id}  {file.path.name}")
    return FAILED if failed else 0


def plan_batch(settings: Settings, inputs: Inputs, choices: Choices) -> int:
    """Print what :func:`process_batch` would do, change nothing, and return the exit code."""
    from captionacc_dagster.captioning.video.reader import VideoError, probe
    from captionacc_dagster.cli.process import NOTHING_TO_READ, check_readable, content_hash

    failed = _report_inputs(inputs, as_json=choices.as_json)
    with _known_content(settings) as is_done:
        for file in inputs.files:
            try:
                check_readable(file.path)
                facts = probe(file.path)
            except (ProcessError, VideoError) as error:
                failed += 1
                _report_failure(file.path, str(error), as_json=choices.as_json)
                continue
            done = (choices.only_text or not choices.again) and is_done(content_hash(file.path))
            if choices.only_text and not done:
                failed += 1
                _report_failure(file.path, f"{file.path}: {NOTHING_TO_READ}", as_json=choices.as_json)
                continue
            paths = [choices.folder_for(file) / f"{file.path.stem}.{kind}" for kind in choices.formats]
            if choices.as_json:
                video = {"path": str(file.path), "duration_s": facts.duration_s}
                _print_json({"video": video, "is_processed": done, "paths": [str(path) for path in paths]})
            else:
                what = "is processed already, would write" if done else "would find its captions and write"
                if choices.only_text:
                    what = "would read the captions that could not be read before, and write"
                taken = not choices.overwrite and any(path.exists() for path in paths)
                under = " (under a number, if what is there is not from this video)" if taken else ""
                tell(f"{file.path}: {what} {', '.join(map(str, paths))}{under}")
    return FAILED if failed or not inputs.files else 0


@contextmanager
def _known_content(settings: Settings) -> Iterator[Callable[[str], bool]]:
    """Yield a function that says whether a video with some content is processed; does not create a catalog."""
    from captionacc_dagster.backends import open_catalog_briefly

    if settings.catalog_kind == "embedded" and not (settings.home / "postgres" / "data").is_dir():
        yield lambda _: False
        return
    with open_catalog_briefly(settings) as catalog:

        def is_done(content_hash: str) -> bool:
            video = catalog.find_video(settings.tenant_id, content_hash)
            return video is not None and video.text_status not in ("wait", "error")

        yield is_done


def _report_inputs(inputs: Inputs, *, as_json: bool) -> int:
    """Say what was refused or skipped at once, and return how many were refused."""
    for name, reason in inputs.refused:
        _report_failure(name, f"{name}: {reason}", as_json=as_json)
    if inputs.skipped:
        names = ", ".join(path.name for path in inputs.skipped[:3])
        more = f" and {len(inputs.skipped) - 3} more" if len(inputs.skipped) > 3 else ""
        note(f"{names}{more}", "skipped: not a video, by the suffix")
    return len(inputs.refused)


def _reason(error: Exception, file: Path, settings: Settings) -> str:
    message = explain(error, settings)
    if message is None:
        return f"{file}: unexpected error: {type(error).__name__}: {error}; please report it (-v shows where it arose)"
    # By its path: a folder may hold several files of one name.
    for name in (file.name, stored_filename(file)):
        message = message.removeprefix(f"{name}: ")
    names_it = file.name in message or stored_filename(file) in message
    return message if isinstance(error, DiskFull) or names_it else f"{file}: {message}"


def _sum_up(files: int, failed: int, unread: int) -> None:
    """Say how a command with several files ended, if not all went well: their lines may be far above."""
    if files == 1 or not (failed or unread):
        return
    parts = [f"{files - failed} processed"]
    if unread:
        parts.append(f"{unread} of them with text that was not read")
    if failed:
        parts.append(f"{failed} failed")
    err.print(as_markup(f"{files} files: {', '.join(parts)}"), highlight=False, soft_wrap=True)


def _report_failure(file: Path | str, message: str, *, as_json: bool) -> None:
    say(message)
    if as_json:
        _print_json({"video": {"path": str(file)}, "error": printable(message)})


def _show(file: Path, outcome: Outcome, *, as_json: bool) -> None:
    """Print the captions of one video, where they were written, and what the user should know."""
    from captionacc_dagster.cli.process import captions_table

    name = file.name
    for message in outcome.messages:
        note(name, message)
    if as_json:
        document = dict(outcome.document)
        document["video"] = {"path": str(file), **document["video"]}
        _print_json({**document, "paths": [str(path) for path in outcome.written.paths]})
        return
    if outcome.cues:
        count = "1 caption" if len(outcome.cues) == 1 else f"{len(outcome.cues)} captions"
        out.print(captions_table(f"{name}: {count}", outcome.cues))
    else:
        tell(f"{name}: {no_captions(outcome)}")
    for path in outcome.written.paths:
        print_path(path)


def no_captions(outcome: Outcome) -> str:
    """Return the sentence for a video without captions in its subtitles."""
    return "No captions to write." if outcome.captions else "No captions found."


def _print_json(document: dict[str, object]) -> None:
    # Escaped as ASCII, so that a name that is no UTF-8 can be written too.
    out.file.write(json.dumps(document) + "\n")
    out.file.flush()


@contextmanager
def _starting() -> Iterator[None]:
    """Show at once that the command works: loading Dagster and starting Postgres take seconds."""
    if err.is_terminal:
        with err.status("Starting ..."):
            yield
    else:
        err.print(as_markup("Starting ..."), highlight=False)
        yield
