"""Find the video that a person names: by its file name, its id, or the beginning of its id."""

from __future__ import annotations

from pathlib import Path

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.filenames import stored_filename
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.cli.errors import AmbiguousName, ProcessError

SHOWN = 10


def find_video(catalog: Catalog, name: str) -> Video:
    """Return the video with this id, beginning of an id, or file name; a path is looked up by its last part.

    Raises:
        ProcessError: there is none, or several, which the error lists.
    """
    wanted = stored_filename(Path(name)) or name
    found = catalog.match_videos(wanted, limit=SHOWN + 1)
    if not found:
        raise ProcessError(f"no video is named {name!r}; `captionacc status` lists all of them")
    if len(found) == 1:
        return found[0]
    choices = [f"{video.id}  {video.filename}  {video.created_at:%Y-%m-%d %H:%M}" for video in found[:SHOWN]]
    count = f"more than {SHOWN}" if len(found) > SHOWN else str(len(found))
    raise AmbiguousName(f"{name!r} names {count} videos; give the id of one of them:", choices)
