"""Follow Dagster's runs as they change.

Dagster's own ``fetch_run_status_changes`` goes by the ids of events: one that is committed after a later one is missed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from dagster import DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter

# A run's row is written shortly after the time that it names; looking back this far misses none.
OVERLAP = timedelta(minutes=2)


@dataclass
class RunUpdates:
    """A place in the sequence of all changes to runs.

    Attributes:
        after: time of the latest change that was read, in ISO format.
        seen: run → time of its change that was read, for those shortly before ``after``.
    """

    after: str
    seen: dict[str, str] = field(default_factory=dict)

    @classmethod
    def starting(cls, at: datetime, cursor: str | None = None) -> RunUpdates:
        """Return the place that a cursor names; without one, the changes after a time."""
        return cls(**json.loads(cursor)) if cursor else cls(at.isoformat())

    @property
    def cursor(self) -> str:
        """This place, as text."""
        return json.dumps(asdict(self))

    def is_ahead(self, now: datetime) -> bool:
        """Return whether it was read up to here before the clock was set back: what changes now would be missed."""
        return datetime.fromisoformat(self.after) - OVERLAP > now

    def read(self, instance: DagsterInstance, statuses: Iterable[DagsterRunStatus], limit: int) -> Iterator[RunRecord]:
        """Yield up to ``limit`` changed runs, earliest first; one is read when the next is asked for."""
        records = instance.get_run_records(
            RunsFilter(statuses=list(statuses), updated_after=datetime.fromisoformat(self.after) - OVERLAP),
            order_by="update_timestamp",
            ascending=True,
            limit=limit + len(self.seen),
        )
        for record in records:
            run_id, at = record.dagster_run.run_id, record.update_timestamp.isoformat()
            if self.seen.get(run_id) != at:
                yield record
                self.seen[run_id] = at
                self.after = max(self.after, at)
        oldest = (datetime.fromisoformat(self.after) - OVERLAP).isoformat()
        self.seen = {run_id: at for run_id, at in self.seen.items() if at >= oldest}
