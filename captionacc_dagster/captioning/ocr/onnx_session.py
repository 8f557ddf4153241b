"""Open ONNX models in ONNX Runtime such that they waste no CPU time."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# The part of onnx.proto3 that is read here, by field number; protobuf keeps what it does not know as it is. Its library
# is among the package's dependencies anyway. The onnx package would add 24 MB for two edits of a few lines.
_SCHEMA = {
    "Model": {7: ("graph", "Graph", False)},
    "Graph": {1: ("node", "Node", True), 5: ("initializer", "Tensor", True), 12: ("output", "Value", True)},
    "Node": {1: ("input", str, True), 2: ("output", str, True), 4: ("op_type", str, False)},
    "Value": {1: ("name", str, False)},
    "Tensor": {2: ("data_type", int, False), 9: ("raw_data", bytes, False)},
}
_FLOAT32 = 1  # TensorProto.DataType.FLOAT
# Fuses the transposition of the recognizer's last matrix product into the product, which then takes half again as long.
_DISABLED_OPTIMIZERS = ["MatmulTransposeFusion"]
_SMALLEST_NORMAL = np.finfo(np.float32).tiny


def open_session(model: bytes, threads: int, *, gpu: bool = False) -> InferenceSession:
    """Return a session for an ONNX model.

    Args:
        model: content of the model's file.
        threads: CPU threads for one inference.
        gpu: use CUDA where ONNX Runtime has it.

    Raises:
        ValueError: the content is not an ONNX model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Threads that spin while they wait would cost more CPU time than the work itself.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    on_gpu = gpu and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    providers = (["CUDAExecutionProvider"] if on_gpu else []) + ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(
        without_subnormals(model), options, providers=providers, disabled_optimizers=_DISABLED_OPTIMIZERS
    )


def without_subnormals(model: bytes) -> bytes:
    """Return an ONNX model whose weights too small for a normal float32 are zero; no result changes visibly.

    A multiplication by such a number takes some processors a hundred times as long: those that training left in
    PP-OCRv6's detector made up three quarters of its time on an Intel Xeon. ONNX Runtime's own
    ``session.set_denormal_as_zero`` applies only to the thread that creates the first session of a process, and there
    to all of its arithmetic.

    Raises:
        ValueError: the content is not an ONNX model.
    """
    parsed = _parse(model)
    for tensor in parsed.graph.initializer:
        if tensor.data_type != _FLOAT32:
            continue
        weights = np.frombuffer(tensor.raw_data, "<f4")
        subnormal = (np.abs(weights) < _SMALLEST_NORMAL) & (weights != 0)
        if subnormal.any():
            tensor.raw_data = np.where(subnormal, np.float32(0), weights).tobytes()
    return parsed.SerializeToString()


def without_softmax(model: bytes) -> bytes:
    """Return a classifier that outputs the scores from which its last step, a softmax, computes probabilities.

    Few of a recognizer's thousands of classes are ever used: computing the probabilities of all of them took a
    twentieth of its time.

    Raises:
        ValueError: the content is not an ONNX model, or the model does not end in a softmax.
    """
    parsed = _parse(model)
    graph = parsed.graph
    outputs = [value.name for value in graph.output]
    last = next((node for node in graph.node if node.op_type == "Softmax" and list(node.output) == outputs), None)
    if last is None:
        raise ValueError("this model does not end in a softmax")
    scores = last.input[0]
    graph.node.remove(last)
    # Without the type, too: ONNX Runtime infers it.
    del graph.output[:]
    graph.output.add(name=scores)
    return parsed.SerializeToString()


def _parse(model: bytes) -> Any:
    """Return the message of an ONNX model, with the fields of `_SCHEMA`."""
    from google.protobuf.message import DecodeError

    parsed = _model_class()()
    try:
        parsed.ParseFromString(model)
    except DecodeError:
        raise ValueError("this is not an ONNX model") from None
    if not parsed.HasField("graph"):
        raise ValueError("this is not an ONNX model")
    return parsed


@cache
def _model_class() -> Any:
    """Return protobuf's class of ONNX models, made from `_SCHEMA`."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field_type = descriptor_pb2.FieldDescriptorProto
    scalars = {str: field_type.TYPE_STRING, int: field_type.TYPE_INT32, bytes: field_type.TYPE_BYTES}
    file = descriptor_pb2.FileDescriptorProto(name="onnx_part.proto", package="onnx_part", syntax="proto2")
    for message_name, fields in _SCHEMA.items():
        message = file.message_type.add(name=message_name)
        for number, (name, kind, repeated) in fields.items():
            label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            field = message.field.add(name=name, number=number, label=label)
            if isinstance(kind, str):
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".onnx_part.{kind}"
            else:
                field.type = scalars[kind]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("onnx_part.Model"))
