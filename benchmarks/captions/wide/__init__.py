"""Clips drawn from a seed, in many kinds: fonts, places, motions, scenes, and text that is no caption."""
