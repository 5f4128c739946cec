"""Files that a dataset consists of: found, or named in one error that says how to get them."""
import json
from pathlib import Path
from typing import Any

PathLike = str | Path


def required(path: PathLike, remedy: str) -> Path:
    """``path``, if there is such a file or folder.

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
    there = ', '.join(sorted(entry.name for entry in above.iterdir())[:8]) if above.is_dir() else ''
    there = f' {above} has: {there or "nothing"}.' if above not in (Path(), Path('/')) else ''
    raise FileNotFoundError(f'{path} does not exist{place}.{there} {remedy}')


def read_lines(path: PathLike, remedy: str) -> list[str]:
    """Lines of a text file, without blanks at their ends and without empty ones.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has no line, or is not text.
    """
    path = required(path, remedy)
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except UnicodeDecodeError:
        lines = []
    lines = [line for line in lines if line]
    if not lines:
        raise ValueError(f'{path} is not a text file with one entry a line. {remedy}')
    return lines


def read_json(path: PathLike, remedy: str) -> Any:
    """Contents of a JSON file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON, for example cut off.
    """
    path = required(path, remedy)
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        problem = str(error)
    raise ValueError(f'{path} is not a JSON file ({problem}); it may be cut off. {remedy}')
