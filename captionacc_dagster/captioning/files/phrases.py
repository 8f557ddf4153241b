"""Joins cues so that they are comfortable to read: single words into phrases, and cues on both sides of a gap.

The limits follow the usual subtitle guidelines (Netflix Timed Text Style Guide, BBC Subtitle Guidelines).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from captionacc_dagster.captioning.captions import AnyCue, T, Word, sort_cues
from captionacc_dagster.captioning.geometry import BBox

MAX_LINE = 42  # characters
MAX_WIDE_LINE = 16  # characters of full width: Chinese, Japanese, Korean
MAX_PHRASE_S = 7.0
MAX_PAUSE_S = 0.3  # a longer pause ends a phrase
SHORT_WORD_S = 0.7  # a word that is visible for less is part of a phrase
MAX_CUE_WORDS = 3  # a cue of more words is a phrase by itself

# Words that replace each other can share a frame while they cross-fade.
_MAX_OVERLAP_S = 0.1
# Adjacent words of a line are at most a space apart; two speakers are not. Fraction of the frame's width.
_MAX_DISTANCE = 0.1
# Chinese and Japanese words have about two characters; four are one word at most.
_WORD_CHARACTERS = 4

_SENTENCE_ENDS = frozenset(".?!…。！？؟।")
_CLAUSE_ENDS = frozenset(",;:，、；：،؛")
_CLOSING = frozenset("\"'”’»)]」』）")
_SPEAKER_MARKS = ("-", "–", "—", ">>")
_SPACELESS = ("CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "FULLWIDTH", "THAI", "LAO", "KHMER", "MYANMAR")


def is_word_by_word(cues: Iterable[AnyCue]) -> bool:
    """Return whether more than half of a track's cues are a single word that is visible for less than 0.7 s."""
    short = [_word_count(cue.text) == 1 and cue.end_s - cue.start_s < SHORT_WORD_S for cue in cues]
    return sum(short) > len(short) / 2


def phrases(cues: Iterable[T], *, only_word_by_word: bool = False) -> list[T]:
    """Return the cues in order of time, with cues of a few words joined into phrases.

    A phrase ends at the end of a sentence, at a pause of 0.3 s, where the speaker or the place changes, and before it
    exceeds two lines of 42 characters (16 of full width) or 7 s. The words of a phrase keep their times.

    Args:
        cues: in any order; cues of different tracks are never joined.
        only_word_by_word: leave tracks unchanged that are not `is_word_by_word`.
    """
    joined: list[T] = []
    for members in _by_track(cues):
        if only_word_by_word and not is_word_by_word(members):
            joined += members
        else:
            joined += _join_track(members)
    return sort_cues(joined)


def join_gaps(cues: Iterable[T], ms: float) -> list[T]:
    """Return the cues in order of time, with equal texts joined across gaps of at most ``ms`` milliseconds.

    Only consecutive cues of the same track and kind are joined. With 0, no cue changes.
    """
    if ms <= 0:
        return sort_cues(cues)
    joined: list[T] = []
    for members in _by_track(cues):
        current = members[0]
        for cue in members[1:]:
            gap_s = cue.start_s - current.end_s
            same = (cue.text.split(), cue.kind) == (current.text.split(), current.kind)
            if same and -1e-6 <= gap_s <= ms / 1000 + 1e-6:
                current = _extended(current, cue, current.text, _prolonged(current.words, cue.words))
            else:
                joined.append(current)
                current = cue
        joined.append(current)
    return sort_cues(joined)


def _by_track(cues: Iterable[T]) -> Iterator[list[T]]:
    ordered = sorted(sort_cues(cues), key=lambda cue: cue.track or "")
    for _, members in groupby(ordered, key=lambda cue: cue.track or ""):
        yield list(members)


def _join_track(cues: Sequence[T]) -> list[T]:
    return [_phrase(parts) for run in _runs(cues) for parts in _even_parts(run)]


def _runs(cues: Sequence[T]) -> Iterator[list[T]]:
    """Yield cues that follow each other without a reason to end the phrase between them."""
    run = [cues[0]]
    for cue in cues[1:]:
        if not _continues(run[-1], cue):
            yield run
            run = []
        run.append(cue)
    yield run


def _continues(last: AnyCue, cue: AnyCue) -> bool:
    """Return whether a cue can belong to the same phrase as the cue before it."""
    if (last.kind, last.lang) != (cue.kind, cue.lang) or last.unread or cue.unread:
        return False
    if not (_is_part(last) and _is_part(cue)):
        return False
    if not -_MAX_OVERLAP_S <= cue.start_s - last.end_s < MAX_PAUSE_S:
        return False
    if _last_mark(last.text) in _SENTENCE_ENDS or cue.text.lstrip().startswith(_SPEAKER_MARKS):
        return False
    return last.bbox is None or cue.bbox is None or not _apart(last.bbox, cue.bbox)


