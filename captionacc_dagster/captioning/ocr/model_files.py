"""PP-OCRv5 recognizers that are fetched when a language is added: RapidOCR's list of models, each with its checksum."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from captionacc_dagster.captioning.ocr.base import OcrError

_READ_BYTES = 1 << 16
_TIMEOUT_S = 60.0  # of each read from the network

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model to fetch.

    Attributes:
        name: file name under the folder of models.
        url: where it comes from.
        sha256: of its content, hex.
    """

    name: str
    url: str
    sha256: str


def model_name(pp_ocr: str) -> str:
    """Return the file name of RapidOCR's PP-OCRv5 recognizer ``pp_ocr``, such as ``korean``."""
    return f"{pp_ocr}_PP-OCRv5_rec_mobile.onnx"


def listed_model(pp_ocr: str) -> ModelFile:
    """Return where RapidOCR's PP-OCRv5 recognizer ``pp_ocr`` comes from.

    Raises:
        OcrError: RapidOCR is not installed, or its list lacks the model.
    """
    import yaml

    spec = importlib.util.find_spec("rapidocr")
    if spec is None or spec.origin is None:
        raise OcrError("the OCR engine rapidocr is not installed: pip install rapidocr")
    name = model_name(pp_ocr)
    found = _entry(yaml.safe_load((Path(spec.origin).parent / "default_models.yaml").read_text()), Path(name).stem)
    if found is None:
        raise OcrError(f"rapidocr lists no model {name}")
    return ModelFile(name, str(found["model_dir"]), str(found["SHA256"]).lower())


def _entry(listed: object, key: str) -> dict[str, object] | None:
    """Return the entry of a model for ONNX Runtime in RapidOCR's nested list."""
    if not isinstance(listed, dict):
        return None
    found = listed.get(key)
    if isinstance(found, dict) and str(found.get("model_dir", "")).endswith(".onnx"):
        return found
    return next((entry for value in listed.values() if (entry := _entry(value, key)) is not None), None)


def fetch_model(model: ModelFile, folder: Path, progress: Progress | None = None) -> Path:
    """Return a model's path under ``folder``; fetch it if it is not there yet.

    The file appears under its name only when all of it is there and its checksum is right.

    Args:
        model: what to fetch.
        folder: where models are kept; made if missing.
        progress: called with the bytes that have come and the bytes in all (0: not known).

    Raises:
        OcrError: it cannot be fetched, is not the file that was listed, or cannot be written.
    """
    path = folder / model.name
    if path.is_file():
        return path
    unfinished = folder / f"{model.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest = _download(model.url, unfinished, progress)
        if digest != model.sha256:
            raise OcrError(f"{model.url}: the file has another checksum than listed; nothing was kept, try again later")
        unfinished.replace(path)
    except (urllib.error.URLError, TimeoutError, ConnectionError, EOFError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise OcrError(f"{model.url}: cannot be fetched ({reason})") from error
    except OSError as error:
        raise OcrError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return path


def _download(url: str, path: Path, progress: Progress | None) -> str:
    """Write what an address returns to a file; return its SHA-256.

    Raises:
        EOFError: the connection ended early.
    """
    digest, come = hashlib.sha256(), 0
    request = urllib.request.Request(url, headers={"User-Agent": "captionacc"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer, path.open("wb") as target:  # noqa: S310
        size = int(answer.headers.get("Content-Length") or 0)
        while chunk := answer.read(_READ_BYTES):
            target.write(chunk)
            digest.update(chunk)
            come += len(chunk)
            if progress is not None:
                progress(come, size)
    if come < size:
        raise EOFError(f"the connection ended after {come} of {size} bytes")
    return digest.hexdigest()
