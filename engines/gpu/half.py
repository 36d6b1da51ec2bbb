"""A float32 ONNX network in half precision, for engines that take every type from the file.

Convolutions, matrix products, recurrent layers and the operations between them compute in fp16 or bf16. The
normalisation of the inputs before the first of them stays in float32, and so do operations whose sums or exponentials
lose digits or overflow in half precision. Inputs and outputs of the network keep their types. Needs the package onnx.
"""

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper, shape_inference, version_converter

from engines.errors import EngineError
from models.onnx_storage import restored

TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
BF16_OPSET = 22  # the first in which convolutions and recurrent layers take bf16
# The operations that gain from half precision: a network computes in it from the first of these on.
_PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "GRU", "LSTM"}
_IN_FLOAT32 = {
    "BatchNormalization", "LayerNormalization", "InstanceNormalization", "ReduceMean", "ReduceSum", "Softmax",
    "LogSoftmax", "Exp", "Log", "Pow", "Sqrt", "Erf", "Div",
    "Einsum",  # has no bf16 form
}  # fmt: skip
_QUANTISED = {"QuantizeLinear", "DequantizeLinear"}
# The number of inputs in half precision; the others of the operation are float32 by its definition.
_HALVED_INPUTS = {"Resize": 1}
_LARGEST_FP16 = float(np.finfo(np.float16).max)


def halved(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """Return a copy of `model` that computes in `precision`, "fp16" or "bf16".

    Weights that the file only stores in bytes or float16 are restored first. Raise `EngineError` for a network that is
    quantised already, or that is not valid in that precision.
    """
    model = restored(model)
    if any(node.op_type in _QUANTISED for node in model.graph.node):
        raise EngineError(f"{model.graph.name} is quantised already and has no {precision} form.")
    try:
        if precision == "bf16" and _opset(model) < BF16_OPSET:
            model = version_converter.convert_version(model, BF16_OPSET)
        made = _Halving(shape_inference.infer_shapes(model), TYPES[precision]).run()
        checker.check_model(made, full_check=True)
    except (checker.ValidationError, shape_inference.InferenceError, version_converter.ConvertError) as error:
        reason = str(error).strip().splitlines()[0]
        raise EngineError(f"{model.graph.name} cannot be written in {precision}: {reason}.") from error
    return made


def _opset(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's operators that the model uses."""
    return int(next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")))


class _Halving:
    """Convert a network in one pass over its nodes, which are in the order of their computation."""

    def __init__(self, model: onnx.ModelProto, half: int) -> None:
        self._model, self._half = model, half
        graph = model.graph
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        known = [*graph.input, *graph.value_info, *graph.output]
        self._float = {v.name for v in known if v.type.tensor_type.elem_type == TensorProto.FLOAT}
        self._halves: set[str] = set()  # tensors that are in half precision under their old names
        self._cast: dict[tuple[str, int], str] = {}  # the same tensors in another type, by name and type
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}

    def run(self) -> onnx.ModelProto:
        """Return the converted network."""
        graph = self._model.graph
        wanted = {output.name for output in graph.output}
        for node in graph.node:
            if not self._fold(node):
                self._add(node, wanted)
        made = helper.make_graph(self._nodes, graph.name, graph.input, graph.output, list(self._weights.values()))
        return helper.make_model(made, opset_imports=self._model.opset_import, ir_version=self._model.ir_version)

    def _fold(self, node: onnx.NodeProto) -> bool:
        """Return whether the node only names, copies or widens a constant; its output is then noted as a constant."""
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            self._constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Identity" and node.input[0] in self._constants:
            self._constants[node.output[0]] = self._constants[node.input[0]]
        elif node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT and node.input[0] in self._constants:
            self._constants[node.output[0]] = self._constants[node.input[0]].astype(np.float32)
        else:
            return False
        return True

    def _add(self, node: onnx.NodeProto, wanted: Iterable[str]) -> None:
        """Add a copy of the node with casts of its inputs, and of its outputs that are among the network's `wanted`."""
        halve = node.op_type in _PRODUCTS or any(name in self._halves for name in node.input)
        if node.op_type in _IN_FLOAT32 or node.op_type == "Cast":
            halve = False
        count = _HALVED_INPUTS.get(node.op_type, len(node.input))
        inputs = [self._input(name, halve and index < count) for index, name in enumerate(node.input)]
        outputs = list(node.output)
        if halve:
            for index, name in enumerate(node.output):
                if name not in self._float:
                    continue  # a shape, an index, a truth value
                if name in wanted:
                    outputs[index] = f"{name}_half"
                    self._nodes.append(helper.make_node("Cast", [outputs[index]], [name], to=TensorProto.FLOAT))
                    self._cast[name, self._half] = outputs[index]
                else:
                    self._halves.add(name)
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.input[:], copy.output[:]
        copy.input.extend(inputs)
        copy.output.extend(outputs)
        # Before the casts of its own outputs, which were just added.
        added = sum(1 for name, old in zip(outputs, node.output, strict=True) if name != old)
        self._nodes.insert(len(self._nodes) - added, copy)

    def _input(self, name: str, halve: bool) -> str:
        """Return the name of the tensor `name` in the type that the node computes in, adding a cast if need be."""
        if name in self._constants:
            return self._weight(name, halve)
        if name not in self._float or halve == (name in self._halves):
            return name
        to = self._half if halve else TensorProto.FLOAT
        if (name, to) not in self._cast:
            self._cast[name, to] = f"{name}_{'half' if halve else 'float'}"
            self._nodes.append(helper.make_node("Cast", [name], [self._cast[name, to]], to=to))
        return self._cast[name, to]

    def _weight(self, name: str, halve: bool) -> str:
        """Return the name of a constant in the type that the node computes in, adding it to the weights if need be."""
        value = self._constants[name]
        if value.dtype != np.float32 or not halve:
            self._weights.setdefault(name, numpy_helper.from_array(value, name))
            return name
        own = f"{name}_half"
        if own not in self._weights:
            self._weights[own] = _fp16(value, own) if self._half == TensorProto.FLOAT16 else _bf16(value, own)
        return own


def _fp16(value: NDArray[np.float32], name: str) -> onnx.TensorProto:
    """Return the tensor in fp16; numbers beyond fp16's largest become that one."""
    return numpy_helper.from_array(np.clip(value, -_LARGEST_FP16, _LARGEST_FP16).astype(np.float16), name)


def _bf16(value: NDArray[np.float32], name: str) -> onnx.TensorProto:
    """Return the tensor in bf16, the upper half of each float32, rounded to nearest with ties to even."""
    bits = np.ascontiguousarray(value).view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16
    return helper.make_tensor(name, TensorProto.BFLOAT16, value.shape, rounded.astype(np.uint16).tobytes(), raw=True)
