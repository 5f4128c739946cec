"""What the authors' released code computes, as the compared side: float32, object by object, nothing kept."""
import importlib.util
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..models.clip_backbone import CLIPDepthBackbone

PLAIN = 'the plain computation of the release'


class PlainTower:
    """The image tower, whole for each call, as the released CLIP runs it.

    Args:
        backbone: A float32 backbone of a plain ViT with one tuned block.
    """

    def __init__(self, backbone: CLIPDepthBackbone) -> None:
        self.backbone, self.logit_scale = backbone, backbone.logit_scale

    def encode_image(self, images: torch.Tensor, state: str = '') -> torch.Tensor:
        """Embed images (N, 3, H, W): (N, D). A ``state`` that names depth takes the tuned end of the tower."""
        backbone, visual = self.backbone, self.backbone.clip.visual
        *trunk, last = visual.transformer.resblocks
        assert backbone.pixel_mean is not None and backbone.pixel_std is not None
        tokens = visual._embeds((images - backbone.pixel_mean) / backbone.pixel_std)
        for block in trunk:
            tokens = block(tokens)
        ended = last(tokens)
        if 'depth' in state:
            ended = .5 * ended + .5 * backbone.tuned_blocks[0](tokens)
        return visual._pool(ended)[0] @ visual.proj


def released_scores(backbone: CLIPDepthBackbone, views: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """Classify objects as the released test does: view by view, the first half of them by CLIP's own end.

    Args:
        backbone: See :class:`PlainTower`.
        views: Float (B, V, 3, H, W) in [0, 1].
        texts: Float (C, D), L2-normalized.

    Returns:
        Float (B, C).
    """
    tower, scores = PlainTower(backbone), torch.zeros((), device=views.device)
    for number in range(views.shape[1]):
        state = 'depth' if number >= views.shape[1] // 2 else ''
        features = F.normalize(tower.encode_image(views[:, number], state), dim=-1)
        scores = scores + (features @ texts.T).softmax(dim=-1)
    return scores


class ReleasedAlignment:
    """The forward pass of a released training step: features of objects by two passes of the tower for each.

    Args:
        backbone: See :class:`PlainTower`.
        folder: Folder of the released code, whose ``model.py`` then does it; None: our own words.

    Attributes:
        label: What was compared with.
    """

    def __init__(self, backbone: CLIPDepthBackbone, folder: Path | None = None) -> None:
        self.tower = PlainTower(backbone)
        self.model: Any = None if folder is None else released_class(folder)(self.tower, None)
        self.label = PLAIN if folder is None else "the release's model.py on the plain tower"

    def __call__(self, depth_views: torch.Tensor, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features of depth views and images (B, V, 3, H, W): two of (B, D), L2-normalized."""
        if self.model is not None:
            found = self.model(images, depth_views)
            return found['feature_A'], found['feature_B']
        depth = torch.stack([self._of_object(views, 'depth_branch') for views in depth_views])
        return depth, torch.stack([self._of_object(views, 'rgb_branch') for views in images])

    def _of_object(self, views: torch.Tensor, state: str) -> torch.Tensor:
        features = F.normalize(self.tower.encode_image(views, state), dim=-1)
        return F.normalize(features.mean(dim=0), dim=-1)


def released_class(folder: Path) -> type[nn.Module]:
    """Return the class of the model in the ``model.py`` of the released code.

    Raises:
        FileNotFoundError: The folder has no such file.
        ValueError: The file does not define it.
    """
    path = folder / 'model.py'
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist: --against takes the folder of the authors\' released code')
    spec = importlib.util.spec_from_file_location('released_model', path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, 'OpenDlign'):
        raise ValueError(f'{path} defines no OpenDlign: --against takes the folder of the authors\' released code')
    return module.OpenDlign
