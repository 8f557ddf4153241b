"""Create an OCR engine by name."""

from __future__ import annotations

from captionacc_dagster.captioning.ocr.base import OcrEngine

ENGINES = ("rapidocr", "google_vision")


def create_engine(name: str = "rapidocr", *, threads: int | None = None, lang: str | None = None) -> OcrEngine:
    """Return an engine. It loads its models at their first use, once per process.

    Args:
        name: ``"rapidocr"`` (offline) or ``"google_vision"`` (an extra, needs credentials).
        threads: cores for one inference (default: all, but at most four).
        lang: the language of the text; ``None`` for the model in the wheel, which reads Chinese
            (simplified and traditional), Japanese, and the Latin alphabet.

    Raises:
        ValueError: no engine has that name, or it does not read that language.
        OcrError: the engine's package is not installed.
    """
    if name == "rapidocr":
        from captionacc_dagster.captioning.ocr.rapidocr import RapidOcrEngine

        return RapidOcrEngine(threads=threads, lang=lang)
    if name == "google_vision":
        from captionacc_dagster.captioning.ocr.google_vision import GoogleVisionEngine

        return GoogleVisionEngine(lang=lang)
    raise ValueError(f"no OCR engine named {name!r}; there are {', '.join(ENGINES)}")
