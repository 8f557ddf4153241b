"""Process files in this process: register and store a file, run its assets, and write its subtitles."""

from __future__ import annotations

import hashlib
import json
import logging
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dagster import AssetKey, DagsterInstance, ExecuteInProcessResult
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from captionacc_dagster.backends import language_of, open_catalog, open_compute, open_store, subtitle_options
from captionacc_dagster.captioning.captions import Caption, Cue, clock
from captionacc_dagster.captioning.files import captions_database
from captionacc_dagster.captioning.files.subtitles import FORMATS, Format, SubtitleOptions
from captionacc_dagster.captioning.geometry import CropRegion
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import CatalogError
from captionacc_dagster.catalog.filenames import printable, stored_filename
from captionacc_dagster.catalog.models import ProcessingRequest, Video, error_details
from captionacc_dagster.cli.console import without_event_log_errors
from captionacc_dagster.cli.errors import DiskFull, ProcessError, disk_full_message, is_disk_full
from captionacc_dagster.cli.languages import unread_message
from captionacc_dagster.cli.outputs import Outputs, Source, Written
from captionacc_dagster.cli.progress import ShownProgress, show_progress
from captionacc_dagster.cli.signals import SignalWatch
from captionacc_dagster.cli.startup import imports_done
from captionacc_dagster.orchestration.flows import FLOW_ASSETS, Flow, videos_partitions
from captionacc_dagster.orchestration.outcomes import record_outcome
from captionacc_dagster.orchestration.reconciliation import settle_video
from captionacc_dagster.orchestration.requests import run_config_of
from captionacc_dagster.orchestration.subtitle_files import (
    download_captions,
    shown_captions,
    subtitle_texts,
    video_keys,
)
from captionacc_dagster.orchestration.transitions import last_stage, record, stage_of
from captionacc_dagster.orchestration.workers import CLAIMED_BY, this_worker
from captionacc_dagster.resources import ProcessingResource
from captionacc_dagster.settings import Settings, get_settings
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.errors import ObjectNotFound
from captionacc_dagster.tags import COMMAND_TAG, MAX_RETRIES_TAG

if TYPE_CHECKING:
    from captionacc_dagster.captioning.video.parts import Part

MB = 1_000_000
READ_BYTES = 1 << 20
# Start and end of a part, seconds; None: of the whole file.
Span = tuple[float | None, float | None]
# How long another process leaves a request alone that this one claimed, while this one is silent.
CLAIM_S = 300.0
# Files larger than this take long enough to read or copy that progress is shown.
SHOWN_FROM = 100 * MB
NOTHING_TO_READ = "it has no captions to read again; process it without --only text"
# Codes of warnings about text that was seen but is not in the captions.
TEXT_NOT_CAPTIONED = frozenset({"text_left_out", "script_unread"})


