"""Files and folders that are written completely or not at all: temporary name first, then rename."""
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to; rename it to ``path`` if the block succeeds, remove it otherwise.

    The temporary file is in the folder of ``path``, so that renaming is atomic, and keeps the suffix, by which some
    writers choose the format. Missing parent folders are made.

    Args:
        path: File to write; an existing one is replaced.

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
    """Yield a temporary folder to fill; rename it to ``path`` if the block succeeds, remove it otherwise.

    An existing folder is replaced, and stays as it was if the block fails. Missing parent folders are made.

    Args:
        path: Folder to write.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished, old = (path.with_name(f'.{path.name}.{os.getpid()}.{ending}') for ending in ('part', 'old'))
    unfinished.mkdir()
    try:
        yield unfinished
        if path.exists():
            os.rename(path, old)  # os.rename does not replace a folder that has files
        try:
            os.rename(unfinished, path)
        except OSError:
            if old.exists():
                os.rename(old, path)
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
