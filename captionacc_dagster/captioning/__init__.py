"""How captions are found. Independent of Dagster, the network, and any cloud."""
