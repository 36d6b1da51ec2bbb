"""The errors of weights and engines; they are `UserError`s, as all errors of this project for the user are."""

from models.errors import UserError

__all__ = ["EngineError", "UserError", "WeightsError"]


class WeightsError(UserError):
    """Report a weight file that is missing, altered or unusable."""


class EngineError(UserError):
    """Report an engine that is unknown, cannot be built, or does not compute what its reference computes."""
