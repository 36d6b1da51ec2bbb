"""What a process says of a model that it has in memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines import weights


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Hold what events say of a model, a line for each licence of its weights, and why it reads nothing."""

    info: dict[str, Any]
    licences: list[str]
    problems: list[str]


def commercial(info: Mapping[str, Any]) -> bool:
    """Return whether the weights that `info` (see `service.runtime.Runtime.info`) names may be used commercially.

    The licence of weights that a user imported is not known here, so the answer for them is no.
    """
    allowed = {entry.version: entry.commercial for entry in weights.entries() if entry.version}
    return all(allowed.get(info[part], False) for part in ("weights", "voice") if part in info)
