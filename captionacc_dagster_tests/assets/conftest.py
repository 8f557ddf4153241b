"""Runs in this process, as in the tests of recovery."""

from captionacc_dagster_tests.recovery.conftest import harness, no_waiting

__all__ = ["harness", "no_waiting"]
