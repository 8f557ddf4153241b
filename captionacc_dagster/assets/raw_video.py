"""Check the uploaded file: it exists, belongs to the tenant, and can be played."""

import hashlib
from tempfile import TemporaryDirectory

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, ResourceParam, asset

from captionacc_dagster.assets.lifecycle import TRANSIENT_RETRIES, VideoRun
from captionacc_dagster.assets.metadata import picture
from captionacc_dagster.captioning.captions import clock
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.compute.base import BadInput
from captionacc_dagster.compute.code_version import code_version
from captionacc_dagster.orchestration.flows import Flow, videos_partitions
from captionacc_dagster.storage.base import ObjectStore


@asset(
    partitions_def=videos_partitions,
    group_name="video_initial_processing",
    kinds={"video"},
    owners=["team:captions"],
    retry_policy=TRANSIENT_RETRIES,
    code_version=code_version(),
)
def raw_video(
    context: AssetExecutionContext, catalog: ResourceParam[Catalog], store: ResourceParam[ObjectStore]
) -> MaterializeResult:
    """The uploaded video file, checked to belong to the tenant and opened once.

    A file that cannot be played is refused here, with the reason in the video's row.
    """
    run = VideoRun(context, catalog, Flow.VIDEO_INITIAL_PROCESSING, "layout")
    with run.working():
        if run.makes("layout_db"):
            run.begin()
        if run.video.storage_key != run.keys.video:
            raise BadInput(f"{run.video.filename}: the storage key in its row is not the key of video {run.video.id}")
        if run.makes("layout_db"):
            run.record("started")
        return _inspect(run, store)


def _inspect(run: VideoRun, store: ObjectStore) -> MaterializeResult:
    from captionacc_dagster.captioning.video.reader import VideoError, probe, sample_frames

    info = store.stat(run.keys.video)
    with TemporaryDirectory(prefix="captionacc-") as work, store.open_local(run.keys.video, work) as path:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        try:
            facts = probe(path)
            poster = next(iter(sample_frames(facts, min(1.0, 3.0 / facts.duration_s))), None)
        except VideoError as error:
            # The object is always called video.mp4; people know the file by its own name.
            raise BadInput(f"{run.video.filename}: {error.reason}") from error
    run.catalog.update_video_metadata(
        run.video_id,
        {
            # The announced size stays, for the check that compares it with what arrived.
            "file_size_bytes": run.video.file_size_bytes or info.size,
            "duration_seconds": facts.duration_s,
            "frame_rate": facts.frame_rate,
            "width": facts.width,
            "height": facts.height,
            "rotation": facts.rotation,
            "video_codec": facts.codec,
            "bitrate": facts.bitrate,
        },
    )
    metadata = {
        "key": MetadataValue.path(run.keys.video),
        "size_bytes": info.size,
        "sha256": sha256,
        "etag": info.etag,
        "duration": clock(facts.duration_s),
        "duration_seconds": facts.duration_s,
        "size": f"{facts.width} x {facts.height}",
        "frame_rate": facts.frame_rate,
        "codec": facts.codec,
        "rotation": facts.rotation,
        "bitrate": facts.bitrate,
    }
    if poster is not None:
        metadata["poster"] = picture(poster.image, "poster")
    return run.made("raw_video", metadata)
