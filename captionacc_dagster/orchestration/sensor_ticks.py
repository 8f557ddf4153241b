"""Ticks of sensors after the machine's clock was set back."""

from __future__ import annotations

import time

from dagster import DagsterInstance

from captionacc_dagster.orchestration.dagster_internals import SensorInstigatorData


def forget_future_ticks(instance: DagsterInstance) -> None:
    """Let every sensor tick whose last tick lies in the future: Dagster would wait until the clock has caught up."""
    now = time.time()
    for state in instance.all_instigator_state():
        data = state.instigator_data
        if not isinstance(data, SensorInstigatorData):
            continue
        if max(data.last_tick_timestamp or 0.0, data.last_tick_start_timestamp or 0.0) > now:
            forgotten = data._replace(last_tick_timestamp=None, last_tick_start_timestamp=None)
            instance.update_instigator_state(state.with_data(forgotten))
