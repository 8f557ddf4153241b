"""The numbers that decide which frames are decoded and how their pixels are scaled."""

from __future__ import annotations

from dataclasses import dataclass

from captionacc_dagster.captioning.tuning import tuned


@dataclass(frozen=True, slots=True)
class VideoTuning:
    """Tuning of `captioning.video`; each field carries its unit, reason, and witness."""

    unfiltered_gop_s: float = tuned(
        10.5,
        "seconds",
        "The longest GOP in which all B frames are decoded without the loop filter. B frames that other frames are "
        "built from pass their error on until the next keyframe. x264's default GOP of 250 frames at 24 fps fits: the "
        "worst frame measured there was 0.64 gray levels off on average.",
        seen_by="test_the_loop_filter_is_left_out_where_that_hardly_shows",
    )
    keyframe_reach: float = tuned(
        0.4,
        "sample spacings",
        "How far a full frame may move to a keyframe, which is the cheapest frame to decode. Below one half, so that "
        "two samples never take the same keyframe.",
        seen_by="test_a_sparse_sample_is_even_and_taken_from_keyframes",
    )


TUNING = VideoTuning()
