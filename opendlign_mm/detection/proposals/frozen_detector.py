"""A trained detector inside another model, for its boxes alone."""
import logging
from collections import OrderedDict
from pathlib import Path

import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import print_log
from mmengine.runner.checkpoint import _load_checkpoint
from torch import nn

TOOLBOX_PREFIX = 'mmdet3d::'


class FrozenDetector(nn.Module):
    """Builds a detector of mmdet3d from its config and checkpoint and keeps it as it is.

    The detector stays in evaluation mode and needs no gradient. Checkpoints of the model that this module is a part of
    need not hold it: where they do not, the detector keeps the weights of its own checkpoint.

    Args:
        config (str | Path | dict | Config): config file of the detector; ``'mmdet3d::votenet/....py'`` names one that
            comes with mmdet3d; or a config with the key ``model``.
        checkpoint (str | Path, optional): its weights; None leaves them random, which is logged.
        cfg_options (dict, optional): changes to the config, e.g. ``{'model.test_cfg.score_thr': 0.2}``.

    Raises:
        FileNotFoundError: there is no such config or checkpoint.
        ImportError: the detector needs a package that is not installed; the message says which.
        RuntimeError: the checkpoint belongs to another model.
    """

    def __init__(self,
                 config: str | Path | dict,
                 checkpoint: None | str | Path = None,
                 cfg_options: dict | None = None) -> None:
        super().__init__()
        self.cfg = read_config(config)
        if cfg_options:
            self.cfg.merge_from_dict(cfg_options)
        # Looked for first: building the detector may take long.
        if checkpoint is not None and not Path(checkpoint).expanduser().is_file():
            raise FileNotFoundError(f"{type(self).__name__}: the checkpoint {checkpoint} of the detector that proposes "
                                    'boxes does not exist; set model.proposals.checkpoint to where it is')
        name = self.cfg.filename or self.cfg.model.type
        self.detector = _build(self.cfg.model, str(name))
        if checkpoint is None:
            print_log(f"{type(self).__name__}: no checkpoint for {name}; unless the whole model's checkpoint holds "
                      'it, its boxes are those of random weights', logger='current', level=logging.WARNING)
        else:
            _load(self.detector, Path(checkpoint).expanduser(), str(name))
        self.detector.requires_grad_(False)
        self.train(False)
        self.register_load_state_dict_pre_hook(_keep_own_weights)

    def train(self, mode: bool = True) -> 'FrozenDetector':
        """Evaluation mode whatever ``mode`` is."""
        return super().train(False)


def read_config(config: str | Path | dict) -> Config:
    """A config from a file, from mmdet3d (``'mmdet3d::...'``), or as it is."""
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
        # mmengine raises it from the module that is missing, and lists all of sys.path.
        raise ImportError(f"the config {config} imports code that is not found: {error.__cause__ or error}. Projects "
                          "of mmdet3d (TR3D) are in its repository, not in its package: put the repository's root "
                          'into PYTHONPATH') from error


def _build(model: dict, name: str) -> nn.Module:
    try:
        return MODELS.build(model)
    except ImportError as error:
        if 'Minkowski' not in str(error):
            raise
        raise ImportError(
            f'{name} needs the Python package MinkowskiEngine, which is not installed: build it from '
            'https://github.com/NVIDIA/MinkowskiEngine, or take boxes from a detector without it (VoteNet, '
            'GroupFree3D, H3DNet, 3DETR), from ClusterProposals or from FileProposals') from error


def _load(detector: nn.Module, checkpoint: Path, name: str) -> None:
    contents = _load_checkpoint(str(checkpoint), map_location='cpu')
    state = contents.get('state_dict', contents)
    metadata = getattr(state, '_metadata', None)
    state = OrderedDict((key.removeprefix('module.'), value) for key, value in state.items())
    state._metadata = metadata  # by its versions mmdet3d converts older checkpoints
    try:
        missing = detector.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        raise RuntimeError(f'{checkpoint} is no checkpoint of {name}: {error}') from error
    if missing:
        raise RuntimeError(f'{checkpoint} is no checkpoint of {name}: {len(missing)} entries are missing, among them '
                           + ', '.join(missing[:3]))


def _keep_own_weights(module: FrozenDetector, state_dict: dict, prefix: str, *_) -> None:
    prefix = f'{prefix}detector.'
    if not any(key.startswith(prefix) for key in state_dict):
        with torch.no_grad():
            state_dict.update({prefix + key: value for key, value in module.detector.state_dict().items()})
