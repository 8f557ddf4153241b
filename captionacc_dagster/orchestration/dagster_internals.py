"""Everything of Dagster that has no public name, and the one hook into its queue.

No other module imports from ``dagster._…``. What is imported here fails at once on a release that lacks it. Private
members of Dagster's classes are used where ``require_members`` names them at the start.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dagster import DagsterRun
from dagster import __version__ as dagster_version
from dagster._config.config_schema import UserConfigSchema
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig
from dagster._core.scheduler.instigation import SensorInstigatorData
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData

if TYPE_CHECKING:
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
    from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
    from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

__all__ = [
    "NOT_FINISHED_STATUSES",
    "AssetCheckEvaluationPlanned",
    "AssetCheckExecutionRecordStatus",
    "AssetCheckExecutionsTable",
    "CapturedLogContext",
    "ConfigurableClassData",
    "LocalArtifactStorage",
    "LocalComputeLogManager",
    "RunQueueConfig",
    "RunTagsTable",
    "RunsTable",
    "SensorInstigatorData",
    "SqlEventLogStorageTable",
    "SqlRunStorage",
    "UnsupportedDagster",
    "UserConfigSchema",
    "require_members",
    "sort_queue_by",
]


# SQLAlchemy and Dagster's storages take longer to import than the whole code location, which needs neither: these are
# loaded when they are first used.
_STORAGE_MODULES = {
    "SqlRunStorage": "runs.sql_run_storage",
    "RunsTable": "runs.schema",
    "RunTagsTable": "runs.schema",
    "SqlEventLogStorageTable": "event_log.schema",
    "AssetCheckExecutionsTable": "event_log.schema",
}


def __getattr__(name: str) -> object:
    if name not in _STORAGE_MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"dagster._core.storage.{_STORAGE_MODULES[name]}"), name)


class UnsupportedDagster(Exception):
    """This release of Dagster lacks what we use or replace under a private name."""

    def __init__(self, difference: str) -> None:
        super().__init__(f"Dagster {dagster_version} {difference}; install the release that requirements.lock names")


def require_members(owner: type, *attributes: str, **methods: str) -> None:
    """Verify that a class of Dagster has the private members that we use.

    Args:
        owner: the class.
        attributes: what it has, or sets when it is created.
        methods: methods and the names of their parameters, with spaces between them.

    Raises:
        UnsupportedDagster: it lacks one, or a method has other parameters.
    """
    lacking = [name for name in attributes if not hasattr(owner, name) and name not in owner.__init__.__code__.co_names]
    for name, parameters in methods.items():
        method = getattr(owner, name, None)
        if method is None or list(inspect.signature(method).parameters) != parameters.split():
            lacking.append(name)
    if lacking:
        raise UnsupportedDagster(f"has no {owner.__name__}.{' and '.join(lacking)} as captionacc uses it")


def sort_queue_by(order: Callable[[Iterable[DagsterRun]], list[DagsterRun]]) -> None:
    """Make this process's queue daemon start runs in this order; Dagster has no setting for it.

    ``dagster-daemon`` creates the daemon itself, after the coordinator, so its class must be patched.

    Raises:
        UnsupportedDagster: the daemon has no such method, or does not call it.
    """
    # Only the daemon and the webserver create a coordinator, so only they need this module.
    from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

    check_queue_daemon(QueuedRunCoordinatorDaemon)

    def priority_sort(self: QueuedRunCoordinatorDaemon, runs: Iterable[DagsterRun]) -> list[DagsterRun]:
        return order(runs)

    QueuedRunCoordinatorDaemon._priority_sort = priority_sort


def check_queue_daemon(daemon: Any) -> None:
    """Verify that a queue daemon's class sorts all waiting runs by the method that we replace.

    Raises:
        UnsupportedDagster: it does not.
    """
    require_members(daemon, "_get_runs_to_dequeue", _priority_sort="self runs")
    if "_priority_sort" not in daemon._get_runs_to_dequeue.__code__.co_names:
        raise UnsupportedDagster(f"does not sort its queue by {daemon.__name__}._priority_sort")
