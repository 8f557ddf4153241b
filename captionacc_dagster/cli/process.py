"""Process files in this process: register and store a file, run its assets, and write its subtitles."""

from __future__ import annotations

import hashlib
import logging
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from uuid import uuid4

from dagster import DagsterInstance, ExecuteInProcessResult
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from captionacc_dagster.backends import open_catalog, open_compute, open_store
from captionacc_dagster.captioning.captions import Caption, Cue, clock
from captionacc_dagster.captioning.files.subtitles import Format, SubtitleOptions
from captionacc_dagster.captioning.geometry import CropRegion
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.models import ProcessingRequest, Video, error_details
from captionacc_dagster.cli.errors import ProcessError
from captionacc_dagster.cli.languages import unread_message
from captionacc_dagster.cli.progress import ProgressBars
from captionacc_dagster.cli.startup import imports_done
from captionacc_dagster.orchestration.flows import Flow, videos_partitions
from captionacc_dagster.orchestration.subtitle_files import (
    download_captions,
    shown_captions,
    subtitle_options,
    subtitle_texts,
)
from captionacc_dagster.orchestration.workers import is_gone
from captionacc_dagster.settings import Settings, get_settings
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.errors import ObjectNotFound
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.storage.partial import partial_file
from captionacc_dagster.tags import COMMAND_TAG

MB = 1_000_000
READ_BYTES = 1 << 20
# Files larger than this take long enough to read or copy that progress is shown.
SHOWN_FROM = 100 * MB
# Codes of warnings about text that was seen but is not in the captions.
TEXT_NOT_CAPTIONED = frozenset({"text_left_out", "script_unread"})


@dataclass(frozen=True)
class Outcome:
    """The result for one video.

    Attributes:
        captions: text of all kinds, in order of time.
        options: which kinds go into the subtitles.
        written: the subtitle files.
    """

    video: Video
    captions: Sequence[Caption]
    options: SubtitleOptions
    written: tuple[Path, ...] = ()

    @property
    def cues(self) -> list[Caption]:
        """The captions that go into the subtitles."""
        return [caption for caption in self.captions if caption.kind in self.options.include and caption.text.strip()]

    @property
    def messages(self) -> list[str]:
        """What the user should know, one sentence each."""
        # The command's own sentence on unread captions names the file.
        messages = [warning.message for warning in self.video.warnings if warning.code != "script_unread"]
        unread = unread_message(self.captions, self.video.filename)
        if unread is not None:
            messages.append(unread.removeprefix(f"{self.video.filename}: "))
        kinds = Counter(caption.kind for caption in self.captions if caption.kind not in self.options.include)
        for kind, count in sorted(kinds.items()):
            name = kind.replace("_", "-")
            messages.append(f"Left out of the subtitles: {count} of kind {name}; add --include {name}.")
        return messages

    @property
    def is_readable(self) -> bool:
        """Whether all text that could be captions was read: False makes the command's exit code 3."""
        if any(caption.unread for caption in self.captions):
            return False
        codes = {warning.code for warning in self.video.warnings}
        return "script_unread" not in codes and (bool(self.captions) or not codes & TEXT_NOT_CAPTIONED)


