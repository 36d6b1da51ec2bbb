"""HDR pictures (PQ of SMPTE ST 2084, HLG of ARIB STD-B67) to what an ordinary screen would show of them.

The luminance of HDR reference white, 203 cd/m2, becomes the white of the ordinary picture (ITU-R BT.2408); what is
brighter is rolled off, and colours outside BT.709 are clipped. The ordinary picture has the gamma of BT.1886, 2.4.
"""

import tempfile
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, ColorTrc
from numpy.typing import NDArray

NAMES = {ColorTrc.SMPTE2084: "PQ", ColorTrc.ARIB_STD_B67: "HLG"}
_WHITE = 203.0  # cd/m2, HDR reference white (ITU-R BT.2408, 2.2)
_HLG_PEAK = 1000.0  # cd/m2, nominal peak of the screen that HLG is shown on (ITU-R BT.2100)
_HLG_SYSTEM_GAMMA = 1.2  # of such a screen
_GAMMA = 2.4  # ITU-R BT.1886
_KNEE = 0.85  # of white: below, nothing is changed; above, highlights are rolled off
_SIZE = 33  # entries along each edge of the look-up table
_BT2020, _P3_D65 = 9, 12  # colour primaries, ITU-T H.273, table 2
_BT2020_MATRICES = (9, 10)  # matrix coefficients, ITU-T H.273, table 4
# Linear RGB of the primaries to linear RGB of BT.709 (ITU-R BT.2087; SMPTE EG 432-1 for P3).
_TO_BT709 = {
    _BT2020: ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
    _P3_D65: ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)),
}

Values = NDArray[np.float64]


class ToneMapper:
    """Map the pictures of one stream with a look-up table in FFmpeg's lut3d filter."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._form: tuple[object, ...] | None = None

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """Return `frame`, whose `color_trc` must be one of `NAMES`, as a full-range RGB picture of BT.709."""
        form = (frame.width, frame.height, frame.format.name, frame.color_trc, frame.color_primaries, frame.colorspace)
        if form != self._form:
            self._graph, self._form = _graph(frame), form
        assert self._graph is not None
        self._graph.push(frame)
        return self._graph.vpull()


def _graph(frame: VideoFrame) -> Graph:
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 90_000)
    )
    matrix = "bt2020" if frame.colorspace in _BT2020_MATRICES else "bt709"
    full = frame.color_range == ColorRange.JPEG
    to_rgb = graph.add("scale", f"in_color_matrix={matrix}:in_range={'full' if full else 'limited'}:out_range=full")
    deep = graph.add("format", "gbrp12le")
    sink = graph.add("buffersink")
    with tempfile.TemporaryDirectory(prefix="affectstream-") as folder:
        path = Path(folder) / "hdr.cube"  # the filter reads it once, here
        path.write_text(cube(ColorTrc(frame.color_trc), int(frame.color_primaries)), encoding="ascii")
        lut = graph.add("lut3d", file=str(path), interp="tetrahedral")
        for one, other in ((source, to_rgb), (to_rgb, deep), (deep, lut), (lut, sink)):
            one.link_to(other)
        graph.configure()
    return graph


@lru_cache(maxsize=4)
def cube(transfer: ColorTrc, primaries: int) -> str:
    """Return the text of a .cube file: signal values of `transfer` and `primaries` (H.273) to BT.709's, all in 0..1."""
    steps = np.linspace(0.0, 1.0, _SIZE)
    signal = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)[
        :, ::-1
    ]  # red runs fastest
    lines = "\n".join(f"{red:.5f} {green:.5f} {blue:.5f}" for red, green, blue in to_sdr(signal, transfer, primaries))
    return f"LUT_3D_SIZE {_SIZE}\n{lines}\n"


def to_sdr(signal: Values, transfer: ColorTrc, primaries: int = _BT2020) -> Values:
    """Return BT.709 signal values (n, 3) in 0..1 for HDR `signal` values (n, 3) in 0..1."""
    light = (_pq_light if transfer == ColorTrc.SMPTE2084 else _hlg_light)(signal) / _WHITE
    if primaries in _TO_BT709:
        light = light @ np.array(_TO_BT709[primaries]).T
    light = np.maximum(light, 0.0)
    brightest = light.max(axis=1, keepdims=True)
    over = np.maximum(brightest - _KNEE, 0.0)
    rolled = np.minimum(brightest, _KNEE) + (1 - _KNEE) * (1 - np.exp(-over / (1 - _KNEE)))
    light *= rolled / np.maximum(brightest, 1e-9)  # all three by one factor, so that the hue stays
    return np.asarray(light ** (1 / _GAMMA))


def _pq_light(signal: Values) -> Values:
    """Return cd/m2 of PQ `signal` (SMPTE ST 2084, equation 4.1)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = signal ** (1 / m2)
    return np.asarray(10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1))


def _hlg_light(signal: Values) -> Values:
    """Return cd/m2 of HLG `signal` (n, 3) on the nominal screen (ITU-R BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ np.array((0.2627, 0.6780, 0.0593))
    return np.asarray(_HLG_PEAK * np.maximum(luminance, 1e-9)[:, None] ** (_HLG_SYSTEM_GAMMA - 1) * scene)
