"""What mmengine's ``get_model('opendlign_mm::...')`` calls, under the name that it expects."""
import re

from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader

from .apis.model_download import download_model
from .apis.model_entry import read_index
from .models.checkpoints import read_checkpoint


def register_all_modules(init_default_scope_: bool = True) -> None:
    """Make mmdet3d's the default scope; importing this package has registered every component there.

    Args:
        init_default_scope_: Whether to do so; otherwise nothing is left to do.
    """
    if init_default_scope_:
        init_default_scope('mmdet3d')


def _load_published(filename: str, map_location: str | None = None) -> dict:
    """Let mmengine load the ``Weights`` of the model index: downloaded, compared with their hash, converted."""
    entry, = (entry for entry in read_index() if entry.url == filename)
    return read_checkpoint(download_model(entry))


CheckpointLoader.register_scheme([re.escape(entry.url) for entry in read_index() if entry.url], _load_published,
                                 force=True)
