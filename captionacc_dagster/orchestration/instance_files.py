"""Where the embedded Dagster instance keeps its files: under CAPTIONACC_HOME, wherever Dagster is started.

Named in ``deploy/embedded/dagster.yaml``. Without ``DAGSTER_HOME``, as under plain ``dagster dev``, Dagster would put
them into a temporary folder and lose them at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData

from captionacc_dagster.settings import get_settings


class EmbeddedArtifactStorage(LocalArtifactStorage):
    """Run artifacts in ``CAPTIONACC_HOME/dagster``."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Take no settings of its own."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> EmbeddedArtifactStorage:
        """Use the folder that the settings name."""
        return cls(base_dir=str(get_settings().dagster_home), inst_data=inst_data)


class EmbeddedComputeLogs(LocalComputeLogManager):
    """Standard output and error of the steps in ``CAPTIONACC_HOME/dagster/compute_logs``."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Take no settings of its own."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> EmbeddedComputeLogs:
        """Use the folder that the settings name."""
        return cls(base_dir=str(get_settings().dagster_home / "compute_logs"), inst_data=inst_data)
