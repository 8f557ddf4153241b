"""Dagster's own storage on the embedded Postgres, started when an instance first needs it.

Named in ``deploy/embedded/dagster.yaml``, so that ``captionacc``, ``dagster dev`` and ``dagster asset`` all work on
the same data without a server to start first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dagster import StringSource
from dagster._config.config_schema import UserConfigSchema
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from captionacc_dagster.settings import get_settings


class EmbeddedPostgresStorage(DagsterPostgresStorage):
    """Run, event log and schedule storage in the database ``dagster`` of the embedded Postgres."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Take one optional setting: the folder of everything embedded."""
        from dagster import Field

        return {"home": Field(StringSource, is_required=False)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> EmbeddedPostgresStorage:
        """Start, or join, the embedded server and connect to its Dagster database."""
        from captionacc_dagster.catalog.embedded import EmbeddedPostgres

        home = Path(config_value["home"]) if config_value.get("home") else get_settings().home
        server = EmbeddedPostgres(home)
        server.start()
        # SQLAlchemy 2.1 takes psycopg 3 for a plain postgresql:// URL, on which Dagster's NOTIFY fails.
        url = server.url("dagster").replace("postgresql://", "postgresql+psycopg2://", 1)
        return cls(postgres_url=url, inst_data=inst_data)
