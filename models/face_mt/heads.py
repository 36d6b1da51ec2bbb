"""Fit the heads for people's ratings to the features of a fixed trunk, before both are trained together."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from models.face_mt import losses
from models.face_mt.network import FaceNetwork
from models.face_mt.scores import Floats

EPOCHS, BATCH, RATE, DECAY = 60, 128, 1e-3, 0.3
DROPOUT = 0.5
START_LOG_STD = -1.0


def fit_heads(
    network: FaceNetwork,
    seen: Floats,
    expression: NDArray[np.float32],
    affect: NDArray[np.float32],
    seed: int,
) -> None:
    """Set the heads of expression and affect to the linear layers that fit best, in place.

    `seen`: (n, width) features; `expression`: (n, 8) soft labels; `affect`: (n, 2).
    """
    torch.manual_seed(seed)
    x, labels, rated = (torch.from_numpy(np.asarray(a, np.float32)) for a in (seen, expression, affect))
    mean, spread = x.mean(0), x.std(0) + 0.05
    scaled = (x - mean) / spread
    classes = labels.shape[1]
    layer = torch.nn.Linear(x.shape[1], classes + 4)
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.AdamW(layer.parameters(), RATE, weight_decay=DECAY)
    everyone = torch.ones(len(x), dtype=torch.bool)
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(x)), BATCH):
            y = layer(F.dropout(scaled[rows], DROPOUT))
            va, log_std = torch.tanh(y[:, classes : classes + 2]), y[:, classes + 2 :] + START_LOG_STD
            loss = losses.expression_loss(y[:, :classes], labels[rows], torch.ones(len(rows)), torch.zeros(classes))
            loss = loss + 0.5 * losses.affect_loss(va, rated[rows], everyone[rows])
            loss = loss + 0.3 * losses.likelihood_loss(va.detach(), log_std, rated[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        weight = layer.weight / spread
        bias = layer.bias - weight @ mean
        bias[classes + 2 :] += START_LOG_STD
        for head, part in ((network.expression, slice(0, classes)), (network.affect, slice(classes, None))):
            head.weight.copy_(weight[part])
            head.bias.copy_(bias[part])
