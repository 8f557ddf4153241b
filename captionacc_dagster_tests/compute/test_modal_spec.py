"""GPUs in their order, what they cost, and how long work is taken to last before anything is spent."""

from __future__ import annotations

import pytest

from captionacc_dagster.compute.envelope import TimeSegment
from captionacc_dagster.compute.modal_spec import (
    FUNCTIONS,
    PRICE_PER_GPU_SECOND,
    dearest_gpu,
    estimated_minutes,
    gpu_of_device,
    price_per_second,
)

pytestmark = pytest.mark.unit


def test_the_cheaper_gpu_comes_first() -> None:
    assert {name: spec.gpus for name, spec in FUNCTIONS.items()} == {
        "extract_frames_and_ocr": ("T4", "L4"),
        "crop_and_infer_caption_frame_extents": ("L4", "A10"),
        "generate_caption_ocr": ("T4", "L4"),
    }
    for name, spec in FUNCTIONS.items():
        prices = [PRICE_PER_GPU_SECOND[gpu] for gpu in spec.gpus]
        assert prices == sorted(prices)
        assert dearest_gpu(name) == spec.gpus[-1]


@pytest.mark.parametrize(
    ("device", "gpu"),
    [
        ("NVIDIA A10G", "A10"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"),
        ("NVIDIA L40S", None),
        ("NVIDIA A100-SXM4-40GB", None),
        ("CPU", None),
    ],
)
def test_a_device_is_known_by_its_own_name(device: str, gpu: str | None) -> None:
    assert gpu_of_device(device) == gpu


def test_an_unknown_gpu_is_taken_for_the_dearest() -> None:
    name = "crop_and_infer_caption_frame_extents"
    assert price_per_second(name) == price_per_second(name, "B200") == price_per_second(name, "A10")
    assert price_per_second(name, "L4") == pytest.approx(0.000222 + 8 * 0.0000131 + 16 * 0.00000222)


def test_a_segment_is_estimated_by_its_share() -> None:
    name = "crop_and_infer_caption_frame_extents"
    whole = estimated_minutes(name, 3600)
    part = estimated_minutes(name, 3600, TimeSegment(index=0, count=12, start_s=0.0, end_s=300.0))
    assert whole == pytest.approx((15 + 0.25 * 3600) / 60, abs=0.01)
    assert part == pytest.approx((15 + 0.25 * 300) / 60, abs=0.01)
    assert estimated_minutes(name, 10**9) == FUNCTIONS[name].timeout_s / 60
