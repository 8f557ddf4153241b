"""Write files that appear under their name only when complete, and then survive a power failure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

_RENAME_ATTEMPTS = 20


@contextmanager
def partial_file(final: Path, folder: Path | None = None, *, private: bool = False) -> Iterator[BinaryIO]:
    """Open a new file that replaces ``final`` if the block ends without an error, and is removed otherwise.

    With ``private``, only this user can read it.

    It is written in ``folder`` (on the same file system; by default hidden beside ``final``), flushed to disk, then
    renamed. The parents of ``final`` are created.
    """
    if folder is None:
        final.parent.mkdir(parents=True, exist_ok=True)
    partial = (folder or final.parent) / f".{uuid4().hex}.part"
    try:
        with open(partial, "x+b", opener=_open_private if private else None) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _put_in_place(partial, final)
    except BaseException:
        with suppress(FileNotFoundError):
            partial.unlink()
        raise
    with suppress(FileNotFoundError):  # already deleted by another process
        sync_folder(final.parent)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _put_in_place(partial: Path, final: Path) -> None:
    for attempt in range(_RENAME_ATTEMPTS):
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(final)
        except (FileNotFoundError, FileExistsError):
            # A concurrent deletion may prune the emptied folder at any moment around mkdir.
            if attempt == _RENAME_ATTEMPTS - 1 or not partial.exists():
                raise
        else:
            return


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power failure, where supported (Windows cannot open folders)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
