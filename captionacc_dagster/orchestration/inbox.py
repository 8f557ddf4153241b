"""The inbox folder: every file dropped there becomes a video."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import UUID

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import QuotaReached
from captionacc_dagster.catalog.filenames import printable, stored_filename
from captionacc_dagster.catalog.models import error_details
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.keys import VideoKeys

CLAIMER = "sensor:inbox"
CLAIM_SECONDS = 600.0
# Suffixes that browsers and copying tools give to incomplete files.
UNFINISHED = frozenset({".part", ".tmp", ".crdownload", ".download", ".partial"})
DONE, REJECTED = "done", "rejected"


def take_from_inbox(
    folder: Path,
    tenant_id: UUID,
    catalog: Catalog,
    store: ObjectStore,
    *,
    seen: Mapping[str, str],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[str], dict[str, str], str]:
    """Create videos from the files that have not changed since the last scan; at least one, then until time is up.

    A file moves to ``done/`` once its video is complete, and to ``rejected/`` with a ``.reason.txt`` if it is not a
    video. Taking the same file again, after a crash in between, gives the same video.

    Returns:
        A line for each file; name → size and time of those still there, to compare with at the next scan; a summary.
    """
    if not folder.is_dir():
        return [], {}, f"there is no folder {folder}"
    lines: list[str] = []
    waiting: dict[str, str] = {}
    deadline = clock() + seconds
    for path in sorted(path for path in folder.iterdir() if _is_candidate(path)):
        status = path.stat()
        stamp = f"{status.st_size}:{status.st_mtime_ns}"
        if seen.get(path.name) != stamp or (lines and clock() > deadline):
            waiting[path.name] = stamp
        else:
            lines.append(_take(path, tenant_id, catalog, store, clock))
    found = f"took {len(lines)} files, {len(waiting)} waiting" if lines or waiting else "the inbox is empty"
    return lines, waiting, found


def _is_candidate(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.suffix.lower() not in UNFINISHED


def _take(path: Path, tenant_id: UUID, catalog: Catalog, store: ObjectStore, clock: Callable[[], float]) -> str:
    from captionacc_dagster.captioning.video.reader import VideoError, probe

    try:
        probe(path)
    except VideoError as error:
        return _reject(path, error)
    with path.open("rb") as stream:
        content_hash = hashlib.file_digest(stream, "sha256").hexdigest()
    # Claimed, so that no run starts before the video's object exists.
    try:
        made = catalog.create_video(
            tenant_id,
            stored_filename(path),
            content_hash=content_hash,
            file_size_bytes=path.stat().st_size,
            source="inbox",
            claimer=CLAIMER,
            lease_s=CLAIM_SECONDS,
        )
    except QuotaReached as error:
        return _reject(path, error)
    key = VideoKeys(str(made.video.tenant_id), str(made.video.id)).video
    request, renewed = made.request, clock()

    def keep_claim(_: int) -> None:
        nonlocal renewed
        if request is not None and clock() - renewed > CLAIM_SECONDS / 4:
            renewed = clock()
            catalog.renew_request_claim(request.id, CLAIMER, lease_s=CLAIM_SECONDS)

    try:
        if not store.file_exists(key):
            store.publish(key, path, progress=keep_claim)
    except Exception as error:
        if request is not None:
            catalog.release_processing_request(request.id, CLAIMER, delay_s=60, error_details=error_details(error))
        raise
    if request is not None:
        catalog.release_processing_request(request.id, CLAIMER)
    _move(path, DONE)
    return f"{printable(path.name)}: {'is' if made.created else 'was already'} video {made.video.id}"


def _reject(path: Path, error: Exception) -> str:
    rejected = _move(path, REJECTED)
    rejected.with_name(f"{rejected.name}.reason.txt").write_text(f"{printable(str(error))}\n", encoding="utf-8")
    return f"{printable(path.name)}: rejected: {printable(str(error))}"


def _move(path: Path, folder: str) -> Path:
    target = path.parent / folder / path.name
    target.parent.mkdir(exist_ok=True)
    number = 1
    while target.exists():
        target = target.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return path.rename(target)
