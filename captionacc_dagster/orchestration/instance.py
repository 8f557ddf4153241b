"""The Dagster instance of the embedded system: its folder, its configuration, and how a process opens it."""

from __future__ import annotations

import os
from pathlib import Path

from dagster import DagsterInstance

from captionacc_dagster.settings import Settings

MANAGED = "# Managed by captionacc: remove this line to keep changes of your own.\n"


def packaged_configuration() -> Path:
    """Give the embedded ``dagster.yaml``: beside this module when installed, under ``deploy/`` in a checkout."""
    here = Path(__file__).resolve()
    installed = here.with_name("dagster.yaml")
    return installed if installed.is_file() else here.parents[2] / "deploy" / "embedded" / "dagster.yaml"


def prepare_dagster_home(settings: Settings) -> Path:
    """Make the instance's folder with its ``dagster.yaml`` and give it.

    A file that a person has taken over (its first line is no longer ours) stays as it is.
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
    """Open the instance that ``DAGSTER_HOME`` names, or else the embedded one.

    From then on ``DAGSTER_HOME`` is set in this process, so that what it starts finds the same instance.
    """
    os.environ.setdefault("DAGSTER_HOME", str(prepare_dagster_home(settings)))
    return DagsterInstance.get()
