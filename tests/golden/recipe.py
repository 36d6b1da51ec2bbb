"""Deterministic weights and inputs behind the reference numbers of this folder (numpy only)."""

import hashlib
import math
import re
import zlib

import numpy as np

# model -> (conv_gain, gains)
MODELS = {
    "tsav": (0.8, [(r"^fc\.1\.weight$", 0.2)]),
    "mimamo": (1.0, []),
    "abaw3": (0.9, []),
}


def rng_for(key, seed):
    return np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()) + seed))


def fill(key, shape, seed, conv_gain=1.0, gains=()):
    """Value of the state_dict entry `key`; None means: keep the value the module computed itself."""
    g, shape, last = rng_for(key, seed), tuple(shape), key.rsplit(".", 1)[-1]
    if last == "pos_embedding":
        return None
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if last == "running_mean":
        a = 0.1 * g.standard_normal(shape)
    elif last == "running_var":
        a = g.uniform(0.5, 1.5, shape)
    elif "bias" in last:
        a = 0.1 * g.standard_normal(shape)
    elif len(shape) <= 1:  # BatchNorm / LayerNorm weight
        a = g.uniform(0.5, 1.5, shape)
    elif re.match(r"weight_(ih|hh)_l", last):  # GRU
        a = g.standard_normal(shape) / math.sqrt(shape[0] // 3)
    else:  # conv / linear / attention in_proj
        a = g.standard_normal(shape) * math.sqrt(2.0 / math.prod(shape[1:]))
        if len(shape) >= 4:  # convolutions
            a = a * conv_gain
    for pattern, factor in gains:
        if re.search(pattern, key):
            a = a * factor
    return a.astype(np.float32)


def weights_sha(state):
    """sha256 over the filled float entries {key: float32 array}, in sorted key order: key bytes, then array bytes."""
    h = hashlib.sha256()
    for k in sorted(state):
        if not k.endswith(("num_batches_tracked", "pos_embedding")):
            h.update(k.encode())
            h.update(np.ascontiguousarray(state[k], "<f4").tobytes())
    return h.hexdigest()


def sha(a):
    """sha256 of the C-order little-endian bytes."""
    a = np.ascontiguousarray(a)
    return hashlib.sha256(a.astype(a.dtype.newbyteorder("<"), copy=False).tobytes()).hexdigest()


# ---- generated inputs
f32 = np.float32


def up(a, **reps):
    """repeat along axes, e.g. up(a, ax3=16)"""
    for axis, r in reps.items():
        a = np.repeat(a, r, axis=int(axis[2:]))
    return a


def tsav_inputs(seed):
    g = rng_for("input:tsav.clip", seed)
    clip = (
        g.standard_normal((2, 4, 8, 1, 1))
        + up(g.standard_normal((2, 4, 8, 7, 7)), ax3=16, ax4=16)
        + 0.3 * g.standard_normal((2, 4, 8, 112, 112))
    )
    g = rng_for("input:tsav.audio", seed)
    audio = up(g.standard_normal((2, 1, 8, 13)), ax2=8, ax3=77) * np.array([0.5, 1.5]).reshape(
        2, 1, 1, 1
    ) + 0.3 * g.standard_normal((2, 1, 64, 1001))
    return clip.astype(f32), audio.astype(f32)


def mimamo_inputs(seed):
    g = rng_for("input:mimamo.phase_0", seed)
    p0 = (
        0.5 * g.standard_normal((2, 16, 24, 1, 1))
        + 0.6 * up(g.standard_normal((2, 16, 24, 6, 6)), ax3=8, ax4=8)
        + 0.2 * g.standard_normal((2, 16, 24, 48, 48))
    )
    g = rng_for("input:mimamo.phase_1", seed)
    p1 = (
        0.5 * g.standard_normal((2, 16, 24, 1, 1))
        + 0.6 * up(g.standard_normal((2, 16, 24, 3, 3)), ax3=8, ax4=8)
        + 0.2 * g.standard_normal((2, 16, 24, 24, 24))
    )
    g = rng_for("input:mimamo.rgb", seed)
    rgb = np.maximum(g.standard_normal((2, 16, 2048)), 0)
    return p0.astype(f32), p1.astype(f32), rgb.astype(f32)


def abaw3_inputs(seed):
    g = rng_for("input:abaw3.image", seed)
    x = (
        g.standard_normal((1, 3, 1, 1))
        + up(g.standard_normal((1, 3, 13, 13)), ax2=23, ax3=23)
        + 0.3 * g.standard_normal((1, 3, 299, 299))
    )
    g = rng_for("input:abaw3.ema", seed)
    au = np.cumsum(0.5 * g.standard_normal((20, 12, 16)), 0)
    va = np.cumsum(0.5 * g.standard_normal((20, 16)), 0)
    return x.astype(f32), au.astype(f32), va.astype(f32)


def waveform(seed):
    """12 s, 44.1 kHz, int16 mono: three linear chirps with slow envelopes + noise, digital silence in 6.0-6.3 s."""
    sr, T = 44100, 12.0
    g = rng_for("input:audio.wave", seed)
    t = np.arange(int(sr * T)) / sr
    y = np.zeros_like(t)
    for _ in range(3):
        f0, f1, a, fe, pe = (
            g.uniform(80, 1500),
            g.uniform(500, 9000),
            g.uniform(0.1, 0.25),
            g.uniform(0.2, 0.9),
            g.uniform(0, 2 * np.pi),
        )
        y += (
            a
            * (0.6 + 0.4 * np.sin(2 * np.pi * fe * t + pe))
            * np.sin(2 * np.pi * (f0 * t + (f1 - f0) * t * t / (2 * T)))
        )
    y += 0.02 * g.standard_normal(t.size)
    y[int(6.0 * sr) : int(6.3 * sr)] = 0.0
    return np.clip(np.rint(y * 32767), -32768, 32767).astype(np.int16)


def grey_frames(seed):
    """13 smooth 48x48 frames in [0, 1]: drifting gratings (wavelengths about 4 to 12 px) and moving blobs."""
    g = rng_for("input:phase.frames", seed)
    yy, xx = np.mgrid[0:48, 0:48].astype(np.float64)
    k = np.arange(13.0)[:, None, None]
    f = np.full((13, 48, 48), 0.5)
    for wl, horiz, sign in ((4.4, 1, 1), (4.8, 0, -1), (9.0, 1, -1), (10.5, 0, 1)):
        c, other = (xx, yy) if horiz else (yy, xx)
        slant, speed, ph = g.uniform(-0.03, 0.03), sign * g.uniform(0.25, 0.6), g.uniform(0, 2 * np.pi)
        f += 0.09 * np.sin(2 * np.pi * (c + slant * other) / wl + ph + speed * k)
    for _ in range(3):
        cx, cy, vx, vy = g.uniform(12, 36), g.uniform(12, 36), g.uniform(-0.4, 0.4), g.uniform(-0.4, 0.4)
        f += 0.05 * np.exp(-((xx - cx - vx * k) ** 2 + (yy - cy - vy * k) ** 2) / (2 * 5.0**2))
    return np.clip(f, 0, 1).astype(f32)
