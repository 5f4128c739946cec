"""What ``model-index.yml`` and its metafiles say of each model, and where its files are.

A checkout has these files in ``configs/``, an installed package in ``opendlign_mm/.mim``.
"""
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import yaml

from ..source_files import cache_folder

PACKAGE = Path(__file__).resolve().parents[1]
ASSETS = PACKAGE / 'assets'
Layout = Literal['packaged', 'opendlign', '3detr']


@dataclass(frozen=True)
class ModelEntry:
    """A model of the index.

    Attributes:
        name: Name, e.g. ``'opendlign-h14'``.
        config: Path of its config.
        layout: Layout of the published file: ``'packaged'`` comes with the package, ``'opendlign'`` and ``'3detr'`` are
            those of the releases, which are converted.
        repo: Repository of the Hugging Face hub; None for a file with an address of its own.
        file: Name of the published file.
        pattern: Names that the file may have in the repository, where it is not called ``file``.
        url: Address of the published file; ``opendlign://NAME`` for the packaged one.
        sha256: SHA-256 of the published file, if it is known.
        size: Size of the file that is used, in bytes; an estimate before the download, None if there is none.
        data: What it was trained on.
        license: License of the weights.
        results: Published results, as (dataset, metric -> value).
        available: Whether it can be used without a download.
    """

    name: str
    config: Path
    layout: Layout
    repo: str | None
    file: str
    pattern: str | None
    url: str
    sha256: str | None
    size: int | None
    data: str
    license: str
    results: list[tuple[str, dict[str, float]]] = field(default_factory=list)
    available: bool = False

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint in this project's format, which need not exist yet."""
        return ASSETS / self.file if self.layout == 'packaged' else cache_folder() / f'{self.name}.safetensors'


def packaged_folder(name: Literal['configs', 'tools']) -> Path:
    """Return the folder ``configs`` or ``tools`` of the installed package, or of the checkout.

    Raises:
        FileNotFoundError: The package was copied without it.
    """
    for folder in (PACKAGE / '.mim' / name, PACKAGE.parent / name):
        if folder.is_dir():
            return folder.resolve()  # an editable install has links to the checkout
    raise FileNotFoundError(f'the package in {PACKAGE} has no {name}/; install it again with pip install')


@lru_cache
def read_index() -> tuple[ModelEntry, ...]:
    """Return the models of the index, whether their weights are here or not."""
    root = PACKAGE / '.mim'
    index = root / 'model-index.yml'
    if not index.is_file():
        root, index = PACKAGE.parent, packaged_folder('configs') / 'model-index.yml'
    models = [model for path in yaml.safe_load(index.read_text())['Import']
              for model in yaml.safe_load((root / path).read_text())['Models']]
    return tuple(_entry(model) for model in models if 'Source' in model)  # others are further configs of these


def _entry(model: dict) -> ModelEntry:
    source, about = model['Source'], model['Metadata']
    config = packaged_folder('configs') / model['Config'].removeprefix('configs/')
    return ModelEntry(
        name=model['Name'], config=config, layout=source['Layout'], repo=source.get('Repository'), file=source['File'],
        pattern=source.get('Pattern'), url=model['Weights'], sha256=source.get('SHA256'),
        size=round(source['About GB'] * 1e9) if 'About GB' in source else None,
        data=about['Training Data'], license=about['License'],
        results=[(result['Dataset'], result['Metrics']) for result in model.get('Results') or []])
