"""Files of the proposals of a scene with their view features, from which any vocabulary gives detections."""
from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from ..atomic_files import atomic_write
from ..models.trained_state import sha256_of_weights
from ..version import __version__

if TYPE_CHECKING:  # mmdet3d's structures take 11 seconds to import
    from mmengine.structures import InstanceData

    from ..detection import OpenVocabDetector3D

FEATURES = ('view_features', 'color_features')
ENTRIES = ('boxes', 'objectness', 'num_points', *FEATURES)


def settings_of(detector: OpenVocabDetector3D, cfg: Config) -> dict[str, Any]:
    """Return all that decides proposals and view features, for JSON: CLIP, trained weights, proposals, projection.

    Raises:
        ValueError: The classifier gives no view features.
    """
    if not detector.keeps_view_features:
        raise ValueError(f'a {type(detector.classifier).__name__} gives no view features that could be saved; only an '
                         'OpenDlign does')
    backbone = detector.classifier.backbone
    head = detector.classifier.zero_shot_head
    weights = {'clip': backbone.pretrained_branch_identity(), 'trained': sha256_of_weights(backbone),
               'proposals': sha256_of_weights(detector.proposals)}
    scales = {} if detector.crops.crop_scales == (1., ) else dict(crop_scales=list(detector.crops.crop_scales))
    return dict(
        version=__version__, weights=weights, branches=head.branches, combine=backbone.combine,
        views=detector.classifier.views,
        color_branches=None if detector.classifier.color is None else detector.classifier.color.head.branches,
        num_blocks=backbone.num_blocks, proposals=json.loads(json.dumps(cfg.model.to_dict()['proposals'], default=str)),
        projection=repr(detector.projection), objectness_threshold=detector.selection.objectness_threshold,
        max_proposals=detector.selection.max_proposals, box_margin=detector.crops.box_margin,
        min_points=detector.crops.min_points, **scales)


def hash_of_points(points: Tensor) -> str:
    """Return the SHA-256 of the points of a scene."""
    digest = hashlib.sha256(str((points.dtype, tuple(points.shape))).encode())
    digest.update(points.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_scene_features(folder: str | Path, key: str, proposals: InstanceData, points: Tensor, settings: dict) -> Path:
    """Write the proposals of one scene, whole or not at all.

    Args:
        folder: Folder of the file; made if it does not exist.
        key: Begin of the file's name, which ends in the hash of the points.
        proposals: K proposals of :meth:`OpenVocabDetector3D.encode_scene`.
        points: Points that the proposals are from.
        settings: See :func:`settings_of`.

    Returns:
        Path of the .npz file.
    """
    digest = hash_of_points(points)
    path = _path(folder, key, digest)
    arrays = dict(boxes=proposals.bboxes_3d.tensor, objectness=proposals.objectness, num_points=proposals.num_points,
                  **{name: proposals.get(name, torch.zeros(0, 0, 0)) for name in FEATURES})
    about = json.dumps(dict(settings=settings, points=digest, with_yaw=bool(proposals.bboxes_3d.with_yaw)))
    with atomic_write(path) as unfinished:
        np.savez(unfinished, about=np.array(about), **{name: value.cpu().numpy() for name, value in arrays.items()})
    return path


def load_scene_features(folder: str | Path, points: Tensor, settings: dict, name: str) -> InstanceData:
    """Read the proposals of one scene.

    Args:
        folder: Folder of :func:`save_scene_features`.
        points: Points of the scene.
        settings: See :func:`settings_of`.
        name: Name of the scene in messages.

    Raises:
        FileNotFoundError: The folder has no features of these points.
        ValueError: The file is damaged, or from another model or other settings; the message names what differs.
    """
    from mmdet3d.structures import DepthInstance3DBoxes

    from ..detection.proposals.base import make_proposals
    digest = hash_of_points(points)
    found = sorted(Path(folder).expanduser().glob(f'*-{digest[:16]}.npz'))
    if not found:
        raise FileNotFoundError(f'{folder} has no features of the points of {name}: the file, or how it is read, has '
                                'changed; run once with save_features')
    about, arrays = _read(found[0])
    if about.get('points') != digest:
        raise ValueError(f'{found[0]} has the features of other points')
    differing = [key for key in {**settings, **about['settings']} if settings.get(key) != about['settings'].get(key)]
    if differing:
        raise ValueError(f'{found[0]} was made with other settings ({", ".join(sorted(differing))}); run once with '
                         'save_features')
    tensors = {key: torch.from_numpy(value).to(points.device) for key, value in arrays.items()}
    boxes = DepthInstance3DBoxes(tensors['boxes'], box_dim=tensors['boxes'].shape[-1], with_yaw=about['with_yaw'])
    proposals = make_proposals(boxes, tensors['objectness'])
    proposals.num_points = tensors['num_points']
    for feature in FEATURES:
        if len(tensors[feature]):
            proposals.set_field(tensors[feature], feature)
    return proposals


def _path(folder: str | Path, key: str, digest: str) -> Path:
    return Path(folder).expanduser() / f'{key}-{digest[:16]}.npz'


def _read(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return json.loads(str(file['about'])), {name: file[name] for name in ENTRIES}
    except Exception as error:  # zipfile and zlib have errors of their own
        problem = f'{type(error).__name__}: {error}'
    raise ValueError(f'{path} is damaged ({problem}); remove it and run once with save_features')
