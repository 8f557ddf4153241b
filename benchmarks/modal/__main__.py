"""Measure OCR on the CPU and on CUDA, decoding on the CPU and on NVDEC, and the compute functions themselves.

``python -m benchmarks.modal [VIDEO] [--seconds N] [--json FILE]``; without a video it makes one of 1080p. What the
machine has not is left out and said.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

WIDTH, HEIGHT, RATE = 1920, 1080, 25
LINES = ("The quick brown fox jumps over", "the lazy dog, and nobody minds.", "Meanwhile at the harbour", "it rains.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", nargs="?", type=Path, help="default: a generated clip of 1080p")
    parser.add_argument("--seconds", type=int, default=30, help="length of the generated clip (default: 30)")
    parser.add_argument("--json", type=Path, help="where the numbers are written")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="captionacc-bench-") as folder:
        video = arguments.video or make_clip(Path(folder) / "clip.mp4", arguments.seconds)
        results = {
            "machine": machine(),
            "ocr": measure_ocr(),
            "decode": measure_decoding(video),
            "functions": measure_functions(video),
        }
    show(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Describe the machine."""
    gpu = None
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        gpu = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip() or None
    import onnxruntime

    return {
        "gpu": gpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
    }


def make_clip(path: Path, seconds: int) -> Path:
    """Write an H.264 clip of 1080p with captions over a moving texture."""
    import av
    from PIL import Image, ImageDraw, ImageFont

    rng = np.random.default_rng(1)
    texture = Image.fromarray(rng.integers(30, 140, (68, 240, 3), np.uint8))
    scenery = np.asarray(texture.resize((WIDTH * 2, HEIGHT), Image.Resampling.BICUBIC))
    font = ImageFont.load_default(size=64)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "21"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(seconds * RATE):
            offset = abs((number * 4) % (2 * WIDTH) - WIDTH)
            image = Image.fromarray(scenery[:, offset : offset + WIDTH])
            if number % 75 < 62:
                text = LINES[number // 75 % len(LINES)]
                place = (WIDTH // 2, HEIGHT - 110)
                ImageDraw.Draw(image).text(place, text, font=font, anchor="mm", stroke_width=4, stroke_fill="black")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
        container.mux(stream.encode())
    return path


def timed(work: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of a call, after a warm-up call."""
    work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def measure_ocr(repeats: int = 5) -> dict[str, Any]:
    """Time the models on each provider: finding lines in a 1080p frame, and reading 32 lines."""
    import onnxruntime
    from PIL import Image, ImageDraw, ImageFont

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        onnxruntime.preload_dlls(directory="")
    from captionacc_dagster.captioning.ocr import rapidocr as rapidocr_engine

    frame = Image.new("RGB", (WIDTH, HEIGHT), (70, 90, 80))
    font = ImageFont.load_default(size=64)
    for number, text in enumerate(LINES):
        ImageDraw.Draw(frame).text((200, 200 + 150 * number), text, font=font)
    picture = np.asarray(frame)
    line = np.asarray(frame.crop((190, 190, 1400, 280)))
    engine = rapidocr_engine.RapidOcrEngine()
    available = onnxruntime.get_available_providers()
    found: dict[str, Any] = {
        "provider": "CUDA" if "CUDAExecutionProvider" in available else "CPU",
        "find_lines_ms": 1000 * timed(lambda: engine.detect(picture), repeats),
        "read_32_lines_ms": 1000 * timed(lambda: engine.recognize([line] * 32), repeats),
    }
    return found


def measure_decoding(video: Path) -> dict[str, Any]:
    """Measure frames per second when decoding a whole video, on the CPU and on NVDEC where it exists.

    With both, it also says whether the strip at the bottom of every picture is the same, bit for bit: the CPU, too,
    applies the loop filter to every frame here.
    """
    from av.error import FFmpegError

    from captionacc_dagster.captioning.geometry import BBox
    from captionacc_dagster.captioning.video.nvdec import NvdecUnavailable
    from captionacc_dagster.captioning.video.reader import VideoReader, probe

    facts = probe(video)
    strip = BBox(0.05, 0.8, 0.95, 1.0)

    def decode(on_gpu: bool) -> tuple[int, float, str]:
        began, digest, count = time.perf_counter(), hashlib.sha256(), 0
        with VideoReader(facts, threads=min(4, (os.cpu_count() or 2) // 2) or 1, on_gpu=on_gpu) as reader:
            for frame in reader.frames():
                digest.update(frame.luma(strip).tobytes())
                count += 1
        return count, time.perf_counter() - began, digest.hexdigest()

    count, seconds, pixels = decode(on_gpu=False)
    found: dict[str, Any] = {"frames": count, "cpu_frames_per_s": count / seconds, "nvdec_frames_per_s": None}
    try:
        count, seconds, same = decode(on_gpu=True)
        found |= {"nvdec_frames_per_s": count / seconds, "nvdec_frames": count, "nvdec_pixels_equal": same == pixels}
    except (NvdecUnavailable, FFmpegError) as error:
        found["nvdec_note"] = f"NVDEC cannot be used here: {error}"
    return found


def measure_functions(video: Path) -> dict[str, Any]:
    """Measure seconds per second of video of the two long compute functions, on a local store."""
    from captionacc_dagster.captioning.ocr.engines import create_engine
    from captionacc_dagster.compute.local import LocalCompute
    from captionacc_dagster.storage.keys import VideoKeys
    from captionacc_dagster.storage.local import LocalObjectStore

    with TemporaryDirectory(prefix="captionacc-bench-") as folder:
        store = LocalObjectStore(Path(folder))
        keys = VideoKeys("10000000-0000-4000-8000-000000000001", "20000000-0000-4000-8000-000000000002")
        store.upload_from_path(keys.video, video)
        compute = LocalCompute(store, lambda: create_engine("rapidocr"))
        began = time.perf_counter()
        extracted = compute.extract_frames_and_ocr(keys.video, keys.tenant_id, keys.video_id)
        middle = time.perf_counter()
        inferred = compute.crop_and_infer_caption_frame_extents(
            keys.video, keys.tenant_id, keys.video_id, extracted.crop_region, 1
        )
        ended = time.perf_counter()
    return {
        "video_seconds": extracted.duration,
        "captions": inferred.caption_frame_extents_count,
        "extract_s": middle - began,
        "extract_s_per_video_s": (middle - began) / extracted.duration,
        "crop_and_infer_s": ended - middle,
        "crop_and_infer_s_per_video_s": (ended - middle) / extracted.duration,
        "cpu_seconds": inferred.stage_seconds,
    }


def show(results: dict[str, Any]) -> None:
    """Print the numbers."""
    for name, values in results.items():
        print(name)
        for key, value in values.items():
            print(f"  {key}: {value:.4g}" if isinstance(value, float) else f"  {key}: {value}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