def _even_parts(run: Sequence[T]) -> list[list[T]]:
    """Split a run into as few phrases as possible, none of them much shorter than the others."""
    fewest = _parts(run, 2 * MAX_LINE)
    length = len(_joined_text(run))
    for budget in range(length // len(fewest), 2 * MAX_LINE):
        parts = _parts(run, budget)
        if len(parts) == len(fewest):
            return parts
    return fewest


def _parts(run: Sequence[T], budget: int) -> list[list[T]]:
    """Fill phrases one after another, each with at most ``budget`` characters."""
    parts: list[list[T]] = []
    for cue in run:
        if parts and _fits([*parts[-1], cue], budget):
            parts[-1].append(cue)
        else:
            parts.append([cue])
    return parts


def _fits(cues: Sequence[AnyCue], budget: int) -> bool:
    text, before = _joined_text(cues), _joined_text(cues[:-1])
    if len(text) > budget or _wrapped(text) is None or cues[-1].end_s - cues[0].start_s > MAX_PHRASE_S:
        return False
    return not (_last_mark(before) in _CLAUSE_ENDS and len(before) >= _line_limit(before))


def _is_part(cue: AnyCue) -> bool:
    return "\n" not in cue.text.strip() and 1 <= _word_count(cue.text) <= MAX_CUE_WORDS


def _apart(left: BBox, right: BBox) -> bool:
    """Return whether two boxes share no row, or are too far apart to be words of one line."""
    rows = min(left.bottom, right.bottom) - max(left.top, right.top)
    return rows <= 0 or max(left.left, right.left) - min(left.right, right.right) > _MAX_DISTANCE


def _last_mark(text: str) -> str:
    letters = text.rstrip()
    while len(letters) > 1 and letters[-1] in _CLOSING:
        letters = letters[:-1]
    return letters[-1:]


def _phrase(parts: Sequence[T]) -> T:
    if len(parts) == 1:
        return parts[0]
    words = tuple(word for part in parts for word in _words_of(part))
    timed = all(part.words or part.bbox is not None for part in parts)
    phrase = parts[0]
    for part in parts[1:]:
        phrase = _extended(phrase, part, "", ())
    text = _joined_text(parts)
    return replace(phrase, text=_wrapped(text) or text, words=words if timed else ())


def _words_of(cue: AnyCue) -> tuple[Word, ...]:
    if cue.words or cue.bbox is None:
        return cue.words
    return (Word(text=cue.text.strip(), start_s=cue.start_s, end_s=cue.end_s, bbox=cue.bbox),)


def _extended(first: T, last: AnyCue, text: str, words: tuple[Word, ...]) -> T:
    """Return ``first`` until the end of ``last``, which follows it."""
    known = [value for value in (first.confidence, last.confidence) if value is not None]
    box = last.bbox if first.bbox is None else first.bbox if last.bbox is None else first.bbox.union(last.bbox)
    return replace(
        first,
        end_s=max(first.end_s, last.end_s),
        end_frame=last.end_frame,
        text=text,
        confidence=min(known) if known else None,
        bbox=box,
        words=words,
    )


def _prolonged(first: Sequence[Word], last: Sequence[Word]) -> tuple[Word, ...]:
    """Return the words of a cue that goes on after a gap."""
    if [word.text for word in first] != [word.text for word in last]:
        return tuple(first)
    return tuple(
        replace(
            word,
            end_s=later.end_s,
            highlight_start_s=later.highlight_start_s if word.highlight_start_s is None else word.highlight_start_s,
            highlight_end_s=word.highlight_end_s if later.highlight_end_s is None else later.highlight_end_s,
        )
        for word, later in zip(first, last, strict=True)
    )


# --- text ---


def _word_count(text: str) -> int:
    """Return the number of words; without spaces between words, up to four characters count as one."""
    return sum(math.ceil(len(word) / _WORD_CHARACTERS) if _is_spaceless(word[0]) else 1 for word in text.split())


def _is_spaceless(letter: str) -> bool:
    """Return whether a letter belongs to a script that writes no spaces between words."""
    return unicodedata.name(letter, "").startswith(_SPACELESS)


def _joined_text(cues: Sequence[AnyCue]) -> str:
    text = ""
    for part in (cue.text.strip() for cue in cues):
        direct = not text or (_is_spaceless(text[-1]) and _is_spaceless(part[0]))
        text += part if direct else f" {part}"
    return text


def _line_limit(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return MAX_WIDE_LINE if 2 * wide > len(text) else MAX_LINE


def _wrapped(text: str) -> str | None:
    """Return a text in at most two lines, as even as possible; None if it does not fit."""
    limit = _line_limit(text)
    if len(text) <= limit:
        return text
    best: tuple[int, str] | None = None
    for at in range(1, len(text)):
        if text[at] == " ":
            lines = text[:at], text[at + 1 :]
        elif _is_spaceless(text[at - 1]) and _is_spaceless(text[at]) and unicodedata.category(text[at])[0] != "P":
            lines = text[:at], text[at:]
        else:
            continue
        unevenness = abs(len(lines[0]) - len(lines[1]))
        if max(map(len, lines)) <= limit and (best is None or unevenness < best[0]):
            best = unevenness, "\n".join(lines)
    return None if best is None else best[1]
