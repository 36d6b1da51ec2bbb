"""Errors of weights and engines; their root, `UserError`, is that of the whole project."""

from models.errors import UserError

__all__ = ["EngineError", "UserError", "WeightsError"]


class WeightsError(UserError):
    """Report a weight file that is missing, altered or unusable."""


class EngineError(UserError):
    """Report an engine that is unknown, cannot be built, or does not compute what its reference computes."""
