"""The features that a served network reads its expressions from, as an additional output of the served file."""

from pathlib import Path
from typing import Any

import openvino as ov

from engines.errors import WeightsError
from engines.openvino import core

NAME = "embedding"
_STEPS = 12  # nodes between the output and the layer before it at most: softmax, temperature, bias, de-quantisation


def with_embedding(path: Path, output: str = "expression") -> ov.Model:
    """Return the network in `path` with an output `embedding` (N, width): the input of the last layer before `output`.

    That linear layer is found by going back from the output to its matrix product, so that it does not depend on the
    names that an exporter gives. Raise `WeightsError` if there is no such layer.
    """
    model = core().read_model(path)
    node: Any = model.output(output).get_node()
    for _ in range(_STEPS):
        batched = [value for value in node.input_values() if _has_batch(value.partial_shape)]
        if not batched or node.get_type_name() == "MatMul":
            break
        node = batched[0].get_node()
    if not batched or node.get_type_name() != "MatMul" or batched[0].partial_shape.rank.get_length() != 2:
        raise WeightsError(f"{path.name} has no linear layer before {output!r}, whose features are wanted.")
    (added,) = model.add_outputs([batched[0]])
    added.get_tensor().set_names({NAME})
    added.get_node().set_friendly_name(NAME)
    return model


def _has_batch(shape: ov.PartialShape) -> bool:
    """Return whether the value depends on the network's input: its first axis, the batch, takes any size."""
    return shape.rank.is_static and shape.rank.get_length() > 0 and bool(shape[0].is_dynamic)
