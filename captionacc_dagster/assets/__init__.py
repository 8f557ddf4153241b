"""The Dagster assets of a video, one module per stage, and their checks."""
