"""Checkpoints in the layouts of PointCLIP's and CLIP2Point's releases: their entries under our names, and back."""
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..projection.rendered import VIEWS
from .clip2point import CLIP2Point
from .view_adapters import InterViewAdapter
from .view_systems import PointCLIP

StateDict = dict[str, Tensor]

# Our names of the layers of an adapter -> those of both releases; the last one is CLIP2Point's alone.
_FUSION = {'ratios': 'fusion_ratio', 'norm.': 'global_f.0.bn.', 'fuse.': 'global_f.3.', 'fused_norm.': 'global_f.4.'}
_POINTCLIP = {**{f'fusion.{ours}': theirs for ours, theirs in _FUSION.items()},
              'hidden.': 'view_f.0.', 'expand.': 'view_f.2.'}
_PATH = {**{f'0.{ours}': theirs for ours, theirs in _FUSION.items()}, '1.': 'global_f.7.'}
_SELECTOR = 'selector.view_selector.views_'


def from_released_pointclip(released: Mapping[str, Tensor]) -> StateDict:
    """Return the entries of an ``InterViewAdapter`` of PointCLIP's, with or without a prefix ``adapter.``.

    Raises:
        ValueError: Entries are missing.
    """
    released = {key.removeprefix('module.').removeprefix('adapter.'): value for key, value in released.items()}
    return _renamed(released, {theirs: ours for ours, theirs in _POINTCLIP.items()}, 'PointCLIP')


def to_released_pointclip(adapter: InterViewAdapter) -> StateDict:
    """Return the entries of an adapter under PointCLIP's names."""
    return _renamed(adapter.state_dict(), _POINTCLIP, 'PointCLIP')


def from_released_path(released: Mapping[str, Tensor]) -> StateDict:
    """Return the entries of one path of a ``DualPathAdapter`` of CLIP2Point's adapter.

    Raises:
        ValueError: Entries are missing.
    """
    return _renamed(released, {theirs: ours for ours, theirs in _PATH.items()}, 'CLIP2Point')


def from_released_clip2point(released: Mapping[str, Tensor], model: CLIP2Point) -> tuple[StateDict, list[str]]:
    """Return the entries of a model of a checkpoint of CLIP2Point's pre-training or few-shot classification.

    Args:
        released: Entries ``point_model.``, ``image_model.`` and ``weights``, with or without ``module.``; or
            ``pre_model.``, ``ori_model.``, ``adapter1.`` and ``adapter2.``.
        model: Model on the CLIP that the frozen tower of the checkpoint is.

    Returns:
        The renamed entries, and the names of those that have no place.

    Raises:
        ValueError: The checkpoint is of another kind than the model, entries are missing or have another shape, its
            frozen tower is another CLIP, or its adapter was trained on other views.
    """
    tower: Any = model.backbone.clip.visual
    released = {key.removeprefix('module.'): value for key, value in released.items()}
    with_adapter = any(key.startswith('pre_model.') for key in released)
    tuned, frozen = ('pre_model.', 'ori_model.') if with_adapter else ('point_model.', 'image_model.')
    if not any(key.startswith(tuned) for key in released):
        raise ValueError("this is not a checkpoint of CLIP2Point: no entry starts with 'point_model.' or 'pre_model.' "
                         f'(it has {", ".join(list(released)[:3]) or "nothing"}, ...)')
    if with_adapter != (model.adapter is not None):
        raise ValueError('the checkpoint ' + (
            'is of few-shot classification and has an adapter; give a config with adapter=dict(type="DualPathAdapter")'
            if with_adapter else 'is of pre-training and has no adapter; give a config without one'))
    _check_views(released)
    state = {f'backbone.tuned_visual.{key}': value for key, value in _tower(released, tuned, model).items()}
    if any(key.startswith(frozen) for key in released):
        own = tower.state_dict()
        for key, value in _tower(released, frozen, model).items():
            if not torch.equal(value.float().cpu(), own[key].float().cpu()):
                raise ValueError('the frozen tower of the checkpoint is another CLIP than '
                                 f'{model.backbone.clip_name!r} with '
                                 f"pretrained={model.backbone.pretrained_label!r}: they differ in '{key}'; "
                                 "CLIP2Point's is OpenAI's, pretrained='openai'")
    if 'weights' in released:
        state['depth_weight'] = released['weights'].reshape(()).float()
    parts = [tuned, frozen, 'weights', _SELECTOR]
    if with_adapter:
        parts += ['adapter1.', 'adapter2.']
        for name, prefix in (('tuned', 'adapter1.'), ('pretrained', 'adapter2.')):
            path = from_released_path(_part(released, prefix))
            state.update({f'adapter.{name}.{key}': value for key, value in path.items()})
    return state, [key for key in released if not key.startswith(tuple(parts))]


