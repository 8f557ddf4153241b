"""Files that appear under their name only when they are complete, and survive a power cut once they have."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

_RENAME_ATTEMPTS = 20


@contextmanager
def partial_file(final: Path, folder: Path | None = None) -> Iterator[BinaryIO]:
    """Open a new file that replaces ``final`` when the block ends without an error, else vanishes.

    It is written in ``folder`` (on the same file system; by default beside ``final``, hidden), flushed to the disk,
    then renamed. The parents of ``final`` are made.
    """
    if folder is None:
        final.parent.mkdir(parents=True, exist_ok=True)
    partial = (folder or final.parent) / f".{uuid4().hex}.part"
    try:
        with partial.open("x+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _put_in_place(partial, final)
    except BaseException:
        with suppress(FileNotFoundError):
            partial.unlink()
        raise
    with suppress(FileNotFoundError):  # deleted again by somebody else
        sync_folder(final.parent)


def _put_in_place(partial: Path, final: Path) -> None:
    for attempt in range(_RENAME_ATTEMPTS):
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(final)
        except (FileNotFoundError, FileExistsError):
            # A deletion beside us prunes the folder it emptied, before or after mkdir looks again.
            if attempt == _RENAME_ATTEMPTS - 1 or not partial.exists():
                raise
        else:
            return


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut, where the system can (Windows opens no folders)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
