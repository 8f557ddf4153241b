"""The app on Modal: ``modal deploy captionacc_dagster/compute/modal_app.py``, or ``captionacc modal deploy``.

Three functions, each a thin wrapper of ``compute.worker`` that takes and returns the messages of ``compute.envelope``.
They never retry by themselves; Dagster controls all retries.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import modal  # noqa: TID253 - only Modal and `captionacc modal` import this module

from captionacc_dagster.compute.code_version import code_version
from captionacc_dagster.compute.envelope import EngineChoice, FunctionName
from captionacc_dagster.compute.modal_image import (
    CHECK_COMMAND,
    NOT_SHIPPED,
    PYTHON_VERSION,
    SYSTEM_PACKAGES,
    image_requirements,
    lock_file,
)
from captionacc_dagster.compute.modal_spec import APP_NAME, FUNCTIONS, STORAGE_SECRET, STORAGE_SECRET_KEYS, VERSION_TAG

if TYPE_CHECKING:
    from captionacc_dagster.captioning.ocr.base import OcrEngine
    from captionacc_dagster.storage.base import ObjectStore


def _image() -> modal.Image:
    image = modal.Image.debian_slim(python_version=PYTHON_VERSION)
    if modal.is_local():  # in the container, the image exists and the lock file does not
        requirements = image_requirements(lock_file().read_text(encoding="utf-8"))
        image = image.apt_install(*SYSTEM_PACKAGES)
        image = image.uv_pip_install(requirements, extra_options="--no-deps").run_commands(CHECK_COMMAND)
        # Makes the driver's NVDEC libraries available in the container.
        image = image.env({"NVIDIA_DRIVER_CAPABILITIES": "compute,utility,video"})
    # By default only *.py files come into the container, without the models of captioning/models.
    return image.add_local_python_source("captionacc_dagster", ignore=NOT_SHIPPED)


def _deployed(name: FunctionName) -> dict[str, Any]:
    spec = FUNCTIONS[name]
    return {
        "name": name,
        "gpu": list(spec.gpus),
        "cpu": spec.cpu,
        "memory": spec.memory_mib,
        "timeout": spec.timeout_s,
        "startup_timeout": spec.startup_timeout_s,
        "max_containers": spec.max_containers,
        "scaledown_window": spec.scaledown_window_s,
    }


app = modal.App(
    APP_NAME,
    image=_image(),
    tags={VERSION_TAG: code_version()},
    secrets=[modal.Secret.from_name(STORAGE_SECRET, required_keys=list(STORAGE_SECRET_KEYS))],
)


@app.function(**_deployed("extract_frames_and_ocr"))
def extract_frames_and_ocr(message: dict[str, Any]) -> dict[str, Any]:
    """See :func:`captionacc_dagster.compute.functions.extract_frames_and_ocr`."""
    return _answer(message)


@app.function(**_deployed("crop_and_infer_caption_frame_extents"))
def crop_and_infer_caption_frame_extents(message: dict[str, Any]) -> dict[str, Any]:
    """See :func:`captionacc_dagster.compute.functions.crop_and_infer_caption_frame_extents`."""
    return _answer(message)


@app.function(**_deployed("generate_caption_ocr"))
def generate_caption_ocr(message: dict[str, Any]) -> dict[str, Any]:
    """See :func:`captionacc_dagster.compute.functions.generate_caption_ocr`."""
    return _answer(message)


def _answer(message: dict[str, Any]) -> dict[str, Any]:
    from captionacc_dagster.compute.worker import answer

    call_id = modal.current_function_call_id() or ""
    return answer(message, store=_store(), create_engine=_engine, device=_device(), call_id=call_id)


@lru_cache(maxsize=1)
def _store() -> ObjectStore:
    """Return the bucket named in the secret, opened once per container."""
    from captionacc_dagster.storage.s3 import S3ObjectStore
    from captionacc_dagster.storage.s3_client import create_s3_client

    region = os.environ["WASABI_REGION"]

    def client() -> Any:
        return create_s3_client(
            endpoint_url=os.environ.get("WASABI_ENDPOINT_URL") or f"https://s3.{region}.wasabisys.com",
            region=region,
            access_key=os.environ["WASABI_ACCESS_KEY"],
            secret_key=os.environ["WASABI_SECRET_KEY"],
        )

    return S3ObjectStore(os.environ["WASABI_BUCKET"], client)


def _engine(choice: EngineChoice) -> OcrEngine:
    return _loaded_engine(choice.name, choice.lang)


@lru_cache(maxsize=4)
def _loaded_engine(name: str, lang: str | None) -> OcrEngine:
    """Return an OCR engine, loaded once per container."""
    import onnxruntime

    from captionacc_dagster.captioning.ocr.engines import create_engine

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        onnxruntime.preload_dlls(directory="")  # the CUDA libraries are Python packages in the image
    return create_engine(name, lang=lang)


@lru_cache(maxsize=1)
def _device() -> str:
    """Return the name of the GPU, or ``CPU``."""
    import subprocess

    try:
        named = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "CPU"
    return named.stdout.strip().splitlines()[0] if named.stdout.strip() else "CPU"