@dataclass(frozen=True)
class Outcome:
    """The result for one video.

    Attributes:
        captions: text of all kinds, in order of time.
        options: which kinds go into the subtitles.
        document: what the JSON file says about the video, its captions, and its warnings.
        written: the subtitle files, and files in their place that were kept.
    """

    video: Video
    captions: Sequence[Caption]
    options: SubtitleOptions
    document: Mapping[str, Any]
    written: Written

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
        if self.written.message is not None:
            messages.append(self.written.message)
        return messages

    @property
    def is_readable(self) -> bool:
        """Whether all text that could be captions was read: if not, the command's exit code is 3."""
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
    signals: SignalWatch = field(default_factory=SignalWatch)
    verbose: bool = False

    def __enter__(self) -> LocalPipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.instance.dispose()
        self.catalog.close()

    @cached_property
    def _claimer(self) -> str:
        """The name under which this process claims requests, from which others can tell whether it still lives."""
        return f"{CLAIMED_BY}:{this_worker()}"

    def process(
        self,
        file: Path,
        *,
        outputs: Outputs,
        output_dir: Path,
        formats: Sequence[Format],
        crop_region: CropRegion | None = None,
        language: str | None = None,
        again: bool = False,
        only_text: bool = False,
        options: SubtitleOptions | None = None,
        span_s: Span | None = None,
    ) -> Outcome:
        """Process a file, or a part of it, up to its subtitles; what an interrupted command left undone is finished.

        A part is a video of its own; its subtitles have the times of the whole file.

        Args:
            only_text: only read the captions that could not be read before.

        Raises:
            ProcessError: the file cannot be read, is not a video, or a stage failed.
            DiskFull: the disk of the embedded system is full.
            Interrupted: a signal asked this process to stop; the next call goes on from there.
        """
        try:
            with show_progress(self.errors, printable(file.name)) as shown, _part_of(file, span_s) as part:
                path, stem = (file, file.stem) if part is None else (part.path, f"{file.stem} {part.name}")
                video = self.register(path, shown, name=f"{stem}{file.suffix}", language=language)
                if language is not None and language != video.lang:
                    video = self.catalog.update_video_metadata(video.id, {"lang": language})
                    again = True  # what was read in another language is out of date
                with self._stops_noted(video):
                    self._store_object(path, video, shown)
                    if only_text:
                        video = self._read_again(video, shown)
                    else:
                        video = self._make(video, shown, crop_region, again=again)
            source = Source(str(video.id), file if part is None else None)
            return export_subtitles(self.store, video, outputs, source, output_dir, stem, formats, options, part)
        except Exception as error:
            if is_disk_full(error, self.settings):
                raise DiskFull(disk_full_message(self.settings.home)) from error
            raise

    def _make(self, video: Video, shown: ShownProgress, crop_region: CropRegion | None, *, again: bool) -> Video:
        """Run what is not done yet, and return the video's row afterward."""
        if again:
            self._say_what_stays(video)
        if again or video.status != "active" or not self._has_layout(video):
            request = self._take_over(video, Flow.VIDEO_INITIAL_PROCESSING)
            video = self._run(video, Flow.VIDEO_INITIAL_PROCESSING, shown, request)
        region = crop_region.as_tuple() if crop_region else video.crop_region
        missing = FLOW_ASSETS[Flow.CROP_AND_INFER] if again else self._missing(video, region)
        if missing:
            request = self._take_over(video, Flow.CROP_AND_INFER)
            if missing == FLOW_ASSETS[Flow.CROP_AND_INFER]:
                if not again:  # it is another region that has them found again
                    self._say_what_stays(video)
                if request is not None:
                    self._drop(request)
                request = self.catalog.approve_layout(video.id, region, approval="automatic", claimer=self._claimer)
            video = self._run(video, Flow.CROP_AND_INFER, shown, request, missing)
        return video

    def _read_again(self, video: Video, shown: ShownProgress) -> Video:
        """Read the captions that could not be read before, and return the video's row afterward.

        Raises:
            ProcessError: the video has no captions yet, or a stage failed.
        """
        if not self.store.file_exists(video_keys(video).captions_db):
            raise ProcessError(f"{video.filename}: {NOTHING_TO_READ}")
        with TemporaryDirectory() as folder:
            rows = captions_database.read_captions(download_captions(self.store, video, Path(folder)))
        unread = [row.id for row in rows if row.unread and row.text is None]
        if not unread:
            self.errors.print(f"{printable(video.filename)}: every caption has been read", markup=False)
            return video
        request = self.catalog.request_caption_ocr(video.id, unread)
        claimed = self.catalog.claim_processing_request(request.id, self._claimer, lease_s=CLAIM_S)
        if claimed is None:
            raise ProcessError(f"{video.filename}: {in_progress(video, request)}")
        return self._run(video, Flow.CAPTION_OCR, shown, claimed)

    def _say_what_stays(self, video: Video) -> None:
        """Say which captions of a person are not found again, and how the others come back; nothing without any."""
        if not self.store.file_exists(video_keys(video).captions_db):
            return
        with TemporaryDirectory() as folder:
            persons, others = captions_database.count_rows(download_captions(self.store, video, Path(folder)))
        if persons:
            self.errors.print(
                f"{printable(video.filename)}: captions that a person confirmed or typed stay: {persons}; "
                f"others, found again: {others}; `captionacc restore {video.id}` brings back those that it removes",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    def upload(self, file: Path, *, language: str | None = None) -> Video:
        """Add a file's row, object, and partition; a process that watches the outbox processes it.

        Raises:
            ProcessError: the file cannot be read or is not a video.
        """
        # Claimed until the object exists: a run that a sensor started earlier would not find it.
        with show_progress(self.errors, printable(file.name)) as shown:
            video = self.register(file, shown, name=file.name, language=language)
            if language is not None and language != video.lang:
                video = self.catalog.update_video_metadata(video.id, {"lang": language})
            with self._stops_noted(video):
                self._store_object(file, video, shown)
                if video.status == "error":
                    self.catalog.retry_video(video.id, claimer=self._claimer)
        for request in self.catalog.list_processing_requests(states=["pending"], video_id=video.id).items:
            self.catalog.release_processing_request(request.id, self._claimer)
        return video

    def register(self, file: Path, shown: ShownProgress, *, name: str, language: str | None = None) -> Video:
        """Return the row of a file, created if its content is new; for a file that is not a video, it has the error.

        The request for its processing is claimed in the same transaction, so that a daemon running beside this command
        does not start the same work; what a process that is gone left of an earlier request is ended.

        Raises:
            ProcessError: the file cannot be read or is not a video.
        """
        from captionacc_dagster.captioning.video.reader import VideoError, probe

        check_readable(file)
        made = self.catalog.create_video(
            self.settings.tenant_id,
            stored_filename(name),
            content_hash=content_hash(file, shown),
            file_size_bytes=file.stat().st_size,
            source="cli",
            lang=language,
            claimer=self._claimer,
        )
        try:
            probe(file)
        except VideoError as error:
            reason = f"{stored_filename(name)}: {error.reason}"
            details = error_details(error) | {"message": reason}
            requests = [made.request] if made.request is not None and made.request.is_open else []
            flow = Flow.VIDEO_INITIAL_PROCESSING
            record(self.catalog, made.video.id, flow, "layout", "failed", requests=requests, details=details)
            raise ProcessError(reason) from error
        self.instance.add_dynamic_partitions(videos_partitions.name or "", [str(made.video.id)])
        if made.created:
            return made.video
        settle_video(self.instance, self.catalog, made.video.id, self.settings.auto_approve_layout)
        return self.catalog.get_video_metadata(made.video.id)

    def _store_object(self, file: Path, video: Video, shown: ShownProgress) -> None:
        key = video_keys(video).video
        if self.store.file_exists(key):
            return
        size, done, renewed = file.stat().st_size, 0, time.monotonic()

        def count(moved: int) -> None:
            nonlocal done, renewed
            done += moved
            if size > SHOWN_FROM:
                shown.report("copy", done // MB, size // MB)
            if time.monotonic() - renewed > CLAIM_S / 4:
                renewed = time.monotonic()
                for request in self.catalog.list_processing_requests(states=["pending"], video_id=video.id).items:
                    self.catalog.renew_request_claim(request.id, self._claimer, lease_s=CLAIM_S)

        self.store.publish(key, file, progress=count)

    def _has_layout(self, video: Video) -> bool:
        keys = video_keys(video)
        return self.store.file_exists(keys.ocr_db) and self.store.file_exists(keys.layout_db)

    def _missing(self, video: Video, region: tuple[float, float, float, float] | None) -> frozenset[str]:
        """Return the assets of ``crop_and_infer`` that do not exist yet for this region; all exist: nothing to do."""
        keys, version = video_keys(video), video.cropped_frames_version
        if (
            video.layout_approved_at is None
            or version is None
            or video.crop_region != region
            or video.boundaries_status in ("wait", "error")
            or not self.store.file_exists(keys.extents_db(version))
        ):
            return FLOW_ASSETS[Flow.CROP_AND_INFER]
        if video.text_status in ("wait", "error") or not self.store.file_exists(keys.captions_db):
            return frozenset({"captions_db", "subtitles"})
        if not all(self.store.file_exists(keys.subtitles(kind)) for kind in FORMATS):
            return frozenset({"subtitles"})
        return frozenset()

    def _take_over(self, video: Video, flow: Flow) -> ProcessingRequest | None:
        """Claim the video's open request of a flow for this process, including one left by a killed command.

        Raises:
            ProcessError: another process is working on it.
        """
        if flow is Flow.VIDEO_INITIAL_PROCESSING and video.status == "error":
            self.catalog.retry_video(video.id, claimer=self._claimer)
        requests = self.catalog.list_processing_requests(
            states=["pending", "launched"], video_id=video.id, flows=[flow.value]
        )
        for request in requests.items:
            claimed = self.catalog.claim_processing_request(request.id, self._claimer, lease_s=CLAIM_S)
            if claimed is None:
                raise ProcessError(f"{video.filename}: {in_progress(video, request)}")
            return claimed
        return None

    def _run(
        self,
        video: Video,
        flow: Flow,
        shown: ShownProgress,
        request: ProcessingRequest | None,
        assets: frozenset[str] | None = None,
    ) -> Video:
        """Run one flow in this process, on the instance that the UI shows, and return the video's row afterward.

        Args:
            request: the request that this process claimed for the flow.
            assets: the assets to make; None: all of the flow.

        Raises:
            ProcessError: a stage failed.
            Interrupted: a signal asked this process to stop.
        """
        from captionacc_dagster.definitions import defs

        self.signals.check()
        run_id = str(uuid4())
        if request is not None:
            self.catalog.launch_processing_request(request.id, self._claimer, run_id)
        level = logging.DEBUG if self.verbose else logging.CRITICAL
        logging.getLogger("dagster").setLevel(level)
        try:
            job = defs.resolve_job_def(flow.value)
            if assets is not None and assets != FLOW_ASSETS[flow]:
                job = job.get_subset(asset_selection={AssetKey(name) for name in assets})
            with nullcontext() if self.verbose else without_event_log_errors():
                result = job.execute_in_process(
                    instance=self.instance,
                    partition_key=str(video.id),
                    raise_on_error=False,
                    run_id=run_id,
                    # Dagster must not retry what this command, or the next one, does again.
                    tags={COMMAND_TAG: "process", MAX_RETRIES_TAG: "0"},
                    resources={
                        "catalog": self.catalog,
                        "store": self.store,
                        "compute": open_compute(
                            self.store,
                            self.catalog,
                            self.settings,
                            run_id=run_id,
                            language=language_of(self.catalog, video.id),
                        ),
                        "processing": ProcessingResource.of(self.settings),
                        "progress": shown,
                    },
                    run_config={
                        **(run_config_of(request) if request is not None else {}),
                        "loggers": {"console": {"config": {"log_level": "DEBUG" if self.verbose else "CRITICAL"}}},
                    },
                )
        except KeyboardInterrupt:
            run = self.instance.get_run_by_id(run_id)
            if run is not None and not run.is_finished:
                self.instance.report_run_canceled(run, "A signal asked the command to stop.")
            raise
        if not result.success:
            self.signals.check()
        # In the system, a sensor does this.
        run = self.instance.get_run_by_id(result.run_id)
        if run is not None:
            record_outcome(self.catalog, self.instance, run, "never")
        row = self.catalog.get_video_metadata(video.id)
        details = (row.layout_error_details, row.boundaries_error_details)
        refused = any(found is not None and found.get("run_id") == result.run_id for found in details)
        if not result.success or refused:
            raise ProcessError(self._reason(row, result))
        return row

    def _reason(self, row: Video, result: ExecuteInProcessResult) -> str:
        for details in (
            row.error_details,
            row.layout_error_details,
            row.boundaries_error_details,
            row.text_error_details,
        ):
            if details is not None and details.get("run_id") == result.run_id:
                return _named(row, str(details["message"]))
        for event in result.all_events:
            if event.is_step_failure:
                error = event.step_failure_data.error
                while error and error.cause:
                    error = error.cause
                return _named(row, error.message.strip() if error else "failed")
        return f"{row.filename}: run {result.run_id} failed; see it in Dagster's UI with `captionacc up`"

    @contextmanager
    def _stops_noted(self, video: Video) -> Iterator[None]:
        """Record in the catalog that a signal stopped the work, so that nothing counts as being in progress."""
        try:
            yield
        except KeyboardInterrupt:
            with suppress(CatalogError):
                self._note_stop(video)
            raise

    def _drop(self, request: ProcessingRequest, details: Mapping[str, Any] | None = None) -> None:
        """End a request of a video that nobody works for any more."""
        flow = Flow(request.flow)
        record(self.catalog, request.video_id, flow, last_stage(flow), "dropped", requests=[request], details=details)

    def _note_stop(self, video: Video) -> None:
        details = error_details("stopped before it was done; the same command, or `captionacc retry`, goes on")
        for request in self.catalog.list_processing_requests(states=["pending", "launched"], video_id=video.id).items:
            run = self.instance.get_run_by_id(request.run_id) if request.run_id else None
            if request.claimed_by == self._claimer or (run is not None and run.is_finished):
                self._drop(request, details)
        row = self.catalog.get_video_metadata(video.id)
        if row.status == "active" and not self._missing(row, row.crop_region):
            return
        reached = Flow.CROP_AND_INFER if row.status == "active" else Flow.VIDEO_INITIAL_PROCESSING
        flow, stage = stage_of(row, reached, None)
        record(self.catalog, video.id, flow, stage, "cancelled", details=details)


@contextmanager
def _part_of(file: Path, span_s: Span | None) -> Iterator[Part | None]:
    """Yield the part of a file as a file of its own; None for the whole file.

    Raises:
        ProcessError: the file cannot be read or cut.
    """
    if span_s is None:
        yield None
        return
    from captionacc_dagster.captioning.video.parts import cut_part
    from captionacc_dagster.captioning.video.reader import VideoError

    check_readable(file)
    with TemporaryDirectory(prefix="captionacc-") as folder:
        try:
            part = cut_part(file, *span_s, Path(folder))
        except VideoError as error:
            raise ProcessError(f"{printable(str(file))}: {error.reason}") from error
        yield part


def in_progress(video: Video, request: ProcessingRequest) -> str:
    """Return a sentence on who is working on a request, and how to follow it."""
    if request.state == "launched":
        who = f"run {request.run_id} has been working on it since {request.launched_at:%Y-%m-%d %H:%M} UTC"
    else:
        who = f"{request.claimed_by or 'the queue'} is about to process it"
    return f"already being processed ({who}); follow the progress with `captionacc status {video.id}`"


def export_subtitles(
    store: ObjectStore,
    video: Video,
    outputs: Outputs,
    source: Source,
    output_dir: Path,
    stem: str,
    formats: Sequence[Format],
    options: SubtitleOptions | None = None,
    part: Part | None = None,
) -> Outcome:
    """Write a video's subtitles as ``output_dir/stem.format``; without captions, only JSON is written.

    Args:
        store: where the video's objects are.
        video: the row of the video.
        outputs: writes the files.
        source: what the subtitles are made from.
        output_dir: created if missing.
        stem: the names of the files without their suffixes.
        formats: the formats to write.
        options: what the files contain; None: as the settings say.
        part: the video is this part of a longer one, whose times the files have.

    Raises:
        ProcessError: there are no captions yet, or the folder cannot be written.
    """
    chosen = options or subtitle_options(get_settings())
    with TemporaryDirectory(prefix="captionacc-") as folder:
        try:
            database = download_captions(store, video, Path(folder))
        except ObjectNotFound as error:
            raise ProcessError(f"{video.filename}: no subtitles yet; see `captionacc status {video.id}`") from error
        captions = shown_captions(video, database)
        if part is not None:
            captions = part.in_whole(captions)
        texts = subtitle_texts(video, database, chosen, {*formats, "json"}, captions)
    outcome = Outcome(video, captions, chosen, json.loads(texts["json"]), Written(()))
    wanted = {kind: texts[kind] for kind in formats if kind == "json" or outcome.cues}
    return replace(outcome, written=outputs.write(source, output_dir, stem, wanted))


def _named(video: Video, message: str) -> str:
    """Return a message that names the video's file."""
    return message if video.filename in message else f"{video.filename}: {message}"


def check_readable(file: Path) -> None:
    """Raise unless this is a readable, non-empty regular file.

    Raises:
        ProcessError: one line with the file and the reason.
    """
    name = printable(str(file))
    try:
        facts = file.stat()
        if stat.S_ISDIR(facts.st_mode):
            raise ProcessError(f"{name}: is a folder, not a video")
        if not stat.S_ISREG(facts.st_mode):
            raise ProcessError(f"{name}: not a regular file")
        if facts.st_size == 0:
            raise ProcessError(f"{name}: is empty (zero bytes)")
        with file.open("rb"):
            pass
    except FileNotFoundError:
        raise ProcessError(f"{name}: no such file") from None
    except OSError as error:
        raise ProcessError(f"{name}: cannot be read ({error.strerror})") from error


def content_hash(file: Path, shown: ShownProgress | None = None) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    digest, done, size = hashlib.sha256(), 0, file.stat().st_size
    with file.open("rb") as stream:
        while chunk := stream.read(READ_BYTES):
            digest.update(chunk)
            done += len(chunk)
            if shown is not None and size > SHOWN_FROM:
                shown.report("check", done // MB, size // MB)
    return digest.hexdigest()


def captions_table(title: str, cues: Sequence[Cue | Caption]) -> Table:
    """Return a table of captions: start, end, text, confidence."""
    table = Table(title=escape(printable(title)), title_justify="left", header_style="bold")
    table.add_column("start", justify="right", no_wrap=True)
    table.add_column("end", justify="right", no_wrap=True)
    table.add_column("text", overflow="fold")
    table.add_column("confidence", justify="right")
    for cue in cues:
        confidence = "" if cue.confidence is None else f"{cue.confidence:.2f}"
        table.add_row(clock(cue.start_s), clock(cue.end_s), escape(cue.text), confidence)
    return table


def open_pipeline(
    settings: Settings, errors: Console, signals: SignalWatch | None = None, *, verbose: bool = False
) -> LocalPipeline:
    """Open what a command needs; progress goes to ``errors``, so that standard output contains only results."""
    from captionacc_dagster.orchestration.instance import open_instance_for_runs

    catalog, store = open_catalog(settings), open_store(settings)
    instance = open_instance_for_runs(settings)
    pipeline = LocalPipeline(settings, errors, catalog, store, instance, signals or SignalWatch(), verbose)
    imports_done()
    return pipeline
