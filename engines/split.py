"""A network of pictures and sound in two parts, so that the embedding of the sound can be kept and given back.

Ten seconds of sound change more slowly than a face, and reading them takes a tenth of TSAV's multiplications. The
network of the one file that all engines read is cut at its output `sound_embedding`; given the sound, both parts run.
For engines that read ONNX the cut is made here, for OpenVINO in `engines.openvino_split`.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.engine import SOUND_EMBEDDING, Arrays, Engine
from engines.errors import EngineError

if TYPE_CHECKING:
    import onnx


class Typed(Engine, Protocol):
    """Run a network as every `Engine` does, and name the types of its inputs."""

    @property
    def types(self) -> Mapping[str, str]:
        """Return the numpy types of the inputs by name, such as "float32"."""


class SplitEngine:
    """Run a network in two parts: `sound` gives the embedding, and `rest` takes it as an input.

    Both parts are of one backend and precision. A call gives `sound_embedding` beside the other outputs. It takes all
    `inputs`; or it takes `sound_embedding` too, and then the inputs of the sound hold only the rows, in their order,
    whose embedding is NaN and has to be computed. `kept` is the number of values in an embedding.
    """

    def __init__(self, sound: Typed, rest: Typed) -> None:
        self._sound, self._rest = sound, rest
        self.name, self.precision = rest.name, rest.precision
        both = {**rest.inputs, **sound.inputs}
        self.inputs = {name: shape for name, shape in both.items() if name != SOUND_EMBEDDING}
        self.types = {name: {**rest.types, **sound.types}[name] for name in self.inputs}
        self.kept = rest.inputs[SOUND_EMBEDDING][1]

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Return the outputs by name; see `engines.engine.Engine`. Raise `EngineError` for wrong names or shapes."""
        heard = {k: v for k, v in inputs.items() if k in self._sound.inputs}
        seen: Arrays = {k: v for k, v in inputs.items() if k not in heard}
        if SOUND_EMBEDDING not in inputs:
            kept = self._sound(heard)
        else:
            kept = {SOUND_EMBEDDING: inputs[SOUND_EMBEDDING]}
            unread = np.isnan(kept[SOUND_EMBEDDING]).any(1)
            if unread.any():
                kept = {SOUND_EMBEDDING: kept[SOUND_EMBEDDING].copy()}
                kept[SOUND_EMBEDDING][unread] = self._sound(heard)[SOUND_EMBEDDING]
        return self._rest(seen | kept) | kept


def opened(path: Path, open_: Callable[[Path], Typed]) -> Typed:
    """Return the engine that `open_` makes of the ONNX file at `path`, in two parts where the file can be cut.

    Raise `EngineError` if a part cannot be opened, and without the package onnx.
    """
    try:
        import onnx
    except ImportError:
        raise EngineError("An engine on a GPU needs the package onnx: pip install onnx.") from None
    model = onnx.load(str(path))
    if SOUND_EMBEDDING not in {output.name for output in model.graph.output}:
        return open_(path)
    with tempfile.TemporaryDirectory(prefix="affectstream-") as folder:
        files = [Path(folder) / name for name in (f"{path.stem}-sound.onnx", path.name)]
        for part, file in zip(parts(model), files, strict=True):
            file.write_bytes(part.SerializeToString())
        return SplitEngine(*map(open_, files))


def parts(model: "onnx.ModelProto") -> tuple["onnx.ModelProto", "onnx.ModelProto"]:
    """Return the network from the sound to the embedding, and the rest, which takes the embedding as an input.

    Constants that both need are in both.
    """
    from onnx.utils import Extractor

    whole = Extractor(model)
    inputs = [value.name for value in model.graph.input]
    others = [output.name for output in model.graph.output if output.name != SOUND_EMBEDDING]

    def part(given: Iterable[str], wanted: Iterable[str]) -> "onnx.ModelProto":
        made: onnx.ModelProto = whole.extract_model(list(given), list(wanted))
        read = {name for node in made.graph.node for name in node.input}
        for value in [value for value in made.graph.input if value.name not in read]:
            made.graph.input.remove(value)
        return made

    return part(inputs, [SOUND_EMBEDDING]), part([*inputs, SOUND_EMBEDDING], others)
