"""Models by name: their list, their config and checkpoint, and the models themselves."""
import difflib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .model_download import download_model, is_downloaded
from .model_entry import ModelEntry, packaged_folder, read_index

if TYPE_CHECKING:
    import torch

DEFAULT_MODEL = 'opendlign-tiny'


def list_models() -> list[ModelEntry]:
    """Return the models of the index, the packaged one first."""
    return [_available(entry) if is_downloaded(entry) else entry for entry in read_index()]


def find_model(name: str) -> ModelEntry:
    """Return a model of the index.

    Raises:
        ValueError: The index has no such name; the message lists those that it has.
    """
    entries = {entry.name: entry for entry in list_models()}
    if name not in entries:
        close = difflib.get_close_matches(name, entries, 1, 0.5)
        raise ValueError(f"there is no model '{name}'" + f", did you mean '{close[0]}'?" * bool(close)
                         + f' Names are {", ".join(entries)}; the path of a config works as well')
    return entries[name]


def resolve_model(name_or_config: str | Path = DEFAULT_MODEL, weights: str | Path | None = None,
                  progress: bool = True) -> tuple[Path, Path | None]:
    """Return the config and the checkpoint of a model.

    Args:
        name_or_config: Name of the index, ``'opendlign_mm::opendlign_tiny.py'`` for a config of this package, or the
            path of a config.
        weights: Path of a checkpoint, or a name of the index for that model's. None: the checkpoint of the name, which
            is downloaded and converted if it is not here; no checkpoint for a config.
        progress: Whether to show the progress of a download.

    Returns:
        Path of the config, and path of the checkpoint or None.

    Raises:
        FileNotFoundError: A file does not exist, or weights can be neither found nor downloaded.
        ValueError: The name is unknown, or a file does not match its hash.
    """
    text = str(name_or_config)
    own = None
    if '::' in text:
        config = _config_of_package(text)
    elif Path(text).expanduser().is_file():
        config = Path(text).expanduser()
    elif text.endswith(('.py', '.json', '.yml', '.yaml')) or os.sep in text:
        raise FileNotFoundError(f'config {text} does not exist; names of models are '
                                f'{", ".join(entry.name for entry in list_models())}')
    else:
        own = find_model(text)
        config = own.config
    if weights is None:
        return config, None if own is None else download_model(own, progress)
    if Path(weights).expanduser().is_file():
        return config, Path(weights).expanduser()
    if str(weights) in {entry.name for entry in read_index()}:
        return config, download_model(find_model(str(weights)), progress)
    raise FileNotFoundError(f'checkpoint {weights} does not exist')


def get_model(name: str, device: 'str | torch.device' = 'cpu') -> Any:
    """Return a model of the index with its weights, in evaluation mode; they are downloaded if they are not here.

    Args:
        name: Name of the index, e.g. ``'opendlign-tiny'``.
        device: Device of the model.

    Raises:
        ValueError: The name is unknown, or the weights do not match their hash.
        FileNotFoundError: The weights can be neither found nor downloaded.
    """
    from .init_model import init_model
    return init_model(*resolve_model(find_model(name).name), device)


def _config_of_package(text: str) -> Path:
    package, _, name = text.partition('::')
    if package != 'opendlign_mm':
        raise ValueError(f"'{text}' is a config of {package}; give one of opendlign_mm, or the path of a config")
    folder = packaged_folder('configs')
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f'opendlign_mm has no config {name}; its configs are in {folder}')
    return path


def _available(entry: ModelEntry) -> ModelEntry:
    size = entry.checkpoint.stat().st_size if entry.checkpoint.is_file() else entry.size
    return replace(entry, available=True, size=size)
