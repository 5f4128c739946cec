"""Files and folders that are written completely or not at all: temporary name first, then rename.

Temporary names hold the host and a random number: processes of several nodes that write to one file system may have
equal process numbers. They begin with a dot and contain ``.part`` or end with ``.old``, by which leftovers of killed
processes can be recognized.
"""
import errno
import fcntl
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

MAX_NAME_BYTES = 255  # of most file systems


@contextmanager
def atomic_write(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to; rename it to ``path`` if the block succeeds, remove it otherwise.

    The temporary file is in the folder of ``path``, so that renaming is atomic, and keeps the suffix, by which some
    writers choose the format. Missing parent folders are made. Of several writers at a time the last one wins.

    Args:
        path: File to write; an existing one is replaced.
        durable: Whether to wait until the file is on the disk, so that it is complete even after a power failure.
            Caches of many small files can do without.

    Raises:
        FileNotFoundError: The block did not write the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = temporary_name(path, f'.part{path.suffix if len(path.suffix) < 20 else ""}')
    try:
        yield unfinished
        if durable:
            _flush_to_disk(unfinished)
        os.replace(unfinished, path)
        if durable:
            _flush_folder_to_disk(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; rename it to ``path`` if the block succeeds, remove it otherwise.

    An existing folder is replaced, and stays as it was if the block fails. Missing parent folders are made. The files
    are on the disk before the folder appears. Of several writers at a time the last one wins.

    Args:
        path: Folder to write.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = temporary_name(path, '.part')
    unfinished.mkdir()
    try:
        yield unfinished
        for file in unfinished.rglob('*'):
            if file.is_file():
                _flush_to_disk(file)
        _replace_folder(unfinished, path)
        _flush_folder_to_disk(path.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def exclusive_lock(path: str | Path, busy: str) -> Iterator[None]:
    """Hold a lock file during the block, so that no other process or thread enters a block with the same file.

    The file is removed in the end. The lock of a process that dies ends with it. A file system without locks, or a
    folder that cannot be written, counts as free.

    Args:
        path: Lock file.
        busy: Message of the error.

    Raises:
        RuntimeError: Another process or thread holds the lock.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(path.open('a+'))
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have removed the file between opening and locking: another process may hold a new one.
            is_free = path.exists() and os.path.samestat(os.fstat(stream.fileno()), path.stat())
            if is_free:
                stack.callback(path.unlink, missing_ok=True)
        except (BlockingIOError, FileNotFoundError):
            is_free = False
        except OSError:
            is_free = True
        if not is_free:
            raise RuntimeError(busy)
        yield


def temporary_name(path: Path, ending: str) -> Path:
    """Return a hidden name next to ``path`` that no other process or thread uses, on whatever machine."""
    unique = f'.{socket.gethostname()[:32]}-{uuid.uuid4().hex}{ending}'
    room = MAX_NAME_BYTES - len(os.fsencode(unique)) - 1
    stem = os.fsencode(path.stem)[:max(room, 0)].decode(errors='ignore')
    return path.with_name(f'.{stem}{unique}')


def _replace_folder(unfinished: Path, path: Path) -> None:
    """Rename a folder to ``path``, where another folder may be or may appear meanwhile."""
    old = None
    try:
        while True:
            if path.exists():  # os.rename does not replace a folder that has files
                moved = temporary_name(path, '.old')
                with suppress(FileNotFoundError):  # another writer was faster
                    os.rename(path, moved)
                    if old is not None:
                        shutil.rmtree(old, ignore_errors=True)
                    old = moved
            try:
                os.rename(unfinished, path)
                return
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    continue
                if old is not None:
                    os.rename(old, path)
                raise
    finally:
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)


def _flush_to_disk(file: Path) -> None:
    with file.open('rb') as stream:
        os.fsync(stream.fileno())


def _flush_folder_to_disk(folder: Path) -> None:
    """Write the names in a folder to the disk, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
