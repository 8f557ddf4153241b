"""Models for ONNX Runtime: sessions that waste no CPU time, on the CPU or, where asked for and there, on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Field numbers of onnx.proto3: ModelProto.graph, GraphProto.initializer, TensorProto.data_type and .raw_data.
_GRAPH, _INITIALIZER, _DATA_TYPE, _RAW_DATA = 7, 5, 2, 9
_FLOAT = 1  # TensorProto.FLOAT
_LEAST = np.finfo(np.float32).tiny


def open_session(model: bytes, threads: int, *, gpu: bool = False) -> InferenceSession:
    """Make a session of an ONNX model.

    Args:
        model: the file's content.
        threads: for one inference.
        gpu: take CUDA where ONNX Runtime has it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Waiting threads that spin would cost more CPU time than the work itself.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    on_gpu = gpu and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    providers = (["CUDAExecutionProvider"] if on_gpu else []) + ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(without_subnormals(model), options, providers=providers)


def without_subnormals(model: bytes) -> bytes:
    """Set weights too small for a normal float32 to zero, which changes no result that could be seen.

    Each multiplication by such a number takes some processors a hundred times as long: the weights that training left
    in PP-OCRv6's detector made up three quarters of its time on an Intel Xeon. ONNX Runtime's own
    ``session.set_denormal_as_zero`` holds only for the thread that makes the first session of a process, and there
    for all of its arithmetic.

    Raises:
        ValueError: the content is no ONNX model.
    """
    cleaned = bytearray(model)
    for start, end in _weights(cleaned):
        weights = np.frombuffer(memoryview(cleaned)[start:end], "<f4")
        weights[np.abs(weights) < _LEAST] = 0.0
    return bytes(cleaned)


def _weights(model: bytearray) -> Iterator[tuple[int, int]]:
    """Give where the float32 weights of a model lie in its file."""
    for graph in _fields(model, 0, len(model), _GRAPH):
        for tensor in _fields(model, *graph, _INITIALIZER):
            kinds = [_varint(model, start)[0] for start, _ in _fields(model, *tensor, _DATA_TYPE)]
            if kinds == [_FLOAT]:
                yield from _fields(model, *tensor, _RAW_DATA)


def _fields(content: bytearray, at: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Give where the values of one field of a message lie (protocol buffers' wire format)."""
    while at < end:
        key, at = _varint(content, at)
        match key & 7:
            case 0:  # a number
                start, at = at, _varint(content, at)[1]
            case 1:  # eight bytes
                start, at = at, at + 8
            case 2:  # a length and as many bytes
                length, start = _varint(content, at)
                at = start + length
            case 5:  # four bytes
                start, at = at, at + 4
            case _:
                raise ValueError("this is no ONNX model")
        if at > end:
            raise ValueError("this is no ONNX model")
        if key >> 3 == wanted:
            yield start, at


def _varint(content: bytearray, at: int) -> tuple[int, int]:
    """Read a number in groups of seven bits, the lowest first; give it and where it ends."""
    value = shift = 0
    while True:
        if at >= len(content):
            raise ValueError("this is no ONNX model")
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
