"""How captions are found. Stands alone: no Dagster, no network, no cloud."""
