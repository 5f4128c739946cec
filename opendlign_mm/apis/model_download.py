"""Published weights: downloaded once, compared with their hash, converted and kept as .safetensors."""
import contextlib
import fnmatch
import hashlib
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..source_files import cache_folder
from .model_entry import ModelEntry

_SHA256 = re.compile(r'[0-9a-f]{64}')


def is_downloaded(entry: ModelEntry) -> bool:
    """Return whether a model can be used without a download: converted, packaged, or in the hub's cache."""
    return entry.checkpoint.is_file() or (entry.repo is not None and _in_hub_cache(entry) is not None)


def download_model(entry: ModelEntry, progress: bool = True) -> Path:
    """Return the checkpoint of a model in this project's format; download and convert it if it is not here.

    The address of the hub is ``$HF_ENDPOINT``, its cache ``$HF_HOME``. With ``HF_HUB_OFFLINE=1`` nothing is downloaded.

    Args:
        entry: Model of the index.
        progress: Whether to show progress bars on the standard error.

    Raises:
        FileNotFoundError: The file is neither here nor can it be downloaded.
        ValueError: The file does not match its hash, or is not a checkpoint of this model.
    """
    if entry.checkpoint.is_file():
        _refuse_other_source(entry)
        return entry.checkpoint
    if entry.layout == 'packaged':
        raise FileNotFoundError(f"the weights of '{entry.name}' belong to the package and are missing at "
                                f'{entry.checkpoint}; install the package again')
    if entry.repo is not None:
        source = _from_hub(entry, progress)
        _convert(entry, source, _verified_hash(entry, source))
    else:
        with tempfile.TemporaryDirectory(prefix='download-', dir=_made(cache_folder())) as folder:
            source = _from_address(entry, Path(folder) / entry.file, progress)
            _convert(entry, source, _verified_hash(entry, source))
    return entry.checkpoint


def _refuse_other_source(entry: ModelEntry) -> None:
    """Refuse a converted file that was made from another file than the index names."""
    if entry.sha256 is None or entry.layout == 'packaged':
        return
    from ..models.safetensors_files import read_meta
    found = read_meta(entry.checkpoint).get('source_sha256')
    if found != entry.sha256:
        raise ValueError(f'{entry.checkpoint} was converted from a file with SHA-256 {found}, the model index has '
                         f'{entry.sha256}; remove it to download the weights again')


def _from_hub(entry: ModelEntry, progress: bool) -> Path:
    """Return the published file in the hub's cache, downloaded if need be."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    cached = _in_hub_cache(entry)
    if cached is not None:
        return cached
    options: dict[str, Any] = {} if progress else dict(tqdm_class=_silent_bar())
    assert entry.repo is not None  # the model has no address of its own
    try:
        try:
            return Path(hf_hub_download(entry.repo, entry.file, **options))
        except EntryNotFoundError as error:
            if isinstance(error, LocalEntryNotFoundError):  # not in the cache, and no network to look elsewhere
                raise
            return Path(hf_hub_download(entry.repo, _other_name(entry), **options))
    except Exception as error:  # the hub raises errors of its own, of its HTTP client and of the system
        raise FileNotFoundError(_not_downloaded(entry, error)) from error


def _other_name(entry: ModelEntry) -> str:
    """Return the file of the repository that is not called as expected, by the pattern of the index."""
    from huggingface_hub import list_repo_files
    assert entry.repo is not None
    files = list_repo_files(entry.repo)
    matching = [name for name in files if entry.pattern and fnmatch.fnmatch(name, entry.pattern)]
    if len(matching) != 1:
        raise FileNotFoundError(f'{entry.repo} has no file {entry.file}, and {len(matching)} that match '
                                f'{entry.pattern} (it has {", ".join(files) or "none"})')
    return matching[0]


def _from_address(entry: ModelEntry, destination: Path, progress: bool) -> Path:
    from huggingface_hub import constants
    from torch.hub import download_url_to_file
    if constants.HF_HUB_OFFLINE:
        raise FileNotFoundError(_not_downloaded(entry, 'HF_HUB_OFFLINE is set'))
    try:
        download_url_to_file(entry.url, str(destination), progress=progress)
    except Exception as error:
        raise FileNotFoundError(_not_downloaded(entry, error)) from error
    return destination


def _not_downloaded(entry: ModelEntry, reason: object) -> str:
    kind = f'{type(reason).__name__}: ' if isinstance(reason, Exception) else ''
    first_line = (str(reason).strip() or 'no reason given').splitlines()[0]
    return (f"the weights of '{entry.name}' are not here and could not be downloaded ({kind}{first_line}). With "
            f'access, run: opendlign download {entry.name}. Or get {entry.url} elsewhere and run: opendlign convert '
            f'FILE {entry.checkpoint} --model {entry.name}')


def _verified_hash(entry: ModelEntry, source: Path) -> str:
    """Return the SHA-256 of a file; refuse it if the index, or the hub where the index has none, has another."""
    with source.open('rb') as file:
        digest = _digest(file)
    # The hub's cache names large files by their SHA-256, as the server announced it.
    announced = os.path.basename(os.path.realpath(source))
    expected = entry.sha256 or (announced if _SHA256.fullmatch(announced) else None)
    if expected not in (None, digest):
        raise ValueError(f"{source}, the file of '{entry.name}', has SHA-256 {digest} instead of {expected}: it is "
                         'damaged or another file. Remove it and download it again')
    return digest


def _digest(file) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _convert(entry: ModelEntry, source: Path, sha256: str) -> None:
    """Write the checkpoint of a model from a published file."""
    from .convert_checkpoint import convert_3detr, opendlign_from_release
    convert = convert_3detr if entry.layout == '3detr' else opendlign_from_release
    # What the converter prints is for its own command; here the standard output may be read by a program.
    with contextlib.redirect_stdout(sys.stderr):
        convert(source, entry.checkpoint, entry.config, about=dict(model=entry.name, source_sha256=sha256))


def _in_hub_cache(entry: ModelEntry) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    found = try_to_load_from_cache(str(entry.repo), entry.file)
    return Path(found) if isinstance(found, str) else None


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _silent_bar() -> type:
    from tqdm import tqdm

    class SilentBar(tqdm):
        """Progress bar that shows nothing."""

        def __init__(self, *args, **kwargs) -> None:
            kwargs.pop('name', None)
            super().__init__(*args, **dict(kwargs, disable=True))

    return SilentBar