def to_released_clip2point(model: CLIP2Point) -> StateDict:
    """Return the entries of a model under CLIP2Point's names: of pre-training, or with an adapter of few-shot."""
    backbone: Any = model.backbone
    tuned, frozen = backbone.tuned_visual.state_dict(), backbone.clip.visual.state_dict()
    azimuth, elevation = torch.tensor(VIEWS['few_shot'], dtype=torch.float32).T
    views = {f'{_SELECTOR}azim': azimuth, f'{_SELECTOR}elev': elevation, f'{_SELECTOR}dist': torch.ones(len(azimuth))}
    if model.adapter is None:
        return {**{f'module.point_model.{key}': value for key, value in tuned.items()},
                **{f'module.image_model.{key}': value for key, value in frozen.items()},
                'module.weights': model.depth_weight.detach().clone(),
                **{f'module.{key}': value for key, value in views.items()}}
    released = {**{f'pre_model.{key}': value for key, value in tuned.items()},
                **{f'ori_model.{key}': value for key, value in frozen.items()}, **views}
    for prefix, path in (('adapter1.', model.adapter.tuned), ('adapter2.', model.adapter.pretrained)):
        released.update({prefix + key: value
                         for key, value in _renamed(path.state_dict(), _PATH, 'CLIP2Point').items()})
    return released


def _renamed(entries: Mapping[str, Tensor], names: Mapping[str, str], system: str) -> StateDict:
    """Return the entries whose name begins with one of ``names``, with that part replaced."""
    renamed = {}
    for old, new in names.items():
        found = {new + key.removeprefix(old): value for key, value in entries.items()
                 if key == old or old.endswith('.') and key.startswith(old)}
        if not found:
            raise ValueError(f"this is not an adapter of {system}: it has no '{old}' "
                             f'({", ".join(list(entries)[:3]) or "nothing"}, ...)')
        renamed.update(found)
    return renamed


def _part(entries: Mapping[str, Tensor], prefix: str) -> StateDict:
    return {key.removeprefix(prefix): value for key, value in entries.items() if key.startswith(prefix)}


def _tower(released: Mapping[str, Tensor], prefix: str, model: CLIP2Point) -> StateDict:
    """Return an image tower, which has the entries of the model's and no others."""
    part, own = _part(released, prefix), model.backbone.clip.visual.state_dict()
    wrong = [key for key in own.keys() | part.keys()
             if key not in part or key not in own or part[key].shape != own[key].shape]
    if wrong:
        raise ValueError(f"'{prefix}' of the checkpoint does not fit the image tower of CLIP "
                         f'{model.backbone.clip_name!r}: {", ".join(sorted(wrong)[:4])} are missing or have another '
                         'shape; give the config of the CLIP that it was trained with')
    return part


def _check_views(released: Mapping[str, Tensor]) -> None:
    """Refuse a checkpoint whose views are not those of the projection."""
    found = [released[key].flatten().tolist() for key in (f'{_SELECTOR}azim', f'{_SELECTOR}elev') if key in released]
    if len(found) < 2:
        return
    pairs = tuple(zip(*found, strict=True))
    if pairs not in {tuple((float(a), float(e)) for a, e in views) for views in VIEWS.values()}:
        raise ValueError(f'the checkpoint was trained on views of azimuth and elevation {pairs}, which are not those '
                         'of RenderedDepthProjection')


def adapter_fits(model: PointCLIP, state: Mapping[str, Tensor]) -> None:
    """Check that an adapter of PointCLIP has the shapes of a model's.

    Raises:
        ValueError: It does not, or the model has no adapter.
    """
    if not isinstance(model.adapter, InterViewAdapter):
        raise ValueError('the config has no adapter=dict(type="InterViewAdapter"); give one of few-shot '
                         'classification')
    own = model.adapter.state_dict()
    wrong = [key for key in own.keys() | state.keys()
             if key not in own or key not in state or own[key].shape != state[key].shape]
    if wrong:
        raise ValueError(f'the adapter does not fit CLIP {model.backbone.clip_name!r}: {", ".join(sorted(wrong)[:4])} '
                         'are missing or have another shape; give the config of the CLIP that it was trained with')
