"""Asset checks: read back what each stage stored and judge it.

A blocking check that fails with an error stops the stages after it. Checks write nothing to the catalog: the sensor
``run_outcomes``, or the command that runs them, records how their run ended.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    MetadataValue,
    ResourceParam,
    multi_asset_check,
)

from captionacc_dagster.assets import check_rules as rules
from captionacc_dagster.assets.check_rules import Verdict
from captionacc_dagster.assets.lifecycle import TRANSIENT_RETRIES, VideoRun
from captionacc_dagster.assets.metadata import bullet_list
from captionacc_dagster.assets.stored_outputs import (
    describe_object,
    describe_prefix,
    frame_indices,
    read_captions,
    read_layout,
    read_ocr,
    read_subtitles,
    recorded_metadata,
)
from captionacc_dagster.captioning.captions import Caption
from captionacc_dagster.captioning.files import captions_database, databases
from captionacc_dagster.captioning.files.subtitles import FORMATS, SubtitleOptions
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.compute.base import BadInput
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.resources import ProcessingResource
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.tags import FLOW_TAG

Judged = tuple[str, str, Verdict]

_SEVERITIES = {"warn": AssetCheckSeverity.WARN, "error": AssetCheckSeverity.ERROR}


class CheckFailed(Exception):
    """Raised when a blocking check fails; the message says what is wrong."""


def _spec(asset: str, name: str, rule: Callable[..., Verdict], *, blocking: bool = False) -> AssetCheckSpec:
    description = (rule.__doc__ or "").partition("\n")[0]
    return AssetCheckSpec(name, asset=asset, description=description, blocking=blocking)


_blocking = partial(_spec, blocking=True)

RAW_VIDEO_CHECKS = [
    _blocking("raw_video", "keys_belong_to_tenant", rules.keys_belong_to_tenant),
    _blocking("raw_video", "object_as_recorded", rules.objects_as_recorded),
]
LAYOUT_CHECKS = [
    _blocking("full_frames", "objects_as_recorded", rules.objects_as_recorded),
    _blocking("full_frames", "every_frame_is_there", rules.every_frame_is_there),
    _spec("full_frames", "frames_match_duration", rules.frames_match_duration),
    _blocking("ocr_db", "object_as_recorded", rules.objects_as_recorded),
    _blocking("ocr_db", "every_frame_read", rules.all_read),
    _blocking("layout_db", "keys_belong_to_tenant", rules.keys_belong_to_tenant),
    _blocking("layout_db", "object_as_recorded", rules.objects_as_recorded),
    _blocking("layout_db", "boxes_agree", rules.boxes_agree),
    _spec("layout_db", "layout_is_confident", rules.layout_is_confident),
    _spec("layout_db", "nothing_to_report", rules.nothing_to_report),
]
EXTENTS_CHECKS = [
    _spec("cropped_frames", "objects_as_recorded", rules.objects_as_recorded),
    _spec("cropped_frames", "every_chunk_is_there", rules.every_chunk_is_there),
    _spec("cropped_frames", "frames_match_duration", rules.frames_match_duration),
    _blocking("caption_frame_extents", "keys_belong_to_tenant", rules.keys_belong_to_tenant),
    _blocking("caption_frame_extents", "object_as_recorded", rules.objects_as_recorded),
    _blocking("caption_frame_extents", "extents_in_order", rules.extents_in_order),
    _blocking("caption_frame_extents", "labels_agree", rules.labels_agree),
]
CAPTIONS_CHECKS = [
    _blocking("captions_db", "every_caption_read", rules.captions_all_read),
    _spec("captions_db", "captions_in_order", rules.extents_in_order),
    _spec("captions_db", "lengths_plausible", rules.lengths_plausible),
    _spec("captions_db", "reading_speed_plausible", rules.reading_speed_plausible),
    _spec("captions_db", "text_is_confident", rules.text_is_confident),
    _spec("captions_db", "confident_as_a_whole", rules.confident_as_a_whole),
    _spec("captions_db", "no_text_twice", rules.no_text_twice),
    _spec("captions_db", "seen_text_is_covered", rules.seen_text_is_covered),
    _spec("captions_db", "nothing_to_report", rules.nothing_to_report),
]
SUBTITLES_CHECKS = [
    _blocking("subtitles", "keys_belong_to_tenant", rules.keys_belong_to_tenant),
    _blocking("subtitles", "equal_the_captions", rules.subtitles_equal_captions),
]


@multi_asset_check(specs=RAW_VIDEO_CHECKS, retry_policy=TRANSIENT_RETRIES)
def raw_video_checks(
    context: AssetCheckExecutionContext, catalog: ResourceParam[Catalog], store: ResourceParam[ObjectStore]
) -> Iterator[AssetCheckResult]:
    """Check that the file is the one that was announced, before anything is done with it."""
    run = VideoRun(context, catalog, Flow.VIDEO_INITIAL_PROCESSING, "layout")
    with run.checking():
        yield from _results(run, RAW_VIDEO_CHECKS, list(judge_raw_video(run, store)))


def judge_raw_video(run: VideoRun, store: ObjectStore) -> Iterator[Judged]:
    """Yield a verdict on each property of the uploaded file."""
    video, key = run.video, run.keys.video
    yield (
        "raw_video",
        "keys_belong_to_tenant",
        rules.keys_belong_to_tenant(str(video.tenant_id), {"video": key}, {"video": video.storage_key}),
    )
    recorded = recorded_metadata(run.context.instance, "raw_video", video)
    info = store.stat(key)
    # The asset already read the whole file; read it again only if it has changed since.
    unchanged = recorded.get("etag") == info.etag and "sha256" in recorded
    found = {"size_bytes": info.size, "sha256": recorded["sha256"] if unchanged else store.sha256(key)}
    announced = {
        "size_bytes": video.file_size_bytes,
        "sha256": video.content_hash or recorded.get("sha256"),
    }
    yield "raw_video", "object_as_recorded", rules.objects_as_recorded(_known(announced), found)


@multi_asset_check(specs=LAYOUT_CHECKS, retry_policy=TRANSIENT_RETRIES)
def layout_checks(
    context: AssetCheckExecutionContext, catalog: ResourceParam[Catalog], store: ResourceParam[ObjectStore]
) -> Iterator[AssetCheckResult]:
    """Check that full frames, OCR, and layout are complete and agree."""
    run = VideoRun(context, catalog, Flow.VIDEO_INITIAL_PROCESSING, "layout")
    with run.checking():
        yield from _results(run, LAYOUT_CHECKS, [*judge_frames(run, store), *judge_layout(run, store)])


def judge_frames(run: VideoRun, store: ObjectStore) -> Iterator[Judged]:
    """Yield a verdict on the full frames and on their OCR."""
    video = run.video
    recorded = recorded_metadata(run.context.instance, "full_frames", video)
    indices = frame_indices(store.list_files(run.keys.full_frames_prefix))
    frames = read_ocr(store, video)
    yield (
        "full_frames",
        "objects_as_recorded",
        rules.objects_as_recorded(recorded, describe_prefix(store, run.keys.full_frames_prefix)),
    )
    yield (
        "full_frames",
        "every_frame_is_there",
        rules.every_frame_is_there(indices, [frame.frame_index for frame in frames]),
    )
    rate, duration = recorded.get("sampled_per_second", 0.0), video.duration_seconds or 0.0
    yield "full_frames", "frames_match_duration", rules.frames_match_duration(len(indices), duration, rate)
    failures = {f"frame {frame.frame_index}": frame.error for frame in frames if frame.error is not None}
    yield "ocr_db", "every_frame_read", rules.all_read("frames", failures, len(frames))
    layout, layout_boxes = read_layout(store, video)
    ocr_boxes = sum(len(frame.detections) for frame in frames)
    yield "layout_db", "boxes_agree", rules.boxes_agree(ocr_boxes, layout_boxes, video.ocr_box_count)
    wanted = run.catalog.get_tenant(video.tenant_id).auto_approve_min_confidence
    yield (
        "layout_db",
        "layout_is_confident",
        rules.layout_is_confident(layout.confidence, wanted, layout.crop_region is not None),
    )
    messages = [warning.message for warning in layout.warnings]
    yield "layout_db", "nothing_to_report", rules.nothing_to_report(messages)


def judge_layout(run: VideoRun, store: ObjectStore) -> Iterator[Judged]:
    """Yield a verdict on the databases and their keys."""
    keys: VideoKeys = run.keys
    expected = {"full_frames": keys.full_frames_prefix, "ocr_db": keys.ocr_db, "layout_db": keys.layout_db}
    recorded = {name: recorded_metadata(run.context.instance, name, run.video) for name in expected}
    for name in ("ocr_db", "layout_db"):
        found = describe_object(store, expected[name])
        yield name, "object_as_recorded", rules.objects_as_recorded(recorded[name], found)
    yield "layout_db", "keys_belong_to_tenant", _judge_keys(run.video, expected, recorded)


@multi_asset_check(specs=EXTENTS_CHECKS, retry_policy=TRANSIENT_RETRIES)
def extents_checks(
    context: AssetCheckExecutionContext, catalog: ResourceParam[Catalog], store: ResourceParam[ObjectStore]
) -> Iterator[AssetCheckResult]:
    """Check that cropped frames and extents are complete and agree, before captions are made from them."""
    run = VideoRun(context, catalog, Flow.CROP_AND_INFER, "boundaries")
    with run.checking():
        version = run.video.cropped_frames_version
        if version is None:
            raise BadInput(f"{run.video.filename}: no extents yet; run caption_frame_extents first")
        judged = [*judge_cropped_frames(run, store, version), *judge_extents(run, store, version)]
        yield from _results(run, EXTENTS_CHECKS, judged)


def judge_cropped_frames(run: VideoRun, store: ObjectStore, version: int) -> Iterator[Judged]:
    """Yield a verdict on the chunks of one version."""
    prefix = run.keys.cropped_frames_prefix(version)
    recorded = recorded_metadata(run.context.instance, "cropped_frames", run.video)
    found = describe_prefix(store, prefix)
    yield "cropped_frames", "objects_as_recorded", rules.objects_as_recorded(recorded, found)
    count = int(recorded.get("frames", 0))
    names = [key.removeprefix(prefix) for key in store.list_files(prefix)]
    yield "cropped_frames", "every_chunk_is_there", rules.every_chunk_is_there(names, count)
    verdict = Verdict(facts={"frames": count})
    if run.video.crop_region is not None:  # without captions nothing is cropped
        rate, duration = recorded.get("sampled_per_second", 0.0), run.video.duration_seconds or 0.0
        verdict = rules.frames_match_duration(count, duration, rate)
    yield "cropped_frames", "frames_match_duration", verdict


def judge_extents(run: VideoRun, store: ObjectStore, version: int) -> Iterator[Judged]:
    """Yield a verdict on the extents of one version and on the labels of its cropped frames."""
    video, name, key = run.video, "caption_frame_extents", run.keys.extents_db(version)
    recorded = {asset: recorded_metadata(run.context.instance, asset, video) for asset in ("cropped_frames", name)}
    expected = {"cropped_frames": run.keys.cropped_frames_prefix(version), name: key}
    yield name, "keys_belong_to_tenant", _judge_keys(video, expected, recorded)
    yield name, "object_as_recorded", rules.objects_as_recorded(recorded[name], describe_object(store, key))
    with TemporaryDirectory(prefix="captionacc-") as folder:
        path = store.download_file(key, Path(folder) / "extents.db")
        captions, pairs = databases.read_extents_database(path), databases.read_pairs(path)
    duration = video.duration_seconds or 0.0
    yield (
        name,
        "extents_in_order",
        rules.extents_in_order(captions, duration, video.usual_frame_rate),
    )
    counts = {label: int(recorded[name].get(f"label_{label}", 0)) for label in databases.LABELS}
    rate = recorded["cropped_frames"].get("sampled_per_second", 0.0)
    frames = int(recorded["cropped_frames"].get("frames", 0))
    yield name, "labels_agree", rules.labels_agree(pairs, counts, _spans(captions, rate), frames)


def _spans(captions: Sequence[Caption], rate: float) -> dict[str, list[tuple[int, int]]]:
    """Return track → cropped frames ``[start, end)`` of its captions."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for caption in captions:
        spans.setdefault(caption.track, []).append(databases.cropped_frames_of(caption, rate))
    return spans


