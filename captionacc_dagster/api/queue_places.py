"""Each video's place in the queue, as Dagster's storage has it; a storage that is away holds up no page."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dagster import DagsterInstance

from captionacc_dagster.api.dagster_client import DagsterAway
from captionacc_dagster.api.sources import Source
from captionacc_dagster.orchestration.queue_figures import videos_before

# A page is shown without the places rather than later.
_WAIT_S = 0.5


class QueuePlaces:
    """The places of all queued videos; thread-safe."""

    def __init__(self, instance: Callable[[], DagsterInstance]) -> None:
        self._instance = instance
        self._source = Source("the queue", self._look)

    def videos_before(self) -> Mapping[str, int]:
        """Return video id → number of videos before it, some seconds old; empty while Dagster's storage is away."""
        try:
            return self._source.answer().result(_WAIT_S)
        except Exception:  # noqa: BLE001 - the source has logged it; the page is useful without the places
            return {}

    def _look(self) -> Mapping[str, int]:
        try:
            return videos_before(self._instance())
        except DagsterAway:  # not configured here: nothing to log every few seconds
            return {}
