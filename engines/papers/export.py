"""The ONNX file of a paper's system in its live form, made of checkpoints or of random weights.

The file is kept in the cache under a key of everything that it depends on: the checkpoints, the options of the
networks, and the code of networks and export. PyTorch is needed only here, and only while the file is not there yet.
"""

import ast
import hashlib
import json
import logging
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.cache import cache_dir
from engines.errors import WeightsError
from models.files import sha256, write_text, written_whole

if TYPE_CHECKING:
    from engines.papers.live_networks import LiveNetwork

OPSET = 18
SEED = 0  # of random weights
log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[2]


def exported(
    name: str,
    checkpoints: Mapping[str, Path | None],
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    swapped: bool = False,
) -> Path:
    """Return the ONNX file of the model `name`, written at first use, and again where it was cut short or altered.

    `checkpoints` names a file for each part, the network `name` first; None stands for random weights, which are the
    same every time. `options` are the keyword arguments of each part's network. `swapped` says that the checkpoint
    gives arousal before valence. Raise `WeightsError` if a checkpoint cannot be read, if PyTorch is needed and missing,
    or if the cache cannot be written.
    """
    made_with = {part: dict((options or {}).get(part, {})) for part in checkpoints}
    sums = {part: sha256(file) if file else f"random {SEED}" for part, file in checkpoints.items()}
    facts = [name, sums, made_with, swapped, _code()]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
    path = cache_dir() / "onnx" / key / f"{name}.onnx"
    if not _is_whole(path):
        try:
            import torch
        except ImportError:
            raise WeightsError(
                f"Writing {name} as ONNX needs PyTorch, which serving does without; "
                "install it once: pip install 'affectstream[train]'."
            ) from None
        with torch.random.fork_rng(devices=[]):
            network = live(name, checkpoints, options=made_with, swapped=swapped)
        try:
            write(network, path)
            write_text(_sum_of(path), sha256(path))
        except OSError as error:
            raise WeightsError(
                f"{cache_dir()} cannot be written ({error.strerror or error}), and {name} is not in it; "
                "set AFFECTSTREAM_CACHE to another folder."
            ) from error
    return path


def _is_whole(path: Path) -> bool:
    """Return whether the file is there with the content that was written."""
    try:
        expected = _sum_of(path).read_text("utf-8")
    except (OSError, ValueError):
        return False
    if path.is_file() and sha256(path) == expected:
        return True
    log.warning("%s was cut short or altered, and is written anew", path)
    return False


def _sum_of(path: Path) -> Path:
    """Return the path of the file that holds the SHA-256 of the file at `path`."""
    return path.with_suffix(".sha256")


def write(network: "LiveNetwork", path: Path) -> None:
    """Write a live network as ONNX, whole or not at all; the first axis of every input and output is the batch.

    Raise `OSError` if the folder cannot be written.
    """
    import torch

    names = list(network.inputs)
    samples = tuple(network.inputs.values())
    with torch.no_grad():
        outputs = network.module(*samples)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it is one operation for a whole transformer, which ONNX lacks
    try:
        with written_whole(path) as aside, warnings.catch_warnings(), torch.no_grad():
            # The exporter that keeps a recurrent layer whole is deprecated, and warns of constants that it folds.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _tupled(network.module, tuple(outputs)), samples, str(aside), input_names=names,
                output_names=list(outputs), dynamic_axes={n: {0: "batch"} for n in (*names, *outputs)},
                opset_version=OPSET, dynamo=False,
            )  # fmt: skip
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def live(
    name: str,
    checkpoints: Mapping[str, Path | None],
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    swapped: bool = False,
) -> "LiveNetwork":
    """Return the live form of `name` in PyTorch, whose random numbers this seeds; see `exported` for the arguments.

    Raise `WeightsError` if a checkpoint cannot be read or is not of its network.
    """
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
    """Return `module` as one that gives the tensors `names` as a tuple, which the exporter takes, instead of a dict."""
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
    """Return a hash of the files whose text decides what a live network computes."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in sources())).hexdigest()
