"""Files and folders that appear complete or not at all."""
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
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


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder to fill; it becomes ``path`` when the block ends well and is removed when it fails.

    An existing folder is replaced, and stays as it was if the block fails. Parent directories are made.

    Args:
        path: The folder to write.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished, old = (path.with_name(f'.{path.name}.{os.getpid()}.{ending}') for ending in ('part', 'old'))
    unfinished.mkdir()
    try:
        yield unfinished
        if path.exists():
            os.rename(path, old)  # a folder with files in it cannot be renamed over
        try:
            os.rename(unfinished, path)
        except OSError:
            if old.exists():
                os.rename(old, path)
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
