"""The weights that training starts from: a release of this network that gave expressions and units only.

`face-mt-2` (the file `face-mt.onnx` of releases before face-mt-3) learned FER+'s votes for 40 epochs. Its norms are
folded into its convolutions: they are put back as norms that change nothing, whose means and deviations then stay.
Only numbers are read from the file.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from models.errors import ModelError
from models.face_mt.network import FaceNetwork

_PREFIX, _HALF = "network.", "_half"
_RENAMED = {"hidden": "units.0", "votes": "expression"}  # layers that had another name there
_NEW = ("affect", "units", "occlusion")  # heads that begin anew


def read(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the stored arrays of a release's ONNX file by layer. Raise `ModelError` for another file."""
    try:
        model = onnx.load(str(path))
    except (OSError, DecodeError) as e:
        raise ModelError(f"{path} is no ONNX file to start from; name face-mt.onnx of face-mt-2.") from e
    arrays = {}
    for tensor in model.graph.initializer:
        name = tensor.name.removesuffix(_HALF)
        if name.startswith(_PREFIX):
            arrays[name.removeprefix(_PREFIX)] = numpy_helper.to_array(tensor).astype(np.float32)
    if "stem.0.weight_bias" not in arrays:
        raise ModelError(f"{path} holds another network than face-mt-2; name its face-mt.onnx.")
    return arrays


@torch.no_grad()
def load(network: FaceNetwork, arrays: dict[str, NDArray[np.float32]]) -> None:
    """Copy the arrays into `network`, whose norms are settled from then on. Raise `ModelError` for other sizes."""
    for name, part in network.named_modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.zero_()  # type: ignore[union-attr]
            part.running_var.fill_(1.0)  # type: ignore[union-attr]
            part.weight.fill_((1 + part.eps) ** 0.5)
            _copy(part.bias, arrays, f"{_convolution(name)}.weight_bias", name)
    for name, parameter in network.named_parameters():
        layer, kind = name.rsplit(".", 1)
        if layer.split(".")[0] in _NEW or isinstance(network.get_submodule(layer), nn.BatchNorm2d):
            continue
        _copy(parameter, arrays, f"{_RENAMED.get(layer, layer)}.{kind}", name)
    network.settled = True


def _convolution(norm: str) -> str:
    """Return the name of the convolution before a norm."""
    before, last = norm.rsplit(".", 1)
    return f"{before}.{last.replace('norm', 'conv')}" if last.startswith("norm") else f"{before}.{int(last) - 1}"


def _copy(target: torch.Tensor, arrays: dict[str, NDArray[np.float32]], name: str, layer: str) -> None:
    source = arrays.get(name)
    if source is None or source.shape != tuple(target.shape):
        found = "nothing" if source is None else "x".join(map(str, source.shape))
        wanted = "x".join(map(str, target.shape))
        raise ModelError(
            f"The file to start from has {found} for {layer}; expected {wanted}. Name face-mt-2's face-mt.onnx."
        )
    target.copy_(torch.from_numpy(source))
