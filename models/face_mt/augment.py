"""Degrade pictures as cameras do, a whole batch at once and on the batch's own device.

Geometry, resampling and the first blur are one `grid_sample`; the rest are element-wise. Everything is drawn from the
generator that is handed in, so that a run can be repeated.
"""

import math
from functools import cache

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from models.face_mt.network import CROP, INPUT, WINDOW, face_weights, resampling, standardise
from models.face_mt.occluders import Bank, cover

ROTATION = 9.0  # degrees, standard deviation
SCALE = 0.08  # log scale, standard deviation
SHEAR = 0.06  # standard deviation: stands for a little yaw
SHIFT = 3.0  # pixels of the 112 crop, standard deviation
DARKEST = 0.15  # smallest gain of the light


def _grid(n: int, generator: Generator) -> Tensor:
    """Return random sampling positions (n, 64, 64, 2) in the crop, in grid_sample's -1..1."""
    x0, y0, x1, y1 = WINDOW
    half = torch.tensor([(x1 - x0) / 2, (y1 - y0) / 2])
    centre = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2])
    normal = torch.randn(n, 6, generator=generator)
    angle = normal[:, 0] * math.radians(ROTATION)
    scale = torch.exp(normal[:, 1] * SCALE)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    theta[:, 0, 1] += normal[:, 2] * SHEAR
    theta[:, 0, 0] *= 1 + normal[:, 3] * SHEAR
    mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    theta[:, :, 0] *= mirror[:, None]
    line = (torch.arange(INPUT) + 0.5) / INPUT * 2 - 1
    square = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(1, -1, 2) * half
    positions = square @ theta.transpose(1, 2) + (centre + normal[:, 4:6] * SHIFT)[:, None]
    return (positions / CROP * 2 - 1).reshape(n, INPUT, INPUT, 2)


def _coarse(x: Tensor, generator: Generator) -> Tensor:
    """Shrink the pictures and enlarge them again, all by the same random factor: some faces are small."""
    factor = float(torch.empty(1).uniform_(0.3, 0.75, generator=generator))
    small = F.interpolate(x, scale_factor=factor, mode="area")
    return F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)


def _blur(x: Tensor, generator: Generator) -> Tensor:
    """Blur as a picture out of focus or moving does: by a random mixture of a 5x5 Gaussian and a line."""
    kernel = torch.zeros(5, 5)
    if torch.rand(1, generator=generator) < 0.5:
        line = torch.exp(
            -0.5 * (torch.arange(5.0) - 2) ** 2 / float(torch.empty(1).uniform_(0.6, 1.6, generator=generator))
        )
        kernel = torch.outer(line, line)
    elif torch.rand(1, generator=generator) < 0.5:
        kernel[2] = 1.0
    else:
        kernel[:, 2] = 1.0
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), (kernel / kernel.sum())[None, None])


def _light(x: Tensor, generator: Generator) -> Tensor:
    """Apply gamma, gain, a gradient from one side and sensor noise, and round grey levels as a camera does."""
    n = x.shape[0]
    gamma = torch.exp(0.35 * torch.randn(n, 1, 1, 1, generator=generator))
    gain = torch.empty(n, 1, 1, 1).uniform_(DARKEST, 1.15, generator=generator)
    gain = torch.where(torch.rand(n, 1, 1, 1, generator=generator) < 0.5, gain, 1.0)
    direction = torch.randn(n, 2, 1, 1, generator=generator) * 0.25
    line = torch.linspace(-1, 1, x.shape[-1])
    side = 1 + direction[:, :1] * line.view(1, 1, 1, -1) + direction[:, 1:] * line.view(1, 1, -1, 1)
    lit = 255 * (x.clamp(0, 255) / 255) ** gamma * gain * side.clamp_min(0.1)
    noise = torch.randn(x.shape, generator=generator) * (6 * torch.rand(n, 1, 1, 1, generator=generator) ** 2)
    return (lit + noise).clamp(0, 255).round()


def _some(x: Tensor, changed: Tensor, share: float, generator: Generator) -> Tensor:
    return torch.where(torch.rand(x.shape[0], 1, 1, 1, generator=generator) < share, changed, x)