@multi_asset_check(specs=CAPTIONS_CHECKS, retry_policy=TRANSIENT_RETRIES)
def captions_checks(
    context: AssetCheckExecutionContext, catalog: ResourceParam[Catalog], store: ResourceParam[ObjectStore]
) -> Iterator[AssetCheckResult]:
    """Check that the captions could be read and are plausible."""
    run = VideoRun(context, catalog, _captions_flow(context), "text")
    with run.checking():
        yield from _results(run, CAPTIONS_CHECKS, list(judge_captions(run.video, store)))


def judge_captions(video: Video, store: ObjectStore) -> Iterator[Judged]:
    """Yield a verdict on the captions as stored, with people's edits."""
    rows = read_captions(store, video)
    frame_rate = video.usual_frame_rate
    captions = captions_database.to_captions(rows, frame_rate)
    yield "captions_db", "every_caption_read", rules.captions_all_read(rows)
    # People may place captions as they like, so what would be an error of the machine is only a warning here.
    in_order = replace(rules.extents_in_order(captions, video.duration_seconds or 0.0, frame_rate), severity="warn")
    yield "captions_db", "captions_in_order", in_order
    # Other kinds of text, such as name plates, may stay for as long as they like.
    alone = [caption for caption in captions if caption.kind == "caption"]
    for rule in (rules.lengths_plausible, rules.reading_speed_plausible):
        yield "captions_db", rule.__name__, rule(alone)
    for rule in (rules.text_is_confident, rules.confident_as_a_whole, rules.no_text_twice):
        yield "captions_db", rule.__name__, rule(captions)
    layout, _ = read_layout(store, video)
    yield "captions_db", "seen_text_is_covered", rules.seen_text_is_covered(layout.evidence, rows, video.crop_region)
    messages = [warning.message for warning in video.warnings]
    yield "captions_db", "nothing_to_report", rules.nothing_to_report(messages)


