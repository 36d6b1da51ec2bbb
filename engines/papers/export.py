"""From a checkpoint, or from no checkpoint at all, to the ONNX file of a paper's system in its live form.

The file is kept in the cache under everything that it depends on: the checkpoints, the options the network was made
with, and the code of networks and export. Only here, and only when the file is not there yet, is torch needed.
"""

import ast
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.cache import cache_dir
from engines.errors import WeightsError

if TYPE_CHECKING:
    from engines.papers.live_networks import LiveNetwork

OPSET = 18
SEED = 0  # of weights that nobody trained
_ROOT = Path(__file__).resolve().parents[2]


def exported(
    name: str,
    checkpoints: Mapping[str, Path | None],
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    swapped: bool = False,
) -> Path:
    """The ONNX file of the model `name`, written at first use.

    `checkpoints`: by part, the network `name` first; None is random weights, the same ones every time.
    `options`: what each part's network is made with. `swapped`: the checkpoint holds arousal before valence. Raises
    `WeightsError` if a checkpoint cannot be read, or if torch is needed and not there.
    """
    made_with = {part: dict((options or {}).get(part, {})) for part in checkpoints}
    sums = {part: _sha256(file) if file else f"random {SEED}" for part, file in checkpoints.items()}
    facts = [name, sums, made_with, swapped, _code()]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
    path = cache_dir() / "onnx" / key / f"{name}.onnx"
    if not path.is_file():
        try:
            import torch
        except ImportError:
            raise WeightsError(
                f"Writing {name} as ONNX needs PyTorch, which serving does without; "
                "install it once: pip install 'affectstream[train]'."
            ) from None
        with torch.random.fork_rng(devices=[]):
            write(live(name, checkpoints, options=made_with, swapped=swapped), path)
    return path


def write(network: "LiveNetwork", path: Path) -> None:
    """Writes a live network as ONNX, whole or not at all; the first axis of every input and output is the batch."""
    import torch

    names = list(network.inputs)
    samples = tuple(network.inputs.values())
    with torch.no_grad():
        outputs = network.module(*samples)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operation for a whole transformer, which ONNX has not
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # The exporter that keeps a recurrent layer whole is deprecated, and warns of constants that it folds.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _tupled(network.module, tuple(outputs)), samples, aside, input_names=names,
                output_names=list(outputs), dynamic_axes={n: {0: "batch"} for n in (*names, *outputs)},
                opset_version=OPSET, dynamo=False,
            )  # fmt: skip
        os.replace(aside, path)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        Path(aside).unlink(missing_ok=True)


def live(
    name: str,
    checkpoints: Mapping[str, Path | None],
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    swapped: bool = False,
) -> "LiveNetwork":
    """The live form of `name` in torch; see `exported`. Seeds torch's random numbers."""
    import torch

    import models
    from engines.papers import live_networks
    from models import checkpoint
    from models.errors import ModelError

    networks = {}
    for part, file in checkpoints.items():
        torch.manual_seed(SEED)
        try:
            networks[part] = models.create(part, **(options or {}).get(part, {}))
            if file is not None:
                checkpoint.load(networks[part], file)
        except ModelError as error:
            raise WeightsError(str(error)) from error
        networks[part].eval()
    made = live_networks.live_network(name, networks)
    if swapped:
        return live_networks.LiveNetwork(live_networks.Swapped(made.module), made.inputs)
    return made


def _tupled(module: Any, names: tuple[str, ...]) -> Any:
    """`module` giving a tuple for a dict, which is what the exporter takes."""
    from torch import nn

    class Outputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *given: Any) -> tuple[Any, ...]:
            outputs = self.module(*given)
            return tuple(outputs[name] for name in names)

    return Outputs().eval()


@cache
def sources() -> tuple[Path, ...]:
    """Return the files whose text decides what a live network computes, sorted by path.

    These are this file, `live_networks.py`, every file of `models/networks`, and whatever module of this project any of
    them imports, directly or through another one. A file that moves or changes therefore changes the key of the cache.
    """
    found: set[Path] = set()
    waiting = [Path(__file__), Path(__file__).with_name("live_networks.py"), *(_ROOT / "models/networks").glob("*.py")]
    while waiting:
        file = waiting.pop().resolve()
        if file not in found:
            found.add(file)
            waiting += _imported(file)
    return tuple(sorted(found))


def _imported(file: Path) -> list[Path]:
    """Return the files of `engines.papers` and `models` that `file` imports, read from its text."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = [_ROOT / name.replace(".", "/") for name in names if name.startswith(("models", "engines.papers"))]
    files = [path.with_suffix(".py") for path in ours] + [path / "__init__.py" for path in ours]
    return [path for path in files if path.is_file()]


@cache
def _code() -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in sources())).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
