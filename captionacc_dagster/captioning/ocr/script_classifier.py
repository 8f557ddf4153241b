"""Tell the script of a line of text (Latin, Cyrillic, Arabic, …) from its picture, before anything reads it.

A recognizer returns letters of its own alphabet for any script, often with a high confidence, so its text cannot
tell whether it can read the line. A small network can (``training/script_classifier``).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.ocr.base import OcrError
from captionacc_dagster.captioning.ocr.onnx_session import open_session

INPUT_HEIGHT = 32  # pixels, the network's input
_NARROWEST, _WIDEST = 64, 768  # pixels at that height; narrower lines are padded, wider ones cut
DARKEST = 0.005  # fraction of a line's pixels left out of its range of levels, and as many of the brightest
_MODEL = "script_classifier.onnx"

# What the network's outputs mean: a script (ISO 15924) and, where its letters tell, a language (BCP 47).
# Zzzz: another script. Zxxx: no text.
CLASSES: tuple[tuple[str, str | None], ...] = (
    ("Latn", None),
    ("Latn", "vi"),
    ("Cyrl", None),
    ("Grek", None),
    ("Hani", None),
    ("Jpan", "ja"),
    ("Hang", "ko"),
    ("Arab", None),
    ("Hebr", None),
    ("Deva", None),
    ("Thai", "th"),
    ("Zzzz", None),
    ("Zxxx", None),
)


@dataclass(frozen=True, slots=True)
class ScriptGuess:
    """The script of a line, or of several.

    Attributes:
        script: ISO 15924: Latn, Cyrl, Grek, Hani (without kana), Jpan, Hang, Arab, Hebr, Deva, Thai, Zzzz (another
            script), or Zxxx (no text).
        probability: of this script and language together, 0..1.
        lang: BCP 47 where the letters tell it (Vietnamese, Japanese, Korean, Thai), None elsewhere.
        probabilities: of all classes of the network, in its order.
    """

    script: str
    probability: float
    lang: str | None = None
    probabilities: tuple[float, ...] = field(default=(), repr=False)


def classify_script(line_images: Sequence[NDArray[np.uint8]]) -> list[ScriptGuess]:
    """Return the script of each line picture, in order.

    Args:
        line_images: pictures of single lines, uint8, ``(height, width)`` or ``(height, width, 3)`` in RGB: the fused
            picture of a caption's line, or its stroke mask times 255.

    Raises:
        OcrError: the model in the package cannot be loaded.
    """
    session = _session() if line_images else None
    guesses = []
    for image in line_images:
        line = line_input(image).astype(np.float32)[None, None]
        assert session is not None
        scores = np.asarray(session.run(None, {"line": line})[0], np.float64)[0]
        guesses.append(_guess(np.exp(scores - scores.max())))
    return guesses


def combined_guess(guesses: Sequence[ScriptGuess]) -> ScriptGuess:
    """Return the script that several lines have in common, such as those of one track.

    The probabilities of the lines are multiplied and the product's root taken, as for independent witnesses that
    each may be wrong; lines without text do not count where others have some.

    Raises:
        ValueError: there are no guesses.
    """
    if not guesses:
        raise ValueError("no line was classified")
    told = [guess for guess in guesses if guess.script != "Zxxx"] or list(guesses)
    logs = np.log(np.maximum([guess.probabilities for guess in told], 1e-6))
    return _guess(np.exp(logs.mean(axis=0)))


def line_input(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what the network sees of a line: grays over the whole range, uint8 ``(32, width)``, at least 64 wide."""
    import cv2

    gray = image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    height, width = gray.shape
    across = min(max(1, round(width * INPUT_HEIGHT / height)), 4 * _WIDEST)
    method = cv2.INTER_AREA if height > INPUT_HEIGHT else cv2.INTER_CUBIC
    line = np.asarray(cv2.resize(gray, (across, INPUT_HEIGHT), interpolation=method), np.uint8)[:, :_WIDEST]
    passed = np.bincount(line.ravel(), minlength=256).cumsum()
    low, high = np.searchsorted(passed, np.array([DARKEST, 1 - DARKEST]) * (line.size - 1), side="right")
    table = np.clip((np.arange(256) - low) * (255 / max(1, high - low)), 0, 255).astype(np.uint8)
    line = np.asarray(cv2.LUT(line, table), np.uint8)
    missing = _NARROWEST - line.shape[1]
    return np.pad(line, ((0, 0), (missing // 2, missing - missing // 2)), mode="edge") if missing > 0 else line


def _guess(weights: NDArray[np.floating]) -> ScriptGuess:
    probabilities = weights / weights.sum()
    script, lang = CLASSES[int(probabilities.argmax())]
    spread = tuple(float(probability) for probability in probabilities)
    return ScriptGuess(script, float(probabilities.max()), lang, spread)


@functools.cache
def _session():  # noqa: ANN202
    try:
        model = (files("captionacc_dagster.captioning") / "models" / _MODEL).read_bytes()
        return open_session(model, 1)
    except Exception as error:
        raise OcrError(f"the script classifier {_MODEL} cannot be loaded: {error}") from error