@multi_asset_check(specs=SUBTITLES_CHECKS, retry_policy=TRANSIENT_RETRIES)
def subtitles_checks(
    context: AssetCheckExecutionContext,
    catalog: ResourceParam[Catalog],
    store: ResourceParam[ObjectStore],
    processing: ProcessingResource,
) -> Iterator[AssetCheckResult]:
    """Check that the subtitle files match the captions database."""
    run = VideoRun(context, catalog, _captions_flow(context), "text")
    with run.checking():
        yield from _results(run, SUBTITLES_CHECKS, list(judge_subtitles(run, store, processing.subtitle_options)))


def judge_subtitles(run: VideoRun, store: ObjectStore, options: SubtitleOptions) -> Iterator[Judged]:
    """Yield a verdict on the subtitle files."""
    recorded = recorded_metadata(run.context.instance, "subtitles", run.video)
    expected = {kind: run.keys.subtitles(kind) for kind in FORMATS}
    keys = {kind: recorded.get(f"{kind}_key") for kind in FORMATS}
    of_tenant = rules.keys_belong_to_tenant(str(run.video.tenant_id), expected, keys)
    yield "subtitles", "keys_belong_to_tenant", of_tenant
    stored, meant = read_subtitles(store, run.video, options)
    yield "subtitles", "equal_the_captions", rules.subtitles_equal_captions(stored, meant)


