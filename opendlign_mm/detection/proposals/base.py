"""What proposal sources share: their result, checks, and a trained detector as a frozen part of another model."""
import logging
from collections import OrderedDict
from pathlib import Path

import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import BaseInstance3DBoxes, DepthInstance3DBoxes
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...models.checkpoints import read_checkpoint

TOOLBOX_PREFIX = 'mmdet3d::'


def make_proposals(boxes: BaseInstance3DBoxes, objectness: Tensor) -> InstanceData:
    """Return the result of a proposal source.

    Args:
        boxes: K class-agnostic boxes.
        objectness: Float (K,) in [0, 1].

    Returns:
        ``bboxes_3d`` and ``objectness``.
    """
    proposals = InstanceData()
    proposals.bboxes_3d = boxes
    proposals.objectness = objectness
    return proposals


def check_colors(colors: Tensor) -> None:
    """Check that columns of points are colors.

    Args:
        colors: Float (N, 3), r, g, b in [0, 255] or [0, 1].

    Raises:
        ValueError: Values are not finite or outside [0, 255].
    """
    bad = int((~torch.isfinite(colors)).any(dim=1).sum())
    if bad:
        raise ValueError(f'{bad} of {len(colors)} points have non-finite colors; remove them or load x, y, z only '
                         '(use_dim=[0, 1, 2])')
    if colors.min() < 0 or colors.max() > 255:
        raise ValueError('the columns after x, y, z must be r, g, b in [0, 255] or [0, 1], got values from '
                         f'{colors.min():g} to {colors.max():g}; load other columns (use_dim) or x, y, z only')


def no_proposals(points: Tensor) -> InstanceData:
    """Return an empty result on the device of ``points``."""
    return make_proposals(DepthInstance3DBoxes(points.new_zeros(0, 7)), points.new_zeros(0))


class FrozenDetector(nn.Module):
    """Detector of mmdet3d, built from its config and checkpoint, that is never trained.

    The detector stays in evaluation mode and its parameters need no gradient. A checkpoint of the model that contains
    this module may lack the detector; it then keeps the weights of its own checkpoint.

    Args:
        config: Config of the detector: a file; the name of a config that mmdet3d installs, such as
            ``'mmdet3d::votenet/votenet_8xb8_scannet-3d.py'``; or a config with the key ``model``.
        checkpoint: Weights of the detector. None keeps random weights, which is logged as a warning.
        cfg_options: Changes to the config, such as ``{'model.test_cfg.score_thr': 0.2}``.

    Raises:
        FileNotFoundError: The config or the checkpoint does not exist.
        ImportError: The detector needs a package that is not installed; the message names it.
        ValueError: The checkpoint is damaged or holds Python objects.
        RuntimeError: The checkpoint belongs to another model.
    """

    def __init__(self,
                 config: str | Path | dict,
                 checkpoint: str | Path | None = None,
                 cfg_options: dict | None = None) -> None:
        super().__init__()
        self.cfg = read_config(config)
        if cfg_options:
            self.cfg.merge_from_dict(cfg_options)
        # The checkpoint is checked before the detector is built, which may take long.
        if checkpoint is not None and not Path(checkpoint).expanduser().is_file():
            raise FileNotFoundError(f'{type(self).__name__}: the checkpoint {checkpoint} of the detector that proposes '
                                    'boxes does not exist; set model.proposals.checkpoint to the right file')
        name = str(self.cfg.filename or self.cfg.model.type)
        self.detector = _build(self.cfg.model, name)
        if checkpoint is None:
            print_log(f'{type(self).__name__}: no checkpoint is given for {name}; unless the checkpoint of the whole '
                      'model contains it, its boxes are those of random weights',
                      logger='current', level=logging.WARNING)
        else:
            _load(self.detector, Path(checkpoint).expanduser(), name)
        self.detector.requires_grad_(False)
        self.train(False)
        self.register_load_state_dict_pre_hook(_keep_own_weights)

    def train(self, mode: bool = True) -> 'FrozenDetector':
        """Stay in evaluation mode, regardless of ``mode``."""
        return super().train(False)


def read_config(config: str | Path | dict) -> Config:
    """Return a config from a file, from mmdet3d (``'mmdet3d::...'``), or from a dict.

    Raises:
        FileNotFoundError: The file does not exist.
        ImportError: The config imports code that is not installed.
    """
    if isinstance(config, Config):
        return config.copy()
    if isinstance(config, dict):
        return Config(config)
    if str(config).startswith(TOOLBOX_PREFIX):
        return get_config(str(config))
    path = Path(config).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'the config {config} of the detector that proposes boxes does not exist')
    try:
        return Config.fromfile(path)
    except ImportError as error:
        # mmengine chains its error to that of the missing module and lists all of sys.path.
        raise ImportError(f'the config {config} imports code that is not found: {error.__cause__ or error}. Projects '
                          "of mmdet3d (TR3D) are in its repository, not in its package: add the repository's root "
                          'to PYTHONPATH') from error


def _build(model: dict, name: str) -> nn.Module:
    try:
        return MODELS.build(model)
    except ImportError as error:
        if 'Minkowski' not in str(error):
            raise
        raise ImportError(
            f'{name} needs the Python package MinkowskiEngine, which is not installed: build it from '
            'https://github.com/NVIDIA/MinkowskiEngine, or get boxes from a detector without it (VoteNet, '
            'GroupFree3D, H3DNet, 3DETR), from ClusterProposals or from FileProposals') from error


def _load(detector: nn.Module, checkpoint: Path, name: str) -> None:
    contents = read_checkpoint(checkpoint)
    state = contents.get('state_dict', contents)
    metadata = getattr(state, '_metadata', None)
    state = OrderedDict((key.removeprefix('module.'), value) for key, value in state.items())
    state._metadata = metadata  # mmdet3d converts older checkpoints by the versions in it
    try:
        missing = detector.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        raise RuntimeError(f'{checkpoint} is not a checkpoint of {name}: {error}') from error
    if missing:
        raise RuntimeError(f'{checkpoint} is not a checkpoint of {name}: {len(missing)} entries are missing, such as '
                           + ', '.join(missing[:3]))


def _keep_own_weights(module: FrozenDetector, state_dict: dict, prefix: str, *_) -> None:
    """Add the detector's own weights to a state dict without them."""
    prefix = f'{prefix}detector.'
    if not any(key.startswith(prefix) for key in state_dict):
        with torch.no_grad():
            state_dict.update({prefix + key: value for key, value in module.detector.state_dict().items()})
