"""Call the catalog's SQL functions: parameters, retries, and pages.

Every function is safe to call again if its answer was lost, so every call is retried while the catalog cannot be
reached. ``tenacity`` would not shorten the loop here, nor those of locks, S3, and Modal, each of which ends for its own
reason: the name of the lock's holder, content that is wrong twice, the limits of a call.
"""

from __future__ import annotations

import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Generic, TypeVar
from uuid import UUID

from captionacc_dagster.catalog.errors import TIMED_OUT, CatalogUnavailable, InvalidValue, NotFound
from captionacc_dagster.catalog.models import Row

RowType = TypeVar("RowType", bound=Row)
Item = TypeVar("Item")
Id = UUID | str

IDS_PER_CALL = 200

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retries:
    """Exponential backoff with full jitter: before retry n, a random part of min(cap, base * 2**n) seconds."""

    attempts: int = 5
    base_s: float = 0.2
    cap_s: float = 5.0

    def delay_s(self, retry: int) -> float:
        """Return the seconds to wait before retry ``retry`` (from 0)."""
        return random.uniform(0.5, 1.0) * min(self.cap_s, self.base_s * 2**retry)  # noqa: S311


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of a listing, and the cursor of the next page (None on the last page)."""

    items: tuple[Item, ...]
    next_cursor: str | None


def as_uuid(value: Id, name: str) -> UUID:
    """Return an id as a UUID.

    Raises:
        InvalidValue: the value is not a UUID.
    """
    try:
        return value if isinstance(value, UUID) else UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise InvalidValue(f"{name} is not a UUID: {value!r}") from None


def optional_uuid(value: Id | None, name: str) -> UUID | None:
    """Return an optional id as a UUID or None."""
    return None if value is None else as_uuid(value, name)


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield ``items`` in lists of at most ``size``."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def read_cursor(cursor: str | None) -> tuple[datetime | None, UUID | None]:
    """Return the time and id of the last row of the page before, from a cursor.

    Raises:
        InvalidValue: the cursor is malformed.
    """
    if cursor is None:
        return None, None
    at, _, row_id = cursor.partition("|")
    try:
        return datetime.fromisoformat(at), UUID(row_id)
    except ValueError:
        raise InvalidValue(f"no such page: {cursor!r}") from None


def page_of(rows: Sequence[tuple[datetime, UUID, Item]], limit: int) -> Page[Item]:
    """Return a page of rows that were fetched with ``limit + 1``, each with its sort key."""
    shown = rows[:limit]
    following = f"{shown[-1][0].isoformat()}|{shown[-1][1]}" if len(rows) > limit else None
    return Page(tuple(item for _, _, item in shown), following)


class CatalogCalls(ABC):
    """Calls SQL functions of the schema ``captionacc`` by name, over any transport."""

    def __init__(self, retries: Retries | None = None) -> None:
        self._retries = retries if retries is not None else Retries()

    @abstractmethod
    def _send(self, function: str, parameters: Mapping[str, Any]) -> Any:
        """Call the function once; return a list of row mappings, or the value of a scalar function.

        Raises:
            CatalogError: one of its subclasses; only CatalogUnavailable can be retried.
        """

    @abstractmethod
    def close(self) -> None:
        """Close every connection; the catalog opens new ones if it is used again."""

    def _call(self, function: str, **parameters: Any) -> Any:
        for retry in range(self._retries.attempts - 1):
            try:
                return self._send(function, parameters)
            except CatalogUnavailable as error:
                if error.code == TIMED_OUT:  # it has had its time; whoever asked may ask again later
                    raise
                delay = self._retries.delay_s(retry)
                _log.warning("the catalog is unavailable (%s); trying again in %.1f s", error, delay)
                time.sleep(delay)
        return self._send(function, parameters)

    def _rows(self, kind: type[RowType], function: str, **parameters: Any) -> list[RowType]:
        return [kind.model_validate(row) for row in self._call(function, **parameters)]

    def _one(self, kind: type[RowType], function: str, what: str, **parameters: Any) -> RowType:
        found = self._first(kind, function, **parameters)
        if found is None:
            raise NotFound(f"no {what}", code="PT404")
        return found

    def _first(self, kind: type[RowType], function: str, **parameters: Any) -> RowType | None:
        rows = self._rows(kind, function, **parameters)
        return rows[0] if rows else None
