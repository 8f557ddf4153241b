"""What can go wrong with a store, in a handful of types; each says whether trying again makes sense."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import ClassVar


class StorageError(Exception):
    """Any failure of a store. ``retryable`` says whether the same call may succeed later without anybody's doing."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class ObjectNotFound(StorageError):
    """No object has this key."""


class BucketNotFound(StorageError):
    """The bucket, or the folder of a local store, does not exist."""


class AccessDenied(StorageError):
    """The credentials are wrong, expired or missing, or they do not allow this."""


class StorageFull(StorageError):
    """No space is left, in the store or where a download was to be written."""


class PresignedUrlUnsupported(StorageError):
    """This store has no URL that somebody else could fetch from."""


class StorageUnavailable(StorageError):
    """The store cannot be reached, or answers that it is broken for now."""

    retryable = True


class SlowDown(StorageUnavailable):
    """The store asks for fewer requests."""


class TruncatedBody(StorageError):
    """Fewer or more bytes arrived than the object has."""

    retryable = True


class ChecksumMismatch(StorageError):
    """As many bytes arrived as the object has, but other ones."""

    retryable = True


class DeleteFailed(StorageError):
    """Some objects of a prefix could not be deleted; the others are gone.

    ``deleted`` counts those; ``failures`` names each that stayed, with the reason.
    """

    def __init__(self, prefix: str, deleted: int, failures: Sequence[tuple[str, str]]) -> None:
        key, reason = failures[0]
        more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
        super().__init__(f"could not delete {key} ({reason}){more} under {prefix}; {deleted} deleted", key=prefix)
        self.deleted = deleted
        self.failures = tuple(failures)


def from_os_error(error: OSError, what: str, key: str | None = None, *, writing: bool = False) -> StorageError:
    """Say as a storage error what the file system answered.

    ``what`` names the key or the file. When reading, a missing file is a missing object.
    """
    message = f"{what}: {error.strerror or error}"
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.EISDIR if not writing:
            return ObjectNotFound(f"no such object: {what}", key=key)
        case errno.EACCES | errno.EPERM | errno.EROFS | errno.ELOOP:
            return AccessDenied(message, key=key)
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return StorageFull(message, key=key)
        case errno.EIO | errno.ESTALE | errno.EMFILE | errno.ENFILE | errno.ETIMEDOUT:
            return StorageUnavailable(message, key=key)
        case _:
            return StorageError(message, key=key)