@dataclass
class LocalPipeline:
    """The whole pipeline, run in this process for one command."""

    settings: Settings
    errors: Console
    catalog: Catalog
    store: ObjectStore
    instance: DagsterInstance

    def __enter__(self) -> LocalPipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.instance.dispose()
        self.catalog.close()

    def process(
        self,
        file: Path,
        *,
        output_dir: Path,
        formats: Sequence[Format],
        crop_region: CropRegion | None = None,
        language: str | None = None,
        again: bool = False,
        options: SubtitleOptions | None = None,
    ) -> Outcome:
        """Process a file up to its subtitles.

        Raises:
            ProcessError: the file cannot be read, is not a video, or a stage failed.
        """
        run_id = str(uuid4())
        with ProgressBars(self.errors) as bars:
            video = self.register(file, bars, language=language, claimer=run_id)
            self._store_object(file, video, bars)
            if again or video.status != "active":
                self._take_over(video, Flow.VIDEO_INITIAL_PROCESSING, run_id)
                video = self._run(video, Flow.VIDEO_INITIAL_PROCESSING, bars, run_id, language)
            region = crop_region.as_tuple() if crop_region else video.crop_region
            if again or not self._is_done(video, region):
                run_id = str(uuid4())
                taken = self._take_over(video, Flow.CROP_AND_INFER, run_id)
                if taken is not None:
                    self.catalog.finish_processing_request(taken.id, "cancelled")
                self.catalog.approve_layout(video.id, region, approval="automatic", claimer=run_id)
                video = self._run(video, Flow.CROP_AND_INFER, bars, run_id, language)
        return export_subtitles(self.store, video, file.stem, output_dir, formats, options)

    def upload(self, file: Path, *, language: str | None = None) -> Video:
        """Add a file's row, object, and partition; a process that watches the outbox processes it.

        Raises:
            ProcessError: the file cannot be read or is not a video.
        """
        # Claimed until the object exists: a run that a sensor started earlier would not find it.
        claimer = f"upload:{uuid4()}"
        with ProgressBars(self.errors) as bars:
            video = self.register(file, bars, language=language, claimer=claimer)
            self._store_object(file, video, bars)
        for request in self.catalog.list_processing_requests(states=["pending"], video_id=video.id).items:
            self.catalog.release_processing_request(request.id, claimer)
        return video

    def register(
        self, file: Path, bars: ProgressBars, *, language: str | None = None, claimer: str | None = None
    ) -> Video:
        """Return the row of a file, created if its content is new; for a file that is not a video, it has the error.

        With ``claimer``, the request for its processing is claimed in the same transaction, so that a daemon running
        beside this command does not start the same work.

        Raises:
            ProcessError: the file cannot be read or is not a video.
        """
        from captionacc_dagster.captioning.video.reader import VideoError, probe

        check_readable(file)
        made = self.catalog.create_video(
            self.settings.tenant_id,
            file.name,
            content_hash=content_hash(file, bars),
            file_size_bytes=file.stat().st_size,
            source="cli",
            lang=language,
            claimer=claimer,
        )
        try:
            probe(file)
        except VideoError as error:
            details = error_details(error)
            self.catalog.update_video_status(
                made.video.id,
                "error",
                error_details=details,
                layout_status="error",
                layout_error_details=details,
            )
            if made.request is not None and made.request.is_open:
                self.catalog.finish_processing_request(made.request.id, "failed", error_details=details)
            raise ProcessError(str(error)) from error
        self.instance.add_dynamic_partitions(videos_partitions.name or "", [str(made.video.id)])
        return made.video

    def _store_object(self, file: Path, video: Video, bars: ProgressBars) -> None:
        key = VideoKeys(str(video.tenant_id), str(video.id)).video
        if self.store.file_exists(key):
            return
        size, done = file.stat().st_size, 0

        def count(moved: int) -> None:
            nonlocal done
            done += moved
            bars.report("copy", done // MB, size // MB)

        self.store.publish(key, file, progress=count if size > SHOWN_FROM else None)

    def _is_done(self, video: Video, region: tuple[float, float, float, float] | None) -> bool:
        return (
            video.layout_approved_at is not None
            and video.text_status not in ("wait", "error")
            and video.cropped_frames_version is not None
            and video.crop_region == region
        )

    def _take_over(self, video: Video, flow: Flow, run_id: str) -> ProcessingRequest | None:
        """Take the video's open request of a flow for this run, including one left by a killed command.

        Raises:
            ProcessError: a live run is working on it.
        """
        if flow is Flow.VIDEO_INITIAL_PROCESSING and video.status == "error":
            self.catalog.retry_video(video.id, claimer=run_id)
        requests = self.catalog.list_processing_requests(
            states=["pending", "launched"], video_id=video.id, flows=[flow.value]
        )
        for request in requests.items:
            if request.run_id is not None and self._is_dead(request.run_id):
                self.catalog.requeue_processing_request(request.id, request.run_id)
            if self.catalog.claim_processing_request(request.id, run_id) is None:
                raise ProcessError(
                    f"{video.filename}: already being processed; follow the progress with "
                    f"`captionacc status {video.id}`"
                )
            return request
        return None

    def _is_dead(self, run_id: str) -> bool:
        """Return whether a run's process is gone; marks the run of a dead command as failed."""
        run = self.instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return True
        if not is_gone(run):
            return False
        self.instance.report_run_failed(run, "The command that ran it has ended.")
        return True

    def _run(self, video: Video, flow: Flow, bars: ProgressBars, run_id: str, language: str | None = None) -> Video:
        """Run one flow in this process, on the instance that the UI shows, and return the video's row afterward.

        Raises:
            ProcessError: a stage failed.
        """
        from captionacc_dagster.definitions import defs

        logging.getLogger("dagster").setLevel(logging.CRITICAL)
        result = defs.resolve_job_def(flow.value).execute_in_process(
            instance=self.instance,
            partition_key=str(video.id),
            raise_on_error=False,
            run_id=run_id,
            tags={COMMAND_TAG: "process"},
            resources={
                "catalog": self.catalog,
                "store": self.store,
                "compute": open_compute(
                    self.store, self.catalog, self.settings, run_id=run_id, language=language or video.lang
                ),
                "progress": bars,
            },
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        row = self.catalog.get_video_metadata(video.id)
        details = (row.layout_error_details, row.boundaries_error_details)
        refused = any(found is not None and found.get("run_id") == result.run_id for found in details)
        if not result.success or refused:
            raise ProcessError(self._reason(video, result))
        return row

    def _reason(self, video: Video, result: ExecuteInProcessResult) -> str:
        row = self.catalog.get_video_metadata(video.id)
        for details in (
            row.error_details,
            row.layout_error_details,
            row.boundaries_error_details,
            row.text_error_details,
        ):
            if details is not None and details.get("run_id") == result.run_id:
                return _named(video, str(details["message"]))
        for event in result.all_events:
            if event.is_step_failure:
                error = event.step_failure_data.error
                return _named(video, error.message.strip() if error else "failed")
        return f"{video.filename}: run {result.run_id} failed; see it in Dagster's UI with `captionacc up`"


def export_subtitles(
    store: ObjectStore,
    video: Video,
    stem: str,
    output_dir: Path,
    formats: Sequence[Format],
    options: SubtitleOptions | None = None,
) -> Outcome:
    """Write a video's subtitles as ``output_dir/stem.format``; without captions, only JSON is written.

    Args:
        store: where the video's objects are.
        video: the row of the video.
        stem: the names of the files without their suffixes.
        output_dir: created if missing.
        formats: the formats to write.
        options: what the files contain; None: as the settings say.

    Raises:
        ProcessError: there are no captions yet, or the folder cannot be written.
    """
    with TemporaryDirectory(prefix="captionacc-") as folder:
        try:
            database = download_captions(store, video, Path(folder))
        except ObjectNotFound as error:
            raise ProcessError(f"{video.filename}: no subtitles yet; see `captionacc status {video.id}`") from error
        captions = shown_captions(video, database)
        texts = subtitle_texts(video, database, formats, options)
    outcome = Outcome(video, captions, options or subtitle_options(get_settings()))
    written = []
    try:
        for kind, text in texts.items():
            if kind == "json" or outcome.cues:
                path = output_dir / f"{stem}.{kind}"
                with partial_file(path) as file:
                    file.write(text.encode())
                written.append(path)
    except OSError as error:
        raise ProcessError(f"{output_dir}: not writable ({error.strerror})") from error
    return replace(outcome, written=tuple(written))


def _named(video: Video, message: str) -> str:
    """Return a message that names the video's file."""
    return message if video.filename in message else f"{video.filename}: {message}"


def check_readable(file: Path) -> None:
    """Raise unless this is a readable, non-empty regular file.

    Raises:
        ProcessError: one line with the file and the reason.
    """
    try:
        facts = file.stat()
        if stat.S_ISDIR(facts.st_mode):
            raise ProcessError(f"{file}: is a folder, not a video")
        if not stat.S_ISREG(facts.st_mode):
            raise ProcessError(f"{file}: not a regular file")
        if facts.st_size == 0:
            raise ProcessError(f"{file}: is empty (zero bytes)")
        with file.open("rb"):
            pass
    except FileNotFoundError:
        raise ProcessError(f"{file}: no such file") from None
    except OSError as error:
        raise ProcessError(f"{file}: cannot be read ({error.strerror})") from error


def content_hash(file: Path, bars: ProgressBars | None = None) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    digest, done, size = hashlib.sha256(), 0, file.stat().st_size
    with file.open("rb") as stream:
        while chunk := stream.read(READ_BYTES):
            digest.update(chunk)
            done += len(chunk)
            if bars is not None and size > SHOWN_FROM:
                bars.report("check", done // MB, size // MB)
    return digest.hexdigest()


def captions_table(title: str, cues: Sequence[Cue | Caption]) -> Table:
    """Return a table of captions: start, end, text, confidence."""
    table = Table(title=escape(title), title_justify="left", header_style="bold")
    table.add_column("start", justify="right", no_wrap=True)
    table.add_column("end", justify="right", no_wrap=True)
    table.add_column("text", overflow="fold")
    table.add_column("confidence", justify="right")
    for cue in cues:
        confidence = "" if cue.confidence is None else f"{cue.confidence:.2f}"
        table.add_row(clock(cue.start_s), clock(cue.end_s), escape(cue.text), confidence)
    return table


def open_pipeline(settings: Settings, errors: Console) -> LocalPipeline:
    """Open what a command needs; progress goes to ``errors``, so that standard output contains only results."""
    from captionacc_dagster.orchestration.instance import open_instance_for_runs

    catalog, store = open_catalog(settings), open_store(settings)
    pipeline = LocalPipeline(settings, errors, catalog, store, open_instance_for_runs(settings))
    imports_done()
    return pipeline