def phantoms(n: int, generator: Generator) -> Tensor:
    """Return (n, 112, 112) uint8 pictures without a face, for training uncertainty: flat, noise, clouds, stripes."""
    size = int(torch.tensor([2, 3, 5, 9, 18, 56, 112])[torch.randint(0, 7, (1,), generator=generator)])
    coarse = torch.rand(n, 1, size, size, generator=generator)
    if torch.rand(1, generator=generator) < 0.25:
        coarse = coarse[:, :, :1].expand(-1, -1, size, -1)
    clouds = F.interpolate(coarse, size=(CROP, CROP), mode="bilinear", align_corners=False)
    contrast = torch.rand(n, 1, 1, 1, generator=generator) ** 2
    contrast = torch.where(torch.rand(n, 1, 1, 1, generator=generator) < 0.15, 0.0, contrast)
    level = torch.rand(n, 1, 1, 1, generator=generator)
    noise = 0.04 * torch.randn(n, 1, CROP, CROP, generator=generator) * torch.rand(n, 1, 1, 1, generator=generator)
    return (255 * (level + contrast * (clouds - 0.5) + noise)).clamp(0, 255).to(torch.uint8)[:, 0]


def shuffled(grey: Tensor, generator: Generator) -> Tensor:
    """Return `grey`, (n, 112, 112), cut into 4x4 tiles and put together wrongly: texture without a face."""
    n, side = grey.shape[0], CROP // 4
    tiles = grey.reshape(n, 4, side, 4, side).permute(0, 1, 3, 2, 4).reshape(n, 16, side, side)
    tiles = tiles[:, torch.randperm(16, generator=generator)]
    return tiles.reshape(n, 4, 4, side, side).permute(0, 1, 3, 2, 4).reshape(n, CROP, CROP)


def occluded(grey: Tensor, shapes: Bank, share: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return (n, 112, 112) float pictures of which a share is covered by something, and how much is covered (n,).

    `share`: part of the pictures that is covered, 0 to 1. How much of a face is covered is measured over nose and
    mouth.
    """
    pictures, covered = grey.float(), torch.zeros(len(grey))
    chosen = torch.randperm(len(grey), generator=generator)[: round(share * len(grey))]
    if len(chosen):
        pictures[chosen], covered[chosen] = cover(pictures[chosen], shapes, generator)
    return pictures, covered


def view(grey: Tensor, generator: Generator) -> Tensor:
    """Return (n, 1, 64, 64) standardised views of (n, 112, 112) pictures, moved, mirrored and spoiled."""
    x = _surround(grey[:, None].float(), _grid(len(grey), generator), generator)
    x = _some(x, _coarse(x, generator), 0.2, generator)
    x = _some(x, _blur(x, generator), 0.2, generator)
    return standardise(_light(x, generator), face_weights(INPUT))


def exact_view(grey: Tensor) -> Tensor:
    """Return (n, 1, 64, 64) of (n, 112, 112) luminance as the exported graph computes it."""
    rows, columns = _resampling()
    return standardise((rows @ grey.float() @ columns)[:, None], face_weights(INPUT))


@cache
def _resampling() -> tuple[Tensor, Tensor]:
    x0, y0, x1, y1 = WINDOW
    rows, columns = (resampling(CROP, low, high, INPUT) for low, high in ((y0, y1), (x0, x1)))
    return torch.from_numpy(rows), torch.from_numpy(columns).T.contiguous()


def _surround(source: Tensor, grid: Tensor, generator: Generator) -> Tensor:
    """Return samples of `source`; what lies outside its picture is black for half of the batch.

    The rest gets a random surface there: FER+ pictures end at the chin, a camera's do not.
    """
    inside = (F.max_pool2d(source, 5, 1, 2) > 0).float()
    both = F.grid_sample(
        torch.cat([source, inside], 1), grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )  # fmt: skip
    x, inside = both[:, :1], both[:, 1:]
    n, size = x.shape[0], x.shape[-1]
    clouds = F.interpolate(torch.rand(n, 1, 4, 4, generator=generator), size=(size, size), mode="bilinear")
    level = torch.rand(n, 1, 1, 1, generator=generator)
    surface = 255 * (level + (clouds - 0.5) * torch.rand(n, 1, 1, 1, generator=generator)).clamp(0, 1)
    filled = torch.where(inside < 0.5, surface, x)
    return _some(x, filled, 0.5, generator)
