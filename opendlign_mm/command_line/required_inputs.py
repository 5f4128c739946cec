"""Check that the data and weights of a run exist before minutes are spent on building its model."""
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import open_clip
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..datasets import DepthAlignDataset, ShapeDataset

# Files in which open_clip looks for weights in a repository of the Hugging Face hub.
_WEIGHT_FILES = ('open_clip_model.safetensors', 'open_clip_pytorch_model.bin')


def require_inputs(cfg: Config, *dataloaders: str) -> None:
    """Check that the data of a run exists.

    Args:
        cfg: Config of the run.
        dataloaders: Keys of the data loaders that the run uses, such as ``'train_dataloader'``; absent ones are
            ignored.

    Raises:
        FileNotFoundError: Files or folders of a :class:`ShapeDataset` or a :class:`DepthAlignDataset` are missing. The
            message says where each was looked for and how to get it, and names CLIP weights that would have to be
            downloaded.
        ValueError: A dataset refuses its settings or its files, such as a folder of shapes without sub-folders.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet3d'))
    problems: list[str] = []
    for name in dataloaders:
        for dataset in _shape_datasets((cfg.get(name) or {}).get('dataset')):
            try:
                DATASETS.build(dataset)
            except FileNotFoundError as error:
                problems.append(str(error))
    if problems:
        raise FileNotFoundError('\n'.join(dict.fromkeys(problems + _weights_to_download(cfg.get('model')))))


def _shape_datasets(node) -> Iterator[dict]:
    """Yield the configs of datasets that read files, also inside wrappers such as RepeatDataset."""
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _shape_datasets(item)
    elif isinstance(node, dict):
        kind = node.get('type')
        kind = DATASETS.get(kind) if isinstance(kind, str) else kind
        if inspect.isclass(kind) and issubclass(kind, ShapeDataset):
            yield dict(node, pipeline=[], lazy_init=True)
        elif inspect.isclass(kind) and issubclass(kind, DepthAlignDataset):
            yield dict(node, pipeline=[], only_kept=False)
        else:
            yield from _shape_datasets(node.get('dataset'))
            yield from _shape_datasets(node.get('datasets'))


def _weights_to_download(node) -> list[str]:
    """Describe each CLIP of a model's config whose weights are neither a file nor in the cache of the hub."""
    if isinstance(node, (list, tuple)):
        return [found for item in node for found in _weights_to_download(item)]
    if not isinstance(node, dict):
        return []
    clip, tag = node.get('clip'), node.get('pretrained')
    is_clip = node.get('type') in ('CLIPDepthBackbone', 'CLIPTwinBackbone')
    if is_clip and isinstance(tag, str) and not Path(tag).expanduser().is_file():
        hub = (open_clip.get_pretrained_cfg(clip, tag) or {}).get('hf_hub')
        if hub and not _in_hub_cache(hub):
            from huggingface_hub import constants
            return [f"The weights '{tag}' of CLIP '{clip}' are not in open_clip's cache ({constants.HF_HUB_CACHE}, of "
                    f"'{hub}') either: they are downloaded when the run starts, or give a file with --cfg-options "
                    'model.backbone.pretrained=FILE.']
    return [found for value in node.values() for found in _weights_to_download(value)]


def _in_hub_cache(hub: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    repository, filename = os.path.split(hub)
    names = (filename, ) if filename else _WEIGHT_FILES
    return any(isinstance(try_to_load_from_cache(repository, name), str) for name in names)
