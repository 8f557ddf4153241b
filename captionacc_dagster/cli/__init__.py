"""What a person types: ``captionacc``."""

from captionacc_dagster.cli.app import main

__all__ = ["main"]
