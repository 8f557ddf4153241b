"""The packages of the container image on Modal: the lock file's versions of what a worker imports, for the GPU."""

from __future__ import annotations

import re
from pathlib import Path

from captionacc_dagster.captioning.ocr.languages import LANGUAGES

PYTHON_VERSION = "3.11"

# Everything a worker imports, and their dependencies; a test verifies that the list is complete.
WORKER_PACKAGES = (
    "annotated-types",
    "av",
    "boto3",
    "botocore",
    "certifi",
    "charset-normalizer",
    "colorlog",
    "flatbuffers",
    "idna",
    "jmespath",
    "numpy",
    "omegaconf",
    "opencv-python-headless",
    "packaging",
    "pillow",
    "protobuf",
    "pyclipper",
    "pydantic",
    "pydantic-core",
    "python-dateutil",
    "pyyaml",
    "rapidfuzz",
    "rapidocr",
    "requests",
    "s3transfer",
    "shapely",
    "six",
    "tesserocr",
    "tqdm",
    "typing-extensions",
    "typing-inspection",
    "urllib3",
)

# Replaces the lock file's onnxruntime: the newest CUDA build, which is released a little later, and its libraries.
GPU_PACKAGES = (
    "onnxruntime-gpu==1.31.1",
    "nvidia-cublas==13.10.0.20",
    "nvidia-cuda-nvrtc==13.5.37",
    "nvidia-cuda-runtime==13.5.37",
    "nvidia-cudnn-cu13==9.28.1.4",
    "nvidia-cufft==12.5.0.14",
    "nvidia-curand==10.4.5.25",
    "nvidia-nvjitlink==13.5.37",
)

# Tesseract's data (Debian's packages) of the languages that the recognizer in the wheel does not read, or confuses.
SYSTEM_PACKAGES = tuple(
    f"tesseract-ocr-{data}"
    for data in (
        "eng",
        *sorted(
            {each.tesseract for each in LANGUAGES.values() if each.tesseract and (each.confused or not each.in_wheel)}
        ),
    )
)

# Files of the package that do not go into the container.
NOT_SHIPPED = ["**/__pycache__", "**/*.pyc"]

# Makes the build fail, rather than the first call, if a library or a model is missing.
CHECK_COMMAND = (
    'python -c "import av, boto3, cv2, onnxruntime, pathlib, pydantic, rapidfuzz, rapidocr, tesserocr; '
    "models = sorted(pathlib.Path(rapidocr.__file__).parent.rglob('*.onnx')); "
    "assert models and all(onnxruntime.InferenceSession(str(m), providers=['CPUExecutionProvider']) for m in models); "
    "print(len(models), 'models are in the image')\""
)

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)\s*(?:;\s*(?P<marker>.+))?$")


class LockFileError(Exception):
    """The lock file is missing or does not pin what a worker needs."""


def lock_file() -> Path:
    """Return the path of the lock file: beside the package in a checkout, inside it once installed.

    Raises:
        LockFileError: there is no lock file.
    """
    package = Path(__file__).parents[1]
    for path in (package.parent / "requirements.lock", package / "requirements.lock"):
        if path.is_file():
            return path
    raise LockFileError(f"requirements.lock is neither in {package.parent} nor in {package}")


def image_requirements(lock: str) -> list[str]:
    """Return the pinned packages of the image: the lock file's versions, and ONNX Runtime for CUDA.

    Args:
        lock: the content of the lock file.

    Raises:
        LockFileError: it does not pin one of the packages exactly once for the image's Python.
    """
    from packaging.markers import Marker

    environment = {"python_version": PYTHON_VERSION, "python_full_version": f"{PYTHON_VERSION}.9"}
    linux = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}
    pins: dict[str, str] = {}
    for line in lock.splitlines():
        found = _PIN.match(line.strip())
        if found is None or (found["marker"] and not Marker(found["marker"]).evaluate({**environment, **linux})):
            continue
        name = re.sub(r"[-_.]+", "-", found["name"]).lower()
        if name in pins:
            raise LockFileError(f"the lock file pins {name} twice for Python {PYTHON_VERSION}")
        pins[name] = found["version"]
    missing = [name for name in WORKER_PACKAGES if name not in pins]
    if missing:
        raise LockFileError(f"the lock file does not pin {', '.join(missing)}")
    return [f"{name}=={pins[name]}" for name in WORKER_PACKAGES] + list(GPU_PACKAGES)
