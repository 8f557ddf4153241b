"""The numbers that reading a caption is decided by."""

from __future__ import annotations

from dataclasses import dataclass

from captionacc_dagster.captioning.tuning import tuned


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingTuning:
    """Numbers of splitting a caption into lines, choosing among readings of a line, and reading an ellipsis.

    A "line height" is the height of a track's line at the scale of the stroke mask; a confidence is the recognizer's
    own, the mean over a line's characters, unless it says "calibrated".
    """

    # Splitting a stroke mask into lines.
    accent: float = tuned(
        0.12,
        "line heights",
        "an accent, a dot, or a dash: a smaller gap is one inside a line, and the picture of a line has this much room "
        "above and below, as PP-OCR was trained on loose boxes",
        seen_by="test_a_small_second_line_is_read_at_its_own_height",
    )
    line_pitch: float = tuned(
        1.2,
        "line heights",
        "a band of strokes this much higher per line has several lines that touch; two bands that fit in it together "
        "are one line: accents, dots; a line farther off its track's anchor is other text",
        seen_by="test_accents_and_dots_belong_to_their_line",
    )
    column_gap: float = tuned(
        0.55,
        "line heights",
        "a wider gap may part the caption from other text; spaces are narrower",
        seen_by="test_texture_beside_a_short_word_is_left_out_where_the_rest_is_in_its_place",
    )
    speck_gap: float = tuned(
        0.2,
        "line heights",
        "a speck is parted from its line by more than this, and without it the line is closer to the anchor by half",
        seen_by="test_texture_beside_a_short_word_is_left_out_where_the_rest_is_in_its_place",
    )
    speck_width: float = tuned(
        0.45,
        "line heights",
        "the widest speck: half a letter",
        seen_by="test_a_speck_beside_a_line_of_text_is_no_letter",
    )
    speck_share: float = tuned(
        0.03,
        "share of strokes",
        "a speck has fewer of its line's strokes than a letter",
        seen_by="test_texture_beside_a_short_word_is_left_out_where_the_rest_is_in_its_place",
    )

    # What the recognizer is given.
    margin_along: float = tuned(
        0.5,
        "line heights",
        "room before and after a line: a period that the mask lacks fits in, and the recognizer places spaces best",
        seen_by="test_a_small_second_line_is_read_at_its_own_height",
    )
    own_height: float = tuned(
        1.6,
        "heights of the strokes",
        "a line is cut out this high if that is less than the track's line: a small second line fills its image",
        seen_by="test_a_small_second_line_is_read_at_its_own_height",
    )
    lowest_letters: float = tuned(
        0.25,
        "line heights",
        "lower strokes are dashes and dots, which need the whole line around them; as deep as descenders, by which two "
        "lines meet off their usual row",
        seen_by="test_a_small_second_line_is_read_at_its_own_height",
    )

    # Choosing among the readings of a line.
    plausible: float = tuned(
        0.6,
        "confidence",
        "a reading below it is no text, and nothing for or against the script of its engine; one below half of it is "
        "texture, which is not read again",
        seen_by="test_the_engine_of_a_script_confirms_what_the_looks_leave_open",
    )
    widest_character: float = tuned(
        1.5,
        "line heights",
        "a line wider than this per character shows more than was read; an "
        "ideograph's strokes are within half of it of its center",
        seen_by="test_a_line_with_far_too_much_room_for_its_characters_is_texture",
    )

    # Telling lines in scripts that the default recognizer does not read.
    classifier_doubt: float = tuned(
        0.1,
        "probability",
        "that the classifier's guess on a line is worth nothing; with half of it for other scripts, a line is what was "
        "read; a script with a smaller share of a track's lines is in none of their parts",
        seen_by="test_garbage_that_was_read_before_the_track_ended_counts_against_its_script",
    )
    reading_log_odds: float = tuned(
        16.0,
        "log odds per confidence",
        "for a script whose engine reads the line: of 12 lines, the right engine read with 0.79 to 0.95, wrong ones "
        "with 0.05 to 0.42",
        seen_by="test_the_engine_of_a_script_confirms_what_the_looks_leave_open",
    )
    usual_lines: float = tuned(
        2.0,
        "lines",
        "how many lines of the track outweigh how common scripts are",
        seen_by="test_a_track_in_an_unknown_script_is_unread",
    )
    unlikely: float = tuned(
        0.02,
        "probability",
        "of a script, from which its engine is asked to read the line; of the script of a track's other lines, against "
        "the default ones, for a part of a line to be in it; of Vietnamese once a line of the track was",
        seen_by="test_the_engine_of_a_script_confirms_what_the_looks_leave_open",
    )
    likely_text: float = tuned(
        0.75,
        "probability",
        "of another script, from which a line that was not read is text; by its looks, of an unknown script in a track "
        "in others",
        seen_by="test_texture_that_looks_like_an_unknown_script_is_no_text",
    )
    looks_like_script: float = tuned(
        0.25,
        "probability",
        "of a known script that no engine reads, by a line's looks",
        seen_by="test_a_line_that_was_not_read_is_unread_in_its_script",
    )

    # Spaces between ideographs.
    pause: float = tuned(
        0.225,
        "em",
        "a gap this much wider than the pitch explains is a space: of 837 gaps, the 7 spaces had 0.23 to 0.34",
        seen_by="test_a_step_that_the_strokes_explain_is_no_space",
    )

    # Reading an ellipsis by its shape.
    dot_pitch: float = tuned(
        0.7,
        "line heights",
        "the widest pitch of its dots",
        seen_by="test_dots_in_a_row_are_an_ellipsis_whatever_the_recognizer_says",
    )
    dot_unevenness: float = tuned(
        1.6,
        "ratio",
        "the widest pitch over the narrowest; a mask is off by a pixel",
        seen_by="test_dots_in_a_row_are_an_ellipsis_whatever_the_recognizer_says",
    )


TUNING = ReadingTuning()