def _captions_flow(context: AssetCheckExecutionContext) -> Flow:
    return Flow(context.run.tags.get(FLOW_TAG, Flow.CROP_AND_INFER))


def _judge_keys(video: Video, expected: dict[str, str], recorded: dict[str, Any]) -> Verdict:
    keys = {name: recorded[name].get("key") or recorded[name].get("prefix") for name in expected}
    return rules.keys_belong_to_tenant(str(video.tenant_id), expected, keys)


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _results(run: VideoRun, specs: Sequence[AssetCheckSpec], judged: Sequence[Judged]) -> Iterator[AssetCheckResult]:
    """Yield the verdicts as Dagster results.

    Raises:
        CheckFailed: after all results, if a blocking check failed with an error.
    """
    blocking = {(spec.asset_key.to_user_string(), spec.name) for spec in specs if spec.blocking}
    stopping = []
    for asset, name, verdict in judged:
        yield AssetCheckResult(
            asset_key=asset,
            check_name=name,
            passed=verdict.passed,
            severity=_SEVERITIES[verdict.severity],
            description=verdict.summary or None,
            metadata={
                "video": run.video.filename,
                **verdict.facts,
                **({"wrong": MetadataValue.md(bullet_list(verdict.wrong))} if verdict.wrong else {}),
            },
        )
        if not verdict.passed and verdict.severity == "error" and (asset, name) in blocking:
            stopping.append(verdict.summary)
    if stopping:
        raise CheckFailed(f"{run.video.filename}: {'; '.join(stopping)}")
