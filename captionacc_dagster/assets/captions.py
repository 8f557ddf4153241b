"""Write the captions to a database that people edit, and to subtitle files."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from dagster import AssetExecutionContext, Config, MaterializeResult, MetadataValue, ResourceParam, asset
from pydantic import Field

from captionacc_dagster.assets.caption_extents import crop_box
from captionacc_dagster.assets.lifecycle import TRANSIENT_RETRIES, VideoRun
from captionacc_dagster.assets.metadata import captions_table, strips, warning_metadata
from captionacc_dagster.assets.stored_outputs import cropped_frame_of_each
from captionacc_dagster.captioning.captions import CaptionWarning, Progress
from captionacc_dagster.captioning.files import captions_database, databases
from captionacc_dagster.captioning.files.captions_database import OcrUpdate, StoredCaption
from captionacc_dagster.captioning.files.previous_captions import keep_before
from captionacc_dagster.captioning.files.subtitles import FORMATS
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.compute.base import BadInput, ComputeBackend, QuotaExceeded
from captionacc_dagster.compute.code_version import code_version
from captionacc_dagster.compute.results import CaptionSpan
from captionacc_dagster.orchestration.flows import Flow, videos_partitions
from captionacc_dagster.orchestration.subtitle_files import caption_counts, publish_captions, publish_subtitles
from captionacc_dagster.resources import COMPUTE_POOL, ProcessingResource, ProgressReporter
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.errors import ObjectNotFound
from captionacc_dagster.tags import FLOW_TAG


class CaptionsConfig(Config):
    """Which captions to read."""

    caption_ids: list[int] = Field(
        default_factory=list,
        description="Ids of captions to read again; empty: import the extents and read all.",
    )


@asset(
    deps=["caption_frame_extents"],
    partitions_def=videos_partitions,
    group_name="crop_and_infer",
    kinds={"sqlite"},
    owners=["team:captions"],
    retry_policy=TRANSIENT_RETRIES,
    pool=COMPUTE_POOL,
    code_version=code_version(),
    output_required=False,  # nothing is written when a quota refuses the work
)
def captions_db(
    context: AssetExecutionContext,
    config: CaptionsConfig,
    catalog: ResourceParam[Catalog],
    store: ResourceParam[ObjectStore],
    compute: ResourceParam[ComputeBackend],
    progress: ResourceParam[ProgressReporter],
) -> Iterator[MaterializeResult]:
    """`captions.db.gz`: every caption with its times and text. What a person confirmed or typed is never changed."""
    run = VideoRun(context, catalog, Flow.CAPTION_OCR if config.caption_ids else Flow.CROP_AND_INFER, "text")
    with run.working(), TemporaryDirectory(prefix="captionacc-") as folder:
        if config.caption_ids:
            run.begin()
        with run.locked() as lock:
            path = Path(folder) / "captions.db"
            previous = _download(run, store, Path(folder))
            if config.caption_ids:
                to_read = _chosen(run, previous, path, config.caption_ids)
                previous = None  # is what ``path`` is now
            else:
                _take_over_extents(run, store, previous, path)
                to_read = [row for row in captions_database.read_captions(path) if row.caption_ocr_status == "queued"]
            try:
                readings = _read(run, compute, to_read, progress.watch(context.log))
            except Exception as error:
                refused = isinstance(error, QuotaExceeded)
                if refused or (config.caption_ids and not run.will_retry(error)):
                    _note_unread(run, store, path, previous, to_read, error)
                if refused:  # the times are known even where the text is not
                    _record(run, captions_database.read_captions(path))
                raise
            captions_database.write_ocr_updates(path, readings)
            warnings = _renew_warnings(run, path) if config.caption_ids else None
            lock.check()
            _publish(run, store, path, previous)
            if warnings is not None:
                run.catalog.update_video_metadata(run.video_id, {"warnings": [asdict(each) for each in warnings]})
            rows = captions_database.read_captions(path)
            _record(run, rows)
        yield _result(run, store, rows, readings)


def _read(
    run: VideoRun, compute: ComputeBackend, rows: list[StoredCaption], progress: Progress | None
) -> list[OcrUpdate]:
    """Read the captions; one that cannot be read gets its error and keeps its earlier text."""
    if not rows:
        return []
    results = compute.generate_caption_ocr(
        run.keys.video,
        run.keys.tenant_id,
        run.keys.video_id,
        crop_box(run.video),
        run.video.cropped_frames_version or 0,
        [CaptionSpan(caption_id=row.id, start_ms=row.start_ms, end_ms=row.end_ms) for row in rows],
        progress=progress,
    )
    by_id = {row.id: row for row in rows}
    return [
        OcrUpdate(r.caption_id, r.ocr_text, r.confidence, unread=r.unread, lang=r.lang, script=r.script)
        if r.error is None
        else _unread(by_id[r.caption_id], r.error)
        for r in results
    ]


def _unread(row: StoredCaption, reason: str) -> OcrUpdate:
    """Return an update that records why a caption could not be read and keeps its earlier text."""
    return OcrUpdate(row.id, row.caption_ocr or "", row.caption_ocr_confidence or 0.0, reason)


def _note_unread(
    run: VideoRun, store: ObjectStore, path: Path, previous: Path | None, rows: list[StoredCaption], error: Exception
) -> None:
    """Record in each requested caption why it could not be read, and publish the database."""
    captions_database.write_ocr_updates(path, (_unread(row, str(error) or type(error).__name__) for row in rows))
    _publish(run, store, path, previous)


def _publish(run: VideoRun, store: ObjectStore, path: Path, previous: Path | None) -> None:
    """Publish the database; where a caption of the previous one is gone, a person can bring that one back."""
    # Judged by what was read, not by what was removed: a step that is retried after it published finds its own rows.
    if previous is not None and captions_database.loses_captions(path, previous):
        keep_before(path, previous)
    publish_captions(store, run.video, path)


def _renew_warnings(run: VideoRun, path: Path) -> tuple[CaptionWarning, ...]:
    """Write the warnings about the video to the database, with only the captions that are still unread; return them."""
    from captionacc_dagster.captioning.extents.track_scripts import unread_warnings

    captions = captions_database.to_captions(captions_database.read_captions(path), run.video.usual_frame_rate)
    others = [CaptionWarning(**each.model_dump()) for each in run.video.warnings if each.code != "script_unread"]
    warnings = (*others, *unread_warnings(captions))
    captions_database.replace_warnings(path, warnings)
    return warnings


def _download(run: VideoRun, store: ObjectStore, work: Path) -> Path | None:
    try:
        packed = store.download_file(run.keys.captions_db, work / "previous.db.gz")
    except ObjectNotFound:
        return None
    return databases.decompress(packed, work / "previous.db")


def _chosen(run: VideoRun, previous: Path | None, path: Path, caption_ids: list[int]) -> list[StoredCaption]:
    if previous is None:
        raise BadInput(f"{run.video.filename}: no captions yet; run crop_and_infer first")
    previous.rename(path)
    rows = {row.id: row for row in captions_database.read_captions(path)}
    wanted = dict.fromkeys(caption_ids)
    # A person may undo a split or delete a caption before its reading begins: then there is nothing to read.
    if gone := [str(number) for number in wanted if number not in rows]:
        run.context.log.info("captions %s no longer exist; skipped", ", ".join(gone))
    return [rows[number] for number in wanted if number in rows]


def _take_over_extents(run: VideoRun, store: ObjectStore, previous: Path | None, path: Path) -> None:
    version = run.video.cropped_frames_version
    if version is None:
        raise BadInput(f"{run.video.filename}: no extents yet; run caption_frame_extents first")
    extents = store.download_file(run.keys.extents_db(version), path.with_name("extents.db"))
    captions_database.merge_captions(
        path,
        databases.read_extents_database(extents),
        run.catalog.get_cropped_frame_rate(run.video_id, version),
        previous,
        databases.read_warnings(extents),
    )


def _record(run: VideoRun, rows: list[StoredCaption]) -> None:
    run.catalog.update_video_metadata(run.video_id, caption_counts(rows))
    run.record("found")


def _result(
    run: VideoRun, store: ObjectStore, rows: list[StoredCaption], readings: list[OcrUpdate]
) -> MaterializeResult:
    failed = sum(reading.error is not None for reading in readings)
    captions = captions_database.to_captions(rows, run.video.usual_frame_rate)
    version = run.video.cropped_frames_version
    pictures = {}
    if version is not None:
        frame_rate = run.catalog.get_cropped_frame_rate(run.video_id, version)
        pictures = cropped_frame_of_each(store, run.video, captions, frame_rate)
    return run.made(
        "captions_db",
        {
            "captions": len(captions),
            "confirmed": sum(row.caption_frame_extents_state == "confirmed" for row in rows),
            "read": len(readings),
            "failed": failed,
            "mean_confidence": sum(c.confidence for c in captions) / len(captions) if captions else 0.0,
            "table": captions_table(captions, strips(pictures)),
            **warning_metadata(run.video.warnings),
            "key": MetadataValue.path(run.keys.captions_db),
        },
    )


@asset(
    deps=[captions_db],
    partitions_def=videos_partitions,
    group_name="crop_and_infer",
    kinds={"srt", "vtt"},
    owners=["team:captions"],
    retry_policy=TRANSIENT_RETRIES,
    code_version=code_version(),
)
def subtitles(
    context: AssetExecutionContext,
    catalog: ResourceParam[Catalog],
    store: ResourceParam[ObjectStore],
    processing: ProcessingResource,
) -> MaterializeResult:
    """The captions as SRT, WebVTT, ASS, and JSON, for players, editors, and other programs."""
    flow = Flow(context.run.tags.get(FLOW_TAG, Flow.CROP_AND_INFER))
    run = VideoRun(context, catalog, flow, "text")
    with run.working(), TemporaryDirectory(prefix="captionacc-") as folder:
        # A person's edit also writes these files, possibly from newer captions than the ones read here.
        with run.locked() as lock:
            path = _download(run, store, Path(folder))
            if path is None:
                raise BadInput(f"{run.video.filename}: no captions yet; run captions_db first")
            rows = captions_database.read_captions(path)
            lock.check()
            texts = publish_subtitles(store, run.video, path, processing.subtitle_options)
        captions = captions_database.to_captions(rows, run.video.usual_frame_rate)
        return run.made(
            "subtitles",
            {
                "captions": len(captions),
                "characters": sum(len(caption.text) for caption in captions),
                "srt": MetadataValue.md(f"```\n{texts['srt'][:20_000]}\n```"),
                **{
                    kind: MetadataValue.url(f"{processing.api_url}/videos/{run.video_id}/subtitles.{kind}")
                    for kind in FORMATS
                    if kind != "srt"
                },
                **{f"{kind}_key": MetadataValue.path(run.keys.subtitles(kind)) for kind in FORMATS},
            },
        )
