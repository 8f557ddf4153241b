"""The Dagster instance: its folder and configuration, how a process opens it, and where it stores runs and files.

The storage classes are named in ``deploy/*/dagster.yaml``. Those of the embedded system use ``CAPTIONACC_HOME``
wherever Dagster is started, so that ``captionacc``, ``dagster dev``, and ``dagster asset`` work on the same data.
Without ``DAGSTER_HOME``, Dagster itself would put its files into a temporary folder and lose them on exit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dagster import DagsterEventType, DagsterInstance, EventLogEntry, Field, StringSource, serialize_value
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage, PostgresRunStorage
from dagster_postgres.utils import (
    create_pg_engine,
    pg_url_from_config,
    retry_pg_connection_fn,
    set_pg_statement_timeout,
)
from sqlalchemy import Engine, NullPool, event, text

from captionacc_dagster.orchestration.dagster_internals import (
    AssetCheckEvaluationPlanned,
    AssetCheckExecutionRecordStatus,
    AssetCheckExecutionsTable,
    CapturedLogContext,
    ConfigurableClassData,
    LocalArtifactStorage,
    LocalComputeLogManager,
    SqlEventLogStorageTable,
    UserConfigSchema,
    require_members,
)
from captionacc_dagster.orchestration.workers import keep_connections
from captionacc_dagster.settings import Settings, get_settings

MANAGED = "# Managed by captionacc: remove this line to keep changes of your own.\n"
# As many as the API uses at a time. Dagster itself keeps one, and opens and closes another for each further one.
_KEPT_CONNECTIONS = 8
_PLANNED = {DagsterEventType.ASSET_MATERIALIZATION_PLANNED, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED}
# More than any run plans: at most 8 assets with 30 checks.
_PLANNED_AT_ONCE = 100


def packaged_configuration() -> Path:
    """Return the embedded ``dagster.yaml``: beside this module when installed, under ``deploy/`` in a checkout."""
    here = Path(__file__).resolve()
    installed = here.with_name("dagster.yaml")
    return installed if installed.is_file() else here.parents[2] / "deploy" / "embedded" / "dagster.yaml"


def prepare_dagster_home(settings: Settings) -> Path:
    """Create the instance's folder with its ``dagster.yaml`` and return it.

    A file that a person has taken over (its first line is no longer ours) is not changed.
    """
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    target = home / "dagster.yaml"
    wanted = MANAGED + packaged_configuration().read_text(encoding="utf-8")
    current = target.read_text(encoding="utf-8") if target.is_file() else MANAGED
    if current.startswith(MANAGED) and current != wanted:
        part = target.with_name("dagster.yaml.part")
        part.write_text(wanted, encoding="utf-8")
        part.replace(target)
    return home


def open_instance(settings: Settings) -> DagsterInstance:
    """Open the instance that ``DAGSTER_HOME`` names, or the embedded one if it is not set.

    Sets ``DAGSTER_HOME`` in this process, so that its child processes find the same instance.
    """
    os.environ.setdefault("DAGSTER_HOME", str(prepare_dagster_home(settings)))
    return DagsterInstance.get()


def open_instance_for_runs(settings: Settings) -> DagsterInstance:
    """Open the instance for a command that runs jobs in its own process.

    It keeps its connections. What the steps print goes to the terminal only: capturing it takes four more processes for
    each run.
    """
    instance = open_instance(settings)
    keep_connections(instance)
    if isinstance(instance.compute_log_manager, EmbeddedComputeLogs):
        instance.compute_log_manager.captures_output = False
    return instance


class _InHome:
    """A folder below ``CAPTIONACC_HOME``: there is nothing to configure."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Accept no settings."""
        return {}


class EmbeddedArtifactStorage(_InHome, LocalArtifactStorage):
    """Run artifacts in ``CAPTIONACC_HOME/dagster``."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> EmbeddedArtifactStorage:
        """Use the folder given in the settings."""
        return cls(base_dir=str(get_settings().dagster_home), inst_data=inst_data)


class EmbeddedComputeLogs(_InHome, LocalComputeLogManager):
    """Standard output and error of the steps in ``CAPTIONACC_HOME/dagster/compute_logs``.

    Attributes:
        captures_output: False leaves what the steps print where they print it.
    """

    captures_output = True

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Copy what this process prints into the files of a step, unless ``captures_output`` is False."""
        if not self.captures_output:
            yield CapturedLogContext(log_key)
            return
        with super().capture_logs(log_key) as captured:
            yield captured

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> EmbeddedComputeLogs:
        """Use the folder given in the settings."""
        return cls(base_dir=str(get_settings().dagster_home / "compute_logs"), inst_data=inst_data)


@contextmanager
def _one_process_at_a_time(url: str) -> Iterator[None]:
    """Make other processes that open the storage of the same database wait.

    Each process creates the tables it misses. Where two create one at the same moment, Dagster tries again after
    "table already exists", but ends with Postgres's other answer to that, "type already exists".
    """
    engine = create_pg_engine(url, poolclass=NullPool)
    with retry_pg_connection_fn(engine.connect) as connection, connection.begin():
        connection.execute(text("select pg_advisory_xact_lock(hashtextextended('captionacc_dagster_storage', 0))"))
        yield


