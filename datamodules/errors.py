"""Errors that are printed as one sentence: a user's mistake, and a disk that fails."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ShardError", "StorageError", "UserError", "as_storage_error", "as_user_error"]


class UserError(ValueError):
    """A user's mistake; its message names the given value, the allowed ones and the remedy.

    It is raised where the mistake is found, by `datamodules`, `lightning_modules` and plugins, and
    caught once, by the command: the sentence goes to standard error and the exit code is 2, without
    a traceback. Any other exception is a defect of the code that raised it.
    """


class StorageError(OSError):
    """A file that cannot be written or read though the command is right: a full disk, no access.

    Caught like a `UserError`, but with an exit code of its own, 74.
    """


class ShardError(Exception):
    """A file of a packed dataset that cannot be read, which is no fault of the videos in it.

    No other video takes the place of those; what reads them ends. Told like a `StorageError`.
    """


@contextmanager
def as_storage_error(what: object, advice: str) -> Iterator[None]:
    """Turn an error of the disk into a `StorageError`.

    Args:
        what: The file or folder that is being written.
        advice: The remedy, as the end of a sentence.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{what} cannot be written ({reason}); {advice}") from error


@contextmanager
def as_user_error() -> Iterator[None]:
    """Turn the `ValueError` of code that knows no `UserError` into one.

    For what is called with a user's own values: networks, their weights, classes named in a config.
    """
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from error
