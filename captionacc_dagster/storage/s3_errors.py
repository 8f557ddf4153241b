"""Translate errors of boto3 into storage errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from captionacc_dagster.storage.errors import (
    AccessDenied,
    BucketNotFound,
    ChecksumMismatch,
    ObjectNotFound,
    SlowDown,
    StorageError,
    StorageFull,
    StorageUnavailable,
    TruncatedBody,
)

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
# A HEAD response has no body, so its code is the bare status.
_BY_CODE: dict[str, type[StorageError]] = {
    **dict.fromkeys(("404", "NoSuchKey", "NotFound", "NoSuchVersion"), ObjectNotFound),
    "NoSuchBucket": BucketNotFound,
    **dict.fromkeys(
        (
            "401",
            "403",
            "AccessDenied",
            "AccountProblem",
            "AllAccessDisabled",
            "ExpiredToken",
            "Forbidden",
            "InvalidAccessKeyId",
            "InvalidSecurity",
            "InvalidToken",
            "NotSignedUp",
            "RequestTimeTooSkewed",
            "SignatureDoesNotMatch",
            "Unauthorized",
        ),
        AccessDenied,
    ),
    **dict.fromkeys(
        ("429", "RequestLimitExceeded", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests"), SlowDown
    ),
    **dict.fromkeys(("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"), ChecksumMismatch),
    "IncompleteBody": TruncatedBody,
    **dict.fromkeys(("507", "QuotaExceeded", "InsufficientStorage"), StorageFull),
    # NoSuchUpload: the parts were swept or aborted meanwhile; the next attempt begins a new upload.
    **dict.fromkeys(
        ("NoSuchUpload", "InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable"),
        StorageUnavailable,
    ),
}


def from_response(code: str, message: str, status: int, what: str, key: str | None) -> StorageError:
    """Return the storage error for a server's answer: its code, message, and HTTP status."""
    kind = _BY_CODE.get(code)
    if kind is None:
        kind = StorageUnavailable if status >= 500 and status != 501 else StorageError
    return kind(f"{what}: {code}" + (f" ({message})" if message and message != code else ""), key=key)


@contextmanager
def storage_errors(what: str, key: str | None = None) -> Iterator[None]:
    """Raise every error of boto3, botocore, and s3transfer as a StorageError; ``what`` names the object."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from s3transfer.exceptions import RetriesExceededError

    try:
        yield
    except (ClientError, BotoCoreError, Boto3Error, RetriesExceededError) as error:
        raise _translate(error, what, key) from error


def _translate(error: Exception, what: str, key: str | None) -> StorageError:
    from botocore import exceptions as botocore
    from s3transfer.exceptions import RetriesExceededError

    match error:
        case botocore.ClientError():
            details = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return from_response(str(details.get("Code", status)), str(details.get("Message", "")), status, what, key)
        case RetriesExceededError():
            cause = error.last_exception
            if isinstance(cause, botocore.BotoCoreError):
                return _translate(cause, what, key)
            return StorageUnavailable(f"{what}: {cause}", key=key)
        case botocore.IncompleteReadError() | botocore.ResponseStreamingError():
            return TruncatedBody(f"{what}: the connection ended in the middle of the object", key=key)
        case botocore.FlexibleChecksumError():
            return ChecksumMismatch(f"{what}: {error}", key=key)
        case (
            botocore.NoCredentialsError()
            | botocore.PartialCredentialsError()
            | botocore.CredentialRetrievalError()
            | botocore.TokenRetrievalError()
        ):
            return AccessDenied(f"{what}: {error}", key=key)
        case botocore.SSLError():
            return StorageError(f"{what}: {error}", key=key)
        case botocore.ConnectionError() | botocore.HTTPClientError():
            return StorageUnavailable(f"{what}: {error}", key=key)
        case _:
            return StorageError(f"{what}: {error}", key=key)
