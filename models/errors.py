"""Errors of training, scoring and loading whose text is a sentence for the user."""


class ModelError(ValueError):
    """Bad input: what went wrong, with the value, and what to do next. The command line prints it and exits with 2."""


class CheckpointError(ModelError):
    """A checkpoint is missing, altered, unsafe, or belongs to another network."""


class AnnotationError(ModelError):
    """An annotation or prediction file is not what the data set's format says; names the file and the line."""
