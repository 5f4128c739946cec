"""Hook that computes the frozen part of an alignment once: tokens of depth views and features of images."""
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

import torch
from mmdet3d.registry import HOOKS
from mmengine.dataset import BaseDataset, Compose
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from ..datasets.stored_tokens import StoredTokens, TokenDtype
from ..datasets.transforms.disk_cache import record_key
from ..datasets.transforms.stored_tokens import LoadStoredTokens
from ..datasets.unreadable import READING_ERRORS
from ..models import OpenDlign
from ..models.pixels import checked_views
from ..models.precision import DTYPES
from ..processes import of_all_processes, on_first_process, only_run, own_share, progress
from ..source_files import is_error_of_machine
from ..structures import STORED_TOKENS
from ..version import __version__
from .hooks import runner_model

# Transforms whose result is the same in each epoch; DiskCache keeps what it holds.
DETERMINISTIC = ('DiskCache', 'LoadBuiltInShape', 'LoadShapePoints', 'LoadDepthViews', 'LoadDepthAlignedImages',
                 'ProjectPointsToDepth', 'GenerateImages')
# Transforms that take stored tokens as they take views.
OF_TOKENS = ('SampleViews', 'SelectViews', 'PackShapeInputs')


@HOOKS.register_module()
class StoredTokensHook(Hook):
    """Hook that trains on stored tokens: a step then costs the trained blocks alone.

    Before the training each object passes once through the deterministic transforms and the frozen part of the model
    (all views, whatever :class:`SampleViews` takes of them later). What is there already, of an interrupted or an
    earlier training, is used again; several processes divide the work. Then the stored entries take the place of those
    transforms, and losses are those without the hook up to the rounding of ``dtype``.

    Args:
        root: Folder on a disk that all processes see; None: the hook does nothing. Tokens of another CLIP, other
            transforms or other data get a sub-folder of their own.
        dtype: ``'bf16'``, or ``'fp32'`` with twice the size. An object with ten views takes 0.8 MB of ViT-B-32, 3 MB of
            ViT-B-16 and 6.6 MB of ViT-H-14 in bf16.
        limit_gb: Largest size of ``root``; a training that would exceed it is refused before it begins.
        shapes_per_shard: Number of objects in a file.

    Raises:
        ValueError: An option does not exist; or, before the training: the pipeline has random or unknown transforms,
            the dataset or the model is of another kind, or the folder would be too large.
    """

    def __init__(self, root: str | None = None, dtype: TokenDtype = 'bf16', limit_gb: float = 100.,
                 shapes_per_shard: int = 64) -> None:
        if dtype not in get_args(TokenDtype):
            raise ValueError(f"dtype of stored tokens must be 'bf16' or 'fp32', got {dtype!r}")
        if limit_gb <= 0 or shapes_per_shard < 1:
            raise ValueError(f'limit_gb must be > 0 and shapes_per_shard >= 1, got {limit_gb} and {shapes_per_shard}')
        self.root = None if root is None else Path(root)
        self.dtype, self.limit_gb, self.shapes_per_shard = dtype, limit_gb, shapes_per_shard

    def before_train(self, runner: Runner) -> None:
        """Store what is missing and put it in the place of the transforms that made it."""
        if self.root is None:
            return
        model, dataset = runner_model(runner), runner.train_dataloader.dataset
        if _uses_tokens(dataset):
            return  # the Runner trains once more
        fixed, rest = split_pipeline(dataset)
        check_model(model)
        objects = FixedPart(dataset, Compose(fixed))
        num_shards = -(-len(dataset) // self.shapes_per_shard)
        with only_run(self.root):
            store = on_first_process(lambda: self._open(runner, model, len(fixed)))
            due = on_first_process(lambda: [shard for shard in range(num_shards) if not store.is_done(shard)])
            if due:
                on_first_process(lambda: self._check_size(runner, model, objects, store))
            for shard in progress(own_share(due), desc='tokens', unit='shard'):
                indices = range(len(dataset))[shard * self.shapes_per_shard:(shard + 1) * self.shapes_per_shard]
                self._write(store, shard, model, objects.loader(indices, runner.train_dataloader.num_workers))
            of_all_processes(None)
        store.index(num_shards)
        dataset.pipeline.transforms = [LoadStoredTokens(store), *rest]
        runner.logger.info(f'{len(dataset)} objects are trained on by the tokens in {store.root}; {len(due)} of '
                           f'{num_shards} files were made now')

    def _open(self, runner: Runner, model: OpenDlign, num_fixed: int) -> StoredTokens:
        """Open the sub-folder of this CLIP, these transforms and these data."""
        identity = self._identity(runner, model, num_fixed)
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        return StoredTokens.create(self.root / key, identity)

    def _identity(self, runner: Runner, model: OpenDlign, num_fixed: int) -> dict:
        """Return what decides the tokens, in types of JSON."""
        dataset, backbone = runner.train_dataloader.dataset, model.backbone
        config = (runner.cfg.get('train_dataloader') or {}).get('dataset') or {}
        pipeline = config.get('pipeline') or dataset.pipeline.transforms
        transforms = [{key: value for key, value in step.items() if key != 'cache_dir'} if isinstance(step, dict)
                      else repr(step) for step in pipeline[:num_fixed]]
        data = hashlib.sha256()
        materials = any(getattr(step, 'reads_materials', False) for step in dataset.pipeline.transforms[:num_fixed])
        for index in range(len(dataset)):
            data.update(record_key(dataset.get_data_info(index), materials).encode())
        return dict(
            version=__version__, clip=backbone.pretrained_branch_identity(),
            tuned_branch=[backbone.tuning, backbone.num_blocks],
            transforms=json.loads(json.dumps(transforms, sort_keys=True, default=repr)), data=data.hexdigest(),
            dtype=self.dtype, shapes_per_shard=self.shapes_per_shard)

    def _check_size(self, runner: Runner, model: OpenDlign, objects: 'FixedPart', store: StoredTokens) -> None:
        """Say the size of the tokens, measured on the first readable object, and refuse what is too large."""
        found = next((item for index in range(len(objects)) if isinstance(item := objects[index], dict)), None)
        if found is None:
            raise ValueError(f'none of the {len(objects)} objects can be read; the first: {objects[0]}')
        size = sum(value.nbytes for value in self._entries(model, [found])[0].values())
        needed = size * len(objects) / 1e9
        runner.logger.info(f'tokens of {len(objects)} objects, {size / 1e6:.2f} MB each: {needed:.1f} GB in '
                           f'{store.root}')
        own = sum(file.stat().st_size for file in store.root.glob('*.safetensors')) / 1e9
        others = sum(file.stat().st_size for file in self.root.rglob('*.safetensors')) / 1e9 - own
        free = shutil.disk_usage(self.root).free / 1e9 + own
        if needed + others > self.limit_gb or needed > free:
            raise ValueError(f'the tokens would take {needed:.1f} GB; {self.root} has {others:.1f} GB of other '
                             f'trainings with a limit of {self.limit_gb:g} GB, and {free:.1f} GB are free: delete old '
                             'tokens, raise limit_gb of StoredTokensHook, choose another token_dir, or train without')

    def _write(self, store: StoredTokens, shard: int, model: OpenDlign, items: Iterable) -> None:
        encoded: dict[str, dict[str, torch.Tensor]] = {}
        unreadable: dict[str, str] = {}
        for _, group in groupby(items, key=_shapes):
            alike = list(group)
            if not isinstance(alike[0], dict):
                unreadable.update(alike)
                continue
            size = max(1, model.encode_batch_size // len(alike[0]['depth_views']))
            for start in range(0, len(alike), size):
                part = alike[start:start + size]
                encoded.update(zip([found['sample_id'] for found in part], self._entries(model, part), strict=True))
        store.write(shard, encoded, unreadable)

    def _entries(self, model: OpenDlign, objects: Sequence[dict]) -> list[dict[str, torch.Tensor]]:
        """Return the stored entries of each of some objects with inputs of the same shapes, on the CPU."""
        entries = {name: (value.to(DTYPES[self.dtype]) if name in STORED_TOKENS else value.float()).cpu()
                   for name, value in encode_frozen_part(model, objects).items()}
        return [{name: value[index] for name, value in entries.items()} for index in range(len(objects))]


def _shapes(item: dict[str, Any] | Sequence[str]) -> list | None:
    """Return what consecutive objects have in common that are encoded together; None of unreadable ones."""
    if not isinstance(item, dict):
        return None
    return [(name, tuple(value.shape)) for name, value in item.items() if name != 'sample_id']


class FixedPart(Dataset):
    """The deterministic part of a training set: records after the fixed transforms.

    An item is the results of these transforms, or (sample_id, reason) of an object that cannot be read where the
    dataset skips those.

    Args:
        dataset: The training set.
        transforms: Its fixed transforms.
    """

    def __init__(self, dataset: BaseDataset, transforms: Compose) -> None:
        self.dataset, self.transforms = dataset, transforms

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any] | tuple[str, str]:
        """Return one item."""
        record = self.dataset.get_data_info(index)
        sample_id = str(record['sample_id'])
        try:
            results = self.transforms(record)
        except READING_ERRORS as error:
            if is_error_of_machine(error) or getattr(self.dataset, 'on_unreadable', 'error') == 'error':
                raise
            return sample_id, str(error)
        needed = ('sample_id', 'depth_views', 'images', 'image_features')
        return {key: results[key] for key in needed if key in results}

    def loader(self, indices: Sequence[int], num_workers: int) -> Iterator:
        """Iterate the items of some objects, read by worker processes."""
        return iter(DataLoader(self, batch_size=None, sampler=indices, num_workers=num_workers))


def split_pipeline(dataset: Any) -> tuple[list, list]:
    """Return the transforms of a training set that are the same in each epoch, and those after them.

    Raises:
        ValueError: The dataset has no pipeline of its own, or one with random or unknown transforms; they are named.
    """
    if not isinstance(dataset, BaseDataset):
        raise ValueError(f'stored tokens are for datasets with numbered objects, not for a {type(dataset).__name__}: '
                         'leave token_dir out; with image_features its images are encoded once')
    transforms = list(dataset.pipeline.transforms)
    names = [type(transform).__name__ for transform in transforms]
    num_fixed = next((index for index, name in enumerate(names) if name in OF_TOKENS), len(names))
    wrong = [name for name in names[:num_fixed] if name not in DETERMINISTIC] + [
        name for name in names[num_fixed:] if name not in OF_TOKENS]
    if wrong:
        raise ValueError(f'tokens cannot be stored with {", ".join(wrong)} in the pipeline, which may change the views '
                         'in each epoch: leave such transforms out, put those that do not into DiskCache, or leave '
                         'token_dir out')
    return transforms[:num_fixed], transforms[num_fixed:]


def _uses_tokens(dataset: Any) -> bool:
    transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', None)
    return bool(transforms) and isinstance(transforms[0], LoadStoredTokens)


def check_model(model: Any) -> None:
    """Check that the training of a model can go on from stored tokens.

    Raises:
        ValueError: It cannot.
    """
    if not isinstance(model, OpenDlign) or type(model).loss is not OpenDlign.loss:
        raise ValueError(f'stored tokens are for an OpenDlign, not for a {type(model).__name__}: leave token_dir out')
    model.check_stored_tokens()


@torch.no_grad()
def encode_frozen_part(model: OpenDlign, objects: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Encode all that is frozen in the alignment of objects.

    Args:
        model: The model, on any device.
        objects: B objects with ``depth_views`` (V, H, W) or (V, 3, H, W), and ``images`` uint8 (V, H, W, 3) or
            ``image_features`` (V, D); of the same shapes.

    Returns:
        ``depth_tokens`` and ``depth_pretrained`` (B, V, ...), see :meth:`CLIPDepthBackbone.trunk_tokens`;
        ``image_features`` float32 (B, V, D), L2-normalized.
    """
    device, size = model.backbone.logit_scale.device, model.encode_batch_size
    inputs = {name: torch.stack([torch.as_tensor(found[name]) for found in objects]).to(device)
              for name in objects[0] if name != 'sample_id'}
    if 'image_features' in inputs:
        inputs.pop('images', None)
    elif 'images' in inputs:
        inputs['images'] = inputs['images'].permute(0, 1, 4, 2, 3)
    views = checked_views({name: inputs[name] for name in ('depth_views', 'images') if name in inputs})
    depth = views['depth_views'].flatten(0, 1)
    depth = depth.unsqueeze(1).expand(-1, 3, -1, -1) if depth.ndim == 3 else depth
    parts = [model.backbone.trunk_tokens(chunk) for chunk in depth.split(size)]
    entries = {name: torch.cat([part[name] for part in parts]).unflatten(0, (len(objects), -1)) for name in parts[0]}
    if 'images' in views:
        entries['image_features'] = model.encode_views(views['images'], 'pretrained')
    elif 'image_features' in inputs:
        entries['image_features'] = inputs['image_features'].float()
    return entries
