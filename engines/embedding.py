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
    `WeightsError` if there is none."""
    model = core().read_model(path)
    node: Any = model.output(output).get_node()
    for _ in range(_STEPS):
        if node.get_type_name() == "MatMul":
            break
        if not node.inputs():
            break
        node = node.input_value(0).get_node()
    if node.get_type_name() != "MatMul" or node.input_value(0).partial_shape.rank.get_length() != 2:
        raise WeightsError(f"{path.name} has no linear layer before {output!r}, whose features are wanted.")
    (added,) = model.add_outputs([node.input_value(0)])
    added.get_tensor().set_names({NAME})
    added.get_node().set_friendly_name(NAME)
    return model
