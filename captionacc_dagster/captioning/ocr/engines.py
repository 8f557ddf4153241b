"""The OCR engines there are, and how to create one."""

from __future__ import annotations

from captionacc_dagster.captioning.ocr.base import OcrEngine

ENGINES = ("rapidocr", "google_vision")


def create_engine(name: str = "rapidocr", *, threads: int | None = None, lang: str | None = None) -> OcrEngine:
    """Make an engine; models are loaded when they are first used, once per process.

    Args:
        name: ``"rapidocr"`` (offline) or ``"google_vision"`` (an extra, needs credentials).
        threads: cores for one inference (default: all, four at most).
        lang: what is written in the picture; ``None`` for the wheel's own model, which reads Chinese
            (simplified, traditional), Japanese and the Latin alphabet.

    Raises:
        ValueError: there is no engine of that name, or it has no such language.
        OcrError: the engine's package is not installed.
    """
    if name == "rapidocr":
        from captionacc_dagster.captioning.ocr.rapidocr import RapidOcrEngine

        return RapidOcrEngine(threads=threads, lang=lang)
    if name == "google_vision":
        from captionacc_dagster.captioning.ocr.google_vision import GoogleVisionEngine

        return GoogleVisionEngine(lang=lang)
    raise ValueError(f"no OCR engine named {name!r}; there are {', '.join(ENGINES)}")
