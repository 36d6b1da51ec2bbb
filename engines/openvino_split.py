"""A network of pictures and sound, cut in two with OpenVINO's own tools, which serve without the package onnx.

`engines.split` describes the two parts.
"""

from pathlib import Path
from typing import Any

import openvino as ov
from openvino import opset13 as opset

from engines.engine import SOUND_EMBEDDING
from engines.openvino import OpenVinoEngine, core
from engines.split import SplitEngine


def opened(path: Path, **settings: Any) -> OpenVinoEngine | SplitEngine:
    """Return an engine for the file at `path`, in two parts where the network has the output to cut it at.

    `settings` are the keyword arguments of `OpenVinoEngine`. Raise `EngineError` if the file cannot be compiled.
    """
    try:
        model = core().read_model(path)
    except RuntimeError:
        return OpenVinoEngine(path, **settings)  # raises the error that says what is wrong
    outputs = {name for port in model.outputs for name in port.names}
    if SOUND_EMBEDDING not in outputs:
        return OpenVinoEngine(path, **settings)
    return SplitEngine(*(OpenVinoEngine(part, **settings) for part in parts(model)))


def parts(model: ov.Model) -> tuple[ov.Model, ov.Model]:
    """Return the network from the sound to the embedding, and the rest, which takes the embedding as an input.

    `model` is changed and must not be used afterwards.
    """
    ending = model.output(SOUND_EMBEDDING).get_node()
    embedding = ending.input_value(0)
    before = _above(ending)
    kept = opset.parameter(embedding.partial_shape, embedding.element_type.to_dtype(), name=SOUND_EMBEDDING)
    kept.output(0).get_tensor().set_names({SOUND_EMBEDDING})
    for target in embedding.get_target_inputs():
        if target.get_node().get_type_name() != "Result":
            target.replace_source_output(kept.output(0))
    # Nodes are compared by name, because == between nodes makes a new node.
    others = [result for result in model.get_results() if result.get_name() != ending.get_name()]
    given: list[list[Any]] = [[], []]
    for parameter in model.get_parameters():
        given[parameter.get_name() not in before].append(parameter)
    name = model.get_friendly_name()
    return ov.Model([ending], given[0], f"{name}, its sound"), ov.Model(others, [*given[1], kept], name)


def _above(node: Any) -> set[str]:
    """Return the names of all nodes that `node` depends on."""
    seen: set[str] = set()
    open_ = [node]
    while open_:
        for value in open_.pop().input_values():
            source = value.get_node()
            if source.get_name() not in seen:
                seen.add(source.get_name())
                open_.append(source)
    return seen
