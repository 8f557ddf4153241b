"""Draws the sentences of the clips without repetition."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).with_name("corpus")


@cache
def _rows(name: str) -> tuple[tuple[str, ...], ...]:
    lines = (_FOLDER / name).read_text(encoding="utf-8").splitlines()
    return tuple(tuple(line.split("\t")) for line in lines if line.strip())


def _of_language(name: str, language: str) -> list[tuple[str, ...]]:
    return [row[1:] for row in _rows(name) if row[0] == language]


class Deck:
    """Draws sentences of a language in random order; starts again when all are used.

    ``zh-en`` draws two lines, Chinese over English. Sentences of more than ``longest`` characters are left out.
    """

    def __init__(self, language: str, rng: random.Random, longest: int = 1000) -> None:
        if language == "zh-en":
            self._sentences = ["\n".join(row) for row in _rows("zh-en.tsv")]
        else:
            self._sentences = [row[0] for row in _rows(f"{language}.txt")]
        self._sentences = [text for text in self._sentences if len(text) <= longest]
        spoken = "zh" if language == "zh-en" else language
        self._tiny = [row[0] for row in _of_language("tiny.tsv", spoken)]
        self._neighbors = [(row[0], row[1]) for row in _of_language("neighbors.tsv", spoken)]
        for cards in (self._sentences, self._tiny, self._neighbors):
            rng.shuffle(cards)

    def sentence(self) -> str:
        """Draw a sentence."""
        self._sentences.append(self._sentences.pop(0))
        return self._sentences[-1]

    def short_sentence(self) -> str:
        """Draw one of the shorter sentences."""
        middle = sorted(map(len, self._sentences))[len(self._sentences) // 3]
        while len(text := self.sentence()) > middle:
            continue
        return text

    def tiny(self) -> str:
        """Draw a caption of one to three characters."""
        self._tiny.append(self._tiny.pop(0))
        return self._tiny[-1]

    def neighbors(self) -> tuple[str, str]:
        """Draw two sentences that differ in one character."""
        self._neighbors.append(self._neighbors.pop(0))
        return self._neighbors[-1]
