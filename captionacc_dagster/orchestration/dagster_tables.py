"""Dagster's tables of runs, which have no public names.

Apart from :mod:`dagster_internals`, because importing SQLAlchemy and Dagster's storages takes longer than the whole
code location, which needs neither.
"""

from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

__all__ = ["RunTagsTable", "RunsTable", "SqlRunStorage"]
