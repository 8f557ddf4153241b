"""Trains the models that the package brings along; nothing here is needed to run it."""
