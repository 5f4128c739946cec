"""Files at addresses (http, https and hf), fetched once into a cache."""
from __future__ import annotations

import hashlib
import json
import re
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

from ..atomic_files import atomic_write
from ..source_files import cache_folder
from .formats import FORMATS

MAX_BYTES = 2**30
TIMEOUT = 30  # seconds without a byte
_HF_ADDRESS = re.compile(r'hf://(?:(?P<kind>datasets|spaces|models)/)?(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/'
                         r'(?P<file>.+)', re.IGNORECASE)


def is_address(source: Any) -> bool:
    """Return whether an input is an address (http, https, hf) and not a path."""
    return isinstance(source, str) and source.lower().startswith(('http://', 'https://', 'hf://'))


def fetch(address: str, max_bytes: int = MAX_BYTES) -> Path:
    """Return the local copy of the file at an address, fetched if it is new or has changed there.

    Copies are kept in ``$OPENDLIGN_CACHE/inputs``, by default ``~/.cache/opendlign_mm/inputs``, and those of the hub in
    its own cache. If the server cannot be reached, a copy that was fetched before is used.

    Args:
        address: ``http(s)://host/path/file.ply``, or ``hf://[datasets/]owner/repository[@revision]/path/file.ply``, for
            which ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` are followed. What a .gltf file refers to is not fetched.
        max_bytes: Largest size of the file.

    Raises:
        FileNotFoundError: There is nothing at the address, or the network cannot be reached.
        ValueError: The name at the address has no known ending, or the file is too large. The message names it.
    """
    parts = urlsplit(address)
    name = PurePosixPath(unquote(parts.path)).name
    if PurePosixPath(name).suffix.lower() not in FORMATS:
        ending = PurePosixPath(name).suffix or 'it has no ending'
        raise ValueError(f'{address} is of no known format ({ending}); points are read from {", ".join(FORMATS)}')
    if address.lower().startswith('hf://'):
        return _from_hub(address, max_bytes)
    folder = cache_folder() / 'inputs' / hashlib.sha256(address.encode()).hexdigest()[:20]
    file, tags = folder / name, folder / 'source.json'
    request = urllib.request.Request(address, headers={'User-Agent': 'opendlign_mm'})
    known = _read_tags(tags) if file.is_file() else {}
    for header, tag in (('If-None-Match', 'ETag'), ('If-Modified-Since', 'Last-Modified')):
        if known.get(tag):
            request.add_header(header, known[tag])
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            _save(response, file, address, max_bytes)
            with atomic_write(tags) as path:
                path.write_text(json.dumps({tag: response.headers.get(tag) for tag in ('ETag', 'Last-Modified')}))
    except urllib.error.HTTPError as error:
        if error.code != 304:
            raise FileNotFoundError(f'{address} cannot be fetched: the server answers {error.code} {error.reason}'
                                    ) from error
    except OSError as error:  # no network, no such host, or the connection broke
        if not file.is_file():
            reason = getattr(error, 'reason', None) or error
            raise FileNotFoundError(f'{address} cannot be fetched: {reason}. Check the network and the address, or '
                                    'give a file') from error
    return file


def _save(response: Any, file: Path, address: str, max_bytes: int) -> None:
    announced = response.headers.get('Content-Length')
    total = int(announced) if announced and announced.isdigit() else None
    if total is not None and total > max_bytes:
        raise ValueError(_too_large(address, total, max_bytes))
    with atomic_write(file) as path:
        with open(path, 'wb') as target, tqdm(total=total, unit='B', unit_scale=True, desc=file.name, leave=False,
                                              disable=None) as bar:
            _copy(response, target, bar, address, max_bytes)
        size = path.stat().st_size
        if total is not None and size != total:
            raise ConnectionError(f'the connection broke after {size} of {total} bytes')


def _copy(source: IO[bytes], target: IO[bytes], bar: tqdm, address: str, max_bytes: int) -> None:
    count = 0
    while block := source.read(1 << 18):
        count += len(block)
        if count > max_bytes:
            raise ValueError(_too_large(address, count, max_bytes))
        target.write(block)
        bar.update(len(block))


def _from_hub(address: str, max_bytes: int) -> Path:
    match = _HF_ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(f'{address} must be hf://owner/repository/path or hf://datasets/owner/repository/path')
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    kind = (match['kind'] or 'models').lower().removesuffix('s')
    place = dict(repo_id=match['repo'], filename=unquote(match['file']), repo_type=kind, revision=match['revision'])
    size = None
    try:
        if not constants.HF_HUB_OFFLINE and not isinstance(try_to_load_from_cache(**place), str):
            size = get_hf_file_metadata(hf_hub_url(**place)).size
        if size is None or size <= max_bytes:
            return Path(hf_hub_download(**place))
    except Exception as error:  # the hub raises errors of its own, of its HTTP client and of the system
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FileNotFoundError(f'{address} cannot be fetched: {reason}') from error
    raise ValueError(_too_large(address, size, max_bytes))


def _too_large(address: str, size: int, max_bytes: int) -> str:
    return f'{address} has at least {size / 2**20:.0f} MB, and at most {max_bytes / 2**20:.0f} MB are fetched'


def _read_tags(path: Path) -> dict:
    try:
        tags = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return tags if isinstance(tags, dict) else {}
