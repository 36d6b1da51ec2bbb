"""The default model's networks as the ONNX files that ship: exported, stored small, with facts in their metadata."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.files import written_whole
from models.onnx_storage import halve, quarter

OPSET = 18


def write(
    served: nn.Module,
    samples: dict[str, Tensor],
    outputs: Sequence[str],
    facts: dict[str, Any],
    out: Path,
    *,
    in_bytes: bool = False,
) -> None:
    """Write `served`, whose inputs are like the `samples` with any batch, to `out`, whole or not at all.

    `in_bytes`: store the weights of large convolutions in bytes instead of float16. Raise `ModelError` for a network
    that cannot be exported.
    """
    batch = torch.export.Dim("batch", min=1, max=4096)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch about its own insides
        warnings.filterwarnings("ignore", "# The axis name: batch")  # all inputs have one batch
        program = torch.onnx.export(
            served.eval(),
            tuple(samples.values()),
            input_names=list(samples),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamic_shapes={name: {0: batch} for name in samples},
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ModelError(f"The network of {out.name} could not be exported to ONNX.")
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info):
        del part.metadata_props[:]  # the exporter's traces of its sources, with the paths of this machine
    if in_bytes:
        quarter(model)
    halve(model)
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    onnx.checker.check_model(model)
    with written_whole(out) as aside:
        aside.write_bytes(model.SerializeToString())
