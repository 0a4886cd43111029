"""Errors a user can cause, each with the exit code of the command that meets it.

Messages name the file, the key and the value. Anything that is not a `YoloxError` is a bug of
ours: it keeps its traceback and the command exits 1.
"""


class YoloxError(Exception):
    """A run-time failure that is explained by its message."""

    exit_code = 1


class UsageError(YoloxError):
    """A wrong command line, experiment file or configuration."""

    exit_code = 2


class DataError(YoloxError):
    """A data set, annotation file or image that cannot be used."""

    exit_code = 3


class ModelError(YoloxError):
    """A checkpoint or a model that cannot be used."""

    exit_code = 4


class ExportError(YoloxError):
    """An export that failed or drifted from its source model."""

    exit_code = 5
