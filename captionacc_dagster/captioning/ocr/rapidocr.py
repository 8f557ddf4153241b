"""RapidOCR's PP-OCR models, run on ONNX Runtime without RapidOCR's own pipeline.

That pipeline scales the short side of every picture up to 736 pixels; the detector finds captions at a third of
that. Models: PP-OCRv6 small (detection by differentiable binarization, Liao et al.,
arXiv:1911.08947; recognition by CTC), from the ``rapidocr`` wheel.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.ocr.base import Line, LineBox, OcrError, Recognition, TextBox, cut_line, picture_of
from captionacc_dagster.captioning.ocr.languages import LANGUAGES, Language
from captionacc_dagster.captioning.ocr.onnx_session import open_session, without_softmax
from captionacc_dagster.captioning.ocr.vertical_lines import lay_flat

if TYPE_CHECKING:
    import onnxruntime

_DETECTOR = "PP-OCRv6_det_small.onnx"
_RECOGNIZER = "PP-OCRv6_rec_small.onnx"
_READ_SIDES = (640, 768)  # pixels: a picture is searched at half its size, but within these
_STRIDE = 32  # the detector's input is a multiple of this
_STROKE = 0.3  # PP-OCR's defaults: probability of a text pixel, mean probability of a text line,
_LINE = 0.5  # and how far the shrunken line that was found is grown back
_UNCLIP = 1.6
_SMALLEST = 3  # pixels of the short side of a line in the searched picture
_LINE_HEIGHT = 48  # pixels, the recognizer's input
_NARROWEST = 64  # pixels, narrower lines are padded
_WIDEST = 3200
_COLUMN = 1.6  # a line this many times higher than wide may be a column of characters
# Log odds from which on a space that is not the likeliest symbol is one, one less for each step between the letters
# beside it, and the lowest that can decide. Fitted by logistic regression to 15,000 drawn lines in all Latin fonts of
# Debian, letters 5 to 30 pixels high. In 10,000 others 338 spaces lost their step: it finds 227, and 46 within words.
_LOST_SPACE, _FAINT_SPACE = 0.75, -6.0
_PRONOUN = 2.0  # log odds that an I before a small letter is the English word, which is often and starts few words
_CLOSING = frozenset(".,)'’")  # no space is lost before these
# Probability from which on a note beside the letters of a line is one, and a letter apart from them is a note: of 501
# lines, the five with notes had 0.0004 to 0.28 at their ends, and the others at most 0.00002.
_LOST_NOTE, _LIKELY_NOTE = 2e-4, 0.02
_NOTES = "♪♫♬♩"
_FIRST_IDEOGRAPH = "\u2e80"
_BATCH = 8  # lines at once on a GPU; on a CPU, lines one by one cost the same and need no padding
# What the recognizer in the wheel reads (ISO 15924), and the languages of these scripts whose letters it lacks.
WHEEL_SCRIPTS = frozenset({"Latn", "Hani", "Hans", "Hant", "Jpan"})
_INCOMPLETE = frozenset({"vi"})

_NORMAL = np.arange(256, dtype=np.float32) / 127.5 - 1.0  # what the models take for each gray level

_loading = threading.Lock()


@dataclass(frozen=True)
class _Model:
    session: onnxruntime.InferenceSession
    on_gpu: bool
    characters: tuple[str, ...] = ()
    gives_scores: bool = False  # the model returns logits, not probabilities
    notes: tuple[int, ...] = ()  # which of its characters are notes

    def scores(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the log probabilities of each character, up to a constant per step (what a softmax takes)."""
        given = self.run(batch)
        return given if self.gives_scores else np.log(np.maximum(given, np.finfo(np.float32).tiny))

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self.session.run(None, {self.session.get_inputs()[0].name: batch})[0], np.float32)


