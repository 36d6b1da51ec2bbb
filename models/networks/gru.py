"""Recurrent layers whose state is an explicit, batch-first input and output, so that a live stream can carry it.

TensorFlow's gated recurrent unit, which the published AffWildNet was trained with, resets the state before its matrix
product; torch's (and cuDNN's) resets the product. They are different functions: r * (R h) is not R (r * h). The long
short-term memory is the paper's baseline.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UNITS = 128  # of every GRU in the networks of Kollias and Zafeiriou
Reset = Literal["after", "before"]


class GRU(nn.GRU):
    """Run `layers` of 128 gated recurrent units; parameter names are torch's whatever `reset` is."""

    def __init__(self, inputs: int, layers: int = 2, dropout: float = 0.5, reset: Reset = "after") -> None:
        """Take `reset` "after" for torch's cell, "before" for TensorFlow's; `dropout` falls between layers in training.

        Raise `TypeError` for another `reset`.
        """
        if reset not in ("after", "before"):
            raise TypeError(f"reset is 'after' or 'before', not {reset!r}")
        super().__init__(inputs, UNITS, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.reset = reset

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return outputs (batch, time, 128) and the new state (batch, layers, 128) for `x` (batch, time, inputs).

        A missing `state` is zero.
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
        """Run one layer with the reset before the product: c = tanh(W x + R (r * h)), h' = u * h + (1 - u) * c."""
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


class LSTM(nn.LSTM):
    """Run two layers of 128 long short-term memory units, with torch's parameter names."""

    def __init__(self, inputs: int, layers: int = 2, dropout: float = 0.5) -> None:
        """Take the width of the inputs; `dropout` falls between the layers in training."""
        super().__init__(inputs, UNITS, layers, batch_first=True, dropout=dropout)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return outputs (batch, time, 128) and the new state (batch, 2 layers, 128) for `x` (batch, time, inputs).

        The state holds the outputs of all layers and then their cells; a missing `state` is zero.
        """
        if state is None:
            state = x.new_zeros(x.shape[0], 2 * self.num_layers, UNITS)
        output, cell = (part.transpose(0, 1).contiguous() for part in torch.split(state, self.num_layers, dim=1))
        out, last = super().forward(x, (output, cell))
        return out, torch.cat([part.transpose(0, 1) for part in last], dim=1)
