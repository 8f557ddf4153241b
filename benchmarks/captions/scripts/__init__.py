"""Clips in twelve languages of ten scripts, and one with two languages at once: ``--part scripts``."""
