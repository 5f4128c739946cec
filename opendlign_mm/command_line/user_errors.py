"""Errors that the user can fix, reported as one message instead of a traceback."""
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mmengine

_PACKAGE = Path(__file__).resolve().parents[1]
_MMENGINE = Path(mmengine.__file__).resolve().parent
_OWN = (_PACKAGE, _PACKAGE.parent / 'tools')
# mmengine raises errors about names, files and options of the user in these.
_USER_FACING = (*_OWN, _MMENGINE / 'config', _MMENGINE / 'registry', _MMENGINE / 'runner' / 'checkpoint.py',
                _MMENGINE / 'fileio')


@contextmanager
def user_errors(show_traceback: bool = False) -> Iterator[None]:
    """Print an error that is meant for the user (a missing file, a wrong argument) as one message and exit with 2.

    These are errors about missing files, errors of this project's checks, also where they explain an error of a library
    (``raise ... from error``), and errors of mmengine about configs, names and checkpoints. Any other error keeps its
    traceback: it is a defect to report.

    Args:
        show_traceback: Whether to print the traceback of all errors.
    """
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, AssertionError, ImportError) as error:
        message = None if show_traceback else _message_for_the_user(error)
        if message is None:
            raise
        print(f'\nerror: {message}\n(--traceback shows where it was raised)', file=sys.stderr)
        sys.exit(2)


def _message_for_the_user(error: BaseException) -> str | None:
    """Return the message of an error that is meant for the user; None for a defect."""
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if ' in DataLoader worker process ' in message:
        # PyTorch passes the error of a data worker on as the text of its traceback.
        origin = re.findall(r'^  File "(.+)", line', message, re.MULTILINE)[-1]
        message = re.split(rf'^{type(error).__name__}: ', message, flags=re.MULTILINE)[-1].strip()
    elif isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)):
        return message
    else:
        # Registries raise errors again: take the first error, or the last one that this project explained.
        while error.__cause__ or error.__context__:
            if error.__suppress_context__ and _is_in(_origin_of(error), _OWN):
                break
            error = error.__cause__ or error.__context__
        origin = _origin_of(error)
    return message if _is_in(origin, _USER_FACING) else None


def _origin_of(error: BaseException) -> str:
    return traceback.extract_tb(error.__traceback__)[-1].filename


def _is_in(origin: str, places: tuple[Path, ...]) -> bool:
    path = Path(origin).resolve()
    return any(place == path or place in path.parents for place in places)
