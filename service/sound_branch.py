"""The default model's second half: the voice network, what weighs it against the face, and how a session gets it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from engines.errors import UserError, WeightsError
from engines.load import Loaded, load
from service.adapters.voice import MODEL, Infer, Trust, VoiceReader, read_trust
from service.aggregation.fusion import Fusion

log = logging.getLogger(__name__)

# Of a face network whose file does not say how it did: face-mt-1 on FER+'s test faces.
FACE_TRUST = Trust(valence=0.877, arousal=0.878, expression=0.666)
ENGINE = "openvino:fp32"  # a fifth of a millisecond a second of sound: nothing is to be won by fewer bits


def load_voice(engine: str = ENGINE) -> Loaded:
    """Return the voice network, compiled. Raise `EngineError` or `WeightsError`."""
    return load(MODEL, engine, threads=1)


@dataclass(frozen=True, slots=True)
class SoundBranch:
    """Shared by all sessions. `reload`: compiles an engine of the voice network by its name."""

    loaded: Loaded
    of_face: Trust
    of_voice: Trust
    reload: Callable[[str], Loaded] = load_voice

    def fusion(self, infer: Infer, weight: float = 1.0) -> Fusion:
        """Return that of a new session, whose readings come by `infer`; `weight` as in `Fusion`."""
        return Fusion(VoiceReader(infer), self.of_face, self.of_voice, weight)


def load_sound_branch(face: Loaded) -> SoundBranch | None:
    """Return the branch beside this face network; None, with the reason in the log, where it cannot be had.

    Its file may be missing, altered or not say how far to trust it; faces are then read alone.
    """
    try:
        loaded = load_voice()
        of_voice = read_trust(loaded.weights.location)
        if of_voice is None:
            raise WeightsError(f"{loaded.weights.file} does not say how it did on validation data.")
        return SoundBranch(loaded, read_trust(face.weights.location) or FACE_TRUST, of_voice)
    except UserError as error:
        log.warning("faces are read without the voice: %s", error)
        return None
