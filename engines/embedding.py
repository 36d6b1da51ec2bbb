"""The features that a served network reads its expressions from, as one more output of the very file that is served."""

from pathlib import Path
from typing import Any

import openvino as ov

from engines.errors import WeightsError
from engines.openvino import core

NAME = "embedding"
_STEPS = 12  # nodes between the output and the layer before it at most: softmax, temperature, bias, de-quantisation


def with_embedding(path: Path, output: str = "expression") -> ov.Model:
    """The network in `path` with an output `embedding` (N, width): what the linear layer before `output` reads.

    It is found by going back from the output to its matrix product, so that no name of an exporter matters. Raises
    `WeightsError` if there is none.
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
    """Whether it is of the network's input and not a constant: its first axis takes any size."""
    return shape.rank.is_static and shape.rank.get_length() > 0 and bool(shape[0].is_dynamic)
