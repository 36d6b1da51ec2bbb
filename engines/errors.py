"""Errors whose text is a sentence for the user: what went wrong, with the value, and what to do next."""


class UserError(Exception):
    """Bad input from outside. The command line prints it and exits with 2; the HTTP edge answers 4xx with it."""


class WeightsError(UserError):
    """A weight file is missing, altered or unusable."""


class EngineError(UserError):
    """An engine is unknown, cannot be built, or does not compute what its reference computes."""
