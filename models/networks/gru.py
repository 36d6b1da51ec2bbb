"""Gated recurrent units whose state is an explicit, batch-first input and output, so that a live stream can carry it.

TensorFlow's cell, which the published AffWildNet was trained with, resets the state before its matrix product; torch's
(and cuDNN's) resets the product. They are different functions: r * (R h) is not R (r * h).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UNITS = 128  # of every GRU in the networks of Kollias and Zafeiriou
Reset = Literal["after", "before"]


class GRU(nn.GRU):
    """`layers` of 128 units. `reset` "after" is torch's cell, "before" TensorFlow's; parameter names are the same.

    `dropout` falls between the layers while training.
    """

    def __init__(self, inputs: int, layers: int = 2, dropout: float = 0.5, reset: Reset = "after") -> None:
        if reset not in ("after", "before"):
            raise TypeError(f"reset is 'after' or 'before', not {reset!r}")
        super().__init__(inputs, UNITS, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.reset = reset

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Outputs (batch, time, 128) and the new state (batch, layers, 128); a missing `state` is zero.

        `x`: (batch, time, inputs).
        """
        if state is None:
            state = x.new_zeros(x.shape[0], self.num_layers, UNITS)
        if self.reset == "after":
            out, last = super().forward(x, state.transpose(0, 1).contiguous())
            return out, last.transpose(0, 1)
        states = []
        for layer in range(self.num_layers):
            if layer:
                x = F.dropout(x, self.dropout, self.training)
            x = self._layer(x, state[:, layer], layer)
            states.append(x[:, -1])
        return x, torch.stack(states, dim=1)

    def _layer(self, x: Tensor, h: Tensor, layer: int) -> Tensor:
        """One layer with the reset before the product: c = tanh(W x + R (r * h)), h' = u * h + (1 - u) * c."""
        weights = (getattr(self, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        weight_x, weight_h, bias_x, bias_h = weights
        gates_h, candidate_h = torch.split(weight_h, [2 * UNITS, UNITS])
        gates_b, candidate_b = torch.split(bias_h, [2 * UNITS, UNITS])
        x_gates, x_candidate = torch.split(F.linear(x, weight_x, bias_x), [2 * UNITS, UNITS], dim=-1)
        outputs = []
        for t in range(x.shape[1]):
            reset, update = (x_gates[:, t] + F.linear(h, gates_h, gates_b)).sigmoid().chunk(2, dim=-1)
            candidate = (x_candidate[:, t] + F.linear(reset * h, candidate_h, candidate_b)).tanh()
            h = update * h + (1 - update) * candidate
            outputs.append(h)
        return torch.stack(outputs, dim=1)
