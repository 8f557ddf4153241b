"""Decide in which script each line of a track is, and whether the default recognizer's reading of it can be right."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from captionacc_dagster.captioning.captions import Caption, CaptionWarning
from captionacc_dagster.captioning.extents.reading_tuning import TUNING
from captionacc_dagster.captioning.ocr.languages import SCRIPTS, script_name
from captionacc_dagster.captioning.ocr.scripts import ScriptGuess

# What the default recognizer reads, and what is no text.
_DEFAULT_SCRIPTS = frozenset({"Latn", "Hani", "Hans", "Hant", "Jpan"})
_NO_TEXT = "Zxxx"
_MAX_ODDS = math.log(0.99 / 0.01)  # of one line: the classifier is not surer than that


@dataclass(slots=True)
class TrackScripts:
    """What the lines of a track say about their scripts.

    A recognizer returns letters of its own alphabet for a line in any script. One classified line proves little, too;
    what the lines of a track have in common does.
    """

    _log_odds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _read_lines: int = 0

    def judge(self, guess: ScriptGuess, *, is_read: bool) -> Literal["default", "other", "maybe other"]:
        """Return whether a line is in a script that the default recognizer does not read; use it as evidence.

        Args:
            guess: of the line's picture.
            is_read: the default recognizer is sure of what it read in the line.
        """
        is_default = guess.script in _DEFAULT_SCRIPTS or guess.script == _NO_TEXT
        self._read_lines += is_read
        if is_default or (is_read and not self.has(guess.script)):
            return "default"
        if not is_read:
            odds = math.log(max(guess.probability, 1e-6) / max(1 - guess.probability, 1e-6))
            self._log_odds[guess.script] += min(odds, _MAX_ODDS)
        if guess.probability >= TUNING.certain_script:
            return "other"
        if is_read or guess.probability < TUNING.likely_script:
            return "default"
        return "other" if self.has(guess.script) else "maybe other"

    def has(self, script: str) -> bool:
        """Return whether the track has lines in a script, by all its lines so far."""
        return self._log_odds[script] - TUNING.read_line_odds * self._read_lines >= TUNING.track_script_odds


def script_of_text(text: str) -> str | None:
    """Return the script of a text that the default recognizer read, ISO 15924; None where it has no letters."""
    if any("\u3041" <= character <= "\u30ff" for character in text):
        return "Jpan"
    if any("\u2e80" <= character <= "\u9fff" for character in text):
        return "Hani"
    return "Latn" if any(character.isalpha() for character in text) else None


def unread_warnings(captions: Iterable[Caption]) -> tuple[CaptionWarning, ...]:
    """Return one warning for each script in which captions could not be read, with what to do."""
    counts: defaultdict[str, int] = defaultdict(int)
    for caption in captions:
        if caption.unread:
            counts[caption.script or "Zzzz"] += 1
    warnings = []
    for script, count in sorted(counts.items()):
        language = SCRIPTS[script].language if script in SCRIPTS else None
        step = f"run `captionacc languages add {language}`" if language else "see `captionacc languages`"
        captions_named = "1 caption" if count == 1 else f"{count} captions"
        message = f"{captions_named} in {script_name(script)} could not be read; {step}, then process the video again."
        warnings.append(CaptionWarning("script_unread", message))
    return tuple(warnings)
