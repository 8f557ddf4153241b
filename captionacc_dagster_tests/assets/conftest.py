"""Runs in this process, as in the tests of recovery."""

from captionacc_dagster_tests.recovery.conftest import no_waiting, workshop

__all__ = ["no_waiting", "workshop"]
