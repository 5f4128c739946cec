"""Names of objects as names of files."""
from urllib.parse import quote, unquote


def file_key(sample_id: str) -> str:
    """A name that is valid in tar archives and folders; no two objects share one, and :func:`sample_id_of` undoes it.

    WebDataset ends a key at the first dot, so dots are escaped too.
    """
    return quote(sample_id, safe='').replace('.', '%2E').replace('~', '%7E')


def sample_id_of(key: str) -> str:
    """The ``sample_id`` of a file key."""
    return unquote(key)
