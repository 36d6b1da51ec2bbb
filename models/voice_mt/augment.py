"""Other throats, rooms, noises, lines and gains, made of decibels of mel power. Repeatable with its generator."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from models.voice_mt.network import CHANNELS

_WARPED = CHANNELS + 8  # channels that a shift of the mel axis may bring into sight
SILENCE_DB = -100.0


def warp(x: Tensor, generator: Generator) -> Tensor:
    """`x`: (n, channels, T) -> a shift and stretch of the mel axis, a stretch of time that keeps the newest column."""
    n = x.shape[0]
    r = torch.randn(n, 3, generator=generator).clamp(-2, 2)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = 1 + 0.12 * r[:, 0]
    theta[:, 0, 2] = 1 - theta[:, 0, 0]
    theta[:, 1, 1] = 1 + 0.04 * r[:, 1]
    theta[:, 1, 2] = 0.035 * r[:, 2]
    grid = F.affine_grid(theta, [n, 1, x.shape[1], x.shape[2]], align_corners=False)
    return F.grid_sample(x[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]


def augment(x: Tensor, backgrounds: Tensor, generator: Generator) -> Tensor:
    """`x`: (n, 64, T) dB -> (n, 46, T) dB. `backgrounds`: (m, 64, T) dB of sounds that may be heard beside a voice."""
    n, columns = x.shape[0], x.shape[2]
    x = warp(x[:, :_WARPED], generator)[:, :CHANNELS]

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, 1, 1, generator=generator)

    def normal(*shape: int) -> Tensor:
        return torch.randn(n, *shape, generator=generator)

    def some(share: float) -> Tensor:
        return torch.rand(n, generator=generator) < share

    power = 10 ** (x / 10)
    # A room: each column leaves an echo that fades with a reverberation time of 0.2 to 0.8 s.
    fade = 10 ** (-0.6 / uniform(20, 80)) ** torch.arange(columns)
    strength, k = uniform(0, 0.1), some(0.2)
    power[k] = power[k] + strength[k] * fade[k] * torch.cumsum(power[k] / fade[k], 2)
    # Noise of any colour, and sounds of any kind, under the loudest columns.
    loud = power.sum(1).amax(1)[:, None, None] / CHANNELS
    axis = torch.linspace(-1, 1, CHANNELS)[None, :, None]
    colour, snr, k = 12 * normal(1, 1) * axis + 3 * normal(CHANNELS, 1), uniform(5, 40), some(0.3)
    grain = torch.empty(int(k.sum()), CHANNELS, columns).exponential_(generator=generator)  # power of noise is that
    power[k] = power[k] + (loud * 10 ** ((colour - snr) / 10))[k] * grain
    snr, k = uniform(8, 35), some(0.15)
    other = 10 ** (backgrounds[torch.randint(len(backgrounds), (n,), generator=generator), :CHANNELS][k].float() / 10)
    other = other / other.sum(1).amax(1)[:, None, None].clamp_min(1e-9) * CHANNELS
    power[k] = power[k] + (loud * 10 ** (-snr / 10))[k] * other
    x = 10 * torch.log10(power.clamp_min(1e-10))
    # A line: tilt, ripple, and nothing above 3.4 to 8 kHz.
    x = x + (5 * normal(1, 1) * axis + 2 * normal(CHANNELS, 1)) * some(0.3)[:, None, None]
    cut = torch.randint(30, CHANNELS, (n, 1, 1), generator=generator)
    above = (torch.arange(CHANNELS)[None, :, None] >= cut) & some(0.15)[:, None, None]
    return torch.where(above, torch.full_like(x, SILENCE_DB), x)
