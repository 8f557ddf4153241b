"""The command line ``captionacc``."""

from captionacc_dagster.cli.startup import imports_begin


def main() -> None:
    """Run the command line."""
    imports_begin()
    from captionacc_dagster.cli.app import main as run

    run()


__all__ = ["main"]