class RapidOcrEngine:
    """An engine that works offline, on the CPU or, when ONNX Runtime has CUDA, on the GPU.

    Args:
        threads: cores for one inference (default: all, but at most four).
        model: another PP-OCR recognizer than the one in the wheel (ONNX, with its characters in the metadata).
    """

    def __init__(self, *, threads: int | None = None, model: Path | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self._threads = threads or _usual_threads()
        self._model = model

    @property
    def name(self) -> str:
        """The engine and its models."""
        return "rapidocr/PP-OCRv6-small" if self._model is None else f"rapidocr/{self._model.stem}"

    def load(self) -> None:
        """Load both models now rather than at their first use."""
        _detector(self._threads)
        _recognizer(self._threads, self._model)

    def detect(self, image: NDArray[np.uint8], *, long_side: int | None = None) -> list[LineBox]:
        """Return the lines of text in a picture, which is searched at half its size or at ``long_side`` pixels."""
        height, width = image.shape[:2]
        longest = max(height, width)
        side = long_side or min(max(longest // 2, _READ_SIDES[0]), _READ_SIDES[1])
        scale = min(1.0, side / longest)
        size = (_to_stride(width * scale), _to_stride(height * scale))
        found = _detector(self._threads).run(_normalized(image, size)[None])[0, 0]
        return _lines_of(found)

    def reads(self, script: str, *, lang: str | None = None) -> bool:
        """Return whether the recognizer in the wheel has the letters of a script or language; one of its own: True."""
        return self._model is not None or (script in WHEEL_SCRIPTS and lang not in _INCOMPLETE)

    @property
    def languages(self) -> tuple[Language, ...]:
        """Any: the models know no languages."""
        return ()

    def confuses(self, lang: str) -> bool:
        """Return whether the recognizer in the wheel confuses letters of a language; one of its own: False."""
        return self._model is None and lang in LANGUAGES and bool(LANGUAGES[lang].confused)

    def recognize(
        self, lines: Sequence[Line], *, script: str | None = None, lang: str | None = None
    ) -> list[Recognition]:
        """Return the reading of each line picture. A picture much higher than wide is also read as a column."""
        del script, lang  # one recognizer reads all that this engine reads
        pictures = [picture_of(line) for line in lines]
        model = _recognizer(self._threads, self._model)
        inputs = [(number, variant) for number, image in enumerate(pictures) for variant in _line_inputs(image)]
        inputs.sort(key=lambda entry: entry[1].shape[2])
        results = [Recognition("", 0.0)] * len(lines)
        size = _BATCH if model.on_gpu else 1
        for start in range(0, len(inputs), size):
            chosen = inputs[start : start + size]
            batch = _batch_of([line for _, line in chosen])
            for (number, line), scores in zip(chosen, model.scores(batch), strict=True):
                read = _decoded(scores, model, line.shape[2] / batch.shape[3])
                if read.confidence > results[number].confidence:
                    results[number] = read
        return results

    def read(self, image: NDArray[np.uint8]) -> list[TextBox]:
        """Return the lines of a picture with their text, in the detector's order."""
        lines = self.detect(image)
        read = self.recognize([cut_line(image, line) for line in lines])
        return [
            TextBox(line.bbox, text.text, text.confidence)
            for line, text in zip(lines, read, strict=True)
            if text.text.strip()
        ]


def _usual_threads() -> int:
    """Return the default number of threads: decoding and encoding use the other of two cores."""
    cores = os.cpu_count() or 1
    return 1 if cores <= 2 else min(4, cores)


def _to_stride(pixels: float) -> int:
    return max(1, round(pixels / _STRIDE)) * _STRIDE


def _normalized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a picture scaled to ``size`` ``(width, height)`` and -1..1, ``(3, height, width)`` BGR, as in training."""
    import cv2

    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    if image.shape[1::-1] != size:
        image = np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)
    normal = np.empty((3, *image.shape[:2]), np.float32)
    if image.ndim == 2:
        normal[:] = cv2.LUT(image, _NORMAL)
        return normal
    for channel, plane in enumerate(reversed(cv2.split(image))):
        normal[channel] = cv2.LUT(plane, _NORMAL)
    return normal


def _lines_of(probability: NDArray[np.float32]) -> list[LineBox]:
    """Return the lines in the detector's probability map ``(height, width)``, top to bottom."""
    import cv2

    height, width = probability.shape
    strokes = cv2.dilate((probability > _STROKE).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(strokes, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    lines = []
    for contour in contours:
        (x, y), (across, down), angle = cv2.minAreaRect(contour)
        if min(across, down) < _SMALLEST:
            continue
        corners = cv2.boxPoints(((x, y), (across, down), angle))
        score = _mean_inside(probability, corners)
        if score < _LINE:
            continue
        grow = across * down * _UNCLIP / (2 * (across + down))
        corners = cv2.boxPoints(((x, y), (across + 2 * grow, down + 2 * grow), angle))
        quad = _clockwise(np.clip(corners / (width, height), 0.0, 1.0))
        bbox = BBox(*(float(edge) for edge in (*quad.min(axis=0), *quad.max(axis=0))))
        if bbox.width > 0 and bbox.height > 0:
            lines.append(LineBox(bbox, score, tuple((float(px), float(py)) for px, py in quad)))
    return sorted(lines, key=lambda line: (line.bbox.top, line.bbox.left))


def _mean_inside(probability: NDArray[np.float32], corners: NDArray[Any]) -> float:
    import cv2

    height, width = probability.shape
    x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)).astype(int), 0, (width - 1, height - 1))
    mask = np.zeros((y1 - y0 + 1, x1 - x0 + 1), np.uint8)
    cv2.fillPoly(mask, [(corners - (x0, y0)).astype(np.int32)], 1)
    return float(cv2.mean(probability[y0 : y1 + 1, x0 : x1 + 1], mask)[0])


def _clockwise(corners: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return four corners in clockwise order from the top left."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = by_x[:2], by_x[2:]
    left, right = left[np.argsort(left[:, 1])], right[np.argsort(right[:, 1])]
    return np.stack([left[0], right[0], right[1], left[1]])


def _line_inputs(image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Return the recognizer's inputs for a line, ``(3, 48, width)`` each: two when it may be a column."""
    height, width = image.shape[:2]
    if height <= _COLUMN * width:
        return [_line_input(image)]
    return [_line_input(image), _line_input(lay_flat(image))]


def _line_input(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    across = min(max(1, -(-width * _LINE_HEIGHT // height)), _WIDEST)
    line = _normalized(image, (across, _LINE_HEIGHT))
    if across >= _NARROWEST:
        return line
    padded = np.zeros((3, _LINE_HEIGHT, _NARROWEST), np.float32)
    padded[:, :, :across] = line
    return padded


def _batch_of(lines: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the inputs as one batch, as wide as the widest; a single input is not copied."""
    if len(lines) == 1:
        return lines[0][None]
    batch = np.zeros((len(lines), 3, _LINE_HEIGHT, max(line.shape[2] for line in lines)), np.float32)
    for row, line in zip(batch, lines, strict=True):
        row[:, :, : line.shape[2]] = line
    return batch


def _decoded(scores: NDArray[np.float32], model: _Model, share: float) -> Recognition:
    """Return the best path through the recognizer's output ``(steps, characters)`` (CTC, blank first)."""
    characters = model.characters
    best = scores.argmax(axis=1)
    chosen = best != 0
    chosen[1:] &= best[1:] != best[:-1]
    steps = np.flatnonzero(chosen)
    if not len(steps):
        return Recognition("", 0.0)
    highest = scores[np.arange(len(scores)), best]
    spaces = scores[:, len(characters) - 1] - highest
    # Only the steps that are used become probabilities.
    seen = np.flatnonzero(chosen | (spaces >= _FAINT_SPACE))
    certainties = np.zeros(len(scores), np.float32)
    certainties[seen] = 1 / np.exp(scores[seen] - highest[seen, None]).sum(axis=1)
    read = [(characters[best[step]], float(certainties[step]), float(step)) for step in steps]
    confidence = float(np.mean([certainty for _, certainty, _ in read]))
    read = _with_lost_spaces(read, np.exp(spaces) * certainties)
    if model.notes:
        read = _with_lost_notes(read, scores[:, model.notes] - highest[:, None], [characters[at] for at in model.notes])
    # A symbol of the model may be several code points; each takes the symbol's confidence and place.
    spread = [(certainty, step) for symbol, certainty, step in read for _ in symbol]
    return Recognition(
        text="".join(symbol for symbol, _, _ in read),
        confidence=confidence,
        characters=tuple(certainty for certainty, _ in spread),
        positions=tuple(min((step + 0.5) / (len(scores) * share), 1.0) for _, step in spread),
    )


def _with_lost_spaces(
    read: list[tuple[str, float, float]], space: NDArray[np.float32]
) -> list[tuple[str, float, float]]:
    """Return the symbols with the spaces between Latin letters that lost their step to a letter beside them.

    A narrow space shares its step with its neighbors, and the best path takes one symbol per step. The recognizer also
    half sees spaces between narrow letters; these are closer to each other than letters with a space between them. A
    bar is no letter of a word.
    """
    complete = read[:1]
    for symbol, confidence, step in read[1:]:
        before, _, step_before = complete[-1]
        if " " not in (before, symbol) and max(before, symbol) < _FIRST_IDEOGRAPH:
            chance = float(space[int(step_before) : int(step) + 1].max())
            if symbol not in _CLOSING and _is_space(chance, step - step_before, before, symbol):
                complete.append((" ", chance, (step_before + step) / 2))
        if before == "|" and symbol.isalpha() and len(complete) > 1 and complete[-2][0].isalpha():
            complete[-1] = (" ", *complete[-1][1:])  # no word has a bar: the edge of something behind is between two
        complete.append((symbol, confidence, step))
    return complete


def _is_space(chance: float, steps: float, before: str, after: str) -> bool:
    """Return whether a space of a probability is one between two letters that are some steps apart."""
    if not 0 < chance < 1:
        return chance >= 1
    prior = _PRONOUN if before == "I" and after.islower() else 0.0
    return float(np.log(chance / (1 - chance))) + steps + prior >= _LOST_SPACE


def _with_lost_notes(
    read: list[tuple[str, float, float]], odds: NDArray[np.float32], notes: Sequence[str]
) -> list[tuple[str, float, float]]:
    """Return the symbols with the notes at the ends of a line that the recognizer saw and did not believe.

    Args:
        odds: of each note at each step, the log odds against the likeliest symbol, ``(steps, notes)``.
    """
    letters = [(number, round(step)) for number, (symbol, _, step) in enumerate(read) if symbol != " "]
    if not letters:
        return read
    (first, start), (last, end) = letters[0], letters[-1]
    middle = list(read[first : last + 1])
    if len(middle) > 2:  # a letter apart from the others
        for at, beside, step in ((0, 1, start), (-1, -2, end)):
            best = int(odds[step].argmax())
            if middle[beside][0] == " " and middle[at][0] not in notes and odds[step, best] >= np.log(_LIKELY_NOTE):
                middle[at] = (notes[best], middle[at][1], middle[at][2])
    before, after = [], []
    for steps, found in ((range(start), before), (range(end + 1, len(odds)), after)):
        if steps and odds[steps].max() >= np.log(_LOST_NOTE):
            step, best = divmod(int(odds[steps].argmax()), len(notes))
            found.append((notes[best], float(np.exp(odds[steps].max())), float(steps[step])))
    if before:
        before.append((" ", before[0][1], (before[0][2] + start) / 2))
    if after:
        after.insert(0, (" ", after[0][1], (after[0][2] + end) / 2))
    return [*before, *middle, *after] if before or after or middle != read[first : last + 1] else read


def _detector(threads: int) -> _Model:
    with _loading:
        return _load(str(_model_folder() / _DETECTOR), threads)


def _recognizer(threads: int, model: Path | None) -> _Model:
    with _loading:
        path = _model_folder() / _RECOGNIZER if model is None else model
        return _load(str(path), threads, _of_scores)


def _of_scores(model: bytes) -> bytes:
    """Return a recognizer without its softmax; a model that ends in another operation stays as it is."""
    try:
        return without_softmax(model)
    except ValueError:
        return model


@functools.cache
def _load(path: str, threads: int, prepare: Callable[[bytes], bytes] = bytes) -> _Model:
    """Return a model, loaded once per process and number of threads."""
    try:
        model = Path(path).read_bytes()
        prepared = prepare(model)
        session = open_session(prepared, threads, gpu=True)
    except Exception as error:
        raise OcrError(f"the OCR model {Path(path).name} cannot be loaded: {error}") from error
    on_gpu = "CUDAExecutionProvider" in session.get_providers()
    listed = session.get_modelmeta().custom_metadata_map.get("character", "").splitlines()
    characters = ("", *listed, " ") if listed else ()
    notes = tuple(number for number, character in enumerate(characters) if character and character in _NOTES)
    return _Model(session, on_gpu, characters, gives_scores=prepared is not model, notes=notes)


def _model_folder() -> Path:
    spec = importlib.util.find_spec("rapidocr")
    if spec is None or spec.origin is None:
        raise OcrError("the OCR engine rapidocr is not installed: pip install rapidocr")
    return Path(spec.origin).parent / "models"
