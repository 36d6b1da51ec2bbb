"""A network filled with the recipe's weights under its published names, and what it is compared with."""

import json
from pathlib import Path

import numpy as np
import torch
from golden import recipe
from torch import nn

FOLDER = Path(__file__).parent
SEED = 1


def load(name: str) -> dict[str, np.ndarray]:
    """The arrays of `name`.npz."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


def fill(network: nn.Module, name: str, weights_sha256: str) -> nn.Module:
    """`network` in eval mode with the recipe's weights, loaded strictly by the published key list of `name`."""
    keys = json.loads((FOLDER / f"keys_{name}.json").read_text("utf-8"))
    own = network.state_dict()
    filled = {key: recipe.fill(key, shape, SEED, *recipe.MODELS[name]) for key, shape in keys.items()}
    assert recipe.weights_sha({key: array for key, array in filled.items() if array is not None}) == weights_sha256
    state = {key: own[key] if array is None else torch.from_numpy(array) for key, array in filled.items()}
    network.load_state_dict(state, strict=True)
    return network.eval()


def inputs(arrays: dict[str, np.ndarray], **named: np.ndarray) -> dict[str, torch.Tensor]:
    """The recipe's inputs as tensors, each checked against its recorded hash."""
    for key, array in named.items():
        assert recipe.sha(array) == str(arrays[f"{key}_sha256"]), key
    return {key: torch.from_numpy(array) for key, array in named.items()}
