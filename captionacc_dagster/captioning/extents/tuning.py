"""The numbers by which captions are told apart, timed, and merged."""

from __future__ import annotations

from dataclasses import dataclass

from captionacc_dagster.captioning.tuning import tuned


@dataclass(frozen=True, slots=True)
class ExtentTuning:
    """The tuning of the `extents` room. "Line height" is the height of a line of text as the layout measures it."""

    # Strokes
    roi_line_px: float = tuned(
        33.0,
        "pixels",
        "ROIs are scaled down to this line height: text of about 24 pixels. More only costs time.",
        seen_by="test_the_smallest_part_of_a_letter_is_a_change_where_nothing_else_changes",
    )
    stroke_probability: float = tuned(
        0.4,
        "probability",
        "A pixel of the glyph mask is a stroke from here on.",
        seen_by="test_a_fade_beside_a_sign_that_stays_is_cut_where_half_of_the_fade_is_visible",
    )
    steady_levels: int = tuned(
        18,
        "gray levels",
        "A pixel is unchanged while it stays this near its level: above the noise of compression. A stroke that "
        "appears or disappears at once changes by twice as much, the surroundings of a word in a box by four times. "
        "The two colors of a sweep differ by at least half as much.",
        seen_by="test_the_smallest_part_of_a_letter_is_a_change_where_nothing_else_changes",
    )
    min_stroke_area: float = tuned(
        0.012,
        "squared line heights",
        "The least area of strokes that can be text: an ellipsis has a little more.",
        seen_by="test_punctuation_and_single_words_are_read",
    )
    relative_contrast: float = tuned(
        0.4,
        "share of the caption's contrast",
        "The strokes of one caption have about the same contrast. Fainter pixels are not its text. In a color sweep, "
        "each word changes by this much of what is usual.",
        seen_by="test_a_fade_beside_a_sign_that_stays_is_cut_where_half_of_the_fade_is_visible",
    )

    edge_px: int = tuned(
        2,
        "pixels of a ROI",
        "At the edge of a letter or a box, pixels blend with what is around them. What moves by less is in its place.",
        seen_by="test_a_caption_that_pops_up_starts_with_its_first_frame",
    )

    # Styles: the gray level of a track's text
    bright_prior: float = tuned(
        6.0,
        "ratio",
        "White text with a dark outline also fits dark text on white. Bright text is this much more likely.",
        seen_by="test_bright_strokes_are_the_text_unless_they_are_few",
    )
    same_style_levels: int = tuned(
        28,
        "gray levels",
        "Texts whose levels differ by no more have the same style; a word whose strokes differ by more is seen to "
        "have another color. Strokes of the picture behind keep their level this closely when a caption appears, and "
        "a stroke in a single frame differs this much from its surroundings.",
        seen_by="dev-es-yellow-bright",
    )

    alike_text: float = tuned(
        0.7,
        "share of the letters",
        "Two readings of one text have this many in common: letters behind it were added, words after it, the line "
        "moved, or another engine read it.",
        seen_by="test_readings_with_letters_behind_them_are_alike_and_others_are_not",
    )
    thickest_stroke: float = tuned(
        0.35,
        "line heights",
        "An area at the text's level that is thicker than this is the picture behind. Its edge is no stroke. Gaps in "
        "letters of the picture are within half of it of the area around them.",
        seen_by="test_letters_behind_a_caption_are_not_read_with_it",
    )
    bounded_share: float = tuned(
        0.9,
        "share of the strokes in the text's style",
        "A box or an outline bounds a track's letters when in half of the detected lines this many touch no area.",
        seen_by="test_letters_behind_a_caption_are_not_read_with_it",
    )
    other_style: float = tuned(
        2.0,
        "a style's tolerance",
        "Strokes this far from its level have another color.",
        seen_by="test_a_word_in_another_color_is_kept_on_the_line_and_other_letters_are_not",
    )
    word_gap: float = tuned(
        0.3,
        "line heights",
        "Strokes nearer than this along the line are of one word. A word in another color has its baseline within "
        "half of it of that of its line. Words stay when they move by less, and a moving sign is searched this far. "
        "The line below a word is within it.",
        seen_by="test_a_sign_that_moves_is_told_from_a_caption_that_stays",
    )
    beyond_body: float = tuned(
        0.05,
        "share of a word's strokes",
        "So many may lie above the body of its letters, and below it: a few descenders. The baseline of Arabic and "
        "the headline of Devanagari have most strokes in a few rows, so the fullest row tells nothing of the height.",
        seen_by="test_a_second_line_in_small_letters_is_no_text_behind",
    )
    body_share: float = tuned(
        0.3,
        "share of the strokes in the fullest row",
        "A row with fewer strokes is below the baseline, or between two lines.",
        seen_by="test_a_word_in_another_color_is_kept_on_the_line_and_other_letters_are_not",
    )

    # Changes of a character
    changed_share: float = tuned(
        0.18,
        "share of the strokes in a character's window",
        "A character differs when this share of its strokes changed. With less change of all strokes at the text's "
        "level the text may be the same, and letters behind it changed: reading both decides.",
        seen_by="test_a_character_changes_beside_strokes_whose_start_is_known",
    )
    changed_area: float = tuned(
        0.011,
        "share of a character's window",
        "A character differs when at least this area changed.",
        seen_by="test_the_smallest_part_of_a_letter_is_a_change_where_nothing_else_changes",
    )
    replaced_share: float = tuned(
        0.03,
        "share of the changed strokes",
        "A character replaced another when strokes went and came, each at least this share: of cat and car, few come.",
        seen_by="final-en-collage-vp9",
    )
    attached_share: float = tuned(
        0.2,
        "share of the added pixels",
        "A stroke was added to a character (hat, bat) when this share of it touches strokes that stay.",
        seen_by="test_a_character_changes_beside_strokes_whose_start_is_known",
    )
    nearly_all: float = tuned(
        0.75,
        "share",
        "The pixels of a glyph change together; what moves through the ROI changes pixel by pixel. Half of the rest "
        "is allowed to a single stroke added to a character: few pixels agree by chance more easily. A caption in "
        "full shows this much of itself, whatever the picture behind it does. No step of a caption that grows is this "
        "much of it. Pixels of a small ROI that strokes cover this much tell their color.",
        seen_by="test_a_character_changes_beside_strokes_whose_start_is_known",
    )
    switched_share: float = tuned(
        0.55,
        "share of the way between two levels",
        "A pixel switched at a frame when it covers this much of its way there. A fade takes several frames.",
        seen_by="test_a_character_changes_beside_strokes_whose_start_is_known",
    )
    elsewhere_share: float = tuned(
        0.25,
        "share of the changed pixels",
        "A change is isolated when at most this many further pixels change at the same frame.",
        seen_by="test_a_sign_that_drifts_through_the_roi_is_no_caption",
    )

    # The stroke meter: where a change is worth a closer look
    candidate_share: float = tuned(
        0.05,
        "share of a character cell's pixels",
        "From here on a change of pixels at the text's level is examined.",
        seen_by="test_one_character_changes_without_a_gap",
    )
    quiet_ratio: float = tuned(
        3.0,
        "ratio",
        "So many times less change is examined where the frames around show so many times less again, and so many "
        "times more is needed while the style of the text is unknown, or for text that replaces a brief one.",
        seen_by="test_the_smallest_part_of_a_letter_is_a_change_where_nothing_else_changes",
    )
    strong_share: float = tuned(
        0.45,
        "share of a character cell's pixels",
        "A change this strong is another event: what follows it is not compared with what precedes it.",
        seen_by="test_the_smallest_part_of_a_letter_is_a_change_where_nothing_else_changes",
    )

    # How far the segmentation looks, in time
    hold_s: float = tuned(
        0.15,
        "seconds",
        "A stroke counts once it lasted this long.",
        seen_by="test_a_moving_background_alone_gives_no_captions",
    )
    far_s: float = tuned(
        0.8,
        "seconds",
        "How far to compare where nothing else changes, and how far the frames around a cut reach that place its "
        "boundary. Longer averages separate text from a moving scene better; half of the longest fade fits.",
        seen_by="test_a_moving_background_alone_gives_no_captions",
    )
    fade_search_s: float = tuned(
        0.25,
        "seconds",
        "How often to look for a fade where nothing changes at once, and how far to compare on both sides of a sharp "
        "change, at least.",
        seen_by="test_fades_begin_and_end_where_half_is_visible",
    )
    fading_share: float = tuned(
        0.2,
        "share of the strokes",
        "A fade changes at least this share of all strokes; less is noise. A second color counts from this share on, "
        "of the strokes or of the measured texts. So many cells of a caption that grows may look wrong. With less of "
        "its letters in the picture, a caption is found anywhere. So many of the words are swept where a caption ends "
        "in a sweep.",
        seen_by="test_slow_fades_are_no_captions_of_their_own",
    )

    # Visibility of a caption, 0 (absent) to 1 (in full)
    absent: float = tuned(
        0.4,
        "visibility",
        "A caption is absent below this: the strokes of a picture resemble it by less.",
        seen_by="test_the_smallest_part_of_a_letter_is_a_change_where_nothing_else_changes",
    )
    crossfade_gap: float = tuned(
        0.3,
        "visibility",
        "Two captions that fade into each other leave a gap where both are below this.",
        seen_by="test_captions_that_fade_into_each_other_meet_where_both_are_alike",
    )
    overshoot: float = tuned(
        1.5,
        "visibility",
        "Above this the picture itself resembles the text: no caption shows more than all of itself.",
        seen_by="test_a_fade_is_cut_where_half_is_visible_wherever_it_was_noticed",
    )
    ramp_foot: float = tuned(
        0.12,
        "share of the full visibility",
        "A fade's line is fitted between this share and its complement, where noise and saturation are small. What "
        "varies by less is no fade; what varies by a third of it is steady. A color sweep leaves less of how the "
        "levels of words vary.",
        seen_by="test_a_fade_is_cut_where_half_is_visible_wherever_it_was_noticed",
    )

    # The same caption, or another one
    different_share: float = tuned(
        0.4,
        "share of the strokes",
        "With less change than this, a caption is new only when a character took the place of another. Strokes with "
        "less than this in common are of two texts. The same text keeps the rest of its strokes, and of its variance.",
        seen_by="test_a_fade_beside_a_sign_that_stays_is_cut_where_half_of_the_fade_is_visible",
    )
    faded: float = tuned(
        0.6,
        "share",
        "A brief stretch with less than this share of its neighbor's strokes is that neighbor fading; in the fainter "
        "half of a fade less than this of the caption is visible. A dimmed line has less of the lit line's contrast: "
        "0.2 to 0.45; lines of a caption have over 0.7. Most words of a caption are highlighted, and most of their "
        "jumps are where the highlight moves on.",
        seen_by="test_a_caption_that_is_fainter_over_another_picture_is_no_fade",
    )
    faint_area: float = tuned(
        0.25,
        "share of the caption's strokes",
        "As `faded`, for a stretch up to twice as long.",
        seen_by="test_a_highlight_runs_through_the_words_of_one_caption",
    )
    trace_area: float = tuned(
        0.1,
        "share of the caption's strokes",
        "With less than this, what was read are a few letters of a fade, however many were recognized. "
        "With more beside the characters that were read, a part of the line is unread.",
        seen_by="test_a_brief_word_that_looks_like_the_next_one_is_no_sign",
    )
    fainter: float = tuned(
        0.15,
        "visibility",
        "A caption shows its fade's strokes by this much more than the fade does. The stretch of a text that shows "
        "its strokes by this much less adds nothing to the picture that is read.",
        seen_by="test_joining_a_caption_with_its_fade_keeps_what_shows_it_in_full",
    )
    recolored_ratio: float = tuned(
        1.4,
        "ratio of contrasts",
        "A part of a text is recolored when its contrast changed by this much more than that of another part.",
        seen_by="test_slow_fades_are_no_captions_of_their_own",
    )

    # Signs that move with the scene
    motion_residual: float = tuned(
        0.5,
        "share of the difference",
        "Text moved within its segment when shifting it leaves at most this share of the difference; half of it "
        "between neighbors, where shifting another word may leave only 0.4.",
        seen_by="dev-en-portrait-signs",
    )

    # Captions that move
    built_share: float = tuned(
        0.8,
        "share of the strokes",
        "When words are added, this much of the strokes stays where it was. A caption this much like itself has not "
        "moved.",
        seen_by="test_a_highlighted_word_that_is_misread_is_no_new_caption",
    )

    letter_width: float = tuned(
        0.4,
        "line heights",
        "About a letter: the part of a text that appears at once where it is typed.",
        seen_by="test_a_caption_that_is_typed_starts_with_its_first_letter",
    )
    most_growth: float = tuned(
        1.25,
        "ratio of sizes",
        "From one frame to the next, a caption that pops up grows by less: by 1.2 over four frames.",
        seen_by="test_a_caption_that_pops_up_starts_with_its_first_frame",
    )
    short_text: float = tuned(
        3.0,
        "line heights",
        "A narrower text, of about four letters, is found in others.",
        seen_by="test_a_caption_that_slides_in_starts_with_its_first_frame",
    )
    highlight_bands: int = tuned(
        10,
        "bands",
        "Levels that are measured across a line and below it: an underline fills one.",
        seen_by="test_a_line_below_words_is_none_of_the_next_line",
    )
    highlight_frames: int = tuned(
        4,
        "frames",
        "On each side of a frame, they tell how much a word's look changes by itself, as the picture behind moves.",
        seen_by="test_a_cut_behind_a_highlight_is_none_of_it",
    )
    longest_run: int = tuned(
        6,
        "characters",
        "So many are highlighted together where no spaces are written.",
        seen_by="test_characters_are_highlighted_in_runs",
    )

    # Durations of captions
    brief_s: float = tuned(
        0.2,
        "seconds",
        "A briefer segment is a caption only when its text reads well: few texts can be read in less time. A single "
        "character needs half as much again.",
        seen_by="test_words_of_a_few_frames_are_captions_of_their_own",
    )
    fade_s: float = tuned(
        0.6,
        "seconds",
        "The longest fade that is read as a caption of its own. A gap is searched this far from a cut. A third of it "
        "on each side of a frame may be mid-fade: a search for a fade leaves that out.",
        seen_by="test_what_is_read_of_a_fade_is_its_caption_which_starts_where_half_is_seen",
    )

    @property
    def ramp_top(self) -> float:
        """Where the fitted part of a fade ends, as a share of the full visibility."""
        return 1 - self.ramp_foot


TUNING = ExtentTuning()
