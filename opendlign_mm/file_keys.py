"""Names of files for objects, whatever the objects are called, and texts that every file format can hold."""
import hashlib
from urllib.parse import quote, unquote

# With the endings of stores and the additions of temporary names, a file name stays below 255 bytes.
MAX_KEY_LENGTH = 150
_PREFIX_LENGTH = 80
# Quoted names have no '~', so that a name with a hash cannot be that of another object.
_HASH_SIGN = '~'


def file_key(sample_id: str) -> str:
    """Return a unique ASCII name for an object that is valid as part of a file name and as a key of a tar archive.

    All characters but letters, digits, '_' and '-' are quoted, so that a key is a single file name: it has no slash,
    is never '.' or '..', and has no dot, at which WebDataset ends a key. Long names are cut and end with a hash.
    :func:`sample_id_of` inverts all others.
    """
    key = quote(sample_id, safe='', errors='surrogatepass').replace('.', '%2E').replace('~', '%7E')
    if key and len(key) <= MAX_KEY_LENGTH:
        return key
    prefix = key[:_PREFIX_LENGTH]
    prefix = prefix[:prefix.rindex('%')] if '%' in prefix[-2:] else prefix
    return f'{prefix}{_HASH_SIGN}{hashlib.sha256(key.encode()).hexdigest()[:32]}'


def sample_id_of(key: str) -> str:
    """Return the ``sample_id`` of a file key; a key with a hash is returned as it is."""
    return key if _HASH_SIGN in key else unquote(key, errors='surrogatepass')


def readable_text(text: str) -> str:
    r"""Return ``text`` with a backslash and a number for NUL and for what is not Unicode.

    Python reads bytes of file names that are not UTF-8 as such characters, which cannot be printed, nor be stored in
    JSON or Parquet.
    """
    return text.encode('utf-8', 'backslashreplace').decode().replace('\0', '\\x00')
