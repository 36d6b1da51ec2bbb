"""A network that sees and hears, in two parts: what it made of the sound can be kept and given back.

Ten seconds of sound change more slowly than a face, and reading them is a tenth of TSAV's multiplications. The parts
are cut out of the very file that all engines read, at its output `sound_embedding`: asked with the sound, both run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

from engines.engine import SOUND_EMBEDDING, Arrays
from engines.openvino import OpenVinoEngine, core


class SplitEngine:
    """Both parts compiled for the CPU; `settings` are those of `OpenVinoEngine`, and what it raises.

    Takes `inputs`, and gives `sound_embedding` beside the other outputs; or takes `sound_embedding` in place of the
    inputs that lead to it, and gives the others alone."""

    name = "openvino"

    def __init__(self, model: ov.Model, **settings: Any) -> None:
        first, rest = parts(model)
        self._first = OpenVinoEngine(first, **settings)
        self._rest = OpenVinoEngine(rest, **settings)
        self.precision = self._rest.precision
        both = self._rest.inputs | self._first.inputs
        self.inputs = {name: shape for name, shape in both.items() if name != SOUND_EMBEDDING}
        self.types = {name: (self._rest.types | self._first.types)[name] for name in self.inputs}
        self.outputs = self._rest.outputs | self._first.outputs

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Outputs by name; see `engines.engine.Engine`. Raises `EngineError` for wrong names or shapes."""
        if SOUND_EMBEDDING in inputs:
            return self._rest(inputs)
        kept = self._first({k: v for k, v in inputs.items() if k in self._first.inputs})
        return self._rest({k: v for k, v in inputs.items() if k not in self._first.inputs} | kept) | kept


def opened(path: Path, **settings: Any) -> OpenVinoEngine | SplitEngine:
    """An engine for the file at `path`, in two parts where there is the output to cut it at. Raises `EngineError`."""
    try:
        model = core().read_model(path)
    except RuntimeError:
        return OpenVinoEngine(path, **settings)  # says what is wrong
    outputs = {name for port in model.outputs for name in port.names}
    return SplitEngine(model, **settings) if SOUND_EMBEDDING in outputs else OpenVinoEngine(path, **settings)


def parts(model: ov.Model) -> tuple[ov.Model, ov.Model]:
    """What leads to the embedding, and the rest, which takes it as an input. `model` is used up."""
    ending = model.output(SOUND_EMBEDDING).get_node()
    embedding = ending.input_value(0)
    before = _above(ending)
    kept = opset.parameter(embedding.partial_shape, embedding.element_type.to_dtype(), name=SOUND_EMBEDDING)
    kept.output(0).get_tensor().set_names({SOUND_EMBEDDING})
    for target in embedding.get_target_inputs():
        if target.get_node().get_type_name() != "Result":
            target.replace_source_output(kept.output(0))
    # Nodes are compared by name: their own == makes another node.
    others = [result for result in model.get_results() if result.get_name() != ending.get_name()]
    given: list[list[Any]] = [[], []]
    for parameter in model.get_parameters():
        given[parameter.get_name() not in before].append(parameter)
    name = model.get_friendly_name()
    return ov.Model([ending], given[0], f"{name}, its sound"), ov.Model(others, [*given[1], kept], name)


def _above(node: Any) -> set[str]:
    """Names of the nodes that lead to one."""
    seen: set[str] = set()
    open_ = [node]
    while open_:
        for value in open_.pop().input_values():
            source = value.get_node()
            if source.get_name() not in seen:
                seen.add(source.get_name())
                open_.append(source)
    return seen
