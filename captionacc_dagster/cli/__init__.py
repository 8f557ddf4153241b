"""The command line ``captionacc``."""

import sys

from captionacc_dagster.cli.startup import imports_begin
from captionacc_dagster.release import version_line


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] == ["--version"]:
        # Answered before anything is imported that would take longer than the answer.
        sys.stdout.write(version_line() + "\n")
        return
    imports_begin()
    from captionacc_dagster.cli.app import main as run

    run()


__all__ = ["main"]
