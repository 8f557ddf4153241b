"""Models are opened without the weights and the last step that cost time and change nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from captionacc_dagster.captioning.ocr.onnx_session import open_session, without_softmax, without_subnormals
from captionacc_dagster.captioning.ocr.rapidocr import _DETECTOR, _RECOGNIZER, _model_folder

pytestmark = pytest.mark.unit

FLOAT, INT32 = 1, 6  # TensorProto.DataType


def message(number: int, value: bytes | int) -> bytes:
    """Write a field of a protocol buffer: bytes with their length, or a small number."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    length = len(value)
    groups = []
    while length > 0x7F:
        groups.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([number << 3 | 2, *groups, length]) + value


def model_with(weights: NDArray[np.generic], data_type: int) -> bytes:
    """Write an ONNX model with nothing but one tensor, twice."""
    tensor = message(1, 3) + message(2, data_type) + message(8, b"weights") + message(9, weights.tobytes())
    graph = message(2, b"graph") + message(5, tensor) + message(5, tensor)
    return message(1, 8) + message(7, graph) + message(8, b"\x0a\x00")


def test_weights_too_small_for_a_normal_number_become_zero():
    weights = np.array([1.5, 1e-39, -3e-42, -2.0, 0.0, 1.2e-38, *[0.25] * 60], np.float32)
    wanted = np.where(np.abs(weights) < np.finfo(np.float32).tiny, 0, weights).astype(np.float32)
    assert (wanted == 0).sum() == 3
    cleaned = without_subnormals(model_with(weights, FLOAT))
    assert cleaned.count(wanted.tobytes()) == 2
    assert cleaned == without_subnormals(model_with(wanted, FLOAT))


def test_numbers_that_are_no_floats_stay():
    numbers = np.arange(12, dtype=np.int32)  # read as floats, all of them are subnormal
    assert without_subnormals(model_with(numbers, INT32)).count(numbers.tobytes()) == 2


@pytest.mark.parametrize("content", [b"\x3a\x7f\x00", b"\x3f\x00", b"\x08", b""])
def test_what_is_no_model_is_refused(content: bytes):
    for prepare in (without_subnormals, without_softmax):
        with pytest.raises(ValueError, match="not an ONNX model"):
            prepare(content)


def test_the_detector_finds_the_same_without_its_subnormal_weights():
    import onnxruntime

    content = (Path(_model_folder()) / _DETECTOR).read_bytes()
    assert without_subnormals(content) != content
    picture = np.random.default_rng(3).uniform(-1, 1, (1, 3, 64, 96)).astype(np.float32)
    as_it_is = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (wanted,) = as_it_is.run(None, {"x": picture})
    (found,) = open_session(content, 1).run(None, {"x": picture})
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), atol=1e-6)


def test_the_recognizer_gives_the_scores_that_its_probabilities_are_made_of():
    content = (Path(_model_folder()) / _RECOGNIZER).read_bytes()
    line = np.random.default_rng(3).normal(size=(1, 3, 48, 160)).astype(np.float32)
    (wanted,) = open_session(content, 1).run(None, {"x": line})
    (scores,) = open_session(without_softmax(content), 1).run(None, {"x": line})
    wanted, scores = np.asarray(wanted, np.float64), np.asarray(scores, np.float64)
    assert scores.shape == wanted.shape
    assert scores.min() < 0
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(raised / raised.sum(axis=-1, keepdims=True), wanted, atol=1e-5)


def test_a_model_that_ends_otherwise_is_refused():
    content = (Path(_model_folder()) / _DETECTOR).read_bytes()
    with pytest.raises(ValueError, match="does not end in a softmax"):
        without_softmax(content)
