"""Captions as the engine finds them, for tests of what is said and shown about them."""

from __future__ import annotations

from captionacc_dagster.captioning.captions import Caption
from captionacc_dagster.captioning.geometry import BBox

RATE = 25
BOTTOM = BBox(0.3, 0.85, 0.7, 0.92)


def caption(
    start_s: float, end_s: float, text: str = "Good evening.", track: str = "bottom", confidence: float = 0.98
) -> Caption:
    """Make a caption of a video at 25 frames per second."""
    return Caption(
        start_s=start_s,
        end_s=end_s,
        start_frame=round(start_s * RATE),
        end_frame=round(end_s * RATE),
        text=text,
        confidence=confidence,
        bbox=BOTTOM,
        track=track,
    )
