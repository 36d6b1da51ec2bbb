"""What every model family gives the pipeline: its network's inputs out of faces and sound, estimates out of outputs."""

from collections.abc import Sequence
from typing import Protocol

from engines.engine import Arrays
from service.inference.estimate import Estimate
from service.perception.face import Face
from service.perception.mel import MelStream


class Adapter(Protocol):
    """One per session and causal: it may keep state, but only of what lies at or before the times it was given."""

    def inputs(self, t: float, faces: Sequence[Face], mel: MelStream) -> Arrays | None:
        """The network's inputs for all `faces` of the frame at `t` (seconds), stacked along axis 0; None: nothing to
        run now, the last estimates hold.
        """

    def estimates(self, t: float, faces: Sequence[Face], outputs: Arrays) -> dict[int, Estimate]:
        """Estimates by track, from the outputs for the inputs of the same call."""

    def unanswered(self) -> None:
        """There are no outputs for the last inputs and will be none."""
