"""Work of which a part failed: a few unread frames or captions are a warning, most of them are a failure."""

from __future__ import annotations

from dagster import AssetCheckResult, AssetCheckSeverity

from captionacc_dagster.compute.base import ComputeError

# More unread than this, and what was read says little about the video.
MOST_UNREAD = 0.5


class UnreadableText(ComputeError):
    """OCR failed on most of what it was given."""


def check_readable(filename: str, things: str, failed: int, total: int, reason: str | None = None) -> None:
    """Accept a few failures.

    Raises:
        UnreadableText: more than half have failed.
    """
    if failed > total * MOST_UNREAD:
        because = f": {reason}" if reason else ""
        raise UnreadableText(f"{filename}: OCR failed on {failed} of {total} {things}{because}")


def read_check(name: str, failed: int, total: int) -> AssetCheckResult:
    """Give the check's result: passed when everything was read, a warning otherwise."""
    return AssetCheckResult(
        check_name=name,
        passed=failed == 0,
        severity=AssetCheckSeverity.WARN,
        metadata={"failed": failed, "total": total},
        description=None if failed == 0 else f"{failed} of {total} could not be read",
    )
