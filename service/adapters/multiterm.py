"""Fujitsu's multi-term, multi-task boosting, live: five kinds of features, three windows, sixty LightGBM models.

"Multi-term and multi-task affect analysis in the wild" (ABAW 2020).
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines import weights
from engines.engine import Arrays
from engines.errors import EngineError, WeightsError
from engines.load import LoadedEngine, parse_engine
from engines.papers import boosted
from models.multiterm.live_windows import BlockWindows
from models.multiterm.system import MultiTerm
from models.multiterm.windows import FPS
from models.registry import row
from service.adapters.adapter import Estimate
from service.adapters.face_mt import read_facts
from service.adapters.feature_engine import FACE, FeatureEngine
from service.adapters.frame_features import NAMES, FrameFeatures, Slot
from service.adapters.options import ModelOptions
from service.perception.face import Face
from service.perception.mel import MelStream

MODEL = boosted.MODEL
ENGINE = row(MODEL).engine
RATE = float(FPS)  # of the features


def load(engine: str, *, untrained: bool) -> LoadedEngine:
    """Return the feature networks as an engine, and the boosters' file as its weights.

    Raise `WeightsError` if there are no boosters and `untrained` is false, or if LightGBM is missing, and `EngineError`
    for another engine than OpenVINO in float32.
    """
    backend, precision = parse_engine(engine)
    if f"{backend}:{'fp32' if precision == 'auto' else precision}" != ENGINE:
        raise EngineError(f"{MODEL} runs on {ENGINE}, not {engine}: its boosters were trained on its exact features.")
    if find_spec("lightgbm") is None:
        raise WeightsError(f"{MODEL} needs LightGBM; install it: pip install 'affectstream[multiterm]'.")
    networks = FeatureEngine(weights.path)
    return LoadedEngine(networks, boosted.system(networks.width, untrained=untrained), None)


@cache
def system_at(path: Path) -> MultiTerm:
    """Return the boosters in a file, shared by all sessions."""
    return MultiTerm.load(path)


class Multiterm:
    """Read features 30 times a second, and estimate at a face's first frame and every 0.2 s after it."""

    def __init__(self, loaded: LoadedEngine, options: ModelOptions) -> None:
        """Begin a session; `rate` is the only one of the `options` that is read."""
        self._system = system_at(loaded.weights.location)
        facts = read_facts(weights.path(FACE))
        self._features = FrameFeatures(facts, options.rate or RATE, wanted=self._system.standard)
        # Deep features mean something else under other weights.
        self._deep = self._system.extractor in ("", weights.entry(FACE).version)
        self._windows: dict[int, BlockWindows] = {}

    def inputs(self, t: float, faces: Sequence[Face], mel: MelStream) -> Arrays | None:
        """Return the inputs at `t` seconds as `FeatureEngine` takes them, or None if no request is due."""
        return self._features.ask(t, faces)

    def estimates(self, t: float, faces: Sequence[Face], outputs: Arrays) -> dict[int, Estimate]:
        """Return an estimate for each face whose windows end here."""
        due: dict[int, tuple[float, dict[int, NDArray[np.float64]]]] = {}
        rows = self._features.read(t, faces, outputs)
        for track, slots in rows.items():
            for slot in slots:
                windows = self._push(track, slot)
                if windows.complete or slot.first:
                    due[track] = slot.t, windows.statistics()
        self._windows = {track: self._windows[track] for track in self._features.tracks if track in self._windows}
        return self._estimates(due)

    def unanswered(self) -> None:
        """Allow the next request when it is due."""
        self._features.unanswered()

    def _push(self, track: int, slot: Slot) -> BlockWindows:
        if slot.first or track not in self._windows:
            self._windows[track] = BlockWindows(self._system.width, slot.number, self._system.terms)
        frames = {name: x[None] for name, x in slot.row.items() if name != "deep" or self._deep}
        self._windows[track].push(self._system.standardised(frames)[0])
        return self._windows[track]

    def _estimates(self, due: dict[int, tuple[float, dict[int, NDArray[np.float64]]]]) -> dict[int, Estimate]:
        if not due:
            return {}
        terms = {term: np.stack([found[term] for _, found in due.values()]) for term in self._system.terms}
        predicted = self._system.predict(self._system.by_modality(terms))
        return {
            track: Estimate(
                track=track,
                t=t,
                valence=float(predicted["va"][i, 0]),
                arousal=float(predicted["va"][i, 1]),
                expression=predicted["expression"][i].astype(np.float32),
                missing=self._missing(found[self._system.terms[-1]][0]),
            )
            for i, (track, (t, found)) in enumerate(due.items())
        }

    def _missing(self, mean: NDArray[np.float64]) -> tuple[str, ...]:
        """Return what the model was trained with and the longest window lacks: whole modalities, else features."""
        names: list[str] = []
        for modality, part in self._system.columns().items():
            trained = np.isfinite(self._system.standard[modality][0])
            unknown = np.isnan(mean[part]) & trained
            columns = np.array(NAMES.get(modality, (modality,) * len(trained)))
            names += [modality] if unknown.sum() == trained.sum() else dict.fromkeys(columns[unknown].tolist())
        return tuple(names)
