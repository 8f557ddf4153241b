"""Decode videos: open containers, seek, sample, and read every native frame."""
