"""Models for ONNX Runtime: sessions that waste no CPU time, on the CPU or, where asked for and there, on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Field numbers of onnx.proto3: ModelProto.graph, of GraphProto, NodeProto, ValueInfoProto and TensorProto.
_GRAPH = 7
_NODE, _INITIALIZER, _OUTPUT = 1, 5, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP_TYPE = 1, 2, 4
_VALUE_NAME = 1
_DATA_TYPE, _RAW_DATA = 2, 9
_FLOAT = 1  # TensorProto.FLOAT
# A last layer that is told to turn its input round itself takes half as long again.
_IN_VAIN = ["MatmulTransposeFusion"]
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
    return onnxruntime.InferenceSession(
        without_subnormals(model), options, providers=providers, disabled_optimizers=_IN_VAIN
    )


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


def without_softmax(model: bytes) -> bytes:
    """Have a classifier give its scores instead of the probabilities that its last step makes of them.

    Of thousands of classes few are looked at: to make probabilities of the others took a twentieth of the
    recognizer's time.

    Raises:
        ValueError: the content is no ONNX model, or it does not end in a softmax.
    """
    outer = list(_fields(model, 0, len(model)))
    graphs = [field for field in outer if field.number == _GRAPH]
    if len(graphs) != 1:
        raise ValueError("this is no ONNX model")
    fields = list(_fields(model, graphs[0].start, graphs[0].end))
    outputs = [field for field in fields if field.number == _OUTPUT]
    given = [_text(model, output, _VALUE_NAME) for output in outputs]
    last = [
        field
        for field in fields
        if field.number == _NODE
        and _text(model, field, _NODE_OP_TYPE) == "Softmax"
        and [_text(model, field, _NODE_OUTPUT)] == given
    ]
    if not last:
        raise ValueError("this model does not end in a softmax")
    kept = b"".join(model[field.begin : field.end] for field in fields if field not in (*last, *outputs))
    scores = _text(model, last[0], _NODE_INPUT).encode()
    graph = kept + _written(_OUTPUT, _written(_VALUE_NAME, scores))
    rest = b"".join(model[field.begin : field.end] for field in outer if field is not graphs[0])
    return rest + _written(_GRAPH, graph)


def _weights(model: bytearray) -> Iterator[tuple[int, int]]:
    """Give where the float32 weights of a model lie in its file."""
    for graph in _fields(model, 0, len(model), _GRAPH):
        for tensor in _fields(model, graph.start, graph.end, _INITIALIZER):
            kinds = [_varint(model, kind.start)[0] for kind in _fields(model, tensor.start, tensor.end, _DATA_TYPE)]
            if kinds == [_FLOAT]:
                for raw in _fields(model, tensor.start, tensor.end, _RAW_DATA):
                    yield raw.start, raw.end


class _Field(NamedTuple):
    """A field of a message: its number, where it begins, and where its content starts and ends."""

    number: int
    begin: int
    start: int
    end: int


def _fields(content: bytes | bytearray, at: int, end: int, wanted: int | None = None) -> Iterator[_Field]:
    """Give the fields of a message, or those of one number (protocol buffers' wire format)."""
    while at < end:
        begin = at
        key, start = _varint(content, at)
        match key & 7:
            case 0:  # a number
                at = _varint(content, start)[1]
            case 1:  # eight bytes
                at = start + 8
            case 2:  # a length and as many bytes
                length, start = _varint(content, start)
                at = start + length
            case 5:  # four bytes
                at = start + 4
            case _:
                raise ValueError("this is no ONNX model")
        if at > end:
            raise ValueError("this is no ONNX model")
        if wanted in (None, key >> 3):
            yield _Field(key >> 3, begin, start, at)


def _text(content: bytes, message: _Field, wanted: int) -> str:
    """Give the first text of one number in a message, empty where it has none."""
    found = next(_fields(content, message.start, message.end, wanted), None)
    return content[found.start : found.end].decode() if found else ""


def _written(number: int, content: bytes) -> bytes:
    """Write a field of bytes."""
    return _as_varint(number << 3 | 2) + _as_varint(len(content)) + content


def _as_varint(value: int) -> bytes:
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _varint(content: bytes | bytearray, at: int) -> tuple[int, int]:
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
