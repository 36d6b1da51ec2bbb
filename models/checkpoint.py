"""Read checkpoints without running anything that is in them, and write them whole or not at all.

A checkpoint is a torch file with a dict in it; the weights lie under `state_dict`, as in the published ones, or are the
dict itself. It is read with `weights_only`, so that a pickle which tries to run code is refused.
"""

import os
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models import starts
from models.errors import CheckpointError
from models.files import written_whole

SHOWN = 3  # keys that a message names


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path` at once: a reader sees the old file or the new one, also after a power cut."""
    with written_whole(path) as aside, aside.open("wb") as file:
        torch.save(dict(content), file)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> dict[str, Any]:
    """Return what `save` wrote, on the CPU. Raise `CheckpointError` if the file is missing, damaged or unsafe."""
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols of files that are refused anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it calls {found[1]}" if found else "it is not made of tensors alone"
        raise CheckpointError(
            f"{path} is refused: {what}, which could run code while it loads. "
            "Save its state_dict alone, on a machine where the file is trusted, and give that."
        ) from error
    except (OSError, EOFError, RuntimeError, LookupError, ValueError) as error:
        size = path.stat().st_size
        raise CheckpointError(
            f"{path} ({size} bytes) is truncated, or no torch checkpoint at all; fetch it again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dict with a state_dict.")
    return content


def state_dict(content: Mapping[str, Any], source: Path) -> dict[str, Tensor]:
    """Return the weights in a checkpoint's `content`, without the prefix of training on several GPUs.

    Raise `CheckpointError` if `content`, read from `source`, holds none.
    """
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{source} holds no state_dict; its entries are: {_some(map(str, content))}.")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def load_into(network: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Load `state` strictly. Raise `CheckpointError` naming keys that are missing, unexpected or of another shape."""
    own = network.state_dict()
    problems = []
    if missing := own.keys() - state.keys():
        problems.append(f"{len(missing)} missing ({_some(sorted(missing))})")
    if unexpected := state.keys() - own.keys():
        problems.append(f"{len(unexpected)} unexpected ({_some(sorted(unexpected))})")
    shapes = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in state and own[key].shape != state[key].shape
    ]
    if shapes:
        problems.append(f"{len(shapes)} of another shape ({_some(shapes)})")
    if problems:
        name = type(network).__name__
        raise CheckpointError(f"{source} is not a checkpoint of {name}: of its keys, {'; '.join(problems)}.")
    bad = [key for key, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if bad:
        raise CheckpointError(f"{source} holds NaN or infinite weights in {_some(bad)}.")
    network.load_state_dict(dict(state), strict=True)


def load(network: nn.Module, path: Path) -> nn.Module:
    """Return `network` with the weights of the checkpoint at `path`; raise as `read` and `load_into` do."""
    load_into(network, state_dict(read(path), path), path)
    return network


def load_part(network: nn.Module, prefix: str, path: Path) -> int:
    """Copy those weights of the checkpoint at `path` that the part `prefix` of `network` has too; return their number.

    For networks that start from others: a recurrent one from single faces ("" as prefix), a fusion from its two
    networks ("cnn_3rnn." and "cnn_1rnn."), any from a published start, by its own names or those of `models.starts`. A
    convolution that reads more channels here, as TSAV's reads the mask beside the colours, takes those that there are;
    one that reads a single channel takes the mean of three colours. Raise `CheckpointError` if the two have nothing in
    common.
    """
    own, common = network.state_dict(), dict[str, Tensor]()
    state = state_dict(read(path), path)
    for key, value in state.items():
        for name in (f"{prefix}{name}" for name in starts.names(key)):
            if name in own and (fitted := _fitted(value, own[name])).shape == own[name].shape:
                common[name] = fitted
                break
    if not common:
        part = f"the part {prefix!r} of {type(network).__name__}" if prefix else type(network).__name__
        raise CheckpointError(f"{path} has no weights in common with {part}; its keys are: {_some(sorted(state))}.")
    network.load_state_dict(own | common)
    return len(common)


def _fitted(value: Tensor, own: Tensor) -> Tensor:
    """Return `value` for `own`'s input channels, where two convolutions differ by nothing else."""
    if value.dim() < 4 or value.shape[:1] + value.shape[2:] != own.shape[:1] + own.shape[2:]:
        return value
    if value.shape[1] == 3 and own.shape[1] == 1:  # a picture of sound has no colours
        return value.mean(1, keepdim=True)
    return torch.cat((value[:, : own.shape[1]], own[:, value.shape[1] :]), dim=1)


def _some(names: Any) -> str:
    """Return the first few of many names, and how many more there are."""
    names = list(names)
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
