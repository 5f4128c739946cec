"""Files that appear whole or not at all."""
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Union


@contextmanager
def atomic_write(path: Union[str, Path]) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes ``path`` when the block ends well and is removed when it fails.

    The temporary file lies beside ``path``, so that renaming is atomic, and keeps its ending, which writers look at.
    Parent directories are made.

    Args:
        path: The file to write; an existing one is replaced.

    Raises:
        FileNotFoundError: The block did not write the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'.{path.stem}.{os.getpid()}.part{path.suffix}')
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
