"""An ONNX file as a PyTorch module, run operation by operation: what the torch engine runs.

Every network comes as the one file that all engines read, with its batch normalisation folded and its types chosen
(`engines.gpu.half`), so that this file knows operations and no networks. Shapes are computed on the CPU and everything
else on the device, as recording a CUDA graph requires. Only `engines.gpu.torch_cuda` imports this file; it needs
PyTorch and onnx.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from engines.errors import EngineError
from engines.gpu.convolutions import FUSED, How, convolution
from models.onnx_storage import restored

_TYPES = {
    TensorProto.FLOAT: torch.float32, TensorProto.FLOAT16: torch.float16, TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.INT64: torch.int64, TensorProto.INT32: torch.int32, TensorProto.UINT8: torch.uint8,
    TensorProto.BOOL: torch.bool,
}  # fmt: skip
_CONVOLUTIONS = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}  # by the dimensions of the weight
_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
_MAX_POOLS = {3: F.max_pool1d, 4: F.max_pool2d, 5: F.max_pool3d}  # by the dimensions of the input
_AVERAGE_POOLS = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}

# Inputs that are read as numbers, by operation and place. They stay on the CPU, because reading a number from the
# device waits for all of its work.
_NUMBERS = {"Pad": (2,), "Resize": (1, 2)}

Facts = dict[str, Any]  # a node's attributes


class OnnxModule(nn.Module):
    """Run the network of an ONNX `model`; the arguments are its inputs in their order, and outputs are given by name.

    Raise `EngineError` for an operation that is not known here.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        graph = restored(model).graph
        self._outputs = [output.name for output in graph.output]
        self._given = [value.name for value in graph.input]
        self._nodes: list[tuple[Callable[..., Any], Facts, list[str], list[str]]] = []
        self._shapes: dict[str, Tensor] = {"": torch.empty(0)}  # integers, which stay on the CPU
        constants = {tensor.name: _tensor(tensor) for tensor in graph.initializer}
        kept = set(self._outputs)
        for node in graph.node:
            facts = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            inputs, outputs = list(node.input), list(node.output)
            if node.op_type == "GRU":
                operation: Callable[..., Any] = _gru([constants.get(name) for name in inputs[1:4]], facts)
                self.add_module(f"gru_{len(self._nodes)}", operation)  # type: ignore[arg-type]
                inputs = [inputs[0], inputs[5] if len(inputs) > 5 else ""]
            else:
                operation = _operation(node.op_type)
            known = all(name in constants for name in inputs if name) and not kept & set(outputs)
            if known and node.op_type != "GRU":
                results = operation(facts, *(constants[name] if name else None for name in inputs))
                constants.update(zip(outputs, results if isinstance(results, tuple) else (results,), strict=True))
                continue
            for place in _NUMBERS.get(node.op_type, ()):
                if place < len(inputs) and inputs[place] in constants:
                    self._shapes[number := f"{inputs[place]} as a number"] = constants[inputs[place]]
                    inputs[place] = number
            self._nodes.append((operation, facts, inputs, outputs))
            kept.update(inputs)
            if node.op_type == "Gather" and inputs[1] in constants and constants[inputs[1]].ndim:
                self.register_buffer(_buffer(inputs[1]), constants[inputs[1]])  # looks things up on the device
        for name in kept & constants.keys():
            value = constants[name]
            if not value.is_floating_point() or _buffer(name) in self._buffers:
                self._shapes.setdefault(name, value)
            else:
                layout = _LAYOUTS.get(value.ndim, torch.contiguous_format)
                self.register_buffer(_buffer(name), value.contiguous(memory_format=layout))

    def forward(self, *given: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name for the inputs in the file's order."""
        device = given[0].device
        values: dict[str, Any] = dict(zip(self._given, given, strict=True))
        for operation, facts, inputs, outputs in self._nodes:
            results = operation(facts, *(self._value(name, values) for name in inputs))
            if not isinstance(results, tuple):
                results = (results,)
            for name, result in zip(outputs, results, strict=False):
                values[name] = _on(device, result) if result.is_floating_point() else result
        return {name: values[name] for name in self._outputs}

    def _value(self, name: str, values: dict[str, Any]) -> Tensor | None:
        """Return the tensor of that name, computed or constant, or None for the empty name of a missing input."""
        if not name:
            return None
        if name in values:
            found: Tensor = values[name]
            return found
        own = _buffer(name)
        return getattr(self, own) if own in self._buffers else self._shapes[name]


def _on(device: torch.device, x: Tensor) -> Tensor:
    """Return `x` on `device`.

    A constant of a computed shape is made anew there, because nothing may be copied while a CUDA graph is recorded.
    """
    if x.device != device and x.ndim and not any(x.stride()):
        return torch.full(x.shape, x.flatten()[0].item(), dtype=x.dtype, device=device)
    return x.to(device)


def _buffer(name: str) -> str:
    """Return the name of the module's buffer for a constant of the file."""
    return "weight_" + name.replace(".", "_")


def _tensor(tensor: onnx.TensorProto) -> Tensor:
    """Return a constant of the file as a tensor."""
    if tensor.data_type == TensorProto.BFLOAT16:
        return torch.frombuffer(bytearray(tensor.raw_data), dtype=torch.bfloat16).reshape(tuple(tensor.dims))
    return torch.from_numpy(np.array(numpy_helper.to_array(tensor)))


def _operation(kind: str) -> Callable[..., Any]:
    """Return the function of an operation. Raise `EngineError` for one that is not known here."""
    if kind not in _OPERATIONS:
        raise EngineError(f"The operation {kind} is not known to the torch engine; choose openvino or tensorrt.")
    return _OPERATIONS[kind]


class _GRU(nn.Module):
    """Run PyTorch's GRU layer; ONNX has the gates in the order update, reset, new, PyTorch in reset, update, new."""

    def __init__(self, w: Tensor, r: Tensor, b: Tensor, hidden: int) -> None:
        super().__init__()
        directions = w.shape[0]
        self.layer = nn.GRU(w.shape[2], hidden, bidirectional=directions == 2, dtype=w.dtype)
        state = {}
        for index, suffix in zip(range(directions), ("", "_reverse"), strict=False):
            for name, value in (("weight_ih", w), ("weight_hh", r), ("bias_ih", b[:, : 3 * hidden])):
                state[f"{name}_l0{suffix}"] = _torch_order(value[index])
            state[f"bias_hh_l0{suffix}"] = _torch_order(b[index, 3 * hidden :])
        self.layer.load_state_dict(state)
        self.layer.requires_grad_(False)

    def forward(self, facts: Facts, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return outputs (steps, directions, batch, hidden) and the last state, as ONNX's GRU does."""
        outputs, last = self.layer(x, state)
        steps, batch, _ = outputs.shape
        return outputs.reshape(steps, batch, last.shape[0], -1).transpose(1, 2), last


def _torch_order(value: Tensor) -> Tensor:
    """Return the gates' weights in PyTorch's order."""
    update, reset, new = value.chunk(3)
    return torch.cat((reset, update, new))


def _gru(weights: Sequence[Tensor | None], facts: Facts) -> _GRU:
    """Return the layer of a GRU node. Raise `EngineError` for a form that PyTorch has no layer for."""
    w, r, b = weights
    if w is None or r is None or b is None or not facts.get("linear_before_reset"):
        raise EngineError("This form of the operation GRU is not known to the torch engine; choose openvino.")
    return _GRU(w, r, b, int(facts["hidden_size"]))


def _ints(values: Tensor) -> list[int]:
    """Return the elements of an integer tensor."""
    made: list[int] = values.reshape(-1).tolist()
    return made


def _padded(x: Tensor, pads: list[int], value: float) -> tuple[Tensor, list[int]]:
    """Return `x` and its padding by axis; where the two ends differ, `x` is padded with `value` and the rest is 0."""
    begin, end = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    if begin == end:
        return x, begin
    both = [side for pair in zip(reversed(begin), reversed(end), strict=True) for side in pair]
    return F.pad(x, both, value=value), [0] * len(begin)


def _conv(facts: Facts, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    spatial = weight.ndim - 2
    x, padding = _padded(x, facts.get("pads", [0] * 2 * spatial), 0.0)
    made: Tensor = _CONVOLUTIONS[weight.ndim](
        x, weight, bias, stride=facts.get("strides", 1), padding=padding, dilation=facts.get("dilations", 1),
        groups=facts.get("group", 1),
    )  # fmt: skip
    return made


def _fused_conv(
    facts: Facts, x: Tensor, weight: Tensor, bias: Tensor | None = None, shortcut: Tensor | None = None
) -> Tensor:
    ones = [1] * (weight.ndim - 2)
    x, padding = _padded(x, facts.get("pads", [0] * 2 * len(ones)), 0.0)
    how = How(facts.get("strides", ones), padding, facts.get("dilations", ones), bool(facts["relu"]))
    return convolution(x, weight, bias, shortcut, how)


def _pool(x: Tensor, facts: Facts, filler: float) -> tuple[Tensor, dict[str, Any]]:
    spatial = x.ndim - 2
    x, padding = _padded(x, facts.get("pads", [0] * 2 * spatial), filler)
    ceil = bool(facts.get("ceil_mode", 0))
    strides = facts.get("strides", [1] * spatial)
    return x, {"kernel_size": facts["kernel_shape"], "stride": strides, "padding": padding, "ceil_mode": ceil}


def _max_pool(facts: Facts, x: Tensor) -> Tensor:
    x, how = _pool(x, facts, -torch.inf)
    made: Tensor = _MAX_POOLS[x.ndim](x, **how)
    return made


def _average_pool(facts: Facts, x: Tensor) -> Tensor:
    x, how = _pool(x, facts, 0.0)
    made: Tensor = _AVERAGE_POOLS[x.ndim](x, **how, count_include_pad=bool(facts.get("count_include_pad", 0)))
    return made


def _pad(facts: Facts, x: Tensor, pads: Tensor, value: Tensor | None = None) -> Tensor:
    sides = _ints(pads)
    both = [side for axis in reversed(range(x.ndim)) for side in (sides[axis], sides[axis + x.ndim])]
    return F.pad(x, both, value=0.0 if value is None else float(value))


def _resize(
    facts: Facts, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None
) -> Tensor:
    if (facts["mode"], facts["coordinate_transformation_mode"]) != (b"linear", b"half_pixel"):
        raise EngineError("This form of the operation Resize is not known to the torch engine; choose openvino.")
    if sizes is not None:
        size = _ints(sizes)[2:]
    else:
        assert scales is not None
        size = [int(side * scale) for side, scale in zip(x.shape[2:], scales.tolist()[2:], strict=True)]
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _depth_to_space(facts: Facts, x: Tensor) -> Tensor:
    block = facts["blocksize"]
    if facts.get("mode", b"DCR") == b"CRD":
        return F.pixel_shuffle(x, block)
    batch, channels, height, width = x.shape
    x = x.reshape(batch, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(batch, channels // block**2, height * block, width * block)


def _gemm(facts: Facts, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.mT if facts.get("transA") else a
    b = b if facts.get("transB") else b.mT
    if facts.get("alpha", 1.0) == 1.0 and facts.get("beta", 1.0) == 1.0:
        return F.linear(a, b, c)
    product: Tensor = F.linear(a, b) * facts.get("alpha", 1.0)
    return product if c is None else product + c * float(facts.get("beta", 1.0))


def _reduce(reduce: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduced(facts: Facts, x: Tensor, axes: Tensor | None = None) -> Tensor:
        along = facts.get("axes", list(range(x.ndim))) if axes is None else _ints(axes)
        return reduce(x, dim=along, keepdim=bool(facts.get("keepdims", 1)))

    return reduced


def _slice(
    facts: Facts, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    along = list(range(starts.numel())) if axes is None else _ints(axes)
    by = [1] * len(along) if steps is None else _ints(steps)
    cut = [slice(None)] * x.ndim
    for axis, start, end, step in zip(along, _ints(starts), _ints(ends), by, strict=True):
        cut[axis] = slice(start, end, step)
    return x[tuple(cut)]


def _gather(facts: Facts, x: Tensor, indices: Tensor) -> Tensor:
    axis = facts.get("axis", 0) % x.ndim
    if not indices.ndim:
        return x.select(axis, int(indices))
    indices = indices.to(x.device) % x.shape[axis]
    found = x.index_select(axis, indices.reshape(-1))
    return found.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _reshape(facts: Facts, x: Tensor, shape: Tensor) -> Tensor:
    sizes = _ints(shape)
    if not facts.get("allowzero", 0):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


def _squeeze(facts: Facts, x: Tensor, axes: Tensor) -> Tensor:
    return x.squeeze(tuple(_ints(axes)))


def _unsqueeze(facts: Facts, x: Tensor, axes: Tensor) -> Tensor:
    places = _ints(axes)
    for axis in sorted(place % (x.ndim + len(places)) for place in places):
        x = x.unsqueeze(axis)
    return x


def _constant_of_shape(facts: Facts, shape: Tensor) -> Tensor:
    value = _tensor(facts["value"]) if "value" in facts else torch.zeros(1)
    return value.expand(_ints(shape))


def _batch_normalization(facts: Facts, x: Tensor, scale: Tensor, b: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return F.batch_norm(x, mean, var, scale, b, eps=facts.get("epsilon", 1e-5))


def _layer_normalization(facts: Facts, x: Tensor, scale: Tensor, b: Tensor | None = None) -> Tensor:
    return F.layer_norm(x, x.shape[facts.get("axis", -1) :], scale, b, facts.get("epsilon", 1e-5))


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "Add": lambda facts, a, b: a + b,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": lambda facts, x: x.to(_TYPES[facts["to"]]),
    "Clip": lambda facts, x, low=None, high=None: x.clamp(low, high),
    "Concat": lambda facts, *parts: torch.cat(parts, facts["axis"]),
    "Constant": lambda facts: _tensor(facts["value"]),
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "DepthToSpace": _depth_to_space,
    "Div": lambda facts, a, b: a / b if a.is_floating_point() else a // b,
    "Einsum": lambda facts, *parts: torch.einsum(facts["equation"].decode(), *parts),
    "Equal": lambda facts, a, b: a == b,
    "Erf": lambda facts, x: x.erf(),
    "Exp": lambda facts, x: x.exp(),
    "Expand": lambda facts, x, shape: x.expand(np.broadcast_shapes(tuple(x.shape), tuple(_ints(shape)))),
    FUSED: _fused_conv,
    "Flatten": lambda facts, x: x.reshape(prod(x.shape[: facts.get("axis", 1)]), -1),
    "Gather": _gather,
    "Gemm": _gemm,
    "Greater": lambda facts, a, b: a > b,
    "Identity": lambda facts, x: x,
    "LayerNormalization": _layer_normalization,
    "Less": lambda facts, a, b: a < b,
    "Log": lambda facts, x: x.log(),
    "MatMul": lambda facts, a, b: a @ b,
    "MaxPool": _max_pool,
    "Mod": lambda facts, a, b: a.fmod(b) if facts.get("fmod") else a % b,
    "Mul": lambda facts, a, b: a * b,
    "PRelu": lambda facts, x, slope: torch.where(x < 0, x * slope, x),
    "Pad": _pad,
    "Pow": lambda facts, a, b: a**b,
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": lambda facts, x: x.relu(),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": lambda facts, x: torch.tensor(x.shape),
    "Sigmoid": lambda facts, x: x.sigmoid(),
    "Slice": _slice,
    "Softmax": lambda facts, x: x.softmax(facts.get("axis", -1)),
    "Split": lambda facts, x, sizes: x.split(_ints(sizes), facts.get("axis", 0)),
    "Sqrt": lambda facts, x: x.sqrt(),
    "Squeeze": _squeeze,
    "Sub": lambda facts, a, b: a - b,
    "Tanh": lambda facts, x: x.tanh(),
    "Transpose": lambda facts, x: x.permute(facts["perm"]),
    "Unsqueeze": _unsqueeze,
    "Where": lambda facts, condition, a, b: torch.where(condition, a, b),
}
