"""Errors of commands, and the one line that a person reads about an error."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from captionacc_dagster.catalog.errors import CatalogError, CatalogUnavailable
from captionacc_dagster.storage.errors import (
    AccessDenied,
    BucketNotFound,
    StorageError,
    StorageFull,
    StorageUnavailable,
)

if TYPE_CHECKING:
    from captionacc_dagster.settings import Settings

# With less than a segment of its log (16 MB), Postgres stops in the middle of a statement.
_FULL_BELOW_BYTES = 20 << 20
_DISK_FULL_SQLSTATE = "53100"
# Of the operating system, and of SQLite.
_FULL_SIGNS = ("No space left on device", "disk is full")


class ProcessError(Exception):
    """A file could not be processed; the message is one line that names it and the reason."""


class AmbiguousName(ProcessError):
    """A name of several videos.

    Attributes:
        choices: a line for each video that is meant.
    """

    def __init__(self, message: str, choices: list[str]) -> None:
        super().__init__(message)
        self.choices = choices


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to stop.

    Attributes:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class DiskFull(ProcessError):
    """The disk of the embedded system is full: no further file can be processed either."""


def explain(error: BaseException, settings: Settings | None) -> str | None:
    """Return one line about an error that a person, a server, or a disk can cause; None for any other error.

    Args:
        error: the error.
        settings: says which server was meant; None if the settings could not be read.
    """
    from captionacc_dagster.captioning.files.subtitles import SubtitleError

    if settings is not None and not isinstance(error, ProcessError | SubtitleError) and is_disk_full(error, settings):
        return disk_full_message(settings.home)
    if isinstance(error, CatalogUnavailable) and settings is not None:
        return f"{catalog_place(settings)}: {error}"
    if isinstance(error, StorageUnavailable | AccessDenied | BucketNotFound) and settings is not None:
        return f"{store_place(settings)}: {error}"
    if isinstance(error, ProcessError | CatalogError | StorageError | SubtitleError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    if (message := _dagster_database_message(error)) is not None:
        return message
    return None


def is_disk_full(error: BaseException, settings: Settings) -> bool:
    """Return whether an error comes from a full disk below the home folder."""
    for cause in _causes(error):
        if isinstance(cause, StorageFull):
            return settings.storage_kind == "local"
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            # A full disk elsewhere is named by its own file.
            return cause.filename is None or settings.home in Path(str(cause.filename)).absolute().parents
        if getattr(cause, "sqlstate", None) == _DISK_FULL_SQLSTATE or any(sign in str(cause) for sign in _FULL_SIGNS):
            return True
    # A server that cannot write its log ends, and all that its clients see is a lost connection.
    return _is_lost_database(error) and free_bytes(settings.home) < _FULL_BELOW_BYTES


def disk_full_message(home: Path) -> str:
    """Return what to do about a full disk."""
    return (
        f"the disk of {home} is full: make room there, or set CAPTIONACC_HOME to a folder on another disk, "
        "then run the same command again"
    )


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk of a folder, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def catalog_place(settings: Settings) -> str:
    """Return which catalog the settings name: its host, and the variable or file that says so."""
    from captionacc_dagster.cli.setting_sources import source

    if settings.supabase_url:
        return f"the catalog at {_host(settings.supabase_url)} ({source('supabase_url')})"
    if settings.database_url:
        return f"the catalog at {_host(settings.database_url.get_secret_value())} ({source('database_url')})"
    return f"the embedded catalog in {settings.home} ({source('home')})"


def store_place(settings: Settings) -> str:
    """Return which object store the settings name: its host, and the variables that say so."""
    from captionacc_dagster.cli.setting_sources import source

    if settings.storage_kind == "s3":
        endpoint = source("wasabi_endpoint_url" if settings.wasabi_endpoint_url else "wasabi_region")
        where = f"bucket {settings.wasabi_bucket} at {_host(settings.endpoint_url)}"
        return f"{where} ({source('wasabi_bucket')}, {endpoint}, WASABI_ACCESS_KEY, WASABI_SECRET_KEY)"
    return f"the objects in {settings.objects_dir} ({source('home')})"


def _host(url: str) -> str:
    """Return host and port of a URL, never its password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or "this machine"
        return f"{host}:{parts.port}" if parts.port else host
    except ValueError:
        return "an unreadable URL"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it, also the driver's error inside one of SQLAlchemy."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop()
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "orig", None)]


def _is_lost_database(error: BaseException) -> bool:
    return any(
        isinstance(cause, CatalogUnavailable) or type(cause).__name__ in ("OperationalError", "InterfaceError")
        for cause in _causes(error)
    )


def _dagster_database_message(error: BaseException) -> str | None:
    """Return a line about an error of the database in which Dagster stores its runs; None for any other error."""
    for cause in _causes(error):
        if type(cause).__module__.startswith(("sqlalchemy", "psycopg2")) and type(cause).__name__ in (
            "OperationalError",
            "InterfaceError",
            "DatabaseError",
        ):
            reason = str(getattr(cause, "orig", None) or cause).strip().splitlines()
            return (
                f"Dagster's database: {reason[0] if reason else type(cause).__name__} (see DAGSTER_HOME/dagster.yaml)"
            )
    return None
