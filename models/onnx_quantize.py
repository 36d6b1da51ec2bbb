"""Quantise an ONNX network to 8-bit integers after training, with settings that keep strong expressions.

The result has QuantizeLinear and DequantizeLinear nodes, which every runtime with 8-bit arithmetic reads. Needs NNCF.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from models.onnx_storage import whole


def quantised(
    model: onnx.ModelProto,
    samples: Mapping[str, NDArray[Any]],
    keep: Sequence[str] = (),
    *,
    around_zero: bool = False,
    thorough: bool = False,
) -> onnx.ModelProto:
    """Return `model` in 8-bit integers, with ranges taken from `samples`: real inputs by name, batch first.

    The metadata stays; `model` itself is changed and must not be used any more. The nodes in `keep` stay as they are,
    by the names that `named` gives.

    `around_zero`: signed bytes without zero points, which are all that TensorRT takes; otherwise activations get zero
    points where that uses more of a byte. `thorough`: biases are corrected layer after layer, which takes minutes.
    Raise whatever NNCF raises for a graph that it cannot read.
    """
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    model = named(whole(model))
    count = len(next(iter(samples.values())))
    rows = [{name: values[i : i + 1] for name, values in samples.items()} for i in range(count)]
    small: onnx.ModelProto = nncf.quantize(
        model,
        nncf.Dataset(rows),
        subset_size=count,
        preset=nncf.QuantizationPreset.PERFORMANCE if around_zero else nncf.QuantizationPreset.MIXED,
        fast_bias_correction=not thorough,
        # The quantiser's own choice, the mean of the samples' extremes, cuts off the most expressive faces: with it,
        # concordance of surprise with the float file over a filmed face was 0.974 instead of 0.997.
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        ),
        ignored_scope=nncf.IgnoredScope(names=list(keep), validate=False) if keep else None,
    )
    if around_zero:
        _sign(small)
    del small.metadata_props[:]
    small.metadata_props.extend(model.metadata_props)  # which holds the names of the outputs
    return small


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same graph with a name for every node."""
    for i, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{i}"
    return model


def _sign(model: onnx.ModelProto) -> None:
    """Replace unsigned bytes, which NNCF gives to tensors that are never negative, by signed ones.

    The ranges stay, in half as many steps. TensorRT reads unsigned bytes as signed ones, and would cut off the upper
    half.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    pairs = {(node.input[1], node.input[2]) for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for scale, zero in pairs:
        if stored[zero].data_type == TensorProto.UINT8:
            wider = np.asarray(numpy_helper.to_array(stored[scale]) * np.float32(255 / 127))
            stored[scale].CopyFrom(numpy_helper.from_array(wider, scale))
            stored[zero].CopyFrom(numpy_helper.from_array(np.zeros(tuple(stored[zero].dims), np.int8), zero))
    del model.graph.value_info[:]  # which says "unsigned" of tensors between nodes
