"""The numbers that decide what the engines are given and which reading is taken."""

from __future__ import annotations

from dataclasses import dataclass

from captionacc_dagster.captioning.tuning import tuned


@dataclass(frozen=True, slots=True)
class OcrTuning:
    """The tuning of the `ocr` room. A confidence is the engine's own, the mean over a line's or word's characters."""

    sure: float = tuned(
        0.9,
        "confidence",
        "a reading is taken as it is from here on: a line is not read again, two equal readings by Tesseract need no "
        "third, and a Latin word among another script's is one",
        seen_by="test_an_unsure_latin_word_does_not_count",
    )

    least_letter: float = tuned(
        0.3,
        "line heights",
        "what is smaller is no letter: a dot of an ellipsis, strokes without a word, letters of a smaller text",
        seen_by="test_other_specks_are_no_ellipsis",
    )

    # Latin words in a line of another script.
    doubtful: float = tuned(
        0.8,
        "confidence",
        "a word read less surely by its script's engine may be Latin",
        seen_by="test_what_the_engine_of_the_script_is_unsure_of_is_read_as_latin",
    )
    gain: float = tuned(
        0.1,
        "confidence",
        "how much surer a Latin word must be than what it replaces; three times as much beside Cyrillic and Greek, "
        "whose letters look Latin",
        seen_by="test_letters_that_look_latin_stay_in_their_script",
    )
    cut_reach: float = tuned(
        0.35,
        "line heights",
        "how far from a word's end the gap before the next one is searched",
        seen_by="test_english_words_in_a_line_of_another_script_are_read",
    )

    # What Tesseract is given.
    small_px: float = tuned(
        36.0,
        "pixels",
        "height of a line picture in the first rendering: letters of 20 to 28",
        seen_by="test_tesseract",
    )
    large_px: float = tuned(
        60.0,
        "pixels",
        "height in the second rendering: letters of 35 to 45, as Tesseract asks; the picture cut out along the mask "
        "is halfway",
        seen_by="test_tesseract",
    )
    soft_px: float = tuned(
        1.5,
        "pixels",
        "blur that joins a mask's broken strokes; Arabic is hardly read without",
        seen_by="test_tesseract",
    )
    smooth_px: float = tuned(0.7, "pixels", "blur of the picture cut out along the mask", seen_by="test_tesseract")
    mark_level: float = tuned(
        0.9,
        "share of the letters' contrast",
        "a mark that the mask lacks is as bright as the letters; most of the picture behind is not",
        seen_by="test_tesseract",
    )

    @property
    def certain(self) -> float:
        """Confidence that overrules what speaks against a reading, its shape or a single letter: half the doubt."""
        return (1 + self.sure) / 2


TUNING = OcrTuning()
