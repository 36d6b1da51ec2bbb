"""A float32 ONNX network in half precision, for engines that take every type from the file.

Convolutions, matrix products and recurrent layers compute in fp16 or bf16, and so does what lies between them. The
normalisation of the inputs before the first of them, and operations whose sums or exponentials lose or overflow in
half precision, stay in float32. Inputs and outputs of the network keep their types. Needs the package onnx.
"""

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper, shape_inference, version_converter

from engines.errors import EngineError

TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
BF16_OPSET = 22  # the first in which convolutions and recurrent layers take bf16
# What is worth half precision: from the first of these on, a network computes in it.
_PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "GRU", "LSTM"}
_IN_FLOAT32 = {
    "BatchNormalization", "LayerNormalization", "InstanceNormalization", "ReduceMean", "ReduceSum", "Softmax",
    "LogSoftmax", "Exp", "Log", "Pow", "Sqrt", "Erf", "Div",
    "Einsum",  # has no bf16 form
}  # fmt: skip
_QUANTISED = {"QuantizeLinear", "DequantizeLinear"}
# Inputs beyond these are float32 by the operation's definition.
_HALVED_INPUTS = {"Resize": 1}
_LARGEST_FP16 = float(np.finfo(np.float16).max)


def halved(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """`model` computing in `precision`, "fp16" or "bf16"; the original is left as it is.

    Raises `EngineError` for a network that is quantised already, or that is not valid afterwards.
    """
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
    return int(next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")))


class _Halving:
    """One pass over the nodes, which come in the order of their computation."""

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
        """The whole network."""
        graph = self._model.graph
        wanted = {output.name for output in graph.output}
        for node in graph.node:
            if not self._fold(node):
                self._add(node, wanted)
        made = helper.make_graph(self._nodes, graph.name, graph.input, graph.output, list(self._weights.values()))
        return helper.make_model(made, opset_imports=self._model.opset_import, ir_version=self._model.ir_version)

    def _fold(self, node: onnx.NodeProto) -> bool:
        """Whether the node only names, copies or widens a constant, which is then taken for what it gives."""
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
        """The name under which the node finds its input in the type that it computes in."""
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
        value = self._constants[name]
        if value.dtype != np.float32 or not halve:
            self._weights.setdefault(name, numpy_helper.from_array(value, name))
            return name
        own = f"{name}_half"
        if own not in self._weights:
            self._weights[own] = _fp16(value, own) if self._half == TensorProto.FLOAT16 else _bf16(value, own)
        return own


def _fp16(value: NDArray[np.float32], name: str) -> onnx.TensorProto:
    """Numbers beyond the largest that fp16 has become that one."""
    return numpy_helper.from_array(np.clip(value, -_LARGEST_FP16, _LARGEST_FP16).astype(np.float16), name)


def _bf16(value: NDArray[np.float32], name: str) -> onnx.TensorProto:
    """Rounded to nearest, ties to even: the upper half of each float32."""
    bits = np.ascontiguousarray(value).view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16
    return helper.make_tensor(name, TensorProto.BFLOAT16, value.shape, rounded.astype(np.uint16).tobytes(), raw=True)
