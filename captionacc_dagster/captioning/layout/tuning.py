"""The numbers that the search for a layout decides by."""

from __future__ import annotations

from dataclasses import dataclass

from captionacc_dagster.captioning.tuning import tuned


@dataclass(frozen=True)
class LayoutTuning:
    """Numbers of the layout search, in the order in which the stages use them."""

    # When the video is sampled.
    sample_spacing_s: float = tuned(
        0.8,
        "seconds",
        "time between samples, four times that between the two pictures of one; most captions last longer",
        seen_by="test_sample_times",
    )
    sweep_share: float = tuned(
        0.25,
        "of the video",
        "when full frames need this much decoding anyway, all samples are taken in the same pass",
        seen_by="test_a_video_with_one_keyframe_is_decoded_once",
    )
    shallow_decoding_s: float = tuned(
        8.0,
        "seconds",
        "videos at least this long have frames to spare: B-frames are skipped",
        seen_by="test_words_that_move_are_no_captions",
    )

    # What the pixels of a sample show.
    stroke_contrast: int = tuned(
        20,
        "gray levels",
        "difference of a stroke from its surroundings",
        seen_by="test_code_behind_captions_is_an_interface",
    )
    same_strokes_correlation: float = tuned(
        0.5,
        "correlation",
        "two pictures show the same strokes: a line that is where it was, the same text, or a scene that does not move",
        seen_by="test_still_scenes",
    )
    moved_correlation: float = tuned(
        0.6,
        "correlation",
        "a line's strokes are found again elsewhere, where chance has more tries",
        seen_by="test_all_of_a_short_clip_is_searched_before_it_has_no_captions",
    )
    thickest_line: float = tuned(
        0.22, "of the shorter side", "thicker boxes are textures taken for text", seen_by="test_find"
    )
    row_fill: float = tuned(
        0.22,
        "of a cell",
        "strokes that follow one another along a line fill at least this much",
        seen_by="test_still_scenes",
    )

    # What comes and goes over a static scene.
    same_scene_correlation: float = tuned(
        0.6, "correlation", "two samples show the same scene", seen_by="test_still_scenes"
    )
    changed_contrast: int = tuned(
        14,
        "gray levels",
        "difference of strokes that were not there, or of a word that is highlighted",
        seen_by="test_still_scenes",
    )
    strongest_share: float = tuned(
        0.4, "of the strongest", "weaker changes in a box are the blur around letters", seen_by="test_still_scenes"
    )
    stray_share: float = tuned(
        0.02,
        "share",
        "of changed pixels, outside the letters on each side; of a box, that its letters fill at least",
        seen_by="test_still_scenes",
    )
    loose_box: float = tuned(1.2, "times the height", "a higher box is cut to its letters", seen_by="test_still_scenes")

    # How samples are searched.
    detector_line_px: int = tuned(
        18,
        "pixels",
        "box height at which the text detector is reliable",
        seen_by="test_words_that_move_are_no_captions",
    )
    short_video_s: float = tuned(12.0, "seconds", "videos this short are sampled throughout", seen_by="test_find")
    settled_texts: int = tuned(
        4,
        "texts",
        "with this many texts of similar lengths, or twice as many of any, no more are needed, and a second line would "
        "have been seen; a column with this many is captions even over a static scene",
        seen_by="test_one_track_at_the_bottom_and_no_logo_or_clock",
    )
    region_reserve: float = tuned(
        0.24, "of the longest line", "room that the region leaves for longer lines", seen_by="test_find"
    )
    certain_score: float = tuned(
        0.6, "detector score", "a line elsewhere with this score is worth more samples", seen_by="test_find"
    )
    nearly_all: float = tuned(
        0.75,
        "share",
        "of the captions whose strokes are visible by themselves, for strokes to rule captions out; of the other "
        "samples that show the same text, for a fixture",
        seen_by="test_tracks",
    )
    telling_texts: int = tuned(
        3,
        "texts",
        "evidence needed before strokes alone rule out captions, and for a row to be a line of a track however it is "
        "aligned; other samples needed to tell what stays",
        seen_by="test_find",
    )
    comparisons: int = tuned(
        20, "samples", "others that static strokes, or what may be a fixture, are compared with", seen_by="test_find"
    )
    suspects: int = tuned(
        2, "samples", "searched after each batch for static strokes that belong to no track", seen_by="test_find"
    )
    second_line_reach: float = tuned(
        1.3,
        "line heights",
        "distance in which a second line is searched; text of another size this close to captions, changing at other "
        "times, is none: readers need the space",
        seen_by="test_find",
    )
    track_reach: float = tuned(
        0.6,
        "line heights",
        "distance searched around a track otherwise; in it, a line's center is that of its track",
        seen_by="test_find",
    )

    # What belongs together.
    scene_slack: float = tuned(
        1.5,
        "times the scene's difference",
        "in a static scene, the same text differs by at most this much",
        seen_by="test_tracks",
    )
    least_slack: float = tuned(0.05, "correlation", "and by this much more", seen_by="test_tracks")
    column_shape: float = tuned(
        1.5, "height / width", "a higher box, or a drawn region, is vertical text", seen_by="test_tracks"
    )
    row_offset: float = tuned(
        0.3,
        "line heights",
        "distance of centers of lines in one row; words that are replaced in place are within a third of it of their "
        "middle, as letters with and without descenders differ; lines that begin or end together do so this closely",
        seen_by="test_tracks",
    )
    row_height_ratio: float = tuned(1.5, "ratio", "heights of lines in one row", seen_by="test_tracks")
    centered: float = tuned(
        0.035, "of the length along the text", "offset of a centered line's center", seen_by="test_tracks"
    )
    same_place: float = tuned(
        0.7,
        "share",
        "of two boxes or rows, from which on they are in one place: the same text, or the same row",
        seen_by="test_what_stays_over_a_picture_that_does_not_move_is_a_fixture",
    )
    weak_chance: float = tuned(
        0.15,
        "probability",
        "a row this likely to be captions completes a track, or is worth more samples",
        seen_by="test_find",
    )

    block_height_ratio: float = tuned(
        1.4,
        "ratio",
        "heights of the lines of one block, and of captions moved to another edge: two languages "
        "differ by more, up to half as much again",
        seen_by="test_kinds",
    )
    block_synchrony: float = tuned(
        0.4,
        "of samples",
        "share of the samples with one of two lines that have both, in one block: a second line comes and goes",
        seen_by="test_find",
    )
    edge_zone: float = tuned(
        0.25,
        "of the height",
        "distance from the upper or lower edge in which captions are expected",
        seen_by="test_find",
    )

    # The region of a track.
    margin: float = tuned(0.05, "line heights", "space around the boxes that were found", seen_by="test_find")
    detector_box: float = tuned(
        1.1,
        "times a tight box",
        "height of the detector's boxes, which include some surroundings; lines are as much less than such a box apart",
        seen_by="test_find",
    )
    usual_line: float = tuned(
        0.08, "of the picture", "line height where nothing was seen in a drawn region", seen_by="test_find"
    )

    @property
    def far_spacing_s(self) -> float:
        """Time between samples that usually show different captions, seconds: three samples."""
        return 3 * self.sample_spacing_s


TUNING = LayoutTuning()