class _KeepsConnections:
    """A storage that can keep its connections, in a process that uses it all the time."""

    _engine: Engine
    postgres_url: str

    def optimize_for_webserver(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
        """Keep a pool of connections from the first call on; one that a restart of Postgres has closed is replaced."""
        if not isinstance(self._engine.pool, NullPool):
            return
        self._engine = create_pg_engine(
            self.postgres_url,
            isolation_level="AUTOCOMMIT",
            pool_size=_KEPT_CONNECTIONS,
            pool_recycle=pool_recycle,
            pool_pre_ping=True,
            max_overflow=max_overflow,
        )
        event.listen(
            self._engine, "connect", lambda connection, _: set_pg_statement_timeout(connection, statement_timeout)
        )


class _RunStorage(_KeepsConnections, PostgresRunStorage):
    """Run storage for a process that creates or executes many runs."""

    _has_run_stats_index_cols = False

    def has_run_stats_index_cols(self) -> bool:
        """Cache the answer: Dagster would query the table's columns each time it reads a run."""
        if not self._has_run_stats_index_cols:
            self._has_run_stats_index_cols = super().has_run_stats_index_cols()
        return self._has_run_stats_index_cols


class _EventLogStorage(_KeepsConnections, PostgresEventLogStorage):
    """Event log storage for a process that creates or executes many runs."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._tables: set[str] = set()
        super().__init__(*arguments, **named)

    def has_table(self, table_name: str) -> bool:
        """Cache the answer; tables are never dropped."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Write what a new run plans with two statements and one for each asset; Dagster would take three an event."""
        if not {event.dagster_event_type for event in events} <= _PLANNED:
            super().store_event_batch(events)
            return
        insert = SqlEventLogStorageTable.insert()
        insert = insert.returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)
        checks = []
        with self.index_transaction() as connection:
            numbers = connection.execute(insert, [self._event_to_row(event) for event in events]).scalars().all()
            for event, number in zip(events, numbers, strict=True):
                planned = event.get_dagster_event().event_specific_data
                if isinstance(planned, AssetCheckEvaluationPlanned):
                    checks += self._planned_checks(event, planned, number)
                else:
                    self._store_asset_event(connection, event, number)
            if checks:
                connection.execute(AssetCheckExecutionsTable.insert(), checks)

    def _planned_checks(
        self, event: EventLogEntry, planned: AssetCheckEvaluationPlanned, number: int
    ) -> Iterator[dict[str, Any]]:
        subset = planned.partitions_subset
        for partition in subset.get_partition_keys() if subset else [None]:
            yield {
                "asset_key": planned.asset_key.to_string(),
                "check_name": planned.check_name,
                "partition": partition,
                "run_id": event.run_id,
                "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
                "evaluation_event": serialize_value(event),
                "evaluation_event_timestamp": self._event_insert_timestamp(event),
                "evaluation_event_storage_id": number,
            }


class WebserverPostgresStorage(DagsterPostgresStorage):
    """Dagster's Postgres storage with a fraction of the database load per run that a process creates or executes.

    Any number of processes may open it at once on an empty database. Configured like Dagster's own; measured in
    ``docs/api.md``.
    """

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        require_members(DagsterPostgresStorage, "_run_storage", "_event_log_storage")
        require_members(PostgresRunStorage, "_engine")
        require_members(
            PostgresEventLogStorage,
            "_engine",
            _event_to_row="self event",
            _event_insert_timestamp="self event",
            _store_asset_event="self conn event event_id",
        )
        # Dagster's only switch for writing events in batches.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(_PLANNED_AT_ONCE))
        with _one_process_at_a_time(postgres_url):
            super().__init__(postgres_url, inst_data=inst_data)
            self._run_storage = _RunStorage(postgres_url, should_autocreate_tables=False)
            self._event_log_storage = _EventLogStorage(postgres_url, should_autocreate_tables=False)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> WebserverPostgresStorage:
        """Connect to the configured database, as ``storage: postgres`` does."""
        return cls(pg_url_from_config(config_value), inst_data)


class EmbeddedPostgresStorage(WebserverPostgresStorage):
    """Run, event log, and schedule storage in the database ``dagster`` of the embedded Postgres."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Accept one optional setting, ``home``: the folder of everything embedded."""
        return {"home": Field(StringSource, is_required=False)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> EmbeddedPostgresStorage:
        """Start or join the embedded server and connect to its Dagster database."""
        from captionacc_dagster.catalog.embedded import EmbeddedPostgres

        home = Path(config_value["home"]) if config_value.get("home") else get_settings().home
        server = EmbeddedPostgres(home)
        server.start()
        # SQLAlchemy 2.1 uses psycopg 3 for a plain postgresql:// URL, on which Dagster's NOTIFY fails.
        url = server.url("dagster").replace("postgresql://", "postgresql+psycopg2://", 1)
        # Each of a run's hundreds of events is a commit of its own. Only a crash of the machine, not of a process, can
        # lose the last half second of them, and the catalog, which is durable, says what is still to do.
        return cls(f"{url}&options={quote('-c synchronous_commit=off')}", inst_data)
