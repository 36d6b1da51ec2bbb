"""Convolutions in the forms that NVIDIA's matrix units compute fastest; they give the same numbers.

- Matrix units read eight channels at a time. For 45 or 921 channels, cuDNN copies all of them to a padded layout at
  every convolution. Channels of zeros in the file change no result and make that unnecessary (`widened`).
- The bias, the shortcut and Relu after a convolution are computed in its kernel, while the sums are in registers
  (`fused`; the result is no longer ONNX, and only `engines.gpu.onnx_torch` reads it).
- A kernel of 1 x K x K over frames is computed as a kernel over pictures, on the same memory, because cuDNN's
  two-dimensional kernels are faster. A first convolution of stride 2 over one to four channels would use few of the
  matrix units: squares of 2 x 2 pixels become four times as many channels, and the kernel half as wide (`convolution`).

The gain of each is in docs/benchmarks, on the page of the H200. `engines.gpu.torch_cuda` uses this file; it needs
PyTorch and onnx.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor

FUSED = "FusedConvolution"  # inputs: x, weight, bias, shortcut; the last two may be missing. `relu`: Relu follows
LANES = 8  # numbers of half precision that matrix units read at a time, 16 bytes
_TILE = 64  # channels that the kernels compute at a time; a number of channels is widened to a multiple of it
_FEW = 4  # channels that count as those of a first convolution
_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {4: F.conv2d, 5: F.conv3d}  # by the dimensions of the weight


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of the float32 `model` with channels of zeros, and the same outputs.

    They are added where only convolutions, or Relu and then convolutions, read the channels.
    """
    made = _copy(model)
    graph = made.graph
    weights = _own_weights(graph)
    after = _Readers(graph)

    def plain(node: onnx.NodeProto) -> bool:
        return _is_plain(node) and all(name in weights for name in node.input[1:])

    for node in filter(plain, graph.node):
        readers = after.of(after.only(node, "Relu") or node)
        channels = weights[node.input[1]].dims[0]
        if channels % LANES and readers and all(map(plain, readers)):
            more = -channels % _TILE
            for name in node.input[1:]:
                _grow(weights[name], 0, more)
            for reader in readers:
                _grow(weights[reader.input[1]], 1, more)
    del graph.value_info[:]  # it holds shapes, some of which have changed
    return made


