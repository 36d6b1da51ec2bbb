"""Errors whose text is a sentence for the user: what went wrong, with the value, and what to do next."""


class UserError(Exception):
    """Report bad input from outside. The command line prints the text and exits with 2; HTTP answers 4xx with it."""


class ModelError(UserError, ValueError):
    """Report bad input of training, scoring or loading."""


class CheckpointError(ModelError):
    """Report a checkpoint that is missing, altered, unsafe, or of another network."""


class AnnotationError(ModelError):
    """Report an annotation or prediction file that breaks the format of its data set, by file and line."""
