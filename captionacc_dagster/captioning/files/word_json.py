"""The words of a caption in files: their JSON form, and their places in the caption's text."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from captionacc_dagster.captioning.captions import Word
from captionacc_dagster.captioning.geometry import BBox


def words_to_json(words: Iterable[Word]) -> list[dict[str, Any]]:
    """Return words as JSON values; times are in seconds, coordinates 0..1 from the top left."""
    return [
        {
            "text": unicodedata.normalize("NFC", word.text),
            "start_s": round(word.start_s, 6),
            "end_s": round(word.end_s, 6),
            "bbox": bbox_to_json(word.bbox),
            "highlight_start_s": None if word.highlight_start_s is None else round(word.highlight_start_s, 6),
            "highlight_end_s": None if word.highlight_end_s is None else round(word.highlight_end_s, 6),
        }
        for word in words
    ]


def words_from_json(rows: Any) -> tuple[Word, ...]:
    """Return the words of a JSON list.

    Raises:
        TypeError, ValueError, KeyError: not a list of words; the message says why.
    """
    if not isinstance(rows, list):
        raise TypeError("has words that are not a list")
    return tuple(_word(row) for row in rows)


def dump_words(words: Iterable[Word]) -> str:
    """Return words as the text of a database column."""
    return json.dumps(words_to_json(words), ensure_ascii=False)


def load_words(column: str) -> tuple[Word, ...]:
    """Return the words of a database column."""
    return words_from_json(json.loads(column))


def _word(row: Any) -> Word:
    if not isinstance(row, dict) or not isinstance(row["text"], str):
        raise TypeError(f"has a word without a text: {row!r}")
    start_s, end_s = float(row["start_s"]), float(row["end_s"])
    highlight = [None if row.get(key) is None else float(row[key]) for key in ("highlight_start_s", "highlight_end_s")]
    if not all(math.isfinite(time) for time in (start_s, end_s, *highlight) if time is not None):
        raise ValueError(f"has a word without valid times: {row!r}")
    return Word(
        text=row["text"],
        start_s=start_s,
        end_s=end_s,
        bbox=bbox_from_json(row["bbox"]),
        highlight_start_s=highlight[0],
        highlight_end_s=highlight[1],
    )


def bbox_to_json(bbox: BBox) -> dict[str, float]:
    """Return a box as a JSON object."""
    return {side: round(getattr(bbox, side), 5) for side in ("left", "top", "right", "bottom")}


def bbox_from_json(value: Any) -> BBox:
    """Return the box of a JSON object.

    Raises:
        TypeError, ValueError, KeyError: not a box; the message says why.
    """
    if not isinstance(value, dict):
        raise TypeError("has a bbox that is not an object with left, top, right, and bottom")
    return BBox(*(float(value[side]) for side in ("left", "top", "right", "bottom")))


def locate_words(text: str, words: Sequence[Word]) -> list[int]:
    """Return where each word starts in a text that consists of these words and white space, else an empty list."""
    places: list[int] = []
    at = 0
    for word in words:
        while at < len(text) and text[at].isspace():
            at += 1
        if not word.text or not text.startswith(word.text, at):
            return []
        places.append(at)
        at += len(word.text)
    return [] if text[at:].strip() else places


def fit_words(text: str, words: Sequence[Word]) -> tuple[Word, ...]:
    """Return words with the spelling of a corrected text; empty if the text has another number of words."""
    if not words or locate_words(text, words):
        return tuple(words)
    spelled = text.split()
    if len(spelled) != len(words):
        return ()
    return tuple(replace(word, text=new) for word, new in zip(words, spelled, strict=True))
