"""The heavy steps, run in this process or on Modal."""
