"""Report errors that the user can fix as one message instead of a traceback."""
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
# mmengine raises from these where a name, a file or an option of the user's is wrong.
_USER_FACING = (*_OWN, _MMENGINE / 'config', _MMENGINE / 'registry', _MMENGINE / 'runner' / 'checkpoint.py',
                _MMENGINE / 'fileio')


@contextmanager
def user_errors(show_traceback: bool = False) -> Iterator[None]:
    """Print an error that was raised for the user (a missing file, a wrong argument) as one message and exit with 2.

    An error counts as such when it is about a file that is not there, or was raised by this project's own checks or by
    mmengine's on configs, names and checkpoints. An error of a library that this project words anew (``raise ... from
    error``) counts, too. Any other error keeps its traceback: it is a defect to report.

    Args:
        show_traceback: Print the traceback of those, too.
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
    """The message of an error that was raised for the user; None for a defect."""
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if ' in DataLoader worker process ' in message:
        # PyTorch hands over an error of a data worker as the text of its traceback.
        origin = re.findall(r'^  File "(.+)", line', message, re.MULTILINE)[-1]
        message = re.split(rf'^{type(error).__name__}: ', message, flags=re.MULTILINE)[-1].strip()
    elif isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)):
        return message
    else:
        # Registries raise errors again: look at the first one, or at the last that this project worded anew.
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
