"""The command line ``captionacc``."""

from captionacc_dagster.cli.app import main

__all__ = ["main"]
