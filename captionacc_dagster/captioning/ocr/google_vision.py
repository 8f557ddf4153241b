"""Google Cloud Vision as an OCR engine; an extra (``captionacc-dagster[google-vision]``) that needs credentials."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.ocr.base import Line, LineBox, OcrError, Recognition, TextBox, line_box, picture_of
from captionacc_dagster.captioning.ocr.languages import LANGUAGES, Language

_BATCH = 16  # images the service takes in one request
_ENDS_LINE = {3, 5}  # TextAnnotation.DetectedBreak: EOL_SURE_SPACE, LINE_BREAK
_ENDS_WORD = {1, 2, 3}  # SPACE, SURE_SPACE, EOL_SURE_SPACE


class GoogleVisionEngine:
    """An engine that sends pictures to the service's document text detection.

    Args:
        languages: BCP 47 hints; empty: the service detects the language.
        client: an ``ImageAnnotatorClient``; by default one made from the environment's credentials.

    Raises:
        OcrError: the extra is not installed (on creation), or there are no credentials (at the first use).
    """

    def __init__(self, *, languages: Sequence[str] = (), client: Any = None) -> None:
        try:
            installed = importlib.util.find_spec("google.cloud.vision") is not None
        except ModuleNotFoundError:
            installed = False
        if client is None and not installed:
            raise OcrError("the Google Vision engine is not installed: pip install 'captionacc-dagster[google-vision]'")
        self._hints = list(languages)
        self._client = client

    @property
    def name(self) -> str:
        """The service and its feature."""
        return "google_vision/document_text_detection"

    def detect(self, image: NDArray[np.uint8], *, long_side: int | None = None) -> list[LineBox]:
        """Return the lines of text; the service reads them at the same price, so this is ``read`` without text."""
        del long_side  # the service searches the whole picture at its own size
        return [line_box(box.bbox, box.confidence) for box in self.read(image)]

    def reads(self, script: str, *, lang: str | None = None) -> bool:
        """Return True: the service detects scripts by itself and reads all that the classifier knows."""
        return True

    @property
    def languages(self) -> tuple[Language, ...]:
        """Those that the service is told as hints; empty: any."""
        return tuple(LANGUAGES[code] for code in self._hints if code in LANGUAGES)

    def confuses(self, lang: str) -> bool:
        """Return False: the service reads all letters at once."""
        return False

    def recognize(
        self, lines: Sequence[Line], *, script: str | None = None, lang: str | None = None
    ) -> list[Recognition]:
        """Return the reading of each line picture; one request carries sixteen."""
        del script, lang  # the hints are the engine's own
        pictures = [picture_of(line) for line in lines]
        results = []
        for start in range(0, len(pictures), _BATCH):
            for annotation in self._annotate(pictures[start : start + _BATCH]):
                found = list(_lines(annotation))
                text = " ".join(line for line, *_ in found)
                confidences = [value for _, values, _ in found for value in values]
                results.append(Recognition(text, float(np.mean(confidences)) if confidences else 0.0))
        return results

    def read(self, image: NDArray[np.uint8]) -> list[TextBox]:
        """Return the lines of a picture with their text."""
        height, width = image.shape[:2]
        boxes = []
        for text, confidences, points in _lines(self._annotate([image])[0]):
            xs = np.clip([point.x / width for point in points], 0.0, 1.0)
            ys = np.clip([point.y / height for point in points], 0.0, 1.0)
            bbox = BBox(float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max()))
            if text.strip() and bbox.width > 0 and bbox.height > 0:
                boxes.append(TextBox(bbox, text, float(np.mean(confidences))))
        return boxes

    @functools.cached_property
    def _annotator(self) -> Any:
        if self._client is not None:
            return self._client
        vision = importlib.import_module("google.cloud.vision")
        missing = importlib.import_module("google.auth.exceptions").DefaultCredentialsError
        try:
            return vision.ImageAnnotatorClient()
        except missing as error:
            raise OcrError(
                "Google Vision has no credentials: set GOOGLE_APPLICATION_CREDENTIALS to a service account's file"
            ) from error

    def _annotate(self, images: Sequence[NDArray[np.uint8]]) -> list[Any]:
        """Return each image's full text annotation, from one request."""
        requests = [
            {
                "image": {"content": _png(image)},
                "features": [{"type_": "DOCUMENT_TEXT_DETECTION"}],
                "image_context": {"language_hints": self._hints},
            }
            for image in images
        ]
        try:
            answers = self._annotator.batch_annotate_images(requests=requests).responses
        except OcrError:
            raise
        except Exception as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise OcrError(f"Google Vision failed: {reason}") from error
        for answer in answers:
            if answer.error.message:
                raise OcrError(f"Google Vision refused an image: {answer.error.message}")
        return [answer.full_text_annotation for answer in answers]


def _png(image: NDArray[np.uint8]) -> bytes:
    import cv2

    done, encoded = cv2.imencode(".png", image if image.ndim == 2 else image[..., ::-1])
    if not done:
        raise OcrError(f"an image of shape {image.shape} could not be encoded for Google Vision")
    return encoded.tobytes()


def _lines(annotation: Any) -> Iterator[tuple[str, list[float], list[Any]]]:
    """Yield each line's text, its symbols' confidences, and the corners of its words (pixels)."""
    for page in annotation.pages:
        for block in page.blocks:
            for paragraph in block.paragraphs:
                text, confidences, points = "", [], []
                for word in paragraph.words:
                    points.extend(word.bounding_box.vertices)
                    ended = False
                    for symbol in word.symbols:
                        text += symbol.text
                        confidences.append(float(symbol.confidence))
                        pause = int(symbol.property.detected_break.type_)
                        text += " " if pause in _ENDS_WORD else ""
                        ended = ended or pause in _ENDS_LINE
                    if ended:
                        yield text.strip(), confidences, points
                        text, confidences, points = "", [], []
                if text.strip():
                    yield text.strip(), confidences, points
