"""What a person decides about a video: approve its layout, start a failed stage again, bring back its captions."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

import typer

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import Conflict
from captionacc_dagster.catalog.filenames import printable
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.cli.errors import ProcessError
from captionacc_dagster.cli.video_names import find_video
from captionacc_dagster.storage.errors import ObjectNotFound

if TYPE_CHECKING:
    from captionacc_dagster.captioning.geometry import CropRegion
    from captionacc_dagster.settings import Settings


def approve_video(settings: Settings, catalog: Catalog, name: str, region: CropRegion | None, *, agreed: bool) -> Video:
    """Approve the layout of a video, after asking where its captions exist already, and return its row.

    Raises:
        ProcessError: there is no such video, it is being processed, or the person does not agree.
    """
    video = find_video(catalog, name)
    if not agreed and video.layout_approved_at is not None and video.text_status not in ("wait", "error"):
        _ask(
            f"The {video.caption_count or 0} captions of {video.filename} are found already. Find them again? "
            "What a person confirmed or typed stays."
        )
    settle(settings, catalog, video)
    try:
        catalog.approve_layout(video.id, region.as_tuple() if region else video.crop_region)
    except Conflict as error:
        raise ProcessError(f"{video.filename}: {_state(catalog, video) or error.message}") from error
    return video


def retry_video(settings: Settings, catalog: Catalog, name: str) -> str:
    """Request the failed stage of a video again, and return a sentence that says so.

    A stage whose process is gone counts as failed.

    Raises:
        ProcessError: there is no such video, nothing of it has failed, or it is being processed.
    """
    video = find_video(catalog, name)
    settle(settings, catalog, video)
    try:
        request = catalog.retry_video(video.id)
    except Conflict as error:
        raise ProcessError(f"{video.filename}: {_state(catalog, video) or _not_failed(video)}") from error
    return (
        f"requested {request.flow} of {video.filename}; `captionacc up` runs it, or `captionacc process FILE`; "
        f"follow the progress with `captionacc status {video.id}`"
    )


def bring_back_captions(settings: Settings, catalog: Catalog, name: str) -> str:
    """Bring back the captions of a video from before its last processing, and return a sentence that says so.

    Raises:
        ProcessError: there is no such video, nothing is kept, or somebody else changes its captions.
    """
    from captionacc_dagster.backends import open_store, subtitle_options
    from captionacc_dagster.captioning.files.previous_captions import NothingKept
    from captionacc_dagster.orchestration.locks import LOCK_TTL_S, LockHeld, LockLost, server_lock
    from captionacc_dagster.orchestration.subtitle_files import caption_counts, download_captions, restore_captions

    store, video = open_store(settings), find_video(catalog, name)
    try:
        with (
            # What a killed process left is free after this time.
            server_lock(catalog, video.id, "captions", f"restore:{uuid4()}", wait_s=LOCK_TTL_S) as lock,
            TemporaryDirectory(prefix="captionacc-") as folder,
        ):
            # As it is under the lock.
            video = catalog.get_video_metadata(video.id)
            path = download_captions(store, video, Path(folder))
            rows = restore_captions(catalog, store, video, path, subtitle_options(settings), lock.check)
    except ObjectNotFound:
        raise ProcessError(f"{video.filename}: it has no captions yet") from None
    except (NothingKept, LockHeld, LockLost) as error:
        raise ProcessError(f"{video.filename}: {error}") from error
    count = caption_counts(rows)["caption_count"]
    captions = "1 caption" if count == 1 else f"{count} captions"
    return (
        f"{video.filename}: now has the {captions} from before; "
        f"`captionacc export {video.id}` writes its subtitles, and `captionacc restore` again undoes this"
    )


def settle(settings: Settings, catalog: Catalog, video: Video) -> None:
    """End what killed processes left of a video, so that it does not count as being processed."""
    if catalog.list_processing_requests(states=["pending", "launched"], video_id=video.id).items:
        from captionacc_dagster.orchestration.instance import open_instance
        from captionacc_dagster.orchestration.reconciliation import settle_video

        with open_instance(settings) as instance:
            settle_video(instance, catalog, video.id, settings.auto_approve_layout)


def _state(catalog: Catalog, video: Video) -> str | None:
    """Return who is working on a video; None if nobody is."""
    for request in catalog.list_processing_requests(states=["launched", "pending"], video_id=video.id).items:
        if request.state == "launched":
            return (
                f"run {request.run_id} has been working on it since {request.launched_at:%Y-%m-%d %H:%M} UTC; "
                f"follow the progress with `captionacc status {video.id}`"
            )
        return (
            f"{request.flow} was requested at {request.requested_at:%Y-%m-%d %H:%M} UTC and has not started; "
            "`captionacc up` runs it, or `captionacc process FILE`"
        )
    return None


def _not_failed(video: Video) -> str:
    if video.status != "active":
        return "nothing of it has failed, but it was never processed; run `captionacc process FILE`"
    if video.layout_approved_at is None:
        return f"nothing of it has failed; its layout waits for `captionacc approve {video.id}`"
    return f"nothing of it has failed; `captionacc export {video.id}` writes its subtitles"


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise ProcessError(f"{question} Add --yes to do so")
    if not typer.confirm(printable(question), default=False, err=True):
        raise ProcessError("not approved; nothing has changed")
