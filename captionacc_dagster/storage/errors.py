"""Errors of an object store; each type states whether a retry can succeed."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import ClassVar


class StorageError(Exception):
    """Base of all store errors. ``retryable``: the same call may succeed later without intervention."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class ObjectNotFound(StorageError):
    """No object has this key."""


class BucketNotFound(StorageError):
    """The bucket, or the folder of a local store, does not exist."""


class AccessDenied(StorageError):
    """The credentials are wrong, expired, or missing, or do not allow this."""


class StorageFull(StorageError):
    """No space is left in the store or at the target of a download."""


class PresignedUrlUnsupported(StorageError):
    """This store has no presigned URLs."""


class StorageUnavailable(StorageError):
    """The store cannot be reached or reports a temporary failure."""

    retryable = True


class SlowDown(StorageUnavailable):
    """The store asks for fewer requests."""


class TruncatedBody(StorageError):
    """The number of received bytes differs from the object's size."""

    retryable = True


class ChecksumMismatch(StorageError):
    """The received bytes differ from the object's content."""

    retryable = True


class DeleteFailed(StorageError):
    """Some objects under a prefix could not be deleted; the others were.

    ``deleted`` is the number deleted; ``failures`` contains key and reason of each that remains.
    """

    def __init__(self, prefix: str, deleted: int, failures: Sequence[tuple[str, str]]) -> None:
        key, reason = failures[0]
        more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
        super().__init__(f"could not delete {key} ({reason}){more} under {prefix}; {deleted} deleted", key=prefix)
        self.deleted = deleted
        self.failures = tuple(failures)


def from_os_error(error: OSError, what: str, key: str | None = None, *, writing: bool = False) -> StorageError:
    """Return the storage error for an error of the file system.

    ``what`` names the key or the file. When reading, a missing file means a missing object.
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
