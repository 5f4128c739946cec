"""Files that a dataset consists of: found and read, or named in one error that says how to get them; the cache."""
import errno
import json
import os
from pathlib import Path
from typing import Any

PathLike = str | Path

# What the machine lacks: the next file would fail as well, and this one can be read another time.
_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EROFS, errno.ENOLCK}


def is_error_of_machine(error: BaseException) -> bool:
    """Return whether an error is about the machine, such as a full disk or too many open files, and not about a file.

    Such an error must never make a sample count as unreadable.
    """
    return isinstance(error, MemoryError) or isinstance(error, OSError) and error.errno in _MACHINE


def required(path: PathLike, remedy: str) -> Path:
    """Return ``path``, if there is such a file or folder.

    Args:
        path: A file or folder of a dataset.
        remedy: Where it comes from and what to do, for the message.

    Raises:
        FileNotFoundError: There is nothing at ``path``; the message says where it was looked for.
    """
    path = Path(path)
    if path.exists():
        return path
    place = '' if path.is_absolute() else f' (in {Path.cwd()})'
    above = next(folder for folder in path.parents if folder.exists())
    content = ', '.join(sorted(entry.name for entry in above.iterdir())[:8]) if above.is_dir() else ''
    content = f' {above} has: {content or "nothing"}.' if above not in (Path(), Path('/')) else ''
    raise FileNotFoundError(f'{path} does not exist{place}.{content} {remedy}')


def required_file(path: PathLike, remedy: str) -> Path:
    """Return ``path``, if it is a file.

    Raises:
        FileNotFoundError: There is nothing at ``path``.
        ValueError: There is something else, such as a folder or a named pipe, reading which would wait forever.
    """
    path = required(path, remedy)
    if not path.is_file():
        raise ValueError(f'{path} is not a file. {remedy}')
    return path


def read_text(path: PathLike, remedy: str) -> str:
    """Return the contents of a text file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a file, or not UTF-8; the message names it.
    """
    path = required_file(path, remedy)
    try:
        return path.read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not a text file ({error}). {remedy}') from error


def read_lines(path: PathLike, remedy: str) -> list[str]:
    """Return the lines of a text file, without blanks at their ends and without empty ones.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has no line, or is not text; the message names it.
    """
    lines = [line.strip() for line in read_text(path, remedy).splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        raise ValueError(f'{path} is not a text file with one entry a line. {remedy}')
    return lines


def read_json(path: PathLike, remedy: str = '') -> Any:
    """Return the contents of a JSON file.

    Args:
        path: The file.
        remedy: Where it comes from and what to do, for the message.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON, for example truncated; the message names it.
    """
    path = required_file(path, remedy)
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:  # damaged JSON, damaged UTF-8, thousands of nested brackets
        raise ValueError(f'{path} is not JSON, perhaps truncated: {error}. {remedy}'.rstrip()) from error


def cache_folder() -> Path:
    """Return the folder of downloads and conversions: ``$OPENDLIGN_CACHE``, by default ``~/.cache/opendlign_mm``."""
    default = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache') / 'opendlign_mm'
    return Path(os.environ.get('OPENDLIGN_CACHE') or default).expanduser()
