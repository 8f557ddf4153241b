"""captionacc_dagster turns videos with burned-in captions into exact caption tracks, as Dagster assets."""

__version__ = "0.1.0"
