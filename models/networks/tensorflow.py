"""Turn AffWildNet's published TensorFlow variables into our state dict.

dkollias/Aff-Wild-models names them conv_1/weights, linear_1/weights, rnn_1/rnn/multi_rnn_cell/cell_0/gru_cell/...; give
them as arrays by name (for example an .npz written from the checkpoint). The network is
`create("affwildnet", landmarks=False, reset="before")`.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import CheckpointError
from models.networks.gru import UNITS

CONVOLUTIONS = 13
CELL = "rnn_1/rnn/multi_rnn_cell/cell_{}/gru_cell/{}"


def state_dict(variables: Mapping[str, NDArray[np.float32]]) -> dict[str, Tensor]:
    """Return the state dict for `variables`. Raise `CheckpointError` naming one that is missing or misshapen."""
    state: dict[str, NDArray[np.floating]] = {}
    for i, index in enumerate((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), start=1):
        weights = _variable(variables, f"conv_{i}/weights", 4)  # (3, 3, in, out)
        state[f"cnn.features.{index}.weight"] = weights.transpose(3, 2, 0, 1)
        state[f"cnn.features.{index}.bias"] = _variable(variables, f"conv_{i}/biases", 1)
        planes = weights.shape[3]
    # TensorFlow flattens the last pool as (height, width, channel), torch as (channel, height, width).
    fc = _variable(variables, "linear_1/weights", 2)
    side = round((fc.shape[0] / planes) ** 0.5)
    if side * side * planes != fc.shape[0]:
        raise CheckpointError(f"linear_1/weights has {fc.shape[0]} rows, which are not a square of {planes} channels.")
    state["fc.0.weight"] = fc.reshape(side, side, planes, -1).transpose(3, 2, 0, 1).reshape(fc.shape[1], -1)
    state["fc.0.bias"] = _variable(variables, "linear_1/biases", 1)
    for layer in range(2):
        gates = _variable(variables, CELL.format(layer, "gates/kernel"), 2)  # (inputs + 128, reset 128, update 128)
        candidate = _variable(variables, CELL.format(layer, "candidate/kernel"), 2)  # (inputs + 128, 128)
        both = np.concatenate((gates, candidate), axis=1).T
        state[f"rnn.weight_ih_l{layer}"], state[f"rnn.weight_hh_l{layer}"] = both[:, :-UNITS], both[:, -UNITS:]
        biases = [_variable(variables, CELL.format(layer, f"{name}/bias"), 1) for name in ("gates", "candidate")]
        state[f"rnn.bias_ih_l{layer}"] = np.concatenate(biases)
        state[f"rnn.bias_hh_l{layer}"] = np.zeros(3 * UNITS)
    state["output.weight"] = _variable(variables, "rnn_1/weights_rnn", 2).T
    state["output.bias"] = _variable(variables, "rnn_1/biases_rnn", 1)
    return {key: torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32)) for key, value in state.items()}


def _variable(variables: Mapping[str, NDArray[np.float32]], name: str, axes: int) -> NDArray[np.float32]:
    if name not in variables:
        raise CheckpointError(f"The TensorFlow variable {name!r} is missing.")
    if variables[name].ndim != axes:
        raise CheckpointError(f"The TensorFlow variable {name!r} has shape {variables[name].shape}, not {axes} axes.")
    return variables[name]
