"""``python -m captionacc_dagster`` is ``captionacc``."""

from captionacc_dagster.cli import main

main()
