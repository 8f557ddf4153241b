"""Parts of the system whose answers are kept for some seconds, so that many who ask cost one query."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)

T = TypeVar("T")

KEEP_SECONDS = 5.0


class Source(Generic[T]):
    """A part of the system that is queried by one thread at a time and not too often."""

    def __init__(self, name: str, ask: Callable[[], T], clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._ask = ask
        self._clock = clock
        self._asking = threading.Lock()
        self._asked_at = float("-inf")
        self._answer: Future[T] | None = None

    def answer(self) -> Future[T]:
        """Return the latest answer if it is recent, or a new one in progress."""
        with self._asking:
            # While a query hangs, no second one is started.
            if self._answer is None or (self._answer.done() and self._clock() - self._asked_at >= KEEP_SECONDS):
                self._answer, self._asked_at = Future(), self._clock()
                threading.Thread(
                    target=self._look, args=(self._answer,), name=f"source-{self.name}", daemon=True
                ).start()
            return self._answer

    def _look(self, answer: Future[T]) -> None:
        try:
            answer.set_result(self._ask())
        except Exception as error:  # noqa: BLE001 - any error means that this part is unavailable
            _log.warning("%s does not answer: %s", self.name, error)
            answer.set_exception(error)