def fused(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` with each ordinary convolution as a node `FUSED`.

    The node includes the Add and Relu, or the Relu, that follow the convolution, where no other node reads the values
    between them.
    """
    made = _copy(model)
    graph = made.graph
    after = _Readers(graph)
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    at: dict[str, onnx.NodeProto] = {}  # fused nodes, by the output of the last node that each replaces
    gone: set[str] = set()
    for node in reversed(graph.node):  # where two convolutions are added, the last one computes the sum
        if not _is_plain(node) or ranks.get(node.input[1], 0) not in _CONVOLUTIONS:
            continue
        last, shortcut = node, ""
        add = after.only(node, "Add")
        if add is not None and add.output[0] not in gone and (relu := after.only(add, "Relu")) is not None:
            (shortcut,) = (name for name in add.input if name != node.output[0])
            gone |= {node.output[0], add.output[0]}
            last = relu
        elif (relu := after.only(node, "Relu")) is not None:
            gone.add(node.output[0])
            last = relu
        inputs = [*node.input, *[""] * (3 - len(node.input)), shortcut]
        whole = helper.make_node(FUSED, inputs, list(last.output), relu=int(last is not node))
        whole.attribute.extend(node.attribute)
        at[last.output[0]] = whole
    kept = [at.get(node.output[0], node) for node in graph.node if node.output[0] not in gone]
    del graph.node[:]
    graph.node.extend(kept)
    return made


@dataclass(frozen=True, slots=True)
class How:
    """Hold a convolution's stride, zero padding at both ends and dilation by spatial axis, and whether Relu follows."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    relu: bool


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, shortcut: Tensor | None, how: How) -> Tensor:
    """Return x (N, C, ...) convolved with weight (K, C, ...), plus bias (K,), plus shortcut (N, K, ...)."""
    if weight.ndim == 5 and weight.shape[2] == 1 and not how.padding[0]:
        rows = len(x)
        x, shortcut = _pictures(x[:, :, :: how.stride[0]]), None if shortcut is None else _pictures(shortcut)
        flat = How(how.stride[1:], how.padding[1:], how.dilation[1:], how.relu)
        made = convolution(x, weight[:, :, 0], bias, shortcut, flat)
        frames = len(made) // rows
        return made.permute(0, 2, 3, 1).reshape(rows, frames, *made.shape[2:], -1).permute(0, 4, 1, 2, 3)
    if weight.ndim == 4 and x.shape[1] <= _FEW and tuple(how.stride) == (2, 2) and tuple(how.dilation) == (1, 1):
        x, weight, how = _folded(x, weight, how)
    rest = (list(how.stride), list(how.padding), list(how.dilation))
    if x.is_cuda and how.relu:
        if shortcut is None:
            return torch.cudnn_convolution_relu(x, weight, bias, *rest, 1)
        return torch.cudnn_convolution_add_relu(x, weight, shortcut, 1.0, bias, *rest, 1)
    made = _CONVOLUTIONS[weight.ndim](x, weight, bias, *rest)
    if shortcut is not None:
        made = made + shortcut
    return made.relu() if how.relu else made


def _pictures(x: Tensor) -> Tensor:
    """Return frames (N, C, T, H, W) as pictures (N * T, C, H, W), without a copy if channels are last in memory."""
    return x.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)


def _folded(x: Tensor, weight: Tensor, how: How) -> tuple[Tensor, Tensor, How]:
    """Return a convolution of stride 2 as one of stride 1 over four times the channels, in multiples of eight."""
    sides, taps = [], []
    for length, size, zeros in zip(x.shape[2:], weight.shape[2:], how.padding, strict=True):
        first = zeros % 2  # a zero in front of the kernel, so that the squares begin at an even place
        kernel = size + first + (size + first) % 2
        whole = 2 * ((length + 2 * zeros - size) // 2) + kernel
        sides.append((zeros + first, whole - length - zeros - first))
        taps.append((first, kernel - size - first))
    more = x.shape[1] % 2
    return (
        _squares(F.pad(x.permute(0, 2, 3, 1), (0, more, *sides[1], *sides[0]))),
        _squares(F.pad(weight.permute(0, 2, 3, 1), (0, more, *taps[1], *taps[0]))),
        How((1, 1), (0, 0), (1, 1), how.relu),
    )


# A GPU copies a pixel as one number several times as fast as channel by channel.
_PIXELS = {4: torch.int32, 8: torch.int64, 16: torch.complex128}  # by bytes


def _squares(x: Tensor) -> Tensor:
    """Return x (N, H, W, C) as (N, 4 C, H / 2, W / 2) with channels last in memory."""
    kind, (rows, high, wide, channels) = x.dtype, x.shape
    x = x.contiguous().view(_PIXELS.get(channels * x.itemsize, kind))
    x = x.reshape(rows, high // 2, 2, wide // 2, 2, -1).transpose(2, 3).flatten(3)
    return x.view(kind).permute(0, 3, 1, 2)


class _Readers:
    """Find the nodes that read the output of another node."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._outputs = {output.name for output in graph.output}
        self._found: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self._found.setdefault(name, []).append(node)

    def of(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Return all readers of the node's output, or none if it is an output of the network."""
        return [] if node.output[0] in self._outputs else self._found.get(node.output[0], [])

    def only(self, node: onnx.NodeProto, kind: str) -> onnx.NodeProto | None:
        """Return the only reader of the node's output if there is one alone and it is of that kind, else None."""
        found = self.of(node)
        return found[0] if len(found) == 1 and found[0].op_type == kind else None


def _is_plain(node: onnx.NodeProto) -> bool:
    """Return whether the node is a convolution without groups."""
    groups = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "group"), 1)
    return bool(node.op_type == "Conv" and groups == 1)


def _own_weights(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Give each convolution weights that no other node reads, and return all constants by name.

    A file may hold equal weights once, under several names.
    """
    known = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in known:
            known[node.output[0]] = known[node.input[0]]
    for node in filter(_is_plain, graph.node):
        for place, name in enumerate(node.input):
            if place and name in known:
                node.input[place] = f"{node.output[0]} {place}"
                graph.initializer.add().CopyFrom(known[name])
                graph.initializer[-1].name = node.input[place]
    return {tensor.name: tensor for tensor in graph.initializer}


def _grow(tensor: onnx.TensorProto, axis: int, more: int) -> None:
    """Add so many zeros at the end of an axis."""
    values: NDArray[np.generic] = numpy_helper.to_array(tensor)
    sides = [(0, 0)] * values.ndim
    sides[axis] = (0, more)
    tensor.CopyFrom(numpy_helper.from_array(np.pad(values, sides), tensor.name))


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of the model."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made
