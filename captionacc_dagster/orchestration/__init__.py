"""When runs start, and in which order."""
