"""Errors of the catalog, independent of how it is reached."""

from __future__ import annotations

from typing import ClassVar


class CatalogError(Exception):
    """Base of all catalog errors; ``str()`` is one line.

    Attributes:
        message: message of the server or its client.
        hint: the server's advice, or None.
        code: SQLSTATE, PostgREST code, or HTTP status, or None.
        retryable: whether the same call may succeed later.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None) -> None:
        self.message = " ".join(message.split())
        self.hint = hint
        self.code = code
        super().__init__(self.message if hint is None else f"{self.message} ({hint})")


class NotFound(CatalogError):
    """There is no such row."""


class Conflict(CatalogError):
    """The row's state, or another row, does not allow this."""


class PermissionDenied(CatalogError):
    """The credentials do not allow this."""


class QuotaReached(CatalogError):
    """The tenant's access tier does not allow another upload."""


class InvalidValue(CatalogError):
    """A value is malformed or breaks a constraint."""


class CatalogUnavailable(CatalogError):
    """The catalog cannot be reached or is not ready; the same call may succeed later."""

    retryable: ClassVar[bool] = True


# PostgREST passes on SQLSTATEs and has codes of its own (PGRST…); a gateway in front of it only sends an HTTP status.
# SQLSTATEs that mean "not now": the connection broke (08), the server is stopping or starting (57P0x), it has no free
# connection (53300), or another transaction was in the way (40001, 40P01, 55P03) until the time was over.
TIMED_OUT = "57014"
_UNAVAILABLE = (
    "08", "57P01", "57P02", "57P03", "53300", "40001", "40P01", "55P03", TIMED_OUT,
    "PGRST000", "PGRST001", "PGRST002", "PGRST003", "503", "520",
)  # fmt: skip
_CONFLICT = ("PT409", "23505", "23503", "23001")
_DENIED = ("42501", "PT401", "PT403", "28", "PGRST301", "PGRST302", "PGRST303", "401", "403")
_INVALID = ("22", "23502", "23514", "PGRST102")


def from_code(message: str, code: str | None, hint: str | None = None) -> CatalogError:
    """Return the error for an SQLSTATE or PostgREST code."""
    kinds: tuple[tuple[type[CatalogError], tuple[str, ...]], ...] = (
        (NotFound, ("PT404",)),
        (Conflict, _CONFLICT),
        (QuotaReached, ("PT429",)),
        (PermissionDenied, _DENIED),
        (InvalidValue, _INVALID),
        (CatalogUnavailable, _UNAVAILABLE),
    )
    for kind, prefixes in kinds:
        if code is not None and code.startswith(prefixes):
            return kind(message, hint=hint, code=code)
    return CatalogError(message, hint=hint, code=code)
