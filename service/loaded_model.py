"""What a process says of a model that it has in memory."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Hold what events say of a model, a line for each licence of its weights, and why it reads nothing."""

    info: dict[str, Any]
    licences: list[str]
    problems: list[str]
